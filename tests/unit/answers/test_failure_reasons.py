"""What a FailureReason (0008,1197) means for the file (PS3.18 Table I.2-2; Azure facts 1.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.answers.failure_reasons import (
    ALREADY_STORED,
    BEING_CREATED,
    MEANINGS,
    FailureClass,
    classify,
    meaning,
)


@pytest.mark.parametrize(
    ("code", "meaning", "expected"),
    [
        (45070, "Azure: the same three UIDs are there already", FailureClass.HOLDS_IT),
        (0x0111, "duplicate SOP instance", FailureClass.HOLDS_IT),
        (45071, "Azure: being created", FailureClass.CREATING),
        (0x0110, "processing failure; Azure: storage or database trouble", FailureClass.SERVER_TROUBLE),
        (0xA700, "out of resources", FailureClass.SERVER_TROUBLE),
        (0xA7FF, "out of resources", FailureClass.SERVER_TROUBLE),
        (0xA6FF, "nothing", FailureClass.REJECTED),
        (0xA800, "nothing", FailureClass.REJECTED),
        (43264, "A900H: data set does not match SOP Class; Azure: failed validation", FailureClass.REJECTED),
        (43265, "Azure: StudyInstanceUID mismatch", FailureClass.REJECTED),
        (0xA9FF, "data set does not match SOP Class", FailureClass.REJECTED),
        (0xC000, "cannot understand", FailureClass.REJECTED),
        (0xCFFF, "cannot understand", FailureClass.REJECTED),
        (0x0122, "referenced SOP Class not supported", FailureClass.REJECTED),
        (0x0112, "no such SOP instance", FailureClass.REJECTED),
        (0x0000, "success, in the wrong place", FailureClass.REJECTED),
        (0xB000, "a warning, in the wrong place", FailureClass.REJECTED),
    ],
)
def test_each_code_has_its_class(code: int, meaning: str, expected: FailureClass) -> None:
    """I3, F51."""
    assert classify(code) is expected


@given(st.integers(-(2**40), 2**40))
def test_a_code_that_nobody_documents_is_a_verdict_never_success(code: int) -> None:
    """I2, I3."""
    known = {45070: FailureClass.HOLDS_IT, 0x0111: FailureClass.HOLDS_IT, 45071: FailureClass.CREATING}
    trouble = code == 272 or code // 256 == 0xA7
    assert classify(code) is known.get(code, FailureClass.SERVER_TROUBLE if trouble else FailureClass.REJECTED)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (45070, MEANINGS[0xB00E]),
        (0x0122, "SOP class not supported"),
        (0xA7FF, MEANINGS[0xA700]),
        (0xA901, MEANINGS[0xA901]),
        (0xA902, "the data set does not match its SOP class"),
        (0xA9FF, "the data set does not match its SOP class"),
        (0xC123, MEANINGS[0xC000]),
        (0xCFFF, MEANINGS[0xC000]),
        (0xA6FF, "a reason that no document names"),
        (0xA800, "a reason that no document names"),
        (0xAA00, "a reason that no document names"),
        (0xD000, "a reason that no document names"),
        (-1, "a reason that no document names"),
    ],
)
def test_a_code_is_said_in_words_by_itself_or_by_its_range(code: int, said: str) -> None:
    """STYLE 7: a person reads what, not a number."""
    assert meaning(code) == said


@given(st.integers(-(2**40), 2**40) | st.sampled_from(sorted(MEANINGS)))
def test_every_code_has_one_line(code: int) -> None:
    assert meaning(code)
    assert meaning(code).isprintable()


def test_azures_documented_codes_are_all_there() -> None:
    """azure conformance statement: 272, 43264, 43265, 45070, 45071."""
    assert {272, 43264, 43265, ALREADY_STORED, BEING_CREATED} <= set(MEANINGS)
