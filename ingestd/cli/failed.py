"""`failed show|retry` and `resume`, and what `failed list` (listing.py) shares with them: what a person does about what went wrong.

They read and move files; no lock is taken and no service asked, so they work while the daemon runs and while it does not. Paths
stand here as they are, for the person who asked for them, but for characters that could do something to a terminal.
"""

from __future__ import annotations

import json as jsonlib
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ingestd.cli.options import Exit
from ingestd.cli.terminal import console, shown, wrapped
from ingestd.config import FolderSettings
from ingestd.core.answers.reasons import Reason
from ingestd.core.errors import ConfigurationError, FileError, FilingError, JournalError
from ingestd.core.when import rfc3339
from ingestd.ops.clock import SystemClock
from ingestd.spool.filing.putting_back import PuttingBack
from ingestd.spool.filing.quarantined import FailedFolder, Quarantined
from ingestd.spool.filing.reason_file import KEYS
from ingestd.spool.intake.names import Rules
from ingestd.spool.memory.orders import FileOrders, Order

COMMENT = "comment"  # the server's own words, which can hold a patient's data
PROSE = ("text", "what_to_do", COMMENT)
KEY_WIDTH = max(map(len, KEYS)) + 2


def show_failed(settings: FolderSettings, path: str, *, json: bool) -> Exit:
    """All that is known about it, the server's comment too."""
    found = failed_folder(settings).find(_below_failed(settings, path))
    for one, why in _explained(found):
        if json:
            print(jsonlib.dumps(why))
            continue
        for key, value in {"file": f"failed/{one.path}", **why}.items():
            print(*_lines(key, as_text(value)), sep="\n")
    return Exit.DONE if all(one.why is not None for one in found) else Exit.SOME_FAILED


def _lines(key: str, text: str) -> Sequence[str]:
    """The key and its value: prose as wide as the terminal, a path or a UID whole, so that it can be copied."""
    label = key.ljust(KEY_WIDTH)
    if key not in PROSE:
        return [f"{label}{text}".rstrip()]
    indent = " " * KEY_WIDTH
    width = max(console().width, 2 * KEY_WIDTH)
    return wrapped(text, width, label, indent) or [key]


def retry_failed(
    settings: FolderSettings,
    paths: Sequence[str],
    *,
    reason: Reason | None,
    give: Collection[Order],
    dry_run: bool,
    json: bool,
) -> Exit:
    """Put back those at `paths`; without paths all, or all of `reason`. `give`: what is ordered about each.

    `dry_run`: names them, and does nothing. In JSON, `left` are those that could not be; where `tried_all` is false there are
    more, which were not tried.
    """
    failed = failed_folder(settings)
    folders = settings.folders
    if not folders.inbox.is_dir():
        raise ConfigurationError(
            f"folders.inbox = {folders.inbox}: there is no such folder: make it, or mount the share"
        )
    orders = FileOrders(folders.state)
    if give and not dry_run:
        orders.clear_void(folders.inbox, now=SystemClock().wall())
    putting = PuttingBack(folders.failed, folders.inbox, takes=Rules.of(settings.intake).fits, orders=orders, give=give)
    chosen: Iterator[Quarantined]
    if paths:
        chosen = (one for path in paths for one in failed.find(_below_failed(settings, path)))
    else:
        chosen = _files(having(failed, reason))
    show = _would_put_back(give, json=json) if dry_run else None
    put_back, left, tried_all = _put_back(putting, chosen, show)
    brake = orders.braked()
    if json:
        key = "would_put_back" if dry_run else "put_back"
        print(jsonlib.dumps({key: put_back, "left": left, "tried_all": tried_all, "brake": brake}))
    else:
        untried = "" if tried_all else ", the rest was not tried"
        could = f", {left} could not be{untried}" if left else ""
        print(f"{put_back} {'would be ' if dry_run else ''}put back into the inbox{could}")
        if brake is not None:
            print(f"the brake is on, nothing goes out before `ingestd resume`: {shown(brake)}")
    return Exit.SOME_FAILED if left else Exit.DONE


def _would_put_back(give: Collection[Order], *, json: bool) -> Callable[[Quarantined], None]:
    """What says, of a file that would go, how."""
    how = {Order.REPLACE: ", to replace what the service holds if that differs", Order.AS_IS: ", to be sent as it is"}
    words = "".join(text for order, text in how.items() if order in give)

    def show(one: Quarantined) -> None:
        if not json:
            print(f"{shown(one.path)}: into the inbox as {shown(one.origin)}{words}")

    return show


def _put_back(
    putting: PuttingBack, chosen: Iterator[Quarantined], show: Callable[[Quarantined], None] | None
) -> tuple[int, int, bool]:
    """How many went, how many did not, and whether all were tried. `show`: nothing goes, and it is told of each that would."""
    put_back = left = 0
    for one in chosen:
        try:
            if show is None:
                putting.put_back(one)
            else:
                putting.check(one)
                show(one)
        except (FileError, FilingError) as error:
            _complain(one.path, str(error))
            left += 1
        except JournalError as error:  # the next one would fare no better
            _complain(one.path, str(error))
            return put_back, left + 1, next(chosen, None) is None
        else:
            put_back += 1
    return put_back, left, True


def release_brake(settings: FolderSettings, *, json: bool) -> Exit:
    """Say why it was on. A running daemon notices within a second or two."""
    state = settings.folders.state
    if not state.is_dir():
        raise ConfigurationError(f"folders.state = {state}: there is no such folder: is this where ingestd runs?")
    try:
        brake = FileOrders(state).release()
    except JournalError as error:
        print(f"ingestd: {error}", file=sys.stderr)
        return Exit.SOME_FAILED
    since = rfc3339(brake.since) if brake is not None else None
    if json:
        print(jsonlib.dumps({"released": brake is not None, "why": brake.why if brake else None, "since": since}))
    elif brake is None:
        print("the brake was not on")
    else:
        print(f"the brake is off; it was on since {since}: {shown(brake.why)}")
    return Exit.DONE


def as_text(value: object) -> str:
    return "" if value is None else shown(str(value))


def _complain(path: str, problem: str) -> None:
    print(f"ingestd: {shown(path)}: {problem}", file=sys.stderr)


def failed_folder(settings: FolderSettings) -> FailedFolder:
    failed = settings.folders.failed
    if not failed.is_dir():
        raise ConfigurationError(f"folders.failed = {failed}: there is no such folder: is this where ingestd runs?")
    return FailedFolder(failed)


def having(failed: Iterable[Quarantined], reason: Reason | None) -> Iterator[Quarantined]:
    return (one for one in failed if reason is None or (one.why is not None and one.why["reason"] == reason.value))


def _explained(found: Iterable[Quarantined]) -> Iterator[tuple[Quarantined, Mapping[str, object]]]:
    """Those with a reason that can be read. What is amiss is said."""
    for one in found:
        say_flaw(one)
        if one.why is not None:
            yield one, one.why


def _files(found: Iterable[Quarantined]) -> Iterator[Quarantined]:
    """Those that can be put back. What the others are is said."""
    for one in found:
        if one.is_file:
            yield one
        else:
            say_flaw(one)


def say_flaw(one: Quarantined) -> None:
    if one.flaw is not None:
        _complain(one.path, one.flaw.value)


def _below_failed(settings: FolderSettings, path: str) -> str:
    """A path as `failed list` prints it, or one that leads to the file from here."""
    folder, name = os.path.split(path)
    here = Path(os.path.realpath(folder)) / name
    failed = Path(os.path.realpath(settings.folders.failed))
    return os.fspath(here.relative_to(failed)) if here.is_relative_to(failed) else path
