"""The window: what is in memory just now, bounded, a quarter for files that an event brought and one for the scan's (DESIGN 2)."""

from __future__ import annotations

import itertools

import pytest
from fakes.values import deferral, inspection
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.answers.reasons import Wholeness
from ingestd.core.lifecycle import LEFT_WINDOW, TABLE, State, Step
from ingestd.core.model import Inspection, Sighting, Wait
from ingestd.core.window import Entry, Window


def admit(window: Window, path: str, *, hinted: bool = False, now: float = 0.0) -> Entry:
    return window.admit(Sighting(path=path, hinted=hinted), now=now)


def examined(window: Window) -> list[str]:
    return [entry.path for entry in iter(window.next_to_examine, None)]


def test_a_new_file_is_sighted_and_waits_to_be_examined() -> None:
    window = Window(16)
    entry = admit(window, "a", now=5.0)
    assert (entry.state, entry.first_seen, entry.looks, entry.stamp) == (State.SIGHTED, 5.0, 0, None)
    assert ("a" in window, window["a"], len(window), list(window)) == (True, entry, 1, [entry])
    assert examined(window) == ["a"]
    assert window.next_to_examine() is None


def test_a_file_that_comes_back_brings_what_was_learnt_about_it() -> None:
    """I5: the journal gives back when it was first seen, and which state of it has been still since when."""
    past = deferral(Wait.INCOMPLETE, since=40.0)
    entry = Window(16).admit(Sighting(path="a"), now=99.0, history=past)
    assert (entry.first_seen, entry.stamp, entry.looks, entry.seen_since) == (0.0, past.stamp, 1, 40.0)
    assert entry.history is past


def test_hinted_files_are_examined_first_and_the_newest_of_them_before_all() -> None:
    window = Window(16)
    for path, hinted in [("old", False), ("hint1", True), ("older", False), ("hint2", True)]:
        admit(window, path, hinted=hinted)
    assert examined(window) == ["hint2", "hint1", "old", "older"]


def test_every_fourth_time_the_file_that_was_seen_first_is_examined() -> None:
    """I1: a flood of events delays what the scan found, and what came at its beginning, and no more."""
    window = Window(64)
    admit(window, "found1", now=2.0)
    admit(window, "found2", now=2.0)
    admit(window, "first", hinted=True, now=1.0)
    for n in range(9):
        admit(window, f"hint{n}", hinted=True, now=3.0)
    order = examined(window)
    assert order == [f"hint{n}" for n in (8, 7, 6)] + ["first"] + [f"hint{n}" for n in (5, 4, 3)] + ["found1"] + [
        f"hint{n}" for n in (2, 1, 0)
    ] + ["found2"]


@pytest.mark.parametrize(("capacity", "most"), [(16, 12), (17, 13), (5000, 3750)])
@pytest.mark.parametrize("hinted", [False, True])
def test_a_quarter_is_kept_for_each_kind(capacity: int, most: int, hinted: bool) -> None:
    """A backlog can't shut fresh files out, nor can a flood of events stop the scan."""
    window = Window(capacity)
    assert (window.room(hinted=hinted), window.room(hinted=not hinted)) == (most, most)
    for n in range(most):
        admit(window, f"one{n}", hinted=hinted)
    assert (window.room(hinted=hinted), window.room(hinted=not hinted)) == (0, capacity - most)
    for n in range(capacity - most):
        admit(window, f"other{n}", hinted=not hinted)
    assert (window.room(hinted=hinted), window.room(hinted=not hinted)) == (0, 0)


def test_a_file_that_leaves_makes_room_for_its_like() -> None:
    window = Window(16)
    plain, hinted = admit(window, "p"), admit(window, "h", hinted=True)
    window.step(plain, Step.VANISHED)
    assert (window.room(hinted=False), window.room(hinted=True), len(window)) == (12, 11, 1)
    window.step(hinted, Step.VANISHED)
    assert (window.room(hinted=False), window.room(hinted=True), len(window)) == (12, 12, 0)
    assert "p" not in window


def test_an_illegal_step_changes_nothing() -> None:
    window = Window(16)
    entry = admit(window, "a")
    with pytest.raises(ValueError, match="SIGHTED can be MOVED"):
        window.step(entry, Step.MOVED)
    assert (entry.state, window.count(State.SIGHTED), len(window)) == (State.SIGHTED, 1, 1)
    assert examined(window) == ["a"]


def test_a_file_that_changed_is_examined_again_from_nothing() -> None:
    """I4, F19."""
    window = Window(16)
    entry = admit(window, "a")
    assert examined(window) == ["a"]
    entry.inspection = inspection()
    window.step(entry, Step.SETTLED)
    for step in (Step.BATCHED, Step.SENT, Step.ENDED, Step.CHANGED):
        window.step(entry, step)
    assert (entry.state, entry.inspection) == (State.SIGHTED, None)
    assert examined(window) == ["a"]


def quiet(window: Window, path: str, found: Inspection | None, when: float) -> Entry:
    entry = admit(window, path)
    window.next_to_examine()
    window.step(entry, Step.LOOKED)
    entry.inspection = found
    window.look_at(entry, when)
    return entry


def test_a_quiet_file_is_looked_at_when_it_is_due_and_not_before() -> None:
    window = Window(16)
    assert (window.next_look_at(), window.next_to_look(1e9)) == (None, None)
    late, early, tie = (
        quiet(window, "late", None, 3.0),
        quiet(window, "early", None, 2.0),
        quiet(window, "tie", None, 2.0),
    )
    assert (window.next_look_at(), window.next_to_look(1.9)) == (2.0, None)
    assert [window.next_to_look(2.5) for _ in range(3)] == [early, tie, None]
    assert window.next_to_look(3.0) is late
    assert window.next_look_at() is None


def test_a_study_is_arriving_while_one_of_its_files_is_not_settled() -> None:
    window = Window(16)
    quiet(window, "a", inspection(study="S"), 1.0)
    quiet(window, "b", inspection(study="S"), 2.0)
    quiet(window, "c", Inspection(wholeness=Wholeness.NOT_DICOM), 2.0)
    quiet(window, "d", None, 2.0)
    assert window.arriving() == {"S"}
    window.next_to_look(1.0)
    assert window.arriving() == {"S"}
    window.next_to_look(2.0)
    assert window.arriving() == set()


def test_the_oldest_is_the_one_first_seen() -> None:
    window = Window(16)
    assert window.oldest() is None
    admit(window, "new", now=9.0)
    admit(window, "old", now=3.0)
    assert window.oldest() == 3.0


def test_what_waits_for_a_second_look_keeps_nobody_out_but_is_bounded() -> None:
    """I8: a backlog of files on which no lease can be had goes on while the first of them wait; as many again, and no more."""
    window = Window(16)
    for number in range(12):
        quiet(window, f"{number}", None, 9.0)
    assert (window.room(hinted=False), window.room(hinted=True)) == (12, 16)
    for number in range(12, 28):
        quiet(window, f"{number}", None, 9.0)
    assert (window.room(hinted=False), window.room(hinted=True)) == (0, 4)


@given(st.data(), st.integers(1, 40), st.lists(st.tuples(st.booleans(), st.integers(0, 99)), max_size=60))
def test_it_never_holds_more_than_it_may_and_always_knows_what_it_holds(
    data: st.DataObject, capacity: int, steps: list[tuple[bool, int]]
) -> None:
    """I8: for callers that ask for room."""
    window, names = Window(capacity), itertools.count()
    for coming, choice in steps:
        inside = list(window)
        if coming or not inside:
            hinted = choice % 2 == 0
            if window.room(hinted=hinted) > 0:
                admit(window, str(next(names)), hinted=hinted)
        else:
            entry = inside[choice % len(inside)]
            window.step(entry, data.draw(st.sampled_from([step for state, step in TABLE if state is entry.state])))
        entries = list(window)
        plain = sum(not e.hinted for e in entries)
        assert len(entries) == len(window) <= 2 * capacity
        room = capacity + min(window.count(State.QUIET), capacity)
        most = room - capacity // 4
        assert max(plain, len(entries) - plain) <= 2 * capacity - capacity // 4
        for hinted, inside in ((False, plain), (True, len(entries) - plain)):
            assert window.room(hinted=hinted) == max(min(room - len(entries), most - inside), 0)
        assert not {e.state for e in entries} & LEFT_WINDOW
        assert {s: window.count(s) for s in State} == {s: sum(e.state is s for e in entries) for s in State}
        assert window.count(*State) == len(entries)
