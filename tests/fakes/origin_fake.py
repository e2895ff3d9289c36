"""ports.Origin in memory: a service that holds what it is given, and answers otherwise where a test tells it to."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ingestd.core.answers.answer import Answer, Failed, Fetched, Held, Listed, Loss, Referenced, StoreResponse
from ingestd.core.clock_doubt import ServiceDate
from ingestd.core.errors import FileError
from ingestd.core.model import Identifiers, Instance
from ingestd.core.ports import Bodies

ALREADY_THERE = 45070
Elements = dict[str, tuple[str, ...]]
Scripted = Answer | Callable[[Sequence[Instance]], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the service holds of one instance."""

    ids: Identifiers
    elements: Elements
    sha256: str | None


def fetched(ids: Identifiers, sha256: str | None) -> Fetched:
    """What a service gives back that holds this instance with these bytes."""
    return Fetched(status=200, sha256=sha256, transfer_syntax_uid=ids.transfer_syntax_uid, key=ids.key)


class FakeOrigin:
    """`bodies` makes it read what it is sent, as the real one does; without, it takes the instances' word.

    script(...)          answers for the next Store transactions, in order; a callable gets the instances
    script_control(...)  answers for the next controls; without, 204 as Azure
    script_held(...)     answers for the next metadata reads
    script_fetched(...)  answers for the next fetches
    script_replace(...)  answers for the next replacements; without, it keeps the new one and names it
    rejects              FailureReason by SOP Instance UID
    searchable           False: no search is answered
    readable             False: the identity may read nothing
    """

    def __init__(self, bodies: Bodies | None = None) -> None:
        self._bodies = bodies
        self._answers: deque[Scripted] = deque()
        self._controls: deque[Answer] = deque()
        self._helds: deque[Held] = deque()
        self._fetcheds: deque[Fetched] = deque()
        self._replaces: deque[Answer] = deque()
        self._lock = threading.Lock()
        self._aborted = False
        self.rejects: dict[str, int] = {}
        self.kept: dict[tuple[str, str, str], Kept] = {}
        self.stores: list[tuple[Instance, ...]] = []
        self.controls = 0
        self.reads: list[Identifiers] = []
        self.fetches: list[Identifiers] = []
        self.searches: list[str] = []
        self.searchable = True
        self.readable = True
        self.replacements: list[Instance] = []
        self.closed = False
        self.problem: str | None = None
        self.silent_seconds = 0.0
        self.date: ServiceDate | None = None

    def script(self, *answers: Scripted) -> None:
        self._answers.extend(answers)

    def script_control(self, *answers: Answer) -> None:
        self._controls.extend(answers)

    def script_held(self, *helds: Held) -> None:
        self._helds.extend(helds)

    def script_fetched(self, *fetcheds: Fetched) -> None:
        self._fetcheds.extend(fetcheds)

    def script_replace(self, *answers: Answer) -> None:
        self._replaces.extend(answers)

    def keep(self, instance: Instance, *, sha256: str | None = None, elements: Elements | None = None) -> None:
        """The service has held this one all along."""
        ids = instance.ids
        uids = {"00080018": ids.sop_instance_uid, "0020000D": ids.study_uid, "0020000E": ids.series_uid}
        own = {tag: (uid,) for tag, uid in uids.items()}
        self.kept[ids.key] = Kept(ids=ids, elements=own | (elements or {}), sha256=sha256)

    def store(self, instances: Sequence[Instance]) -> Answer:
        with self._lock:
            if self._aborted:
                return Answer(loss=Loss.NOT_SENT)
            self.stores.append(tuple(instances))
            if self._answers:
                scripted = self._answers.popleft()
                return scripted if isinstance(scripted, Answer) else scripted(instances)
            return self.take(instances)

    def take(self, instances: Sequence[Instance]) -> Answer:
        """What it does unscripted: keeps what is new, names all of it. Scripts may call it and change the answer."""
        digests: list[str | None] = []
        for index, instance in enumerate(instances):
            try:
                digests.append(self._read(instance))
            except FileError:
                missing = [None] * (len(instances) - index)
                return Answer(loss=Loss.FILE_CHANGED, changed=(index,), digests=(*digests, *missing))
        referenced: list[Referenced] = []
        failed: list[Failed] = []
        for instance, sha256 in zip(instances, digests, strict=True):
            uid = instance.sop_instance_uid
            reason = self.rejects.get(uid, ALREADY_THERE if instance.ids.key in self.kept else None)
            if reason is not None:
                failed.append(Failed(sop_instance_uid=uid, failure_reason=reason))
            else:
                self.keep(instance, sha256=sha256)
                referenced.append(Referenced(sop_instance_uid=uid))
        return Answer(
            status=(202 if failed else 200) if referenced else 409,
            response=StoreResponse(referenced=tuple(referenced), failed=tuple(failed)),
            sent_bytes=sum(instance.size for instance in instances),
            digests=tuple(digests),
        )

    def control(self) -> Answer:
        with self._lock:
            if self._aborted:
                return Answer(loss=Loss.NOT_SENT)
            self.controls += 1
            return self._controls.popleft() if self._controls else Answer(status=204)

    def metadata(self, ids: Identifiers) -> Held:
        with self._lock:
            if self._aborted:
                return Held(status=None, loss=Loss.NOT_SENT)
            self.reads.append(ids)
            if not self.readable:
                return Held(status=403)
            if self._helds:
                return self._helds.popleft()
            kept = self.kept.get(ids.key)
            return Held(status=404) if kept is None else Held(status=200, elements=kept.elements)

    def fetch(self, ids: Identifiers) -> Fetched:
        with self._lock:
            if self._aborted:
                return Fetched(status=None, loss=Loss.NOT_SENT)
            self.fetches.append(ids)
            if not self.readable:
                return Fetched(status=403)
            if self._fetcheds:
                return self._fetcheds.popleft()
            kept = self.kept.get(ids.key)
            return Fetched(status=404) if kept is None else fetched(kept.ids, kept.sha256)

    def listed(self, study_uid: str, series_uids: Sequence[str]) -> Listed:
        with self._lock:
            self.searches.append(study_uid)
            if self._aborted or not self.searchable or not self.readable:
                return Listed(answered=False)
            known = [ids for ids in (kept.ids for kept in self.kept.values()) if ids.study_uid == study_uid]
            series = {
                uid: frozenset(ids.sop_instance_uid for ids in known if ids.series_uid == uid) for uid in series_uids
            }
            return Listed(answered=True, absent=not known, series=series if known else {})

    def shows(self, ids: Identifiers) -> bool | None:
        with self._lock:
            self.searches.append(ids.sop_instance_uid)
            asked = self.searchable and self.readable and not self._aborted
            return ids.key in self.kept if asked else None

    def replace(self, instance: Instance) -> Answer:
        with self._lock:
            if self._aborted:
                return Answer(loss=Loss.NOT_SENT)
            self.replacements.append(instance)
            if self._replaces:
                return self._replaces.popleft()
            before = self.kept.pop(instance.ids.key, None)
            answer = self.take((instance,))
            if before is not None:
                self.kept.setdefault(instance.ids.key, before)
            return answer

    def abort(self) -> None:
        self._aborted = True

    def close(self) -> None:
        self.closed = True

    def _read(self, instance: Instance) -> str | None:
        if self._bodies is None:
            return instance.sha256
        reading = self._bodies.read(instance)
        for _ in reading:
            pass
        return reading.sha256
