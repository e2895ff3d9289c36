"""Removing a file for good, on proof: from the inbox once it is stored (`done.action = delete`), from done/ once it is old.

The name is seen to stand for the file that is meant, and nobody to have it open for writing; it is renamed beside itself, and
under the new name nobody but this process opens it. What has that name must still be that very file (device, inode, size, mtime),
and a read lease says once more that nobody who opened it before may write into it; only then is it unlinked. Whatever else is
found goes back under its name, or the next free one. Where there are no leases (network file systems, another user's file) the
stamps alone decide, as they do when a file settles. A file of the inbox must also have the digest of what was stored: two
writes within one tick of the kernel's clock leave the same stamp. A large one need not, for to read it took longer than that.

    killed                         what is left                              what the next run does
    before the rename              the file                                  finds it stored, removes it
    between rename and unlink      the file, as `<name>~1<extension>`        the same
    after the unlink               nothing; a power failure may undo it      the same
"""

from __future__ import annotations

import errno
import os

from ingestd.core.errors import FileChangedError
from ingestd.part10.digests import digest_of
from ingestd.spool.disk import handles
from ingestd.spool.disk.lease import Lease, is_whole, take
from ingestd.spool.filing.entry import Entry, put_back, step_aside


def remove(entry: Entry, *, sha256: str | None = None) -> None:
    """Raises FileChangedError where another file has its name or its bytes, OSError (ETXTBSY: somebody may still write into it).

    `sha256`: of its data set (digests.py), where that is to be compared.
    """
    refuse_open(entry)
    aside = step_aside(entry)
    try:
        handle, status = handles.open_file(entry.folder, aside)
        try:
            changed = not handles.is_moved(entry.stamp, status)
            if not changed:
                _refuse_writers(handle)
                changed = sha256 is not None and digest_of(handle) != sha256
            if not changed:
                _refuse_writers(handle)  # who resolved its old name before the rename may have come while it was read
                os.unlink(aside, dir_fd=entry.folder)
        finally:
            handles.close(handle)  # gives the lease back
    except OSError:
        put_back(entry.folder, aside, entry)
        raise
    if changed:
        put_back(entry.folder, aside, entry)
        raise FileChangedError("a new version arrived while the file was removed: it stays and is judged")


def refuse_open(entry: Entry) -> None:
    """Raises as `remove` does. It comes before the rename, which changes the ctime: a file that has to stay would be another."""
    handle, status = handles.open_file(entry.folder, entry.name)
    try:
        entry.match(status)
        _refuse_writers(handle)
    finally:
        handles.close(handle)


def _refuse_writers(handle: int) -> None:
    """OSError (ETXTBSY) where somebody has it open for writing, as far as the kernel can tell. The lease goes with the handle."""
    lease = take(handle)
    if lease is Lease.REFUSED or (lease is Lease.GRANTED and not is_whole(handle)):
        raise handles.os_error(errno.ETXTBSY)
