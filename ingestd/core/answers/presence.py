"""What the service did not have before something was sent to it: half of the proof ASKED.

It holds for an instance as long as nothing but these very bytes was sent under its UIDs since, answered or not. What is known of a
study is kept for ten minutes and within a bound, because others store there too; then it is asked for anew. A study that is not
known to the service has none of its instances. In one that is, a series must have been listed to its end.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from ingestd.core.answers.answer import Listed
from ingestd.core.model import Batch, Instance, Stamp

MOST_NAMES = 200_000  # SOP Instance UIDs that are remembered: some 40 MB
KNOWN_SECONDS = 600.0  # what a search of a study has shown, until it is asked for anew: others store there, too
ASK_AGAIN_SECONDS = 60.0  # the next search, while no search of this service was ever answered

_Bytes = tuple[str, Stamp]  # a file in one state


@dataclass(slots=True)
class _Study:
    asked_at: float = -math.inf
    absent: bool = False
    series: dict[str, frozenset[str]] = field(default_factory=dict)
    sent: dict[str, _Bytes | None] = field(default_factory=dict)  # None: more than one file was

    @property
    def names(self) -> int:
        return 1 + len(self.sent) + sum(len(names) for names in self.series.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """What is to be asked before a batch is sent."""

    study_uid: str
    series_uids: tuple[str, ...]


class Presence:
    """The owner thread's. `wanted` is false for a service whose word is proof enough by its profile."""

    def __init__(self, *, wanted: bool, most: int = MOST_NAMES) -> None:
        self._wanted = wanted
        self._most = most
        self._studies: OrderedDict[str, _Study] = OrderedDict()
        self._names = 0
        self._answered = False
        self._ask_at = 0.0

    def unknown(self, batch: Batch, *, now: float) -> Unknown | None:
        """What to ask before `batch` goes; None where all is known, or nothing is to be asked now. `now` in seconds."""
        study_uid = batch.instances[0].ids.study_uid
        series = {i.ids.series_uid for i in batch.instances if i.ids.study_uid == study_uid}
        if not self._wanted or self._knows(study_uid, series, now):
            return None
        if not self._answered and now < self._ask_at:
            return None
        return Unknown(study_uid=study_uid, series_uids=tuple(sorted(series)))

    def sending(self, instances: Iterable[Instance]) -> None:
        """These bytes are sent from now on. What a question before it has yet to say is learnt by `learn`."""
        if not self._wanted:
            return
        for instance in instances:
            study = self._study(instance.ids.study_uid)
            uid, this = instance.sop_instance_uid, (instance.path, instance.stamp)
            self._names += uid not in study.sent
            study.sent[uid] = this if study.sent.get(uid, this) == this else None
        self._forget()

    def learn(self, asked: Unknown, listed: Listed, *, now: float) -> None:
        """Take in what a search said; it was asked before the batch that it belongs to was sent."""
        if not listed.answered:
            self._ask_at = now + ASK_AGAIN_SECONDS
            return
        self._answered = True
        study = self._study(asked.study_uid)
        before = study.names
        # What was sent meanwhile by another batch may or may not be in the answer: it stays in `sent`, which decides about it.
        study.asked_at = now
        study.absent = study.absent or listed.absent
        study.series.update(listed.series)
        self._names += study.names - before
        self._forget()

    def was_absent(self, instance: Instance) -> bool:
        """Whether the service did not have it before these very bytes, and no others, were sent under its UIDs."""
        study = self._studies.get(instance.ids.study_uid)
        if study is None:
            return False
        names = study.series.get(instance.ids.series_uid)
        absent = study.absent or (names is not None and instance.sop_instance_uid not in names)
        return absent and study.sent.get(instance.sop_instance_uid) == (instance.path, instance.stamp)

    def _knows(self, study_uid: str, series: set[str], now: float) -> bool:
        known = self._studies.get(study_uid)
        if known is None:
            return False
        if now - known.asked_at > KNOWN_SECONDS:
            self._names -= known.names
            known.absent, known.series = False, {}
            self._names += known.names
        return known.absent or series <= known.series.keys()

    def _study(self, study_uid: str) -> _Study:
        study = self._studies.get(study_uid)
        if study is None:
            study = self._studies[study_uid] = _Study()
            self._names += 1
        self._studies.move_to_end(study_uid)
        return study

    def _forget(self) -> None:
        while self._names > self._most and len(self._studies) > 1:
            _, study = self._studies.popitem(last=False)
            self._names -= study.names
