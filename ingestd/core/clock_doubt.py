"""Whether the clock of this machine can be believed when it makes files and receipts old enough to go (F91).

A machine that comes up with a clock of another year, after a flat battery or a bad answer of a time server, would remove all of
done/ at once and forget every receipt. So a clock is doubted that is more than a day past anything this machine had seen when the
process began: until the service's clock agrees, or, where none of its answers has a Date, until the process has run for a day. What
the process writes itself under that clock is no witness. A service whose clock contradicts is believed, however long it runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from ingestd.core.when import utc_day

DAY_SECONDS = 86_400.0  # a clock so far past all that was seen is doubted, for so long where no answer has a Date


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDate:
    """The Date of an answer (RFC 9110 6.6.1) in seconds since the epoch, and when it came on the monotonic clock."""

    value: float
    came: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockDoubt:
    """`seen`: the newest time that was known here when the process began, in seconds since the epoch; `began`: monotonic."""

    seen: float
    began: float

    def problem(self, *, now: float, monotonic: float, date: ServiceDate | None) -> str | None:
        """Why nothing may be removed by this clock, in one line with what to do; None where it is believed."""
        if now - self.seen <= DAY_SECONDS:
            return None
        if date is not None:
            there = date.value + monotonic - date.came
            if now - there <= DAY_SECONDS:
                return None
            return (
                f"the clock of this machine shows {utc_day(now)} and the service's {utc_day(there)}:"
                " nothing is removed until they agree; set the clock of this machine, or the service's"
            )
        if monotonic - self.began >= DAY_SECONDS:
            return None
        return (
            f"the clock of this machine shows {utc_day(now)}, more than a day after anything seen here:"
            " nothing is removed until the service's clock or a day of running agrees; set the clock if it is wrong"
        )
