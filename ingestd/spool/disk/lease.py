"""Read leases: what the kernel says about others who have a file open for writing (fcntl(2), F_SETLEASE).

It refuses one with EAGAIN while there is a writer, a mapping without a descriptor among them; with EACCES where the file is another
user's and CAP_LEASE is missing, with EINVAL where the file system has none. A writer who comes while a lease is held waits, and
breaks it: that sends SIGIO to this process, whose default action ends it. So one is held for no longer than a few questions take.
"""

from __future__ import annotations

import errno
import fcntl
import signal

from ingestd.core.model import Lease

__all__ = ["Lease", "give_back", "ignore_sigio", "is_whole", "take"]


def ignore_sigio() -> None:
    """Breaking a lease must not end the process. Main thread only, before the first lease."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)


def take(handle: int) -> Lease:
    """Held, where it is granted, until it is given back or the handle is closed."""
    try:
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return Lease.REFUSED if error.errno == errno.EAGAIN else Lease.UNKNOWN
    return Lease.GRANTED


def is_whole(handle: int) -> bool:
    """Whether nobody waits for a lease that is held."""
    return fcntl.fcntl(handle, fcntl.F_GETLEASE) == fcntl.F_RDLCK


def give_back(handle: int) -> Lease:
    """GRANTED if the lease was whole to its end; else a writer waits for it."""
    whole = is_whole(handle)
    fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return Lease.GRANTED if whole else Lease.REFUSED
