"""The token cell: one token of the identity provider, kept for all senders and fetched by nobody who sends.

The thread "token" has it fetched and watches over the fetch; senders take what is there. A token is reused until the larger of two
reserves remains of it: the time the coming upload takes, and a tenth of its life. From then on the next sender to come has a fresh
one fetched in the background and goes on with the old one, unless that can't outlive its upload: then it waits. The reserve is
never more than half a life, or an upload that no token outlives would have one fetched for each request.

azure-identity caches too, and counts a token as expired for its last five minutes; so each fetch is made by a new credential, which
also reads secrets and certificates anew. (The provider may keep a cache of its own: IMDS gives the same token for hours. When a
fetch brings what we have, the next one waits a while, and after a 401 there is nothing fresh to try.)

The first one is fetched at the start, and after a fetch that failed the next one follows within a minute although nobody asks: so
`problem` is true of a daemon that has nothing to send.

A provider can hang (IMDS does for 75 s, F64). A sender waits `patience_seconds` from the begin of the fetch, then it is told that
there is none. A fetch that takes longer than `fetch_seconds` is left to itself on its own thread, of which there are never more
than HUNG_LIMIT; if it ends well after all, its token is taken.

Time: expiry is a date, but a life is a difference; so a wrong clock or one that is set right does no harm to what we hold.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tenacity import (
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_random_exponential,
)

from ingestd.core.ports import Clock
from ingestd.dicomweb.identity.headers import Headers, TokenError, bearer
from ingestd.threads.worker import Worker

ATTEMPTS = 3  # in one fetch
FETCH_SECONDS = 30.0  # a fetch of a token, until it is left to itself and another begins: IMDS hangs for 75 s
LONGEST_REST_SECONDS = 60.0  # the next fetch, after one that failed or brought the same token, at most
HUNG_LIMIT = 2

_ON_THE_WAY = "look at what stands between (DNS, firewall, service.proxy)"


class TokenTroubleError(TokenError):
    """The provider could not be asked, or gave nothing useful: it may be different in a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a fetch brings. `expires_at` in seconds since the epoch."""

    value: str = field(repr=False)
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """`ends` on Clock.monotonic(), `life` in seconds as it was when the token came."""

    token: Token
    life: float
    ends: float

    def reserve(self, lasting: float) -> float:
        """What must remain of it, in seconds, for an upload of `lasting` seconds."""
        return min(max(lasting, self.life / 10), self.life / 2)

    def outlives(self, lasting: float, *, now: float) -> bool:
        return self.ends - now > min(lasting, self.life / 2)


class TokenCell(Worker):
    """A TokenSource and the thread "token". `fetch` blocks, and raises TokenError."""

    name = "token"

    def __init__(
        self,
        fetch: Callable[[], Token],
        *,
        clock: Clock,
        patience_seconds: float = 5.0,
        fetch_seconds: float = FETCH_SECONDS,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._patience = patience_seconds
        self._fetch_seconds = fetch_seconds
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._hung: list[threading.Thread] = []
        self._kept: _Kept | None = None
        self._kept_from = 0  # the fetch that brought it
        self._refused: str | None = None  # drew a 401: not to be used again
        self._wanted = False
        self._begun = self._ended = 0  # fetches, counted
        self._began_at = 0.0
        self._rest_until = 0.0
        self._problem = "none has come yet"
        self._failure: str | None = None  # of the newest fetch that has ended

    # What senders ask

    def headers(self, *, lasting: float = 0.0) -> Headers:
        with self._changed:
            kept = self._usable()
            now = self._clock.monotonic()
            if kept is None:
                self._wait_for(self._want())
                kept = self._usable()
            elif kept.ends - now <= kept.reserve(lasting) and now >= self._rest_until:
                number = self._want()
                if not kept.outlives(lasting, now=now):
                    self._wait_for(number)
                    kept = self._usable()
            if kept is None:
                raise TokenError(self._problem)
            return bearer(kept.token.value)

    def renewed(self, refused: Headers) -> Headers | None:
        with self._changed:
            if self._kept is not None and bearer(self._kept.token.value) == refused:
                self._refused = self._kept.token.value
                self._wait_for(self._want())
            kept = self._usable()
            fresh = bearer(kept.token.value) if kept is not None else refused
            return fresh if fresh != refused else None

    @property
    def problem(self) -> str | None:
        """Why the newest fetch brought none; a token that is kept may be good all the same."""
        return self._failure

    @property
    def expires_at(self) -> float:
        """When the token that is kept ends, in seconds since the epoch; 0 while there is none."""
        kept = self._kept
        return kept.token.expires_at if kept is not None else 0.0

    def _usable(self) -> _Kept | None:
        kept = self._kept
        if kept is None or kept.token.value == self._refused or kept.ends <= self._clock.monotonic():
            return None
        return kept

    def _want(self) -> int:
        """Have one fetched, or join the fetch under way; its number."""
        if self._begun == self._ended and not self._wanted:
            self._wanted = True
            self._changed.notify_all()
        return self._begun + 1 if self._wanted else self._begun

    def _wait_for(self, number: int) -> None:
        now = self._clock.monotonic()
        began = self._began_at if self._begun == number else now
        left = max(began + self._patience - now, 0.0)
        if not self._changed.wait_for(lambda: self._ended >= number or self._stopping.is_set(), left):
            self._problem = self._unanswered(self._patience)

    def _unanswered(self, seconds: float) -> str:
        return f"the identity provider has not answered within {seconds:g} s: {_ON_THE_WAY}"

    # The thread

    def start(self) -> None:
        with self._changed:
            self._stopping.clear()
            self._ended = self._begun
            self._wanted = self._usable() is None
        super().start()

    def stop(self) -> None:
        """Ask it to end; whoever waits for a token is told that there is none."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                rest = LONGEST_REST_SECONDS if self._failure is not None else None
                self._changed.wait_for(lambda: self._wanted or self._stopping.is_set(), rest)
                if self._stopping.is_set():
                    return
                self._wanted = False
                self._begun += 1
                self._began_at = self._clock.monotonic()
                number = self._begun
            self._watch(number)

    def _watch(self, number: int) -> None:
        """Have it fetched, and wait for that no longer than `fetch_seconds`."""
        self._hung = [thread for thread in self._hung if thread.is_alive()]
        if len(self._hung) >= HUNG_LIMIT:
            self._take(number, None, f"the identity provider hangs, earlier requests have not come back: {_ON_THE_WAY}")
            return
        fetching = threading.Thread(target=self._fetch_one, args=(number,), name="token fetch", daemon=True)
        fetching.start()
        with self._changed:
            over = self._changed.wait_for(
                lambda: self._ended >= number or self._stopping.is_set(), timeout=self._fetch_seconds
            )
        if not over:
            self._hung.append(fetching)
            self._take(number, None, self._unanswered(self._fetch_seconds))

    def _fetch_one(self, number: int) -> None:
        token, problem = None, "the fetch came to an unexpected end"
        tries = Retrying(
            retry=retry_if_exception_type(TokenTroubleError),
            stop=stop_after_attempt(ATTEMPTS) | stop_when_event_set(self._stopping),
            wait=wait_random_exponential(multiplier=0.5, max=4),
            sleep=sleep_using_event(self._stopping),
            reraise=True,
        )
        try:
            token = tries(self._fetch_checked)
        except TokenError as error:
            problem = str(error)
        finally:
            self._take(number, token, problem)

    def _fetch_checked(self) -> Token:
        token = self._fetch()
        if token.expires_at <= self._clock.wall():
            raise TokenTroubleError("the identity provider gave one that has expired: check the clock of this machine")
        return token

    def _take(self, number: int, token: Token | None, problem: str) -> None:
        """A fetch has ended."""
        with self._changed:
            if token is None and number <= self._ended:
                return  # it was given up, and has failed since
            now = self._clock.monotonic()
            before = self._kept
            if token is not None and number >= self._kept_from:
                life = token.expires_at - self._clock.wall()
                self._kept = _Kept(token=token, life=life, ends=now + life)
                self._kept_from = number
                self._refused = None
            kept = self._kept
            no_better = token is None or (before is not None and before.token.value == token.value)
            rest = min(max((kept.ends - now) / 4, 1.0), LONGEST_REST_SECONDS) if kept is not None and no_better else 0.0
            self._rest_until = now + rest
            self._failure = problem if token is None else None
            if token is None:
                self._problem = problem
            self._ended = max(self._ended, number)
            self._changed.notify_all()
