"""Requests that say who we are, and the one answer that is about that: 401.

A request takes its headers from the token source when it is made. After a 401 the source is asked once for others, and the request
is made once more, whole, with a fresh body; whatever comes of that is the answer (F63). Without a token nothing is sent.

How long an upload will take is asked before it begins, so that the token outlives it: as long as the last one by its size, twice
over, and never more than the deadline that the slowest line has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Protocol

import httpx

from ingestd.core.answers.answer import Loss
from ingestd.core.clock_doubt import ServiceDate
from ingestd.core.ports import Clock
from ingestd.dicomweb.identity.headers import Headers, TokenError, TokenSource
from ingestd.dicomweb.payload.media_type import DICOM_JSON
from ingestd.dicomweb.payload.retry_after import http_date
from ingestd.dicomweb.wire.exchange import ANSWER_LIMIT, Exchange, Reply, Sink

UNAUTHORIZED = 401
UNSIGNED = "no token"  # how the problem of a reply begins where there was none to be had
MINIMUM_RATE = 64 * 1024  # bytes a second: half a megabit, the slowest line that is still worth waiting for


class Body(Protocol):
    """What a request carries, once; `length` in bytes."""

    @property
    def content_type(self) -> str: ...
    @property
    def length(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...


class Signed:
    """An Exchange with an identity; `token` None is none at all. `minimum_rate` in bytes a second. Any thread."""

    def __init__(self, exchange: Exchange, token: TokenSource | None, *, clock: Clock, minimum_rate: int) -> None:
        self._exchange = exchange
        self._token = token
        self._clock = clock
        self._minimum_rate = minimum_rate
        self._last: tuple[int, float] | None = None  # bytes and seconds of the last upload that was answered
        self.date: ServiceDate | None = None  # of the newest whole answer that has one

    def ask(
        self,
        method: str,
        url: str,
        *,
        accept: str = DICOM_JSON,
        body: Callable[[], Body] | None = None,
        size: int = 0,
        answer_within: float | None = None,
        sink: Sink | None = None,
        limit: int = ANSWER_LIMIT,
    ) -> Reply:
        """The reply. `body` makes a fresh one for each try, with `size` bytes of instances in it; `limit` in bytes of the answer.

        Deadlines as in Exchange.ask. Raises what the body and the sink raise.
        """

        def build(identity: Headers) -> httpx.Request:
            headers = {**identity, "Accept": accept}
            if body is None:
                return self._exchange.request(method, url, headers)
            content = body()
            headers |= {"Content-Type": content.content_type, "Content-Length": str(content.length)}
            return self._exchange.request(method, url, headers, content)

        try:
            headers = self._token.headers(lasting=self._upload_seconds(size)) if self._token is not None else {}
        except TokenError as error:
            return Reply(loss=Loss.NOT_SENT, problem=f"{UNSIGNED}: {error}")
        once = partial(self._once, build, size=size, answer_within=answer_within, sink=sink, limit=limit)
        reply = once(headers)
        if reply.status != UNAUTHORIZED or self._token is None:
            return reply
        fresh = self._token.renewed(headers)
        if fresh is None:
            return reply
        second = once(fresh)
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

    def _once(
        self,
        build: Callable[[Headers], httpx.Request],
        headers: Headers,
        *,
        size: int,
        answer_within: float | None,
        sink: Sink | None,
        limit: int,
    ) -> Reply:
        began = self._clock.monotonic()
        reply = self._exchange.ask(
            lambda: build(headers),
            send_within=size / self._minimum_rate,
            answer_within=answer_within,
            sink=sink,
            limit=limit,
        )
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
