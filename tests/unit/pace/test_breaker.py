"""The breaker: closed lets batches out, open nothing, the control alone probes (DESIGN 3)."""

from __future__ import annotations

import math

import pytest
from fakes.values import retry_rules
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.answers.outcome import Hold, HoldCause
from ingestd.core.pace.breaker import Breaker, BreakerState

RULES = retry_rules(base=1.0, cap=60.0)
DOWN = Hold(cause=HoldCause.UNREACHABLE)
BUSY = Hold(cause=HoldCause.BUSY)


def opened(breaker: Breaker | None = None, *, hold: Hold = DOWN, now: float = 100.0, rand: float = 0.5) -> Breaker:
    return (breaker or Breaker()).held(hold, now=now, rand=rand, rules=RULES)


def failed_probes(count: int, *, rand: float = 0.5) -> Breaker:
    breaker = opened(rand=rand)
    for _ in range(count):
        breaker = breaker.probing().failed(DOWN, now=100.0, rand=rand, rules=RULES)
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
@pytest.mark.parametrize("how", ["closed", "open", "probe failed"])
def test_retry_after_is_a_floor_and_has_a_cap(retry_after: float | None, floor: float, how: str) -> None:
    """F52."""
    hold = Hold(cause=HoldCause.BUSY, retry_after=retry_after)
    if how == "probe failed":
        after = opened().probing().failed(hold, now=100.0, rand=0.25, rules=RULES)
    else:
        after = opened(opened() if how == "open" else Breaker(), hold=hold)
    assert after.open_until == 100.0 + max(floor, 0.5)


def test_batches_that_report_the_same_outage_count_once() -> None:
    """Sixty-four slots that fail at once are one failure."""
    breaker = opened()
    for _ in range(64):
        breaker = opened(breaker, hold=BUSY, rand=0.9)
    assert (breaker.failures, breaker.open_until, breaker.cause) == (1, 100.5, HoldCause.BUSY)


def test_a_hold_while_the_control_is_under_way_starts_no_second_one() -> None:
    """A batch that was under way reports the same outage: one probe, and the service's floor for the next."""
    hold = Hold(cause=HoldCause.BUSY, retry_after=30.0)
    breaker = opened(opened().probing(), hold=hold, now=101.0)
    assert (breaker.state, breaker.failures, breaker.open_until) == (BreakerState.PROBING, 1, 131.0)
    assert not breaker.wants_probe(1e12)
    assert breaker.passed().closed


def test_a_control_that_fails_opens_it_again_for_longer() -> None:
    """F47: with what the control itself said."""
    breaker = opened().probing().failed(BUSY, now=200.0, rand=0.5, rules=RULES)
    assert breaker == Breaker(state=BreakerState.OPEN, failures=2, open_until=201.0, cause=HoldCause.BUSY)


def test_a_hold_never_shortens_the_wait() -> None:
    assert opened(opened(rand=0.9), rand=0.1).open_until == 100.9


def test_a_gateway_that_lets_the_control_through_and_no_file_is_asked_ever_more_rarely() -> None:
    """I8: the control passes, the next batch is held again, and nothing is stored between."""
    breaker, now, waits = Breaker(), 0.0, []
    for _ in range(8):
        breaker = breaker.held(BUSY, now=now, rand=0.5, rules=RULES)
        waits.append(breaker.open_until - now)
        now = breaker.open_until
        breaker = breaker.probing().passed()
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert breaker.stored().held(BUSY, now=now, rand=0.5, rules=RULES).open_until - now == 0.5


holds = st.builds(
    lambda cause, retry_after: Hold(cause=cause, retry_after=retry_after),
    st.sampled_from(HoldCause),
    st.none() | st.floats(allow_nan=True),
)


events = st.sampled_from(["held", "failed", "passed", "stored"])


@given(steps=st.lists(st.tuples(events, holds, st.floats(0, 1, exclude_max=True)), max_size=50))
def test_it_always_comes_to_a_probe_and_never_waits_longer_than_the_caps(
    steps: list[tuple[str, Hold, float]],
) -> None:
    """F52, F67, I8: whatever the service says, in whatever order."""
    breaker, now = Breaker(), 0.0
    for event, hold, rand in steps:
        before = breaker
        match event:
            case "held":
                breaker = breaker.held(hold, now=now, rand=rand, rules=RULES)
                assert not breaker.closed
                assert breaker.failures == before.failures + before.closed
            case "failed" | "passed" if not breaker.closed:
                now = max(now, breaker.open_until)
                assert breaker.wants_probe(now) is (breaker.state is BreakerState.OPEN)
                probing = breaker.probing()
                failed = probing.failed(hold, now=now, rand=rand, rules=RULES)
                breaker = failed if event == "failed" else probing.passed()
            case "stored":
                breaker = breaker.stored()
                assert breaker.state is before.state
        if not breaker.closed:
            assert breaker.open_until <= now + max(RULES.cap_seconds, RULES.retry_after_cap_seconds)
            assert breaker.cause is not None
