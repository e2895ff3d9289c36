"""Health and metrics over HTTP: GET and HEAD of three paths, one request a connection.

prometheus_client's own server has neither timeouts nor caps, and 200 idle clients cost it 200 threads (F68). Here at most
CONNECTIONS are open; when one more comes, the oldest goes, for whoever asks in earnest asks at once and is served in
milliseconds. No connection lives longer than LIFE_SECONDS, however slowly it speaks. The answers come from values that are
already there: nothing here waits for a disk that can stick or for the service.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer, TCPServer, ThreadingMixIn
from types import MappingProxyType
from typing import Any

from ingestd.core.errors import ConfigurationError
from ingestd.core.ports import Clock
from ingestd.threads.worker import Worker

CONNECTIONS = 16
LIFE_SECONDS = 5.0  # a connection to health and metrics, in all, however slowly it speaks
TICK_SECONDS = 0.25  # the admin thread, until it looks at old connections and whether to stop
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PLAIN_TYPE = "text/plain; charset=utf-8"

LIVEZ, READYZ, METRICS = "/livez", "/readyz", "/metrics"
PAGES: Mapping[str, str] = MappingProxyType(
    {
        LIVEZ: (
            "200 and `ok` while the daemon's loop ticks, else 503 and what is wrong. Red means: restart the process. It never "
            "depends on the service, nor on a share."
        ),
        READYZ: (
            "200 and `ok` once the inbox was looked at, else 503 and a line each: a folder is away, full or read-only, the "
            "journal can't be written, nothing at all could be moved out of the inbox since the start. It never depends on the "
            "service."
        ),
        METRICS: "200 and all metrics in Prometheus' text format 0.0.4.",
    }
)

Problem = Callable[[], str | None]
Details = Callable[[], Sequence[str]]


class PortTakenError(ConfigurationError):
    """Another process listens there."""


class AdminServer(Worker):
    """The thread "admin". The port is taken at once: ConfigurationError when that can't be, PortTakenError when another process
    has it.

    `live` and `ready` give None, or what is wrong, a line each cause; `details` gives a line each for what is wrong and turns
    neither red. No line has a path in it. `metrics` gives the text format.
    """

    name = "admin"

    def __init__(
        self,
        listen: str,
        *,
        clock: Clock,
        live: Problem,
        ready: Problem,
        metrics: Callable[[], bytes],
        details: Details = tuple,
    ) -> None:
        pages = {LIVEZ: _health(live, details), READYZ: _health(ready, details), METRICS: _page(metrics)}
        self._server = _bind(listen, clock, pages)
        self._address: tuple[str, int] = self._server.socket.getsockname()[:2]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on, whatever port 0 became."""
        return self._address

    def stop(self) -> None:
        """For good: the port is closed at once."""
        self._server.stopping.set()
        _hang_up(self._server.socket)  # wakes the thread

    def join(self, timeout: float) -> None:
        """Wait for the thread, then give the port back."""
        super().join(timeout)
        if not self.alive():
            self._server.close_all()
            self._server.server_close()

    def _work(self) -> None:
        while not self._server.stopping.is_set():
            self._server.handle_request()  # comes back after TICK_SECONDS when nobody calls
            self._server.close_older_than(LIFE_SECONDS)


Answer = tuple[HTTPStatus, str, bytes]
Pages = dict[str, Callable[[], Answer]]


def _health(problem: Problem, details: Details) -> Callable[[], Answer]:
    """`ok` is the first line, whatever stands below it: that is what probes read."""

    def answer() -> Answer:
        found = problem()
        status = HTTPStatus.OK if found is None else HTTPStatus.SERVICE_UNAVAILABLE
        lines = ("ok", *details()) if found is None else (found,)
        return status, PLAIN_TYPE, "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")

    return answer


def _page(content: Callable[[], bytes]) -> Callable[[], Answer]:
    return lambda: (HTTPStatus.OK, METRICS_TYPE, content())


def _bind(listen: str, clock: Clock, pages: Pages) -> _Server:
    host, _, port = listen.rpartition(":")
    try:
        if not port.isdigit() or int(port) > 65535:
            raise ConfigurationError(f"admin.listen = {listen}: give HOST:PORT, such as 127.0.0.1:9464, or off")
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return _Server(found[0][0], found[0][4], clock, pages)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "not a host name"
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise (PortTakenError if taken else ConfigurationError)(
            f"admin.listen = {listen}: can't listen there ({why.lower()}): choose another port or address, or off"
        ) from error


class _Server(ThreadingMixIn, TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    timeout = TICK_SECONDS

    def __init__(self, family: int, address: Any, clock: Clock, pages: Pages) -> None:
        self.address_family = family
        self.stopping = threading.Event()
        self._clock = clock
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}  # in the order of their coming
        super().__init__(address, partial(_Handler, pages))

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            self.stopping.wait(TICK_SECONDS)  # out of descriptors: at once it would only fail again
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self._close_oldest()
            if not self._slots.acquire(timeout=TICK_SECONDS):
                self.shutdown_request(request)
                return
        with self._lock:
            self._open[request] = self._clock.monotonic()
        try:
            super().process_request(request, client_address)
        except (RuntimeError, MemoryError):  # no thread to be had (F46): whoever asks sees that nobody answers
            self._leave(request)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leave(request)

    def _leave(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # socketserver's signature
        """A client that went away is nothing; anything else ends the thread, and threading.excepthook says so."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            raise error

    def close_older_than(self, seconds: float) -> None:
        limit = self._clock.monotonic() - seconds
        with self._lock:
            for connection, since in self._open.items():
                if since < limit:
                    _hang_up(connection)

    def close_all(self) -> None:
        with self._lock:
            for connection in self._open:
                _hang_up(connection)

    def _close_oldest(self) -> None:
        with self._lock:
            if oldest := next(iter(self._open), None):
                _hang_up(oldest)
                del self._open[oldest]  # so that the next one takes the next


def _hang_up(connection: socket.socket) -> None:
    """Its thread reads the end and leaves."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = LIFE_SECONDS

    def __init__(self, pages: Pages, request: Any, client_address: Any, server: BaseServer) -> None:
        self._pages = pages
        super().__init__(request, client_address, server)

    def version_string(self) -> str:
        return "ingestd"

    def do_GET(self) -> None:
        self._show()

    def do_HEAD(self) -> None:
        self._show()

    def _show(self) -> None:
        page = self._pages.get(self.path.partition("?")[0])
        if page is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self._answer(*page())

    def send_error(
        self,
        code: int,
        message: str | None = None,  # noqa: ARG002  # BaseHTTPRequestHandler's signature
        explain: str | None = None,  # noqa: ARG002  # the same
    ) -> None:
        """One line of ours: what a client sent is never repeated to it."""
        if code == HTTPStatus.NOT_IMPLEMENTED:  # BaseHTTPRequestHandler's answer to another method
            code = HTTPStatus.METHOD_NOT_ALLOWED
        status = HTTPStatus(code)
        self._answer(status, PLAIN_TYPE, status.phrase.lower().encode() + b"\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # BaseHTTPRequestHandler's name
        """Whoever asks is not news."""

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
