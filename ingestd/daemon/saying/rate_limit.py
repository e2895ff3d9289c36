"""How often something is done or said: again only after so many seconds; or so many log lines a minute, then a count (I8)."""

from __future__ import annotations

import math

from ingestd.core.events import Event
from ingestd.core.ports import LogValue, Recorder

LINES = 20
SECONDS = 60.0  # a log event that has said its lines (20 at most), until it may say more


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
