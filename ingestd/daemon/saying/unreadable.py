"""Files that we may not read: a line a minute while there are any, and how many they are.

Each is looked at again at least once a minute, so that a minute's looks count all of them.
"""

from __future__ import annotations

from ingestd.core.events import Event
from ingestd.core.ports import Recorder
from ingestd.daemon.saying.rate_limit import Every

SECONDS = 60.0  # the next line `unreadable`, while there are such files
MOST = 10_000  # paths that are kept to count each file once


class Unreadable:
    """The owner thread's."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._seen: set[str] = set()
        self._say = Every(SECONDS)

    def seen(self, path: str, problem: str, now: float) -> None:
        """A look at `path` was refused. `now` on Clock.now()."""
        if len(self._seen) < MOST:
            self._seen.add(path)
        if self._say.due(now):
            self._recorder.log(Event.UNREADABLE, path=path, files=len(self._seen), problem=problem)
            self._seen.clear()
