"""Who may move a file out of an open folder, and what to say where nobody may."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from ingestd.core.scan import FOLDER

READ_ONLY = (
    "allow the service's user to write there: mount it writable; under systemd ReadWritePaths= must name it "
    "(`systemctl edit ingestd`)"
)
"""How to mend EROFS: the unit makes everything read-only to the service but what it names (systemd.exec(5))."""


def is_read_only(path: Path) -> bool:
    """Whether the mount on which the folder lies takes no writes. Raises OSError."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def may_write(folder: int) -> bool:
    """Whether names in the folder may be made and removed. The kernel is asked, because an ACL shows in no mode bits."""
    return os.access(".", os.W_OK | os.X_OK, dir_fd=folder, effective_ids=True)


def mend_of(folder: int) -> str | None:
    """The command that lets files be moved out of an open folder, FOLDER standing for its path; None where they can be already.

    The least that suffices: the rights of our group where the folder has it, so that its owner can go on writing there.
    """
    if may_write(folder):
        return None
    try:
        if os.fstatvfs(folder).f_flag & os.ST_RDONLY:
            return f"mount -o remount,rw {FOLDER}"
        status = os.fstat(folder)
    except OSError:
        return f"ls -ld {FOLDER}"
    return _mend(status.st_mode, ours=status.st_uid == os.geteuid(), our_group=status.st_gid in _groups())


def _mend(mode: int, *, ours: bool, our_group: bool) -> str:
    user, group = stat.S_IWUSR | stat.S_IXUSR, stat.S_IWGRP | stat.S_IXGRP
    if ours and mode & user == user:  # neither mode nor ACL denies it
        return f"chattr -R -i {FOLDER}"
    if ours:
        return f"chmod -R u+rwX {FOLDER}"
    if not our_group:
        return f"chown -R :{_name(grp.getgrgid, os.getegid())} {FOLDER} && chmod -R g+rwX {FOLDER}"
    if mode & group == group:  # an ACL denies it
        return f"setfacl -R -m u:{_name(pwd.getpwuid, os.geteuid())}:rwX {FOLDER}"
    return f"chmod -R g+rwX {FOLDER}"


def _groups() -> set[int]:
    return {os.getegid(), *os.getgroups()}


def _name(look_up: Callable[[int], Sequence[object]], number: int) -> str:
    try:
        return str(look_up(number)[0])
    except KeyError:  # a container knows no names
        return str(number)


def denied_by(error: OSError, source: int | None) -> str:
    """Which folder lets nothing go, and how to mend it; `source` is the one in which the file lies."""
    if error.errno == errno.EROFS:
        return READ_ONLY
    try:
        if source is not None and not may_write(source):
            return "allow the service's user to write in the file's folder in the inbox (owner, mode or ACL: getfacl)"
        if source is not None and os.fstat(source).st_mode & stat.S_ISVTX:
            return (
                "allow the service's user to move others' files out of their folder in the inbox (sticky bit: chmod -t)"
            )
    except OSError:
        pass
    return "allow the service's user to write in inbox, done and failed (owner, mode, ACL: getfacl; attributes: lsattr)"
