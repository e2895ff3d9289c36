"""When a file is settled: nobody is writing it any more, and all of it is there (DESIGN 2, settle)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.values import inspection, look, settle_rules
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.model import Inspection, Look, Wholeness
from ingestd.core.outcome import Reason
from ingestd.core.settle import (
    HARD_LINK_TEXT,
    OPEN_TEXT,
    RECHECK_SECONDS,
    Judged,
    LookAgain,
    SetAside,
    Settled,
    SettleRules,
    Settling,
    settle,
    still_waits,
)

RULES = settle_rules(quiet=2.0, network_quiet=60.0, timeout=900.0)
WHOLE = inspection()
ZERO_TAIL = inspection(Wholeness.WHOLE_ZERO_TAIL)
LOCAL, LEASED, NETWORK = look(), look(leased=True), look(on_network=True)
UNFINISHED = [
    (Wholeness.TRUNCATED, Reason.TRUNCATED),
    (Wholeness.NOT_DICOM, Reason.NOT_DICOM),
    (Wholeness.NO_PIXEL_DATA, Reason.NO_PIXEL_DATA),
    (Wholeness.NO_UID, Reason.NO_UID),
    (Wholeness.OUT_OF_BOUNDS, Reason.BOUNDS),
]


def at(seen: Look, found: Inspection, looks: int, unchanged: float, rules: SettleRules = RULES) -> Settling:
    return settle(seen, found, looks=looks, unchanged=unchanged, rules=rules)


@pytest.mark.parametrize(
    ("seen", "found", "looks", "unchanged", "expected"),
    [
        (LEASED, WHOLE, 1, 0.0, Settled()),
        (LOCAL, WHOLE, 1, 0.0, LookAgain(after=2.0)),
        (LOCAL, WHOLE, 1, 99.0, LookAgain(after=0.0)),
        (LOCAL, WHOLE, 2, 1.5, LookAgain(after=0.5)),
        (LOCAL, WHOLE, 2, 2.0, Settled()),
        (NETWORK, WHOLE, 1, 0.0, LookAgain(after=60.0)),
        (NETWORK, WHOLE, 2, 59.0, LookAgain(after=1.0)),
        (NETWORK, WHOLE, 2, 60.0, Settled()),
        (look(leased=True, on_network=True), WHOLE, 1, 0.0, LookAgain(after=60.0)),
        (LEASED, ZERO_TAIL, 1, 0.0, LookAgain(after=2.0)),
        (LOCAL, ZERO_TAIL, 2, 2.0, Settled()),
    ],
)
def test_a_whole_file_is_settled_by_a_lease_or_by_two_looks_a_quiet_period_apart(
    seen: Look, found: Inspection, looks: int, unchanged: float, expected: Settling
) -> None:
    """F14, F16, F18, F20, F23: a lease is a proof on local file systems only; a zero tail takes the full quiet rule."""
    assert at(seen, found, looks, unchanged) == expected


@pytest.mark.parametrize(("wholeness", "reason"), UNFINISHED)
@pytest.mark.parametrize("seen", [LOCAL, LEASED])
def test_what_is_not_whole_waits_its_time_lease_or_not_and_is_then_judged(
    wholeness: Wholeness, reason: Reason, seen: Look
) -> None:
    """F14, F15, F17, F22, F33: a copy that paused is quiet too."""
    found = inspection(wholeness, text="the last element ends 12 bytes after the end of the file")
    assert at(seen, found, 1, 0.0) == SetAside(after=15.0, text=found.text)
    assert at(seen, found, 9, 899.0) == SetAside(after=2.0, text=found.text)
    assert at(seen, found, 1, 901.0) == SetAside(after=2.0, text=found.text)
    assert at(seen, found, 2, 900.0) == Judged(reason=reason, text=found.text)


def test_a_dicomdir_is_judged_as_soon_as_it_is_still() -> None:
    """F33: it is whole, and it will never be an instance."""
    found = inspection(Wholeness.DICOMDIR, text="a DICOMDIR")
    judged = Judged(reason=Reason.DICOMDIR, text="a DICOMDIR")
    assert at(LEASED, found, 1, 0.0) == judged
    assert at(LOCAL, found, 2, 2.0) == judged
    assert isinstance(at(LOCAL, found, 1, 0.0), SetAside)
    assert isinstance(at(look(leased=True, on_network=True), found, 1, 0.0), SetAside)


@pytest.mark.parametrize("found", [WHOLE, ZERO_TAIL])
@pytest.mark.parametrize("leased", [False, True])
def test_a_file_with_another_name_waits_for_it_to_go(found: Inspection, leased: bool) -> None:
    """F4, F26: link and unlink is how some programs rename; a link to a foreign file is refused in the end."""
    ours = look(links=2, leased=leased)
    foreign = look(links=2, leased=leased, owner_owns_folder=False)
    for seen in (ours, foreign):
        early = at(seen, found, 2, 899.0)
        assert isinstance(early, SetAside)
        assert "hard link" in early.text
    assert at(ours, found, 2, 900.0) == Settled()
    assert at(foreign, found, 2, 900.0) == Judged(reason=Reason.HARD_LINK, text=HARD_LINK_TEXT)


@pytest.mark.parametrize("found", [WHOLE, ZERO_TAIL])
def test_quiet_proves_nothing_while_somebody_has_it_open_for_writing(found: Inspection) -> None:
    """F15, F16: claimed room looks like black pixels, a report may end after any element; taken in the end, as some never close."""
    seen = look(open_elsewhere=True)
    assert at(seen, found, 1, 0.0) == SetAside(after=15.0, text=OPEN_TEXT)
    assert at(seen, found, 9, 899.0) == SetAside(after=2.0, text=OPEN_TEXT)
    assert at(seen, found, 2, 900.0) == Settled()


@given(
    wholeness=st.sampled_from(Wholeness),
    links=st.integers(1, 3),
    leased=st.booleans(),
    owner_owns_folder=st.booleans(),
    on_network=st.booleans(),
    open_elsewhere=st.booleans(),
    looks=st.integers(1, 5),
    unchanged=st.floats(0, 1e6),
    rules=st.builds(
        settle_rules, quiet=st.floats(0, 100), network_quiet=st.floats(0, 1000), timeout=st.floats(0.01, 1e4)
    ),
)
def test_no_file_is_sent_or_judged_before_its_time(
    wholeness: Wholeness,
    links: int,
    leased: bool,
    owner_owns_folder: bool,
    on_network: bool,
    open_elsewhere: bool,
    looks: int,
    unchanged: float,
    rules: SettleRules,
) -> None:
    """I1, I3, F14 to F18: only whole files are settled; no wait is negative or longer than it need be."""
    leased = leased and not open_elsewhere
    seen = look(
        links=links,
        leased=leased,
        owner_owns_folder=owner_owns_folder,
        on_network=on_network,
        open_elsewhere=open_elsewhere,
    )
    quiet = rules.network_quiet_seconds if on_network else rules.quiet_seconds
    proved = leased and not on_network
    match at(seen, inspection(wholeness), looks, unchanged, rules):
        case Settled():
            assert wholeness in (Wholeness.WHOLE, Wholeness.WHOLE_ZERO_TAIL)
            assert proved or looks >= 2
            assert not open_elsewhere or unchanged >= rules.incomplete_timeout_seconds
        case LookAgain(after=after):
            assert 0 <= after <= quiet
        case SetAside(after=after):
            assert 0 <= after <= max(quiet, RECHECK_SECONDS)
        case Judged(reason=Reason.DICOMDIR):
            assert proved or looks >= 2
        case Judged():
            assert looks >= 2
            assert unchanged >= rules.incomplete_timeout_seconds


@pytest.mark.parametrize(
    ("ctime_ns", "age", "expected"),
    [
        (1_500_000_001, 0.005, LookAgain(after=pytest.approx(0.015), walk=True)),
        (1_500_000_001, 0.03, Settled()),
        (1_500_000_001, -1.0, Settled()),
        (1_000_000_000, 0.5, LookAgain(after=1.5, walk=True)),
        (1_000_000_000, 2.0, Settled()),
    ],
)
def test_a_lease_proves_nothing_about_a_stamp_whose_time_has_not_passed(
    ctime_ns: int, age: float, expected: Settling
) -> None:
    """I4, F19: within the file system's time stamp grain a second version of the same size has the same stamp."""
    seen = replace(LEASED, stamp=replace(LEASED.stamp, ctime_ns=ctime_ns))
    assert settle(seen, WHOLE, looks=1, unchanged=0.0, rules=RULES, age=age) == expected


@pytest.mark.parametrize(
    ("seen", "unfinished", "unchanged", "after"),
    [
        (LOCAL, True, 100.0, RECHECK_SECONDS),
        (LOCAL, True, 895.0, 5.0),
        (LOCAL, True, 899.0, 2.0),
        (NETWORK, True, 100.0, 60.0),
        (replace(LOCAL, open_elsewhere=True), False, 100.0, RECHECK_SECONDS),
        (replace(LOCAL, links=2), False, 100.0, RECHECK_SECONDS),
        (LOCAL, False, 100.0, None),
        (LOCAL, True, 900.0, None),
    ],
)
def test_what_waits_goes_on_waiting_without_a_walk(
    seen: Look, unfinished: bool, unchanged: float, after: float | None
) -> None:
    """I1: until nothing holds it any more, or its time is up."""
    assert still_waits(seen, unfinished=unfinished, unchanged=unchanged, rules=RULES) == after
