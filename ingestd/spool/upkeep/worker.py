"""The upkeep thread: what may take its time, and must never make the queue wait for it.

Tasks come one after another, each a round at a time, in small steps; between two slices of work the thread rests three times as
long, so that it never has more than a quarter of a disk or of a processor. A task that hangs in the kernel (a stuck share)
holds up the other tasks and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

from ingestd.core.ports import Clock
from ingestd.threads.worker import Worker

SLICE_SECONDS = 0.02  # work of the upkeep thread without a rest: it rests three times as long
REST = 3.0
LONGEST_WAIT_SECONDS = 3600.0  # the upkeep thread, when nothing is due sooner


class Task(Protocol):
    """What is done again and again."""

    def due_at(self) -> float:
        """When the next round is due, on the monotonic clock."""

    def steps(self) -> Iterator[None]:
        """One round; each step is short but for what the disk takes. Raises nothing."""


class Upkeep(Worker):
    """The tasks and their thread."""

    name = "upkeep"

    def __init__(self, tasks: Sequence[Task], *, clock: Clock) -> None:
        self._tasks = tuple(tasks)
        self._clock = clock
        self._stop = threading.Event()

    def start(self) -> None:
        self._stop.clear()
        super().start()

    def stop(self) -> None:
        self._stop.set()

    def _work(self) -> None:
        while not self._stop.is_set():
            task = min(self._tasks, key=lambda one: one.due_at())
            wait = task.due_at() - self._clock.monotonic()
            if wait > 0:
                self._stop.wait(min(wait, LONGEST_WAIT_SECONDS))
            else:
                self._round(task)

    def _round(self, task: Task) -> None:
        began = self._clock.monotonic()
        for _ in task.steps():
            spent = self._clock.monotonic() - began
            if spent < SLICE_SECONDS:
                continue
            if self._stop.wait(spent * REST):
                return
            began = self._clock.monotonic()
