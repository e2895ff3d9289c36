"""The brake: when the service refuses nearly everything it is more likely us than the files (DESIGN 3)."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.pace.brake import OF_ONE_STUDY, Brake, BrakeRules

COUNTING = " (at most 10 of one study count)"


def brake(*, in_a_row: int = 50, last: int = 200, share: float = 0.95) -> Brake:
    return Brake(BrakeRules(in_a_row=in_a_row, last=last, share=share))


def said(of: Brake, pattern: str) -> list[str]:
    """`s` is stored, `r` refused, each of another study, any other letter refused of the study that it names: why the brake
    must go on, each time that it must.
    """
    found = []
    for letter in pattern:
        if letter == "s":
            of.stored()
        elif why := of.refused(f"1.2.{next(STUDIES)}" if letter == "r" else letter):
            found.append(why)
    return found


STUDIES = itertools.count()


def test_so_many_refusals_in_a_row_put_it_on() -> None:
    """I3: failed/ must not fill for our own mistake."""
    assert said(brake(), "r" * 49) == []
    assert said(brake(), "r" * 50) == [f"the service refused 50 files in a row{COUNTING}"]


def test_one_that_is_stored_begins_the_row_anew() -> None:
    assert said(brake(), ("r" * 49 + "s") * 3) == []


def test_nearly_all_of_the_last_put_it_on_though_some_were_stored() -> None:
    nearly_all = ("r" * 19 + "s") * 9 + "s" + "r" * 19
    assert said(brake(), nearly_all) == [f"the service refused 190 of the last 200 files{COUNTING}"]
    assert said(brake(), "s" + nearly_all[:-1]) == []


def test_the_share_is_of_the_last_ones_only() -> None:
    """Years of good service weigh nothing; nor does what was refused before them."""
    assert said(brake(), "s" * 10_000 + "r" * 50) == [f"the service refused 50 files in a row{COUNTING}"]
    one_in_a_row = brake(in_a_row=99, last=4, share=0.5)
    assert said(one_in_a_row, "rssss") == []
    assert said(one_in_a_row, "rsr") == [f"the service refused 2 of the last 4 files{COUNTING}"]


def test_a_share_of_too_few_says_nothing() -> None:
    """Two of the first two are no proof."""
    assert said(brake(in_a_row=99, last=4, share=0.5), "rr") == []
    assert said(brake(in_a_row=99, last=4, share=0.5), "rrsr") == [
        f"the service refused 3 of the last 4 files{COUNTING}"
    ]


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
    assert (said(by_row, "rr"), said(by_row, "r")) == ([], [f"the service refused 3 files in a row{COUNTING}"])
    assert said(by_share, "rrr") == []


def test_one_refused_series_is_that_series_trouble() -> None:
    """F85: sixty of one study, or a thousand, stop nobody else's files."""
    of = brake()
    assert said(of, "s" * 190 + "a" * 60 + "s" * 190 + "a" * 1000) == []
    assert said(of, "b" * 1000 + "c" * 1000 + "d" * 1000) == []
    assert said(of, "e" * 9) == []
    assert said(of, "e") == [f"the service refused 50 files in a row{COUNTING}"]


def test_at_most_ten_of_one_study_make_up_the_share() -> None:
    """F85: nineteen studies of ten in two hundred, not one of a hundred and ninety."""
    of = brake()
    mixed = "".join(letter * 30 + "s" for letter in "abcdefghij")
    assert said(of, mixed) == []
    nine = "".join(letter * 11 + "s" for letter in "abcdefghi")
    assert said(brake(in_a_row=999, last=100, share=0.9), nine + "s") == []
    reached = said(brake(in_a_row=999, last=100, share=0.9), nine + "s" + "j")
    assert reached == [f"the service refused 90 of the last 100 files{COUNTING}"]


def test_a_study_counts_again_when_its_refusals_are_no_longer_among_the_last() -> None:
    """F85: what was long ago is no reason to count less today."""
    of = brake(in_a_row=10, last=20, share=1.0)
    said(of, "a" * 9 + "s" * 20)
    assert said(of, "a" * 9) == []
    assert said(of, "a") == [f"the service refused 10 files in a row{COUNTING}"]


def test_what_is_counted_takes_no_more_memory_however_many_studies_are_refused() -> None:
    """I8: the studies of the last ones, and no others."""
    of = brake(in_a_row=10, last=20, share=1.0)
    said(of, "rs" * 10_000)
    assert len(of._row) + len(of._recent) + len(of._recently_refused) <= 10 + 20 + 20


@given(
    pattern=st.text("abrs", max_size=120),
    in_a_row=st.integers(1, 20),
    last=st.integers(1, 30),
    share=st.floats(0.01, 1),
)
def test_it_goes_on_exactly_when_its_rules_say(pattern: str, in_a_row: int, last: int, share: float) -> None:
    """F85: against the whole history counted afresh each time."""
    of = brake(in_a_row=in_a_row, last=last, share=share)
    counted = ""
    for n, letter in enumerate(pattern, 1):
        row = Counter(itertools.takewhile(lambda c: c != "s", reversed(pattern[:n])))
        in_row = sum(count if study == "r" else min(count, OF_ONE_STUDY) for study, count in row.items())
        if letter in "rs" or counted[-last:].count(letter) < OF_ONE_STUDY:
            counted += letter
        refused = len(counted[-last:]) - counted[-last:].count("s")
        full = len(counted) >= last and refused / last >= share
        assert bool(said(of, letter)) is (letter != "s" and (in_row >= in_a_row or full))
