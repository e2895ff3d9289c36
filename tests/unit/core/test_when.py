"""Points in time as receipts, reason files, folders and log lines show them."""

from __future__ import annotations

import math
import time

import pytest

from ingestd.core.when import lasting, moment, rfc3339, since, utc_day


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1767323045.0, "2026-01-02T03:04:05.000Z"),
        (1767323045.678, "2026-01-02T03:04:05.678Z"),
        (-1.0, "1969-12-31T23:59:59.000Z"),
    ],
)
def test_a_time_is_rfc_3339_in_utc_whatever_the_machine_is_set_to(
    seconds: float, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DESIGN 5: first_seen and failed_at are RFC 3339 UTC."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        assert rfc3339(seconds) == text
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("seconds", [math.inf, -math.inf, math.nan, 1e300, -1e12, 253_402_300_800.0])
def test_a_time_that_no_calendar_has_ends_no_list(seconds: float) -> None:
    """DESIGN 5, F90: one damaged reason file, note or receipt must not hide all that follow it."""
    assert rfc3339(seconds) in {"0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.000Z"}


def test_times_sort_as_their_texts_do() -> None:
    times = [1767323045.0, 1767323045.001, 1767323046.0, 1798859045.0]
    assert sorted(rfc3339(t) for t in times) == [rfc3339(t) for t in times]


@pytest.mark.parametrize(
    ("seconds", "day"),
    [(1767311999.999, "2026-01-01"), (1767312000.0, "2026-01-02"), (1767398399.0, "2026-01-02")],
)
def test_a_day_begins_at_midnight_utc(seconds: float, day: str) -> None:
    """DESIGN 5, done.layout: date = UTC day of filing."""
    assert utc_day(seconds) == day


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 1_000_000.0),
        ("90s", 999_910.0),
        ("30m", 998_200.0),
        ("24h", 913_600.0),
        ("7d", 395_200.0),
        ("2w", -209_600.0),
        ("1970-01-02", 86_400.0),
        ("1970-01-01T01:00", 3_600.0),
        ("1970-01-01T01:00Z", 3_600.0),
        ("1970-01-01T01:00:00.5+01:00", 0.5),
        ("0001-01-01T00:00+23:00", -62_135_679_600.0),
    ],
)
def test_since_is_so_long_ago_or_a_time_that_is_utc_without_a_zone(text: str, seconds: float) -> None:
    """DESIGN 5, `failed list --since`."""
    assert since(text, now=1_000_000.0) == seconds


@pytest.mark.parametrize(
    "text", ["", "24", "h", "1.5h", "-1h", "1 h", "24H", "1y", "1234567890d", "yesterday", "2026-13-01"]
)
def test_what_is_neither_is_refused(text: str) -> None:
    """DESIGN 5"""
    with pytest.raises(ValueError, match=r"."):
        since(text, now=0.0)


def test_what_a_reason_file_has_is_read_back() -> None:
    """DESIGN 5: failed_at."""
    assert moment(rfc3339(1767323045.678)).timestamp() == 1767323045.678


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-0.5, "0 s"),
        (0.4, "0 s"),
        (119.0, "119 s"),
        (120.0, "2 min"),
        (7199.0, "119 min"),
        (7200.0, "2 h"),
        (172_799.0, "47 h"),
        (172_800.0, "2 days"),
    ],
)
def test_a_span_is_said_in_one_unit(seconds: float, text: str) -> None:
    """DESIGN 5: a line on /readyz says for how long."""
    assert lasting(seconds) == text
