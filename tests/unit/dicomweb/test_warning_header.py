"""The words of a Warning header (RFC 7234 5.5), and of which instance they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.answers.answer import Failed, Referenced, StoreResponse
from ingestd.dicomweb.payload.store_response import COMMENT_LIMIT, warned, with_warning

HEADER = '299 dcm4chee-arc "No SOP Class UID in object"'
REFUSED = Failed(sop_instance_uid="1.2.3", failure_reason=0xC000)
STORED = Referenced(sop_instance_uid="1.2.4")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (HEADER, "No SOP Class UID in object"),
        (f'{HEADER} "Fri, 02 Jan 2026 03:05:05 GMT"', "No SOP Class UID in object"),
        (f'{HEADER}, 299 other:80 "Retry \\"later\\", or not"', 'No SOP Class UID in object; Retry "later", or not'),
        ('299 - ""', None),
        ("no warning", None),
        ('299 - "never closed', None),
        ("", None),
        (None, None),
    ],
)
def test_its_texts_are_the_words(header: str | None, expected: str | None) -> None:
    """F51, I3: the server's own words, without codes, agents and dates."""
    assert warned(header) == expected


def test_the_words_are_bounded() -> None:
    """I8."""
    assert warned(f'299 - "{"x" * 9000}"') == "x" * COMMENT_LIMIT


@given(st.text(max_size=60))
def test_nothing_breaks_it(header: str) -> None:
    """F50: whatever stands in it."""
    assert warned(header) is None or warned(header)


def test_they_are_those_of_the_one_that_was_refused_without_a_word() -> None:
    """F51, I3: it holds the last failure's alone, and with something stored it may be about that."""
    found = with_warning(StoreResponse(referenced=(), failed=(REFUSED,)), HEADER)
    assert found is not None
    assert found.failed[0].comment == "No SOP Class UID in object"


@pytest.mark.parametrize(
    "response",
    [
        None,
        StoreResponse(referenced=(), failed=()),
        StoreResponse(referenced=(), failed=(REFUSED, REFUSED)),
        StoreResponse(referenced=(STORED,), failed=(REFUSED,)),
        StoreResponse(referenced=(), failed=(Failed(sop_instance_uid="1", failure_reason=1, comment="its own"),)),
    ],
)
def test_of_others_they_say_nothing(response: StoreResponse | None) -> None:
    """F51, I3."""
    assert with_warning(response, HEADER) is response
