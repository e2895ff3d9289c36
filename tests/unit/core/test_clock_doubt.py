"""F91: a clock of another year makes nothing old."""

from __future__ import annotations

import pytest

from ingestd.core.clock_doubt import DAY_SECONDS, ClockDoubt, ServiceDate

SEEN = 1767323045.0  # 2026-01-02 03:04:05 UTC
BEGAN = 1000.0
YEAR = 365 * DAY_SECONDS
ALONE = (
    "the clock of this machine shows 2027-01-02, more than a day after anything seen here: nothing is removed until the service's"
    " clock or a day of running agrees; set the clock if it is wrong"
)
AGAINST = (
    "the clock of this machine shows 2027-01-02 and the service's 2026-01-02: nothing is removed until they agree; set the clock of"
    " this machine, or the service's"
)


def problem(now: float, *, running: float = 0.0, date: ServiceDate | None = None, seen: float = SEEN) -> str | None:
    return ClockDoubt(seen=seen, began=BEGAN).problem(now=now, monotonic=BEGAN + running, date=date)


@pytest.mark.parametrize("ahead", [-YEAR, 0.0, DAY_SECONDS])
def test_a_clock_that_is_no_more_than_a_day_past_what_was_seen_is_believed(ahead: float) -> None:
    """A clock that is behind removes nothing early."""
    assert problem(SEEN + ahead) is None


def test_a_clock_that_is_further_ahead_is_doubted_for_a_day_of_running() -> None:
    """No answer says what time it is."""
    assert problem(SEEN + DAY_SECONDS + 1) is not None
    assert problem(SEEN + YEAR) == ALONE
    assert problem(SEEN + YEAR, running=DAY_SECONDS - 1) == ALONE
    assert problem(SEEN + YEAR, running=DAY_SECONDS) is None


def test_where_nothing_was_ever_seen_the_clock_is_doubted() -> None:
    """Unknown never removes."""
    assert problem(SEEN + YEAR, seen=float("-inf")) == ALONE


@pytest.mark.parametrize("behind", [-YEAR, 0.0, DAY_SECONDS])
def test_a_service_that_agrees_ends_the_doubt(behind: float) -> None:
    """RFC 9110 6.6.1. Its date counts on while the process runs."""
    date = ServiceDate(value=SEEN + YEAR - behind - 600.0, came=BEGAN)
    assert problem(SEEN + YEAR, running=600.0, date=date) is None


def test_a_service_that_contradicts_is_believed_however_long_the_process_runs() -> None:
    """Two witnesses against one clock."""
    date = ServiceDate(value=SEEN, came=BEGAN)
    assert problem(SEEN + YEAR, date=date) == AGAINST
    assert problem(SEEN + YEAR + 7 * DAY_SECONDS, running=7 * DAY_SECONDS, date=date) is not None


def test_a_service_whose_clock_is_wrong_raises_no_doubt_where_this_machine_saw_the_day() -> None:
    """A battery that is flat at the other side."""
    assert problem(SEEN, date=ServiceDate(value=SEEN - YEAR, came=BEGAN)) is None
