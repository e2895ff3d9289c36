"""File away: what becomes of a dropped file whose outcome is known.

It is moved to done/ or failed/ (move.py): a rename that lands on nothing, of a name that was just seen to stand for the file that
was judged; afterwards the moved file is looked at again, and one that slipped in between goes back into the inbox (F19, F28, I4).
A new version is never moved unsent. To another file system it takes a copy (copying.py). A file that settled by a lease, and that
somebody has opened for writing since, stays until they close it: what they write would be in done/, and never sent.

    state on disk                                   after a crash
    in the inbox                                    judged again
    in the inbox, orphan `.reason.json` in failed/  judged again; the reason file is overwritten by the next verdict under that name
    in the inbox, `.ingestd-*.tmp` in done, failed  overwritten by the next try for that path
    in the inbox and, across file systems, filed    judged again, found to be filed already (copying.py): the source goes
    in done/, or in failed/ with its reason file    finished

Where a stamp can't show an edit in place (ground.py), the bytes are digested once more just before the move, for as long as that
takes, and those of another digest stay.

With `done.action = delete` a stored file is removed instead (removal.py), if it has the digest of what the service was
shown to hold and a lease has shown that nobody writes it. Others are moved all the same; some of them go later
(second_looks.py). A stored file that can't be moved or removed stays where it is (F31, F39).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from ingestd.core.errors import FarFolderError, FileChangedError, FileError, FilingError
from ingestd.core.layout import DAILY, Layout
from ingestd.core.model import Evidence, Instance, Stamp
from ingestd.core.record import Stray, Verdict
from ingestd.part10.digests import DIGESTED
from ingestd.spool.disk import errors, handles
from ingestd.spool.disk.mounts import MountPoints
from ingestd.spool.disk.synced import SyncedFolders
from ingestd.spool.filing.entry import Entry
from ingestd.spool.filing.move import Move
from ingestd.spool.filing.outcome_folder import OutcomeFolder
from ingestd.spool.filing.putting_back import PuttingBack
from ingestd.spool.filing.reason_file import reason_file
from ingestd.spool.filing.removal import refuse_open, remove


class Filing:
    """The port Filer on real folders. `layout` places files below done/, by the day of filing.

    `delete`: stored files are removed instead of moved. `edits_show`: equal stamps of a file in the inbox mean equal bytes.
    `takes`: whether the inbox takes a path, for what is put back.
    """

    def __init__(
        self,
        inbox: Path,
        done: Path,
        failed: Path,
        *,
        layout: Layout = DAILY,
        delete: bool = False,
        edits_show: bool = True,
        takes: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._inbox = inbox
        self._done = done
        self._failed = failed
        self._mounts = MountPoints(done, failed)
        self._layout = layout
        self._delete = delete
        self._synced = SyncedFolders()
        self._edits_show = edits_show
        self._takes = takes

    def to_done(self, instance: Instance, *, at: float, copy: bool = True, young: bool = False) -> str | None:
        if self._delete and instance.sha256 is not None and instance.evidence is Evidence.LEASE:
            self._remove(self._find(instance.path, instance.stamp), instance.sha256, copy=copy)
            return None
        self._mounts.check(self._done)
        entry = self._find(instance.path, instance.stamp)
        try:
            self._compare(entry, instance.sha256, copy=copy)
            if instance.evidence is Evidence.LEASE:
                _refuse_a_new_writer(entry)
            target = self.place(instance, at=at)
            return _moved(OutcomeFolder(entry, self._done, target, copy=copy, young=young, synced=self._synced))
        finally:
            handles.close(entry.folder)

    def place(self, instance: Instance, *, at: float) -> str:
        return self._layout.place(instance.path, at=at)

    def stamp(self, place: str) -> Stamp | None:
        try:
            *folders, name = handles.split(place)
            folder = handles.open_below(handles.open_root(self._done), folders)
            try:
                return handles.stamp_of(handles.lstat(folder, name))
            finally:
                handles.close(folder)
        except OSError:
            return None

    def to_failed(self, verdict: Verdict, *, copy: bool = True, young: bool = False) -> str:
        self._mounts.check(self._failed)
        entry = self._find(verdict.path, verdict.stamp)
        try:
            self._compare(entry, verdict.sha256, copy=copy)
            reason = reason_file(verdict, verdict.sha256 or entry.digest())
            root, target = self._failed, verdict.path
            return _moved(OutcomeFolder(entry, root, target, reason, copy=copy, young=young, synced=self._synced))
        finally:
            handles.close(entry.folder)

    def recover(self, stray: Stray) -> str | None:
        root = self._done if stray.folder == "done" else self._failed
        self._mounts.check(root)
        takes = self._takes
        return PuttingBack(root, self._inbox, takes=lambda path: path == stray.path or takes(path)).recover(stray)

    def _compare(self, entry: Entry, sha256: str | None, *, copy: bool) -> None:
        """Raises FileChangedError where these are not the bytes that were judged, FarFolderError where it would take too long."""
        if self._edits_show or sha256 is None:
            return
        if not copy:
            raise FarFolderError("all bytes of the file are to be read once more: that takes a while")
        try:
            entry.compare(sha256)
        except OSError as error:
            raise errors.judged_error(error) from error

    def _remove(self, entry: Entry, sha256: str, *, copy: bool) -> None:
        try:
            self._compare(entry, sha256, copy=copy)
            remove(entry, sha256=sha256 if entry.stamp.size <= DIGESTED or not self._edits_show else None)
        except OSError as error:
            raise errors.removal_error(error) from error
        finally:
            handles.close(entry.folder)

    def _find(self, path: str, stamp: Stamp) -> Entry:
        *folders, name = handles.split(path)
        try:
            root = handles.open_inbox(self._inbox)
        except OSError as error:
            raise FilingError("the inbox itself can't be opened just now: the move is tried again") from error
        try:
            entry = Entry(folder=handles.open_below(root, folders), name=name, path=path, stamp=stamp)
            try:
                entry.check()
            except (OSError, FileError):
                handles.close(entry.folder)
                raise
        except OSError as error:
            raise errors.judged_error(error) from error
        return entry


def _moved(place: OutcomeFolder, *, tries: int = 3) -> str:
    """Where it is now. An empty folder that retention takes away under a move is made again."""
    try:
        with place:
            return place.path(Move(place).run())
    except OSError as error:
        mapped = _move_error(error, place.entry)
        if error.errno == errno.ENOENT and isinstance(mapped, FilingError) and tries > 1:
            return _moved(place, tries=tries - 1)
        raise mapped from error


def _move_error(error: OSError, entry: Entry) -> FileError | FilingError:
    """An ENOENT can be either end's."""
    if error.errno == errno.ENOENT:
        try:
            entry.check()
        except FileNotFoundError as gone:
            return errors.file_error(gone)
        except (OSError, FileChangedError):
            pass
    return errors.filing_error(error, stamp=entry.stamp_now(), source=entry.folder)


def _refuse_a_new_writer(entry: Entry) -> None:
    """Raises FilingError where somebody has it open for writing, which nobody had when it settled."""
    try:
        refuse_open(entry)
    except OSError as error:
        raise errors.judged_error(error) from error
