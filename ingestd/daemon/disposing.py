"""From a disposition to what happens: the one place where the heart's words become steps, receipts, waits and verdicts."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import assert_never

from ingestd.core import backoff
from ingestd.core.batch import Shelves
from ingestd.core.errors import JournalError
from ingestd.core.failure_reasons import ALREADY_STORED
from ingestd.core.lifecycle import State, Step
from ingestd.core.model import Deferral, Instance, Wait
from ingestd.core.outcome import (
    AlreadyStored,
    Disposition,
    Hold,
    Isolate,
    Outcome,
    Quarantine,
    Reason,
    Resettle,
    Retry,
    SendAgain,
    Stored,
    StoredWithWarning,
    Verify,
)
from ingestd.core.ports import Clock, Journal, LogValue, Orders, Rand
from ingestd.core.record import Receipt
from ingestd.core.window import Entry, Window
from ingestd.daemon.braking import Braking
from ingestd.daemon.endings import Endings
from ingestd.daemon.jobs import Question

WORDS: dict[type[Disposition], str] = {
    Stored: "stored",
    StoredWithWarning: "stored_with_warning",
    AlreadyStored: "already_stored",
    Verify: "to_verify",
    Retry: "retried",
    Hold: "held",
    Isolate: "isolated",
    SendAgain: "again",
    Resettle: "changed",
    Quarantine: "quarantined",
}


def counted(dispositions: Iterable[Disposition]) -> dict[str, LogValue]:
    """How many of each kind, in the words of the log."""
    return {**Counter(WORDS[type(d)] for d in dispositions)}


@dataclass(frozen=True, slots=True, kw_only=True)
class DisposeRules:
    """The `retry` keys, and whether a conflict is replaced for everyone (`duplicates.conflict`)."""

    retry: backoff.RetryRules
    replace_conflicts: bool


class Disposing:
    """Applies dispositions. Isolation is the batch's affair and does not come here."""

    def __init__(
        self,
        *,
        clock: Clock,
        journal: Journal,
        window: Window,
        shelves: Shelves,
        endings: Endings,
        braking: Braking,
        orders: Orders,
        rules: DisposeRules,
        rand: Rand,
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._window = window
        self._shelves = shelves
        self._endings = endings
        self._braking = braking
        self._orders = orders
        self._rules = rules
        self._rand = rand
        self.questions: deque[Question] = deque()
        self.replacements: deque[Instance] = deque()

    def apply(
        self, instance: Instance, disposition: Disposition, *, status: int | None, alone: bool, now: float
    ) -> None:
        """Carry `disposition` out; `alone`: the instance was the only one in its request."""
        entry = self._window[instance.path]
        if not isinstance(disposition, Verify):
            self._shelves.release(instance)
        match disposition:
            case Stored(retrieve_url=url):
                self._stored(entry, instance, Outcome.STORED, status=status, url=url)
            case StoredWithWarning(warning_reason=reason, retrieve_url=url):
                self._stored(entry, instance, Outcome.STORED_WITH_WARNING, status=status, reason=reason, url=url)
            case AlreadyStored(same_bytes=same):
                said = None if same else ALREADY_STORED
                self._stored(entry, instance, Outcome.ALREADY_STORED, status=status, reason=said)
            case Verify():
                self._ask(entry, instance, disposition, now)
            case Retry():
                self._retry(entry, instance, disposition, alone=alone, now=now)
            case Hold(counts=counts):
                self._return(entry, replace(instance, holds=instance.holds + counts), now)
            case SendAgain():
                self._return(entry, instance, now)
            case Resettle():
                # One that really changed shows another stamp when it is looked at, and begins anew; one that can't be read waits.
                self._retry(entry, instance, Retry(wait=Wait.CHANGED), alone=alone, now=now)
            case Quarantine():
                self._refused(entry, instance, disposition, now)
            case Isolate():
                raise ValueError("isolation is the batch's affair")
            case _:
                assert_never(disposition)

    def _ask(self, entry: Entry, instance: Instance, how: Verify, now: float) -> None:
        try:
            receipt = self._journal.receipt(instance.ids)
        except JournalError:  # Endings.commit says so, and nothing is sent until it is mended
            self._shelves.release(instance)
            self._return(entry, instance, now)
        else:
            self._window.step(entry, Step.ASKED)
            self.questions.append(Question(instance=instance, receipt=receipt, how=how))

    def _refused(self, entry: Entry, instance: Instance, verdict: Quarantine, now: float) -> None:
        """A verdict: into failed/, unless the brake is on (it is more likely us) or a conflict is to be replaced."""
        if verdict.by_service and self._braking.on:
            self._return(entry, instance, now)
        elif verdict.reason is Reason.CONFLICT and entry.state is State.VERIFYING and self._replaces(instance):
            self._shelves.occupy(instance)
            self.replacements.append(instance)
        else:
            self._quarantine(entry, instance, verdict)

    def _return(self, entry: Entry, instance: Instance, now: float) -> None:
        self._window.step(entry, Step.RETURNED)
        self._shelves.put(replace(instance, replacing=False), now=now)  # what it was to replace is still there

    def _replaces(self, instance: Instance) -> bool:
        """Whether these bytes are to take the place of what the service holds; once, for a second try would not end."""
        ordered = self._rules.replace_conflicts or self._orders.replaces(instance.path, instance.stamp)
        return ordered and not instance.replacing

    def _stored(
        self,
        entry: Entry,
        instance: Instance,
        outcome: Outcome,
        *,
        status: int | None,
        reason: int | None = None,
        url: str | None = None,
    ) -> None:
        at = self._clock.wall()
        receipt = _receipt_for(instance, outcome, at=at, status=status, reason=reason, url=url)
        proved = instance if receipt.proves else replace(instance, sha256=None)
        self._endings.stored(entry, proved, outcome, receipt)
        self._braking.stored()
        self._orders.replaced(instance.path, instance.stamp)

    def _retry(self, entry: Entry, instance: Instance, retry: Retry, *, alone: bool, now: float) -> None:
        last_receipt, rand = self._journal.last_receipt, self._rand()
        verdict = backoff.defer(
            instance, retry, alone=alone, now=now, last_receipt=last_receipt, rand=rand, rules=self._rules.retry
        )
        if isinstance(verdict, Deferral):
            self._endings.defer(entry, verdict)
        else:
            self._refused(entry, instance, verdict, now)

    def _quarantine(self, entry: Entry, instance: Instance, verdict: Quarantine) -> None:
        attempts = (instance.history.attempts if instance.history is not None else 0) + 1
        self._endings.quarantine(entry, verdict, stamp=instance.stamp, instance=instance, attempts=attempts)
        self._orders.replaced(instance.path, instance.stamp)
        if verdict.by_service:
            self._braking.refused(instance.ids.study_uid)


def _receipt_for(
    instance: Instance, outcome: Outcome, *, at: float, status: int | None, reason: int | None, url: str | None
) -> Receipt:
    """The receipt that proves `instance` stored."""
    return Receipt(
        stored_at=at,
        study_uid=instance.ids.study_uid,
        series_uid=instance.ids.series_uid,
        sop_instance_uid=instance.ids.sop_instance_uid,
        size=instance.size,
        sha256=instance.sha256 or "",
        path=instance.path,
        outcome=outcome,
        http_status=status,
        reason=reason,
        retrieve_url=url,
    )
