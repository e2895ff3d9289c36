"""Says what a pass left where it lies, for as long as it lies there: what is not heard again is soon forgotten.

A line for each reason: at once, again when the count has changed, at most once a minute, and every ten minutes while it has not.
"""

from __future__ import annotations

import math

from ingestd.core.events import Event
from ingestd.core.ports import Recorder
from ingestd.core.scan import NO_PATTERN, REASONS, Passed

CHANGED_SECONDS = 60.0  # the next line `ignored` or `locked`, when the count has changed
AGAIN_SECONDS = 600.0  # the next line `ignored` or `locked`, while the count has not
_LOCKED = "locked"


class LeftLying:
    """The lines `ignored` and `locked`. The owner thread's."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._said: dict[str, tuple[int, float]] = {}  # by reason: how many, and when

    def say(self, passed: Passed, now: float, *, at_the_end: bool = False) -> None:
        """`at_the_end`: say what was not said yet, whenever the last line was."""
        for reason in REASONS:
            files = passed.counts.get(reason, 0)
            if self._due(reason, files, now, at_the_end=at_the_end):
                path = passed.example if reason == NO_PATTERN else None
                self._recorder.log(Event.IGNORED, reason=reason, files=files, path=path, hint=passed.text(reason))
        if self._due(_LOCKED, passed.locked.files, now, at_the_end=at_the_end):
            for one in passed.locked.alike:
                self._recorder.log(Event.LOCKED, path=one.example or ".", files=one.files, hint=one.text())

    def _due(self, reason: str, files: int, now: float, *, at_the_end: bool) -> bool:
        """Whether a line is due, which is then written down as said."""
        if not files:
            return False
        said, at = self._said.get(reason, (0, -math.inf))
        after = AGAIN_SECONDS if files == said else 0.0 if at_the_end else CHANGED_SECONDS
        if now < at + after:
            return False
        self._said[reason] = (files, now)
        return True
