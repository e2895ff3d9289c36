"""Free space of the folders, asked in a way that a stuck network share can't hold up.

statvfs on a share whose server is gone does not come back and can't be interrupted. So each folder is asked in a thread of its
own, never in a second one while the first has not come back: a stuck share costs one thread, and its number is absent.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping

ANSWER_SECONDS = 0.25
LEAST_FREE_BYTES = 64 << 20  # with less, a move across file systems or a commit may fail any moment


class FreeSpace:
    """`folders` maps the label to the path. `statvfs` can be replaced by one that sticks."""

    def __init__(self, folders: Mapping[str, str], *, statvfs: Callable[[str], os.statvfs_result] = os.statvfs) -> None:
        self._folders = dict(folders)
        self._statvfs = statvfs
        self._lock = threading.Lock()
        self._asking: dict[str, threading.Thread] = {}
        self._free: dict[str, int] = {}

    def __call__(self) -> Mapping[str, int]:
        """Bytes that an ordinary user may still write, for each folder that answers within ANSWER_SECONDS."""
        with self._lock:
            asked = {folder: self._ask(folder, path) for folder, path in self._folders.items()}
        for thread in asked.values():
            thread.join(ANSWER_SECONDS / len(asked))
        answered = [folder for folder, thread in asked.items() if not thread.is_alive()]
        return {folder: self._free[folder] for folder in answered if folder in self._free}

    def problem(self) -> str | None:
        """Which folder is nearly full, for /readyz; None where there is room, or where nobody answers."""
        for folder, free in self().items():
            if folder != "inbox" and free < LEAST_FREE_BYTES:
                return f"disk space: folders.{folder} has {free >> 20} MiB free: make room"
        return None

    def _ask(self, folder: str, path: str) -> threading.Thread:
        stuck = self._asking.get(folder)
        if stuck is not None and stuck.is_alive():
            return stuck
        thread = threading.Thread(target=self._measure, args=(folder, path), name=f"space-{folder}", daemon=True)
        self._asking[folder] = thread
        thread.start()
        return thread

    def _measure(self, folder: str, path: str) -> None:
        try:
            found = self._statvfs(path)
        except OSError:  # gone or refused: no number is the truth
            self._free.pop(folder, None)
            return
        self._free[folder] = found.f_bavail * found.f_frsize
