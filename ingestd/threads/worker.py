"""A thread that is kept alive: whoever supervises it starts it again when it has died."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import ClassVar


class Worker(ABC):
    """One thread of a fixed name. It keeps nothing from ending: the process does not wait for it.

    A subclass has the work and the way to end it. `start` on a dead one starts it anew.
    """

    name: ClassVar[str]
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Raises RuntimeError, MemoryError where there is no thread to be had; then it is dead as before."""
        thread = threading.Thread(target=self._work, name=self.name, daemon=True)
        thread.start()
        self._thread = thread

    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @abstractmethod
    def stop(self) -> None:
        """Ask it to end; returns at once."""

    def join(self, timeout: float) -> None:
        """Wait for its end, for `timeout` seconds at most."""
        if self._thread is not None:
            self._thread.join(timeout)

    @abstractmethod
    def _work(self) -> None:
        """What the thread does until it is asked to end. An exception ends it, and `alive` says so."""
