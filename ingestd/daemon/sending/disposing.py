"""From a disposition to what happens: the one place where the heart's words become steps, receipts, waits and verdicts."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import assert_never

from ingestd.core.answers.outcome import (
    AlreadyStored,
    Disposition,
    Hold,
    Isolate,
    Outcome,
    Quarantine,
    Resettle,
    Retry,
    SendAgain,
    Stored,
    StoredWithWarning,
    Verify,
)
from ingestd.core.answers.proof import DigestKind, Proof
from ingestd.core.answers.reasons import Reason
from ingestd.core.batch import Shelves
from ingestd.core.errors import JournalError
from ingestd.core.events import Event
from ingestd.core.lifecycle import State, Step
from ingestd.core.model import Asked, Deferral, Instance, Wait
from ingestd.core.pace import backoff
from ingestd.core.ports import Clock, Journal, LogValue, Orders, Rand, Recorder
from ingestd.core.record import Receipt
from ingestd.core.window import Entry, Window
from ingestd.daemon.ending.endings import Endings
from ingestd.daemon.sending.braking import Braking
from ingestd.daemon.sending.jobs import Question

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
    """The `retry` keys, whether a conflict is replaced for everyone (`duplicates.conflict`), and of which service receipts are.

    `removes`: stored files go for good, those with a digest; else the digest is for a filer that compares it before the move.
    """

    retry: backoff.RetryRules
    removes: bool
    replace_conflicts: bool
    service: str


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
        recorder: Recorder,
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
        self._recorder = recorder
        self._rules = rules
        self._rand = rand
        self.questions: deque[Question] = deque()
        self.replacements: deque[Instance] = deque()

    def apply(
        self,
        instance: Instance,
        disposition: Disposition,
        *,
        status: int | None,
        alone: bool,
        now: float,
        absent_before: bool = False,
    ) -> None:
        """Carry `disposition` out. `status`: of the Store answer that led to it, None where it was a question's.

        `alone`: the instance was the only one in its request. `absent_before` as in Facts.
        """
        entry = self._window[instance.path]
        if not isinstance(disposition, Verify):
            self._shelves.release(instance)
        match disposition:
            case Stored(proof=proof, retrieve_url=url):
                self._stored(entry, instance, Outcome.STORED, proof, status=status, url=url)
            case StoredWithWarning(proof=proof, warning_reason=reason, retrieve_url=url):
                self._stored(entry, instance, Outcome.STORED_WITH_WARNING, proof, status=status, reason=reason, url=url)
            case AlreadyStored(proof=proof):
                self._stored(entry, instance, Outcome.ALREADY_STORED, proof, status=status)
            case Verify():
                self._ask(entry, instance, disposition, now, alone=alone, absent_before=absent_before)
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

    def ask_again(self, entry: Entry, instance: Instance, asked: Asked, now: float) -> None:
        """It waited for the answer to a question, and has settled again: ask once more, and send nothing."""
        self._shelves.occupy(instance)
        self._ask(entry, instance, Verify(asked=asked), now, alone=False, absent_before=False)

    def _ask(
        self, entry: Entry, instance: Instance, how: Verify, now: float, *, alone: bool, absent_before: bool
    ) -> None:
        history = (
            instance.history if instance.history is not None and instance.history.wait is Wait.UNANSWERED else None
        )
        try:
            receipt = self._journal.receipt(instance.ids)
        except JournalError:  # Endings.commit says so; without a receipt the service's bytes decide
            receipt = None
        self._window.step(entry, Step.ASKED)
        self.questions.append(
            Question(
                instance=instance,
                receipt=receipt,
                how=how,
                alone=alone,
                absent_before=absent_before,
                waited=now - history.since if history is not None else 0.0,
            )
        )

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
        if instance.deleted and not _known_deleted(instance):
            self._say_deleted(instance)
            self._endings.defer(entry, _at_once(instance, now, self._journal.last_receipt))
            return
        self._window.step(entry, Step.RETURNED)
        self._shelves.put(replace(instance, replacing=False), now=now)  # what it was to replace is still there

    def _say_deleted(self, instance: Instance) -> None:
        if instance.deleted and not _known_deleted(instance):
            self._recorder.log(Event.DELETED, path=instance.path)

    def _replaces(self, instance: Instance) -> bool:
        """Whether these bytes are to take the place of what the service holds; once, for a second try would not end."""
        ordered = self._rules.replace_conflicts or self._orders.replaces(instance.path, instance.stamp)
        return ordered and not instance.replacing

    def _stored(
        self,
        entry: Entry,
        instance: Instance,
        outcome: Outcome,
        proof: Proof,
        *,
        status: int | None,
        reason: int | None = None,
        url: str | None = None,
    ) -> None:
        receipt = Receipt(
            stored_at=self._clock.wall(),
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
            service=self._rules.service,
            proof=proof,
            digest_kind=DigestKind.DATA_SET,
            transfer_syntax_uid=instance.ids.transfer_syntax_uid,
            data_set_bytes=instance.size - instance.data_set_at,
            mtime_ns=instance.stamp.mtime_ns,
        )
        proved = instance if proof.for_removal or not self._rules.removes else replace(instance, sha256=None)
        self._endings.stored(entry, proved, outcome, receipt)
        self._braking.stored()
        self._orders.replaced(instance.path, instance.stamp)

    def _retry(self, entry: Entry, instance: Instance, retry: Retry, *, alone: bool, now: float) -> None:
        self._say_deleted(instance)
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
        verdict = verdict.after_delete() if instance.deleted else verdict
        self._endings.quarantine(entry, verdict, stamp=instance.stamp, instance=instance, attempts=attempts)
        self._orders.replaced(instance.path, instance.stamp)
        if verdict.by_service:
            self._braking.refused(instance.ids.study_uid, verdict)


def _known_deleted(instance: Instance) -> bool:
    return instance.history is not None and instance.history.deleted


def _at_once(instance: Instance, now: float, last_receipt: int) -> Deferral:
    """No wait, but the journal knows of it: a crash must not forget what was deleted for this file."""
    if instance.history is not None:
        return replace(instance.history, due_at=now, deleted=True)
    return Deferral(
        path=instance.path,
        stamp=instance.stamp,
        wait=Wait.REQUEST_TROUBLE,
        due_at=now,
        first_seen=instance.first_seen,
        since=now,
        attempts=0,
        last_receipt=last_receipt,
        deleted=True,
    )
