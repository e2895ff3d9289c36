"""The way out: batches, Store transactions and their answers, and the breaker.

A job runs on the pool and hands one value back (jobs.py); everything it needs of the journal is read before, on the owner thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from ingestd.core.answer import Answer
from ingestd.core.backoff import RetryRules
from ingestd.core.batch import Shelves, halves
from ingestd.core.breaker import Breaker, BreakerState
from ingestd.core.concurrency import Concurrency
from ingestd.core.disposition import dispose, hold_for
from ingestd.core.errors import JournalError
from ingestd.core.events import Event
from ingestd.core.lifecycle import State, Step
from ingestd.core.model import Batch, Instance, Wait
from ingestd.core.outcome import (
    Disposition,
    DuplicatePolicy,
    Hold,
    HoldCause,
    Isolate,
    Retry,
    SendAgain,
    Stored,
    StoredWithWarning,
)
from ingestd.core.ports import Inbox, Journal, Origin, Rand, Recorder
from ingestd.core.window import Window
from ingestd.daemon import jobs as work
from ingestd.daemon.apart import Apart
from ingestd.daemon.braking import Braking
from ingestd.daemon.control import Control
from ingestd.daemon.disposing import Disposing, counted
from ingestd.daemon.jobs import Job, Jobs, Learnt, Probed, Question, Sent, Verified

BATCHES_AHEAD = 4  # ready before a slot is free
VERIFY_ROUND = 25  # instances a verification job asks for

_UNREAD = Retry(wait=Wait.UNVERIFIED, http_status=403)
_READ_HINT = "duplicates can't be verified: give the identity the right to read, or set duplicates.policy = accept"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRules:
    """The slots, the `retry` keys, `duplicates.policy`, and for each hold the line that says how to mend it.

    `prove`: stored files are removed, sooner or later (`done.action`, `done.retention_days`).
    """

    concurrency: int
    retry: RetryRules
    policy: DuplicatePolicy
    hints: Mapping[HoldCause, str]
    prove: bool = False


class Sending:
    """Shelves to batches to answers."""

    def __init__(
        self,
        *,
        origin: Origin,
        inbox: Inbox,
        journal: Journal,
        window: Window,
        shelves: Shelves,
        disposing: Disposing,
        braking: Braking,
        recorder: Recorder,
        jobs: Jobs,
        rules: SendRules,
        rand: Rand,
    ) -> None:
        self._origin = origin
        self._inbox = inbox
        self._journal = journal
        self._window = window
        self._shelves = shelves
        self._disposing = disposing
        self._braking = braking
        self._recorder = recorder
        self._jobs = jobs
        self._rules = rules
        self._rand = rand
        self._prepared: deque[Batch] = deque()
        self._control = Control(origin=origin, jobs=jobs)
        self._apart = Apart(recorder=recorder)
        self._say_refused_at = 0.0
        self._asked = False  # questions and batches take turns
        self.breaker = Breaker()
        self.concurrency = Concurrency(limit=rules.concurrency, most=rules.concurrency)

    @property
    def in_flight(self) -> int:
        """Jobs under way."""
        return len(self._jobs)

    @property
    def carrying(self) -> int:
        """Jobs under way that carry instances; a probe can be left alone."""
        return self._jobs.carrying

    def due_at(self) -> float | None:
        """When there is something to do that nothing will wake the loop for: a probe, or a batch that has lingered."""
        if not self.breaker.closed:
            return self.breaker.open_until if self.breaker.state is BreakerState.OPEN else None
        if self._braking.on or self.in_flight >= self.concurrency.limit:
            return None
        return self._shelves.ripe_at()

    def reap(self, now: float) -> int:
        """Take in what jobs have brought back; how many."""
        taken = 0
        while (job := self._jobs.take_job()) is not None:
            taken += 1
            if (error := job.future.exception()) is not None:
                self._died(job, error, now)
                continue
            match job.future.result():
                case Sent() as sent:
                    self._answered(sent, now)
                case Verified(dispositions=dispositions):
                    self._verified(dispositions, now)
                case Probed(answer=answer):
                    self._probed(answer, now)
                case Learnt(answer=answer):
                    self._control.learnt(answer)
                case unknown:
                    assert_never(unknown)
        return taken

    def _died(self, job: Job, error: BaseException, now: float) -> None:
        """A bug makes its files wait; without memory or a thread sending pauses, as if the service were away (F10, F46)."""
        fate = self._apart.died(error, now, files=len(job.instances))
        probing = self.breaker.state is BreakerState.PROBING and not job.instances
        if not job.instances:
            self._control.died()
        if probing or (job.instances and isinstance(fate, SendAgain)):
            self._hold(Hold(cause=HoldCause.UNREACHABLE), now, probe=probing)
        for instance in job.instances:
            self._disposing.apply(instance, fate, status=None, alone=False, now=now)

    def _answered(self, sent: Sent, now: float) -> None:
        batch, answer = sent.batch, sent.answer
        try:
            known = {i.ids.key: r for i in batch.instances if (r := self._journal.receipt(i.ids)) is not None}
        except JournalError:
            # Nobody knows what the answer means: sent again once the journal is mended (Endings.commit).
            for instance in batch.instances:
                self._disposing.apply(instance, SendAgain(), status=None, alone=False, now=now)
            return
        dispositions = dispose(
            batch,
            answer,
            control=sent.control,
            normal=self._control.normal,
            receipts=known,
            policy=self._rules.policy,
        )
        isolated: list[Instance] = []
        for n, (instance, disposition) in enumerate(zip(batch.instances, dispositions, strict=True)):
            if isinstance(disposition, Isolate):
                isolated.append(instance)
                self._window.step(self._window[instance.path], Step.ISOLATED)
                continue
            digest = (answer.digests[n] if answer.digests else None) or instance.sha256
            alone = len(batch.instances) == 1
            ended = replace(instance, sha256=digest)
            self._disposing.apply(ended, disposition, status=answer.status, alone=alone, now=now)
        self._prepared.extendleft(reversed(halves(tuple(isolated), whole=len(batch.instances))))
        if any(isinstance(d, Stored | StoredWithWarning) for d in dispositions):
            self.breaker = self.breaker.stored()
            self._control.learn()
        self.concurrency = self.concurrency.after(answer, calm=self.breaker.closed)
        self._hold_for(dispositions, now)
        self._apart.answered(dispositions, answer.outcome, now)
        self._recorder.request(answer.outcome, answer.seconds, answer.sent_bytes)
        self._recorder.log(
            Event.BATCH,
            status=answer.outcome,
            files=len(dispositions),
            bytes=batch.size,
            seconds=round(answer.seconds, 4),
            control=sent.control.outcome if sent.control is not None else None,
            **counted(dispositions),
        )

    def _verified(self, dispositions: Sequence[tuple[Question, Disposition]], now: float) -> None:
        hold = next((d for _, d in dispositions if isinstance(d, Hold)), None)
        asked_before = hold is not None and any(q.holds for q, d in dispositions if isinstance(d, Hold))
        if hold is not None and asked_before and hold.cause is not HoldCause.UNREACHABLE:
            # The control passed and the read is held again: reading is refused, and must not stop what is to be sent.
            dispositions = [(q, _UNREAD if isinstance(d, Hold | SendAgain) else d) for q, d in dispositions]
        for question, disposition in dispositions:
            if isinstance(disposition, Hold | SendAgain):  # asked again, not sent again
                self._disposing.questions.append(
                    replace(question, holds=question.holds + isinstance(disposition, Hold))
                )
            else:
                self._disposing.apply(question.instance, disposition, status=200, alone=False, now=now)
        said = [d for _, d in dispositions]
        self._hold_for(said, now)
        self._recorder.log(Event.VERIFIED, files=len(said), **counted(said))
        refused = [d.http_status for d in said if isinstance(d, Retry) and d.http_status in (403, 406)]
        if refused and now >= self._say_refused_at:
            self._say_refused_at = now + 60.0
            self._recorder.log(Event.READ_REFUSED, status=str(refused[0]), files=len(refused), hint=_READ_HINT)

    # The control

    def probe(self, now: float) -> int:
        """Send the control when the breaker's time has come."""
        if not self.breaker.wants_probe(now):
            return 0
        self.breaker = self.breaker.probing()
        self._control.probe()
        return 1

    def _probed(self, answer: Answer, now: float) -> None:
        passed = self._control.passes(answer)
        self._recorder.log(Event.PROBED, status=answer.outcome, passed=passed)
        if passed:
            self.breaker = self.breaker.passed()
            self._recorder.log(Event.RESUMED)
            return
        lost = HoldCause.UNREACHABLE if answer.loss is not None else HoldCause.CONTROL
        self._hold(hold_for(answer) or Hold(cause=lost), now, probe=True)

    def _hold_for(self, dispositions: Sequence[Disposition], now: float) -> None:
        if hold := next((d for d in dispositions if isinstance(d, Hold)), None):
            self._hold(hold, now)

    def _hold(self, hold: Hold, now: float, *, probe: bool = False) -> None:
        before = self.breaker
        self.breaker = (before.failed if probe else before.held)(
            hold, now=now, rand=self._rand(), rules=self._rules.retry
        )
        if before.cause is not hold.cause:
            hint = self._rules.hints.get(hold.cause)
            self._recorder.log(Event.HELD, cause=hold.cause.value, problem=hold.problem, hint=hint)

    # Batches and slots

    def dispatch(self) -> int:
        """Give free slots their work; how many got some."""
        given = 0
        while self.breaker.closed and not self._braking.on and self.in_flight < self.concurrency.limit:
            if self._disposing.questions and not (self._asked and self._prepared):
                self._asked = True
                self._ask()
            elif self._disposing.replacements:
                self._replace(self._disposing.replacements.popleft())
            elif self._prepared:
                self._asked = False
                self._send(self._prepared.popleft())
            else:
                break
            given += 1
        return given

    def _send(self, batch: Batch) -> None:
        for instance in batch.instances:
            self._window.step(self._window[instance.path], Step.SENT)
        self._jobs.submit(batch.instances, lambda: work.store(self._origin, batch))

    def _replace(self, instance: Instance) -> None:
        self._window.step(self._window[instance.path], Step.SENT)
        self._jobs.submit((instance,), lambda: work.replace_held(self._origin, instance))

    def _ask(self) -> None:
        waiting = self._disposing.questions
        some = tuple(waiting.popleft() for _ in range(min(VERIFY_ROUND, len(waiting))))
        prove = self._rules.prove
        self._jobs.submit(
            tuple(q.instance for q in some), lambda: work.verify(self._origin, self._inbox, some, prove=prove)
        )

    def batch(self, now: float) -> int:
        """Keep batches ready ahead of the slots; how many were made."""
        made = 0
        arriving = self._window.arriving()
        unknown = self._window.count(State.SIGHTED) > 0
        while len(self._prepared) < self._rules.concurrency + BATCHES_AHEAD:
            free = self.concurrency.limit - self.in_flight - len(self._prepared)
            batch = self._shelves.take(now=now, idle=free > 0 and not unknown, arriving=arriving)
            if batch is None:
                break
            for instance in batch.instances:
                self._window.step(self._window[instance.path], Step.BATCHED)
            self._prepared.append(batch)
            made += 1
        return made
