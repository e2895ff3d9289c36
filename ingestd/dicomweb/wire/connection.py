"""One connection under httpcore: deadlines that hold, early answers, and an end from outside.

httpcore's timeouts are for one operation, so a server that takes or gives a byte now and then holds a sender for ever (F55, F56);
and it reads nothing before it has written everything, so a 413 from a server that then stops reading is lost in a write timeout
(F48). Here each call brings its own time and its own ledger (`Call`), and while a request is being written its socket is listened
to as well. An answer of 300 and above ends the writing, by a WriteError, which httpcore takes as "read the answer"; any other
answer waits until all is written, for some servers send their headers first.

Name lookup, TCP and TLS share the connect timeout, and so does a proxy's CONNECT: before the tunnel stands, what is written and
read belongs to the way and not to the request. A connection that was made with another TLS context than the files now give, a
client certificate that was renewed, counts as closed once it is idle.

What comes unasked is no answer (F83). The HTTP parser is handed one answer and no byte more (`Portions`); what is left over, or is
there before the next request begins, makes the connection count as closed.

A stream belongs to the thread of the call that uses it. Only `abort` comes from another thread: it shuts the socket down and closes
nothing, and the lock keeps it from a socket that is being closed.
"""

from __future__ import annotations

import os
import re
import select
import socket
import ssl
from contextlib import suppress
from typing import Protocol

import httpcore

from ingestd.dicomweb.identity.tls import Certificates, refuses_us, words
from ingestd.dicomweb.wire.call import Call
from ingestd.dicomweb.wire.portions import Portions

Address = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]

EARLY_LIMIT = 64 * 1024  # more than a TLS record: of one that is read in part, poll would not see the rest
# What the kernel may hold that the peer has no room for. Else it is megabytes: a slow peer drains them unseen, poll reports room
# only when a third is free, and by then the deadline of one that takes nothing has passed (F56).
UNSENT = 256 * 1024
_REFUSAL = re.compile(rb"(?:HTTP/1\.[01] 1\d\d[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n)*HTTP/1\.[01] [345]\d\d")
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class NoConnectionError(httpcore.ConnectError):
    """Nothing reached the service. The text says why, in words of ours that a log may hold (I7)."""


class Board(Protocol):
    """Knows all connections that are open; backend.Wires."""

    certificates: Certificates | None
    aborted: bool

    @property
    def call(self) -> Call:
        """The call that this thread is in."""

    def opened(self, wire: Wire) -> None: ...
    def closed(self, wire: Wire) -> None: ...


class Wire(httpcore.NetworkStream):
    """One connection, non-blocking underneath. `_early` is what was read off the socket and not yet handed on."""

    def __init__(self, wires: Board, made: socket.socket) -> None:
        self._wires = wires
        self._socket = made
        self._context: ssl.SSLContext | None = None
        self._early = bytearray()
        self._call: Call | None = None  # whose request was the last to be written
        self._portions = Portions()
        wires.opened(self)

    def connect(self, address: Address, seconds: float) -> None:
        """The TCP handshake. Raises OSError."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        with suppress(BlockingIOError):
            self._socket.connect(address)
        # From here on `abort` finds a socket to shut; before, it found none.
        if not self._wires.aborted and not self._wait(select.POLLOUT, max(seconds, 0)):
            raise TimeoutError
        if self._wires.aborted:
            raise ConnectionAbortedError
        if error := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the call knows it
        call = self._wires.call
        while not self._early:
            remaining = call.time_to_answer()
            if remaining <= 0:
                raise httpcore.ReadTimeout("no whole answer in time")
            try:
                data = self._socket.recv(EARLY_LIMIT)
            except _NOT_NOW as error:
                self._wait(_wanted(error, select.POLLIN), remaining)
            except OSError as error:
                raise _broken(error, httpcore.ReadError) from error
            else:
                if not data:
                    return data
                self._early += data
        data = self._portions.take(self._early, max_bytes)
        if not data:
            raise httpcore.ReadError("more than one answer")
        if not call.tunnelling:
            call.hear(data)
        return data

    def body_follows(self, *, chunked: bool, length: int | None) -> None:
        """The head of the answer has been read; see Portions."""
        self._portions.body_follows(chunked=chunked, length=length)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - the call knows it
        call = self._wires.call
        if call is not self._call:
            self._begin(call)
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
                # httpcore reads an answer all the same. One that is there can still be read; else the peer, which may well be
                # there (ENOBUFS, ENOMEM), must not wait for the rest while we wait for it.
                with suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_WR)
                raise httpcore.WriteError("the connection broke") from error
            else:
                call.sent += 0 if call.tunnelling else count
                left = left[count:]

    def _begin(self, call: Call) -> None:
        """Before the first byte of a request: nothing that a kept connection gives now can be the answer to it."""
        kept = self._call is not None
        self._call = call
        self._portions = Portions()
        if kept and self._unasked():
            raise httpcore.ReadError("closed, or answered before it was asked")

    def _unasked(self) -> bool:
        """Whether something can be read, be it the end."""
        return bool(self._early or self._wait(select.POLLIN, 0))

    def _listen(self) -> None:
        """Take what the server says before it has heard all; raise WriteError when there is no use in saying more."""
        if len(self._early) >= EARLY_LIMIT:
            return
        try:
            data = self._socket.recv(EARLY_LIMIT)
        except _NOT_NOW:  # TLS's own messages, such as session tickets
            return
        except OSError as error:
            raise _broken(error, httpcore.WriteError) from error
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
        ssl_context: ssl.SSLContext,  # noqa: ARG002 - Certificates has it
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the call knows it
    ) -> httpcore.NetworkStream:
        certificates, call = self._wires.certificates, self._wires.call
        if certificates is None or isinstance(self._socket, ssl.SSLSocket):
            raise NoConnectionError("TLS: none is set up for this")
        if self._early:  # in plain text: it must not be read as what TLS protects
            self.close()
            raise NoConnectionError("TLS: the peer spoke before the handshake")
        self._context = certificates.context()
        try:
            self._socket.settimeout(max(call.time_to_connect(), 0.001))
            self._socket = self._context.wrap_socket(
                self._socket, server_hostname=server_hostname, do_handshake_on_connect=False
            )
            self._socket.do_handshake()
            self._socket.setblocking(False)
        except TimeoutError as error:
            self.close()
            raise NoConnectionError("TLS: no handshake in time") from error
        except (OSError, ValueError) as error:  # SSLError and CertificateError are OSErrors; ValueError: no host name
            self.close()
            raise NoConnectionError(words(error)) from error
        if self._wires.aborted:  # it came while there was no socket to shut
            self.close()
            raise NoConnectionError("aborted")
        call.tunnelling = False
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
                return self._socket.fileno() < 0 or self._outdated() or self._unasked()
            case "ssl_object":
                return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
            case "socket":
                return self._socket
            case _:
                return None

    def _outdated(self) -> bool:
        certificates = self._wires.certificates
        return self._context is not None and certificates is not None and certificates.context() is not self._context


def _broken(error: OSError, otherwise: type[httpcore.NetworkError]) -> Exception:
    if refuses_us(error):
        return NoConnectionError(f"{words(error)}: the service refuses service.client_cert, or wants one")
    return otherwise("the connection broke")


def _wanted(error: OSError, otherwise: int) -> int:
    """TLS may have to read before it can write, and the other way round."""
    if isinstance(error, ssl.SSLWantReadError):
        return select.POLLIN
    return select.POLLOUT if isinstance(error, ssl.SSLWantWriteError) else otherwise
