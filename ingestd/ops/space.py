"""Whether the folders can be written and how much room they have, asked in a way that a stuck network share can't hold up.

statvfs on a share whose server is gone does not come back and can't be interrupted. So each folder is asked in a thread of its
own, never in a second one while the first has not come back: a stuck share costs one thread, and its number is absent.

A folder that was a mount point at the start and is none any more is a folder of another disk, where nobody will look for files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from ingestd.core.errors import READ_ONLY
from ingestd.threads.handover import NoThreadError
from ingestd.threads.single_flight import SingleFlight

ANSWER_SECONDS = 0.25  # a scrape, for the free space of all folders: a share that hangs has no number
LEAST_FREE_BYTES = 64 << 20  # with less, a move across file systems or a commit may fail any moment
LEAST_FREE_SHARE = 10  # of a small file system: a tenth


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a folder has: bytes that an ordinary user may still write, None where it can't be told, and what is wrong."""

    folder: str
    free: int | None = None
    problem: str | None = None


class Space:
    """`folders` maps the label to the path. `statvfs` can be replaced by one that sticks. Any thread."""

    def __init__(self, folders: Mapping[str, str], *, statvfs: Callable[[str], os.statvfs_result] = os.statvfs) -> None:
        self._folders = dict(folders)
        self._statvfs = statvfs
        self._mounted = {folder for folder, path in folders.items() if os.path.ismount(path)}
        self._asking = SingleFlight[_Found]()
        self._found: dict[str, _Found] = {}

    def __call__(self) -> Mapping[str, int]:
        """Free bytes of each folder that answers within ANSWER_SECONDS."""
        asked = self._ask_all()
        wait(asked, ANSWER_SECONDS)
        answered = [future.result() for future in asked if future.done() and future.exception() is None]
        return {found.folder: found.free for found in answered if found.free is not None}

    def problem(self) -> str | None:
        """Which folder can't be written or is nearly full, as it was when last asked: one line without a path.

        The line stays the same for as long as that is so. Asks anew and does not wait for the answer.
        """
        problems = [found.problem for folder in self._folders if (found := self._found.get(folder)) is not None]
        self._ask_all()
        return next((problem for problem in problems if problem is not None), None)

    def _ask_all(self) -> list[Future[_Found]]:
        asked = []
        for folder, path in self._folders.items():
            with suppress(NoThreadError):  # it is asked the next time (F46)
                asked.append(self._asking.ask(folder, partial(self._measure, folder, path), name=f"space-{folder}"))
        return asked

    def _measure(self, folder: str, path: str) -> _Found:
        found = self._found[folder] = self._look(folder, path)
        return found

    def _look(self, folder: str, path: str) -> _Found:
        try:
            status = self._statvfs(path)
        except FileNotFoundError:
            return _Found(folder=folder, problem=f"folders.{folder} is not there: mount it, or make it")
        except OSError:  # refused: no number is the truth
            text = f"folders.{folder} can't be reached: look at its disk, mount or share, and its mode"
            return _Found(folder=folder, problem=text)
        free = status.f_bavail * status.f_frsize
        problem = None
        if folder in self._mounted and not os.path.ismount(path):
            problem = f"folders.{folder} is no longer mounted: mount it again"
        elif status.f_flag & os.ST_RDONLY:
            problem = f"folders.{folder} can't be written, it is read-only: {READ_ONLY}"
        elif not os.access(path, os.W_OK | os.X_OK):
            problem = f"folders.{folder} can't be written: mount it writable, or mend its owner or mode"
        elif free < min(LEAST_FREE_BYTES, status.f_blocks * status.f_frsize // LEAST_FREE_SHARE):
            problem = f"disk space: folders.{folder} is nearly full: make room"
        return _Found(folder=folder, free=free, problem=problem)
