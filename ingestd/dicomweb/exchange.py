"""One request and what came back: deadlines, bounds, the map from httpcore's errors to Loss, and the stale connection.

Here foreign exceptions end. Above, a request has a status or a loss. `FileError` passes: it is ours, from the body.

A connection that the server closed while it was idle looks like one that broke: httpcore finds out on the next request, and only
if the server's FIN came in time. So a call that began on a kept connection, sent no more than the kernel alone may have swallowed
and did not get one byte back is made once more on a fresh one, as if nothing had been (F54). Every request here may be repeated: a
Store is idempotent by SOP Instance UID, deleting twice is deleting once, the rest are reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from typing import Protocol

import httpcore
import httpx

from ingestd.core.answer import Loss
from ingestd.core.ports import Clock
from ingestd.dicomweb.call import Call
from ingestd.dicomweb.tls import Certificates
from ingestd.dicomweb.transport import Transport
from ingestd.dicomweb.wire import NoConnectionError
from ingestd.dicomweb.wires import Wires

ANSWER_LIMIT = 16 << 20
SOCKET_BUFFER = 4 << 20  # what tcp_wmem lets a socket hold: more was sent, so somebody was there
_NOT_SENT = (
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    httpcore.PoolTimeout,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)
_TIMEOUT = (httpcore.ReadTimeout, httpcore.WriteTimeout)
_LOST = (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError, httpcore.LocalProtocolError)
_FAILURES = _NOT_SENT + _TIMEOUT + _LOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A status or a loss. `whole`: all of the body is there; else `content` is its start. Bytes sent as HTTP has them.

    `problem` says why nothing was sent, fit for a log.
    """

    status: int | None = None
    loss: Loss | None = None
    problem: str | None = None
    content_type: str = ""
    retry_after: str | None = None
    date: str | None = None
    content: bytes = b""
    whole: bool = False
    sent: int = 0


class Sink(Protocol):
    """Takes the body of a 200 piece by piece, however large, instead of Reply.content. Both methods say whether to read on.

    `rate` in bytes a second: what has arrived gives the rest more time.
    """

    @property
    def rate(self) -> int: ...
    def begin(self, headers: Mapping[str, str]) -> bool: ...
    def take(self, piece: bytes) -> bool: ...


class _StaleConnectionError(Exception):
    """The server had closed the kept connection."""


class Exchange:
    """Makes requests. Any thread; each call uses its own thread from begin to end."""

    def __init__(
        self,
        *,
        clock: Clock,
        connections: int,
        connect_timeout: float,
        response_timeout: float,
        tls: Certificates | None,
        proxy: str | None,
    ) -> None:
        """`tls` where the service is reached over it. `proxy` is an http:// URL."""
        self._clock = clock
        self._connect_timeout = connect_timeout
        self._response_timeout = response_timeout
        self._wires = Wires(certificates=tls, tunnel=tls is not None and proxy is not None)
        self._client = httpx.Client(
            transport=Transport(self._wires, connections=connections, proxy=proxy),
            headers={"Accept-Encoding": "identity", "User-Agent": f"ingestd/{version('ingestd')}"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # takes none
            timeout=httpx.Timeout(None),  # Call keeps time
            trust_env=False,
            follow_redirects=False,
        )

    def request(
        self, method: str, url: str, headers: Mapping[str, str], content: Iterable[bytes] | None = None
    ) -> httpx.Request:
        """A request with the headers that all have."""
        return self._client.build_request(method, url, headers=dict(headers), content=content)

    def ask(self, build: Callable[[], httpx.Request], *, send_within: float = 0.0, sink: Sink | None = None) -> Reply:
        """The reply to the request that `build` makes, anew for each try.

        A try ends `send_within` + response_timeout seconds after its begin, the answer response_timeout seconds after the last
        byte was sent, or with a sink later, as it goes on arriving. Raises what the request's own body raises.
        """
        try:
            return self._once(build(), send_within, sink, fresh=False)
        except _StaleConnectionError:
            return self._once(build(), send_within, sink, fresh=True)

    def abort(self) -> None:
        """End every call under way: LOST. Those that come later: NOT_SENT."""
        self._wires.abort()

    def close(self) -> None:
        self._client.close()

    def _once(self, request: httpx.Request, send_within: float, sink: Sink | None, *, fresh: bool) -> Reply:
        request.extensions = {"fresh": fresh}
        call = Call(
            self._clock,
            send_within=send_within,
            answer_within=self._response_timeout,
            connect_within=self._connect_timeout,
            answer_rate=sink.rate if sink is not None else None,
        )
        with self._wires.during(call):
            try:
                response = self._client.send(request, stream=True)
            except _FAILURES as error:
                if not fresh and self._stale(error, call):
                    raise _StaleConnectionError from error
                return Reply(loss=_loss(error, call), problem=_problem(error, call), sent=call.sent)
            try:
                if sink is not None and response.status_code == 200:
                    content, whole = b"", _pour(response, sink)
                else:
                    content, whole = _read(response)
            except _FAILURES as error:
                if _body_decides(response.status_code):
                    return Reply(loss=_loss(error, call), sent=call.sent)
                content, whole = b"", False
            finally:
                response.close()
        return Reply(
            status=response.status_code,
            content_type=response.headers.get("content-type", ""),
            retry_after=response.headers.get("retry-after"),
            date=response.headers.get("date"),
            content=content,
            whole=whole and response.headers.get("content-encoding", "identity") == "identity",
            sent=call.sent,
        )

    def _stale(self, error: Exception, call: Call) -> bool:
        return (
            isinstance(error, _LOST)
            and not self._wires.aborted
            and not call.connected
            and call.received == 0
            and call.sent <= SOCKET_BUFFER
        )


def _read(response: httpx.Response) -> tuple[bytes, bool]:
    """The body as it came, undecoded (a compressed one was not asked for), up to the limit; and whether that is all (F55)."""
    content = bytearray()
    for piece in response.iter_raw():
        content += piece
        if len(content) > ANSWER_LIMIT:
            return bytes(content[:ANSWER_LIMIT]), False
    return bytes(content), True


def _pour(response: httpx.Response, sink: Sink) -> bool:
    """Whether the sink has had all of the body."""
    return sink.begin(response.headers) and all(sink.take(piece) for piece in response.iter_raw())


def _body_decides(status: int) -> bool:
    """Whether a status says nothing without its body: a Store Instances Response may stand in it."""
    return status < 300 or status in (400, 409, 415, 500)


def _loss(error: Exception, call: Call) -> Loss:
    if isinstance(error, _NOT_SENT) or call.tunnelling:
        return Loss.NOT_SENT
    return Loss.TIMEOUT if isinstance(error, _TIMEOUT) else Loss.LOST


def _problem(error: Exception, call: Call) -> str | None:
    """Why nothing was sent, in words of ours: httpcore's quote the peer (I7)."""
    if isinstance(error, NoConnectionError):
        return str(error)
    if isinstance(error, httpcore.ProxyError):
        # A status, for h11 lets nothing else through.
        return f"service.proxy opens no tunnel: it answers {str(error)[:3]}"
    return "service.proxy opens no tunnel" if call.tunnelling else None
