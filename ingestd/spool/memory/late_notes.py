"""Which files of done/ were written after they were filed, as files in the state folder, for `failed list` and for /readyz.

state/late/<digest of the place>     says                                          goes when
the note                             the service holds an earlier state of it      nothing lies at its place any more, another
                                                                                   file does, or a later receipt proves it
`.ingestd-*.tmp`                     nothing: a write that a crash ended           the same note is written again
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ingestd.core.model import Stamp
from ingestd.core.second_look import Found
from ingestd.spool.disk import handles
from ingestd.spool.memory import documents

FOLDER = "late"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LateNote:
    """A file at `place` below done/, which was at `path` in the inbox. `found`: CHANGED or OPEN, at `found_at` (since the epoch),
    when its stamp was `stamp`."""

    place: str
    path: str
    found: Found
    found_at: float
    stamp: Stamp

    def stands(self, done: Path) -> bool:
        """Whether that file still lies there, as far as can be told: what can't be looked at is not forgotten."""
        try:
            *folders, name = handles.split(self.place)
            folder = handles.open_below(handles.open_root(done), folders)
            try:
                status = handles.lstat(folder, name)
            finally:
                handles.close(folder)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        same = (status.st_size, status.st_mtime_ns) == (self.stamp.size, self.stamp.mtime_ns)
        return stat.S_ISREG(status.st_mode) and (same or status.st_ino == self.stamp.inode)


class LateNotes:
    """One thread writes; others and other processes may read. Iterate for those that can be read, in no order."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._folder = state / FOLDER

    def keep(self, note: LateNote) -> bool:
        """Durable; whether there was none about this place. Raises OSError."""
        with suppress(FileExistsError):
            os.mkdir(self._folder, stat.S_IMODE(os.stat(self._state).st_mode))
        document = {"version": VERSION, **asdict(note), "found": note.found.value}
        name = _name(note.place)
        new = not (self._folder / name).exists()
        documents.keep(self._folder, name, document)
        return new

    def drop(self, place: str) -> bool:
        """Whether there was one. Never raises: a note that can't be removed is judged again."""
        try:
            os.unlink(self._folder / _name(place))
        except OSError:
            return False
        return True

    def __iter__(self) -> Iterator[LateNote]:
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and (note := _read(Path(entry.path))) is not None:
                        yield note
        except OSError:
            return


def _name(place: str) -> str:
    return hashlib.sha256(os.fsencode(place)).hexdigest()[:32]


def _read(file: Path) -> LateNote | None:
    document = documents.loaded(file)
    try:
        return LateNote(
            place=str(document["place"]),
            path=str(document["path"]),
            found=Found(document["found"]),
            found_at=float(document["found_at"]),
            stamp=Stamp(**document["stamp"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
