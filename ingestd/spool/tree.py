"""One lazy pass over a folder tree, by directory handle.

Whatever hangs below the root, it holds at most four open folders and the paths of the folders that wait below those; a handle
is always reached from its parent's with O_NOFOLLOW, so that no link, however it is swapped in, leads out of the root (F25,
F28). Folders are entered whatever their name ends in (`x.dcm`, F27), but for hidden and temporary ones. What vanishes on the
way is skipped in silence (F24); what can't be listed is counted, and the pass goes on (F9).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress

from ingestd.core.model import Sighting
from ingestd.spool import fsutil
from ingestd.spool.names import Ignored, classify, unfinished
from ingestd.spool.watch import CANARY

_OPEN_LEVELS = 4
_LONGEST_PATH = 4000  # bytes; near PATH_MAX nothing could be filed under its path


class Tree:
    """Use once. What is passed over is added to `ignored`; `folders` counts those that were entered."""

    def __init__(
        self, include: Sequence[str], exclude: Sequence[str], *, recursive: bool, ignored: Counter[Ignored]
    ) -> None:
        self._include = include
        self._exclude = exclude
        self._recursive = recursive
        self._ignored = ignored
        self._deeper: list[str] = []
        self.folders = 0

    def sightings(self, root: int) -> Iterator[Sighting]:
        """The files below the open folder `root` that are taken. Raises OSError if `root` can't be listed."""
        yield from self._listed(root, "", 1)
        while self._deeper:
            path = self._deeper.pop()
            try:
                folder = _reopen(root, path)
            except OSError as error:
                self._unlisted(error)
                continue
            yield from self._subfolder(folder, path + "/", 1)

    def _listed(self, folder: int, below: str, level: int) -> Iterator[Sighting]:
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
                elif is_folder:
                    yield from self._entered(folder, entry.name, path, level)
                else:
                    self._ignored[Ignored.SYMLINK if is_link else Ignored.NOT_A_FILE] += 1

    def _entered(self, parent: int, name: str, path: str, level: int) -> Iterator[Sighting]:
        if not self._recursive:
            self._ignored[Ignored.NOT_A_FILE] += 1
        elif (reason := unfinished(name)) is not None:
            self._ignored[reason] += 1
        elif len(os.fsencode(path)) > _LONGEST_PATH:
            self._ignored[Ignored.UNREADABLE] += 1
        elif level >= _OPEN_LEVELS:
            self._deeper.append(path)
        else:
            try:
                folder = os.open(name, fsutil.FOLDER, dir_fd=parent)
            except OSError as error:
                self._unlisted(error)
                return
            yield from self._subfolder(folder, path + "/", level + 1)

    def _subfolder(self, folder: int, below: str, level: int) -> Iterator[Sighting]:
        self.folders += 1
        try:
            yield from self._listed(folder, below, level)
        except OSError as error:
            self._unlisted(error)
        finally:
            fsutil.close(folder)

    def _unlisted(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            self._ignored[Ignored.UNREADABLE] += 1


def _reopen(root: int, path: str) -> int:
    folder = root
    for name in path.split("/"):
        try:
            below = os.open(name, fsutil.FOLDER, dir_fd=folder)
        finally:
            if folder != root:
                fsutil.close(folder)
        folder = below
    return folder


def _swept(folder: int, entry: os.DirEntry[str]) -> bool:
    """A canary that a crash left behind is removed."""
    if not entry.name.startswith(CANARY):
        return False
    with suppress(OSError):
        if entry.stat(follow_symlinks=False).st_size == 0:
            os.unlink(entry.name, dir_fd=folder)
            return True
    return False
