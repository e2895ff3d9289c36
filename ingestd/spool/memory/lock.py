"""The state folder: one ingestd each, on a local disk.

The lock is the kernel's, on an open file (flock(2)): it ends with the process however that ends, so there is no stale lock to
clean up (F43). Network file systems are refused (F44): flock may be nobody's business there, and SQLite's WAL needs shared memory.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from ingestd.core.errors import ConfigurationError, FolderAwayError, StateHeldError
from ingestd.spool.disk import errors, handles
from ingestd.spool.disk.mounts import file_system


def refuse_network(state: Path) -> None:
    """Raises ConfigurationError where the folder can't be used or lies on a network file system; FolderAwayError without room."""
    try:
        folder = handles.open_root(state)
    except OSError as error:
        raise _unusable(error) from error
    try:
        found = file_system(folder)
        if found.on_network:  # one that nobody knows is tried: refused, a new kind of local disk could not be used
            raise ConfigurationError(
                f"folders.state lies on a network file system ({found.kind}): choose a folder on a local disk"
            )
    finally:
        os.close(folder)


class StateLock:
    """Held from construction until `release`, or the end of the process.

    Raises StateHeldError, FolderAwayError, ConfigurationError.
    """

    def __init__(self, state: Path) -> None:
        refuse_network(state)
        self._file = state / "lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._handle = os.open(self._file, flags, 0o600)
        except OSError as error:
            raise _unusable(error) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._handle)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                text = "another ingestd holds folders.state: stop it, or give this one a state folder of its own"
                raise StateHeldError(text) from error
            raise _unusable(error) from error

    def problem(self) -> str | None:
        """Why the folder is no longer the one that was locked. Whoever finds it without our lock may begin to use it."""
        try:
            ours, there = os.fstat(self._handle), os.stat(self._file, follow_symlinks=False)
        except OSError as error:
            words = errors.words(error)
            return f"folders.state was taken away or can't be reached ({words}): ended, to be started again on what is there"
        if not os.path.samestat(ours, there):
            return "folders.state was replaced by another folder: ended, to be started again on what is there"
        return None

    def release(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _unusable(error: OSError) -> ConfigurationError | FolderAwayError:
    words = errors.words(error)
    if error.errno in errors.FULL:
        return FolderAwayError(f"folders.state: there is no room on its disk ({words}): make room")
    return ConfigurationError(
        f"folders.state can't be used ({words}): the service's user must be able to read and write it"
    )
