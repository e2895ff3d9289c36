"""What a file system can tell about the files on it, found out once a device, by a file of our own.

Each question is put to a canary whose answer is known: ftruncate claims a MiB, and is the hole seen? fallocate claims one, and is
it seen, by SEEK_HOLE or only by the extent map? We write it ourselves, and is a lease refused, and no longer when we don't? A
granted lease is believed on file systems alone where this kernel knows every writer; on FUSE and overlayfs, and where this host
exports the folder by NFS, a writer may be on the other side. NFS and CIFS clients refuse leases for reasons of their own, so they
are not asked.

On disk: `.ingestd-canary-<hex>`, empty, in the inbox, until it has been opened twice; the rest is done to a file without a name.
One that a crash leaves behind is removed by the next scan (watch.py). Where none can be made, nothing is believed, and it is tried
again.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ingestd.core.model import Ground, Lease
from ingestd.spool.disk import handles
from ingestd.spool.disk.extents import has_hole, unwritten
from ingestd.spool.disk.lease import take
from ingestd.spool.disk.mounts import file_system
from ingestd.spool.intake.watch import CANARY

_MIB = 1 << 20
_NEARLY = 64 << 10
_AGAIN_SECONDS = 60.0  # what is known of a disk's leases, until it is asked anew: an NFS export may come later
_EXPORTS = Path("/proc/fs/nfsd/exports")
_OLD_NS = 1_000_000_000_000_000_000  # 2001-09-09
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})

_PROVE = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs"})  # measured; f2fs and ZFS were not
_CTIMES = _PROVE | {
    "overlay",
    "f2fs",
    "zfs",
}  # FAT, exFAT and NTFS keep none, whatever they show while the file is in memory

_libc = ctypes.CDLL(None, use_errno=True)
_fallocate64 = getattr(_libc, "fallocate64", None) or _libc.fallocate  # musl has the second alone


class Grounds:
    """By device. Any thread: two that ask at once find the same. `now` is Clock.monotonic."""

    def __init__(self, root: Path, now: Callable[[], float]) -> None:
        self._root = root
        self._now = now
        self._asked: dict[int, Ground] = {}
        self._known: dict[int, tuple[float, Ground]] = {}

    def of(self, folder: int, device: int) -> Ground:
        """Of an open folder, the inbox or one below it, which is on `device`. Raises OSError."""
        until, ground = self._known.get(device, (-math.inf, Ground()))
        if self._now() < until:
            return ground
        asked = self._asked.get(device, Ground())
        if not asked.complete:
            asked = self._asked[device] = self._ask(folder, device)
        ground = replace(asked, leases=asked.leases and not _exported(device))  # an export may come later
        self._known[device] = (self._now() + _AGAIN_SECONDS, ground)
        return ground

    def _ask(self, folder: int, device: int) -> Ground:
        """By a canary in the inbox itself, or, where another disk is mounted below it, in the folder there."""
        root = handles.open_inbox(self._root)
        try:
            return ask(root if os.fstat(root).st_dev == device else folder)
        finally:
            handles.close(root)


def ask(folder: int) -> Ground:
    """What a canary in this open folder shows."""
    found = file_system(folder)
    kind = found.kind
    ground = Ground(kind=kind, on_network=not found.is_local, refusals=found.refusals_tell)
    try:
        reader, writer = _canary(folder)
    except OSError:
        return ground
    try:
        try:
            refused = take(reader) is Lease.REFUSED
            ground = _room(writer, ground)
            os.utime(writer, ns=(_OLD_NS, _OLD_NS))
            ctimes = kind in _CTIMES and os.fstat(writer).st_ctime_ns != _OLD_NS
        finally:
            handles.close(writer)
        leases = kind in _PROVE and refused and take(reader) is Lease.GRANTED
    except OSError:
        return ground
    finally:
        handles.close(reader)  # gives the lease back
    return replace(ground, leases=leases, ctimes=ctimes, complete=True)


def _canary(folder: int) -> tuple[int, int]:
    """A file without a name, open for reading and for both. Raises OSError."""
    name = CANARY + secrets.token_hex(8)
    writer = handles.create(folder, name)
    try:
        try:
            return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), writer
        finally:
            with suppress(FileNotFoundError):  # another ingestd may have swept it away
                os.unlink(name, dir_fd=folder)
    except OSError:
        handles.close(writer)
        raise


def _room(writer: int, ground: Ground) -> Ground:
    """Whether claimed room is seen, after a read as well, since a reader may come before us. Raises OSError."""
    os.ftruncate(writer, _MIB)
    holes = has_hole(writer, _MIB) is True
    few = _blocks(writer) <= _NEARLY
    os.ftruncate(writer, 0)
    if _fallocate(writer, _MIB):
        os.pread(writer, _MIB, 0)
        extents = bool(unwritten(writer, _MIB))
        ground = replace(ground, unwritten=extents or has_hole(writer, _MIB) is True, extents=extents)
    if holes and ground.unwritten:
        return replace(ground, holes=True)
    os.ftruncate(writer, 0)
    handles.write_all(writer, b"canaries" * (_MIB // 8))
    return replace(ground, holes=holes, blocks=few and _blocks(writer) >= _MIB - _NEARLY)


def _blocks(handle: int) -> int:
    return os.fstat(handle).st_blocks * 512


def _fallocate(handle: int, size: int) -> bool:
    """fallocate(2) itself: posix_fallocate writes where it is missing. False where it is; raises OSError for want of room."""
    if _fallocate64(handle, 0, ctypes.c_int64(0), ctypes.c_int64(size)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise handles.os_error(code)


def _exported(device: int) -> bool:
    """Whether this host's NFS server gives out a folder of that device: its clients write unseen between two of their requests."""
    try:
        lines = _EXPORTS.read_bytes().splitlines()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return any(_device(line.partition(b"\t")[0]) == device for line in lines if line.startswith(b"/"))


def _device(escaped: bytes) -> int | None:
    path = re.sub(rb"\\([0-7]{3})", lambda code: bytes((int(code[1], 8),)), escaped)
    try:
        return os.stat(path).st_dev
    except OSError:
        return None
