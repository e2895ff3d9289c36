"""Housekeeping in the daemon: pruning, what is said of retention, a journal and a state folder that fail while it runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.daemon_bench import Bench
from fakes.ops_fakes import FakeClock, FakeRecorder
from fakes.spool_fakes import FakeJournal, part10
from fakes.values import instance, receipt

from ingestd.core.errors import JournalError, StateHeldError
from ingestd.core.events import Event
from ingestd.core.ports import RetentionStatus
from ingestd.core.record import Changes
from ingestd.daemon.housekeeping import PRUNED_AT_ONCE, Housekeeping

DAY = 86_400.0


class Swept:
    """The port Retention."""

    def __init__(self) -> None:
        self.now = RetentionStatus()

    def status(self) -> RetentionStatus:
        return self.now


class Rig:
    def __init__(self, *, days: float | None = None, retention: Swept | None = None) -> None:
        self.clock = FakeClock()
        self.journal = FakeJournal()
        self.recorder = FakeRecorder()
        self.problem: str | None = None
        self.clock_problem: str | None = None
        self.keeping = Housekeeping(
            clock=self.clock,
            journal=self.journal,
            recorder=self.recorder,
            retention=retention,
            receipts_age=days * DAY if days is not None else None,
            state_problem=lambda: self.problem,
            clock_problem=lambda: self.clock_problem,
        )

    def remember(self, count: int, *, days: float) -> None:
        old = replace(receipt(instance()), stored_at=self.clock.now() - days * DAY)
        self.journal.commit(Changes(receipts=(old,) * count))

    def beats(self, number: int, *, seconds: float = 1.0) -> None:
        for _ in range(number):
            self.keeping.beat(self.clock.now())
            self.clock.advance(seconds)

    def said(self) -> list[Event]:
        return self.recorder.events


def test_receipts_are_kept_for_ever_unless_days_are_given() -> None:
    """`journal.receipts_days`."""
    rig = Rig()
    rig.remember(5, days=10_000)
    rig.beats(5)
    assert len(rig.journal.receipts) == 5


def test_old_receipts_go_a_batch_a_second() -> None:
    """I8: pruning never holds a tick up."""
    rig = Rig(days=30)
    rig.remember(2 * PRUNED_AT_ONCE + 1, days=31)
    rig.remember(3, days=29)
    left = []
    for _ in range(4):
        rig.beats(1)
        left.append(len(rig.journal.receipts))
    assert left == [PRUNED_AT_ONCE + 4, 4, 3, 3]


def test_receipts_wait_for_retention() -> None:
    """What is pruned before its file is removed would leave the file unproven for ever."""
    swept = Swept()
    rig = Rig(days=30, retention=swept)
    rig.remember(2, days=31)
    rig.beats(3, seconds=100)
    assert len(rig.journal.receipts) == 2
    swept.now = RetentionStatus(rounds=1, swept_before=rig.clock.now() - 30 * DAY)
    rig.beats(3, seconds=100)
    assert rig.journal.receipts == []


def test_a_clock_that_jumps_ahead_prunes_nothing_early() -> None:
    """F13."""
    rig = Rig(days=30)
    rig.remember(2, days=1)
    rig.clock.jump(365 * DAY)
    rig.beats(3, seconds=100)
    assert len(rig.journal.receipts) == 2


def test_while_the_clock_is_doubted_nothing_is_pruned_and_that_is_said_once_a_day() -> None:
    """F91."""
    rig = Rig(days=30)
    rig.remember(2, days=31)
    rig.clock_problem = "the clock shows another year"
    rig.beats(3 * 24 + 1, seconds=3600)
    assert len(rig.journal.receipts) == 2
    assert [(line.event, line.fields) for line in rig.recorder.lines] == [
        (Event.CLOCK_DOUBTED, {"problem": rig.clock_problem})
    ] * 4
    rig.clock_problem = None
    rig.beats(1)
    assert rig.journal.receipts == []


def test_a_doubted_clock_is_no_news_where_nothing_is_ever_removed() -> None:
    """F91."""
    rig = Rig()
    rig.clock_problem = "the clock shows another year"
    rig.beats(3)
    assert rig.said() == []


def test_a_journal_that_cannot_be_pruned_is_left_for_a_while() -> None:
    """F39: what is wrong with it is said where it is written."""
    rig = Rig(days=30)
    rig.remember(2, days=31)
    rig.journal.problem = JournalError("its disk is full")
    rig.beats(2)
    rig.journal.problem = None
    rig.beats(5)
    assert len(rig.journal.receipts) == 2
    rig.beats(10)
    assert rig.journal.receipts == []


def test_what_retention_removed_is_said_and_what_is_unproven_once_a_day() -> None:
    """I8: one line when something happened."""
    swept = Swept()
    rig = Rig(retention=swept)
    rig.beats(5)
    assert rig.said() == []
    for rounds in range(1, 101):
        swept.now = RetentionStatus(rounds=rounds, removed=3, removed_bytes=30, unproven=7)
        rig.beats(1, seconds=DAY / 50)
    assert rig.said() == [Event.RETENTION, Event.RETENTION]
    assert [line.fields for line in rig.recorder.lines] == [
        {"files": 3, "bytes": 30, "unproven": 7, "problem": None},
        {"files": 0, "bytes": 0, "unproven": 7, "problem": None},
    ]
    swept.now = RetentionStatus(rounds=100, removed=3, removed_bytes=30, unproven=7, problem="no such folder")
    rig.beats(100)
    assert rig.said()[2:] == [Event.RETENTION_TROUBLE]


def test_a_journal_that_was_set_aside_is_said_once() -> None:
    """F42: at the start or at any later time."""
    rig = Rig()
    rig.beats(3)
    rig.journal.set_aside, rig.journal.why_set_aside = 1, "it was damaged"
    rig.beats(3)
    (line,) = rig.recorder.lines
    assert (line.event, line.fields) == (Event.JOURNAL_SET_ASIDE, {"problem": "it was damaged"})


def test_a_state_folder_that_was_taken_away_ends_the_daemon() -> None:
    """F43: exit 75; another ingestd may hold what is there now."""
    rig = Rig()
    rig.beats(1)
    rig.problem = "folders.state was taken away"
    with pytest.raises(StateHeldError, match="taken away"):
        rig.beats(1)
    assert rig.said() == [Event.STATE_LOST]


def test_a_journal_that_cannot_be_read_or_written_stops_sending_and_nothing_else() -> None:
    """I5, F9, F40: readiness says so; what was answered meanwhile is asked again, and all of it ends in done/."""
    bench = Bench()
    bench.executor.at_once = False
    bench.drop("a.dcm", part10())
    bench.after(2.0, steps=4)
    assert bench.executor.waiting
    bench.journal.problem = JournalError("the journal can't be used; its disk is broken")
    bench.executor.run()
    bench.executor.at_once = True
    bench.drop("b.dcm", part10(sop="1.2.3.4.6"))
    bench.after(30.0, steps=30)
    assert bench.daemon.ready_problem() == "journal: the journal can't be used; its disk is broken"
    assert (bench.filer.done, sorted(bench.inbox.files)) == ({}, ["a.dcm", "b.dcm"])
    assert bench.recorder.events.count(Event.JOURNAL_TROUBLE) == 1
    bench.journal.problem = None
    bench.after(30.0, steps=30)
    assert bench.daemon.ready_problem() is None
    assert bench.inbox.files == {}
    assert {path.rpartition("/")[2] for path in bench.filer.done} == {"a.dcm", "b.dcm"}
