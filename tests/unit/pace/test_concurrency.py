"""How many Store transactions at once follows the answers (DESIGN 3): one more while all is well, half in trouble."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.answers.answer import Answer, Loss
from ingestd.core.pace.concurrency import Concurrency


def well(of: Concurrency, times: int) -> Concurrency:
    for _ in range(times):
        of = of.went_well()
    return of


@pytest.mark.parametrize(("before", "after"), [(64, 32), (9, 4), (3, 1), (2, 1), (1, 1)])
def test_trouble_halves_it_and_one_is_always_left(before: int, after: int) -> None:
    """F52."""
    assert Concurrency(limit=before, most=64).in_trouble() == Concurrency(limit=after, most=64)


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_as_many_good_answers_as_there_are_slots_make_room_for_one_more(limit: int) -> None:
    """So it grows by one in the time of one request, however many slots there are."""
    before = Concurrency(limit=limit, most=8)
    assert well(before, limit - 1).limit == limit
    assert well(before, limit) == Concurrency(limit=limit + 1, most=8)


@pytest.mark.parametrize("most", [1, 2, 4])
def test_it_never_grows_over_what_the_operator_allows(most: int) -> None:
    full = Concurrency(limit=most, most=most)
    assert well(full, 1000) == full


def test_trouble_makes_good_answers_count_anew() -> None:
    halved = well(Concurrency(limit=8, most=9), 7).in_trouble()
    assert well(halved, 3).limit == 4
    assert well(halved, 4).limit == 5


def test_it_comes_back_from_one_to_all() -> None:
    """I8: 1 + 2 + ... + 7 good answers."""
    low = Concurrency(limit=1, most=8)
    assert (well(low, 27).limit, well(low, 28).limit) == (7, 8)


@given(most=st.integers(1, 64), answers=st.lists(st.booleans(), max_size=300))
def test_it_stays_between_one_and_the_most_and_grows_by_no_more_than_one(most: int, answers: list[bool]) -> None:
    """I8: whatever the service answers."""
    now = Concurrency(limit=most, most=most)
    for good in answers:
        before, now = now, now.went_well() if good else now.in_trouble()
        assert 1 <= now.limit <= most
        assert before.limit <= now.limit <= before.limit + 1 if good else now.limit == max(1, before.limit // 2)


@pytest.mark.parametrize(
    ("answer", "calm", "limit", "good"),
    [
        (Answer(status=200), True, 8, 1),
        (Answer(status=409), True, 8, 1),
        (Answer(status=503), True, 4, 0),
        (Answer(loss=Loss.TIMEOUT), True, 4, 0),
        (Answer(status=503), False, 8, 0),
        (Answer(status=500), True, 8, 0),
        (Answer(status=401), True, 8, 0),
        (Answer(loss=Loss.NOT_SENT), True, 8, 0),
    ],
)
def test_it_follows_the_answer(answer: Answer, calm: bool, limit: int, good: int) -> None:
    """F52: overload halves it, once an outage; what says nothing about load leaves it."""
    assert Concurrency(limit=8, most=64).after(answer, calm=calm) == Concurrency(limit=limit, most=64, well=good)
