"""Name lookup that nobody has to wait for longer than he wants to.

getaddrinfo can't be interrupted. So it runs on a thread of its own, one for a host at a time; all who want the host wait for the
same lookup, each for as long as he has. The thread keeps nothing from ending: neither `abort` nor the process waits for it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress

Address = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
Place = tuple[socket.AddressFamily, socket.SocketKind, int, str, Address]


class Lookup:
    """Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, int], Future[Sequence[Place]]] = {}
        self._aborted = False

    def places(self, host: str, port: int, *, within: float) -> Sequence[Place]:
        """Where to connect to. Raises OSError (TimeoutError among them), UnicodeError for what can't be a host name."""
        with suppress(socket.gaierror):
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        try:
            return self._join(host, port).result(max(within, 0))
        except CancelledError:
            raise ConnectionAbortedError from None

    def abort(self) -> None:
        """Nobody waits any longer, now or later."""
        with self._lock:
            self._aborted = True
            for future in self._under_way.values():
                future.cancel()

    def _join(self, host: str, port: int) -> Future[Sequence[Place]]:
        with self._lock:
            if self._aborted:
                raise ConnectionAbortedError
            if (future := self._under_way.get((host, port))) is None:
                future = Future()
                thread = threading.Thread(target=self._look, args=(host, port, future), name="lookup", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # the system gives no more threads
                    raise OSError("no thread for the name lookup") from error
                self._under_way[host, port] = future
            return future

    def _look(self, host: str, port: int, future: Future[Sequence[Place]]) -> None:
        try:
            places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            with suppress(InvalidStateError):  # aborted
                future.set_exception(error)
        else:
            with suppress(InvalidStateError):
                future.set_result(places)
        finally:
            with self._lock:
                del self._under_way[host, port]
