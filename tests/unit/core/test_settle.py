"""When a file is settled: all of it is there, and nobody writes it any more (DESIGN 2, settle)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.values import BLIND, LOCAL, NETWORK, OVERLAY, inspection, look, settle_rules
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.answers.reasons import Reason, Wholeness
from ingestd.core.model import Close, Deferral, Evidence, Ground, Inspection, Lease, Look, Room, Wait
from ingestd.core.settle import (
    HARD_LINK_TEXT,
    HOLES_SENT,
    LINKED,
    LINKED_TEXT,
    NEVER_CLOSED,
    OPEN_TEXT,
    OPEN_UNFILLED_TEXT,
    PERHAPS_UNFILLED,
    QUIET_TEXT,
    RECHECK_SECONDS,
    UNFILLED_TEXT,
    ZEROS_TEXT,
    Judged,
    LookAgain,
    Past,
    SetAside,
    Settled,
    SettleRules,
    Settling,
    closed_for,
    held_back,
    rests_for,
    settle,
    still_waits,
)

RULES = settle_rules(quiet=2.0, network_quiet=60.0, timeout=900.0)
ZEROS = settle_rules(quiet=2.0, network_quiet=60.0, timeout=900.0, zeros=True)
WHOLE = inspection()
BLACK = inspection(ends_in_zeros=True)
ZERO_TAIL = inspection(Wholeness.WHOLE_ZERO_TAIL)
OPEN = look(lease=Lease.REFUSED)
ALONE = look(lease=Lease.GRANTED)
UNTOLD = look()
HOLE = look(room=Room.UNFILLED, unfilled=300_000)
UNFINISHED = [
    (Wholeness.TRUNCATED, Reason.TRUNCATED),
    (Wholeness.NOT_DICOM, Reason.NOT_DICOM),
    (Wholeness.NO_HEADER, Reason.NO_HEADER),
    (Wholeness.NO_PIXEL_DATA, Reason.NO_PIXEL_DATA),
    (Wholeness.NO_UID, Reason.NO_UID),
    (Wholeness.OUT_OF_BOUNDS, Reason.BOUNDS),
]
LEASE, CLOSED, QUIET = (Settled(evidence=e) for e in (Evidence.LEASE, Evidence.CLOSED, Evidence.QUIET))
FIRST = Past(looks=1, unchanged=0.0)


def overdue(text: str) -> Settled:
    return Settled(evidence=Evidence.OVERDUE, text=text)


def at(seen: Look, found: Inspection, looks: int, unchanged: float, rules: SettleRules = RULES) -> Settling:
    return settle(seen, found, past=Past(looks=looks, unchanged=unchanged), rules=rules)


# --- what waits for the long time ------------------------------------------------------------------------------------------------


def long_wait(seen: Look, found: Inspection, waiting: str, then: Settling, rules: SettleRules = RULES) -> None:
    """It waits, looked at every 15 s, and at its end sooner; two looks must have seen it; then that."""
    assert at(seen, found, 1, 0.0, rules) == SetAside(after=15.0, text=waiting)
    assert at(seen, found, 9, 890.0, rules) == SetAside(after=10.0, text=waiting)
    assert at(seen, found, 9, 899.0, rules) == SetAside(after=2.0, text=waiting)
    assert isinstance(at(seen, found, 1, 901.0, rules), SetAside)
    assert at(seen, found, 2, 900.0, rules) == then


@pytest.mark.parametrize("ground", [LOCAL, OVERLAY, BLIND])
@pytest.mark.parametrize("found", [WHOLE, ZERO_TAIL])
def test_a_refused_lease_waits_for_the_close_and_is_taken_in_the_end(ground: Ground, found: Inspection) -> None:
    """F15, F16: quiet is no proof against it; some programs never close. A refusal counts on every ground."""
    long_wait(look(lease=Lease.REFUSED, ground=ground), found, OPEN_TEXT, overdue(NEVER_CLOSED))


@pytest.mark.parametrize("found", [WHOLE, ZERO_TAIL, BLACK, inspection(Wholeness.TRUNCATED)])
def test_what_is_open_and_unfilled_is_never_taken_and_never_judged(found: Inspection) -> None:
    """F16: a client that sleeps can keep its handle for hours, and goes on where it was."""
    seen = replace(HOLE, lease=Lease.REFUSED)
    for unchanged in (0.0, 899.0, 900.0, 1e6):
        waits = at(seen, found, 9, unchanged)
        assert isinstance(waits, SetAside)
        assert waits.text == OPEN_UNFILLED_TEXT
    assert at(seen, found, 9, 1e6) == SetAside(after=RECHECK_SECONDS, text=OPEN_UNFILLED_TEXT)


@pytest.mark.parametrize("lease", [Lease.GRANTED, Lease.UNKNOWN])
@pytest.mark.parametrize("found", [WHOLE, ZERO_TAIL, inspection(Wholeness.TRUNCATED), inspection(Wholeness.DICOMDIR)])
def test_what_was_never_filled_waits_and_fails(lease: Lease, found: Inspection) -> None:
    """F16: a writer that claimed all of it and died; whole to the walk, and half of its pixels are nobody's."""
    failed = Judged(reason=Reason.UNFILLED, text="293 KiB were never written")
    long_wait(replace(HOLE, lease=lease), found, UNFILLED_TEXT, failed)
    judged = at(replace(HOLE, lease=lease, unfilled=1), found, 2, 900.0)
    assert judged == Judged(reason=Reason.UNFILLED, text="1 KiB were never written")


def test_holes_count_as_zeros_where_a_person_says_so() -> None:
    """DESIGN 2, intake.holes: ZFS with compression and sparse copies; by the quiet rule, never by a lease, and never while open."""
    hole = replace(HOLE, lease=Lease.GRANTED)
    assert at(hole, WHOLE, 1, 0.0, ZEROS) == SetAside(after=60.0, text=QUIET_TEXT)
    assert settle(hole, WHOLE, past=Past(looks=5, unchanged=59.0, closed=50.0), rules=ZEROS) == LookAgain(after=1.0)
    assert at(hole, WHOLE, 2, 60.0, ZEROS) == overdue(HOLES_SENT)
    long_wait(replace(HOLE, lease=Lease.REFUSED), WHOLE, OPEN_TEXT, overdue(NEVER_CLOSED), ZEROS)


@pytest.mark.parametrize(("wholeness", "reason"), UNFINISHED)
@pytest.mark.parametrize("seen", [UNTOLD, ALONE, OPEN, look(links=2)])
def test_what_is_not_whole_waits_its_time_and_is_then_judged(wholeness: Wholeness, reason: Reason, seen: Look) -> None:
    """F14, F15, F17, F22, F33: a copy that paused is quiet too."""
    found = inspection(wholeness, text="the last element ends 12 bytes after the end of the file")
    long_wait(seen, found, found.text, Judged(reason=reason, text=found.text))


@pytest.mark.parametrize("found", [WHOLE, ZERO_TAIL])
@pytest.mark.parametrize("lease", [Lease.GRANTED, Lease.UNKNOWN])
def test_a_file_with_another_name_waits_for_it_to_go(found: Inspection, lease: Lease) -> None:
    """F4, F26: link and unlink is how some programs rename; a link to a foreign file is refused in the end."""
    ours = look(links=2, lease=lease)
    long_wait(ours, found, LINKED_TEXT, overdue(LINKED))
    foreign = replace(ours, owner_owns_folder=False)
    long_wait(foreign, found, LINKED_TEXT, Judged(reason=Reason.HARD_LINK, text=HARD_LINK_TEXT))


@pytest.mark.parametrize("lease", [Lease.GRANTED, Lease.UNKNOWN])
def test_where_holes_are_not_seen_a_black_end_waits(lease: Lease) -> None:
    """F16: on ext2, FAT and FUSE a dead writer's rest is plain zeros; no test can tell it from black, so it is sent and said."""
    blind = look(lease=lease, room=Room.UNKNOWN, ground=BLIND)
    long_wait(blind, BLACK, ZEROS_TEXT, overdue(PERHAPS_UNFILLED))
    long_wait(replace(blind, sparse=True), WHOLE, ZEROS_TEXT, overdue(PERHAPS_UNFILLED))
    assert at(replace(blind, lease=Lease.GRANTED), WHOLE, 1, 0.0) == LEASE


# --- what does not ---------------------------------------------------------------------------------------------------------------


def test_a_lease_settles_at_once_where_it_is_a_proof() -> None:
    """F14, F18: the kernel knows every writer there."""
    assert at(ALONE, WHOLE, 1, 0.0) == LEASE
    for ground in (OVERLAY, NETWORK):
        assert at(replace(ALONE, ground=ground), WHOLE, 1, 0.0) == SetAside(after=60.0, text=QUIET_TEXT)
    assert at(UNTOLD, WHOLE, 1, 0.0) == SetAside(after=60.0, text=QUIET_TEXT)


@pytest.mark.parametrize("seen", [UNTOLD, replace(ALONE, ground=OVERLAY)])
@pytest.mark.parametrize(
    ("closed", "expected"), [(0.0, LookAgain(after=2.0)), (1.5, LookAgain(after=0.5)), (2.0, CLOSED), (500.0, CLOSED)]
)
def test_a_close_settles_after_the_quiet_time(seen: Look, closed: float, expected: Settling) -> None:
    """F14, F20: where no lease proves anything; the look that sees the same bytes may be the first."""
    assert settle(seen, WHOLE, past=replace(FIRST, closed=closed), rules=RULES) == expected


@pytest.mark.parametrize("seen", [UNTOLD, replace(UNTOLD, ground=NETWORK, room=Room.UNKNOWN)])
@pytest.mark.parametrize(
    ("looks", "unchanged", "expected"),
    [
        (1, 0.0, SetAside(after=60.0, text=QUIET_TEXT)),
        (1, 60.0, LookAgain(after=0.0)),
        (2, 57.0, SetAside(after=3.0, text=QUIET_TEXT)),
        (2, 58.5, LookAgain(after=1.5)),
        (2, 60.0, QUIET),
    ],
)
def test_two_looks_far_apart_settle_what_nothing_else_does(
    seen: Look, looks: int, unchanged: float, expected: Settling
) -> None:
    """F14, F16, F20, F23: a wait longer than the window's is the journal's."""
    assert at(seen, WHOLE, looks, unchanged) == expected


@pytest.mark.parametrize(
    ("looks", "unchanged", "rested", "expected"),
    [
        (1, 0.0, 3600.0, LookAgain(after=2.0)),
        (2, 1.0, 3600.0, LookAgain(after=1.0)),
        (2, 2.0, 3600.0, QUIET),
        (1, 0.0, 50.0, SetAside(after=10.0, text=QUIET_TEXT)),
        (1, 0.0, -5.0, SetAside(after=60.0, text=QUIET_TEXT)),
    ],
)
def test_an_old_ctime_stands_for_the_first_look(
    looks: int, unchanged: float, rested: float, expected: Settling
) -> None:
    """F3, F20: a backlog does not crawl; the second look comes all the same."""
    past = Past(looks=looks, unchanged=unchanged, rested=rested)
    assert settle(UNTOLD, WHOLE, past=past, rules=RULES) == expected


def test_an_old_ctime_stands_for_nothing_where_it_may_lie() -> None:
    """F8, F20: FAT shows the mtime for it, and a share another machine's clock."""
    old = Past(looks=2, unchanged=2.0, rested=3600.0)
    for ground in (NETWORK, replace(LOCAL, ctimes=False)):
        waits = settle(replace(UNTOLD, ground=ground), WHOLE, past=old, rules=RULES)
        assert waits == SetAside(after=58.0, text=QUIET_TEXT)


def test_zeros_after_the_last_element_are_settled_by_the_full_quiet_rule_only() -> None:
    """F16: neither a lease nor a close says that they are meant."""
    assert settle(ALONE, ZERO_TAIL, past=replace(FIRST, closed=500.0), rules=RULES) == SetAside(
        after=60.0, text=QUIET_TEXT
    )
    assert at(ALONE, ZERO_TAIL, 2, 60.0) == QUIET


def test_a_dicomdir_is_judged_as_soon_as_nobody_writes_it() -> None:
    """F33: it is whole, and it will never be an instance."""
    found = inspection(Wholeness.DICOMDIR, text="a DICOMDIR")
    judged = Judged(reason=Reason.DICOMDIR, text="a DICOMDIR")
    assert at(ALONE, found, 1, 0.0) == judged
    assert at(UNTOLD, found, 2, 60.0) == judged
    assert settle(UNTOLD, found, past=replace(FIRST, closed=0.0), rules=RULES) == LookAgain(after=2.0)
    assert at(OPEN, found, 9, 899.0) == SetAside(after=2.0, text=OPEN_TEXT)
    assert at(OPEN, found, 9, 900.0) == judged


@pytest.mark.parametrize("evidence", [LEASE, CLOSED])
def test_a_file_that_never_rests_must_rest_once(evidence: Settled) -> None:
    """I8, F19: what an indexer touches between each store and its move is not sent each time."""
    seen = ALONE if evidence is LEASE else UNTOLD
    past = Past(looks=1, unchanged=0.0, closed=500.0, restless=True)
    assert settle(seen, WHOLE, past=past, rules=RULES) == LookAgain(after=2.0)
    assert settle(seen, WHOLE, past=replace(past, looks=2, unchanged=2.0), rules=RULES) == evidence


@pytest.mark.parametrize(
    ("ctime_ns", "age", "again"),
    [
        (1_500_000_001, 0.005, 0.015),
        (1_500_000_001, 0.03, None),
        (1_500_000_001, -1.0, None),
        (1_000_000_000, 0.5, 1.5),
        (1_000_000_000, 2.0, None),
    ],
)
@pytest.mark.parametrize("evidence", [LEASE, CLOSED])
def test_nothing_is_proved_about_a_stamp_whose_time_has_not_passed(
    ctime_ns: int, age: float, again: float | None, evidence: Settled
) -> None:
    """I4, F19: within the file system's time stamp grain a second version of the same size has the same stamp."""
    seen = ALONE if evidence is LEASE else UNTOLD
    seen = replace(seen, stamp=replace(seen.stamp, ctime_ns=ctime_ns))
    found = settle(seen, WHOLE, past=replace(FIRST, age=age, closed=500.0), rules=RULES)
    assert found == (evidence if again is None else LookAgain(after=pytest.approx(again), walk=True))
    assert settle(seen, WHOLE, past=Past(looks=2, unchanged=2.0, age=age, closed=500.0), rules=RULES) == evidence


def test_a_young_stamp_is_walked_again_with_the_second_look() -> None:
    """I4, F19: by whichever rule it is looked at again."""
    seen = replace(UNTOLD, stamp=replace(UNTOLD.stamp, ctime_ns=1_500_000_001))
    found = settle(seen, WHOLE, past=replace(FIRST, age=0.005, closed=0.0), rules=RULES)
    assert found == LookAgain(after=2.0, walk=True)


# --- what was heard of a close ---------------------------------------------------------------------------------------------------


def test_a_close_counts_for_the_bytes_that_were_closed() -> None:
    """F14, F18: chmod, rename and link move the ctime alone; another size or mtime is another writer's, another inode another
    file."""
    close = Close(at=100.0, stamp=UNTOLD.stamp)

    def heard(seen: Look = UNTOLD, *, doubted_at: float = 50.0) -> float | None:
        return closed_for(close, seen, now=103.0, doubted_at=doubted_at)

    assert heard() == 3.0
    assert heard(replace(UNTOLD, stamp=replace(UNTOLD.stamp, ctime_ns=7))) == 3.0
    for change in ({"size": 7}, {"mtime_ns": 7}, {"inode": 7}, {"device": 7}):
        assert heard(replace(UNTOLD, stamp=replace(UNTOLD.stamp, **change))) is None
    assert closed_for(None, UNTOLD, now=103.0, doubted_at=50.0) is None


def test_a_close_counts_for_nothing_after_a_doubt_or_where_others_write_unheard() -> None:
    """F1, F8: what was heard before events were lost may be about another file; a share's other clients send no events."""
    close = Close(at=100.0, stamp=UNTOLD.stamp)
    for doubted_at in (100.0, 101.0, float("inf")):
        assert closed_for(close, UNTOLD, now=200.0, doubted_at=doubted_at) is None
    assert closed_for(close, replace(UNTOLD, ground=NETWORK), now=200.0, doubted_at=50.0) is None


# --- never too early, never too late ---------------------------------------------------------------------------------------------

GROUNDS = st.sampled_from([LOCAL, OVERLAY, BLIND, NETWORK, Ground()])
LOOKS = st.builds(
    look,
    links=st.integers(1, 3),
    lease=st.sampled_from(Lease),
    room=st.sampled_from(Room),
    owner_owns_folder=st.booleans(),
    ground=GROUNDS,
    unfilled=st.just(5000),
    sparse=st.booleans(),
)
PASTS = st.builds(
    Past,
    looks=st.integers(1, 5),
    unchanged=st.floats(0, 1e6),
    age=st.floats(-10, 1e6),
    rested=st.floats(-10, 1e6),
    closed=st.none() | st.floats(0, 1e6),
    restless=st.booleans(),
)
RULE = st.builds(
    settle_rules,
    quiet=st.floats(0, 100),
    network_quiet=st.floats(0, 1000),
    timeout=st.floats(0.01, 1e4),
    zeros=st.booleans(),
)


@given(wholeness=st.sampled_from(Wholeness), black=st.booleans(), seen=LOOKS, past=PASTS, rules=RULE)
def test_no_file_is_sent_or_judged_without_its_evidence(
    wholeness: Wholeness, black: bool, seen: Look, past: Past, rules: SettleRules
) -> None:
    """I1, I3, F14 to F18: unknown is no proof of anything; no wait is negative or longer than it need be."""
    timed_out = past.looks >= 2 and past.unchanged >= rules.incomplete_timeout_seconds
    match settle(seen, inspection(wholeness, ends_in_zeros=black), past=past, rules=rules):
        case Settled(evidence=evidence):
            assert wholeness in (Wholeness.WHOLE, Wholeness.WHOLE_ZERO_TAIL)
            assert seen.room is not Room.UNFILLED or (rules.holes_are_zeros and evidence is Evidence.OVERDUE)
            match evidence:
                case Evidence.LEASE:
                    assert (seen.lease, seen.ground.leases) == (Lease.GRANTED, True)
                case Evidence.CLOSED:
                    assert past.closed is not None
                    assert past.closed >= rules.quiet_seconds
                case Evidence.QUIET:
                    rested = past.rested if seen.ground.ctimes else 0.0
                    assert past.looks >= 2
                    assert past.unchanged >= rules.quiet_seconds
                    assert max(past.unchanged, rested) >= rules.network_quiet_seconds
                case Evidence.OVERDUE:
                    assert timed_out or (seen.room is Room.UNFILLED and past.looks >= 2)
            if evidence is not Evidence.OVERDUE:
                assert (seen.links, seen.lease is Lease.REFUSED) == (1, False)
                assert seen.room is Room.FILLED or not (black or seen.sparse)
        case LookAgain(after=after):
            assert 0 <= after <= max(rules.quiet_seconds, 2.0)
        case SetAside(after=after):
            longest = max(rules.quiet_seconds, rules.network_quiet_seconds, RECHECK_SECONDS)
            assert 0 <= after <= longest
        case Judged(reason=Reason.DICOMDIR):
            assert seen.room is not Room.UNFILLED or rules.holes_are_zeros
        case Judged():
            assert timed_out
            assert seen.room is not Room.UNFILLED or rules.holes_are_zeros or seen.lease is not Lease.REFUSED


@pytest.mark.parametrize(
    ("seen", "unfinished", "unchanged", "after"),
    [
        (UNTOLD, True, 100.0, RECHECK_SECONDS),
        (UNTOLD, True, 895.0, 5.0),
        (UNTOLD, True, 899.0, 2.0),
        (replace(UNTOLD, ground=NETWORK), True, 100.0, 60.0),
        (OPEN, False, 100.0, RECHECK_SECONDS),
        (replace(UNTOLD, links=2), False, 100.0, RECHECK_SECONDS),
        (HOLE, False, 100.0, RECHECK_SECONDS),
        (replace(HOLE, lease=Lease.REFUSED), False, 5000.0, RECHECK_SECONDS),
        (replace(HOLE, lease=Lease.REFUSED, ground=NETWORK), True, 5000.0, 60.0),
        (HOLE, True, 900.0, None),
        (UNTOLD, False, 100.0, None),
        (UNTOLD, True, 900.0, None),
    ],
)
def test_what_waits_goes_on_waiting_without_a_walk(
    seen: Look, unfinished: bool, unchanged: float, after: float | None
) -> None:
    """I1: until nothing holds it any more, or its time is up."""
    assert still_waits(seen, unfinished=unfinished, unchanged=unchanged, rules=RULES) == after


@pytest.mark.parametrize(
    ("movable", "wait", "held"),
    [
        (True, None, False),
        (False, None, True),
        (False, Wait.INCOMPLETE, True),
        (True, Wait.INCOMPLETE, False),
        (False, Wait.SERVER_TROUBLE, False),
        (False, Wait.UNMOVABLE, False),
    ],
)
def test_what_can_not_be_moved_and_was_never_sent_is_held_back(movable: bool, wait: Wait | None, held: bool) -> None:
    """F94"""
    seen = replace(UNTOLD, movable=movable)
    history = wait and Deferral(path="a", stamp=seen.stamp, wait=wait, due_at=0.0, first_seen=0.0, since=0.0)
    assert held_back(seen, history) is held


def test_holes_that_count_as_zeros_hold_nothing_back() -> None:
    """DESIGN 2, intake.holes."""
    assert still_waits(HOLE, unfinished=False, unchanged=100.0, rules=ZEROS) is None


@pytest.mark.parametrize(
    ("evidence", "ctimes", "unchanged", "rested", "left"),
    [
        (Evidence.LEASE, True, 0.0, 0.0, 0.0),
        (Evidence.QUIET, True, 2.0, 100.0, 800.0),
        (Evidence.CLOSED, False, 2.0, 100.0, 898.0),
        (Evidence.QUIET, True, 2.0, 1000.0, 0.0),
        (Evidence.OVERDUE, False, 900.0, 0.0, 0.0),
    ],
)
def test_what_no_lease_proves_rests_before_it_may_be_copied_away(
    evidence: Evidence, ctimes: bool, unchanged: float, rested: float, left: float
) -> None:
    """F75, F77: for the long time from its last change, as its ctime has it where that tells, else as it was seen."""
    seen = replace(UNTOLD, ground=replace(UNTOLD.ground, ctimes=ctimes))
    past = Past(looks=2, unchanged=unchanged, rested=rested)
    assert rests_for(seen, evidence, past=past, rules=RULES) == left
