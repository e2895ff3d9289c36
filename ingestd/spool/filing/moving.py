"""One move of a dropped file into done/ or failed/: where it lands, under which free name, its reason file before it.

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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ingestd.core.errors import (
    FarFolderError,
    FileChangedError,
    FileError,
    FilingError,
    StrayError,
    YoungFileError,
)
from ingestd.core.model import Stamp
from ingestd.core.record import UNSEEN
from ingestd.spool.disk import errors, handles
from ingestd.spool.disk.free_names import free_names
from ingestd.spool.disk.synced import SyncedFolders
from ingestd.spool.filing.copying import Copy, copy_over, filed_before
from ingestd.spool.filing.entry import Entry, put_back
from ingestd.spool.filing.reason_file import REASON_SUFFIX
from ingestd.spool.filing.removal import refuse_open, remove


class Move:
    """One move, of `entry` to `target` below `root`, with the reason file that goes before it into failed/."""

    def __init__(
        self,
        entry: Entry,
        root: Path,
        target: str,
        document: bytes | None,
        *,
        copy: bool,
        young: bool,
        synced: SyncedFolders,
    ) -> None:
        self._entry = entry
        self._root = root
        self._target = target
        self._document = document
        self._copy = copy
        self._young = young
        self._synced = synced

    def run(self, *, tries: int = 3) -> str:
        """An empty folder that retention takes away under a move is made again."""
        *folders, wanted = handles.split(self._target)
        try:
            folder, parents = _made(self._root, folders)
            try:
                if self._document is not None:
                    self._sync(parents)
                try:
                    name = self._rename(folder, parents, wanted)
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    if self._young:
                        raise YoungFileError("the file is not copied while somebody may still write it") from error
                    if not self._copy:
                        raise FarFolderError("the folders lie on different file systems: it takes a copy") from error
                    name = self._cross(folder, parents, wanted)
            finally:
                handles.close(folder)
        except OSError as error:
            mapped = self._error(error)
            if error.errno == errno.ENOENT and isinstance(mapped, FilingError) and tries > 1:
                return self.run(tries=tries - 1)
            raise mapped from error
        return "/".join((*parents, name))

    def _rename(self, folder: int, parents: Sequence[str], wanted: str) -> str:
        entry = self._entry
        try:
            name = self._claim(entry.folder, entry.name, folder, wanted)
        except handles.UnseenMoveError as error:
            raise self._stray((*parents, error.new_name), UNSEEN, error) from error
        try:
            status = _status(folder, name)
        except OSError as error:
            raise self._stray((*parents, name), UNSEEN, error) from error
        if status is None:
            raise handles.os_error(errno.ENOENT)
        if not handles.is_moved(entry.stamp, status):
            try:
                put_back(folder, name, entry)
            except OSError as error:
                raise self._stray((*parents, name), handles.stamp_of(status), error) from error
            self._unexplain(folder, name)
            raise FileChangedError("a new version arrived while the file was moved: it stays and is judged")
        return name

    def _stray(self, place: Sequence[str], stamp: Stamp, error: OSError) -> StrayError:
        folder = "done" if self._document is None else "failed"
        why = errors.words(error)
        text = f"a new version was moved to {folder}/ and can't be put back"
        if stamp == UNSEEN:
            text = f"what was moved to {folder}/ can't be seen"
        text = f"{text} ({why}): see to the rights and disks of inbox and {folder}, it is tried again"
        return StrayError(text, folder=folder, place="/".join(place), stamp=stamp)

    def _cross(self, folder: int, parents: Sequence[str], wanted: str) -> str:
        root = handles.open_root(self._root)
        try:
            if (filed := filed_before(self._entry, root)) is not None:
                handles.sync_file_system(root)  # where it was filed is not known here, nor whether that was synced
                self._take_away()
                filed.discard()
                return wanted
            refuse_open(self._entry)  # it could not be taken away: no copy is made for that
            copy = copy_over(self._entry, root)
            kept = False
            try:
                name = self._claim(root, copy.name, folder, wanted, copy)
                if not (copy.became(folder, name) or copy.is_there(folder, name)):
                    raise handles.os_error(errno.EBUSY)
                try:
                    self._sync(parents)
                    handles.sync_folder(folder)
                    self._take_away()
                except OSError:
                    kept = self._entry.stamp_now() is None  # the source can't be seen: the copy may be all that is left
                    if not kept:
                        with suppress(OSError):
                            os.unlink(name, dir_fd=folder)
                            self._unexplain(folder, name)
                    raise
            finally:
                if not kept:  # its second link tells the next try that it is filed (filed_before)
                    copy.discard()
            return name
        finally:
            handles.close(root)

    def _sync(self, parents: Sequence[str]) -> None:
        handles.close(_made(self._root, parents, self._synced)[0])

    def _take_away(self) -> None:
        with suppress(FileNotFoundError):  # somebody else took it; what was judged is filed
            remove(self._entry)

    def _claim(self, from_folder: int, from_name: str, folder: int, wanted: str, copy: Copy | None = None) -> str:
        """Rename to the first free name, its reason file before it. Raises OSError; no reason file of ours is left then."""
        longest = os.fpathconf(folder, "PC_NAME_MAX") - (len(REASON_SUFFIX) if self._document is not None else 0)
        for name in free_names(wanted, seed=f"{self._entry.stamp.inode} {self._entry.path}", limit=longest):
            if copy is not None and copy.is_there(folder, name):
                self._explain(folder, name)
                return name
            # A crash between link and unlink (handles.move) leaves the file under this very name: it is moved on from there.
            linked = self._document is not None and handles.is_linked(from_folder, from_name, folder, name)
            if not (self._document is None or linked or _pair_is_free(folder, name)):
                continue
            self._explain(folder, name)
            try:
                if copy is not None:
                    copy.place(folder, name)
                else:
                    handles.move(from_folder, from_name, folder, name)
            except FileExistsError:
                self._unexplain(folder, name)
                continue
            except handles.UnseenMoveError:
                raise  # it may be there, and is never without its reason
            except OSError:
                if _status(folder, name) is None:  # else it may be ours after all, and is never without its reason
                    self._unexplain(folder, name)
                raise
            return name
        raise handles.os_error(errno.EEXIST)

    def _explain(self, folder: int, name: str) -> None:
        if self._document is not None:
            handles.write_durably(folder, name + REASON_SUFFIX, self._document)

    def _unexplain(self, folder: int, name: str) -> None:
        if self._document is not None:
            with suppress(OSError):
                os.unlink(name + REASON_SUFFIX, dir_fd=folder)

    def _error(self, error: OSError) -> FileError | FilingError:
        """An ENOENT can be either end's."""
        if error.errno == errno.ENOENT:
            try:
                self._entry.check()
            except FileNotFoundError as gone:
                return errors.file_error(gone)
            except (OSError, FileChangedError):
                pass
        return errors.filing_error(error, stamp=self._entry.stamp_now(), source=self._entry.folder)


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
