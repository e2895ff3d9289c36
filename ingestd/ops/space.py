"""Whether the folders can be written and how much room they have, asked in a way that a stuck network share can't hold up.

statvfs on a share whose server is gone does not come back and can't be interrupted. So each folder is asked in a thread of its
own, never in a second one while the first has not come back: a stuck share costs one thread, and its number is absent.

A folder that was a mount point at the start and is none any more is a folder of another disk, where nobody will look for files.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ingestd.core.errors import READ_ONLY

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
        self._lock = threading.Lock()
        self._asking: dict[str, threading.Thread] = {}
        self._found: dict[str, _Found] = {}

    def __call__(self) -> Mapping[str, int]:
        """Free bytes of each folder that answers within ANSWER_SECONDS."""
        asked = self._ask_all()
        for thread in asked.values():
            thread.join(ANSWER_SECONDS / len(asked))
        with self._lock:
            answered = [self._found[folder] for folder, thread in asked.items() if not thread.is_alive()]
        return {found.folder: found.free for found in answered if found.free is not None}

    def problem(self) -> str | None:
        """Which folder can't be written or is nearly full, as it was when last asked: one line without a path.

        The line stays the same for as long as that is so. Asks anew and does not wait for the answer.
        """
        with self._lock:
            problems = [self._found[folder].problem for folder in self._folders if folder in self._found]
        self._ask_all()
        return next((problem for problem in problems if problem is not None), None)

    def _ask_all(self) -> Mapping[str, threading.Thread]:
        with self._lock:
            asked = {folder: self._ask(folder, path) for folder, path in self._folders.items()}
        return {folder: thread for folder, thread in asked.items() if thread is not None}

    def _ask(self, folder: str, path: str) -> threading.Thread | None:
        stuck = self._asking.get(folder)
        if stuck is not None and stuck.is_alive():
            return stuck
        thread = threading.Thread(target=self._measure, args=(folder, path), name=f"space-{folder}", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError):  # no thread to be had (F46): it is asked the next time
            return None
        self._asking[folder] = thread
        return thread

    def _measure(self, folder: str, path: str) -> None:
        found = self._look(folder, path)
        with self._lock:
            self._found[folder] = found

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
