"""Retry-After (RFC 9110 10.2.3): a number of seconds, or a date. Pure."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST = 1e9  # a number with more digits means for ever; the core has its own cap


def seconds_to_wait(value: str | None, *, now: float) -> float | None:
    """Seconds from `now` (epoch) on; None where there is nothing, or garbage, or a time that has passed (F52)."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) < 10 else LONGEST
    try:
        when = parsedate_to_datetime(text)
        left = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return left if left > 0 else None
