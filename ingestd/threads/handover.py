"""Work for other threads, and what came of it back on the owner thread.

A pool that can't start a thread raises after it has queued the work, and a thread that comes free may still take it (F46). So
the future is one of ours, and whoever claims it first has the work: the thread, or `submit`, which then calls it failed.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

What = TypeVar("What")
Result = TypeVar("Result")


class NoThreadError(Exception):
    """No thread was to be had: the work was not done."""


class Handover(Generic[What, Result]):
    """`submit` and `take` are the owner thread's; `wake` is called from any, when there is something to take."""

    def __init__(self, *, pool: Executor, wake: Callable[[], None]) -> None:
        self._pool = pool
        self._wake = wake
        self._under_way = 0
        self._finished: SimpleQueue[tuple[What, Future[Result]]] = SimpleQueue()

    def __len__(self) -> int:
        """What is under way, that which is finished and not taken included."""
        return self._under_way

    def submit(self, what: What, work: Callable[[], Result]) -> None:
        """Have `work` done for `what`; that it can't be, now, is its result like any other. Never raises."""
        future: Future[Result] = Future()
        self._under_way += 1

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is told on the owner thread
                future.set_exception(error)
            self._finished.put((what, future))
            self._wake()

        try:
            self._pool.submit(run)
        except (RuntimeError, MemoryError) as error:
            if future.cancel():
                failed: Future[Result] = Future()
                failed.set_exception(NoThreadError(str(error)))
                self._finished.put((what, failed))

    def take(self) -> tuple[What, Future[Result]] | None:
        """What has ended, whose future is done; None while nothing has."""
        try:
            ended = self._finished.get_nowait()
        except Empty:
            return None
        self._under_way -= 1
        return ended
