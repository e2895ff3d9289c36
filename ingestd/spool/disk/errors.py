"""What an errno says about a file or a move, and how to mend it. No text has a path in it (I7)."""

from __future__ import annotations

import errno
import os

from ingestd.core.errors import FileBusyError, FileDeniedError, FileError, FileGoneError, FileRefusedError, FilingError
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


def words(error: OSError) -> str:
    """The system's words for it, without a path (I7)."""
    return os.strerror(error.errno) if error.errno else "I/O error"
