"""Which instances travel together, and how a culprit is found among them (DESIGN 2, batch; 3, Isolate)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from fakes.values import AZURE, answer, batch_rules, deferral, fail, instance, ref
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.answers.answer import Answer, Loss, Referenced
from ingestd.core.answers.disposition import HOLDS_LIMIT, dispose, wants_control
from ingestd.core.answers.outcome import Isolate, Quarantine, Retry, Stored
from ingestd.core.answers.reasons import Reason
from ingestd.core.batch import FRAMING_BYTES, HINTED_TURN, BatchRules, Shelves, halves
from ingestd.core.model import Batch, Instance, Wait


def filled(rules: BatchRules, *instances: Instance, at: float = 0.0) -> Shelves:
    shelves = Shelves(rules)
    for one in instances:
        shelves.put(one, now=at)
    return shelves


def uids(taken: Batch | None) -> list[str]:
    return [i.sop_instance_uid for i in taken.instances] if taken is not None else []


def take(shelves: Shelves, *, now: float = 0.0, idle: bool = True, arriving: Sequence[str] = ()) -> list[str]:
    return uids(shelves.take(now=now, idle=idle, arriving=arriving))


# What goes before all others.


def test_a_file_for_which_the_services_own_was_deleted_goes_first_and_alone() -> None:
    """F89: the service holds neither until then; and no twin of it is ever in flight beside it."""
    shelves = filled(batch_rules(), instance("1", content=b"12"), instance("2", deleted=True, content=b"345"))
    assert (len(shelves), shelves.content_bytes) == (2, 5)
    assert uids(shelves.take_first()) == ["2"]
    assert (len(shelves), shelves.content_bytes) == (1, 2)
    assert shelves.take_first() is None
    shelves.put(instance("2", path="again.dcm", deleted=True), now=0.0)
    assert shelves.take_first() is None
    assert take(shelves) == ["1"]
    shelves.release(instance("2"))
    assert uids(shelves.take_first()) == ["2"]
    shelves.put(instance("2", path="twin.dcm"), now=0.0)
    assert take(shelves) == []


def test_a_uid_is_free_once_all_that_had_it_are_through() -> None:
    """F36: one that is asked about beside its twin in flight keeps a third waiting until both are through."""
    shelves = filled(batch_rules(), instance("1"))
    assert take(shelves) == ["1"]
    shelves.occupy(instance("1", path="twin.dcm"))
    shelves.put(instance("1", path="third.dcm"), now=0.0)
    shelves.release(instance("1"))
    assert take(shelves) == []
    shelves.release(instance("1", path="twin.dcm"))
    assert take(shelves) == ["1"]


# When a shelf is ripe.


def test_an_empty_house_has_nothing_to_take() -> None:
    shelves = Shelves(batch_rules())
    assert take(shelves) == []
    assert shelves.ripe_at() is None


def test_an_idle_slot_takes_what_is_there_at_once() -> None:
    """Linger counts only while every slot is busy or more of the study is on its way."""
    assert take(filled(batch_rules(), instance("1"), instance("2"))) == ["1", "2"]


def test_a_study_of_which_more_is_on_its_way_lingers() -> None:
    shelves = filled(batch_rules(linger=0.5), instance("1", study="S"))
    assert take(shelves, now=0.4, arriving=["S"]) == []
    assert shelves.ripe_at() == 0.5
    assert take(shelves, now=0.5, arriving=["S"]) == ["1"]


def test_the_arrival_of_another_study_holds_nobody_up() -> None:
    assert take(filled(batch_rules(), instance("1", study="S")), arriving=["T"]) == ["1"]


def test_while_every_slot_is_busy_batches_grow() -> None:
    shelves = filled(batch_rules(linger=0.5), instance("1"))
    assert take(shelves, now=0.1, idle=False) == []
    shelves.put(instance("2"), now=0.2)
    assert take(shelves, now=0.5, idle=False) == ["1", "2"]


def test_a_full_shelf_waits_for_nothing() -> None:
    by_count = filled(batch_rules(max_instances=2), instance("1"), instance("2"))
    assert take(by_count, idle=False) == ["1", "2"]
    by_count = filled(batch_rules(max_instances=2), instance("1"), instance("2"), instance("3"))
    assert take(by_count, idle=False) == ["1", "2"]
    assert take(by_count, idle=False) == []
    by_size = filled(batch_rules(max_bytes=100), instance("1", size=60), instance("2", size=60))
    assert take(by_size, idle=False) == ["1"]
    assert take(by_size, idle=False) == []


# What a batch may hold.


def test_studies_do_not_mix_unless_the_operator_says_any() -> None:
    mixed = [instance("1", study="S"), instance("2", study="T"), instance("3", study="S")]
    apart, together = filled(batch_rules(), *mixed), filled(batch_rules(by_study=False), *mixed)
    assert [take(apart), take(apart), take(apart)] == [["1", "3"], ["2"], []]
    assert take(together) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("limit", "first"), [(2000 + 3 * FRAMING_BYTES, ["0", "1"]), (1999 + 3 * FRAMING_BYTES, ["0"])]
)
def test_the_services_own_limit_counts_as_well_as_ours_framing_and_all(limit: int, first: list[str]) -> None:
    """F60: a boundary and a header for each part, and the closing boundary."""
    shelves = filled(batch_rules(max_request_bytes=limit), *(instance(str(n)) for n in range(2)))
    assert take(shelves) == first


def test_a_shelf_that_fills_a_request_of_the_service_waits_for_nothing() -> None:
    """F60."""
    shelves = filled(batch_rules(max_request_bytes=2000), *(instance(str(n)) for n in range(2)))
    assert [take(shelves, idle=False), take(shelves)] == [["0"], ["1"]]


def test_a_file_larger_than_any_batch_travels_alone() -> None:
    """F34."""
    shelves = filled(
        batch_rules(max_bytes=100), instance("1", size=10), instance("2", size=5000), instance("3", size=10)
    )
    assert [take(shelves), take(shelves), take(shelves)] == [["1"], ["2"], ["3"]]


def test_two_files_of_one_uid_never_travel_together() -> None:
    """F36: the twin waits until the first has ended, then goes by itself."""
    first, twin = instance("1", path="a.dcm"), instance("1", path="b.dcm", study="other")
    shelves = filled(batch_rules(), first, instance("1", path="c.dcm"), instance("2"), twin)
    assert take(shelves) == ["1", "2"]
    assert take(shelves, now=9.0) == []
    assert len(shelves) == 2
    shelves.release(first)
    (taken,) = (shelves.take(now=9.0, idle=True, arriving=()),)
    assert uids(taken) == ["1"]
    assert take(shelves, now=99.0) == []


def test_what_replaces_another_is_in_flight_though_it_was_not_taken_from_here() -> None:
    """F36: its twin on the shelf waits for it."""
    replacing = instance("1", path="a.dcm")
    shelves = filled(batch_rules(), instance("1", path="b.dcm"), instance("2"))
    shelves.occupy(replacing)
    assert take(shelves) == ["2"]
    assert take(shelves, now=9.0) == []
    shelves.release(replacing)
    assert take(shelves, now=10.0) == ["1"]


def test_a_shelf_that_has_nothing_to_give_is_not_due_again_at_once() -> None:
    """I8: while a twin waits for the other to end, nobody spins."""
    shelves = filled(batch_rules(linger=0.5), instance("1", path="a.dcm"), instance("1", path="b.dcm"))
    assert take(shelves, now=1.0) == ["1"]
    assert shelves.ripe_at() == 1.5
    assert take(shelves, now=1.5, idle=False) == []
    assert shelves.ripe_at() == 2.0


def test_content_held_in_memory_is_counted_until_it_leaves() -> None:
    """I8."""
    shelves = filled(batch_rules(), instance("1", content=b"12345"), instance("2"))
    assert shelves.content_bytes == 5
    take(shelves)
    assert shelves.content_bytes == 0


# Nobody waits for ever.


def test_a_study_without_end_does_not_keep_the_others_waiting() -> None:
    """Shelves give a batch in turn."""
    shelves = filled(batch_rules(max_instances=2), *(instance(f"1.{n}", study="endless") for n in range(2)))
    shelves.put(instance("2", study="small"), now=0.0)
    taken: list[str] = []
    for turn in range(3):
        for n in range(2):
            shelves.put(instance(f"3.{turn}.{n}", study="endless"), now=float(turn))
        taken += take(shelves, now=turn + 0.9, idle=False)
    assert "2" in taken


def backlog(shelves: Shelves, count: int, *, study: str = "old") -> None:
    for n in range(count):
        shelves.put(instance(f"{study}.{n}", study=study), now=0.0)


def hinted_batches(shelves: Shelves, count: int) -> list[int]:
    """The numbers of those among the next `count` batches that begin with a hinted instance."""
    taken = [shelves.take(now=1.0, idle=True, arriving=()) for _ in range(count)]
    return [n for n, one in enumerate(taken) if one is not None and one.instances[0].hinted]


@pytest.mark.parametrize("by_study", [True, False])
def test_every_fourth_batch_belongs_to_hinted_files(by_study: bool) -> None:
    """A fresh study never waits behind a million old files, whichever way batches are made."""
    shelves = Shelves(batch_rules(by_study=by_study, max_instances=2))
    for n in range(50):
        backlog(shelves, 2, study=f"old.{n}")
    shelves.put(instance("fresh", study="new", hinted=True), now=0.5)
    assert hinted_batches(shelves, HINTED_TURN) == [3]


def test_hinted_files_go_newest_first() -> None:
    shelves = Shelves(batch_rules(max_instances=2))
    backlog(shelves, 40)
    shelves.put(instance("a", study="A", hinted=True), now=1.0)
    shelves.put(instance("b", study="B", hinted=True), now=2.0)
    for _ in range(3):
        shelves.take(now=0.0, idle=False, arriving=())
    assert take(shelves, now=3.0) == ["b"]


def test_inside_a_study_the_fourth_batch_takes_its_hinted_ones_newest_first() -> None:
    shelves = Shelves(batch_rules(max_instances=2))
    backlog(shelves, 40)
    for name in ("a", "b", "c"):
        shelves.put(instance(name, study="old", hinted=True), now=1.0)
    taken = [take(shelves) for _ in range(8)]
    assert taken[3] == ["c", "b"]
    assert taken[4] == ["old.6", "old.7"]
    assert taken[7][0] == "a"


def test_a_shelf_whose_hinted_files_have_gone_has_no_more_claim() -> None:
    """The old rest of a study that was hinted later must not stand in the way of another hinted one."""
    shelves = Shelves(batch_rules(max_instances=2))
    shelves.put(instance("b", study="B", hinted=True), now=1.0)
    shelves.put(instance("a", study="A", hinted=True), now=2.0)
    backlog(shelves, 30, study="A")
    assert [take(shelves, now=1.0, arriving=["B"])[0] for _ in range(3)] == ["a", "A.1", "A.3"]
    assert take(shelves, now=9.0) == ["b"]


def test_a_shelf_keeps_its_claim_while_one_hinted_file_is_left() -> None:
    """And old files, however late they come, give a shelf none."""
    shelves = Shelves(batch_rules(max_instances=1))
    for study in "ABC":
        backlog(shelves, 1, study=study)
    shelves.put(instance("fresh", study="A", hinted=True), now=2.0)
    shelves.put(instance("late", study="D"), now=3.0)
    assert [take(shelves, now=4.0) for _ in range(4)] == [["A.0"], ["B.0"], ["C.0"], ["fresh"]]


sizes = st.integers(1, 200)
puts = st.tuples(st.just("put"), st.integers(0, 5), st.integers(0, 2), sizes, st.booleans())
takes = st.tuples(st.just("take"), st.booleans(), st.sets(st.integers(0, 2)))
ends = st.tuples(st.just("end"), st.integers(0, 9))
replaces = st.tuples(st.just("replace"), st.integers(0, 5))
returns = st.tuples(st.just("return"), st.integers(0, 9))
rules_drawn = st.builds(
    batch_rules,
    by_study=st.booleans(),
    max_instances=st.integers(1, 5),
    max_bytes=st.integers(1, 500),
    linger=st.floats(0, 2),
    max_request_bytes=st.integers(1, 500) | st.integers(500, 2500),
)


@given(rules=rules_drawn, steps=st.lists(puts | takes | ends | replaces | returns, max_size=40))
def test_shelves_lose_nothing_double_nothing_and_keep_twins_apart(
    rules: BatchRules, steps: list[tuple[Any, ...]]
) -> None:
    """I1, I8, F36: whatever comes, goes, ends or comes back in whatever order."""
    shelves = Shelves(rules)
    shelved: dict[str, Instance] = {}
    flying: list[Instance] = []
    ended: list[str] = []
    clock = 0.0

    def taken(one: Batch) -> None:
        assert one.instances
        for i in one.instances:
            assert shelved.pop(i.path) is i
        flying.extend(one.instances)
        assert len({i.sop_instance_uid for i in flying}) == len(flying)
        if len(one.instances) > 1:
            assert len(one.instances) <= rules.max_instances
            assert one.size <= rules.max_bytes
            assert one.size + (len(one.instances) + 1) * FRAMING_BYTES <= rules.max_request_bytes
        assert not rules.by_study or len({i.ids.study_uid for i in one.instances}) == 1

    for n, step in enumerate(steps):
        clock += 0.3
        match step:
            case ("put", uid, study, size, hinted):
                i = instance(str(uid), study=f"S{study}", path=f"{n}", size=size, hinted=hinted, content=b"x" * size)
                shelved[i.path] = i
                shelves.put(i, now=clock)
            case ("take", idle, arriving):
                if one := shelves.take(now=clock, idle=idle, arriving={f"S{s}" for s in arriving}):
                    taken(one)
            case ("replace", uid) if str(uid) not in {i.sop_instance_uid for i in flying}:
                i = instance(str(uid), path=f"replacing {n}", content=b"x" * 1000)
                shelves.occupy(i)
                flying.append(i)
            case ("end" | "return" as what, which) if flying:
                i = flying.pop(which % len(flying))
                shelves.release(i)
                if what == "return":
                    shelved[i.path] = i
                    shelves.put(i, now=clock)
                else:
                    ended.append(i.path)
        assert len(shelves) == len(shelved)
        assert shelves.content_bytes == sum(i.size for i in shelved.values())

    rounds = 0
    while shelved:
        rounds += 1
        assert rounds <= 1 + len(steps), "each round, with nothing in flight, takes at least one"
        for i in flying:
            shelves.release(i)
        flying.clear()
        while one := shelves.take(now=clock, idle=True, arriving=()):
            taken(one)
    assert len(shelves) == 0
    assert shelves.ripe_at() is None


# Isolation.


def test_halves_of_nothing_is_nothing() -> None:
    assert halves((), whole=3) == ()


def test_what_was_refused_whole_is_halved_down_to_one() -> None:
    """F61."""
    five = tuple(instance(str(n)) for n in range(5))
    assert [uids(b) for b in halves(five, whole=5)] == [["0", "1"], ["2", "3", "4"]]
    assert [uids(b) for b in halves(five[:1], whole=1)] == [["0"]]


def test_what_named_ones_leave_behind_travels_together_once_more() -> None:
    """Those that were named may have been the trouble."""
    two = (instance("1"), instance("2"))
    assert [uids(b) for b in halves(two, whole=3)] == [["1", "2"]]


Service = Callable[[Batch], Answer]


def run(
    service: Service, instances: tuple[Instance, ...], *, alone: Wait = Wait.REFUSED_ALONE
) -> tuple[set[str], set[str], int]:
    """Send as the daemon does until nothing is left to isolate: stored, refused alone or judged, and requests made.

    `alone`: the wait that a culprit ends in, that the service says nothing about.
    """
    stored, refused, requests = set(), set(), 0
    prepared = deque([Batch(instances=instances)])
    while prepared:
        of = prepared.popleft()
        requests += 1
        assert requests <= 2 * len(instances), "isolation goes round in circles"
        said = service(of)
        control = Answer(status=204) if wants_control(of, said) else None
        isolated = []
        for one, disposition in zip(of.instances, dispose(of, said, control=control, profile=AZURE), strict=True):
            match disposition:
                case Stored():
                    stored.add(one.sop_instance_uid)
                case Isolate():
                    isolated.append(one)
                case Retry(wait=wait) if wait is alone:
                    refused.add(one.sop_instance_uid)
                case Quarantine(reason=Reason.REJECTED | Reason.TOO_LARGE):
                    refused.add(one.sop_instance_uid)
                case other:
                    pytest.fail(f"unexpected: {other}")
        prepared.extendleft(reversed(halves(tuple(isolated), whole=len(of.instances))))
    return stored, refused, requests


def refuses_silently(poison: set[str]) -> Service:
    """400 and an unreadable body for a request that holds a poison instance."""

    def service(of: Batch) -> Answer:
        if poison & set(uids(of)):
            return answer(400)
        return answer(200, *(ref(u) for u in uids(of)))

    return service


def names_the_culprits(poison: set[str]) -> Service:
    """409 that names the poison instances and stores nothing else."""

    def service(of: Batch) -> Answer:
        if found := sorted(poison & set(uids(of))):
            return answer(409, *(fail(u, 43264) for u in found))
        return answer(200, *(ref(u) for u in uids(of)))

    return service


def stops_at_the_first(poison: set[str]) -> Service:
    """Stores in order, names what it stored, breaks off at the first poison instance and says nothing about it."""

    def service(of: Batch) -> Answer:
        stored: list[Referenced] = []
        for uid in uids(of):
            if uid in poison:
                return answer(400, *stored)
            stored.append(ref(uid))
        return answer(200, *stored)

    return service


def counts_the_culprits(poison: set[str]) -> Service:
    """409 that stores nothing and has a failure without a UID for each file that it could not parse (Azure)."""

    def service(of: Batch) -> Answer:
        if found := poison & set(uids(of)):
            return answer(409, *(fail(None, 43264) for _ in found))
        return answer(200, *(ref(u) for u in uids(of)))

    return service


@given(
    size=st.integers(1, 64),
    poison=st.sets(st.integers(0, 63), max_size=64),
    kind=st.sampled_from([refuses_silently, names_the_culprits, stops_at_the_first, counts_the_culprits]),
)
def test_isolation_delivers_every_innocent_instance(
    size: int, poison: set[int], kind: Callable[[set[str]], Service]
) -> None:
    """F61, I1: and blames no other, in at most 2 n - 1 requests.

    The bound: T(1) = 1, and T(n) = 1 + T(a) + T(n - a) for halves, or at most 1 + T(n - 1) where something was named.
    """
    instances = tuple(instance(str(n)) for n in range(size))
    everyone = {i.sop_instance_uid for i in instances}
    culprits = {str(n) for n in poison} & everyone
    stored, refused, requests = run(kind(culprits), instances)
    assert (stored, refused) == (everyone - culprits, culprits)
    assert requests <= 2 * size - 1


@given(size=st.integers(1, 512), poison=st.sets(st.integers(0, 511), max_size=3))
def test_few_culprits_cost_few_requests(size: int, poison: set[int]) -> None:
    """F61, I8: one request, and for each culprit at most two on each level of the halving."""
    instances = tuple(instance(str(n)) for n in range(size))
    culprits = {str(n) for n in poison if n < size}
    _, refused, requests = run(refuses_silently(culprits), instances)
    assert refused == culprits
    assert requests <= 1 + 2 * len(culprits) * math.ceil(math.log2(size))


@given(
    size=st.integers(1, 512),
    poison=st.sets(st.integers(0, 511), max_size=3),
    said=st.sampled_from([answer(s) for s in (302, 403, 404, 406, 408, 424, 500, 502, 503, 504)])
    | st.sampled_from([Answer(loss=Loss.TIMEOUT), Answer(loss=Loss.LOST)]),
)
def test_a_gateway_that_refuses_one_file_does_not_stop_the_rest(size: int, poison: set[int], said: Answer) -> None:
    """F61, I8: whatever it says while the control passes: the same bounds, once the batch was held or in trouble before."""
    past = deferral(Wait.REQUEST_TROUBLE)
    instances = tuple(instance(str(n), holds=HOLDS_LIMIT - 1, history=past) for n in range(size))
    everyone = {i.sop_instance_uid for i in instances}
    culprits = {str(n) for n in poison if n < size}

    def gateway(of: Batch) -> Answer:
        return said if culprits & set(uids(of)) else answer(200, *(ref(u) for u in uids(of)))

    speaks_of_it = said.status is None or said.status >= 500
    stored, refused, requests = run(gateway, instances, alone=Wait.REQUEST_TROUBLE if speaks_of_it else Wait.APART)
    assert (stored, refused) == (everyone - culprits, culprits)
    assert requests <= min(2 * size - 1, 1 + 2 * len(culprits) * math.ceil(math.log2(size)))


@given(sizes=st.lists(st.integers(1, 100), min_size=1, max_size=40), limit=st.integers(1, 400))
def test_a_limit_that_only_the_service_knows_is_found_by_halves(sizes: list[int], limit: int) -> None:
    """F60: what fits alone is delivered, what does not is too large."""
    instances = tuple(instance(str(n), size=size) for n, size in enumerate(sizes))

    def service(of: Batch) -> Answer:
        return answer(413) if of.size > limit else answer(200, *(ref(u) for u in uids(of)))

    stored, refused, requests = run(service, instances)
    assert refused == {i.sop_instance_uid for i in instances if i.size > limit}
    assert stored == {i.sop_instance_uid for i in instances if i.size <= limit}
    assert requests <= 2 * len(instances) - 1


def test_the_largest_instance_leaves_room_for_the_framing() -> None:
    """F60: boundary and header count against the service's limit too."""
    assert batch_rules(max_request_bytes=10_000).largest_instance == 10_000 - 2 * FRAMING_BYTES


@pytest.mark.parametrize(
    ("count", "size", "fits"),
    [
        (0, 0, True),
        (1, 10**9, True),
        (2, 9_000, True),
        (2, 10_000 - 3 * FRAMING_BYTES, True),
        (2, 10_001 - 3 * FRAMING_BYTES, False),
        (3, 10_000 - 3 * FRAMING_BYTES, False),
        (4, 100, True),
        (5, 100, False),
    ],
)
def test_what_may_travel_together(count: int, size: int, fits: bool) -> None:
    assert batch_rules(max_instances=4, max_request_bytes=10_000).fits(count, size) is fits
