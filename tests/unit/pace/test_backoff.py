"""How long to wait, and when patience with one file ends (DESIGN 3, "one alone")."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.values import deferral, instance, retry_rules
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.answers.outcome import Quarantine, Retry
from ingestd.core.answers.reasons import Reason
from ingestd.core.model import Asked, Deferral, Instance, Wait
from ingestd.core.pace.backoff import (
    LONGEST_WAIT_SECONDS,
    REFUSED_ALONE_LIMIT,
    WORD_AFTER_SECONDS,
    RetryRules,
    defer,
    full_jitter,
    growing,
)

RULES = retry_rules(attempts=8, base=1.0, patience=3600.0)
SERVICE_WAITS = [w for w in Wait if w not in (Wait.INCOMPLETE, Wait.UNMOVABLE)]


def once(
    one: Instance,
    wait: Wait,
    *,
    now: float = 0.0,
    alone: bool = True,
    receipts: int = 0,
    rand: float = 0.5,
    rules: RetryRules = RULES,
) -> Deferral | Quarantine:
    retry = Retry(wait=wait, http_status=409, failure_reason=272, comment="words")
    return defer(one, retry, alone=alone, now=now, last_receipt=receipts, rand=rand, rules=rules)


@given(
    base=st.floats(0.001, 1e4),
    cap=st.floats(0.001, 1e4),
    attempt=st.integers(0, 10**9),
    rand=st.floats(0, 1, exclude_max=True),
)
def test_full_jitter_stays_between_nothing_and_its_ceiling(base: float, cap: float, attempt: int, rand: float) -> None:
    """F52, I8: however many failures; no overflow."""
    wait = full_jitter(base=base, cap=cap, attempt=attempt, rand=rand)
    assert 0 <= wait <= min(cap, base * 2.0 ** min(attempt, 64))


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    assert [full_jitter(base=1, cap=60, attempt=n, rand=0.5) for n in (0, 1, 2, 5, 6, 99)] == [0.5, 1, 2, 16, 30, 30]


def test_clients_do_not_meet_at_the_cap() -> None:
    """Uniform up to it, where clipping would send all of them at once."""
    assert [full_jitter(base=1, cap=60, attempt=20, rand=r) for r in (0.0, 0.25, 0.99)] == [0, 15, 0.99 * 60]


def test_a_wait_of_our_own_doubles_from_its_base_up_to_its_cap() -> None:
    assert [growing(base=5, attempt=n, cap=60) for n in (1, 2, 3, 4, 5, 99)] == [5, 10, 20, 40, 60, 60]


@given(base=st.floats(0.001, 1e4), attempt=st.integers(1, 10**9))
def test_no_wait_of_our_own_is_longer_than_a_quarter_of_an_hour_or_shorter_than_the_one_before(
    base: float, attempt: int
) -> None:
    """I8: however many attempts; no overflow."""
    wait, following = (growing(base=base, attempt=n) for n in (attempt, attempt + 1))
    assert min(base, LONGEST_WAIT_SECONDS) <= wait <= following <= LONGEST_WAIT_SECONDS


def test_a_wait_remembers_what_was_deleted_for_the_file() -> None:
    """F89: over retries and restarts."""
    waits = [once(instance("1", deleted=deleted), Wait.REQUEST_TROUBLE) for deleted in (True, False)]
    assert [wait.deleted for wait in waits if isinstance(wait, Deferral)] == [True, False]


def test_a_first_wait_remembers_what_it_is_about() -> None:
    one = instance("1")
    assert once(one, Wait.SERVER_TROUBLE, now=100.0, receipts=7) == Deferral(
        path="1.dcm",
        stamp=one.stamp,
        wait=Wait.SERVER_TROUBLE,
        due_at=102.0,
        first_seen=0.0,
        since=100.0,
        attempts=1,
        counted=0,
        last_receipt=7,
    )


@given(
    wait=st.sampled_from(SERVICE_WAITS),
    past=st.sampled_from(Wait),
    attempts=st.integers(1, 10**6),
    rand=st.floats(0, 1, exclude_max=True),
    base=st.floats(0.001, 1e6),
)
def test_no_wait_is_longer_than_a_quarter_of_an_hour_or_in_the_past(
    wait: Wait, past: Wait, attempts: int, rand: float, base: float
) -> None:
    """I8: never a hot loop, never out of sight."""
    one = instance(history=deferral(past, attempts=attempts))
    got = once(one, wait, now=50.0, rand=rand, rules=retry_rules(base=base))
    if isinstance(got, Deferral):
        assert 50.0 + min(base, 60.0, LONGEST_WAIT_SECONDS) <= got.due_at <= 50.0 + LONGEST_WAIT_SECONDS


def test_the_longest_wait_is_a_quarter_of_an_hour() -> None:
    """DESIGN 3: with jitter, so that not every file of an outage comes back at once."""
    dues = [once(instance(history=deferral(Wait.UNVERIFIED, attempts=99)), Wait.UNVERIFIED, rand=r) for r in (0.5, 1.0)]
    assert [due.due_at for due in dues if isinstance(due, Deferral)] == [451.0, 900.0]


def test_an_instance_that_is_being_created_waits_minutes_from_the_start() -> None:
    """FailureReason 45071."""
    got = once(instance(), Wait.CREATING)
    assert isinstance(got, Deferral)
    assert got.due_at == 120.0


def test_an_instance_that_waits_apart_waits_minutes_and_ever_longer() -> None:
    """F86: a minute at least from the start, a quarter of an hour at most; however often, it is never a verdict."""
    dues, one = [], instance()
    for _ in range(12):
        got = once(one, Wait.APART, rand=0.0 if not dues else 0.5)
        assert isinstance(got, Deferral)
        dues.append(got.due_at)
        one = replace(one, history=got)
    assert dues[0] == 60.0
    assert dues == sorted(dues)
    assert dues[-1] > 400


@pytest.mark.parametrize(
    "other",
    [Wait.REFUSED_ALONE, Wait.CREATING, Wait.UNVERIFIED, Wait.REQUEST_TROUBLE, Wait.APART, Wait.DIED],
)
def test_waits_grow_even_where_the_service_changes_its_mind(other: Wait) -> None:
    """I8: a file that is refused in one way and another by turns does not come round every second."""
    dues = []
    one = instance()
    for n in range(40):
        got = once(one, Wait.SERVER_TROUBLE if n % 2 else other, alone=False, rand=0.5)
        if isinstance(got, Quarantine):
            pytest.fail("nothing of this is the file's fault")
        dues.append(got.due_at)
        one = replace(one, history=got)
    assert dues[-2] > 400


@pytest.mark.parametrize("ours", [Wait.INCOMPLETE, Wait.UNMOVABLE])
def test_our_own_waits_before_make_no_difference(ours: Wait) -> None:
    past = instance(history=deferral(ours, attempts=60))
    assert once(past, Wait.SERVER_TROUBLE) == once(instance(), Wait.SERVER_TROUBLE)


# Patience.


def attempts_until_verdict(
    waits: list[Wait], *, alone: bool, receipts_grow: bool, seconds_each: float, rules: RetryRules = RULES
) -> tuple[int, Quarantine] | None:
    """How many answers in a row (round and round `waits`) end in a verdict, at most a thousand."""
    one, now, receipts = instance(), 5000.0, 10
    for n in range(1000):
        got = once(one, waits[n % len(waits)], now=now, alone=alone, receipts=receipts, rules=rules)
        if isinstance(got, Quarantine):
            return n + 1, got
        one = replace(one, history=got)
        now += seconds_each
        receipts += receipts_grow
    return None


@pytest.mark.parametrize(
    ("waits", "alone", "reason"),
    [
        ([Wait.SERVER_TROUBLE], False, Reason.REJECTED),
        ([Wait.SERVER_TROUBLE], True, Reason.REJECTED),
        ([Wait.REQUEST_TROUBLE], True, Reason.POISON),
        ([Wait.REQUEST_TROUBLE, Wait.SERVER_TROUBLE], True, Reason.POISON),
        ([Wait.SERVER_TROUBLE, Wait.REQUEST_TROUBLE], True, Reason.REJECTED),
    ],
)
def test_trouble_with_one_file_ends_in_a_verdict_when_others_were_stored_meanwhile(
    waits: list[Wait], alone: bool, reason: Reason
) -> None:
    """I3, F61: 272, A7xx, 5xx and timeouts are one patience; the first attempt has nothing before it and does not count."""
    found = attempts_until_verdict(waits, alone=alone, receipts_grow=True, seconds_each=900.0)
    assert found is not None
    tries, verdict = found
    assert (tries, verdict.reason, verdict.by_service) == (9, reason, True)
    assert (verdict.http_status, verdict.failure_reason, verdict.comment) == (409, 272, "words")
    assert verdict.text == "the service failed on this file 8 times while it stored others"


@pytest.mark.parametrize("wait", [Wait.SERVER_TROUBLE, Wait.REQUEST_TROUBLE])
def test_an_outage_uses_no_patience_up(wait: Wait) -> None:
    """I3, F67: nothing else was stored, so it is not this file."""
    assert attempts_until_verdict([wait], alone=True, receipts_grow=False, seconds_each=900.0) is None


def test_a_request_that_failed_with_others_in_it_counts_against_none_of_them() -> None:
    """I3."""
    waits = [Wait.REQUEST_TROUBLE]
    assert attempts_until_verdict(waits, alone=False, receipts_grow=True, seconds_each=900.0) is None


def test_attempts_in_quick_succession_are_no_verdict_before_patience_ends() -> None:
    """`patience_seconds` is the least time over which they spread."""
    found = attempts_until_verdict([Wait.SERVER_TROUBLE], alone=True, receipts_grow=True, seconds_each=10.0)
    assert found is not None
    assert found[0] == 361


def test_a_silent_refusal_alone_is_poison_the_third_time() -> None:
    """F61: the control passed each time, so no store in between is needed."""
    found = attempts_until_verdict([Wait.REFUSED_ALONE], alone=True, receipts_grow=False, seconds_each=1.0)
    assert found is not None
    assert (found[0], found[1].reason, found[1].by_service) == (REFUSED_ALONE_LIMIT, Reason.POISON, True)
    assert (found[1].http_status, found[1].comment) == (409, "words")
    assert "3 times" in found[1].text


def test_trouble_before_does_not_make_a_refusal_graver() -> None:
    """I3: three of the same."""
    past = instance(history=deferral(Wait.REQUEST_TROUBLE, attempts=50, counted=7))
    got = once(past, Wait.REFUSED_ALONE)
    assert isinstance(got, Deferral)
    assert (got.attempts, got.counted) == (51, 1)


@pytest.mark.parametrize(
    "before", [Wait.REFUSED_ALONE, Wait.CREATING, Wait.UNVERIFIED, Wait.CHANGED, Wait.APART, Wait.DIED]
)
@pytest.mark.parametrize("wait", [Wait.SERVER_TROUBLE, Wait.REQUEST_TROUBLE])
def test_other_waits_before_use_no_patience_up(before: Wait, wait: Wait) -> None:
    """I3: trouble begins to count, and its time to run, with the first of it."""
    past = instance(history=deferral(before, attempts=50, counted=7, since=0.0))
    got = once(past, wait, now=1e6, receipts=9)
    assert isinstance(got, Deferral)
    assert (got.attempts, got.counted, got.since, got.last_receipt) == (51, 0, 1e6, 9)


@pytest.mark.parametrize(("seconds", "ends"), [(86_399.9, False), (86_400.0, True)])
def test_creating_ends_when_its_hours_are_over(seconds: float, ends: bool) -> None:
    past = instance(history=deferral(Wait.CREATING, since=5000.0))
    assert isinstance(once(past, Wait.CREATING, now=5000.0 + seconds), Quarantine) is ends


def test_creating_ends_after_its_hours_however_often_it_was_asked() -> None:
    """45071: never deleted by us."""
    found = attempts_until_verdict([Wait.CREATING], alone=True, receipts_grow=True, seconds_each=900.0)
    assert found is not None
    assert (found[0], found[1].reason, found[1].by_service) == (24 * 4 + 1, Reason.CREATING, True)
    assert (found[1].http_status, found[1].failure_reason, found[1].comment) == (409, 272, "words")


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("wait", [Wait.UNVERIFIED, Wait.CHANGED, Wait.APART, Wait.DIED])
def test_what_the_service_said_nothing_against_is_never_the_files_fault(wait: Wait, alone: bool) -> None:
    """I3, I4, F10, F58, F86: reading is refused, the file changed while it was sent, an answer speaks of no file, our own error."""
    assert attempts_until_verdict([wait], alone=alone, receipts_grow=True, seconds_each=900.0) is None


def test_a_file_that_changes_each_time_it_is_sent_is_sent_ever_more_rarely() -> None:
    """I8."""
    dues, one = [], instance()
    for _ in range(12):
        got = once(one, Wait.CHANGED, rand=0.5)
        assert isinstance(got, Deferral)
        dues.append(got.due_at)
        one = replace(one, history=got)
    assert dues == sorted(dues)
    assert dues[0] < 5
    assert dues[-1] > 400


@pytest.mark.parametrize("wait", [Wait.INCOMPLETE, Wait.UNMOVABLE])
def test_our_own_waits_end_in_no_verdict_here(wait: Wait) -> None:
    assert attempts_until_verdict([wait], alone=True, receipts_grow=True, seconds_each=900.0) is None


def test_an_open_question_waits_for_ever_and_comes_back_to_be_asked() -> None:
    """I2, F87: never by sending the file again, and never with a verdict."""
    one = instance("1.1")
    now = 0.0
    for attempt in range(1, 200):
        retry = Retry(wait=Wait.UNANSWERED, asked=Asked.HELD)
        found = defer(one, retry, alone=True, now=now, last_receipt=attempt, rand=0.9, rules=RULES)
        assert isinstance(found, Deferral)
        assert (found.asked, found.counted, found.since) == (Asked.HELD, 0, 0.0)
        now = found.due_at
        one = replace(one, history=found)
    assert now > 3 * RULES.patience_seconds


@pytest.mark.parametrize(("patience", "end"), [(3600.0, WORD_AFTER_SECONDS), (5.0, 2.5)])
def test_an_open_question_is_asked_when_its_word_would_do(patience: float, end: float) -> None:
    """I2: at ten minutes, or at half of a shorter patience, before `drain` gives up; not a quarter of an hour later."""
    rules = retry_rules(patience=patience)
    assert rules.word_after_seconds == end
    one = instance("1.1", history=replace(deferral(Wait.UNANSWERED, attempts=30), since=0.0))
    found = once(one, Wait.UNANSWERED, now=end - 1, rand=0.99, rules=rules)
    assert isinstance(found, Deferral)
    assert found.due_at == end


def test_what_a_2xx_left_unnamed_alone_three_times_and_is_not_there_is_a_verdict() -> None:
    """F84: "answered 2xx and does not hold it"; in a batch it may be another's fault and counts for nothing."""
    one = instance("1.1")
    for alone in (False, True, False, True):
        found = once(one, Wait.UNNAMED, alone=alone)
        assert isinstance(found, Deferral)
        one = replace(one, history=found)
    found = once(one, Wait.UNNAMED, alone=True)
    assert isinstance(found, Quarantine)
    assert (found.reason, found.by_service) == (Reason.POISON, True)
    assert "answered 2xx" in found.text
    assert "refused" not in found.text


def test_trouble_of_the_request_is_not_charged_while_others_travel_with_it() -> None:
    """I3."""
    one = instance("1.1", history=deferral(Wait.UNVERIFIED, counted=0))
    found = once(one, Wait.UNVERIFIED, receipts=9)
    assert isinstance(found, Deferral)
    assert found.counted == 0
