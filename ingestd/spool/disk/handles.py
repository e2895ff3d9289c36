"""The disk by directory handle: the only place that opens dropped files, writes durably and renames.

Whoever can write into the inbox chooses its names, kinds and links, and changes them under us (F25 to F28). So a path
is never handed to the kernel whole: each folder is opened from its parent's handle, a link ends the walk, and what was
opened is what is judged. Only the roots, which the operator configures, may be links, and the inbox at the start alone.

A rename never lands on anything: renameat2(RENAME_NOREPLACE), else link and unlink, which says EEXIST as well. A crash
between those two leaves one file with two names; the next move of it finds its own inode under the target name and only
unlinks.

A durable write goes to `.ingestd-<digest of the name>.tmp` beside the target, is synced, renamed, and the folder
synced. What a crash leaves under that name is overwritten when the same file is written again, which happens because
its source is still there; such names begin with a dot and are never taken for a file of ours.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ingestd.core.errors import FileRefusedError
from ingestd.core.model import Stamp

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

PIECE = 256 << 10

_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})

_RENAME_NOREPLACE = 1
_libc = ctypes.CDLL(None, use_errno=True)
_renameat2 = getattr(_libc, "renameat2", None)  # glibc 2.28; musl lacks it
if _renameat2 is not None:
    _renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)


class UnseenMoveError(OSError):
    """A file may have got its new name, and keep it: that could not be seen."""

    def __init__(self, error: OSError, new_name: str) -> None:
        super().__init__(error.errno, error.strerror)
        self.new_name = new_name


def os_error(code: int) -> OSError:
    """What the kernel would raise for this errno."""
    return OSError(code, os.strerror(code))


def stamp_of(status: os.stat_result) -> Stamp:
    return Stamp(
        device=status.st_dev,
        inode=status.st_ino,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
    )


def is_moved(stamp: Stamp, status: os.stat_result) -> bool:
    """Whether it is that file in that state, moved or not: a rename may touch the ctime and nothing else."""
    return (
        status.st_ino == stamp.inode
        and status.st_dev == stamp.device
        and status.st_size == stamp.size
        and status.st_mtime_ns == stamp.mtime_ns
    )


def lstat(folder: int, name: str) -> os.stat_result:
    return os.stat(name, dir_fd=folder, follow_symlinks=False)


def split(path: str) -> list[str]:
    """The components of a path below a root. Raises FileRefusedError for any that could lead elsewhere."""
    names = path.split("/")
    if any(name in ("", ".", "..") or "\0" in name for name in names):
        raise FileRefusedError("not a path below the inbox: it is passed over")
    return names


def open_root(root: Path) -> int:
    return os.open(root, _ROOT)


def open_inbox(root: Path) -> int:
    """The inbox itself. The operator's link to it was followed at the start; one that is there now is somebody else's."""
    return os.open(root, FOLDER)


def close(handle: int) -> None:
    """For what was only read, or synced. A share that breaks off fails even that (FUSE's flush), and the handle is gone as well."""
    with suppress(OSError):
        os.close(handle)


def open_below(folder: int, names: Sequence[str]) -> int:
    """A handle on the folder `names` below an open one, whose handle it takes over. Raises OSError."""
    for name in names:
        try:
            below = os.open(name, FOLDER, dir_fd=folder)
        finally:
            close(folder)
        folder = below
    return folder


def open_made(folder: int, name: str, *, sync: bool) -> int:
    """A handle on the sub-folder `name`, made if need be; `sync` makes its entry durable. Raises OSError."""
    try:
        below = os.open(name, FOLDER, dir_fd=folder)
    except FileNotFoundError:
        with suppress(FileExistsError):  # another shard was first
            os.mkdir(name, dir_fd=folder)
        below = os.open(name, FOLDER, dir_fd=folder)
    if sync:
        try:
            sync_folder(folder)
        except OSError:
            close(below)
            raise
    return below


def open_file(folder: int, name: str) -> tuple[int, os.stat_result]:
    """A handle on a regular file, for reading, and what fstat says. Never blocks. Raises OSError, ENXIO for any other kind.

    To open a FIFO or a device does something to it, so the name is looked at first; what was opened is what counts.
    """
    _regular(lstat(folder, name))
    handle = os.open(name, _FILE, dir_fd=folder)
    try:
        return handle, _regular(os.fstat(handle))
    except OSError:
        close(handle)
        raise


def _regular(status: os.stat_result) -> os.stat_result:
    if not stat.S_ISREG(status.st_mode):
        raise os_error(errno.ENXIO)
    return status


def create(folder: int, name: str) -> int:
    """A new, empty file of ours alone, for writing and reading, in place of a leftover of that name. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=folder)


def sync_folder(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:  # some network file systems have no fsync for folders
            raise


def sync_file_system(folder: int) -> None:
    """All of the file system that `folder` lies on, and no other: syncfs(2). Raises OSError."""
    if _libc.syncfs(folder) != 0:
        code = ctypes.get_errno()
        raise os_error(code)


def temporary(name: str) -> str:
    """The name under which `name` is written until it is whole."""
    return f".ingestd-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.tmp"


def is_temporary(name: str) -> bool:
    """Whether it is the name of something unfinished of ours."""
    return name.startswith(".ingestd-") and name.endswith(".tmp")


def write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def write_durably(folder: int, name: str, data: bytes) -> None:
    """The file `name` holds `data`, all of it or what was there before, and does so after a power failure. Raises OSError."""
    unfinished = temporary(name)
    handle = create(folder, unfinished)
    try:
        try:
            write_all(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with suppress(OSError):
            os.unlink(unfinished, dir_fd=folder)
        raise
    sync_folder(folder)


def move(from_folder: int, name: str, to_folder: int, new_name: str) -> None:
    """Rename to another name, never onto anything. Raises FileExistsError where it is taken, OSError; nothing has moved then.

    A share may do what it is asked and lose its answer: then an error says nothing, and what has which name decides. Where not even
    that can be seen it is UnseenMoveError.
    """
    ours = lstat(from_folder, name)
    try:
        _move(from_folder, name, to_folder, new_name)
    except FileExistsError:
        if not is_linked(from_folder, name, to_folder, new_name):
            raise
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=from_folder)
    except OSError as error:
        try:
            moved = _has_moved(ours, from_folder, name, to_folder, new_name)
        except OSError:
            raise UnseenMoveError(error, new_name) from error
        if not moved:
            raise


def _has_moved(ours: os.stat_result, from_folder: int, name: str, to_folder: int, new_name: str) -> bool:
    """Whether the file has the new name alone; with both, it keeps the old one. Raises OSError where that can't be told."""
    try:
        if not os.path.samestat(ours, lstat(to_folder, new_name)):
            return False
    except FileNotFoundError:
        return False
    try:
        if not os.path.samestat(ours, lstat(from_folder, name)):
            return True  # the old name is a new version's
    except FileNotFoundError:
        return True
    os.unlink(new_name, dir_fd=to_folder)
    return False


def is_linked(folder: int, name: str, other_folder: int, other_name: str) -> bool:
    """Whether both names are one file's, as a crash between link and unlink leaves it. Raises OSError for the first alone."""
    ours = lstat(folder, name)
    if ours.st_nlink < 2:
        return False
    try:
        return os.path.samestat(ours, lstat(other_folder, other_name))
    except OSError:
        return False


def _move(from_folder: int, name: str, to_folder: int, new_name: str) -> None:
    if _renameat2 is not None:
        old, new = os.fsencode(name), os.fsencode(new_name)
        if _renameat2(from_folder, old, to_folder, new, _RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
        if code not in _UNSUPPORTED:
            raise os_error(code)
    os.link(name, new_name, src_dir_fd=from_folder, dst_dir_fd=to_folder, follow_symlinks=False)
    os.unlink(name, dir_fd=from_folder)
