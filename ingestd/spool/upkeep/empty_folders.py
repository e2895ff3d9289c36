"""Empty folders below the inbox are removed once they have been empty for long enough (`intake.remove_empty_dirs_after_seconds`).

Only by rmdir(2), which never removes anything but an empty folder, and never the root. A folder counts as empty when nothing
but empty folders lies below it, however deep (descent.py); how long is measured from the first look that found it so with its
present mtime, on the monotonic clock (F13). A writer that makes a folder and fills it later must do so within that time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ingestd.core.ports import Clock
from ingestd.spool.disk import handles
from ingestd.spool.disk.descent import At, Descent, Folder
from ingestd.spool.intake.names import passed_by

MOST = 10_000  # folders that are remembered from one look to the next
OFTEN_SECONDS = 1.0  # the next look for empty folders, at least: a quarter of the time that they may stay
SELDOM_SECONDS = 600.0  # the next look for empty folders, at most

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
        with suppress(OSError), Descent(handles.open_inbox(self._inbox), wanted=_is_ours) as way:
            yield from self._look(way)
        self._due_at = self._clock.monotonic() + self._rest

    def _look(self, way: Descent) -> Iterator[None]:
        hollow: list[bool] = []  # of each folder on the way: whether only empty folders lie in it
        for at, folder in way.steps():
            if at is At.ENTERED:
                hollow.append(True)
                yield from _listed(way, folder.handle, hollow)
            elif at is At.UNREADABLE or not hollow.pop():
                hollow[-1] = False
            else:
                self._remove(folder, way)

    def _remove(self, folder: Folder, way: Descent) -> None:
        """If it has been hollow for long enough, and is empty by now; else since when is remembered."""
        now = self._clock.monotonic()
        key = *folder.identity, folder.mtime_ns
        since = self._before.get(key, now)
        if now - since >= self._after and way.remove(folder):
            return
        if len(self._now) < MOST:
            self._now[key] = since


def _is_ours(name: str) -> bool:
    return passed_by(name) is None


def _listed(way: Descent, folder: int, hollow: list[bool]) -> Iterator[None]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                yield
                if _is_ours(entry.name) and entry.is_dir(follow_symlinks=False):
                    way.put_off(entry.name)
                else:
                    hollow[-1] = False
    except OSError:
        hollow[-1] = False
