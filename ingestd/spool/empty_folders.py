"""Empty folders below the inbox are removed once they have been empty for long enough (`intake.remove_empty_dirs_after_seconds`).

Only by rmdir(2), which never removes anything but an empty folder, and never the root. A folder counts as empty when nothing
but empty folders lies below it; how long is measured from the first look that found it so with its present mtime, on the
monotonic clock (F13). A writer that makes a folder and fills it later must do so within that time.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

from ingestd.core.ports import Clock
from ingestd.spool import fsutil
from ingestd.spool.names import unfinished

DEEPEST = 64  # folders; each holds two handles open
MOST = 10_000  # folders that are remembered from one look to the next
OFTEN_SECONDS, SELDOM_SECONDS = 1.0, 600.0

_Folder = tuple[int, int, int]  # device, inode, mtime


class EmptyFolders:
    """A task of the upkeep thread. `after` in seconds."""

    def __init__(self, *, inbox: Path, after: float, clock: Clock) -> None:
        self._inbox = inbox
        self._after = after
        self._clock = clock
        self._rest = min(max(after / 4, OFTEN_SECONDS), SELDOM_SECONDS)
        self._due_at = clock.monotonic()
        self._before: dict[_Folder, float] = {}
        self._now: dict[_Folder, float] = {}

    def due_at(self) -> float:
        return self._due_at

    def steps(self) -> Iterator[None]:
        """One look at all folders. An inbox that is away is no news: the scanner says so."""
        self._before, self._now = self._now, {}
        with suppress(OSError):
            root = fsutil.open_inbox(self._inbox)
            try:
                yield from self._look(root, 0)
            finally:
                fsutil.close(root)
        self._due_at = self._clock.monotonic() + self._rest

    def _look(self, folder: int, depth: int) -> Generator[None, None, tuple[bool, bool]]:
        """Whether only empty folders lie in it, and whether nothing at all does by now."""
        hollow = empty = True
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    yield
                    ours = depth < DEEPEST and entry.is_dir(follow_symlinks=False) and unfinished(entry.name) is None
                    below, gone = (yield from self._subfolder(folder, entry.name, depth)) if ours else (False, False)
                    hollow, empty = hollow and below, empty and gone
        except OSError:
            return False, False
        return hollow, empty

    def _subfolder(self, parent: int, name: str, depth: int) -> Generator[None, None, tuple[bool, bool]]:
        """Whether it is empty but for empty folders, and whether it is gone."""
        try:
            folder = os.open(name, fsutil.FOLDER, dir_fd=parent)
        except OSError:
            return False, False
        try:
            status = os.fstat(folder)
            hollow, empty = yield from self._look(folder, depth + 1)
        finally:
            fsutil.close(folder)
        if not hollow:
            return False, False
        now = self._clock.monotonic()
        key = status.st_dev, status.st_ino, status.st_mtime_ns
        since = self._before.get(key, now)
        if empty and now - since >= self._after:
            with suppress(OSError):
                os.rmdir(name, dir_fd=parent)
                return True, True
        if len(self._now) < MOST:
            self._now[key] = since
        return True, False
