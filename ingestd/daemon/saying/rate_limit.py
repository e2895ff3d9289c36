"""Rate limit for one log event: twenty lines a minute at most, then a count (I8)."""

from __future__ import annotations

from ingestd.core.events import Event
from ingestd.core.ports import LogValue, Recorder

LINES = 20
SECONDS = 60.0  # a log event that has said its lines (20 at most), until it may say more


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
        self._again_at = 0.0

    def log(self, now: float, *, files: int = 1, **fields: LogValue) -> None:
        """`now` on Clock.now(); `files` that this is about."""
        if now >= self._again_at:
            self._said, self._again_at = 0, now + SECONDS
        self._unsaid += files
        if self._said >= self._lines:
            return
        self._said += 1
        if self._unsaid > 1:
            fields["files"] = self._unsaid
        self._unsaid = 0
        self._recorder.log(self._event, **fields)
