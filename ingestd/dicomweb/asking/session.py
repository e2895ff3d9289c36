"""Requests of a person's command: the daemon's wire, identity and patience, and one clear error where they come to nothing.

What may pass by itself (408, 429, 502 to 504, a connection that broke after sending) is asked again with full jitter, Retry-After
as floor, as often as `retry.instance_attempts` says. What a person mends faster than a wait is said at once: no connection, no
token, 401, 403. Every request here may be repeated (exchange.py says why).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import quote, urlencode

from ingestd.config import ServiceSettings
from ingestd.config.rules import retry_rules_of
from ingestd.core.answers.answer import Loss
from ingestd.core.errors import ServiceError
from ingestd.core.pace.backoff import RetryRules, full_jitter
from ingestd.core.ports import Clock, Rand
from ingestd.dicomweb.identity.headers import TokenSource
from ingestd.dicomweb.identity.source import certificates, token_source
from ingestd.dicomweb.identity.token_cell import TokenCell
from ingestd.dicomweb.origin.failures import Doing, failure, page, words
from ingestd.dicomweb.origin.partitions import partition_path
from ingestd.dicomweb.payload.answer_headers import DICOM_JSON, seconds_to_wait
from ingestd.dicomweb.payload.json_reader import Object, ObjectsSink
from ingestd.dicomweb.payload.store_body import Upload
from ingestd.dicomweb.wire.authorized import MINIMUM_RATE, Signed
from ingestd.dicomweb.wire.exchange import Exchange, Reply, Request, Sink

PASSES = frozenset({408, 429, 502, 503, 504})
PATIENCE_SECONDS = 30.0  # a command, for its token: a person's own login runs a program

BARE = "!$'()*,/:?@"  # what a query may hold as it is (RFC 3986 3.4), but for & = + ; which form decoders take apart
Query = Sequence[tuple[str, str]]
Rest = Callable[[float, str, int], None]
"""Waits so many seconds, after telling whoever looks on why and how many tries there have been."""
Told = Callable[[str, str, Reply], None]
"""Hears of each request: method, path, what came."""


class Session:
    """Asks one service. One thread."""

    rate = MINIMUM_RATE

    def __init__(
        self,
        exchange: Signed,
        *,
        url: str,
        partition: str | None,
        identified: bool,
        clock: Clock,
        rules: RetryRules,
        rand: Rand,
        rest: Rest,
        told: Told,
    ) -> None:
        self.url = url
        self._exchange = exchange
        self._partition = partition_path(partition)
        self._identified = identified
        self._clock = clock
        self._rules = rules
        self._rand = rand
        self._rest = rest
        self._told = told

    def get(
        self,
        path: str,
        doing: Doing,
        *,
        accept: str = DICOM_JSON,
        query: Query = (),
        sink: Sink | None = None,
        good: Iterable[int] = (200,),
        again: Callable[[], bool] = lambda: True,
        at_base: bool = False,
        bare: str = "",
    ) -> Reply:
        """GET `path`, below the partition unless `at_base`. `again`: whether a sink that was begun can begin once more. `bare` are
        characters that the query holds as they are, beside BARE.

        Raises ServiceError for any other status than the `good` ones, and where no whole answer came; and what `sink` raises.
        """
        asked = f"{'' if at_base else self._partition}{path}{_query(query, bare)}"
        request = Request(method="GET", url=f"{self.url}{asked}", accept=accept, sink=sink)
        return self._made(
            "GET",
            asked,
            lambda: self._exchange.ask(request),
            doing,
            good=frozenset(good),
            again=again,
        )

    def objects(
        self,
        path: str,
        doing: Doing,
        *,
        each: Callable[[Object], None],
        accept: str = DICOM_JSON,
        query: Query = (),
        at_base: bool = False,
        empty: Iterable[int] = (204,),
        bare: str = "",
    ) -> int:
        """Every object of the array that GET `path` gives; how many there were. `empty`: statuses that mean none.

        Asked again only while none has been handed on. Raises ServiceError, and what `each` raises.
        """
        sink = ObjectsSink(each, rate=self.rate)
        reply = self.get(
            path,
            doing,
            accept=accept,
            query=query,
            sink=sink,
            good=(200, *empty),
            again=lambda: sink.count == 0,
            at_base=at_base,
            bare=bare,
        )
        if reply.status == 200 and not (reply.whole and sink.finish()):
            raise self.error(doing, reply)
        return sink.count

    def delete(self, path: str, doing: Doing) -> None:
        """DELETE `path`. Raises ServiceError but for 200, 204 and, after a try whose answer was lost, 404."""
        asked = f"{self._partition}{path}"
        request = Request(method="DELETE", url=f"{self.url}{asked}", accept="*/*")
        lost = False

        def once() -> Reply:
            nonlocal lost
            reply = self._exchange.ask(request)
            if reply.status == 404 and lost:
                return Reply(status=204, whole=True)
            lost = lost or reply.loss is not None
            return reply

        self._made("DELETE", asked, once, doing, good=frozenset({200, 204}), again=lambda: True)

    def post(self, path: str, upload: Upload, limit: int) -> Reply:
        """One POST; the answer may have `limit` bytes. What it means is the core's business. Raises what the body raises."""
        asked = f"{self._partition}{path}"
        reply = self._exchange.ask(Request(method="POST", url=f"{self.url}{asked}", upload=upload, limit=limit))
        self._told("POST", asked, reply)
        return reply

    def error(self, doing: Doing, reply: Reply) -> ServiceError:
        """Why it came to nothing."""
        said = reply.problem or words(reply)
        return self.failure(doing, status=reply.status, loss=reply.loss, said=said, page=page(reply))

    def failure(
        self, doing: Doing, *, status: int | None, loss: Loss | None, said: str | None, page: str | None
    ) -> ServiceError:
        """The same, of what is known; `said`: the service's words, or why nothing was sent; `page`: as in Answer."""
        return failure(doing, status=status, loss=loss, said=said, url=self.url, identified=self._identified, page=page)

    def rest(self, retry_after: float | None, why: str, tries: int) -> None:
        """Wait before the next try, as long as the service wants (`retry_after`, seconds) and we bear."""
        rules = self._rules
        wait = full_jitter(base=rules.base_seconds, cap=rules.cap_seconds, attempt=tries, rand=self._rand())
        floor = min(retry_after or 0.0, rules.retry_after_cap_seconds)
        self._rest(max(wait, floor), why, tries)

    @property
    def tries(self) -> int:
        """How often something is asked at most."""
        return self._rules.instance_attempts

    def _made(
        self,
        method: str,
        path: str,
        once: Callable[[], Reply],
        doing: Doing,
        *,
        good: frozenset[int],
        again: Callable[[], bool],
    ) -> Reply:
        tries = 0
        while True:
            reply = once()
            self._told(method, path, reply)
            tries += 1
            if reply.status in good:
                return reply
            if not (reply.loss is Loss.LOST or reply.status in PASSES) or tries >= self.tries or not again():
                raise self.error(doing, reply)
            why = f"it answers {reply.status}" if reply.status is not None else "the connection broke"
            self.rest(seconds_to_wait(reply.retry_after, now=self._clock.wall()), why, tries)


def _query(query: Query, bare: str) -> str:
    return f"?{urlencode(query, safe=BARE + bare, quote_via=quote)}" if query else ""


@contextmanager
def session(settings: ServiceSettings, *, clock: Clock, rand: Rand, rest: Rest, told: Told) -> Iterator[Session]:
    """A session with what the settings say. Raises ConfigurationError."""
    service = settings.service
    token = token_source(settings.auth, service, clock=clock, patience_seconds=PATIENCE_SECONDS)
    exchange = Exchange(
        clock=clock,
        connections=1,
        connect_timeout=service.connect_timeout_seconds,
        response_timeout=service.response_timeout_seconds,
        tls=certificates(service, clock=clock),
        proxy=service.proxy,
    )
    with _started(token):
        try:
            yield Session(
                Signed(exchange, token, clock=clock, minimum_rate=MINIMUM_RATE),
                url=service.url,
                partition=service.partition,
                identified=token is not None,
                clock=clock,
                rules=retry_rules_of(settings.retry),
                rand=rand,
                rest=rest,
                told=told,
            )
        finally:
            exchange.close()


@contextmanager
def _started(token: TokenSource | None) -> Iterator[None]:
    if not isinstance(token, TokenCell):
        yield
        return
    token.start()
    try:
        yield
    finally:
        token.stop()
