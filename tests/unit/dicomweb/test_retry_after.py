"""Retry-After, as services write it (RFC 9110 10.2.3; F52)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.dicomweb.payload.answer_headers import FOR_EVER, seconds_to_wait

NOW = 1_767_323_045.0  # 2026-01-02 03:04:05 UTC


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("Fri, 02 Jan 2026 03:05:05 GMT", 60.0),
        ("Friday, 02-Jan-26 03:05:05 GMT", 60.0),
        ("Fri Jan  2 03:05:05 2026", 60.0),
        ("99999999999999999999", FOR_EVER),
        ("9" * 5000, FOR_EVER),
    ],
)
def test_seconds_and_dates_are_seconds_from_now(value: str, expected: float) -> None:
    assert seconds_to_wait(value, now=NOW) == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "soon",
        "-5",
        "1.5",
        "1e3",
        "१२",
        "120, 60",
        "Fri, 02 Jan 2026 03:04:05 GMT",
        "Fri, 02 Jan 1970 0:0:0 GMT",
    ],
)
def test_garbage_and_the_past_are_nothing(value: str | None) -> None:
    assert seconds_to_wait(value, now=NOW) is None


@given(st.text())
def test_no_text_raises(value: str) -> None:
    seconds_to_wait(value, now=NOW)
