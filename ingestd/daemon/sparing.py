"""An event of which a folder can hold a hundred thousand: a line each for the first files of a minute, then a count (I8)."""

from __future__ import annotations

from ingestd.core.events import Event
from ingestd.core.ports import LogValue, Recorder

LINES = 20
SECONDS = 60.0


class Sparing:
    """Owner thread only. `files` in the first line of a minute: for how many files that line stands, those before it among them."""

    def __init__(self, event: Event, *, recorder: Recorder) -> None:
        self._event = event
        self._recorder = recorder
        self._said = 0
        self._unsaid = 0
        self._again_at = 0.0

    def log(self, now: float, **fields: LogValue) -> None:
        """`now` on Clock.now()."""
        if now >= self._again_at:
            self._said, self._again_at = 0, now + SECONDS
        if self._said >= LINES:
            self._unsaid += 1
            return
        self._said += 1
        others, self._unsaid = self._unsaid, 0
        if others:
            fields["files"] = others + 1
        self._recorder.log(self._event, **fields)
