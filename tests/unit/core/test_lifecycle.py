"""The life of a file as one table (DESIGN 2): what the table itself must promise."""

from __future__ import annotations

import itertools

import pytest

from ingestd.core.lifecycle import LEFT_WINDOW, TABLE, State, Step, after

FINAL = {State.FILED, State.GONE}


def reachable(start: State, *, without: State | None = None) -> set[State]:
    found, new = {start}, [start]
    while new:
        here = new.pop()
        for (state, _), following in TABLE.items():
            if state is here and following not in found and following is not without:
                found.add(following)
                new.append(following)
    return found


def test_every_state_can_be_reached_from_the_first_sight() -> None:
    assert reachable(State.SIGHTED) == set(State)


@pytest.mark.parametrize("state", [s for s in State if s not in FINAL])
def test_every_state_that_is_not_an_end_has_a_way_to_done_or_failed(state: State) -> None:
    """I1: nothing gets stuck."""
    assert State.FILED in reachable(state)


@pytest.mark.parametrize("state", sorted(FINAL, key=lambda s: s.name))
def test_nothing_happens_to_a_file_that_has_ended(state: State) -> None:
    assert reachable(state) == {state}


def test_no_file_is_filed_before_its_outcome_is_known() -> None:
    """I2: the receipt comes first; only what is ENDING is moved."""
    assert {state for (state, step), to in TABLE.items() if to is State.FILED} == {State.ENDING}
    assert {state for (state, step) in TABLE if step is Step.MOVED} == {State.ENDING}


def test_a_file_that_changed_is_always_looked_at_anew() -> None:
    """I4, F19."""
    assert {to for (_, step), to in TABLE.items() if step is Step.CHANGED} == {State.SIGHTED}


def test_nothing_is_sent_that_was_not_settled() -> None:
    """F14, F15: one way leads into a Store transaction, and it begins at READY."""
    assert State.IN_FLIGHT not in reachable(State.SIGHTED, without=State.READY)
    assert {s for (s, _), to in TABLE.items() if to is State.BATCHED} == {State.READY, State.IN_FLIGHT}
    assert {step for (s, step), to in TABLE.items() if to is State.READY} == {Step.SETTLED, Step.RETURNED}


def test_what_the_service_holds_is_replaced_only_after_it_was_asked() -> None:
    """F36: a slot, or a conflict that was shown."""
    assert {s for (s, step) in TABLE if step is Step.SENT} == {State.BATCHED, State.VERIFYING}
    assert {to for (_, step), to in TABLE.items() if step is Step.SENT} == {State.IN_FLIGHT}
    assert {s for (s, _), to in TABLE.items() if to is State.VERIFYING} == {State.IN_FLIGHT, State.READY}


def test_every_step_occurs_and_every_meaning_is_said_once() -> None:
    assert {step for _, step in TABLE} == set(Step)
    assert len({s.value for s in State}) == len(State)
    assert len({s.value for s in Step}) == len(Step)


def test_what_leaves_the_window_stays_out_until_it_is_due() -> None:
    assert FINAL | {State.DEFERRED} == LEFT_WINDOW
    assert {(state, step) for state, step in TABLE if state in LEFT_WINDOW} == {(State.DEFERRED, Step.DUE)}


@pytest.mark.parametrize(("state", "step"), list(itertools.product(State, Step)))
def test_a_step_follows_the_table_or_is_refused_by_name(state: State, step: Step) -> None:
    if (state, step) in TABLE:
        assert after(state, step) is TABLE[state, step]
    else:
        with pytest.raises(ValueError, match=f"{state.name} can be {step.name}"):
            after(state, step)
