"""One lazy pass over a folder tree, by directory handle.

The root and its sub-folders are read as they are listed, each folder entered on the spot: the first file is offered at once, and of
a million folders nothing is kept. What lies deeper is gone through by descent.py. So whatever hangs below the root, a pass holds at
most eight handles, and a bounded number of bytes (F90); a handle is reached from its parent's with O_NOFOLLOW, so that no link,
however it is swapped in, leads out of the root (F25, F28). Folders are entered whatever their name ends in (`x.dcm`, F27), but for
hidden and temporary ones. What vanishes on the way is skipped in silence (F24); what can't be listed is counted, and the pass goes
on (F9).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from ingestd.core.model import Sighting
from ingestd.spool import fsutil
from ingestd.spool.descent import At, Descent
from ingestd.spool.names import Ignored, classify, unfinished
from ingestd.spool.watch import CANARY

_Enter = Callable[[int, str, str], Iterator[Sighting]]  # the folder's handle; the sub-folder's name, and its path

_LONGEST_PATH = 4000  # bytes; near PATH_MAX nothing could be filed under its path


class Tree:
    """Use once. What is passed over is added to `ignored`; `looked` counts the folders that were entered or put off."""

    def __init__(
        self, include: Sequence[str], exclude: Sequence[str], *, recursive: bool, ignored: Counter[Ignored]
    ) -> None:
        self._include = include
        self._exclude = exclude
        self._recursive = recursive
        self._ignored = ignored
        self.looked = 0

    def sightings(self, root: int) -> Iterator[Sighting]:
        """The files below the open folder `root` that are taken. Raises OSError if `root` can't be listed."""
        yield from self._listed(root, "", self._shallow)

    def _listed(self, folder: int, below: str, enter: _Enter) -> Iterator[Sighting]:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    is_file = entry.is_file(follow_symlinks=False)
                    is_folder = not is_file and entry.is_dir(follow_symlinks=False)
                    is_link = not (is_file or is_folder) and entry.is_symlink()
                except OSError as error:  # only where the file system doesn't tell the kind with the name
                    self._unlisted(error)
                    continue
                path = below + entry.name
                if is_file:
                    reason = classify(entry.name, path, self._include, self._exclude)
                    if reason is None:
                        yield Sighting(path=path, inode=entry.inode())
                    elif below or not _swept(folder, entry):
                        self._ignored[reason] += 1
                elif not is_folder:
                    self._ignored[Ignored.SYMLINK if is_link else Ignored.NOT_A_FILE] += 1
                elif not self._recursive:
                    self._ignored[Ignored.NOT_A_FILE] += 1
                elif (reason := unfinished(entry.name)) is not None:
                    self._ignored[reason] += 1
                else:
                    yield from enter(folder, entry.name, path)

    def _shallow(self, parent: int, name: str, path: str) -> Iterator[Sighting]:
        """A folder in the root."""
        self.looked += 1
        try:
            folder = os.open(name, fsutil.FOLDER, dir_fd=parent)
        except OSError as error:
            self._unlisted(error)
            return
        try:
            yield from self._listed(folder, path + "/", self._deep)
        except OSError as error:
            self._unlisted(error)
        finally:
            fsutil.close(folder)

    def _deep(self, parent: int, name: str, path: str) -> Iterator[Sighting]:
        """A folder in one of those, and all below it."""
        self.looked += 1
        try:
            way = Descent(os.open(name, fsutil.FOLDER, dir_fd=parent), wanted=self._wanted)
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
            self._ignored[Ignored.UNREADABLE] += 1
            return
        try:
            yield from self._listed(folder, below, enter)
        except OSError as error:
            self._unlisted(error)

    def _wanted(self, name: str) -> bool:
        self.looked += 1
        return unfinished(name) is None

    def _unlisted(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            self._ignored[Ignored.UNREADABLE] += 1


def _swept(folder: int, entry: os.DirEntry[str]) -> bool:
    """A canary that a crash left behind is removed."""
    if not entry.name.startswith(CANARY):
        return False
    with suppress(OSError):
        if entry.stat(follow_symlinks=False).st_size == 0:
            os.unlink(entry.name, dir_fd=folder)
            return True
    return False
