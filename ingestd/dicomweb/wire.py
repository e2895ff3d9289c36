"""The sockets under httpcore, as its network backend: deadlines that hold, early answers, and an end from outside.

httpcore's timeouts are for one operation, so a server that takes or gives a byte now and then holds a sender for ever (F55, F56);
and it reads nothing before it has written everything, so a 413 from a server that then stops reading is lost in a write timeout
(F48). Here each call brings its own time and its own ledger (`Call`), and while a request is being written its socket is listened
to as well. An answer of 300 and above ends the writing, by a WriteError, which httpcore takes as "read the answer"; any other
answer waits until all is written, for some servers send their headers first.

Not interrupted, neither by a deadline nor by `abort`: the name lookup (the resolver's own timeouts) and the TCP handshake, which
has the connect timeout for each address of the host.

A stream belongs to the thread of the call that uses it. Only `abort` comes from another thread: it shuts the socket down and closes
nothing, and the lock keeps it from a socket that is being closed.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import httpcore

from ingestd.dicomweb.call import Call

EARLY_LIMIT = 64 * 1024
_REFUSAL = re.compile(rb"(?:HTTP/1\.[01] 1\d\d[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n)*HTTP/1\.[01] [345]\d\d")
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class _Here(threading.local):
    call: Call


class Wires(httpcore.NetworkBackend):
    """Makes connections and knows all that are open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Wire] = set()
        self._here = _Here()
        self.aborted = False

    @contextmanager
    def during(self, call: Call) -> Iterator[None]:
        """What this thread does in here belongs to `call`."""
        self._here.call = call
        try:
            yield
        finally:
            del self._here.call

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
        if self.aborted:
            raise httpcore.ConnectError("aborted")
        try:
            made = socket.create_connection((host, port), call.time_to_connect())
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("no connection in time") from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name that IDNA has no form for
            raise httpcore.ConnectError("no connection") from error
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)
        call.connected = True
        return Wire(self, made)

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


class Wire(httpcore.NetworkStream):
    """One connection, non-blocking underneath. `_early` is what was read while writing and not yet asked for."""

    def __init__(self, wires: Wires, made: socket.socket) -> None:
        self._wires = wires
        self._socket = made
        self._early = b""
        wires.opened(self)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the call knows it
        call = self._wires.call
        data = self._early[:max_bytes]
        self._early = self._early[max_bytes:]
        while not data:
            remaining = call.time_to_answer()
            if remaining <= 0:
                raise httpcore.ReadTimeout("no whole answer in time")
            try:
                data = self._socket.recv(max_bytes)
                break
            except _NOT_NOW as error:
                self._wait(_wanted(error, select.POLLIN), remaining)
            except OSError as error:
                raise httpcore.ReadError("the connection broke") from error
        call.received += len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - the call knows it
        call = self._wires.call
        left = memoryview(buffer)
        if self._wait(select.POLLIN, 0):
            self._listen()
        while left:
            remaining = call.time_to_send()
            if remaining <= 0:
                raise httpcore.WriteTimeout("the request was not taken in time")
            try:
                count = self._socket.send(left)
            except _NOT_NOW as error:
                listening = select.POLLIN if len(self._early) < EARLY_LIMIT else 0
                ready = self._wait(_wanted(error, select.POLLOUT) | listening, remaining)
                if not ready:
                    raise httpcore.WriteTimeout("the peer takes nothing") from error
                if ready & ~select.POLLOUT:
                    self._listen()
            except OSError as error:
                raise httpcore.WriteError("the connection broke") from error
            else:
                call.sent += count
                left = left[count:]

    def _listen(self) -> None:
        """Take what the server says before it has heard all; raise WriteError when there is no use in saying more."""
        if len(self._early) >= EARLY_LIMIT:
            return
        try:
            data = self._socket.recv(EARLY_LIMIT)
        except _NOT_NOW:  # TLS's own messages, such as session tickets
            return
        except OSError as error:
            raise httpcore.WriteError("the connection broke") from error
        self._early += data
        if not data or _REFUSAL.match(self._early):
            raise httpcore.WriteError("answered before the request was written")

    def _wait(self, events: int, seconds: float) -> int:
        """The events that came within `seconds`; the caller looks at the clock again."""
        poll = select.poll()
        try:
            poll.register(self._socket, events)
            ready = poll.poll(seconds * 1000)
        except (OSError, ValueError) as error:  # ValueError: closed under us
            raise httpcore.ReadError("the connection was closed") from error
        return ready[0][1] if ready else 0

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the call knows it
    ) -> httpcore.NetworkStream:
        if isinstance(self._socket, ssl.SSLSocket):
            raise httpcore.ConnectError("TLS inside TLS: give an http:// proxy")
        try:
            self._socket.settimeout(self._wires.call.time_to_connect())
            self._socket = ssl_context.wrap_socket(
                self._socket, server_hostname=server_hostname, do_handshake_on_connect=False
            )
            self._socket.do_handshake()
            self._socket.setblocking(False)
        except TimeoutError as error:
            self.close()
            raise httpcore.ConnectTimeout("no TLS in time") from error
        except (OSError, ValueError) as error:  # SSLError and CertificateError are OSErrors; ValueError: no host name
            self.close()
            raise httpcore.ConnectError("no TLS") from error
        if self._wires.aborted:  # it came while there was no socket to shut
            self.close()
            raise httpcore.ConnectError("aborted")
        return self

    def shut(self) -> None:
        # Not SSLSocket.shutdown: it first forgets TLS, and a sender that comes between would write plain text.
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        self._wires.closed(self)
        self._socket.close()

    def get_extra_info(self, info: str) -> object:
        match info:
            case "is_readable":
                return bool(self._early) or self._socket.fileno() < 0 or bool(self._wait(select.POLLIN, 0))
            case "ssl_object":
                return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
            case "socket":
                return self._socket
            case _:
                return None


def _wanted(error: OSError, otherwise: int) -> int:
    """TLS may have to read before it can write, and the other way round."""
    if isinstance(error, ssl.SSLWantReadError):
        return select.POLLIN
    return select.POLLOUT if isinstance(error, ssl.SSLWantWriteError) else otherwise
