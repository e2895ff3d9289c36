"""`failed list`: what stands in failed/, since when, why and what to do; with `--warnings`, what the service stored and warned of.

Rows are printed as they are found, so they have fixed widths, and the path, which may be long, is the last. What is said at the end
is kept for each kind, never for each file (F90).
"""

from __future__ import annotations

import json as jsonlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ingestd.cli.failed import COMMENT, as_text, failed_folder, having, say_flaw
from ingestd.cli.late import list_late
from ingestd.cli.options import Exit
from ingestd.cli.terminal import console, many, shown, wrapped
from ingestd.config import FolderSettings
from ingestd.core.answers.outcome import Outcome
from ingestd.core.answers.reasons import Reason
from ingestd.core.answers.warning_reasons import warning_of
from ingestd.core.errors import ConfigurationError
from ingestd.core.record import Receipt
from ingestd.core.when import moment, rfc3339
from ingestd.spool.filing.quarantined import Quarantined
from ingestd.spool.memory.journal_file import NAME
from ingestd.spool.memory.receipts import Receipts

WIDTHS = (len("2026-01-02T03:04:05.678Z"), max(len(reason.value) for reason in Reason))
INDENT = "    "
MOST = 100  # kinds that are counted apart, because a reason file can say anything
MORE = ("of more kinds", "see `ingestd failed show PATH`")
HINT = "`ingestd failed show PATH` says all about one, also in the service's words; `ingestd failed retry PATH` sends it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A file. `when` in seconds since the epoch, where that is known; texts may hold anything."""

    when: float | None
    kind: str
    path: str
    text: str
    what_to_do: str


@dataclass(slots=True, kw_only=True)
class Tally:
    """How many rows of each kind, with what to do; and from when to when."""

    rows: int = 0
    kinds: dict[tuple[str, str], int] = field(default_factory=dict)
    first: float = math.inf
    last: float = -math.inf

    def add(self, row: Row) -> None:
        self.rows += 1
        kind = (row.kind, row.what_to_do)
        if kind not in self.kinds and len(self.kinds) >= MOST:
            kind = MORE
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if row.when is not None:
            self.first, self.last = min(self.first, row.when), max(self.last, row.when)

    def lines(self, what: str, label: str) -> Iterator[str]:
        """`what`: what they are, in words that follow their number; `label` stands before each kind."""
        times = ""
        if self.first < self.last:
            times = f", from {rfc3339(self.first)} to {rfc3339(self.last)}"
        yield f"{many(self.rows, 'file')} {what}{times}:"
        for (kind, what_to_do), count in sorted(self.kinds.items(), key=lambda item: -item[1]):
            text = f"{label}{kind}, {many(count, 'file')}: {what_to_do}"
            yield from wrapped(text, _width(), "  ", INDENT)


def list_failed(settings: FolderSettings, *, reason: Reason | None, since: float | None, json: bool) -> Exit:
    """A row and its text for each file, then what to do; or in JSON its reason file without the server's comment.

    `since` in seconds since the epoch, of the failure; what failed at an unknown time is listed. The files of a folder come in the
    order of their names, its sub-folders after them. What is amiss goes to standard error. Without a reason, what was written in
    done/ after it was filed is listed below.
    """
    flawed = 0

    def found() -> Iterator[tuple[Quarantined, Mapping[str, object]]]:
        nonlocal flawed
        for one in having(failed_folder(settings), reason):
            say_flaw(one)
            flawed += one.flaw is not None
            if one.why is not None and one.is_file and not _is_before(_seconds(one.why.get("failed_at")), since):
                yield one, one.why

    if json:
        for _, why in found():
            print(jsonlib.dumps({key: said for key, said in why.items() if key != COMMENT}))
    elif _print((_row(*one) for one in found()), ("when (UTC)", "reason", "path in failed/"), "in failed/"):
        print("", *wrapped(HINT, _width()), sep="\n")
    elif not flawed:
        what = "nothing is in failed/" if reason is None else f"nothing in failed/ is {reason.value}"
        print(f"{what}{_since(since)}")
    if reason is None:
        list_late(settings, since=since, json=json)
    return Exit.DONE


def list_warnings(settings: FolderSettings, *, since: float | None, json: bool) -> Exit:
    """What is held, or was when the service answered, although the service warned; as long as the journal keeps receipts."""
    state = settings.folders.state
    if not (state / NAME).is_file():
        raise ConfigurationError(f"folders.state = {state}: there is no journal: is this where ingestd runs?")
    receipts = Receipts(state)
    try:
        found = receipts.of(Outcome.STORED_WITH_WARNING, since=-math.inf if since is None else since)
        if json:
            for receipt in found:
                print(jsonlib.dumps(_as_json(receipt)))
            return Exit.DONE
        titles = ("when (UTC)", "WarningReason", "path in the inbox")
        if not _print(map(_warned, found), titles, "stored with a warning", label="WarningReason "):
            print(f"nothing was stored with a warning{_since(since)}, as far as the journal goes back")
    finally:
        receipts.close()
    return Exit.DONE


def _print(rows: Iterable[Row], titles: Sequence[str], what: str, *, label: str = "") -> bool:
    """The rows under their titles, and what they come to; whether there was one."""
    tally, width = Tally(), _width()
    for row in rows:
        if not tally.rows:
            print(_columns(*titles))
        print(_columns(rfc3339(row.when) if row.when is not None else "?", row.kind, row.path))
        for line in wrapped(row.text, width, INDENT, INDENT):
            print(line)
        tally.add(row)
    if tally.rows:
        print("", *tally.lines(what, label), sep="\n")
    return tally.rows > 0


def _columns(when: str, kind: str, path: str) -> str:
    return "  ".join((when.ljust(WIDTHS[0]), kind.ljust(WIDTHS[1]), path))


def _row(one: Quarantined, why: Mapping[str, object]) -> Row:
    return Row(
        when=_seconds(why.get("failed_at")),
        kind=as_text(why.get("reason")),
        path=shown(one.path),
        text=as_text(why.get("text")),
        what_to_do=as_text(why.get("what_to_do")),
    )


def _warned(receipt: Receipt) -> Row:
    remark = warning_of(receipt.reason)
    return Row(
        when=receipt.stored_at,
        kind=_number(receipt.reason),
        path=shown(receipt.path),
        text=remark.text,
        what_to_do=remark.what_to_do,
    )


def _number(reason: int | None) -> str:
    """As services' documents have it and as the standard has it."""
    return "unknown" if reason is None else str(reason) if reason < 0xA000 else f"{reason} ({reason:04X}H)"


def _as_json(receipt: Receipt) -> dict[str, object]:
    remark = warning_of(receipt.reason)
    return {
        "version": 1,
        "warning_reason": receipt.reason,
        "text": remark.text,
        "what_to_do": remark.what_to_do,
        "stored_at": rfc3339(receipt.stored_at),
        "path": receipt.path,
        "study_uid": receipt.study_uid,
        "series_uid": receipt.series_uid,
        "sop_instance_uid": receipt.sop_instance_uid,
        "proof": receipt.proof.value if receipt.proof is not None else None,
    }


def _seconds(failed_at: object) -> float | None:
    """None where nobody can tell, because people write in failed/ too."""
    try:
        return moment(failed_at).timestamp() if isinstance(failed_at, str) else None
    except (ValueError, OverflowError):
        return None


def _is_before(when: float | None, since: float | None) -> bool:
    return when is not None and since is not None and when < since


def _since(since: float | None) -> str:
    return "" if since is None else f" since {rfc3339(since)}"


def _width() -> int:
    return max(console().width, 40)
