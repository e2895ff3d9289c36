"""One pass over the inbox: what it offers, what it ignores, and how far it has come.

A pass offers names as fast as they are taken, so behind a backlog or an outage its end, and with it the count of what is ignored,
can be days away; and "412 files are ignored by name" is what the person who waits for them has to hear today. So while a pass
stands still, the tree is walked to its end beside it, offering nothing: no sooner than a rescan would be, and for no more than a
twentieth of the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from ingestd.core.model import Sighting
from ingestd.core.ports import Clock
from ingestd.core.scan import Passed
from ingestd.spool.intake.beginning import READS, Beginnings, Reading
from ingestd.spool.intake.names import Rules
from ingestd.spool.intake.tree import Tree

_STEP = 500  # names that are taken, between two looks at whether the pass can go on
_SHARE = 20
_STUCK_SECONDS = 60.0  # a scan that gets nowhere, until /readyz is red


class Pass:
    """Use once. Both its methods raise OSError if the open folder `root` can't be listed."""

    def __init__(self, rules: Rules, beginnings: Beginnings, clock: Clock, *, rescan_seconds: float) -> None:
        """`rescan_seconds` may be inf: it is the only pass, and reads how all files begin."""
        self._rules = rules
        self._beginnings = beginnings
        self._clock = clock
        self._rescan_seconds = rescan_seconds
        self._tree = self._another()
        self._steps = 0
        self._counting: Iterator[Sighting] | None = None
        self._beside = self._tree
        self._count_at = clock.monotonic() + rescan_seconds
        self._spent = 0.0

    def _another(self) -> Tree:
        reads = inf if self._rules.dicom or self._rescan_seconds == inf else READS
        return Tree(self._rules, reading=Reading(self._beginnings, reads))

    @property
    def progress(self) -> int:
        """Grows while the file system answers. Any thread."""
        return self._steps + self._tree.progress

    @property
    def passed(self) -> Passed:
        """So far."""
        return self._tree.passed

    @property
    def counting(self) -> bool:
        return self._counting is not None

    def sightings(self, root: int) -> Iterator[Sighting]:
        """What is offered."""
        for sighting in self._tree.sightings(root):
            self._steps += 1
            yield sighting

    def count(self, root: int) -> Passed | None:
        """Standing still: count a little, if it is time; what is passed over once the end is reached."""
        self._steps += 1
        began = self._clock.monotonic()
        if self._counting is None:
            if began < self._count_at:
                return None
            self._spent, self._beside = 0.0, self._another()
            self._counting = self._beside.sightings(root)
        for _ in range(_STEP):
            if next(self._counting, None) is None:
                self._counting = None
                break
        now = self._clock.monotonic()
        self._spent += now - began
        if self._counting is not None:
            return None
        self._count_at = now + max(self._rescan_seconds, _SHARE * self._spent)
        return self._beside.passed


class Standstill:
    """Whether passes get anywhere, as far as those who ask have seen."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: tuple[Pass | None, int] = (None, 0)
        self._since = 0.0

    def lasts(self, under_way: Pass | None) -> bool:
        """Whether this pass, if there is one, got nowhere for too long."""
        now = self._clock.monotonic()
        seen = (under_way, under_way.progress if under_way is not None else 0)
        if under_way is None or seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since >= _STUCK_SECONDS
