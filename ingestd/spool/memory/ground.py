"""What the folders' file systems can do, found out once at the start by files of our own.

Each probe has a temporary name that nobody takes for a dropped file, the same at each start of this state folder and no other's:
it is gone when it is answered, and what a crash leaves goes with the next start, or with the leftovers. Two things are asked:

- **Names are never taken from others.** A move needs renameat2(RENAME_NOREPLACE), or link and unlink (handles.move): from the inbox
  to done/ and to failed/, or, where these lie on other devices, inside each of them, because a copy gets its name there; and inside
  the inbox, where a file steps aside before it goes for good. A file system with neither is refused (docs/adr/0010), and
  one where a linked file has another inode number (sshfs): there nobody could tell the moved file from one that slipped in.
- **Edits show.** A stamp names a state of a file only while each write moves the ctime. sshfs, exfat and vfat tell the mtime as
  ctime, and any program can set that back: there filing digests the bytes again before it moves them, and nothing is removed.

A disk that is full, or takes nothing for another reason that may pass, answers nothing: its abilities stay unknown, and unknown is
handled like *no* wherever a file could be lost by it. What a folder refuses for want of rights is said at once, because the probe
is as truthful as a move: under an ACL, and in a folder made below done/ with a default ACL.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ingestd.config import Folders
from ingestd.core.errors import ConfigurationError
from ingestd.spool.disk import errors, handles
from ingestd.spool.disk.mounts import file_system
from ingestd.spool.memory.folders import no_folder, salt

_NAMELESS = "its file system can neither rename without overwriting nor make hard links"
_NAMELESS_HINT = "use one that can, such as ext4, xfs, btrfs, NFS or SMB"
_RENUMBERED = "a file is another one to its file system once it has been moved (sshfs does that)"
_RENUMBERED_HINT = "use one that keeps a file's inode number, such as ext4, xfs, btrfs, NFS or SMB"
_CLASHES = "done.action = delete: on the file system of folders.inbox an edit can leave no trace in a file's times"
_CLASHES_HINT = "set done.action = move, or put the inbox on another file system, such as ext4, xfs or btrfs"

_CANNOT = frozenset({errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK})
_CTIME_IS_LOST = frozenset({"vfat", "msdos", "exfat"})  # kept in memory for a while, and not on the disk
_LONG_AGO_NS = 946_684_800 * 10**9


def survey(folders: Folders, *, removes: bool) -> bool | None:
    """Whether edits show: equal stamps of a file in the inbox mean equal bytes; None where it can't be told.

    `removes`: stored files are to be removed instead of moved.

    Raises ConfigurationError where the folders can't carry it, FolderAwayError where one does not answer.
    """
    probes = _Probes(salt(folders.state).hex())
    with _opened("inbox", folders.inbox) as inbox, probes.swept(inbox):
        probes.rename("inbox", folders.inbox, inbox, inbox)
        for name, path in (("done", folders.done), ("failed", folders.failed)):
            with _opened(name, path) as root, probes.made_below(name, path, root) as folder, probes.swept(folder):
                probes.rename(name, path, inbox, folder)
        edits_show = probes.edits_show("inbox", folders.inbox, inbox)
    if removes and edits_show is False:
        raise ConfigurationError(f"{_CLASHES}: {_CLASHES_HINT}")
    return edits_show


class _Probes:
    """Files and folders of ours; `seed` gives them names."""

    def __init__(self, seed: str) -> None:
        self._file, self._moved, self._folder = (handles.temporary(f"{seed} {n}") for n in range(3))

    @contextmanager
    def swept(self, folder: int) -> Iterator[None]:
        """What an earlier start left goes first, and what could not be removed at once goes in the end."""
        self._sweep(folder)
        try:
            yield
        finally:
            for _ in range(2):  # a share may fail once
                self._sweep(folder)

    def _sweep(self, folder: int) -> None:
        for name in (self._file, self._moved):
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)

    @contextmanager
    def made_below(self, name: str, path: Path, root: int) -> Iterator[int]:
        """A folder made as filing makes them; the root itself where there is no room for one now."""
        try:
            folder = handles.open_made(root, self._folder, sync=False)
        except OSError as error:
            if error.errno not in errors.FULL:
                raise _refused(name, path, error) from None
            yield root
            return
        try:
            yield folder
        finally:
            handles.close(folder)
            for _ in range(2):  # a share may fail once
                with suppress(OSError):
                    os.rmdir(self._folder, dir_fd=root)

    def rename(self, name: str, path: Path, source: int, target: int) -> None:
        """Raises ConfigurationError where nothing gets a name in `target` but in danger of taking it from others."""
        try:
            try:
                keeps = self._keeps_its_number(source, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                keeps = self._keeps_its_number(target, target)
        except OSError as error:
            if error.errno in _CANNOT and self._renames_onto_anything(target):
                raise ConfigurationError(f"folders.{name} = {path}: {_NAMELESS}: {_NAMELESS_HINT}") from None
            if error.errno not in errors.FULL:
                raise _refused(name, path, error) from None
            return
        if not keeps:
            raise ConfigurationError(f"folders.{name} = {path}: {_RENUMBERED}: {_RENUMBERED_HINT}")

    def _keeps_its_number(self, source: int, target: int) -> bool:
        """Move a file, and see whether it is the same one under its new name."""
        with self._probe(source):
            ours = handles.lstat(source, self._file)
            handles.move(source, self._file, target, self._moved)
            same = os.path.samestat(ours, handles.lstat(target, self._moved))
        self._sweep(target)
        return same

    def _renames_onto_anything(self, folder: int) -> bool:
        """Whether it is not the right to rename that is missing: EPERM says both."""
        try:
            with self._probe(folder):
                os.rename(self._file, self._moved, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            return False
        return True

    def edits_show(self, name: str, path: Path, folder: int) -> bool | None:
        """Whether the ctime stays where it is while somebody sets a file's mtime back."""
        try:
            with self._probe(folder) as handle:
                if file_system(handle).kind in _CTIME_IS_LOST:
                    return False
                written = os.fstat(handle)
                os.utime(self._file, ns=(written.st_atime_ns, _LONG_AGO_NS), dir_fd=folder, follow_symlinks=False)
                return handles.lstat(folder, self._file).st_ctime_ns >= written.st_ctime_ns
        except OSError as error:
            if error.errno in errors.FULL | _CANNOT:
                return None
            raise _refused(name, path, error) from None

    @contextmanager
    def _probe(self, folder: int) -> Iterator[int]:
        """A file with a byte in it."""
        handle = handles.create(folder, self._file)
        try:
            handles.write_all(handle, b"?")
            yield handle
        finally:
            handles.close(handle)


@contextmanager
def _opened(name: str, path: Path) -> Iterator[int]:
    try:
        root = handles.open_root(path)
    except OSError as error:
        raise no_folder(name, path, error) from None
    try:
        yield root
    finally:
        handles.close(root)


def _refused(name: str, path: Path, error: OSError) -> Exception:
    if error.errno in (errno.EACCES, errno.EPERM):
        words = errors.words(error)
        return ConfigurationError(
            f"folders.{name} = {path}: files can't be made and renamed in it ({words}): mend its owner, mode or ACL (getfacl)"
        )
    return no_folder(name, path, error)
