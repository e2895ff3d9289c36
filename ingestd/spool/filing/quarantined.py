"""What stands in failed/: files, each with its reason beside it, read as a person asks for them.

The folder is the truth (I5) and people work in it too, so anything can be amiss: a reason file without its file (it is just being
filed, or was taken away), a file without its reason, a reason file that is damaged. Each is named, and none ends the reading.
The files of a folder come in the order of their names, and after them its sub-folders in theirs; of a folder with very many no
more names are kept than there is room for (descent.py), so that reading has a bound in bytes.

Which is which is told by names: `x.reason.json` is a reason file, unless it has a reason file itself.
"""

from __future__ import annotations

import enum
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ingestd.core.errors import FileRefusedError, FilingError
from ingestd.spool.disk import errors, handles
from ingestd.spool.disk.descent import At, Descent, in_order
from ingestd.spool.filing.reason_file import REASON_SUFFIX, VERSION
from ingestd.spool.intake.names import unfinished

_LONGEST = 1 << 20  # of a reason file, which holds the start of an answer at most


class Flaw(enum.Enum):
    """What is amiss, as a person reads it."""

    ABSENT = "there is no such file in failed/"
    NO_FILE = "a reason file without its file: it is being filed just now, or was taken away"
    NO_REASON = "a file without its reason file"
    DAMAGED = "its reason file is damaged"
    UNREADABLE = "its reason file can't be read: run this as the service's user"
    NO_FOLDER = "a folder that can't be read: run this as the service's user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A name in failed/. `path` is relative to failed/; `why` is what the reason file says, where it can be read."""

    path: str
    why: Mapping[str, object] | None = None
    flaw: Flaw | None = None

    @property
    def origin(self) -> str:
        """Where it was in the inbox; where that is not known, where it is now."""
        path = self.why["path"] if self.why is not None else None
        return path if isinstance(path, str) else self.path

    @property
    def is_file(self) -> bool:
        return self.flaw not in (Flaw.ABSENT, Flaw.NO_FILE, Flaw.NO_FOLDER)


class FailedFolder:
    """Iterate for all of it. Raises FilingError where failed/ itself can't be read."""

    def __init__(self, failed: Path) -> None:
        self._failed = failed

    def __iter__(self) -> Iterator[Quarantined]:
        with Descent(self._root(), wanted=_is_finished) as way:
            for at, folder in way.steps():
                if folder.problem is not None:
                    yield Quarantined(path=(way.path + folder.name).rstrip("/"), flaw=Flaw.NO_FOLDER)
                elif at is At.ENTERED:
                    try:
                        yield from _listed(way, folder.handle)
                    except OSError:
                        yield Quarantined(path=way.path.rstrip("/"), flaw=Flaw.NO_FOLDER)

    def find(self, path: str) -> tuple[Quarantined, ...]:
        """What stands at `path`; else those that came from there and got another name here; else one that says it is absent."""
        try:
            *parents, name = handles.split(path)
            handle = self._open(parents)
        except (OSError, FileRefusedError):
            return (Quarantined(path=path, flaw=Flaw.ABSENT),)
        try:
            if name.endswith(REASON_SUFFIX) and not _is_file(handle, name + REASON_SUFFIX):
                name = name.removesuffix(REASON_SUFFIX)
            is_there = _is_file(handle, name)
            below = "".join(f"{parent}/" for parent in parents)
            if is_there or _is_file(handle, name + REASON_SUFFIX):
                return (_quarantined(handle, below, name, is_there=is_there),)
            stem = os.path.splitext(name)[0]

            def is_alike(entry: os.DirEntry[str]) -> bool:
                return "~" in entry.name and stem.startswith(entry.name.rpartition("~")[0]) and _is_whole(entry)

            others = (other for other in in_order(handle, is_alike) if _named(handle, other) == other)
            found = (_quarantined(handle, below, other, is_there=True) for other in others)
            origin = below + name
            same = tuple(one for one in found if one.why is not None and one.origin == origin)
            return same or (Quarantined(path=path, flaw=Flaw.ABSENT),)
        finally:
            handles.close(handle)

    def _open(self, parents: Sequence[str]) -> int:
        return handles.open_below(self._root(), parents)

    def _root(self) -> int:
        try:
            return handles.open_root(self._failed)
        except OSError as error:
            words = errors.words(error)
            text = "run this with the service's settings, as the service's user"
            raise FilingError(f"folders.failed can't be read ({words}): {text}") from error


def _listed(way: Descent, handle: int) -> Iterator[Quarantined]:
    """Its files; its sub-folders are put off. Raises OSError."""
    with os.scandir(handle) as entries:
        for entry in entries:
            if _is_finished(entry.name) and entry.is_dir(follow_symlinks=False):
                way.put_off(entry.name)
    below = way.path
    for name in in_order(handle, _is_whole):
        if (target := _named(handle, name)) is not None:
            yield _quarantined(handle, below, target, is_there=target == name)


def _is_finished(name: str) -> bool:
    return unfinished(name) is None


def _is_whole(entry: os.DirEntry[str]) -> bool:
    return _is_finished(entry.name) and entry.is_file(follow_symlinks=False)


def _named(handle: int, name: str) -> str | None:
    """Which quarantined file this name speaks for; None for a reason file whose file speaks for itself, and for what has gone."""
    with suppress(OSError):  # what can't be looked at is not gone
        try:
            handles.lstat(handle, name)
        except FileNotFoundError:
            return None
    if not name.endswith(REASON_SUFFIX) or _is_file(handle, name + REASON_SUFFIX):
        return name
    target = name.removesuffix(REASON_SUFFIX)
    return None if _is_file(handle, target) else target


def _is_file(folder: int, name: str) -> bool:
    try:
        return stat.S_ISREG(handles.lstat(folder, name).st_mode)
    except OSError:
        return False


def _quarantined(handle: int, below: str, name: str, *, is_there: bool) -> Quarantined:
    why = _why(handle, name + REASON_SUFFIX)
    flaw = why if isinstance(why, Flaw) else None
    return Quarantined(
        path=below + name,
        why=None if isinstance(why, Flaw) else why,
        flaw=flaw if is_there else Flaw.NO_FILE,
    )


def _why(folder: int, name: str) -> Mapping[str, object] | Flaw:
    try:
        handle, _ = handles.open_file(folder, name)
        with open(handle, "rb") as opened:
            document = json.loads(opened.read(_LONGEST))
    except FileNotFoundError:
        return Flaw.NO_REASON
    except OSError:
        return Flaw.UNREADABLE
    except (ValueError, RecursionError):
        return Flaw.DAMAGED
    return document if _is_ours(document) else Flaw.DAMAGED


def _is_ours(document: object) -> bool:
    """Of this version, with a reason, and a path that leads to no other place."""
    if not isinstance(document, dict) or document.get("version") != VERSION:
        return False
    path, reason = document.get("path"), document.get("reason")
    if not isinstance(path, str) or not isinstance(reason, str):
        return False
    try:
        os.fsencode("/".join(handles.split(path)))
    except (FileRefusedError, UnicodeEncodeError):
        return False
    return True
