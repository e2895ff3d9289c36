"""What can go wrong, as one small tree. Adapters map foreign exceptions into it once, at the boundary, with `from`.

    IngestdError
    ├── ConfigurationError    the operator's settings can't work; exit 78 before any file is touched
    ├── StateHeldError        another ingestd holds the state folder; exit 75
    ├── FolderAwayError       a folder's disk or share does not answer; exit 75
    ├── FileError             about one file; nothing has been judged about it
    │   ├── FileBusyError     somebody still has it open, or it can't be read just now: look again later
    │   │   └── FileDeniedError   we may not read it: a person has to mend that, or its writer is about to
    │   ├── FileGoneError     it vanished between two steps: nothing is left to do
    │   ├── FileChangedError  it is no longer what was judged: settle it again
    │   │   └── StrayError    and a move carried the new version away, and can't put it back now
    │   ├── FileLargeError    it takes longer to look at than the caller wanted now
    │   └── FileRefusedError  a link, a device, a directory: never ours to send
    ├── FilingError           a move into done/ or failed/ did not happen; the source is untouched
    │   ├── FarFolderError    it takes as long as the file is large, which the caller did not want now
    │   └── YoungFileError    it would lose what a writer still writes
    ├── JournalError          the journal can't be written; nothing may go on that relies on it
    └── ServiceError          a command's request: the service said no; exit 1
        └── UnavailableError  it said nothing about what was asked (an outage, an identity, a role); exit 75

A text carries what, where and a hint. It never carries a path, a patient or a secret (I7): whoever catches it knows which file it
was about.
"""

from ingestd.core.model import Stamp


class IngestdError(Exception):
    """The root; `str()` of it is one line that a person can act on."""


class ConfigurationError(IngestdError):
    """A setting is missing, unknown or can't work. The text names key and value."""


class StateHeldError(IngestdError):
    """Another process holds the lock on the state folder, or somebody has taken the folder away."""


class FolderAwayError(IngestdError):
    """A configured folder can't be reached just now, and may be back by itself."""


class FileError(IngestdError):
    """About one file; its outcome is open."""


class FileBusyError(FileError):
    """EBUSY, ETXTBSY, EACCES, ESTALE, EIO: the file can't be judged now."""


class FileDeniedError(FileBusyError):
    """EACCES, EPERM: as its owner, mode or ACL is now, we may not read it."""


class FileGoneError(FileError):
    """ENOENT at any step."""


class FileChangedError(FileError):
    """Device, inode, size or times differ from what was judged, or the bytes ended early or late."""


class StrayError(FileChangedError):
    """A new version, or what could not be seen to be none, stands at `place` below `folder` and belongs in the inbox.

    `folder` is "done" or "failed". `stamp` says which file it is, UNSEEN where that could not be told.
    """

    def __init__(self, text: str, *, folder: str, place: str, stamp: Stamp) -> None:
        super().__init__(text)
        self.folder = folder
        self.place = place
        self.stamp = stamp


class FileLargeError(FileError):
    """More bytes than may be walked at once."""


class FileRefusedError(FileError):
    """Not a regular file that may be opened: symlink, socket, FIFO, device, directory."""


class FilingError(IngestdError):
    """A durable move failed; the source is as it was, and a copy stays only where the source could not be seen any more.

    `stamp`: the source's from now on, for a link that had to be taken back leaves another ctime.
    """

    def __init__(self, text: str, *, stamp: Stamp | None = None) -> None:
        super().__init__(text)
        self.stamp = stamp


class FarFolderError(FilingError):
    """A copy to another file system, or a second look at all bytes, takes as long as the file is large. Nothing was done."""


class YoungFileError(FilingError):
    """Somebody may still write the file, and a copy to another file system would not have what they write."""


class JournalError(IngestdError):
    """The journal could not be opened, read or committed, or an order not be written beside it."""


class ServiceError(IngestdError):
    """The service was asked by a person's command, and its answer is no."""


class UnavailableError(ServiceError):
    """Nothing was decided: no connection, no token, no role, no time. The same command may do when that is mended."""


READ_ONLY = "mount it writable; under systemd ReadWritePaths= must name it (`systemctl edit ingestd`)"
"""How to mend EROFS: the unit makes everything read-only to the service but what it names (systemd.exec(5))."""
