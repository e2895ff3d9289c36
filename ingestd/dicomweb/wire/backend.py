"""The network backend of httpcore: makes connections, knows all that are open, and ends them from outside.

Each address of a host has its share of what is left of the connect timeout, so one that swallows packets does not use it up.
getaddrinfo can't be interrupted, so all who want a host wait for one lookup on a thread of its own, each as long as he has. Neither
the name lookup nor the TCP handshake keeps `abort` waiting.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress

import httpcore

from ingestd.dicomweb.identity.tls import Certificates
from ingestd.dicomweb.wire.call import Call
from ingestd.dicomweb.wire.connection import Address, NoConnectionError, Wire
from ingestd.threads.handover import NoThreadError
from ingestd.threads.single_flight import SingleFlight

Place = tuple[socket.AddressFamily, socket.SocketKind, int, str, Address]
SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class _Here(threading.local):
    call: Call


class Wires(httpcore.NetworkBackend):
    """Makes connections and knows all that are open."""

    def __init__(self, *, certificates: Certificates | None = None, tunnel: bool = False) -> None:
        """`tunnel`: the connections go to a proxy that is asked for a tunnel first."""
        self._lock = threading.Lock()
        self._open: set[Wire] = set()
        self._calls: set[Call] = set()
        self._here = _Here()
        self._lookups = SingleFlight[Sequence[Place]]()
        self._tunnel = tunnel
        self.certificates = certificates
        self.aborted = False

    @contextmanager
    def during(self, call: Call) -> Iterator[None]:
        """What this thread does in here belongs to `call`."""
        self._here.call = call
        with self._lock:
            self._calls.add(call)
        try:
            yield
        finally:
            del self._here.call
            with self._lock:
                self._calls.discard(call)

    def silent_since(self) -> float | None:
        """Since when a request is out that nothing has come back for, the longest of them. Any thread."""
        with self._lock:
            since = [call.silent_since for call in self._calls]
        return min((at for at in since if at is not None), default=None)

    @property
    def call(self) -> Call:
        """The call that this thread is in."""
        return self._here.call

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the call knows it
        local_address: str | None = None,  # noqa: ARG002 - never set
        socket_options: Iterable[SocketOption] | None = None,  # noqa: ARG002 - never set
    ) -> httpcore.NetworkStream:
        call = self.call
        problem = "the host name has no address"
        try:
            places = self._places(host, port, within=call.time_to_connect())
            for number, place in enumerate(places):
                try:
                    wire = self._reach(place, call.time_to_connect() / (len(places) - number))
                except OSError as error:
                    problem = _said(error)
                else:
                    call.connected, call.tunnelling = True, self._tunnel
                    return wire
        except TimeoutError:
            problem = "the name lookup took too long"
        except UnicodeError:  # IDNA has no form for it
            problem = "no such host name"
        except OSError as error:
            problem = f"the name lookup failed: {_said(error)}"
        raise NoConnectionError(f"no connection{' to service.proxy' if self._tunnel else ''}: {problem}")

    def _places(self, host: str, port: int, *, within: float) -> Sequence[Place]:
        """Where to connect to. Raises OSError (TimeoutError among them), UnicodeError for what can't be a host name."""
        with suppress(socket.gaierror):
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)

        def look() -> Sequence[Place]:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)

        try:
            return self._lookups.ask((host, port), look, name="lookup").result(max(within, 0))
        except CancelledError:
            raise ConnectionAbortedError from None
        except NoThreadError as error:
            raise OSError("no thread for the name lookup") from error

    def _reach(self, place: Place, seconds: float) -> Wire:
        family, kind, protocol, _, address = place
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        wire = Wire(self, made)
        try:
            wire.connect(address, seconds)
        except OSError:
            wire.close()
            raise
        return wire

    def opened(self, wire: Wire) -> None:
        with self._lock:
            self._open.add(wire)
            if self.aborted:
                wire.shut()

    def closed(self, wire: Wire) -> None:
        with self._lock:
            self._open.discard(wire)

    def abort(self) -> None:
        """From now on no connection is made and none that is open gives or takes another byte. Any thread."""
        with self._lock:
            self.aborted = True
            for wire in self._open:
                wire.shut()
        self._lookups.abort()


def _said(error: OSError) -> str:
    """The system's words for it."""
    return error.strerror or ("no answer in time" if isinstance(error, TimeoutError) else "aborted")
