"""One request and what came back: deadlines, bounds, the map from httpcore's errors to Loss, and the stale connection.

Here foreign exceptions end. Above, a request has a status or a loss. `FileError` passes: it is ours, from the body.

A connection that the server closed while it was idle looks like one that broke: httpcore finds out on the next request, and only
if the server's FIN came in time. So a call that began on a kept connection, sent no more than the kernel alone may have swallowed
and did not get one byte back is made once more on a fresh one, as if nothing had been (F54). Every request here may be repeated: a
Store is idempotent by SOP Instance UID, deleting twice is deleting once, the rest are reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import httpcore

from ingestd.core.answers.answer import Loss
from ingestd.core.ports import Clock
from ingestd.dicomweb.identity.tls import Certificates
from ingestd.dicomweb.payload.answer_headers import DICOM_JSON, CodingError, plain
from ingestd.dicomweb.payload.store_body import Upload
from ingestd.dicomweb.wire.backend import Wires
from ingestd.dicomweb.wire.call import Call
from ingestd.dicomweb.wire.connection import NoConnectionError
from ingestd.dicomweb.wire.transport import Client, Response

ANSWER_LIMIT = 1 << 20  # bytes, without their coding; an answer that may be larger has its own limit, or a sink
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

    `problem` says why nothing was sent, or heard, fit for a log.
    """

    status: int | None = None
    loss: Loss | None = None
    problem: str | None = None
    content_type: str = ""
    retry_after: str | None = None
    warning: str | None = field(default=None, repr=False)
    date: str | None = None
    content: bytes = b""
    whole: bool = False
    sent: int = 0


class Sink(Protocol):
    """Takes the body of a 200 piece by piece, however large, instead of Reply.content; both methods say whether to read on.

    Pieces come without their content coding.

    `rate` in bytes a second: what has arrived gives the rest more time.
    """

    @property
    def rate(self) -> int: ...
    def begin(self, headers: Mapping[str, str]) -> bool: ...
    def take(self, piece: bytes) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked. `upload` has a fresh body for each try. `limit` in bytes, for an answer that no sink takes.

    `answer_within`: seconds that stand for response_timeout.
    """

    method: str
    url: str
    accept: str = DICOM_JSON
    upload: Upload | None = None
    sink: Sink | None = None
    limit: int = ANSWER_LIMIT
    answer_within: float | None = None


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
        self._client = Client(self._wires, connections=connections, proxy=proxy)

    def ask(self, request: Request, identity: Mapping[str, str], *, send_within: float = 0.0) -> Reply:
        """The reply to `request`, whose headers say who we are by `identity`.

        A try ends `send_within` + response_timeout seconds after its begin, the answer response_timeout seconds after the last
        byte was sent, or with a sink later, as it goes on arriving. Raises what the request's own body raises.
        """
        try:
            return self._once(request, identity, send_within, fresh=False)
        except _StaleConnectionError:
            return self._once(request, identity, send_within, fresh=True)

    def silent_seconds(self) -> float:
        """For how long a request has been out that nothing has come back for, the longest of them; 0.0 where there is none."""
        since = self._wires.silent_since()
        return 0.0 if since is None else self._clock.monotonic() - since

    def abort(self) -> None:
        """End every call under way: LOST. Those that come later: NOT_SENT."""
        self._wires.abort()

    def close(self) -> None:
        self._client.close()

    def _once(self, request: Request, identity: Mapping[str, str], send_within: float, *, fresh: bool) -> Reply:
        headers = {**identity, "Accept": request.accept}
        body = request.upload.fresh() if request.upload is not None else None
        if body is not None:
            headers |= {"Content-Type": body.content_type, "Content-Length": str(body.length)}
        sink, answer_within = request.sink, request.answer_within
        call = Call(
            self._clock,
            send_within=send_within,
            answer_within=self._response_timeout if answer_within is None else answer_within,
            connect_within=self._connect_timeout,
            answer_rate=sink.rate if sink is not None else None,
        )
        with self._wires.during(call):
            try:
                response = self._client.send(request.method, request.url, headers, body, fresh=fresh)
            except _FAILURES as error:
                if not fresh and self._stale(error, call):
                    raise _StaleConnectionError from error
                return Reply(loss=_loss(error, call), problem=_problem(error, call), sent=call.sent)
            try:
                if sink is not None and response.status_code == 200:
                    content, whole = b"", _pour(response, sink)
                else:
                    content, whole = _read(response, request.limit)
            except CodingError:
                content, whole = b"", False
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
            warning=response.headers.get("warning"),
            date=response.headers.get("date"),
            content=content,
            whole=whole,
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


def _body(response: Response) -> Iterator[bytes]:
    return plain(response.headers.get("content-encoding", ""), response.iter_raw())


def _read(response: Response, limit: int) -> tuple[bytes, bool]:
    """The body up to the limit, and whether that is all of it (F55). Raises CodingError."""
    content = bytearray()
    for piece in _body(response):
        content += piece
        if len(content) > limit:
            return bytes(content[:limit]), False
    return bytes(content), True


def _pour(response: Response, sink: Sink) -> bool:
    """Whether the sink has had all of the body. Raises CodingError."""
    return sink.begin(response.headers) and all(sink.take(piece) for piece in _body(response))


def _body_decides(status: int) -> bool:
    """Whether a status says nothing without its body: a Store Instances Response may stand in it."""
    return status < 300 or status in (400, 409, 415, 500)


def _loss(error: Exception, call: Call) -> Loss:
    if isinstance(error, _NOT_SENT) or call.tunnelling:
        return Loss.NOT_SENT
    return Loss.TIMEOUT if isinstance(error, _TIMEOUT) else Loss.LOST


def _problem(error: Exception, call: Call) -> str | None:
    """Why it came to nothing, in words of ours: httpcore's quote the peer (I7)."""
    if isinstance(error, NoConnectionError):
        return str(error)
    if isinstance(error, httpcore.ProxyError):
        # A status, for h11 lets nothing else through.
        status = str(error)[:3]
        wants = ", it wants a user and a password, and we have none for it" if status == "407" else ""
        return f"service.proxy opens no tunnel: it answers {status}{wants}"
    if call.tunnelling:
        return "service.proxy opens no tunnel"
    ended = any(word in str(error) for word in ("closed", "disconnected"))  # h11's and httpcore's words for it
    if call.is_foreign:
        return "what answers does not speak HTTP/1.1: check service.url (--url), its port, and http or https"
    if isinstance(error, httpcore.RemoteProtocolError) and not ended:
        return "what answers does not speak HTTP/1.1: look at it, and at what stands between"
    return None
