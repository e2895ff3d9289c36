"""The loop's hand-overs to other threads, copies to another file system, threads that die again and again: over fakes."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest
from fakes.daemon_bench import Bench
from fakes.studies import made

from ingestd.core.errors import FilingError, JournalError
from ingestd.core.events import Event
from ingestd.core.model import Wait
from ingestd.threads.handover import Handover, NoThreadError


class Starved(Executor):
    """Queues the work and can't start a thread for it, as ThreadPoolExecutor does; `run` is a thread that comes free later."""

    def __init__(self) -> None:
        self.queued: list[Any] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.queued.append(fn)
        raise RuntimeError("can't start new thread")

    def run(self) -> None:
        for work in self.queued:
            work()


class Mortal:
    """A Supervised thread that dies whenever the test says so."""

    name = "admin"

    def __init__(self) -> None:
        self.starts = 0
        self.running = False
        self.refused = False

    def start(self) -> None:
        if self.refused:
            raise RuntimeError("can't start new thread")
        self.starts += 1
        self.running = True

    def alive(self) -> bool:
        return self.running

    def stop(self) -> None:
        pass

    def join(self, timeout: float) -> None:
        pass


def test_work_that_finds_no_thread_has_failed_and_is_never_done() -> None:
    """F46: a thread that comes free takes it off the pool's queue all the same, and does nothing."""
    pool, woken, done = Starved(), threading.Event(), []
    handover: Handover[str, None] = Handover(pool=pool, wake=woken.set)
    handover.submit("a", lambda: done.append("a"))
    assert len(handover) == 1
    ended = handover.take()
    assert ended is not None
    assert (ended[0], type(ended[1].exception())) == ("a", NoThreadError)
    pool.run()
    assert (done, handover.take(), len(handover)) == ([], None, 0)


@pytest.mark.parametrize("error", [MemoryError(), KeyError("an error nobody thought of"), SystemExit(1)])
def test_what_the_work_raises_is_its_result(error: BaseException) -> None:
    """F10: the thread lives on."""
    woken = threading.Event()

    def work() -> None:
        raise error

    with ThreadPoolExecutor(1) as pool:
        handover: Handover[str, None] = Handover(pool=pool, wake=woken.set)
        for _ in range(2):
            woken.clear()
            handover.submit("a", work)
            assert woken.wait(10)
            ended = handover.take()
            assert ended is not None
            assert ended[1].exception() is error


def test_copies_are_made_by_a_thread_and_hold_nothing_else_up() -> None:
    """F67, I1: another file is stored and filed while the first is copied; a copy that ends in failure is tried again."""
    bench = Bench()
    bench.filer.far = True
    bench.copier.at_once = False
    for number in (1, 2):
        bench.drop(made(number).name, made(number).content)
        bench.after(1)
    assert len(bench.origin.stores) == 2
    assert (bench.filer.done, bench.daemon.in_flight, bench.daemon.left) == ({}, 2, 2)
    bench.filer.problem = FilingError("done or failed has no room")
    bench.copier.run()
    bench.after(1)
    assert bench.journal.waiting() == {Wait.UNMOVABLE: 2}
    bench.filer.problem = None
    bench.copier.at_once = True
    bench.after(20)
    assert sorted(bench.filer.done.values()) == sorted(made(number).content for number in (1, 2))
    assert (len(bench.origin.stores), bench.daemon.left) == (2, 0)


def test_a_second_name_of_a_file_that_is_copied_is_no_file_of_its_own() -> None:
    """F41: its source is renamed before it goes; while that lasts, nobody sends it as another file."""
    bench = Bench()
    bench.filer.far = True
    bench.copier.at_once = False
    bench.drop("a.dcm", made(1).content)
    bench.after(1)
    bench.inbox.files["a~1.dcm"] = bench.inbox.files.pop("a.dcm")
    bench.scanner.offer("a~1.dcm")
    bench.after(5)
    assert len(bench.origin.stores) == 1
    bench.inbox.files["a.dcm"] = bench.inbox.files.pop("a~1.dcm")
    bench.copier.run()
    bench.after(1)
    assert (len(bench.filer.done), len(bench.origin.stores)) == (1, 1)


def test_a_thread_that_dies_at_once_is_started_ever_more_rarely() -> None:
    """F10, I8: ten minutes of it are a dozen lines; one that lives is started at once again."""
    thread = Mortal()
    bench = Bench(threads=(thread,))
    for _ in range(600):
        thread.running = False
        bench.after(1)
    assert 8 <= thread.starts <= 20
    assert bench.recorder.restarts == ["admin"] * bench.recorder.events.count(Event.THREAD_RESTARTED)
    bench.after(300, steps=300)
    thread.running = False
    starts = thread.starts
    bench.after(2, steps=2)
    assert thread.starts == starts + 1


def test_a_thread_that_can_not_be_started_is_not_said_to_have_been() -> None:
    """F46: the loop goes on, and tries again."""
    thread = Mortal()
    bench = Bench(threads=(thread,))
    thread.running, thread.refused = False, True
    bench.drop(made(1).name, made(1).content)
    bench.after(10, steps=10)
    assert (bench.recorder.restarts, len(bench.filer.done)) == ([], 1)
    thread.refused = False
    bench.after(60, steps=60)
    assert bench.recorder.restarts == ["admin"]


def test_a_folder_in_trouble_is_said_once_and_turns_readiness_red() -> None:
    """F39, F45, I8: one that is nearly full comes and goes; that is a line a minute at most."""
    bench = Bench()
    bench.after(2)
    for second in range(120):
        bench.folders_problem = "disk space: folders.done is nearly full: make room" if second % 2 else None
        bench.after(1)
    bench.folders_problem = None
    bench.after(120, steps=120)
    lines = [event for event in bench.recorder.events if event in (Event.FOLDER_TROUBLE, Event.FOLDER_BACK)]
    assert 2 <= len(lines) <= 5
    assert lines[-1] is Event.FOLDER_BACK
    bench.folders_problem = "folders.done can't be written"
    assert bench.daemon.ready_problem() == "folders.done can't be written"


def test_a_folder_that_stays_in_trouble_is_said_again_and_how_long_it_lasted() -> None:
    """F39: every ten minutes, with the files that wait."""
    bench = Bench()
    bench.after(2)
    bench.folders_problem = "disk space: folders.done is nearly full: make room"
    bench.after(1300, steps=1300)
    bench.folders_problem = None
    bench.after(2, steps=2)
    said = [line.fields for line in bench.recorder.of(Event.FOLDER_TROUBLE)]
    assert [(one["files"], round(float(str(one["held_seconds"])))) for one in said] == [(0, 0), (0, 600), (0, 1200)]
    (back,) = bench.recorder.of(Event.FOLDER_BACK)
    assert float(str(back.fields["held_seconds"])) >= 1290


def test_a_journal_that_comes_and_goes_is_said_once_a_minute() -> None:
    """F39, I8."""
    bench = Bench()
    for second in range(100):
        bench.journal.problem = JournalError("its disk is full") if second % 2 == 0 else None
        bench.drop(made(second + 1).name, made(second + 1).content)
        bench.after(2)
    bench.journal.problem = None
    bench.after(5)
    troubles = bench.recorder.events.count(Event.JOURNAL_TROUBLE)
    assert 1 <= troubles <= 5
    assert bench.recorder.events.count(Event.JOURNAL_BACK) == troubles
    assert len(bench.filer.done) == 100


def test_what_is_left_is_counted_once() -> None:
    """F74: each scan offers again what is under way already."""
    bench = Bench()
    bench.executor.at_once = False
    bench.drop("a.dcm", made(1).content)
    bench.tick()
    bench.scanner.request_scan()
    bench.inbox.put("b.dcm", made(2).content)
    bench.scanner.offer("b.dcm")
    bench.daemon.signal()
    bench.daemon.signal()
    bench.daemon.run()
    assert bench.daemon.stop() == 2
