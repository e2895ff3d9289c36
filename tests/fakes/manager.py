"""What a service manager hears: sd_notify(3)'s datagrams, read when a test asks."""

from __future__ import annotations

import socket
from pathlib import Path


class Manager:
    """What systemd would be told. `setting` is for the daemon's environment."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.setblocking(False)
        self.setting = {"NOTIFY_SOCKET": str(folder / "notify")}
        self.words: list[str] = []

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def beats(self) -> int:
        """Of the watchdog, so far."""
        self._hear()
        return self.words.count("WATCHDOG=1")

    def status(self) -> str:
        """What `systemctl status` would show now; the datagrams of a second fill the socket's queue, so ask often."""
        self._hear()
        said = (word.partition("STATUS=")[2] for word in reversed(self.words) if "STATUS=" in word)
        return next(said, "")

    def _hear(self) -> None:
        try:
            while True:
                self.words.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            return
