"""The brake: when the service refuses nearly everything it is more likely us than the files (DESIGN 3)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.brake import Brake, BrakeRules


def brake(*, in_a_row: int = 50, last: int = 200, share: float = 0.95) -> Brake:
    return Brake(BrakeRules(in_a_row=in_a_row, last=last, share=share))


def said(of: Brake, pattern: str) -> list[str]:
    """`r` is refused, anything else stored: why the brake must go on, each time that it must."""
    found = []
    for letter in pattern:
        if letter != "r":
            of.stored()
        elif why := of.refused():
            found.append(why)
    return found


def test_so_many_refusals_in_a_row_put_it_on() -> None:
    """I3: failed/ must not fill for our own mistake."""
    assert said(brake(), "r" * 49) == []
    assert said(brake(), "r" * 50) == ["the service refused 50 instances in a row"]


def test_one_that_is_stored_begins_the_row_anew() -> None:
    assert said(brake(), ("r" * 49 + "s") * 3) == []


def test_nearly_all_of_the_last_put_it_on_though_some_were_stored() -> None:
    nearly_all = ("r" * 19 + "s") * 9 + "s" + "r" * 19
    assert said(brake(), nearly_all) == ["the service refused 190 of the last 200 instances"]
    assert said(brake(), "s" + nearly_all[:-1]) == []


def test_the_share_is_of_the_last_ones_only() -> None:
    """Years of good service weigh nothing; nor does what was refused before them."""
    assert said(brake(), "s" * 10_000 + "r" * 50) == ["the service refused 50 instances in a row"]
    one_in_a_row = brake(in_a_row=99, last=4, share=0.5)
    assert said(one_in_a_row, "rssss") == []
    assert said(one_in_a_row, "rsr") == ["the service refused 2 of the last 4 instances"]


def test_a_share_of_too_few_says_nothing() -> None:
    """Two of the first two are no proof."""
    assert said(brake(in_a_row=99, last=4, share=0.5), "rr") == []
    assert said(brake(in_a_row=99, last=4, share=0.5), "rrsr") == ["the service refused 3 of the last 4 instances"]


@pytest.mark.parametrize("refused", range(1, 101))
def test_a_share_is_met_exactly(refused: int) -> None:
    """0.07 of 100 is seven, however floating point multiplies."""
    met = brake(in_a_row=999, last=100, share=refused / 100)
    missed = brake(in_a_row=999, last=100, share=refused / 100)
    assert len(said(met, "s" * (100 - refused) + "r" * refused)) == 1
    assert said(missed, "s" * (101 - refused) + "r" * (refused - 1)) == []


def test_released_by_a_person_it_counts_anew() -> None:
    """Else the next refusal would put it on again."""
    by_row, by_share = brake(in_a_row=3), brake(in_a_row=99, last=4, share=0.5)
    said(by_row, "rrr")
    said(by_share, "rrrr")
    by_row.released()
    by_share.released()
    assert (said(by_row, "rr"), said(by_row, "r")) == ([], ["the service refused 3 instances in a row"])
    assert said(by_share, "rrr") == []


@given(
    pattern=st.text("rs", max_size=120),
    in_a_row=st.integers(1, 20),
    last=st.integers(1, 30),
    share=st.floats(0.01, 1),
)
def test_it_goes_on_exactly_when_its_rules_say(pattern: str, in_a_row: int, last: int, share: float) -> None:
    """Against the whole history counted afresh each time."""
    of = brake(in_a_row=in_a_row, last=last, share=share)
    for n, letter in enumerate(pattern, 1):
        past = pattern[:n]
        row = len(list(itertools.takewhile(lambda c: c == "r", reversed(past))))
        full = n >= last and past[-last:].count("r") / last >= share
        assert bool(said(of, letter)) is (letter == "r" and (row >= in_a_row or full))
