"""sd_notify(3): what systemd is told, one datagram each. Without $NOTIFY_SOCKET nobody is told.

The socket never blocks: a manager that does not read must not hold up the loop.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping


class ServiceManager:
    """ports.Notifier. Never raises. `environment` is os.environ."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        self._address: bytes | None = None
        if name.startswith("/"):
            self._address = os.fsencode(name)
        elif name.startswith("@"):  # the abstract namespace (unix(7))
            self._address = b"\0" + os.fsencode(name[1:])
        self._watchdog_seconds = _watchdog_seconds(environment)

    @property
    def watchdog_seconds(self) -> float | None:
        """alive() must be called more often than this, best twice as often; None: nobody watches."""
        return self._watchdog_seconds

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={_one_line(status)}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={_one_line(status)}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self, seconds: float) -> None:
        """Stopping, and it may take `seconds` more."""
        self._send(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={max(0, round(seconds * 1e6))}")

    def _send(self, state: str) -> None:
        if self._address is None:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as out,
        ):
            out.sendto(state.encode("utf-8", "backslashreplace"), self._address)


def _one_line(text: str) -> str:
    """A line break would begin another assignment."""
    return " ".join(text.split())


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """sd_watchdog_enabled(3): only where the process is the one that is meant."""
    microseconds, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not (microseconds.isascii() and microseconds.isdigit()) or process not in ("", str(os.getpid())):
        return None
    return int(microseconds) / 1e6 or None
