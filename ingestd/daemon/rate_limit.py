"""How often something is done or said: again only after so many seconds; or so many log lines a minute, then a count (I8).

What a folder can hold a hundred thousand of, is so said in a few lines.
"""

from __future__ import annotations

import math

from ingestd.core.events import Event
from ingestd.core.ports import LogValue, Recorder

LINES = 20
SECONDS = 60.0  # a log event that has said its lines (20 at most), until it may say more
UNREADABLE_SECONDS = 60.0  # the next line `unreadable`, while there are such files
UNREADABLE_MOST = 10_000  # paths that are kept to count each file once


class Every:
    """Due at once, and then again `seconds` after it was last due. Any clock will do, as long as it is always the same one."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._again_at = -math.inf

    def due(self, now: float) -> bool:
        """Whether it is time; if so, the wait begins anew."""
        if now < self._again_at:
            return False
        self.wait(now)
        return True

    def wait(self, now: float, *, seconds: float | None = None) -> None:
        """Begin the wait at `now`, whether or not it was time; `seconds`: this wait only."""
        self._again_at = now + (self._seconds if seconds is None else seconds)


class RateLimit:
    """At most `lines` a minute. `files` of a line: how many it stands for, those without a line of their own among them.

    Owner thread only.
    """

    def __init__(self, event: Event, *, recorder: Recorder, lines: int = LINES) -> None:
        self._event = event
        self._recorder = recorder
        self._lines = lines
        self._said = 0
        self._unsaid = 0
        self._minute = Every(SECONDS)

    def log(self, now: float, *, files: int = 1, **fields: LogValue) -> None:
        """`now` on Clock.now(); `files` that this is about."""
        if self._minute.due(now):
            self._said = 0
        self._unsaid += files
        if self._said >= self._lines:
            return
        self._said += 1
        if self._unsaid > 1:
            fields["files"] = self._unsaid
        self._unsaid = 0
        self._recorder.log(self._event, **fields)


class Unreadable:
    """Files that we may not read: a line a minute while there are any, and how many they are. The owner thread's.

    Each is looked at again at least once a minute, so that a minute's looks count all of them.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._seen: set[str] = set()
        self._say = Every(UNREADABLE_SECONDS)

    def seen(self, path: str, problem: str, now: float) -> None:
        """A look at `path` was refused. `now` on Clock.now()."""
        if len(self._seen) < UNREADABLE_MOST:
            self._seen.add(path)
        if self._say.due(now):
            self._recorder.log(Event.UNREADABLE, path=path, files=len(self._seen), problem=problem)
            self._seen.clear()
