"""Whether anything goes out: holds open the breaker, and the control closes it again.

The control is an empty Store transaction. How a service that is well answers it is learnt when it last stored something; each later
answer is held against that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ingestd.core.answers.answer import Answer
from ingestd.core.answers.fault import control_passed, hold_for, hold_for_control
from ingestd.core.answers.outcome import Disposition, Hold, HoldCause
from ingestd.core.events import Event
from ingestd.core.pace.backoff import RetryRules
from ingestd.core.pace.breaker import Breaker, BreakerState
from ingestd.core.ports import Origin, Rand, Recorder
from ingestd.core.when import lasting
from ingestd.daemon.sending.jobs import Jobs, Learnt, Probed

SAID_SECONDS = 60.0  # the next line `held`, while the same outage lasts
NO_MEANS = "a request can't be made (no memory or no thread): raise the service's limits, it is tried again"


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


def _perhaps_normal(answer: Answer) -> bool:
    """Whether a service that is well may answer an empty Store transaction so."""
    strange = answer.response is None and bool(answer.comment) and answer.status in range(200, 300)
    return answer.status in range(200, 500) and hold_for(answer) is None and not strange
