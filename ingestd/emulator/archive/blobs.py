"""The files of the stored instances: <folder>/<kk>/<key>, where <kk> is the key's first two characters.

Whoever retrieves many of them holds them, and what is deleted or replaced meanwhile goes when the last one lets go; a crash
before that leaves files that no row names, which the next start sweeps away.
"""

import collections
import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator


class Blobs:
    """Any thread."""

    def __init__(self, folder: str) -> None:
        """Makes the folders. Raises OSError."""
        self._folder = folder
        self._lock = threading.Lock()
        self._holds: collections.Counter[str] = collections.Counter()
        self._doomed: set[str] = set()
        for shelf in range(256):
            os.makedirs(os.path.join(folder, f"{shelf:02x}"), exist_ok=True)

    def path(self, key: str) -> str:
        """Where the file of this key is, or is to be."""
        return os.path.join(self._folder, key[:2], key)

    @contextlib.contextmanager
    def held(self, keys: Collection[str]) -> Iterator[None]:
        """Those of these that are there stay there until the block is left."""
        with self._lock:
            self._holds.update(keys)
        try:
            yield
        finally:
            with self._lock:
                self._holds.subtract(keys)
                free = [key for key in keys if self._holds[key] <= 0]
                for key in free:
                    del self._holds[key]
                gone = self._doomed.intersection(free)
                self._doomed -= gone
                for key in gone:
                    os.unlink(self.path(key))

    def delete(self, keys: Iterable[str]) -> None:
        """Deletes them, those that are held as soon as they are not."""
        for key in keys:
            with self._lock:  # until it is gone: who holds it after that finds nothing
                if key in self._holds:
                    self._doomed.add(key)
                else:
                    os.unlink(self.path(key))

    def sweep(self, known: Callable[[str], set[str]]) -> None:
        """Deletes what `known`, asked for each shelf by the two characters its keys begin with, does not hold. Raises OSError."""
        with os.scandir(self._folder) as shelves:
            for shelf in shelves:
                keep = known(shelf.name)
                with os.scandir(shelf.path) as entries:
                    for entry in entries:
                        if entry.name not in keep:
                            os.unlink(entry.path)
