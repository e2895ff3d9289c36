"""What the values themselves promise."""

from __future__ import annotations

import dataclasses

import pytest
from fakes.values import batch, deferral, fail, instance, receipt, stamp

from ingestd.core import batch as batches
from ingestd.core import model, record, settle
from ingestd.core.answers import answer, outcome
from ingestd.core.answers.answer import Answer, Held, Loss
from ingestd.core.answers.outcome import TOO_LARGE, Quarantine, Retry
from ingestd.core.answers.reasons import Reason, Wholeness
from ingestd.core.errors import FileChangedError, FilingError, StrayError
from ingestd.core.events import Event, Level
from ingestd.core.model import Inspection, Wait
from ingestd.core.pace import backoff, brake, breaker, concurrency
from ingestd.core.record import Changes, SecondLook, Stray

MODULES = (answer, backoff, batches, brake, breaker, concurrency, model, outcome, record, settle)
VALUES = [
    value
    for module in MODULES
    for name, value in vars(module).items()
    if isinstance(value, type)
    and dataclasses.is_dataclass(value)
    and value.__module__ == module.__name__
    and not name.startswith("_")
]


@pytest.mark.parametrize("value", VALUES, ids=lambda v: v.__name__)
def test_a_value_is_frozen_slotted_and_made_by_keyword(value: type) -> None:
    """STYLE 10: a change makes a new value."""
    parameters = value.__dataclass_params__  # type: ignore[attr-defined]  # dataclasses has no public name for it
    assert parameters.frozen
    assert "__slots__" in vars(value)
    assert all(field.kw_only for field in dataclasses.fields(value))


@pytest.mark.parametrize(
    "value",
    [
        instance(content=b"DOE^JANE"),
        fail("1", 43264, comment="DOE^JANE"),
        Answer(status=400, comment="DOE^JANE"),
        Retry(wait=Wait.CREATING, comment="DOE^JANE"),
        Quarantine(reason=Reason.REJECTED, text="", what_to_do="", comment="DOE^JANE"),
        Inspection(wholeness=Wholeness.WHOLE, content=b"DOE^JANE"),
        Held(status=200, elements={"00100010": ("DOE^JANE",)}),
    ],
    ids=lambda v: type(v).__name__,
)
def test_neither_a_files_bytes_nor_a_servers_words_show_in_a_repr(value: object) -> None:
    """I7, F71: a traceback or a debug line shows reprs."""
    assert "DOE" not in repr(value)


def test_a_batch_is_as_large_as_its_instances() -> None:
    assert batch(instance("1", size=3), instance("2", size=4)).size == 7


def test_nothing_to_remember_is_no_change() -> None:
    assert not Changes()
    assert Changes(receipts=(receipt(instance()),))
    assert Changes(deferrals=(deferral(Wait.CREATING),))
    assert Changes(forgotten=("a.dcm",))
    stray = Stray(place="a.dcm", folder="done", stamp=stamp(), path="a.dcm", since=0.0)
    assert Changes(strays=(stray,))
    assert Changes(recovered=(("done", "a.dcm"),))
    assert Changes(second_looks=(SecondLook(place="a.dcm", stamp=stamp(), path="a.dcm", due_at=0.0, remove=False),))
    assert Changes(looked=("a.dcm",))


def test_every_log_event_has_a_level_and_a_meaning_of_its_own() -> None:
    """STYLE 13: vocabulary once."""
    assert all(event.level in Level and event.meaning for event in Event)
    assert len({event.meaning for event in Event}) == len(Event)


@pytest.mark.parametrize(
    ("said", "label"),
    [
        (Answer(status=202), "202"),
        (Answer(loss=Loss.NOT_SENT), "connect_error"),
        (Answer(loss=Loss.TIMEOUT), "timeout"),
        (Answer(loss=Loss.LOST), "lost"),
        (Answer(loss=Loss.FILE_CHANGED), "lost"),
    ],
)
def test_an_answer_has_one_of_few_labels(said: Answer, label: str) -> None:
    """I8."""
    assert said.outcome == label


def test_a_verdict_of_ours_says_what_to_do() -> None:
    """I3: nobody is left with a reason alone."""
    assert all(reason.advice for reason in Reason)
    assert (TOO_LARGE.reason, TOO_LARGE.by_service) == (Reason.TOO_LARGE, False)


def test_a_move_that_failed_says_which_state_the_file_is_in_now() -> None:
    """F31."""
    stamp = instance().stamp
    assert FilingError("done/ is full", stamp=stamp).stamp == stamp


def test_what_a_move_carried_away_says_where_it_stands() -> None:
    """I1: whoever puts it back needs its place and its state; and its file is judged anew."""
    stamp = instance().stamp
    error = StrayError("it can't be put back", folder="done", place="day/a.dcm", stamp=stamp)
    assert (error.folder, error.place, error.stamp) == ("done", "day/a.dcm", stamp)
    assert isinstance(error, FileChangedError)
