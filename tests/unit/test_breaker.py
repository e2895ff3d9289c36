"""The breaker: closed lets batches out, open nothing, the control alone probes (DESIGN 3)."""

from __future__ import annotations

import math

import pytest
from fakes.values import retry_rules
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.breaker import Breaker, BreakerState
from ingestd.core.outcome import Hold, HoldCause

RULES = retry_rules(base=1.0, cap=60.0)
DOWN = Hold(cause=HoldCause.UNREACHABLE)
BUSY = Hold(cause=HoldCause.BUSY)


def opened(breaker: Breaker | None = None, *, hold: Hold = DOWN, now: float = 100.0, rand: float = 0.5) -> Breaker:
    return (breaker or Breaker()).held(hold, now=now, rand=rand, rules=RULES)


def failed_probes(count: int, *, rand: float = 0.5) -> Breaker:
    breaker = opened(rand=rand)
    for _ in range(count):
        breaker = opened(breaker.probing(), rand=rand)
    return breaker


def test_it_begins_closed() -> None:
    assert Breaker().closed
    assert not Breaker().wants_probe(1e12)


def test_its_numbers_are_those_of_the_metric() -> None:
    """DESIGN 5: ingestd_breaker_state (0 closed, 1 probing, 2 open)."""
    assert [int(BreakerState[name]) for name in ("CLOSED", "PROBING", "OPEN")] == [0, 1, 2]


def test_a_hold_opens_it_until_the_control_is_due() -> None:
    """F47."""
    breaker = opened(rand=0.5, now=100.0)
    assert (breaker.state, breaker.closed, breaker.cause) == (BreakerState.OPEN, False, HoldCause.UNREACHABLE)
    assert breaker.open_until == 100.5
    assert not breaker.wants_probe(100.4)
    assert breaker.wants_probe(100.5)


def test_only_one_probe_is_under_way() -> None:
    probing = opened().probing()
    assert not probing.closed
    assert not probing.wants_probe(1e12)


def test_a_control_that_passes_closes_it_and_the_waits_stay_long_until_something_is_stored() -> None:
    """I8: a gateway may let the control through and no file."""
    before = failed_probes(5)
    closed = before.probing().passed()
    assert closed == Breaker(failures=before.failures)
    assert closed.stored() == Breaker()


def test_what_was_stored_while_it_is_open_does_not_close_it() -> None:
    """A batch that was under way when it opened may still be stored."""
    before = failed_probes(2)
    assert before.stored() == before


def test_each_failed_probe_doubles_the_ceiling_up_to_the_cap() -> None:
    """F47: for ever, and never more than a minute apart."""
    assert [failed_probes(n).open_until - 100.0 for n in (0, 1, 2, 5, 6, 5000)] == [0.5, 1, 2, 16, 30, 30]


@pytest.mark.parametrize(
    ("retry_after", "floor"),
    [
        (None, 0.0),
        (0.0, 0.0),
        (7.0, 7.0),
        (3600.0, 3600.0),
        (1e9, 3600.0),
        (math.inf, 3600.0),
        (-5.0, 0.0),
        (math.nan, 0.0),
    ],
)
@pytest.mark.parametrize("already_open", [False, True])
def test_retry_after_is_a_floor_and_has_a_cap(retry_after: float | None, floor: float, already_open: bool) -> None:
    """F52."""
    hold = Hold(cause=HoldCause.BUSY, retry_after=retry_after)
    before = opened() if already_open else Breaker()
    assert opened(before, hold=hold).open_until == 100.0 + max(floor, 0.5)


def test_batches_that_report_the_same_outage_count_once() -> None:
    """Sixty-four slots that fail at once are one failure."""
    breaker = opened()
    for _ in range(64):
        breaker = opened(breaker, hold=BUSY, rand=0.9)
    assert (breaker.failures, breaker.open_until, breaker.cause) == (1, 100.5, HoldCause.BUSY)


def test_a_hold_while_the_control_is_under_way_opens_it_again() -> None:
    breaker = opened(opened().probing(), hold=Hold(cause=HoldCause.BUSY, retry_after=30.0), now=101.0)
    assert breaker.state is BreakerState.OPEN
    assert breaker.open_until == 131.0


holds = st.builds(
    lambda cause, retry_after: Hold(cause=cause, retry_after=retry_after),
    st.sampled_from(HoldCause),
    st.none() | st.floats(allow_nan=True),
)


@given(steps=st.lists(st.tuples(holds, st.floats(0, 1, exclude_max=True), st.booleans()), max_size=50))
def test_it_always_comes_to_a_probe_and_never_waits_longer_than_the_caps(
    steps: list[tuple[Hold, float, bool]],
) -> None:
    """F52, F67, I8: whatever the service says."""
    breaker, now = Breaker(), 0.0
    for hold, rand, probe in steps:
        breaker = breaker.held(hold, now=now, rand=rand, rules=RULES)
        assert not breaker.closed
        assert now <= breaker.open_until <= now + max(RULES.cap_seconds, RULES.retry_after_cap_seconds)
        assert breaker.wants_probe(breaker.open_until)
        if probe:
            now = breaker.open_until
            breaker = breaker.probing()
