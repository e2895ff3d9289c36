"""Requests that say who we are, and the one answer that is about that: 401.

A request takes its headers from the token source when it is made. After a 401 the source is asked once for others, and the request
is made once more, whole, with a fresh body; whatever comes of that is the answer (F63). Without a token nothing is sent.

How long an upload will take is asked before it begins, so that the token outlives it: as long as the last one by its size, twice
over, and never more than the deadline that the slowest line has.
"""

from __future__ import annotations

from dataclasses import replace

from ingestd.core.answers.answer import Loss
from ingestd.core.clock_doubt import ServiceDate
from ingestd.core.ports import Clock
from ingestd.dicomweb.identity.headers import Headers, TokenError, TokenSource
from ingestd.dicomweb.payload.answer_headers import http_date
from ingestd.dicomweb.wire.exchange import Exchange, Reply, Request

UNAUTHORIZED = 401
UNSIGNED = "no token"  # how the problem of a reply begins where there was none to be had
MINIMUM_RATE = 64 * 1024  # bytes a second: half a megabit, the slowest line that is still worth waiting for


class Signed:
    """An Exchange with an identity; `token` None is none at all. `minimum_rate` in bytes a second. Any thread."""

    def __init__(self, exchange: Exchange, token: TokenSource | None, *, clock: Clock, minimum_rate: int) -> None:
        self._exchange = exchange
        self._token = token
        self._clock = clock
        self._minimum_rate = minimum_rate
        self._last: tuple[int, float] | None = None  # bytes and seconds of the last upload that was answered
        self.date: ServiceDate | None = None  # of the newest whole answer that has one

    def ask(self, request: Request) -> Reply:
        """The reply. Deadlines as in Exchange.ask. Raises what the request's body and its sink raise."""
        size = request.upload.size if request.upload is not None else 0
        try:
            headers = self._token.headers(lasting=self._upload_seconds(size)) if self._token is not None else {}
        except TokenError as error:
            return Reply(loss=Loss.NOT_SENT, problem=f"{UNSIGNED}: {error}")
        reply = self._once(request, headers, size)
        if reply.status != UNAUTHORIZED or self._token is None:
            return reply
        fresh = self._token.renewed(headers)
        if fresh is None:
            return reply
        second = self._once(request, fresh, size)
        return replace(second, sent=reply.sent + second.sent)

    def silent_seconds(self) -> float:
        return self._exchange.silent_seconds()

    @property
    def token_problem(self) -> str | None:
        """Why there was no token to be had when one was last asked for; never waits."""
        problem = self._token.problem if self._token is not None else None
        return f"no fresh token: {problem}" if problem is not None else None

    def abort(self) -> None:
        self._exchange.abort()

    def close(self) -> None:
        self._exchange.close()

    def _once(self, request: Request, identity: Headers, size: int) -> Reply:
        began = self._clock.monotonic()
        reply = self._exchange.ask(request, identity, send_within=size / self._minimum_rate)
        if size and reply.status is not None and reply.sent >= size:
            self._last = (size, self._clock.monotonic() - began)
        if reply.whole and (date := http_date(reply.date)) is not None:
            self.date = ServiceDate(value=date, came=self._clock.monotonic())
        return reply

    def _upload_seconds(self, size: int) -> float:
        slowest = size / self._minimum_rate
        if self._last is None:
            return slowest
        last_size, seconds = self._last
        return min(slowest, 2 * seconds * max(1.0, size / last_size))
