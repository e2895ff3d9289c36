"""Retry-After (RFC 9110 10.2.3): a number of seconds, or a date; and dates as HTTP writes them (5.6.7). Pure."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST = 1e9  # a number with more digits means for ever; the core has its own cap


def seconds_to_wait(value: str | None, *, now: float) -> float | None:
    """Seconds from `now` (epoch) on; None where there is nothing, or garbage, or a time that has passed (F52)."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) < 10 else LONGEST
    when = http_date(text)
    return when - now if when is not None and when > now else None


def http_date(value: str | None) -> float | None:
    """Seconds since the epoch; None where there is nothing, or garbage."""
    try:
        when = parsedate_to_datetime(value or "")
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
