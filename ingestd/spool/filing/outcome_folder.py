"""Done/ and failed/ as the place of a move: the folder a file goes to, its name there, and its reason file.

A new version that slips in under the move goes back, and what can't go back now is a stray: the daemon keeps it in mind and puts it
back later (daemon/ending/strays.py). It keeps the reason file of the version that was judged for as long as it stands in failed/.

Within one file system no sync is needed for done/: what a power failure undoes is sent again. The reason file is durable before the
file moves, so nothing ever stands in failed/ without its reason; a try that fails takes it away again. Across file systems the
folders are synced too, before the source goes (copying.py); a file that somebody may still write does not cross, because the copy
would lack what is written after it. A folder is made durable once, not for each file (synced.py); those that were made now are
synced after the last of them, so that a journalling file system commits once for all.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Self

from ingestd.core.errors import FarFolderError, FileChangedError, StrayError, YoungFileError
from ingestd.core.model import Stamp
from ingestd.core.record import UNSEEN
from ingestd.spool.disk import errors, handles
from ingestd.spool.disk.free_names import free_names
from ingestd.spool.disk.synced import SyncedFolders
from ingestd.spool.filing.copying import Copy, filed_before
from ingestd.spool.filing.entry import Entry, put_back
from ingestd.spool.filing.reason_file import REASON_SUFFIX
from ingestd.spool.filing.removal import refuse_open, remove


@dataclass(slots=True)
class OutcomeFolder:
    """The place of `entry` at `target` below `root`. Use in a `with` block, which makes the folder; more than once, if need be.

    `reason` is its reason file, which failed/ has and done/ has not. `copy`: a copy may be made now; `young`: somebody may still
    write the file.
    """

    entry: Entry
    root: Path
    target: str
    reason: bytes | None = None
    _: KW_ONLY
    copy: bool
    young: bool
    synced: SyncedFolders
    links: bool = field(default=True, init=False)
    wanted: str = field(init=False)
    folder: int = field(init=False)
    _parents: Sequence[str] = field(init=False)
    _open: list[int] = field(init=False, default_factory=list)

    def __enter__(self) -> Self:
        *folders, self.wanted = handles.split(self.target)
        self.folder, self._parents = _made(self.root, folders)
        self._open.append(self.folder)
        if self.reason is not None:
            try:
                self._sync()
            except OSError:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            handles.close(self._open.pop())

    def path(self, name: str) -> str:
        """Of a name in the folder, relative to the root."""
        return "/".join((*self._parents, name))

    # The place of a move

    def names(self) -> Iterator[str]:
        longest = os.fpathconf(self.folder, "PC_NAME_MAX") - (len(REASON_SUFFIX) if self.reason is not None else 0)
        return free_names(self.wanted, seed=f"{self.entry.stamp.inode} {self.entry.path}", limit=longest)

    def gives(self, name: str, source: Entry) -> bool:
        # A crash between link and unlink (handles.move) leaves the file under this very name: it is moved on from there.
        return (
            self.reason is None
            or handles.is_linked(source.folder, source.name, self.folder, name)
            or _pair_is_free(self.folder, name)
        )

    def lay(self, name: str, _: Stamp) -> None:
        if self.reason is not None:
            handles.write_durably(self.folder, name + REASON_SUFFIX, self.reason)

    def lift(self, name: str, _: Stamp, error: OSError) -> None:
        """It stays where the file may have that name after all, because it is never without its reason."""
        if isinstance(error, handles.UnseenMoveError):
            return
        if isinstance(error, FileExistsError) or _status(self.folder, name) is None:
            self._unexplain(name)

    def unseen(self, error: handles.UnseenMoveError) -> StrayError:
        return self._stray(error.new_name, UNSEEN, error)

    def arrived(self, name: str) -> None:
        """What arrived must be what was judged; else it goes back."""
        try:
            status = _status(self.folder, name)
        except OSError as error:
            raise self._stray(name, UNSEEN, error) from error
        if status is None:
            raise handles.os_error(errno.ENOENT)
        if handles.is_moved(self.entry.stamp, status):
            return
        try:
            put_back(self.folder, name, self.entry)
        except OSError as error:
            raise self._stray(name, handles.stamp_of(status), error) from error
        self._unexplain(name)
        raise FileChangedError("a new version arrived while the file was moved: it stays and is judged")

    def ready_for_copy(self) -> int | None:
        if self.young:
            raise YoungFileError("the file is not copied while somebody may still write it")
        if not self.copy:
            raise FarFolderError("the folders lie on different file systems: it takes a copy")
        root = handles.open_root(self.root)
        self._open.append(root)
        if (filed := filed_before(self.entry, root)) is not None:
            handles.sync_file_system(root)  # where it was filed is not known here, nor whether that was synced
            self._take_away()
            filed.discard()
            return None
        refuse_open(self.entry)  # it could not be taken away: no copy is made for that
        return root

    def copied(self, copy: Copy, name: str) -> None:
        try:
            self._sync()
            handles.sync_folder(self.folder)
            self._take_away()
        except OSError:
            if self.entry.stamp_now() is None:  # the source can't be seen: the copy may be all that is left
                copy.is_temporary = False  # its second link tells the next try that it is filed (filed_before)
            else:
                with suppress(OSError):
                    os.unlink(name, dir_fd=self.folder)
                    self._unexplain(name)
            raise

    def _sync(self) -> None:
        """Have the names of the folder and of all above it durable."""
        handles.close(_made(self.root, self._parents, self.synced)[0])

    def _take_away(self) -> None:
        with suppress(FileNotFoundError):  # somebody else took it; what was judged is filed
            remove(self.entry)

    def _unexplain(self, name: str) -> None:
        if self.reason is not None:
            with suppress(OSError):
                os.unlink(name + REASON_SUFFIX, dir_fd=self.folder)

    def _stray(self, name: str, stamp: Stamp, error: OSError) -> StrayError:
        folder = "done" if self.reason is None else "failed"
        why = errors.words(error)
        text = f"a new version was moved to {folder}/ and can't be put back"
        if stamp == UNSEEN:
            text = f"what was moved to {folder}/ can't be seen"
        text = f"{text} ({why}): see to the rights and disks of inbox and {folder}, it is tried again"
        return StrayError(text, folder=folder, place=self.path(name), stamp=stamp)


def _made(root: Path, folders: Sequence[str], synced: SyncedFolders | None = None) -> tuple[int, list[str]]:
    """A handle on the target folder, and its components: one whose name is a file's or a link's gets another (F28, F30).

    `synced` has the names of all of them durable.
    """
    folder = handles.open_root(root)
    parents: list[str] = []
    for wanted in folders:
        try:
            below, name = _made_one(folder, wanted, synced)
        finally:
            handles.close(folder)
        folder = below
        parents.append(name)
    return folder, parents


def _made_one(folder: int, wanted: str, synced: SyncedFolders | None) -> tuple[int, str]:
    for name in free_names(wanted, seed="", limit=os.fpathconf(folder, "PC_NAME_MAX")):
        try:
            below = handles.open_made(folder, name, sync=False)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            continue
        try:
            if synced is not None:
                synced.sync(folder, below)
        except OSError:
            handles.close(below)
            raise
        return below, name
    raise handles.os_error(errno.ENOTDIR)


def _pair_is_free(folder: int, name: str) -> bool:
    """Whether nothing has this name, and its reason file is an orphan at most, and not a quarantined file itself."""
    if _status(folder, name) is not None:
        return False
    reason = _status(folder, name + REASON_SUFFIX)
    if reason is None:
        return True
    return stat.S_ISREG(reason.st_mode) and _status(folder, name + 2 * REASON_SUFFIX) is None


def _status(folder: int, name: str) -> os.stat_result | None:
    try:
        return handles.lstat(folder, name)
    except FileNotFoundError:
        return None
