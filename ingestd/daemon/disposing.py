"""From a disposition to what happens: the one place where the heart's words become steps, receipts, waits and verdicts."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import assert_never

from ingestd.core import backoff
from ingestd.core.batch import Shelves
from ingestd.core.lifecycle import Step
from ingestd.core.model import Deferral, Instance
from ingestd.core.outcome import (
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
from ingestd.core.ports import Clock, Journal, LogValue
from ingestd.core.window import Entry, Window
from ingestd.daemon.endings import Endings, receipt_for
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
        rules: backoff.RetryRules,
        rand: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._window = window
        self._shelves = shelves
        self._endings = endings
        self._rules = rules
        self._rand = rand
        self.questions: deque[Question] = deque()

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
            case AlreadyStored():
                self._stored(entry, instance, Outcome.ALREADY_STORED, status=status)
            case Verify():
                self._window.step(entry, Step.ASKED)
                self.questions.append(Question(instance=instance, receipt=self._journal.receipt(instance.ids)))
            case Retry():
                self._retry(entry, instance, disposition, alone=alone, now=now)
            case Hold() | SendAgain():
                self._window.step(entry, Step.RETURNED)
                self._shelves.put(instance, now=now)
            case Resettle():
                self._window.step(entry, Step.CHANGED)
            case Quarantine():
                self._quarantine(entry, instance, disposition)
            case Isolate():
                raise ValueError("isolation is the batch's affair")
            case _:
                assert_never(disposition)

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
        receipt = receipt_for(instance, outcome, at=at, status=status, reason=reason, url=url)
        self._endings.stored(entry, instance, outcome, receipt)

    def _retry(self, entry: Entry, instance: Instance, retry: Retry, *, alone: bool, now: float) -> None:
        last_receipt, rand = self._journal.last_receipt, self._rand()
        verdict = backoff.defer(
            instance, retry, alone=alone, now=now, last_receipt=last_receipt, rand=rand, rules=self._rules
        )
        if isinstance(verdict, Deferral):
            self._endings.defer(entry, verdict)
        else:
            self._quarantine(entry, instance, verdict)

    def _quarantine(self, entry: Entry, instance: Instance, verdict: Quarantine) -> None:
        attempts = (instance.history.attempts if instance.history is not None else 0) + 1
        self._endings.quarantine(entry, verdict, stamp=instance.stamp, instance=instance, attempts=attempts)
