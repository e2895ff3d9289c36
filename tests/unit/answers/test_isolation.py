"""The pure heart as a whole: shelves, dispositions, halves and waits against services that misbehave for hours.

`Heart` does with values what the daemon does with threads and a journal, on a clock of its own.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import pytest
from fakes.values import AZURE, answer, batch_rules, fail, instance, ref, retry_rules
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.answers.answer import Answer, Loss
from ingestd.core.answers.disposition import HOLDS_LIMIT, dispose, wants_control
from ingestd.core.answers.fault import control_passed
from ingestd.core.answers.outcome import Hold, HoldCause, Isolate, Retry, SendAgain, Stored, Verify
from ingestd.core.answers.reasons import Reason
from ingestd.core.batch import Shelves, halves
from ingestd.core.model import Asked, Batch, Deferral, Instance, Wait
from ingestd.core.pace.backoff import defer
from ingestd.core.pace.breaker import Breaker

Service = Callable[[Batch, float], Answer]  # an empty batch is the control

RULES = retry_rules(attempts=8, base=1.0, cap=60.0, patience=3600.0)


class Heart:
    """One slot, one study after another, no disk and no network."""

    def __init__(self, service: Service, *, max_instances: int = 16, seed: int = 1) -> None:
        self.service = service
        self.now = 0.0
        self.stored: dict[str, float] = {}
        self.judged: dict[str, Reason] = {}
        self.requests = 0
        self._random = random.Random(seed)
        self._shelves = Shelves(batch_rules(max_instances=max_instances))
        self._prepared: deque[Batch] = deque()
        self._deferred: list[tuple[float, int, Instance]] = []
        self._tie = itertools.count()
        self._breaker = Breaker()

    def drop(self, *instances: Instance) -> None:
        for one in instances:
            self._shelves.put(one, now=self.now)

    @property
    def waiting(self) -> int:
        return len(self._deferred) + len(self._shelves)

    def run_until(self, end: float) -> None:
        """Send whatever may be sent, then let time pass to the next thing that is due."""
        while True:
            while self._deferred and self._deferred[0][0] <= self.now:
                self.drop(heapq.heappop(self._deferred)[2])
            if self._breaker.wants_probe(self.now):
                self._probe()
            elif self._breaker.closed and (of := self._next()) is not None:
                self._send(of)
            else:
                due = self._breaker.open_until if not self._breaker.closed else end
                if self._deferred:
                    due = min(due, self._deferred[0][0])
                if due >= end:
                    self.now = end
                    return
                self.now = due

    def _next(self) -> Batch | None:
        if self._prepared:
            return self._prepared.popleft()
        return self._shelves.take(now=self.now, idle=True, arriving=())

    def _probe(self) -> None:
        control = self.service(Batch(instances=()), self.now)
        self._breaker = self._breaker.probing()
        if control_passed(control):
            self._breaker = self._breaker.passed()
            return
        rand = self._random.random()
        self._breaker = self._breaker.failed(Hold(cause=HoldCause.CONTROL), now=self.now, rand=rand, rules=RULES)

    def _held(self, hold: Hold) -> Breaker:
        return self._breaker.held(hold, now=self.now, rand=self._random.random(), rules=RULES)

    def _send(self, of: Batch) -> None:
        self.requests += 1
        self.now += 0.01
        said = self.service(of, self.now)
        control = self.service(Batch(instances=()), self.now) if wants_control(of, said) else None
        isolated: list[Instance] = []
        for one, disposition in zip(of.instances, dispose(of, said, control=control, profile=AZURE), strict=True):
            if isinstance(disposition, Isolate):
                isolated.append(one)
                continue
            self._shelves.release(one)
            match disposition:
                case Stored():
                    self.stored[one.sop_instance_uid] = self.now
                    self._breaker = self._breaker.stored()
                case Hold(counts=counts):
                    self.drop(replace(one, holds=one.holds + counts))
                    self._breaker = self._held(disposition)
                case SendAgain():
                    self.drop(one)
                case Verify(asked=asked):  # a service that can be read, and does not hold it
                    wait = {Asked.UNNAMED: Wait.UNNAMED, Asked.REFUSED: Wait.REFUSED_ALONE}[asked]
                    self._retry(one, Retry(wait=wait), alone=len(of.instances) == 1)
                case Retry():
                    self._retry(one, disposition, alone=len(of.instances) == 1)
                case other:
                    pytest.fail(f"unexpected: {other}")
        self._prepared.extendleft(reversed(halves(tuple(isolated), whole=len(of.instances))))

    def _retry(self, one: Instance, retry: Retry, *, alone: bool) -> None:
        rand, receipts = self._random.random(), len(self.stored)
        verdict = defer(one, retry, alone=alone, now=self.now, last_receipt=receipts, rand=rand, rules=RULES)
        if isinstance(verdict, Deferral):
            # It left the window: the journal gives the wait back, and nothing else.
            heapq.heappush(self._deferred, (verdict.due_at, next(self._tie), replace(one, history=verdict, holds=0)))
        else:
            self.judged[one.sop_instance_uid] = verdict.reason


def good(of: Batch) -> Answer:
    return answer(200, *(ref(i.sop_instance_uid) for i in of.instances)) if of.instances else answer(204)


def poisoned(of: Batch) -> bool:
    return any(i.sop_instance_uid.startswith("poison") for i in of.instances)


def crashes(of: Batch, now: float) -> Answer:
    """500 for each request that holds poison."""
    return answer(500) if poisoned(of) else good(of)


def hangs(of: Batch, now: float) -> Answer:
    return Answer(loss=Loss.TIMEOUT) if poisoned(of) else good(of)


def fails_each(of: Batch, now: float) -> Answer:
    """272 for the poison, the rest is stored."""
    if not of.instances:
        return answer(204)
    uids = [i.sop_instance_uid for i in of.instances]
    return answer(202, *(fail(u, 272) if u.startswith("poison") else ref(u) for u in uids))


def changes_its_mind(of: Batch, now: float) -> Answer:
    """Trouble in all its forms by turns, as gateways before a failing server give it."""
    if not poisoned(of):
        return good(of)
    return (answer(500), Answer(loss=Loss.LOST), fails_each(of, now))[int(now * 100) % 3]


def gateway(status: int) -> Service:
    """`status`, a Hold answer, for each request that holds poison; the control passes."""

    def service(of: Batch, now: float) -> Answer:
        return answer(status) if poisoned(of) else good(of)

    return service


REFUSES_503, REFUSES_403 = gateway(503), gateway(403)
SPEAKS_OF_NO_FILE = [gateway(status) for status in (302, 401, 403, 404, 405, 406, 407, 408, 411, 424, 431)]


def speaks_of_others(of: Batch, now: float) -> Answer:
    """409 for an instance that was not sent: another request's answer."""
    return answer(409, fail("9.9", 43264)) if poisoned(of) else good(of)


@pytest.mark.parametrize(
    ("service", "longest", "reason"),
    [
        (crashes, 60, Reason.POISON),
        (hangs, 60, Reason.POISON),
        (fails_each, 60, Reason.REJECTED),
        (changes_its_mind, 60, None),
        (REFUSES_503, 180, Reason.POISON),
    ],
)
def test_poison_in_a_stream_is_judged_and_delays_nobody_for_long(
    service: Service, longest: float, reason: Reason | None
) -> None:
    """F61, I1, I3, I8: one new instance a minute for half a day, in the study that holds the poison.

    A gateway's refusal opens the breaker until a batch was held three times, so there it takes minutes.
    """
    heart = half_a_day_with_poison(service, longest)
    assert heart.judged.keys() == {"poison.0", "poison.1"}
    assert reason is None or set(heart.judged.values()) == {reason}
    assert heart.requests < 2000


@pytest.mark.parametrize("service", [*SPEAKS_OF_NO_FILE, speaks_of_others])
def test_what_is_answered_about_no_file_is_no_verdict_and_delays_nobody_for_long(service: Service) -> None:
    """F86, I3, I8: hundreds of others are stored, and still nothing was heard about these two: they wait, and are asked for rarely.

    What a 401 meets travels with the file that drew it until their waits have drifted apart, so that takes minutes.
    """
    heart = half_a_day_with_poison(service, longest=300)
    assert (heart.judged, heart.waiting) == ({}, 2)
    assert heart.requests < 2000


def half_a_day_with_poison(service: Service, longest: float) -> Heart:
    """One new instance a minute in the study of two that are poison; each other is stored within `longest` seconds."""
    heart = Heart(service)
    heart.drop(*(instance(f"poison.{n}") for n in range(2)), *(instance(f"good.{n}") for n in range(30)))
    dropped = {f"good.{n}": 0.0 for n in range(30)}
    for minute in range(12 * 60):
        heart.run_until(minute * 60.0)
        dropped[uid := f"good.later.{minute}"] = heart.now
        heart.drop(instance(uid))
    heart.run_until(13 * 3600.0)
    assert heart.stored.keys() == dropped.keys()
    assert max(heart.stored[uid] - at for uid, at in dropped.items()) < longest
    return heart


@pytest.mark.parametrize(
    ("service", "each"),
    [(crashes, 1), (hangs, 1), (fails_each, 1), (REFUSES_503, HOLDS_LIMIT), (REFUSES_403, HOLDS_LIMIT)],
)
def test_poison_alone_waits_for_others_and_is_asked_ever_more_rarely(service: Service, each: int) -> None:
    """I3: while nothing else is stored it can't be told whose fault it is; I8: eight times an hour at most on average."""
    heart = Heart(service)
    heart.drop(instance("poison"))
    heart.run_until(24 * 3600.0)
    assert (heart.judged, heart.waiting) == ({}, 1)
    assert heart.requests < each * (24 * 8 + 20)


def away(status: int) -> Service:
    """A service that is away for six hours, control and all."""

    def service(of: Batch, now: float) -> Answer:
        return answer(status) if now < 6 * 3600 else good(of)

    return service


@pytest.mark.parametrize("status", [301, 401, 403, 404, 424, 429, 500, 502, 503, 504, 507, 400, 405, 415])
def test_an_outage_of_hours_costs_no_file_and_few_requests(status: int) -> None:
    """I1, I3, F47, F62, F67: all is delivered within a quarter of an hour of the service's return."""
    heart = Heart(away(status))
    heart.drop(*(instance(f"{n}", study=f"S{n % 3}") for n in range(100)))
    heart.run_until(6 * 3600.0 + 930.0)
    assert (len(heart.stored), heart.judged, heart.waiting) == (100, {}, 0)
    assert heart.requests < 100 * 60


def stores_nothing(status: int) -> Service:
    """Six hours in which each Store transaction is refused while the control passes: its storage is away, it is not."""

    def service(of: Batch, now: float) -> Answer:
        return answer(status) if of.instances and now < 6 * 3600 else good(of)

    return service


@pytest.mark.parametrize("status", [301, 401, 403, 404, 408, 424, 429, 500, 502, 503, 504, 507])
def test_an_outage_that_the_control_does_not_see_costs_no_file_and_few_requests(status: int) -> None:
    """I1, I3, I8, F67: every file is held, isolated and waits alone; nothing is stored, so nothing counts against any."""
    heart = Heart(stores_nothing(status))
    heart.drop(*(instance(f"{n}", study=f"S{n % 3}") for n in range(100)))
    heart.run_until(6 * 3600.0 + 930.0)
    assert (len(heart.stored), heart.judged, heart.waiting) == (100, {}, 0)
    assert heart.requests < 100 * 60


@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 60),
    poison=st.sets(st.integers(0, 59), max_size=5),
    service=st.sampled_from([crashes, hangs, fails_each, changes_its_mind, REFUSES_503, REFUSES_403]),
    max_instances=st.integers(1, 20),
)
def test_every_innocent_instance_is_delivered_within_minutes(
    seed: int, count: int, poison: set[int], service: Service, max_instances: int
) -> None:
    """F61, I1: whichever are poison, however they fall into batches, whatever the jitter."""
    heart = Heart(service, max_instances=max_instances, seed=seed)
    names = [f"poison.{n}" if n in poison else f"good.{n}" for n in range(count)]
    heart.drop(*(instance(name) for name in names))
    heart.run_until(600.0)
    assert set(heart.stored) == {name for name in names if name.startswith("good")}
    assert heart.judged == {}
