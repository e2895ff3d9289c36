"""One state of one file, by its folder's handle and its name there: is it still that, and its names while it is taken away."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from ingestd.core.errors import FileChangedError
from ingestd.core.model import Stamp
from ingestd.part10.digests import DIGESTED, digest_of
from ingestd.spool.disk import handles
from ingestd.spool.disk.free_names import free_names

_ANOTHER = "the file is no longer the one that was judged: it stays and is judged again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A name, in the inbox, done/ or failed/, and the state of its file that is meant. The handle stays its owner's."""

    folder: int
    name: str
    path: str
    stamp: Stamp

    def check(self) -> None:
        """Raises FileChangedError unless the name stands for that file in that state; OSError."""
        self.match(handles.lstat(self.folder, self.name))

    def match(self, status: os.stat_result) -> None:
        """Raises FileChangedError unless `status` is that file's in that state."""
        if handles.stamp_of(status) != self.stamp:
            raise FileChangedError(_ANOTHER)

    def compare(self, sha256: str) -> None:
        """Raises FileChangedError unless it is that file in that state, with that digest; OSError."""
        handle, status = handles.open_file(self.folder, self.name)
        try:
            self.match(status)
            if digest_of(handle) != sha256:
                raise FileChangedError(_ANOTHER)
            self.match(os.fstat(handle))
        finally:
            handles.close(handle)

    def stamp_now(self) -> Stamp | None:
        """After a try to move it, which may have touched its ctime; None where the name stands for anything else."""
        try:
            status = handles.lstat(self.folder, self.name)
        except OSError:
            return None
        return handles.stamp_of(status) if handles.is_moved(self.stamp, status) else None

    def digest(self) -> str | None:
        """What digests.py says, None where it can't be had now or would take long: for the reason file, where it is a courtesy."""
        if self.stamp.size > DIGESTED:
            return None
        try:
            handle, _ = handles.open_file(self.folder, self.name)
            try:
                digest = digest_of(handle)
                same = handles.stamp_of(os.fstat(handle)) == self.stamp
            finally:
                handles.close(handle)
        except OSError:
            return None
        return digest if same else None


def step_aside(entry: Entry) -> str:
    """Rename it beside itself, to a name that nobody else has opened; that name. Raises OSError."""
    return _renamed(entry.folder, entry.name, entry, itself=False)


def put_back(folder: int, name: str, entry: Entry) -> None:
    """Give a file its name again, or the next one that is free. Raises OSError."""
    _renamed(folder, name, entry, itself=True)


def _renamed(folder: int, name: str, entry: Entry, *, itself: bool) -> str:
    """`name` becomes the first of the entry's names that is free; `itself`: its own name is one of them."""
    limit = os.fpathconf(entry.folder, "PC_NAME_MAX")
    for new in free_names(entry.name, seed=str(entry.stamp.inode), limit=limit, extended=True):
        if new == entry.name and not itself:
            continue
        if new == name and folder == entry.folder:
            return new
        try:
            handles.move(folder, name, entry.folder, new)
        except FileExistsError:
            continue
        return new
    raise handles.os_error(errno.EEXIST)
