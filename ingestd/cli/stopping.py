"""Signals, and an end that nothing can hold up (F66).

SIGTERM, SIGINT and SIGHUP all mean the same. A closed terminal sends SIGHUP, but nohup(1) has it ignored. Under systemd it is a
restart that reads the configuration anew (Restart=always).

The first signal stops the daemon inside `shutdown.deadline_seconds`, the second at once; both only set a flag. A handler runs on
the main thread, which hears of nothing while it is stuck in the kernel, in a share that does not answer. So the number goes into a
socket, too (signal.set_wakeup_fd), and a thread that reads it ends the process when the main thread has not done so by then. What
that cuts off is as after SIGKILL: no file is lost, and at most something is sent again.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from types import FrameType, TracebackType

from ingestd.app import Application
from ingestd.cli.options import Exit
from ingestd.core.events import Event

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
GRACE_SECONDS = 3.0  # a stop, beyond its deadline: to join threads and write the last lines
LAST_LINES_SECONDS = 1.0  # log lines that wait when the process is ended by force


class Stops:
    """Counts signals from its entry on, and tells the daemon as soon as there is one; main thread only."""

    def __init__(self, deadline_seconds: float) -> None:
        self._deadline = deadline_seconds
        self._count = 0
        self._app: Application | None = None

    def __enter__(self) -> Stops:
        self._reads, self._writes = socket.socketpair()
        self._writes.setblocking(False)
        numbers = set(SIGNALS)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup(1)
            numbers.remove(signal.SIGHUP)
        self._handlers = {number: signal.signal(number, self._came) for number in numbers}
        self._wakeup = signal.set_wakeup_fd(self._writes.fileno(), warn_on_full_buffer=False)
        with suppress(RuntimeError):  # no thread to be had (F46): then it ends as it can
            threading.Thread(target=self._enforce, name="end", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._writes.close()

    def tell(self, app: Application) -> None:
        """From now on; and of those that came before."""
        self._app = app
        for _ in range(self._count):
            app.daemon.signal()

    def _came(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._app is not None:
            self._app.daemon.signal()

    def _enforce(self) -> None:
        with self._reads:
            if not self._reads.recv(1):
                return
            for wait in (self._deadline + GRACE_SECONDS, GRACE_SECONDS):
                self._reads.settimeout(wait)
                try:
                    if not self._reads.recv(1):
                        return
                except TimeoutError:
                    break
        if self._app is not None:
            self._app.log.log(Event.CUT_SHORT)
        leave(self._app, Exit.SOME_LEFT)


def leave(app: Application | None, code: Exit) -> None:
    """End the process without waiting for any thread."""
    if app is not None:
        app.log.close(LAST_LINES_SECONDS)
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)
