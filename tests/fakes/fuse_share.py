"""A network share, as the kernel sees one: a FUSE file system over a folder that others write into unseen by this kernel.

    python fuse_share.py BACKING MOUNTPOINT FAULT

serves BACKING at MOUNTPOINT until it is ended. Nothing is cached, no file event tells of what is done to BACKING, and leases are of
no use, as on NFS or CIFS. What can be done through the mount is what ingestd does in an inbox (look, list, read, unlink, rename)
and in done/ (make folders and files, write, sync, link).

The file FAULT says how the share fares: empty, it is well; `hang`, no call returns until the word is gone; an errno's name such as
`EIO` or `ESTALE`, every call fails with it. `hang-list` and `EIO-list` hold for listing folders alone. `stale`: as with NFS, a
file's attributes are told anew only when it is opened. `mtimes`: as with sshfs and vfat, the mtime is told as ctime.

The protocol is that of linux/fuse.h, 7.31.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
import sys
import threading
import time
from contextlib import suppress

LOOKUP, FORGET, GETATTR, UNLINK, RMDIR, RENAME, OPEN, READ, STATFS, RELEASE = 1, 2, 3, 10, 11, 12, 14, 15, 17, 18
FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, DESTROY, BATCH_FORGET, RENAME2 = (
    25,
    26,
    27,
    28,
    29,
    36,
    38,
    42,
    45,
)
SETATTR, MKDIR, LINK, WRITE, FSYNC, FSYNCDIR, CREATE = 4, 9, 13, 16, 20, 30, 35
LISTING = {READDIR}
UNANSWERED = {FORGET, INTERRUPT, DESTROY, BATCH_FORGET}
NEVER_FAILS = {INIT, RELEASE, RELEASEDIR, FLUSH}

HEADER = struct.Struct("<IIQQIIII")
ANSWER = struct.Struct("<IiQ")
ATTRIBUTES = struct.Struct("<6Q10I")


class Share:
    """One mount. Node numbers are the inodes of the backing file system; the root is 1."""

    def __init__(self, backing: str, fault: str, device: int) -> None:
        self._fault = fault
        self._device = device
        self._paths = {1: backing}
        self._handles: dict[int, int] = {}
        self._listings: dict[int, list[bytes]] = {}
        self._next = 1
        self._told: dict[int, bytes] = {}
        self._calls = {
            INIT: self._init,
            LOOKUP: self._lookup,
            SETATTR: self._setattr,
            MKDIR: self._mkdir,
            CREATE: self._create,
            WRITE: self._write,
            FSYNC: lambda node, body: b"",
            FSYNCDIR: lambda node, body: b"",
            LINK: self._link,
            GETATTR: lambda node, _: struct.pack("<QII", 0, 0, 0) + self._attributes(os.lstat(self._paths[node]), node),
            OPEN: self._open,
            READ: self._read,
            RELEASE: self._release,
            FLUSH: lambda node, body: b"",
            OPENDIR: self._opendir,
            READDIR: self._readdir,
            RELEASEDIR: self._releasedir,
            UNLINK: lambda node, body: os.unlink(self._below(node, body)) or b"",
            RMDIR: lambda node, body: os.rmdir(self._below(node, body)) or b"",
            RENAME: lambda node, body: self._rename(node, body[:8] + bytes(8) + body[8:]),
            RENAME2: self._rename,
            STATFS: lambda node, body: struct.pack(
                "<5Q4I6I", 1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19, 4096, 255, 4096, *([0] * 7)
            ),
        }

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self._device, 1 << 20)
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                raise
            _, operation, unique, node, *_ = HEADER.unpack_from(request)
            if operation in UNANSWERED:
                continue
            arguments = (operation, unique, node, request[HEADER.size :])
            if self._trouble(operation) == "hang":
                threading.Thread(target=self._later, args=arguments, daemon=True).start()
            else:
                self._answer(*arguments)

    def _later(self, operation: int, unique: int, node: int, body: bytes) -> None:
        while self._trouble(operation) == "hang":
            time.sleep(0.02)
        self._answer(operation, unique, node, body)

    def _answer(self, operation: int, unique: int, node: int, body: bytes) -> None:
        error, found = self._called(operation, node, body)
        with suppress(FileNotFoundError):  # interrupted meanwhile
            os.write(self._device, ANSWER.pack(ANSWER.size + len(found), -error, unique) + found)

    def _called(self, operation: int, node: int, body: bytes) -> tuple[int, bytes]:
        call = self._calls.get(operation)
        if call is None:
            return errno.ENOSYS, b""
        if word := self._trouble(operation):
            return int(getattr(errno, word, errno.EIO)), b""
        try:
            return 0, call(node, body)
        except KeyError:
            return errno.ESTALE, b""
        except OSError as error:
            return error.errno or errno.EIO, b""

    def _word(self) -> str:
        with open(self._fault) as file:
            return file.read().strip()

    def _trouble(self, operation: int) -> str:
        """`hang`, an errno's name, or nothing."""
        word, _, what = self._word().partition("-")
        spared = operation in NEVER_FAILS or (what == "list" and operation not in LISTING)
        return "" if spared or word in ("stale", "mtimes") else word

    def _below(self, node: int, name: bytes) -> str:
        return os.path.join(self._paths[node], os.fsdecode(name.rstrip(b"\0")))

    def _attributes(self, found: os.stat_result, node: int) -> bytes:
        if self._word() == "stale" and node in self._told and stat.S_ISREG(found.st_mode):
            return self._told[node]
        self._told[node] = self._fresh(found)
        return self._told[node]

    def _fresh(self, found: os.stat_result) -> bytes:
        changed = found.st_mtime_ns if self._word() == "mtimes" else found.st_ctime_ns
        times = [divmod(ns, 10**9) for ns in (found.st_atime_ns, found.st_mtime_ns, changed)]
        return ATTRIBUTES.pack(
            found.st_ino,
            found.st_size,
            found.st_blocks,
            *(seconds for seconds, _ in times),
            *(rest for _, rest in times),
            found.st_mode,
            found.st_nlink,
            found.st_uid,
            found.st_gid,
            0,
            4096,
            0,
        )

    def _init(self, node: int, body: bytes) -> bytes:
        return struct.pack("<4I2H2I2H8I", 7, 31, 1 << 16, 0, 12, 9, 1 << 16, 1, 16, 0, *([0] * 8))

    def _lookup(self, node: int, body: bytes) -> bytes:
        path = self._below(node, body)
        found = os.lstat(path)
        self._paths[found.st_ino] = path
        return struct.pack("<4Q2I", found.st_ino, 0, 0, 0, 0, 0) + self._attributes(found, found.st_ino)

    def _opened(self) -> int:
        self._next += 1
        return self._next

    def _open(self, node: int, body: bytes) -> bytes:
        flags = struct.unpack_from("<I", body)[0] & os.O_ACCMODE
        handle = self._opened()
        self._handles[handle] = os.open(self._paths[node], flags | os.O_CLOEXEC)
        self._told.pop(node, None)
        return struct.pack("<QII", handle, 1, 0)  # FOPEN_DIRECT_IO

    def _read(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(self._handles[handle], size, offset)

    def _release(self, node: int, body: bytes) -> bytes:
        os.close(self._handles.pop(struct.unpack_from("<Q", body)[0]))
        return b""

    def _opendir(self, node: int, body: bytes) -> bytes:
        handle = self._opened()
        entries = []
        with os.scandir(self._paths[node]) as found:
            for number, entry in enumerate(found, start=1):
                name = os.fsencode(entry.name)
                kind = entry.stat(follow_symlinks=False).st_mode >> 12
                record = struct.pack("<QQII", entry.inode(), number, len(name), kind) + name
                entries.append(record + b"\0" * (-len(record) % 8))
        self._listings[handle] = entries
        return struct.pack("<QII", handle, 0, 0)

    def _readdir(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        page = b""
        for record in self._listings[handle][offset:]:
            if len(page) + len(record) > size:
                break
            page += record
        return page

    def _releasedir(self, node: int, body: bytes) -> bytes:
        del self._listings[struct.unpack_from("<Q", body)[0]]
        return b""

    def _setattr(self, node: int, body: bytes) -> bytes:
        """Mode and times; what is asked for an owner is granted and not done (linux/fuse.h, FATTR_*)."""
        valid, at, mt, at_ns, mt_ns, mode = struct.unpack_from("<I28xQQ8xII4xI", body)
        path = self._paths[node]
        if valid & 1:
            os.chmod(path, stat.S_IMODE(mode))
        if valid & 1 << 5:
            os.utime(path, ns=(at * 10**9 + at_ns, mt * 10**9 + mt_ns))
        return struct.pack("<QII", 0, 0, 0) + self._fresh(os.lstat(path))

    def _mkdir(self, node: int, body: bytes) -> bytes:
        os.mkdir(self._below(node, body[8:]), stat.S_IMODE(struct.unpack_from("<I", body)[0]))
        return self._lookup(node, body[8:])

    def _create(self, node: int, body: bytes) -> bytes:
        flags, mode = struct.unpack_from("<II", body)
        handle, name = self._opened(), body[16:]
        path = self._below(node, name)
        self._handles[handle] = os.open(path, flags & (os.O_ACCMODE | os.O_EXCL) | os.O_CREAT | os.O_CLOEXEC, mode)
        return self._lookup(node, name) + struct.pack("<QII", handle, 1, 0)

    def _write(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", os.pwrite(self._handles[handle], body[40 : 40 + size], offset), 0)

    def _link(self, node: int, body: bytes) -> bytes:
        os.link(self._paths[struct.unpack_from("<Q", body)[0]], self._below(node, body[8:]))
        return self._lookup(node, body[8:])

    def _rename(self, node: int, body: bytes) -> bytes:
        folder, flags = struct.unpack_from("<QI", body)
        old, new = body[16:].rstrip(b"\0").split(b"\0")
        target = self._below(folder, new)
        if flags & 1 and os.path.lexists(target):  # RENAME_NOREPLACE
            raise FileExistsError(errno.EEXIST, "exists")
        os.rename(self._below(node, old), target)
        return b""


def main() -> None:
    backing, mountpoint, fault = sys.argv[1:]
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"share", os.fsencode(mountpoint), b"fuse", 6, options.encode()) != 0:  # MS_NOSUID | MS_NODEV
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), mountpoint)
    print("mounted", flush=True)
    Share(backing, fault, device).serve()


if __name__ == "__main__":
    main()
