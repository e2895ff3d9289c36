"""The ground on which an open folder lies, and which folders are mount points: by /proc (proc(5)), else by statfs(2).

Network and host-shared file systems have writers that this kernel does not see: no events (inotify(7)), no proof by
lease, attribute caches of up to a minute, and no memory that two SQLite processes could share.

In a chroot whose root is no mount point, /proc/self/mountinfo has no line for that root's mount, and a chroot may have no /proc
at all. Then the number that statfs(2) gives decides. FUSE has one for local and for shared ones, so there it counts as shared.
What neither knows is None: callers treat it as a network file system wherever that is the careful way.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ingestd.core.errors import FilingError

_NETWORK = frozenset({"9p", "afs", "beegfs", "ceph", "cifs", "coda", "drvfs", "fuse", "gfs2", "glusterfs", "gpfs"})
_NETWORK |= {"lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb3", "smbfs"}
_NETWORK |= {"vboxsf", "virtiofs", "vmhgfs", "wekafs"}
_PROC = Path("/proc/self")
_MAGIC = {  # linux/magic.h, statfs(2) and the file systems' own sources
    0x0000EF53: "ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x01021994: "tmpfs",
    0x858458F6: "ramfs",
    0x794C7630: "overlay",
    0xF2F52010: "f2fs",
    0x2FC12FC1: "zfs",
    0xCA451A4E: "bcachefs",
    0x3153464A: "jfs",
    0x52654973: "reiserfs",
    0x00004D44: "vfat",
    0x2011BAB0: "exfat",
    0x7366746E: "ntfs3",
    0x00006969: "nfs",
    0xFF534D42: "cifs",
    0xFE534D42: "smb3",
    0x0000517B: "smbfs",
    0x65735546: "fuse",
    0x01021997: "9p",
    0x00C36400: "ceph",
    0x5346414F: "afs",
    0x6B414653: "afs",
    0x73757245: "coda",
    0x0000564C: "ncpfs",
    0x7461636F: "ocfs2",
    0x01161970: "gfs2",
    0x0BD00BD0: "lustre",
    0x47504653: "gpfs",
    0x786F4256: "vboxsf",
    0x19830326: "beegfs",
    0xAAD7AAEA: "panfs",
    0x20030528: "orangefs",
}
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What follows from the type of a file system; the type is empty where it can't be told."""

    kind: str

    @property
    def on_network(self) -> bool | None:
        """Whether others can change what lies there unseen by this kernel; None where that can't be told."""
        return (self.kind in _NETWORK or self.kind.startswith("fuse.")) if self.kind else None

    @property
    def is_local(self) -> bool:
        """Known to be: each change has its event, and no call waits for another machine."""
        return self.on_network is False

    @property
    def refusals_tell(self) -> bool:
        """A refused lease tells of a writer. Clients of NFS and SMB refuse one for want of a delegation as well, FUSE does not."""
        return not self.on_network or self.kind.startswith("fuse") or self.kind == "virtiofs"


def file_system(handle: int, proc: Path = _PROC) -> FileSystem:
    """The file system that an open file or folder lies on, as it is now: another may be mounted there a moment later."""
    return FileSystem(_kind(handle, proc))


def _kind(handle: int, proc: Path) -> str:
    with suppress(OSError, IndexError):
        mount = mount_id(handle, proc)
        for line in (proc / "mountinfo").read_bytes().splitlines():
            if mount is not None and line.startswith(mount + b" "):
                return line.partition(b" - ")[2].split()[0].decode("ascii", "replace")
    return _MAGIC.get(_magic(handle), "")


def mount_id(handle: int, proc: Path = _PROC) -> bytes | None:
    """The number of the mount that an open file lies on, None where /proc does not say."""
    try:
        about = (proc / "fdinfo" / str(handle)).read_bytes().split()
        return about[about.index(b"mnt_id:") + 1]
    except (OSError, ValueError, IndexError):
        return None


def _magic(handle: int) -> int:
    """f_type, the first long of struct statfs on x86-64 and AArch64; 0 where there is no answer."""
    answer = (ctypes.c_long * 64)()  # 120 bytes are used
    return answer[0] & 0xFFFFFFFF if _libc.fstatfs(handle, answer) == 0 else 0


def is_mount(folder: Path) -> bool:
    """Whether it is a mount point, also one of the same file system (a bind mount), and also in a chroot.

    os.path.ismount compares devices, which a bind mount has in common with its parent, and takes any root for a mount point.
    """
    found = [_mount_of(folder), _mount_of(folder / "..")]
    return os.path.ismount(folder) if None in found else found[0] != found[1]


def _mount_of(folder: Path) -> bytes | None:
    try:
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return mount_id(handle)
    finally:
        os.close(handle)


class MountPoints:
    """Which of these folders are mount points now. One that is none later is a folder of another disk, where nobody looks."""

    def __init__(self, *folders: Path) -> None:
        self._mounted = frozenset(folder for folder in folders if is_mount(folder))

    def check(self, folder: Path) -> None:
        """Raises FilingError where it was mounted and is no longer."""
        if folder in self._mounted and not is_mount(folder):
            raise FilingError("done or failed is no longer mounted: mount it again, the move is tried again")
