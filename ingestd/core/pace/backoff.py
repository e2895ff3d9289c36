"""How long to wait, and when patience with one file ends.

Waits are drawn with full jitter, uniform between nothing and a ceiling that doubles: tenacity's own jitter clips at the cap, where
every client then waits the same. A service's Retry-After is a floor. Long waits live in the journal, not in a sleeping call stack.

Patience ("one alone"): an attempt counts against a file only when another instance was stored since its last one, so an outage uses
none up; and the counted ones must spread over `patience_seconds`. Waits grow with every attempt, whatever the service said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from ingestd.core.answers.outcome import Quarantine, Retry
from ingestd.core.answers.reasons import Reason
from ingestd.core.model import Deferral, Instance, Wait

LONGEST_WAIT_SECONDS = 900.0  # a file that is tried again, and all else whose waits grow, at most
SLOW_BASE_SECONDS = 60.0  # a file that the service still creates, or that was set apart, at least
_IN_MINUTES = frozenset({Wait.CREATING, Wait.APART})  # 45071 and a gateway's refusals clear slowly, if at all
REFUSED_ALONE_LIMIT = 3
UNNAMED_LIMIT = 3
WORD_AFTER_SECONDS = 600.0  # a service that lets nothing be read, until its word is taken: roles need minutes to spread
_TROUBLE = frozenset({Wait.SERVER_TROUBLE, Wait.REQUEST_TROUBLE})  # one patience: they alternate in one outage
_OURS = frozenset({Wait.INCOMPLETE, Wait.UNMOVABLE, Wait.RESTING})  # nothing the service said


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """The `retry` keys, in seconds where they are times."""

    instance_attempts: int
    base_seconds: float
    cap_seconds: float
    retry_after_cap_seconds: float
    creating_hours: float
    patience_seconds: float

    @property
    def word_after_seconds(self) -> float:
        """How long a service that never let anything be read is asked before its word is taken. `drain` must not give up first."""
        return min(WORD_AFTER_SECONDS, self.patience_seconds / 2)


def full_jitter(*, base: float, cap: float, attempt: int, rand: float) -> float:
    """Seconds to wait, at most `base` doubled `attempt` times and never more than `cap`; `rand` in [0, 1)."""
    ceiling = min(cap, base * 2.0 ** min(attempt, 32))
    return rand * ceiling


def growing(*, base: float, attempt: int, cap: float = LONGEST_WAIT_SECONDS) -> float:
    """Seconds that double with each attempt (from 1), for waits that nobody else's clock is in step with."""
    return min(cap, base * 2.0 ** min(attempt - 1, 32))


def defer(
    instance: Instance, retry: Retry, *, alone: bool, now: float, last_receipt: int, rand: float, rules: RetryRules
) -> Deferral | Quarantine:
    """When `instance` comes back, or the verdict when its patience is used up.

    `alone`: it was the only one in its request. `last_receipt` is the number of the newest receipt (Journal.last_receipt).
    """
    past = instance.history if instance.history is not None and instance.history.wait not in _OURS else None
    same = past if past is not None and (past.wait is retry.wait or {past.wait, retry.wait} <= _TROUBLE) else None
    attempts = past.attempts + 1 if past is not None else 1
    since = same.since if same is not None else now
    chargeable = retry.wait is Wait.SERVER_TROUBLE or (alone and retry.wait is Wait.REQUEST_TROUBLE)
    others_went = same is not None and same.last_receipt < last_receipt and chargeable
    counts = retry.wait is Wait.REFUSED_ALONE or (retry.wait is Wait.UNNAMED and alone) or others_went
    counted = (same.counted if same is not None else 0) + counts
    if verdict := _out_of_patience(retry, counted=counted, waited=now - since, rules=rules):
        return verdict
    base = SLOW_BASE_SECONDS if retry.wait in _IN_MINUTES else rules.base_seconds
    after = base + full_jitter(base=base, cap=LONGEST_WAIT_SECONDS, attempt=attempts, rand=rand)
    if retry.wait is Wait.UNANSWERED and (left := since + rules.word_after_seconds - now) > 0:
        after = min(after, left)  # the question whose answer may be its word
    return Deferral(
        path=instance.path,
        stamp=instance.stamp,
        wait=retry.wait,
        due_at=now + min(after, LONGEST_WAIT_SECONDS),
        first_seen=instance.first_seen,
        since=since,
        attempts=attempts,
        counted=counted,
        last_receipt=last_receipt,
        asked=retry.asked,
        deleted=instance.deleted,
    )


def _out_of_patience(retry: Retry, *, counted: int, waited: float, rules: RetryRules) -> Quarantine | None:
    match retry.wait:
        case Wait.SERVER_TROUBLE | Wait.REQUEST_TROUBLE:
            if counted < rules.instance_attempts or waited < rules.patience_seconds:
                return None
            rejected = retry.wait is Wait.SERVER_TROUBLE
            return Quarantine(
                reason=Reason.REJECTED if rejected else Reason.POISON,
                text=f"the service failed on this file {counted} times while it stored others",
                what_to_do="look at the service's log for this time, then send it again",
                http_status=retry.http_status,
                failure_reason=retry.failure_reason,
                comment=retry.comment,
                by_service=True,
            )
        case Wait.REFUSED_ALONE:
            if counted < REFUSED_ALONE_LIMIT:
                return None
            return Quarantine(
                reason=Reason.POISON,
                text=f"the service refused this file alone {counted} times and said nothing about it",
                what_to_do=Reason.POISON.advice,
                http_status=retry.http_status,
                comment=retry.comment,
                by_service=True,
            )
        case Wait.UNNAMED:
            if counted < UNNAMED_LIMIT:
                return None
            return Quarantine(
                reason=Reason.POISON,
                text=f"the service answered 2xx to this file alone {counted} times, named nothing, and does not hold it",
                what_to_do=Reason.POISON.advice,
                comment=retry.comment,
                by_service=True,
            )
        case Wait.CREATING:
            if waited < rules.creating_hours * 3600:
                return None
            return Quarantine(
                reason=Reason.CREATING,
                text="the service has been creating this instance since an earlier attempt and does not end",
                what_to_do=Reason.CREATING.advice,
                http_status=retry.http_status,
                failure_reason=retry.failure_reason,
                comment=retry.comment,
                by_service=True,
            )
        case Wait.APART | Wait.DIED | Wait.UNVERIFIED | Wait.UNANSWERED:
            return None  # nothing was heard about the file (I3)
        case Wait.CHANGED | Wait.INCOMPLETE | Wait.UNMOVABLE | Wait.RESTING:
            return None
        case _:
            assert_never(retry.wait)
