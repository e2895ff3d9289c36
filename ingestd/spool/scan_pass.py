"""One pass over the inbox: what it offers, what it ignores, and how far it has come.

A pass offers names as fast as they are taken, so behind a backlog or an outage its end, and with it the count of what is ignored,
can be days away; and "412 files are ignored by name" is what the person who waits for them has to hear today. So while a pass
stands still, the tree is walked to its end beside it, offering nothing: no sooner than a rescan would be, and for no more than a
twentieth of the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ingestd.core.model import Sighting
from ingestd.core.ports import Clock
from ingestd.spool.names import Ignored
from ingestd.spool.tree import Tree

_STEP = 500  # names that are taken, between two looks at whether the pass can go on
_SHARE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRules:
    """The `intake` keys that say what is taken. `rescan_seconds` may be inf."""

    include: Sequence[str]
    exclude: Sequence[str]
    recursive: bool
    rescan_seconds: float

    def tree(self, ignored: Counter[Ignored]) -> Tree:
        return Tree(self.include, self.exclude, recursive=self.recursive, ignored=ignored)


def nothing_ignored() -> Counter[Ignored]:
    """Every reason is there, so that a gauge falls back to 0, and so that another thread may sum them up at any time."""
    return Counter(dict.fromkeys(Ignored, 0))


def by_reason(ignored: Counter[Ignored]) -> dict[str, int]:
    """As ScanStatus has them."""
    return {reason.value: ignored[reason] for reason in Ignored}


class Pass:
    """Use once. Both its methods raise OSError if the open folder `root` can't be listed."""

    def __init__(self, rules: ScanRules, clock: Clock) -> None:
        self._rules = rules
        self._clock = clock
        self._ignored = nothing_ignored()
        self._tree = rules.tree(self._ignored)
        self._steps = 0
        self._counting: Iterator[Sighting] | None = None
        self._counted = nothing_ignored()
        self._count_at = clock.monotonic() + rules.rescan_seconds
        self._spent = 0.0

    @property
    def progress(self) -> int:
        """Grows while the file system answers. Any thread."""
        return self._steps + self._tree.looked + self._ignored.total()

    @property
    def ignored(self) -> Mapping[str, int]:
        """So far."""
        return by_reason(self._ignored)

    @property
    def counting(self) -> bool:
        return self._counting is not None

    def sightings(self, root: int) -> Iterator[Sighting]:
        """What is offered."""
        for sighting in self._tree.sightings(root):
            self._steps += 1
            yield sighting

    def count(self, root: int) -> Mapping[str, int] | None:
        """Standing still: count a little, if it is time; what is ignored once the end is reached."""
        self._steps += 1
        began = self._clock.monotonic()
        if self._counting is None:
            if began < self._count_at:
                return None
            self._spent, self._counted = 0.0, nothing_ignored()
            self._counting = self._rules.tree(self._counted).sightings(root)
        for _ in range(_STEP):
            if next(self._counting, None) is None:
                self._counting = None
                break
        now = self._clock.monotonic()
        self._spent += now - began
        if self._counting is not None:
            return None
        self._count_at = now + max(self._rules.rescan_seconds, _SHARE * self._spent)
        return by_reason(self._counted)
