"""On which kind of file system an open folder lies, as /proc says (proc(5)).

Network and host-shared file systems have writers that this kernel does not see: no events (inotify(7)), no proof by
lease, attribute caches of up to a minute, and no memory that two SQLite processes could share. What can't be told
counts as local: there the kernel refuses a lease itself.
"""

from __future__ import annotations

import os
from pathlib import Path

from ingestd.core.errors import FilingError

_NETWORK = frozenset({"9p", "afs", "beegfs", "ceph", "cifs", "coda", "drvfs", "fuse", "gfs2", "glusterfs", "gpfs"})
_NETWORK |= {"lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb3", "smbfs"}
_NETWORK |= {"vboxsf", "virtiofs", "vmhgfs", "wekafs"}
_PROC = Path("/proc/self")


def on_network(handle: int, proc: Path = _PROC) -> bool:
    """Whether others can change what lies there unseen by this kernel."""
    kind = file_system(handle, proc)
    return kind in _NETWORK or kind.startswith("fuse.")


def file_system(handle: int, proc: Path = _PROC) -> str:
    """The type of the file system that an open file or folder lies on, empty where it can't be told."""
    try:
        about = (proc / "fdinfo" / str(handle)).read_bytes().split()
        mount = about[about.index(b"mnt_id:") + 1]
        for line in (proc / "mountinfo").read_bytes().splitlines():
            if line.startswith(mount + b" "):
                return line.partition(b" - ")[2].split()[0].decode("ascii", "replace")
    except (OSError, ValueError, IndexError):
        pass
    return ""


class MountPoints:
    """Which of these folders are mount points now. One that is none later is a folder of another disk, where nobody looks."""

    def __init__(self, *folders: Path) -> None:
        self._mounted = frozenset(folder for folder in folders if os.path.ismount(folder))

    def check(self, folder: Path) -> None:
        """Raises FilingError where it was mounted and is no longer."""
        if folder in self._mounted and not os.path.ismount(folder):
            raise FilingError("done or failed is no longer mounted: mount it again, the move is tried again")
