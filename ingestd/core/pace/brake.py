"""The brake: when the service quarantines nearly everything, it is more likely us than the files, so sending stops.

Only verdicts of the service count, conflicts among them, not our own about truncated or foreign files; and at most ten of one
study, because a series that is refused whole is that series' trouble. What is counted is memory; that the brake is on is durable
(ports.Orders), and only a person releases it.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

OF_ONE_STUDY = 10  # refused instances of one study that count
_COUNTING = f" (at most {OF_ONE_STUDY} of one study count)"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrakeRules:
    """The `brake` keys: so many refusals in a row, or this share of the last so many instances."""

    in_a_row: int
    last: int
    share: float


class Brake:
    """Counts what the service said of instances, one at a time. A refusal beyond the tenth of its study leaves no trace."""

    def __init__(self, rules: BrakeRules) -> None:
        self._rules = rules
        self._row: Counter[str] = Counter()  # refused since something was stored, by study
        self._recent: deque[str | None] = deque()  # the study of one that was refused, None for one that was stored
        self._recently_refused: Counter[str] = Counter()  # of `recent`, by study

    def stored(self) -> None:
        """The service stored an instance, or was shown to hold it."""
        self._row.clear()
        self._remember(None)

    def refused(self, study_uid: str) -> str | None:
        """The service's verdict quarantines an instance of this study; why the brake must go on now, or None."""
        if self._row[study_uid] < OF_ONE_STUDY:
            self._row[study_uid] += 1
        if self._recently_refused[study_uid] < OF_ONE_STUDY:
            self._remember(study_uid)
        if (row := self._row.total()) >= self._rules.in_a_row:
            return f"the service refused {row} files in a row{_COUNTING}"
        refused = self._recently_refused.total()
        if len(self._recent) == self._rules.last and refused / self._rules.last >= self._rules.share:
            return f"the service refused {refused} of the last {self._rules.last} files{_COUNTING}"
        return None

    def released(self) -> None:
        """A person took the brake off: counting begins anew."""
        self._row.clear()
        self._recent.clear()
        self._recently_refused.clear()

    def _remember(self, study_uid: str | None) -> None:
        """One more of the last ones; the oldest makes room for it."""
        if len(self._recent) == self._rules.last and (oldest := self._recent.popleft()) is not None:
            self._recently_refused -= Counter((oldest,))  # drops a study that has none left
        self._recent.append(study_uid)
        if study_uid is not None:
            self._recently_refused[study_uid] += 1
