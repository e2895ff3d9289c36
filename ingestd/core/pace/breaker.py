"""The breaker: the service's state, one a daemon. Closed lets batches out; open lets nothing out; the control alone probes.

    closed --hold--> open --its time has come--> probing --the control passes--> closed
                      ^                             |
                      +------the control fails------+

A file is never the probe, so an outage can't use a file's patience up.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from ingestd.core.answers.outcome import Hold, HoldCause
from ingestd.core.pace.backoff import RetryRules, full_jitter


class BreakerState(enum.IntEnum):
    """The numbers of `ingestd_breaker_state`."""

    CLOSED = 0
    PROBING = 1
    OPEN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """`open_until` in seconds on the clock that `now` comes from; `failures` counts openings in a row."""

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    open_until: float = 0.0
    cause: HoldCause | None = None

    @property
    def closed(self) -> bool:
        return self.state is BreakerState.CLOSED

    def held(self, hold: Hold, *, now: float, rand: float, rules: RetryRules) -> Breaker:
        """A hold opens it, or lengthens the wait by the service's own floor where it is open already.

        Batches that were under way when it opened report the same outage, so they count once.
        """
        if not self.closed:
            floor = now + min(hold.retry_after or 0.0, rules.retry_after_cap_seconds)
            return replace(self, open_until=max(self.open_until, floor), cause=hold.cause)
        return self.failed(hold, now=now, rand=rand, rules=rules)

    def failed(self, hold: Hold, *, now: float, rand: float, rules: RetryRules) -> Breaker:
        """It opens, or opens again because the control failed: the wait grows."""
        floor = now + min(hold.retry_after or 0.0, rules.retry_after_cap_seconds)
        failures = self.failures + 1
        wait = full_jitter(base=rules.base_seconds, cap=rules.cap_seconds, attempt=failures - 1, rand=rand)
        return Breaker(state=BreakerState.OPEN, failures=failures, open_until=max(now + wait, floor), cause=hold.cause)

    def wants_probe(self, now: float) -> bool:
        return self.state is BreakerState.OPEN and now >= self.open_until

    def probing(self) -> Breaker:
        return replace(self, state=BreakerState.PROBING)

    def passed(self) -> Breaker:
        """The control passed. The waits stay long until something is stored: a gateway may let the control through and no file."""
        return Breaker(failures=self.failures)

    def stored(self) -> Breaker:
        """The service stored something: the next outage begins with a short wait."""
        return replace(self, failures=0) if self.closed else self
