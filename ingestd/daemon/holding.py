"""Whether anything goes out: holds open the breaker, and the control closes it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ingestd.core.answer import Answer
from ingestd.core.backoff import RetryRules
from ingestd.core.breaker import Breaker, BreakerState
from ingestd.core.disposition import hold_for
from ingestd.core.events import Event
from ingestd.core.outcome import Disposition, Hold, HoldCause
from ingestd.core.ports import Rand, Recorder
from ingestd.daemon.control import Control


class Holding:
    """The owner thread's. `hints` has for each hold the line that says how to mend it."""

    def __init__(
        self, *, control: Control, recorder: Recorder, retry: RetryRules, hints: Mapping[HoldCause, str], rand: Rand
    ) -> None:
        self._control = control
        self._recorder = recorder
        self._retry = retry
        self._hints = hints
        self._rand = rand
        self._said: str | None = None  # our own words about the newest hold
        self.breaker = Breaker()

    @property
    def outage(self) -> str | None:
        """Why nothing goes out, and how to mend it; None while the breaker is closed."""
        cause = self.breaker.cause
        if self.breaker.closed or cause is None:
            return None
        return ": ".join(filter(None, (cause.value, self._said, self._hints.get(cause))))

    def due_at(self) -> float | None:
        """When the control is to be sent; None while it is not waited for."""
        return self.breaker.open_until if self.breaker.state is BreakerState.OPEN else None

    def probe(self, now: float) -> int:
        """Send the control when the breaker's time has come."""
        if not self.breaker.wants_probe(now):
            return 0
        self.breaker = self.breaker.probing()
        self._control.probe()
        return 1

    def probed(self, answer: Answer, now: float) -> None:
        """What the control was answered."""
        passed = self._control.passes(answer)
        self._recorder.log(Event.PROBED, status=answer.outcome, passed=passed)
        if passed:
            self.breaker = self.breaker.passed()
            self._recorder.log(Event.RESUMED)
            return
        lost = HoldCause.UNREACHABLE if answer.loss is not None else HoldCause.CONTROL
        self._hold(hold_for(answer) or Hold(cause=lost), now, probe=True)

    def stored(self) -> None:
        """The service stored something: the next outage begins with a short wait, and the control's answer is the normal one."""
        self.breaker = self.breaker.stored()
        self._control.learn()

    def died(self, now: float, *, carried: bool, transient: bool) -> None:
        """A job brought nothing back; `carried`: it had instances, `transient`: for want of memory or a thread (F46)."""
        probing = self.breaker.state is BreakerState.PROBING and not carried
        if not carried:
            self._control.died()
        if probing or (carried and transient):
            self._hold(Hold(cause=HoldCause.UNREACHABLE), now, probe=probing)

    def strange(self, control: Answer | None) -> Hold | None:
        """A 2xx named nothing and could not be asked about: whether it is a store service at all, the control tells."""
        if control is None or self._control.passes(control):
            return None
        return hold_for(control) or Hold(cause=HoldCause.CONTROL)

    def hold_for(self, dispositions: Sequence[Disposition], now: float) -> None:
        """Nothing more goes out, if one of these is a Hold."""
        if hold := next((d for d in dispositions if isinstance(d, Hold)), None):
            self._hold(hold, now, probe=False)

    def _hold(self, hold: Hold, now: float, *, probe: bool) -> None:
        before, self._said = self.breaker, hold.problem
        self.breaker = (before.failed if probe else before.held)(hold, now=now, rand=self._rand(), rules=self._retry)
        if before.cause is not hold.cause:
            hint = self._hints.get(hold.cause)
            self._recorder.log(Event.HELD, cause=hold.cause.value, problem=hold.problem, hint=hint)
