"""Moving a file to another file system (F41): copy, verify, sync, and only then take the source away.

The copy grows under a temporary name in the root of done/ or failed/, one name for each dropped file, so that a try
after a crash overwrites what the one before has left. It is synced and read back from the disk before it gets its name,
and keeps the temporary one, as a second link, until the source is gone. So a try after a crash looks for the first one,
wherever that was (done/ goes by date), knows that the file has been filed, and only takes the source away. Where the file
system has no links, the copy is looked for under the name it would get now.

The source is taken away as removal.py says: neither a new version that slips in under its name at the last moment goes
with it, nor what somebody who still has it open would write behind the copy. A crash in between leaves a second name that
is taken like any other, sent again, and found stored; the temporary name goes by what a rename keeps, so that it is found
filed, too.
"""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass

from ingestd.core.errors import FileChangedError
from ingestd.part10.digests import digest_from
from ingestd.spool.disk import handles
from ingestd.spool.disk.rights import may_write
from ingestd.spool.filing.entry import Entry

_PIECE = 1 << 20
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK})


@dataclass(slots=True, kw_only=True)
class Copy:
    """A whole, synced copy under a temporary name, while `is_temporary`. `digest` (SHA-256, hex) is of all its bytes."""

    folder: int
    name: str
    digest: str
    status: os.stat_result
    is_temporary: bool = True

    @property
    def entry(self) -> Entry:
        """Its temporary name."""
        return Entry(folder=self.folder, name=self.name, path=self.name, stamp=handles.stamp_of(self.status))

    def is_there(self, folder: int, name: str) -> bool:
        """Whether `name` is this very file already, copied by a try that a crash ended before the source was gone."""
        try:
            found = handles.lstat(folder, name)
            if found.st_size != self.status.st_size or found.st_mtime_ns != self.status.st_mtime_ns:
                return False
            handle, _ = handles.open_file(folder, name)
        except OSError:
            return False
        try:
            return digest_from(handle, 0) == self.digest
        finally:
            handles.close(handle)

    def link(self, folder: int, name: str) -> None:
        """Gives it its name, never onto anything. Raises FileExistsError where it is taken, OSError."""
        try:
            os.link(self.name, name, src_dir_fd=self.folder, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            handles.move(self.folder, self.name, folder, name)

    def became(self, folder: int, name: str) -> bool:
        """Whether `name` is this copy, and not what another process has made of its temporary name."""
        return handles.is_moved(handles.stamp_of(self.status), handles.lstat(folder, name))

    def discard(self) -> None:
        """Take its temporary name away, once."""
        if self.is_temporary:
            self.is_temporary = False
            with suppress(OSError):
                os.unlink(self.name, dir_fd=self.folder)


def filed_before(entry: Entry, root: int) -> Copy | None:
    """The copy that a try has filed which a crash ended before the source was gone. Raises FileChangedError, OSError."""
    name = _temporary(entry)
    try:
        handle, status = handles.open_file(root, name)
    except FileNotFoundError:
        return None
    try:
        if status.st_nlink < 2 or (status.st_size, status.st_mtime_ns) != (entry.stamp.size, entry.stamp.mtime_ns):
            return None
        if not _stands_below(root, status):
            return None
        copy = Copy(folder=root, name=name, digest=digest_from(handle, 0), status=status)
    finally:
        handles.close(handle)
    source, _ = handles.open_file(entry.folder, entry.name)
    try:
        entry.match(os.fstat(source))
        return copy if digest_from(source, 0) == copy.digest else None
    finally:
        handles.close(source)


def copy_over(entry: Entry, root: int) -> Copy:
    """Copies `entry` into the folder `root`; owner (where allowed), mode and times go with it. Raises FileChangedError, OSError."""
    if not may_write(entry.folder):
        raise handles.os_error(errno.EACCES)  # it could never be taken away
    source, status = handles.open_file(entry.folder, entry.name)
    try:
        name = _temporary(entry)
        target = handles.create(root, name)
        try:
            digest = _pour(source, target, entry)
            _dress(target, status)
            os.fsync(target)
            _verify(target, digest)
            return Copy(folder=root, name=name, digest=digest, status=os.fstat(target))
        except (OSError, FileChangedError):
            with suppress(OSError):
                os.unlink(name, dir_fd=root)
            raise
        finally:
            handles.close(target)
    finally:
        handles.close(source)


def _temporary(entry: Entry) -> str:
    folder = os.path.dirname(entry.path)
    return handles.temporary(f"{entry.stamp.inode} {entry.stamp.size} {entry.stamp.mtime_ns} {folder}")


def _stands_below(root: int, copy: os.stat_result) -> bool:
    """Whether a file below `root` is this one. Two links alone say nothing: a snapshot by hard links makes one, too.

    It is asked after a crash alone, and costs a listing of all there is.
    """
    for _, _, _, folder in os.fwalk(dir_fd=root):
        with os.scandir(folder) as entries:
            alike = [
                entry.name for entry in entries if entry.inode() == copy.st_ino and not handles.is_temporary(entry.name)
            ]
        if any(os.path.samestat(copy, handles.lstat(folder, name)) for name in alike):
            return True  # the number alone may be another disk's
    return False


def _pour(source: int, target: int, entry: Entry) -> str:
    digest = hashlib.sha256()
    entry.match(os.fstat(source))
    left = entry.stamp.size
    while left and (piece := os.read(source, min(_PIECE, left))):
        digest.update(piece)
        handles.write_all(target, piece)
        left -= len(piece)
    if left or os.read(source, 1):
        raise FileChangedError("the file changed while it was copied: it stays and is judged again")
    entry.match(os.fstat(source))
    return digest.hexdigest()


def _verify(target: int, digest: str) -> None:
    os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)  # so that what is read back comes from the disk
    if digest_from(target, 0) != digest:
        raise handles.os_error(errno.EIO)


def _dress(target: int, status: os.stat_result) -> None:
    with suppress(PermissionError):  # only root can give files away
        os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, status.st_mode & 0o777)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
