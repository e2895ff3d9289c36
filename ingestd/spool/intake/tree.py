"""One lazy pass over a folder tree, by directory handle, and what it passes over.

The root and its sub-folders are read as they are listed, each folder entered on the spot: the first file is offered at once, and of
a million folders nothing is kept. What lies deeper is gone through by descent.py. So whatever hangs below the root, a pass holds at
most eight handles, and a bounded number of bytes (F90); a handle is reached from its parent's with O_NOFOLLOW, so that no link,
however it is swapped in, leads out of the root (F25, F28). Folders are entered whatever their name ends in (`x.dcm`, F27), but for
hidden and temporary ones, and bins. What vanishes on the way is skipped in silence (F24); what can't be listed is counted, and the
pass goes on (F9). Files in a folder that nothing can be moved out of are counted and not offered, because none of them may be sent
(F94).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from ingestd.core.model import Sighting
from ingestd.core.scan import Locked, LockedAlike, Passed
from ingestd.spool.disk import handles
from ingestd.spool.disk.descent import At, Descent
from ingestd.spool.disk.rights import mend_of
from ingestd.spool.intake.beginning import Reading
from ingestd.spool.intake.names import Ignored, Rules, classify, is_index, passed_by
from ingestd.spool.intake.watch import CANARY

_Enter = Callable[[int, str, str], Iterator[Sighting]]  # the folder's handle; the sub-folder's name, and its path

_LONGEST_PATH = 4000  # bytes; near PATH_MAX nothing could be filed under its path


class PassNotes:
    """What is passed over. One thread writes; another may ask for the total at any time: every reason is there from the start."""

    def __init__(self) -> None:
        self.counts = Counter(dict.fromkeys(Ignored, 0))
        self._example: str | None = None
        self._offered = 0
        self._locked: dict[str, LockedAlike] = {}  # by what mends them, which are a handful
        self._locked_files = 0

    @property
    def total(self) -> int:
        return self.counts.total() + self._locked_files

    def passed_over(self, reason: Ignored, path: str = "") -> None:
        """A name, for that reason."""
        self.counts[reason] += 1
        if reason is Ignored.NO_PATTERN and self._example is None:
            self._example = path

    def offered(self) -> None:
        """A file that is taken and can be moved."""
        self._offered += 1

    def locked_folder(self, path: str, files: int, mend: str) -> None:
        """A folder that nothing can be moved out of, and how many files in it would be taken."""
        before = self._locked.get(mend, LockedAlike(files=0, folders=0, example=path, mend=mend))
        self._locked[mend] = replace(before, files=before.files + files, folders=before.folders + 1)
        self._locked_files += files

    def passed(self, include: Sequence[str]) -> Passed:
        """So far."""
        locked = Locked(alike=tuple(self._locked.values()), everything=self._locked_files > 0 and not self._offered)
        return Passed(
            counts={reason.value: self.counts[reason] for reason in Ignored},
            example=self._example,
            include=include,
            locked=locked,
        )


class Tree:
    """Use once. `looked` counts the folders that were entered or put off."""

    def __init__(self, rules: Rules, *, reading: Reading) -> None:
        self._rules = rules
        self._reading = reading
        self._notes = PassNotes()
        self.looked = 0

    @property
    def progress(self) -> int:
        """Grows with all that is looked at and not offered. Any thread."""
        return self.looked + self._notes.total

    @property
    def passed(self) -> Passed:
        """What was passed over so far."""
        return self._notes.passed(self._rules.include)

    def sightings(self, root: int) -> Iterator[Sighting]:
        """The files below the open folder `root` that are taken. Raises OSError if `root` can't be listed."""
        yield from self._listed(root, "", self._shallow)

    def _listed(self, folder: int, below: str, enter: _Enter) -> Iterator[Sighting]:
        mend, locked = mend_of(folder), 0
        with os.scandir(folder) as entries:
            for entry in entries:
                path = below + entry.name
                try:
                    is_file = entry.is_file(follow_symlinks=False)
                    is_folder = not is_file and entry.is_dir(follow_symlinks=False)
                    reason = None if is_folder else self._reason(folder, entry, path, is_file=is_file)
                except OSError as error:
                    # The file can't be read, or the file system doesn't tell the kind with the name.
                    self._unlisted(error)
                    continue
                if is_folder:
                    yield from self._folder(folder, entry.name, path, enter)
                elif reason is not None:
                    if below or not _swept(folder, entry):
                        self._notes.passed_over(reason, path)
                elif mend is not None:
                    locked += 1
                else:
                    self._notes.offered()
                    yield Sighting(path=path, inode=entry.inode())
        if mend is not None and locked:
            self._notes.locked_folder(below.rstrip("/"), locked, mend)

    def _reason(self, folder: int, entry: os.DirEntry[str], path: str, *, is_file: bool) -> Ignored | None:
        """Why what is no folder is passed over; None where it is taken. Raises OSError."""
        if not is_file:
            return Ignored.SYMLINK if entry.is_symlink() else Ignored.NOT_A_FILE
        rules = self._rules
        reason = classify(entry.name, path, rules.include, rules.exclude)
        if reason is Ignored.NO_PATTERN:
            return Ignored.NOT_DICOM if is_index(entry.name) else self._reading.why_not(folder, entry) or reason
        if reason is not None or not rules.dicom:
            return reason
        return Ignored.NOT_DICOM if is_index(entry.name) else self._reading.why_not(folder, entry)

    def _folder(self, parent: int, name: str, path: str, enter: _Enter) -> Iterator[Sighting]:
        reason = passed_by(name) if self._rules.recursive else Ignored.NOT_A_FILE
        if reason is None:
            yield from enter(parent, name, path)
        else:
            self._notes.passed_over(reason)

    def _shallow(self, parent: int, name: str, path: str) -> Iterator[Sighting]:
        """A folder in the root."""
        self.looked += 1
        try:
            folder = os.open(name, handles.FOLDER, dir_fd=parent)
        except OSError as error:
            self._unlisted(error)
            return
        try:
            yield from self._listed(folder, path + "/", self._deep)
        except OSError as error:
            self._unlisted(error)
        finally:
            handles.close(folder)

    def _deep(self, parent: int, name: str, path: str) -> Iterator[Sighting]:
        """A folder in one of those, and all below it."""
        self.looked += 1
        try:
            way = Descent(os.open(name, handles.FOLDER, dir_fd=parent), wanted=self._wanted)
        except OSError as error:
            self._unlisted(error)
            return
        with way:

            def put_off(_: int, name: str, __: str) -> Iterator[Sighting]:
                self.looked += 1
                way.put_off(name)
                return iter(())

            for at, below in way.steps():
                if below.problem is not None:
                    self._unlisted(below.problem)
                elif at is At.ENTERED:
                    yield from self._entered(below.handle, f"{path}/{way.path}", put_off)

    def _entered(self, folder: int, below: str, enter: _Enter) -> Iterator[Sighting]:
        if len(os.fsencode(below)) > _LONGEST_PATH:
            self._notes.passed_over(Ignored.UNREADABLE)
            return
        try:
            yield from self._listed(folder, below, enter)
        except OSError as error:
            self._unlisted(error)

    def _wanted(self, name: str) -> bool:
        self.looked += 1
        return passed_by(name) is None

    def _unlisted(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            self._notes.passed_over(Ignored.UNREADABLE)


def _swept(folder: int, entry: os.DirEntry[str]) -> bool:
    """A canary that a crash left behind is removed."""
    if not entry.name.startswith(CANARY):
        return False
    with suppress(OSError):
        if entry.stat(follow_symlinks=False).st_size == 0:
            os.unlink(entry.name, dir_fd=folder)
            return True
    return False
