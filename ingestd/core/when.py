"""Points in time as people read and write them: UTC, always."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

_DURATION = re.compile(r"(\d{1,9})([smhdw])")
_FIRST, _LAST = -62_135_596_800.0, 253_402_300_799.0  # of the years 1 to 9999, which a datetime has
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def rfc3339(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC, to the millisecond: `2026-01-02T03:04:05.678Z`.

    Never raises, because people and damage write times, too: beyond the years 1 to 9999 it is their first or last second.
    """
    seconds = min(max(_FIRST, seconds), _LAST)  # in this order NaN is the first
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lasting(seconds: float) -> str:
    """A span as people say it, in one unit: `40 s`, `12 min`, `5 h`, `3 days`."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"


def utc_day(seconds: float) -> str:
    """The UTC day of seconds since the epoch: `2026-01-02`."""
    return _day(int(seconds // 86_400))


@lru_cache(maxsize=4)
def _day(number: int) -> str:
    return datetime.fromtimestamp(number * 86_400, tz=UTC).date().isoformat()


def moment(text: str) -> datetime:
    """A date or a time by ISO 8601; without a zone it is UTC. Raises ValueError."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def since(text: str, *, now: float) -> float:
    """Seconds since the epoch of a `moment`, or of so long before `now`: `90s`, `30m`, `24h`, `7d`, `2w`. Raises ValueError."""
    if duration := _DURATION.fullmatch(text):
        return now - int(duration[1]) * _SECONDS[duration[2]]
    return moment(text).timestamp()
