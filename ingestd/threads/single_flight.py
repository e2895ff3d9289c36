"""Calls that nothing can interrupt, such as those of a resolver or of a share whose server is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from typing import Generic, TypeVar

from ingestd.threads.handover import NoThreadError

Result = TypeVar("Result")


class SingleFlight(Generic[Result]):
    """One call at a time for each key, on a thread of its own; who asks meanwhile shares it, and waits as long as he likes.

    A call that hangs costs its thread and nothing else: the thread keeps nothing from ending. Any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, Future[Result]] = {}
        self._aborted = False

    def ask(self, key: Hashable, call: Callable[[], Result], *, name: str) -> Future[Result]:
        """What `call` will come to; `name` is its thread's. Raises NoThreadError; CancelledError after `abort`."""
        with self._lock:
            if self._aborted:
                raise CancelledError
            if (future := self._under_way.get(key)) is None:
                future = Future()
                thread = threading.Thread(target=self._run, args=(key, call, future), name=name, daemon=True)
                try:
                    thread.start()
                except (RuntimeError, MemoryError) as error:
                    raise NoThreadError(str(error)) from error
                self._under_way[key] = future
            return future

    def abort(self) -> None:
        """Nobody waits any longer, now or later: CancelledError."""
        with self._lock:
            self._aborted = True
            for future in self._under_way.values():
                future.cancel()

    def _run(self, key: Hashable, call: Callable[[], Result], future: Future[Result]) -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is told to those who wait
            self._end(key)
            with suppress(InvalidStateError):  # aborted
                future.set_exception(error)
        else:
            self._end(key)
            with suppress(InvalidStateError):
                future.set_result(result)

    def _end(self, key: Hashable) -> None:
        """Before the result is there: who has seen it must not get the same one for his next question."""
        with self._lock:
            del self._under_way[key]
