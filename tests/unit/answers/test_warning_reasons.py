"""What a WarningReason says, in a person's words."""

from __future__ import annotations

import pytest

from ingestd.core.answers.warning_reasons import MEANINGS, warning_of


@pytest.mark.parametrize("reason", MEANINGS)
def test_each_known_warning_has_words_and_a_mend(reason: int) -> None:
    """F51, F82"""
    assert warning_of(reason) is MEANINGS[reason]
    assert len({one.text for one in MEANINGS.values()}) == len(MEANINGS)
    assert warning_of(reason).what_to_do


@pytest.mark.parametrize("reason", [None, 0, 45312])
def test_one_that_nobody_knows_says_where_to_look(reason: int | None) -> None:
    """F82"""
    assert warning_of(reason).text == "a warning that no document names"
    assert "log" in warning_of(reason).what_to_do
