"""The Scanner port: what the daemon may rely on, on the fake and on a real folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.scanner_fake import FakeScanner

from ingestd.core.model import Sighting
from ingestd.core.ports import Clock, Scanner
from ingestd.spool.intake.names import Rules
from ingestd.spool.intake.scanner import FolderScanner


class SystemClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> float:
        return time.time()

    def wall(self) -> float:
        return time.time()


class Subject:
    """A scanner, and how a file gets into and out of its inbox."""

    def __init__(self, scanner: FakeScanner | FolderScanner, root: Path | None, clock: Clock) -> None:
        self.scanner = scanner
        self.port: Scanner = scanner
        self.clock = clock
        self._root = root

    def put(self, path: str) -> None:
        if isinstance(self.scanner, FakeScanner):
            self.scanner.offer(path)
        elif self._root is not None:
            (self._root / path).write_bytes(b"x")

    def drop(self, *paths: str) -> None:
        """As put, one after the other, while one file event each tells of them."""
        if isinstance(self.scanner, FakeScanner):
            self.scanner.hint(*paths)
        elif self._root is not None:
            for path in paths:
                (self._root / "x").write_bytes(b"x")
                (self._root / "x").rename(self._root / path)
            hints = self.scanner._hints
            until(lambda: len(hints) == len(paths))

    def remove(self, path: str) -> None:
        if isinstance(self.scanner, FakeScanner):
            self.scanner.remove(path)
        elif self._root is not None:
            (self._root / path).unlink()

    def rescan(self) -> None:
        before = self.scanner.status().full_scans
        self.scanner.request_scan()
        until(lambda: self.scanner.status().full_scans > before)

    def everything(self) -> list[Sighting]:
        taken: list[Sighting] = []
        while more := self.scanner.take(7):
            taken.extend(more)
        return taken


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "it did not happen within ten seconds"
        time.sleep(0.005)


@pytest.fixture(params=["fake", "folder"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    clock = SystemClock()
    scanner: FakeScanner | FolderScanner
    if request.param == "fake":
        scanner = FakeScanner(clock=clock)
    else:
        scanner = FolderScanner(
            root=tmp_path,
            rules=Rules(include=("*.dcm",)),
            watch="auto",
            rescan_seconds=30,
            clock=clock,
            wake=lambda: None,
        )
    yield Subject(scanner, tmp_path, clock)
    scanner.stop()
    scanner.join(5)
    assert not scanner.alive()


def test_what_was_there_before_start_is_offered(subject: Subject) -> None:
    """F3, I6"""
    subject.put("a.dcm")
    subject.put("b.dcm")
    subject.port.start()
    until(lambda: subject.port.status().full_scans == 1)
    assert sorted(s.path for s in subject.everything()) == ["a.dcm", "b.dcm"]


def test_what_stays_is_offered_at_each_scan_and_what_left_is_not(subject: Subject) -> None:
    """I6: a name that was passed over comes again."""
    subject.put("gone.dcm")
    subject.put("stays.dcm")
    subject.port.start()
    until(lambda: subject.port.status().full_scans == 1)
    assert {s.path for s in subject.everything()} == {"gone.dcm", "stays.dcm"}
    subject.remove("gone.dcm")
    subject.rescan()
    assert subject.everything() == [Sighting(path="stays.dcm")]


def test_take_gives_no_more_than_its_limit_and_never_blocks(subject: Subject) -> None:
    """I8"""
    for name in "abc":
        subject.put(f"{name}.dcm")
    subject.port.start()
    until(lambda: subject.port.status().full_scans == 1)
    assert len(subject.port.take(0)) == 0
    assert subject.port.status().offered == 3
    assert subject.port.offered() == {"a.dcm", "b.dcm", "c.dcm"}
    assert len(subject.port.take(2)) == 2
    assert subject.port.status().offered == 1
    assert len(subject.port.take(2)) == 1
    assert subject.port.status().offered == 0
    assert subject.port.take(2) == []


def test_hinted_names_come_newest_first_and_once(subject: Subject) -> None:
    """A fresh study never waits behind old files."""
    subject.port.start()
    until(lambda: subject.port.status().full_scans == 1)
    subject.drop("1.dcm", "2.dcm", "3.dcm")
    assert subject.port.status().offered == 3
    assert subject.port.take_hinted(1) == [Sighting(path="3.dcm", hinted=True)]
    assert subject.port.offered() == {"2.dcm", "1.dcm"}
    assert subject.port.take_hinted(10) == [Sighting(path=p, hinted=True) for p in ("2.dcm", "1.dcm")]
    assert subject.port.offered() == set()
    assert subject.port.take_hinted(10) == []


def test_status_tells_of_full_scans_by_the_clock(subject: Subject) -> None:
    """`ingestd_last_scan_timestamp_seconds` is on Clock.now()."""
    assert subject.port.status().last_scan_at is None
    began = subject.clock.now()
    subject.port.start()
    until(lambda: subject.port.status().full_scans == 1)
    at = subject.port.status().last_scan_at
    assert at is not None
    assert began <= at <= subject.clock.now()
    assert subject.port.status().problem is None


def test_it_lives_from_start_to_stop_and_can_start_again(subject: Subject) -> None:
    """F10"""
    assert subject.port.name == "scanner"
    assert not subject.port.alive()
    subject.port.start()
    subject.port.start()
    assert subject.port.alive()
    subject.port.stop()
    subject.port.join(5)
    assert not subject.port.alive()
    subject.put("late.dcm")
    subject.port.start()
    assert subject.port.alive()
    until(lambda: subject.port.status().full_scans >= 2)
    assert "late.dcm" in {s.path for s in subject.everything()}
