"""Whether a file begins like DICOM: 128 bytes of anything, then `DICM` (PS3.10 7.1), or a data set without that header.

One rule for three: which names the scan says that no pattern takes, what `intake.include = "dicom"` takes, and what
`dicomweb store` takes of a folder. Only the first page is read, without reading ahead, because to read a part that was never
written hides from a look that it was not; and a first page that holds `DICM` was written.

The answer is remembered by stamp, because a folder is listed every few seconds. A young file's is not: while a page that a program
has mapped is written, the stamp may stay as it was. All is forgotten once an hour, so that no stamp hides a file for ever (I6).
"""

from __future__ import annotations

import enum
import errno
import os
from pathlib import Path

from ingestd.core.ports import Clock
from ingestd.part10.file_meta import BEGINNING, begins_like_dicom
from ingestd.spool.disk import handles
from ingestd.spool.intake.names import Ignored

READS = 10_000  # files a pass, of those that no pattern takes
_MOST_KNOWN = 100_000
_YOUNG_SECONDS = 60.0  # a file that changed, until its first bytes are remembered: a mapped page leaves no trace
_FORGET_SECONDS = 3600.0  # first bytes that are remembered, until all are forgotten: no stamp hides a file for ever
_UNWRITTEN_SECONDS = 900.0  # a file without first bytes, until it counts as no DICOM
_WRITTEN = frozenset({errno.EAGAIN, errno.EBUSY, errno.ETXTBSY})  # a lease is broken, or the file is locked


def begins(folder: int, name: str) -> bool | None:
    """Whether the file `name` in an open folder begins like DICOM; None where nothing but zeros, or nothing, was written there yet.

    Raises OSError.
    """
    handle, _ = handles.open_file(folder, name)
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_RANDOM)
        beginning = os.pread(handle, BEGINNING, 0)
        return begins_like_dicom(beginning) if any(beginning) else None
    finally:
        handles.close(handle)


def begins_below(root: Path, path: str) -> bool:
    """The same for a path below a root, no link followed on the way. Raises OSError, FileRefusedError."""
    *folders, name = handles.split(path)
    folder = handles.open_below(handles.open_inbox(root), folders)
    try:
        return bool(begins(folder, name))
    finally:
        handles.close(folder)


class Begins(enum.Enum):
    """How a file begins that nobody is about to write any more."""

    DICOM = enum.auto()
    OTHERWISE = enum.auto()
    WITH_ZEROS = enum.auto()  # and has gone on so: room was claimed for it, and its copy was broken off


_WHY_NOT = {Begins.DICOM: None, Begins.OTHERWISE: Ignored.NOT_DICOM, Begins.WITH_ZEROS: Ignored.UNWRITTEN}


class Beginnings:
    """What is known of how files begin. The scanner's thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[int, Begins] = {}
        self._forget_at = clock.monotonic() + _FORGET_SECONDS

    def known(self, status: os.stat_result) -> Begins | None:
        """What is remembered of a file in this state."""
        if (now := self._clock.monotonic()) >= self._forget_at:
            self._known.clear()
            self._forget_at = now + _FORGET_SECONDS
        return self._known.get(_key(status))

    def read(self, folder: int, name: str, status: os.stat_result) -> Begins | None:
        """Read it; `status` is from before. None where its writer may not have come to its beginning yet. Raises OSError."""
        like, age = begins(folder, name), self._clock.wall() - status.st_ctime
        if like is None and age < _UNWRITTEN_SECONDS:
            return None
        unwritten = like is None and status.st_size > 0
        found = Begins.DICOM if like else Begins.WITH_ZEROS if unwritten else Begins.OTHERWISE
        if len(self._known) < _MOST_KNOWN and age > _YOUNG_SECONDS:
            self._known[_key(status)] = found
        return found


class Reading:
    """One pass: what is not remembered is read, of at most `reads` files."""

    def __init__(self, beginnings: Beginnings, reads: float) -> None:
        self._beginnings = beginnings
        self._left = reads

    def why_not(self, folder: int, entry: os.DirEntry[str]) -> Ignored | None:
        """None where it begins like DICOM, NOT_DICOM or UNWRITTEN where it does not, UNREAD where too many were read or somebody
        writes it.

        Raises OSError.
        """
        status = entry.stat(follow_symlinks=False)
        found = self._beginnings.known(status)
        if found is None:
            if self._left <= 0:
                return Ignored.UNREAD
            self._left -= 1
            try:
                found = self._beginnings.read(folder, entry.name, status)
            except OSError as error:
                if error.errno not in _WRITTEN:
                    raise
                return Ignored.UNREAD
        return Ignored.UNREAD if found is None else _WHY_NOT[found]


def _key(status: os.stat_result) -> int:
    return hash((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
