"""What a process knows of the time before it writes anything, and that a restart does not end a doubt (F91)."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fakes.ops_fakes import FakeClock
from fakes.values import instance, receipt

from ingestd.core.clock_doubt import DAY_SECONDS, ServiceDate
from ingestd.core.record import Changes
from ingestd.spool.memory.clock_seen import DOUBT, SeenClock, last_written
from ingestd.spool.memory.journal import SqliteJournal

NOW = 1767323045.0
YEAR = 365 * DAY_SECONDS


@dataclass(slots=True, kw_only=True)
class House:
    state: Path
    done: Path
    date: ServiceDate | None = None

    def age(self, *, days: float) -> None:
        """Nothing was written for so long."""
        for path in (self.done, *self.state.glob("journal*")):
            os.utime(path, (NOW - days * DAY_SECONDS,) * 2)

    def began(self, clock: FakeClock) -> SeenClock:
        """A process: its witnesses are asked before the journal is opened, which writes to it."""
        written = last_written(self.state, self.done)
        journal = SqliteJournal(self.state)
        try:
            return SeenClock(state=self.state, written=written, clock=clock, date=lambda: self.date)
        finally:
            journal.close()

    def stored(self, at: float) -> None:
        journal = SqliteJournal(self.state)
        journal.commit(Changes(receipts=(replace(receipt(instance()), stored_at=at),)))
        journal.close()


@pytest.fixture
def house(tmp_path: Path) -> House:
    for name in ("state", "done"):
        (tmp_path / name).mkdir()
    made = House(state=tmp_path / "state", done=tmp_path / "done")
    SqliteJournal(made.state).close()
    made.age(days=365)
    return made


def test_each_witness_alone_makes_the_clock_believed(house: House) -> None:
    """F91: the last commit, the newest receipt, the newest day in done/."""
    assert house.began(FakeClock(epoch=NOW)).problem() is not None
    for witness in (house.state / "journal.sqlite", house.done):
        (house.state / DOUBT).unlink()
        house.age(days=365)
        os.utime(witness, (NOW, NOW))
        assert house.began(FakeClock(epoch=NOW + DAY_SECONDS)).problem() is None
        house.age(days=365)
        assert house.began(FakeClock(epoch=NOW + DAY_SECONDS)).problem() is not None
    (house.state / DOUBT).unlink()
    house.stored(NOW)
    house.age(days=365)
    assert house.began(FakeClock(epoch=NOW + DAY_SECONDS)).problem() is None


def test_what_the_process_writes_under_a_doubted_clock_ends_the_doubt_neither_now_nor_after_a_restart(
    house: House,
) -> None:
    """F91: a file is stored, and receipt, journal and done/ have the wrong year's time."""
    seen = house.began(FakeClock(epoch=NOW + YEAR))
    house.stored(NOW + YEAR)
    house.age(days=-365)
    assert seen.problem() is not None
    assert house.began(FakeClock(epoch=NOW + YEAR)).problem() is not None
    assert house.began(FakeClock(epoch=NOW + YEAR)).problem() is not None


def test_once_the_clock_is_believed_the_doubt_is_forgotten(house: House) -> None:
    """F91: the service agrees; or somebody has set the clock."""
    clock = FakeClock(epoch=NOW)
    seen = house.began(clock)
    assert (seen.problem() is not None, (house.state / DOUBT).exists()) == (True, True)
    house.date = ServiceDate(value=NOW, came=clock.monotonic())
    assert (seen.problem(), (house.state / DOUBT).exists()) == (None, False)
    house.date = None
    house.age(days=0)
    seen = house.began(FakeClock(epoch=NOW + YEAR))
    assert seen.problem() is not None
    assert house.began(FakeClock(epoch=NOW + 60)).problem() is None
    assert not (house.state / DOUBT).exists()


def test_a_clock_that_is_set_right_while_the_process_runs_is_believed(house: House) -> None:
    """F91, F13."""
    house.age(days=0)
    clock = FakeClock(epoch=NOW + YEAR)
    seen = house.began(clock)
    assert seen.problem() is not None
    clock.jump(-YEAR)
    assert seen.problem() is None


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"yesterday"])
def test_a_doubt_that_cannot_be_read_is_none(house: House, content: bytes) -> None:
    """I5."""
    house.age(days=0)
    (house.state / DOUBT).write_bytes(content)
    assert house.began(FakeClock(epoch=NOW)).problem() is None


def test_a_state_folder_that_cannot_be_written_or_read_leaves_the_doubt(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F39, F91."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ingestd.spool.disk.handles.write_durably", refused)
    assert house.began(FakeClock(epoch=NOW)).problem() is not None
    (house.state / "journal.sqlite").write_bytes(b"")
    os.utime(house.state / "journal.sqlite", (0, 0))
    written = last_written(house.state, house.done)
    seen = SeenClock(state=house.state, written=written, clock=FakeClock(epoch=NOW), date=lambda: None)
    assert seen.problem() is not None
