"""Which folders of done/ and failed/ have durable names, so that they are not synced again for each file (F38, F90).

A file is filed for good only once every folder on the way to it has its name on the disk. A folder that stood there already is no
proof of that: the process that made it, an earlier one of ours or another shard's, may have died before its sync. So this process
syncs the folder above each one that it meets for the first time, and remembers it. A memory counts only while the folder above has
the mtime that it had just before that sync: whatever was made or removed in it since changes that, also a new folder that got the
inode of one that is gone. What is forgotten, when there is no more room, is synced once more.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict

from ingestd.spool.disk import handles

MOST = 5000  # folders: two of the longest paths that can be


class SyncedFolders:
    """What this process has synced. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[int, int], tuple[int, int, int]] = OrderedDict()

    def sync(self, above: int, folder: int) -> None:
        """Have the name of the open `folder` durable in the open one `above` it. Raises OSError."""
        one, other = os.fstat(folder), os.fstat(above)
        key, state = (one.st_dev, one.st_ino), (other.st_dev, other.st_ino, other.st_mtime_ns)
        with self._lock:
            if self._known.get(key) == state:
                self._known.move_to_end(key)
                return
        handles.sync_folder(above)
        with self._lock:
            self._known[key] = state
            self._known.move_to_end(key)
            if len(self._known) > MOST:
                self._known.popitem(last=False)
