"""threads.Worker: what supervises a thread can rely on."""

from __future__ import annotations

import threading

import pytest

from ingestd.core.ports import Supervised
from ingestd.threads.worker import Worker

PATIENCE_SECONDS = 10.0


class Waiting(Worker):
    """Works until it is asked to end, or dies of what it is given."""

    name = "waiting"

    def __init__(self) -> None:
        self.begun = 0
        self.ended = threading.Event()
        self.seen = ""

    def stop(self) -> None:
        self.ended.set()

    def _work(self) -> None:
        self.begun += 1
        self.seen = threading.current_thread().name
        self.ended.wait(PATIENCE_SECONDS)


def test_it_is_dead_before_it_starts_and_after_it_was_asked_to_end() -> None:
    worker: Supervised = Waiting()
    assert not worker.alive()
    worker.join(0)
    worker.start()
    assert worker.alive()
    worker.join(0.01)
    assert worker.alive()
    worker.stop()
    worker.join(PATIENCE_SECONDS)
    assert not worker.alive()


def test_a_dead_one_starts_anew_under_its_name() -> None:
    """F10."""
    worker = Waiting()
    worker.ended.set()
    for times in (1, 2):
        worker.start()
        worker.join(PATIENCE_SECONDS)
        assert (worker.begun, worker.seen, worker.alive()) == (times, "waiting", False)


def test_where_there_is_no_thread_to_be_had_it_stays_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """F46."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    worker = Waiting()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            worker.start()
    assert not worker.alive()
    worker.join(0)
    worker.start()
    assert worker.alive()
    worker.stop()
    worker.join(PATIENCE_SECONDS)
