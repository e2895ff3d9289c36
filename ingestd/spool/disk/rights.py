"""Who may move a file out of an open folder, and what to say where nobody may."""

from __future__ import annotations

import ctypes
import errno
import grp
import os
import pwd
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from ingestd.core.errors import READ_ONLY
from ingestd.core.scan import FOLDER, WHO
from ingestd.spool.disk import handles

_AT_EACCESS = 0x200  # by the effective ids (fcntl.h); the same on every architecture
_REFUSALS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_libc = ctypes.CDLL(None, use_errno=True)


def is_read_only(path: Path) -> bool:
    """Whether the mount on which the folder lies takes no writes. Raises OSError."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def may_write(folder: int) -> bool:
    """Whether names in the folder may be made and removed. The kernel is asked, because an ACL shows in no mode bits.

    Raises OSError where it does not say: a disk or a share in trouble refuses nobody. os.access makes one "no" of both.
    """
    if _libc.faccessat(folder, b".", os.W_OK | os.X_OK, _AT_EACCESS) == 0:
        return True
    code = ctypes.get_errno()
    if code not in _REFUSALS:
        raise handles.os_error(code)
    return False


def mend_of(folder: int) -> str | None:
    """What lets files be moved out of an open folder, with FOLDER for its path and WHO; None where they can be already.

    The least that suffices: the rights of our group where the folder has it, so that its owner can go on writing there. Raises
    OSError where it is not known whether they can be.
    """
    if may_write(folder):
        return None
    if os.fstatvfs(folder).f_flag & os.ST_RDONLY:
        return READ_ONLY
    status = os.fstat(folder)
    return _mend(status.st_mode, ours=status.st_uid == os.geteuid(), our_group=status.st_gid in _groups())


def _mend(mode: int, *, ours: bool, our_group: bool) -> str:
    user, group = stat.S_IWUSR | stat.S_IXUSR, stat.S_IWGRP | stat.S_IXGRP
    if ours and mode & user == user:  # neither mode nor ACL denies it
        return f"as root, run chattr -R -i {FOLDER}"
    if ours:
        command = f"chmod -R u+rwX {FOLDER}"
    elif not our_group:
        command = f"chown -R :{_name(grp.getgrgid, os.getegid())} {FOLDER} && chmod -R g+rwX {FOLDER}"
    elif mode & group == group:  # an ACL denies it
        command = f"setfacl -R -m u:{_name(pwd.getpwuid, os.geteuid())}:rwX {FOLDER}"
    else:
        command = f"chmod -R g+rwX {FOLDER}"
    return f"as {WHO}, run {command}"


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
