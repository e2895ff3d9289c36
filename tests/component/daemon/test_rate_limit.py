"""Again only after so many seconds, and so many lines a minute, then a count (I8)."""

from __future__ import annotations

from fakes.ops_fakes import FakeRecorder

from ingestd.core.events import Event
from ingestd.daemon.rate_limit import SECONDS, Every, RateLimit


def test_what_was_due_is_due_again_after_its_seconds() -> None:
    every = Every(10.0)
    moments = (0.0, 1.0, 9.9, 10.0, 19.9, 25.0, 34.9, 35.0)
    assert [now for now in moments if every.due(now)] == [0.0, 10.0, 25.0, 35.0]


def test_a_wait_may_begin_before_it_is_due_and_be_of_another_length() -> None:
    every = Every(10.0)
    every.wait(0.0)
    assert not every.due(9.9)
    every.wait(5.0, seconds=100.0)
    assert not every.due(104.9)
    assert every.due(105.0)
    assert not every.due(114.9)
    assert every.due(115.0)


def test_a_line_tells_how_many_had_none() -> None:
    recorder = FakeRecorder()
    limit = RateLimit(Event.WAITING, recorder=recorder, lines=2)
    for now in (0.0, 1.0, 2.0, 3.0, SECONDS, SECONDS + 1.0):
        limit.log(now, path="a.dcm")
    assert [line.fields.get("files") for line in recorder.lines] == [None, None, 3, None]
