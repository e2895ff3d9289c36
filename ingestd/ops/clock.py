"""The only place that asks the machine what time it is."""

from __future__ import annotations

import time


class SystemClock:
    """ports.Clock on this machine's clocks. Any thread."""

    def __init__(self) -> None:
        self._wall_at_start = time.time()
        self._monotonic_at_start = time.monotonic()

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def now(self) -> float:
        """Seconds since the epoch as the clock stood at start plus what has passed since."""
        return self._wall_at_start + (time.monotonic() - self._monotonic_at_start)

    def wall(self) -> float:
        """Seconds since the epoch as the clock stands now."""
        return time.time()
