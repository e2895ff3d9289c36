"""threads.SingleFlight: one call that nothing can interrupt, and each who waits for it with his own patience."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest

from ingestd.threads.handover import NoThreadError
from ingestd.threads.single_flight import SingleFlight

PATIENCE_SECONDS = 10.0


class Hanging:
    """A call that comes back when it is let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.thread = ""
        self.free = threading.Event()

    def __call__(self) -> int:
        self.calls += 1
        self.thread = threading.current_thread().name
        assert self.free.wait(PATIENCE_SECONDS)
        return self.calls


def test_who_asks_meanwhile_shares_the_call_and_waits_as_long_as_he_likes() -> None:
    call, flights = Hanging(), SingleFlight[int]()
    first, second = (flights.ask("host", call, name="lookup") for _ in range(2))
    with pytest.raises(TimeoutError):
        first.result(0.01)
    call.free.set()
    assert (second.result(PATIENCE_SECONDS), first.result(PATIENCE_SECONDS)) == (1, 1)
    assert (call.calls, call.thread) == (1, "lookup")


def test_after_its_end_the_next_question_is_asked_anew_and_other_keys_do_not_wait() -> None:
    hangs, call, flights = Hanging(), Hanging(), SingleFlight[int]()
    call.free.set()
    flights.ask("a", hangs, name="a")
    assert [flights.ask("b", call, name="b").result(PATIENCE_SECONDS) for _ in range(3)] == [1, 2, 3]
    hangs.free.set()


@pytest.mark.parametrize("error", [OSError("no such host"), MemoryError(), SystemExit()])
def test_whatever_it_raises_is_told_to_those_who_wait(error: BaseException) -> None:
    def fail() -> int:
        raise error

    flights = SingleFlight[int]()
    for _ in range(2):
        assert flights.ask("host", fail, name="lookup").exception(PATIENCE_SECONDS) is error


def test_after_abort_nobody_waits() -> None:
    call, flights = Hanging(), SingleFlight[int]()
    waiting = flights.ask("host", call, name="lookup")
    flights.abort()
    with pytest.raises(CancelledError):
        waiting.result(PATIENCE_SECONDS)
    with pytest.raises(CancelledError):
        flights.ask("other", call, name="lookup")
    call.free.set()  # its result goes nowhere, and harms nothing


def test_without_a_thread_the_next_question_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """F46."""

    def refuse(_: threading.Thread) -> None:
        raise MemoryError

    call, flights = Hanging(), SingleFlight[int]()
    call.free.set()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(NoThreadError):
            flights.ask("host", call, name="lookup")
    assert flights.ask("host", call, name="lookup").result(PATIENCE_SECONDS) == 1
