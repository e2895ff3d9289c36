"""The declared tables that tell people what a number or a hold means."""

from __future__ import annotations

import pytest

from ingestd.core.failure_reasons import ALREADY_STORED, BEING_CREATED, MEANINGS, meaning
from ingestd.core.outcome import HoldCause
from ingestd.dicomweb.codes import HOLDS


def test_every_hold_says_how_to_mend_it_in_one_line() -> None:
    assert set(HOLDS) == set(HoldCause)
    assert all(line and "\n" not in line for line in HOLDS.values())


def test_azures_documented_codes_are_all_there() -> None:
    """azure conformance statement: 272, 43264, 43265, 45070, 45071."""
    assert {272, 43264, 43265, ALREADY_STORED, BEING_CREATED} <= set(MEANINGS)


@pytest.mark.parametrize(
    ("code", "words"),
    [(0xA7FF, "out of resources"), (0xA9AA, "SOP class"), (0xC123, "cannot understand"), (1, "no document")],
)
def test_ranges_of_codes_have_a_meaning(code: int, words: str) -> None:
    """PS3.4 Table B.2-1."""
    assert words in meaning(code)
