"""Where log lines leave the process: a bounded hand-over to one writer thread.

Standard output can be closed (EPIPE), full (ENOSPC) or blocked (a journal that does not read), and delivery goes on regardless
(F69). So `put` neither blocks nor raises; when the hand-over is full, or a write fails, the line is lost and counted, and the
next line that gets through says how many were. A thread that is stuck in write() can't hold up the end of the process: it is a
daemon thread and it writes to a descriptor of its own, so the interpreter has no lock of its to wait for.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable

from ingestd.core.ports import LogValue
from ingestd.threads.worker import Worker

Line = dict[str, LogValue]
WAITING_LINES = 1000


class Sink(Worker):
    """The thread "log". `render` turns a line into one text without a line break; `descriptor` is duplicated, so that no
    file opened later under its number can ever be written to."""

    name = "log"

    def __init__(self, *, descriptor: int, render: Callable[[Line], str], waiting_lines: int = WAITING_LINES) -> None:
        self._render = render
        self._room = waiting_lines
        self._changed = threading.Condition()
        self._waiting: deque[Line] = deque()
        self._dropped = 0
        self._stopping = False
        self._torn = False  # the last write broke off within a line
        try:
            self._descriptor = os.dup(descriptor)
        except OSError:  # closed before we began: every line is lost, and nothing else is
            self._descriptor = -1

    @property
    def dropped(self) -> int:
        """Lines lost since one last got through."""
        with self._changed:
            return self._dropped

    def put(self, line: Line) -> None:
        """Hand over one line; any thread, at once. After `stop` nothing is taken: the last line is the last."""
        with self._changed:
            if self._stopping:
                return
            if len(self._waiting) >= self._room:
                self._dropped += 1
                return
            self._waiting.append(line)
            self._changed.notify()

    def start(self) -> None:
        self._stopping = False
        super().start()

    def stop(self) -> None:
        """Ask it to write what is waiting and end; returns at once."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def close(self, deadline: float) -> None:
        """Write what is waiting, for at most `deadline` seconds; then what is left is lost."""
        self.stop()
        self.join(deadline)
        if not self.alive() and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if not self._waiting:
                    return
                line = self._waiting.popleft()
                dropped = self._dropped
            written = self._write(line | {"dropped": dropped} if dropped else line)
            with self._changed:
                self._dropped += -dropped if written else 1

    def _write(self, line: Line) -> bool:
        text = self._render(line) + "\n"
        rest = memoryview((("\n" if self._torn else "") + text).encode("utf-8", "backslashreplace"))
        whole = len(rest)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # somebody else made the pipe non-blocking
                self._wait_for_room()
            except OSError:
                self._torn = self._torn if len(rest) == whole else True
                return False
        self._torn = False
        return True

    def _wait_for_room(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll()
