"""The four folders at the start: made, checked, links to them followed once; and the salt of the log's path digests."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path

from ingestd.config import Folders
from ingestd.core.errors import READ_ONLY, ConfigurationError, FolderAwayError
from ingestd.spool.disk import errors, handles
from ingestd.spool.disk.rights import is_read_only

# What a disk or share says that is there and not well; the process that tries again later may find it back.
_AWAY = frozenset(
    {errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENODEV}
)

SALT_FILE = "salt"
SALT_BYTES = 16


def prepare(folders: Folders) -> Folders:
    """Make what is missing but the inbox, and say where they really are. Raises ConfigurationError, FolderAwayError.

    Adapters follow no symlink, so one that the operator made is followed here, once.
    """
    try:
        there = stat.S_ISDIR(os.stat(folders.inbox).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        there = False
    except OSError as error:
        raise no_folder("inbox", folders.inbox, error) from None
    if not there:
        raise ConfigurationError(
            f"folders.inbox = {folders.inbox}: there is no such folder: make it, or mount the share"
        )
    for name, path in folders:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise no_folder(name, path, error) from None
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
            hint = READ_ONLY if is_read_only(path) else "mend its owner, mode or ACL (getfacl)"
            raise ConfigurationError(f"folders.{name} = {path}: may not be read and written: {hint}")
    return Folders.model_validate({name: os.path.realpath(path) for name, path in folders})


def no_folder(name: str, path: Path, error: OSError) -> ConfigurationError | FolderAwayError:
    """What an errno says about one of the four folders at the start."""
    words = errors.words(error)
    if error.errno in _AWAY:
        return FolderAwayError(f"folders.{name} = {path}: does not answer ({words}): see to its disk or share")
    if error.errno in errors.FULL:
        return FolderAwayError(f"folders.{name} = {path}: there is no room on its disk ({words}): make room")
    hint = f": {READ_ONLY}" if error.errno == errno.EROFS else ""
    return ConfigurationError(f"folders.{name} = {path}: can't be made or entered: {words}{hint}")


def salt(state: Path) -> bytes:
    """Keeps path digests the same from run to run, and worthless to anyone without the state folder.

    Raises ConfigurationError, FolderAwayError.
    """
    file = state / SALT_FILE
    try:
        if file.is_file() and len(found := file.read_bytes()) == SALT_BYTES:
            return found
        folder = handles.open_root(state)
        try:
            handles.write_durably(folder, SALT_FILE, made := secrets.token_bytes(SALT_BYTES))
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno in errors.FULL:
            raise no_folder("state", state, error) from None
        words = errors.words(error)
        text = (
            f"folders.state: the file {SALT_FILE} in it can't be read or written ({words}): remove it, or mend its mode"
        )
        raise ConfigurationError(text) from None
    return made
