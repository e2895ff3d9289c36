"""The brake: when the service quarantines nearly everything, it is more likely us than the files, so sending stops.

Only verdicts of the service count, not our own about truncated or foreign files. What is counted is memory; that the brake is on is
durable (ports.Orders), and only a person releases it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BrakeRules:
    """The `brake` keys: so many refusals in a row, or this share of the last so many instances."""

    in_a_row: int
    last: int
    share: float


class Brake:
    """Counts what the service said of instances, one at a time."""

    def __init__(self, rules: BrakeRules) -> None:
        self._rules = rules
        self._row = 0
        self._recent: deque[bool] = deque(maxlen=rules.last)

    def stored(self) -> None:
        """The service stored an instance, or was shown to hold it."""
        self._row = 0
        self._recent.append(False)

    def refused(self) -> str | None:
        """The service's verdict quarantines an instance; why the brake must go on now, or None."""
        self._row += 1
        self._recent.append(True)
        if self._row >= self._rules.in_a_row:
            return f"the service refused {self._row} instances in a row"
        refused = sum(self._recent)
        if len(self._recent) == self._rules.last and refused / self._rules.last >= self._rules.share:
            return f"the service refused {refused} of the last {self._rules.last} instances"
        return None

    def released(self) -> None:
        """A person took the brake off: counting begins anew."""
        self._row = 0
        self._recent.clear()
