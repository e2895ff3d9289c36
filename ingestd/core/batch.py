"""Which instances travel together: the shelves of what is ready, and the batches taken from them.

One shelf a study (or one for all, `batch.by = any`). A shelf is ripe when it fills a batch, when a slot is idle and nothing
more of its study is on its way, or when its oldest instance has lingered long enough. Two files of one SOPInstanceUID are
never in a batch or in flight together: a UID that was taken is busy until `release`, and its twin waits on the shelf. A file for
which the service's own was deleted goes alone and before all others, because the service holds neither until then. Every
fourth batch belongs to files that an event brought, newest first, so that a fresh study does not wait behind a backlog.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field

from ingestd.core.model import Batch, Instance

HINTED_TURN = 4
FRAMING_BYTES = 256  # more than a part's boundary and header take, and than the closing one takes


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRules:
    """The `batch` keys, and the service's own limit on a request in bytes."""

    by_study: bool
    max_instances: int
    max_bytes: int
    linger_seconds: float
    max_request_bytes: int

    @property
    def largest_instance(self) -> int:
        """Bytes of the largest instance that a request can carry."""
        return self.max_request_bytes - 2 * FRAMING_BYTES

    def fits(self, count: int, size: int) -> bool:
        """Whether a batch of `count` instances and `size` bytes may travel; one alone always may."""
        limit = min(self.max_bytes, self.max_request_bytes - (count + 1) * FRAMING_BYTES)
        return count <= 1 or (count <= self.max_instances and size <= limit)


@dataclass(slots=True)
class _Shelf:
    instances: deque[Instance] = field(default_factory=deque)
    since: float = 0.0  # when it came, or last gave a batch
    hinted_at: float = -math.inf  # when its newest hinted instance came
    size: int = 0


class Shelves:
    """Settled instances by study; the shelf that has waited longest for a batch comes first."""

    def __init__(self, rules: BatchRules) -> None:
        self._rules = rules
        self._shelves: dict[str, _Shelf] = {}
        self._busy: Counter[str] = Counter()  # how often each is in a batch, in flight or asked about
        self._first: deque[Instance] = deque()
        self._taken = 0
        self._count = 0
        self.content_bytes = 0  # bytes of small files that are held in memory

    def __len__(self) -> int:
        return self._count

    def ripe_at(self) -> float | None:
        """When the oldest shelf will have lingered long enough."""
        oldest = min((shelf.since for shelf in self._shelves.values()), default=None)
        return oldest + self._rules.linger_seconds if oldest is not None else None

    def put(self, instance: Instance, *, now: float) -> None:
        """A settled instance, or one that comes back because its request said nothing about it."""
        self._count += 1
        self.content_bytes += len(instance.content or b"")
        if instance.deleted:
            self._first.append(instance)
            return
        key = instance.ids.study_uid if self._rules.by_study else ""
        shelf = self._shelves.setdefault(key, _Shelf(since=now))
        shelf.instances.append(instance)
        shelf.size += instance.size
        if instance.hinted:
            shelf.hinted_at = now

    def release(self, instance: Instance) -> None:
        """`instance` is no longer in a batch or in flight."""
        uid = instance.sop_instance_uid
        self._busy[uid] -= 1
        if self._busy[uid] <= 0:
            del self._busy[uid]

    def occupy(self, instance: Instance) -> None:
        """`instance` is in flight or asked about without having been taken from here."""
        self._busy[instance.sop_instance_uid] += 1

    def take_first(self) -> Batch | None:
        """One that must not wait for others, alone; None while there is none whose UID is free."""
        for instance in self._first:
            if instance.sop_instance_uid not in self._busy:
                self._first.remove(instance)
                self.occupy(instance)
                self._count -= 1
                self.content_bytes -= len(instance.content or b"")
                return Batch(instances=(instance,))
        return None

    def take(self, *, now: float, idle: bool, arriving: Collection[str]) -> Batch | None:
        """The next batch, or None while nothing is ripe.

        `idle`: a slot has nothing to do. `arriving`: studies of which more is on its way.
        """
        hinted_turn = self._taken % HINTED_TURN == HINTED_TURN - 1
        order = list(self._shelves)
        if hinted_turn:
            order.sort(key=lambda key: -self._shelves[key].hinted_at)
        for key in order:
            shelf = self._shelves[key]
            if self._ripe(shelf, key, now=now, idle=idle, arriving=arriving) and (
                batch := self._cut(key, shelf, now, hinted_turn=hinted_turn)
            ):
                self._taken += 1
                return batch
        return None

    def _ripe(self, shelf: _Shelf, key: str, *, now: float, idle: bool, arriving: Collection[str]) -> bool:
        rules = self._rules
        if len(shelf.instances) >= rules.max_instances or shelf.size >= min(rules.max_bytes, rules.max_request_bytes):
            return True
        if idle and key not in arriving:
            return True
        return now - shelf.since >= rules.linger_seconds

    def _cut(self, key: str, shelf: _Shelf, now: float, *, hinted_turn: bool) -> Batch | None:
        """As many as fit, oldest first, or the hinted ones first and newest first; what is left goes behind the other shelves."""
        queue = list(shelf.instances)
        if hinted_turn:
            queue = [i for i in reversed(queue) if i.hinted] + [i for i in queue if not i.hinted]
        chosen: dict[int, Instance] = {}
        size = 0
        for instance in queue:
            if instance.sop_instance_uid in self._busy:
                continue
            if not self._rules.fits(len(chosen) + 1, size + instance.size):
                break
            chosen[id(instance)] = instance
            size += instance.size
            self._busy[instance.sop_instance_uid] += 1
        del self._shelves[key]
        if left := deque(i for i in shelf.instances if id(i) not in chosen):
            hinted_at = shelf.hinted_at if any(i.hinted for i in left) else -math.inf
            self._shelves[key] = _Shelf(instances=left, since=now, hinted_at=hinted_at, size=shelf.size - size)
        self._count -= len(chosen)
        self.content_bytes -= sum(len(i.content or b"") for i in chosen.values())
        return Batch(instances=tuple(chosen.values())) if chosen else None


def halves(instances: tuple[Instance, ...], *, whole: int) -> tuple[Batch, ...]:
    """The batches that isolate a culprit among `instances`, what is left of a refused batch of `whole` instances.

    Fewer than were sent travel together once more, for those that were named may have been the trouble; else in halves.
    """
    if not instances:
        return ()
    if len(instances) < whole or len(instances) == 1:
        return (Batch(instances=instances),)
    middle = len(instances) // 2
    return (
        Batch(instances=instances[:middle]),
        Batch(instances=instances[middle:]),
    )
