"""What does not go out, and what is said of it: everything, while the service is away; some files, while the others go on.

Holds open the breaker, and the control closes it again. The control is an empty Store transaction; how a service that is well
answers it is learnt when the service stored something, and each later answer is held against that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ingestd.core.answers.answer import Answer
from ingestd.core.answers.fault import control_passed, hold_for, hold_for_control, trouble_with
from ingestd.core.answers.outcome import (
    AlreadyStored,
    Disposition,
    Hold,
    HoldCause,
    Retry,
    SendAgain,
    Stored,
    StoredWithWarning,
)
from ingestd.core.answers.proof import Proof
from ingestd.core.events import Event
from ingestd.core.model import Wait
from ingestd.core.pace.backoff import RetryRules
from ingestd.core.pace.breaker import Breaker, BreakerState
from ingestd.core.ports import Origin, Rand, Recorder
from ingestd.core.when import lasting
from ingestd.daemon.rate_limit import RateLimit
from ingestd.daemon.sending.jobs import Jobs, Learnt, Probed
from ingestd.threads.handover import NoThreadError

SAID_SECONDS = 60.0  # the next line `held`, while the same outage lasts
NO_MEANS = "a request can't be made (no memory or no thread): raise the service's limits, it is tried again"
APART_HINT = "other requests pass: look for a limit on large uploads, or on uploads with a token, in what stands before the service"
UNANSWERED_HINT = (
    "these files wait and are not sent again: let our identity read as well (Azure: DICOM Data Owner, or Reader beside it), "
    "and see that service.url is the whole DICOMweb root; or set duplicates.policy = accept"
)
ON_ITS_WORD = (
    "the service lets us read nothing, so its word alone files: let our identity read as well (Azure: DICOM Data Owner, or "
    "Reader beside it); what was filed so is then asked for"
)


class Holding:
    """The owner thread's. `words`: the line that says why sending pauses, and how to mend it."""

    def __init__(
        self,
        *,
        origin: Origin,
        jobs: Jobs,
        recorder: Recorder,
        retry: RetryRules,
        words: Callable[[Hold], str],
        rand: Rand,
    ) -> None:
        self._origin = origin
        self._jobs = jobs
        self._recorder = recorder
        self._retry = retry
        self._words = words
        self._rand = rand
        self._problem = ""
        self._since = 0.0  # on Clock.now(), while the breaker is not closed
        self._said: str | None = None
        self._say_at = 0.0
        self._learning = False
        self.normal: int | None = None  # the control's status while the service is well
        self.breaker = Breaker()

    def outage(self, now: float) -> str | None:
        """Why nothing goes out, how to mend it, for how long so far, and the next try; None while the breaker is closed."""
        if self.breaker.closed:
            return None
        wait = self.breaker.open_until - now
        then = f"next try in {lasting(wait)}" if self.due_at() is not None and wait >= 1 else "it is being tried now"
        return f"{self._problem} (for {lasting(now - self._since)}, {then})"

    def tell(self, now: float, *, files: Callable[[], int]) -> None:
        """Say what holds sending when that changes, once a minute while it lasts, and when it is over. `files`: how many wait."""
        cause = self.breaker.cause
        if self.breaker.closed or cause is None:
            self._tell_the_end(now, files)
            return
        if self._problem == self._said and now < self._say_at:
            return
        self._said, self._say_at = self._problem, now + SAID_SECONDS
        self._recorder.log(
            Event.HELD,
            cause=cause.value,
            problem=self._problem,
            files=files(),
            held_seconds=round(now - self._since, 1),
            wait_seconds=round(max(0.0, self.breaker.open_until - now), 1),
            attempts=self.breaker.failures,
        )

    def _tell_the_end(self, now: float, files: Callable[[], int]) -> None:
        if self._said is not None:
            self._said = None
            self._recorder.log(Event.RESUMED, files=files(), held_seconds=round(now - self._since, 1))

    def due_at(self) -> float | None:
        """When the control is to be sent; None while it is not waited for."""
        return self.breaker.open_until if self.breaker.state is BreakerState.OPEN else None

    def probe(self, now: float) -> int:
        """Send the control when the breaker's time has come."""
        if not self.breaker.wants_probe(now):
            return 0
        self.breaker = self.breaker.probing()
        self._jobs.give((), lambda: Probed(answer=self._origin.control()))
        return 1

    def probed(self, answer: Answer, now: float) -> None:
        """What the control was answered."""
        passed = self._passes(answer)
        self._recorder.log(Event.PROBED, status=answer.outcome, passed=passed)
        if passed:
            self.breaker = self.breaker.passed()
            return
        self._hold(hold_for_control(answer), now, probe=True)

    def stored(self) -> None:
        """The service stored something: the next outage begins with a short wait, and it answers the control as when it is well."""
        self.breaker = self.breaker.stored()
        if self.normal is None and not self._learning:
            self._learning = True
            self._jobs.give((), lambda: Learnt(answer=self._origin.control()))

    def learnt(self, answer: Answer) -> None:
        """What the control was answered while the service is well."""
        self._learning = False
        if _perhaps_normal(answer):
            self.normal = answer.status

    def died(self, now: float, *, carried: bool, transient: bool) -> None:
        """A job brought nothing back; `carried`: it had instances, `transient`: for want of memory or a thread (F46)."""
        probing = self.breaker.state is BreakerState.PROBING and not carried
        if not carried:
            self._learning = False
        if probing or (carried and transient):
            self._hold(Hold(cause=HoldCause.UNREACHABLE, problem=NO_MEANS), now, probe=probing)

    def strange(self, control: Answer | None) -> Hold | None:
        """A 2xx named nothing and could not be asked about: whether it is a store service at all, the control tells."""
        if control is None or self._passes(control):
            return None
        return hold_for_control(control)

    def hold_for(self, dispositions: Sequence[Disposition], now: float) -> None:
        """Nothing more goes out, if one of these is a Hold."""
        if hold := next((d for d in dispositions if isinstance(d, Hold)), None):
            self._hold(hold, now, probe=False)

    def _passes(self, answer: Answer) -> bool:
        """Whether the service is well. Before anything was stored nobody knows how it answers the control then."""
        return control_passed(answer, self.normal) or (self.normal is None and _perhaps_normal(answer))

    def _hold(self, hold: Hold, now: float, *, probe: bool) -> None:
        self._since = now if self.breaker.closed else self._since
        hold_on = self.breaker.failed if probe else self.breaker.held
        self.breaker = hold_on(hold, now=now, rand=self._rand(), rules=self._retry)
        self._problem = self._words(hold)


class Apart:
    """Says of files that wait by themselves what becomes of them, in a few lines a minute (I8). The owner thread's."""

    def __init__(self, *, recorder: Recorder, words: Callable[[Hold], str]) -> None:
        self._words = words
        self._died = RateLimit(Event.JOB_DIED, recorder=recorder)
        self._answered = RateLimit(Event.SET_APART, recorder=recorder, lines=1)
        self._unanswered = RateLimit(Event.UNANSWERED, recorder=recorder, lines=1)
        self._on_word = RateLimit(Event.ON_ITS_WORD, recorder=recorder, lines=1)
        self._troubled = RateLimit(Event.TROUBLE, recorder=recorder, lines=1)
        self._trouble: str | None = None  # what the newest request met, when it came to nothing
        self._trouble_since = 0.0

    def trouble(self, now: float) -> str | None:
        """Why the newest request came to nothing without a reason to hold, and for how long all have so; else None."""
        return None if self._trouble is None else f"{self._trouble} (for {lasting(now - self._trouble_since)})"

    def answered(self, dispositions: Sequence[Disposition], answer: Answer, now: float) -> None:
        """A request was answered. Says it if its files wait because the control passed.

        What is no reason to hold is said all the same: files that are sent again and again must not look like work.
        """
        if files := sum(isinstance(d, Retry) and d.wait is Wait.APART for d in dispositions):
            self._answered.log(now, files=files, status=answer.outcome, hint=APART_HINT)
        trouble = trouble_with(answer)
        self._trouble_since = now if self._trouble is None else self._trouble_since
        self._trouble = self._words(trouble) if trouble is not None else None
        if trouble is not None:
            self._troubled.log(now, files=len(dispositions), status=answer.outcome, problem=self._trouble)

    def asked(self, dispositions: Sequence[Disposition], now: float) -> None:
        """It was asked what it holds. Says it if files wait because that was not answered."""
        if files := sum(isinstance(d, Retry) and d.wait is Wait.UNANSWERED for d in dispositions):
            self._unanswered.log(now, files=files, hint=UNANSWERED_HINT)

    def on_word(self, dispositions: Sequence[Disposition], now: float) -> bool:
        """Whether files are filed on the service's word alone; says it."""
        files = sum(_proof(d) is Proof.WORD for d in dispositions)
        if files:
            self._on_word.log(now, files=files, hint=ON_ITS_WORD)
        return files > 0

    def died(self, error: BaseException, now: float, *, files: int) -> Retry | SendAgain:
        """A job of `files` instances ended in `error`; what becomes of them (F10, F46).

        Without memory or a thread nobody gets on, so they go again with all the rest. After a bug, which may come of these very
        files, they wait.
        """
        self._died.log(now, files=files, problem=type(error).__name__)
        return SendAgain() if isinstance(error, MemoryError | NoThreadError) else Retry(wait=Wait.DIED)


def _perhaps_normal(answer: Answer) -> bool:
    """Whether a service that is well may answer an empty Store transaction so."""
    strange = answer.response is None and bool(answer.comment) and answer.status in range(200, 300)
    return answer.status in range(200, 500) and hold_for(answer) is None and not strange


def _proof(disposition: Disposition) -> Proof | None:
    return disposition.proof if isinstance(disposition, Stored | StoredWithWarning | AlreadyStored) else None
