"""The way out: batches, Store transactions and their answers.

A job runs on the pool and hands one value back (jobs.py); everything it needs of the journal is read before, on the owner thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from ingestd.core.answers.disposition import dispose
from ingestd.core.answers.outcome import (
    Disposition,
    DuplicatePolicy,
    Hold,
    Isolate,
    Retry,
    SendAgain,
    Stored,
    StoredWithWarning,
    Verify,
)
from ingestd.core.answers.presence import Presence
from ingestd.core.batch import Shelves, halves
from ingestd.core.events import Event
from ingestd.core.lifecycle import State, Step
from ingestd.core.model import Asked, Batch, Instance
from ingestd.core.pace.backoff import RetryRules
from ingestd.core.pace.concurrency import Concurrency
from ingestd.core.ports import Inbox, Origin, Rand, Recorder
from ingestd.core.window import Window
from ingestd.daemon.sending import jobs as work
from ingestd.daemon.sending.braking import Braking
from ingestd.daemon.sending.disposing import Disposing, counted
from ingestd.daemon.sending.holding import Apart, Holding
from ingestd.daemon.sending.jobs import AskRules, Job, Jobs, Known, Learnt, Probed, Rechecked, Sent, Verified
from ingestd.daemon.sending.rechecking import Rechecking

BATCHES_AHEAD = 4  # ready before a slot is free
VERIFY_ROUND = 25  # instances a verification job asks for
VERIFIERS = 2  # such jobs at once: each may retrieve an instance of any size


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRules:
    """The slots, the `retry` keys, how it is asked what it holds, and the line that says of a hold how to mend it."""

    concurrency: int
    retry: RetryRules
    ask: AskRules
    words: Callable[[Hold], str]


class Sending:
    """Shelves to batches to answers."""

    def __init__(
        self,
        *,
        origin: Origin,
        inbox: Inbox,
        window: Window,
        shelves: Shelves,
        disposing: Disposing,
        braking: Braking,
        rechecking: Rechecking,
        recorder: Recorder,
        jobs: Jobs,
        known: Known,
        rules: SendRules,
        rand: Rand,
    ) -> None:
        """`known` is what this service has shown in earlier lives."""
        self._origin = origin
        self._inbox = inbox
        self._window = window
        self._shelves = shelves
        self._disposing = disposing
        self._braking = braking
        self._rechecking = rechecking
        self._recorder = recorder
        self._jobs = jobs
        self._rules = rules
        self._prepared: deque[Batch] = deque()
        self._presence = Presence(wanted=not rules.ask.profile.names_only_new)
        self.apart = Apart(recorder=recorder, words=rules.words)
        self.known = known
        self._accepts = rules.ask.policy is DuplicatePolicy.ACCEPT  # its word is enough, as the operator wants it
        self._asked = False  # questions and batches take turns
        self.on_word = False  # files were filed on the service's word alone, and nothing has been read of it since
        self.holding = Holding(
            origin=origin, jobs=jobs, recorder=recorder, retry=rules.retry, words=rules.words, rand=rand
        )
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
        if not self.holding.breaker.closed:
            return self.holding.due_at()
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
                case Verified() as verified:
                    self._verified(verified, now)
                case Probed(answer=answer):
                    self.holding.probed(answer, now)
                case Learnt(answer=answer):
                    self.holding.learnt(answer)
                case Rechecked(receipt=receipt, fetched=fetched):
                    self._rechecking.asked(receipt, fetched, now)
                case unknown:
                    assert_never(unknown)
        return taken

    def _died(self, job: Job, error: BaseException, now: float) -> None:
        """A bug makes its files wait; without memory or a thread sending pauses, as if the service were away (F10, F46)."""
        fate = self.apart.died(error, now, files=len(job.instances))
        self.holding.died(now, carried=bool(job.instances), transient=isinstance(fate, SendAgain))
        for instance in job.instances:
            self._disposing.apply(instance, fate, status=None, alone=False, now=now)

    def _answered(self, sent: Sent, now: float) -> None:
        batch, answer = sent.batch, sent.answer
        if sent.listed is not None:
            unknown, listed = sent.listed
            self._presence.learn(unknown, listed, now=now)
            shown = listed.answered and not listed.absent
            self.known = replace(self.known, reads=self.known.reads or shown)
        dispositions = dispose(
            batch, answer, control=sent.control, normal=self.holding.normal, profile=self._rules.ask.profile
        )
        isolated: list[Instance] = []
        for n, (instance, disposition) in enumerate(zip(batch.instances, dispositions, strict=True)):
            if isinstance(disposition, Isolate):
                isolated.append(instance)
                self._window.step(self._window[instance.path], Step.ISOLATED)
                continue
            digest = (answer.digests[n] if answer.digests else None) or instance.sha256
            alone = len(batch.instances) == 1
            ended = instance if digest == instance.sha256 else replace(instance, sha256=digest)
            absent = self._presence.was_absent(instance)
            self._disposing.apply(ended, disposition, status=answer.status, alone=alone, now=now, absent_before=absent)
        self._prepared.extendleft(reversed(halves(tuple(isolated), whole=len(batch.instances))))
        if any(_stored_something(d) for d in dispositions):
            self.holding.stored()
        self.concurrency = self.concurrency.after(answer, calm=self.holding.breaker.closed)
        self.holding.hold_for(dispositions, now)
        self.apart.answered(dispositions, answer, now)
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

    def _verified(self, verified: Verified, now: float) -> None:
        known = verified.known
        self.known = Known(reads=self.known.reads or known.reads, searches=self.known.searches or known.searches)
        hold = self.holding.strange(verified.control)
        said: list[Disposition] = []
        for question, found in verified.dispositions:
            unasked = hold is not None and isinstance(found, Retry) and found.asked is Asked.UNNAMED
            disposition = hold if hold is not None and unasked else found
            said.append(disposition)
            self._disposing.apply(question.instance, disposition, status=None, alone=question.alone, now=now)
        self.holding.hold_for(said, now)
        self._recorder.log(Event.VERIFIED, files=len(said), **counted(said))
        self.apart.asked(said, now)
        if not self._accepts:
            self.on_word = self.apart.on_word(said, now) or (self.on_word and not self.known.reads)

    # Batches and slots

    def dispatch(self, now: float) -> int:
        """Give free slots their work; how many got some."""
        given = 0
        if self.holding.breaker.closed and self.known.reads and not self._accepts:
            self._rechecking.beat(now)
        while self.holding.breaker.closed and not self._braking.on and self.in_flight < self.concurrency.limit:
            if (first := self._shelves.take_first()) is not None:
                self._window.step(self._window[first.instances[0].path], Step.BATCHED)
                self._send(first, now)
            elif self._disposing.questions and self._jobs.asking < VERIFIERS and not (self._asked and self._prepared):
                self._asked = True
                self._ask()
            elif self._disposing.replacements:
                self._replace(self._disposing.replacements.popleft())
            elif self._prepared:
                self._asked = False
                self._send(self._prepared.popleft(), now)
            else:
                break
            given += 1
        return given

    def _send(self, batch: Batch, now: float) -> None:
        for instance in batch.instances:
            self._window.step(self._window[instance.path], Step.SENT)
        unknown = self._presence.unknown(batch, now=now)
        self._presence.sending(batch.instances)
        self._jobs.give(batch.instances, lambda: work.store(self._origin, batch, unknown))

    def _replace(self, instance: Instance) -> None:
        self._window.step(self._window[instance.path], Step.SENT)
        self._presence.sending((instance,))
        self._jobs.give((instance,), lambda: work.replace_held(self._origin, instance))

    def _ask(self) -> None:
        waiting = self._disposing.questions
        some = tuple(waiting.popleft() for _ in range(min(VERIFY_ROUND, len(waiting))))
        known, rules = self.known, self._rules.ask
        self._jobs.give(
            tuple(q.instance for q in some),
            lambda: work.verify(self._origin, self._inbox, some, known, rules),
            asks=True,
        )

    def batch(self, now: float) -> int:
        """Keep batches ready ahead of the slots; how many were made."""
        made = 0
        arriving = self._window.arriving()
        # Each question that ends lets another file in.
        more = self._window.count(State.SIGHTED) > 0 or bool(self._disposing.questions)
        while len(self._prepared) < self._rules.concurrency + BATCHES_AHEAD:
            free = self.concurrency.limit - self.in_flight - len(self._prepared)
            batch = self._shelves.take(now=now, idle=free > 0 and not more, arriving=arriving)
            if batch is None:
                break
            for instance in batch.instances:
                self._window.step(self._window[instance.path], Step.BATCHED)
            self._prepared.append(batch)
            made += 1
        return made


def _stored_something(disposition: Disposition) -> bool:
    """The service named an instance as stored, whatever that proves."""
    named = isinstance(disposition, Verify) and disposition.asked is Asked.NAMED
    return named or isinstance(disposition, Stored | StoredWithWarning)
