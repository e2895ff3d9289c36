"""What an errno says about a file, a move or the inbox, and how to mend it. No text has a path in it (I7)."""

from __future__ import annotations

import errno
import os

from ingestd.core.errors import (
    READ_ONLY,
    FileBusyError,
    FileChangedError,
    FileDeniedError,
    FileError,
    FileGoneError,
    FileRefusedError,
    FilingError,
)
from ingestd.core.model import Stamp
from ingestd.spool.disk.rights import denied_by

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.ENAMETOOLONG})
_DENIED = frozenset({errno.EACCES, errno.EPERM})


def file_error(error: OSError) -> FileError:
    """What an errno says about a file of the inbox."""
    if error.errno == errno.ENOENT:
        return FileGoneError("the file is gone: nothing is left to do")
    if error.errno in _REFUSED:
        return FileRefusedError("not a regular file below the inbox (a link, a device, a folder): copy the file itself")
    if error.errno in _DENIED:
        text = "let the service's user read it (chmod g+r FILE) and enter its folder (chmod g+x); it is looked at again"
        return FileDeniedError(f"the file may not be read ({words(error)}): {text}")
    return FileBusyError(f"the file can't be read just now ({words(error)}): it is looked at again")


def judged_error(error: OSError) -> FileError | FilingError:
    """What an errno says about a file of the inbox that was judged and is to be filed."""
    match file_error(error):
        case FileGoneError() as gone:
            return gone
        case FileRefusedError():
            return FileChangedError("the file is no longer the one that was judged: it is judged again")
        case _:
            return filing_error(error)


def filing_error(error: OSError, *, stamp: Stamp | None = None, source: int | None = None) -> FilingError:
    """What an errno says about a move, with how to mend it; `stamp` is the source's after it, `source` the folder it lies in."""
    if error.errno in FULL:
        text = (
            f"no room to move the file ({words(error)}): free some space in inbox, done and failed, it is tried again"
        )
    elif error.errno in _DENIED or error.errno == errno.EROFS:
        text = f"the file can't be moved ({words(error)}): {denied_by(error, source)}"
    elif error.errno == errno.ETXTBSY:
        text = "the file is still open for writing: it is moved once that program has closed it"
    else:
        text = f"the file can't be moved ({words(error)}): see to the disk, the move is tried again"
    return FilingError(text, stamp=stamp)


def removal_error(error: OSError) -> FileError | FilingError:
    """What an errno says about the removal of a stored file."""
    if error.errno == errno.ENOENT:
        return file_error(error)
    if error.errno == errno.ETXTBSY:
        return FilingError("a stored file is still open for writing: it is removed once that program has closed it")
    hint = "see to the inbox's disk, it is tried again"
    if error.errno in _DENIED:
        hint = "allow the service's user to write in inbox"
    elif error.errno == errno.EROFS:
        hint = READ_ONLY
    return FilingError(f"a stored file can't be removed ({words(error)}): {hint}")


def put_back_error(error: OSError) -> FileError | FilingError:
    """What an errno says about a file that is to go back into the inbox."""
    match error.errno:
        case errno.ENOENT:
            return FileGoneError("it is no longer in failed/, or the inbox is not there")
        case errno.ENOTDIR | errno.ELOOP:
            return FilingError("the inbox has a file or a link where its folder was: move that away")
        case errno.ENOSPC | errno.EDQUOT:
            return FilingError(f"the inbox has no room ({words(error)}): free some space")
        case errno.EEXIST:
            return FilingError("every name that it could have in the inbox is taken: empty the inbox first")
        case _:
            return FilingError(
                f"it can't be moved ({words(error)}): see to the disk, or run this as the service's user"
            )


def inbox_problem(error: OSError) -> str:
    """Why the inbox can't be read and how to mend it, in one line."""
    match error.errno:
        case errno.ENOENT:
            return "the inbox is missing: make the folder or mount it"
        case errno.ENOTDIR | errno.ELOOP:
            return "the inbox is not a folder: folders.inbox must name a folder itself, not a link to one"
        case errno.EACCES | errno.EPERM:
            return "the inbox can't be listed: give the user that ingestd runs as the right to read, write and enter it"
        case errno.EMFILE | errno.ENFILE:
            return "the inbox can't be opened: too many open files; raise the limit (LimitNOFILE)"
        case _:
            name = errno.errorcode.get(error.errno or 0, "unknown error")
            return f"the inbox can't be listed ({name}): look at its disk, mount or share"


def words(error: OSError) -> str:
    """The system's words for it, without a path (I7)."""
    return os.strerror(error.errno) if error.errno else "I/O error"
