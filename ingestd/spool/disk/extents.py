"""Which bytes of an open file were never written: holes, and extents that were claimed and not filled.

SEEK_HOLE (lseek(2)) sees both, but asks the page cache about unwritten extents: on ext4, xfs and overlayfs one read of the file, by
a virus scanner or by our own walk, and they are data to it. The extent map (FIEMAP) sees them whoever has read the file, and calls
what is not yet written back unwritten as well; asked to sync the file first it does not. Both leave the offset at 0.
"""

from __future__ import annotations

import fcntl
import os
import struct

_FIEMAP = 0xC020660B  # FS_IOC_FIEMAP, linux/fiemap.h
_HEAD = struct.Struct("=QQIIII")  # start, length, flags, extents mapped, extents there is room for, reserved
_EXTENT = struct.Struct("=QQQQQIIII")  # logical, physical, length, reserved, flags, reserved
_SYNC = 0x1
_LAST = 0x1
_UNWRITTEN = 0x800
_SOME = 32  # extents asked for at first: nearly every file has fewer
_MANY = 512
_HOLES = 4096  # counted at most


def has_hole(handle: int, size: int) -> bool | None:
    """Whether SEEK_HOLE finds one before the end; None where it gives no answer."""
    try:
        return os.lseek(handle, 0, os.SEEK_HOLE) < size
    except OSError:
        return None
    finally:
        os.lseek(handle, 0, os.SEEK_SET)


def unwritten(handle: int, size: int, *, sync: bool = False) -> int | None:
    """How many of the first `size` bytes lie in unwritten extents; None where the file system shows no extents."""
    found = at = 0
    room = _SOME
    while at < size:
        buffer = bytearray(_HEAD.size + room * _EXTENT.size)
        _HEAD.pack_into(buffer, 0, at, size - at, _SYNC if sync else 0, 0, room, 0)
        try:
            fcntl.ioctl(handle, _FIEMAP, buffer)
        except OSError:
            return None
        mapped = _HEAD.unpack_from(buffer)[3]
        if not mapped:
            return found if at else None
        for number in range(mapped):
            begin, _, length, _, _, flags, *_ = _EXTENT.unpack_from(buffer, _HEAD.size + number * _EXTENT.size)
            at = begin + length
            if flags & _UNWRITTEN:
                found += max(min(at, size) - begin, 0)
            if flags & _LAST:
                return found
        room = _MANY
    return found


def unfilled(handle: int, size: int) -> int:
    """How many of the first `size` bytes were never written, as far as both can tell."""
    holes = at = 0
    try:
        for _ in range(_HOLES):
            hole = os.lseek(handle, at, os.SEEK_HOLE)
            if hole >= size:
                break
            at = _next_data(handle, hole, size)
            holes += at - hole
            if at >= size:
                break
    except OSError:
        pass
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
    return max(holes, unwritten(handle, size) or 0)


def _next_data(handle: int, at: int, size: int) -> int:
    try:
        return min(os.lseek(handle, at, os.SEEK_DATA), size)
    except OSError:  # ENXIO: none until the end
        return size
