"""The token cell: what senders get, when a token is fetched, and what a provider that hangs or fails can't do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes.ops_fakes import FakeClock

from ingestd.core.ports import Supervised
from ingestd.dicomweb.identity import token_cell
from ingestd.dicomweb.identity.headers import TokenError, TokenSource, bearer
from ingestd.dicomweb.identity.token_cell import HUNG_LIMIT, Token, TokenCell, TokenTroubleError
from ingestd.ops.clock import SystemClock

HOUR = 3600.0
PATIENCE = 0.3


class Provider:
    """Gives t1, t2, ... that live `life` seconds; fails, hangs and repeats itself as it is told."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.life = HOUR
        self.asked = 0
        self.failure: TokenError | None = None
        self.repeat = False
        self.answering = threading.Event()
        self.answering.set()

    def __call__(self) -> Token:
        self.asked += 1
        number = 1 if self.repeat else self.asked
        assert self.answering.wait(30)
        if self.failure is not None:
            raise self.failure
        return Token(value=f"t{number}", expires_at=self.clock.wall() + self.life)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def provider(clock: FakeClock) -> Iterator[Provider]:
    made = Provider(clock)
    yield made
    made.answering.set()


@pytest.fixture
def hanging(provider: Provider) -> Provider:
    """It hangs from the first request on."""
    provider.answering.clear()
    return provider


@pytest.fixture
def cell(provider: Provider, clock: FakeClock) -> Iterator[TokenCell]:
    made = TokenCell(provider, clock=clock, patience_seconds=PATIENCE, fetch_seconds=2 * PATIENCE)
    made.start()
    yield made
    made.stop()
    made.join(5)
    assert not made.alive()


def quiet(cell: TokenCell) -> bool:
    """No fetch is wanted or under way."""
    with cell._changed:
        return not cell._wanted and cell._begun == cell._ended


def until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_it_is_a_token_source_and_a_supervised_thread(cell: TokenCell) -> None:
    """mypy checks the annotations; this keeps them in the source."""
    source: TokenSource = cell
    thread: Supervised = cell
    assert (source.headers(), thread.name) == (bearer("t1"), "token")


# --- how long a token is used --------------------------------------------------------------------------------------------------


def test_a_token_is_reused_until_a_tenth_of_its_life_remains(
    cell: TokenCell, provider: Provider, clock: FakeClock
) -> None:
    """DESIGN 3: and then it is fetched ahead, while senders go on with the old one."""
    assert cell.headers() == bearer("t1")
    clock.advance(0.89 * HOUR)
    assert [cell.headers() for _ in range(3)] == [bearer("t1")] * 3
    assert provider.asked == 1
    clock.advance(0.02 * HOUR)
    provider.answering.clear()
    assert cell.headers() == bearer("t1")  # at once: nobody waits for the fetch
    provider.answering.set()
    until(lambda: cell.headers() == bearer("t2"))
    assert provider.asked == 2


def test_a_token_outlives_the_upload_it_is_taken_for(cell: TokenCell, provider: Provider, clock: FakeClock) -> None:
    """F63: a tenth of an hour is six minutes; an upload of twenty needs a fresher one, and waits for it."""
    assert cell.headers() == bearer("t1")
    clock.advance(45 * 60)
    assert cell.headers(lasting=10 * 60) == bearer("t1")
    assert cell.headers(lasting=20 * 60) == bearer("t2")
    assert provider.asked == 2


def test_an_upload_that_no_token_outlives_does_not_have_one_fetched_each_time(
    cell: TokenCell, provider: Provider, clock: FakeClock
) -> None:
    """I8: token requests stay bounded."""
    for _ in range(60):
        cell.headers(lasting=10 * HOUR)
        until(lambda: quiet(cell))
        clock.advance(60)
    assert provider.asked <= 3


def test_twenty_seconds_are_enough_to_live_on(cell: TokenCell, provider: Provider, clock: FakeClock) -> None:
    """Show 3: requests <= duration / lifetime + 1, with a sender every half second for two minutes."""
    provider.life = 20
    for _ in range(240):
        cell.headers(lasting=0.2)
        until(lambda: quiet(cell))
        clock.advance(0.5)
    assert provider.asked <= 120 / 20 + 1


def test_a_clock_that_is_set_changes_nothing(cell: TokenCell, provider: Provider, clock: FakeClock) -> None:
    """Expiry is a date; a life is a difference."""
    cell.headers()
    clock.jump(2 * HOUR)
    assert cell.headers() == bearer("t1")
    clock.jump(-4 * HOUR)
    assert (cell.headers(), provider.asked) == (bearer("t1"), 1)


def test_the_expiry_that_is_shown_is_the_providers(cell: TokenCell, clock: FakeClock) -> None:
    cell.headers()
    assert cell.expires_at == clock.wall() + HOUR


def test_before_the_first_token_no_expiry_is_shown(provider: Provider, clock: FakeClock) -> None:
    assert TokenCell(provider, clock=clock).expires_at == 0.0


# --- a provider that fails or hangs --------------------------------------------------------------------------------------------


def test_a_short_trouble_is_over_within_the_fetch(provider: Provider, clock: FakeClock) -> None:
    """F64: tenacity asks three times, with jitter."""

    def fetch() -> Token:
        if provider.asked < 2:
            provider.asked += 1
            raise TokenTroubleError("trouble")
        return provider()

    cell = TokenCell(fetch, clock=clock)
    cell.start()
    assert cell.headers() == bearer("t3")
    cell.stop()
    cell.join(5)


def test_what_asking_again_can_not_mend_is_not_asked_again(provider: Provider, clock: FakeClock) -> None:
    provider.failure = TokenError("auth.client_secret_file: it is empty")
    cell = TokenCell(provider, clock=clock)
    cell.start()
    until(lambda: quiet(cell))
    assert provider.asked == 1
    with pytest.raises(TokenError, match=r"^auth\.client_secret_file: it is empty$"):
        cell.headers()
    assert provider.asked == 2
    cell.stop()
    cell.join(5)


def test_a_fetch_at_the_start_that_fails_is_told_and_tried_again_although_nobody_asks(
    provider: Provider, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I3, F64: a daemon with an empty inbox asks for no token, and its status must be true all the same."""
    monkeypatch.setattr(token_cell, "LONGEST_REST_SECONDS", 0.1)
    provider.failure = TokenError("down")
    cell = TokenCell(provider, clock=clock)
    assert cell.problem is None
    cell.start()
    until(lambda: cell.problem == "down")
    provider.failure = None
    until(lambda: cell.problem is None)
    asked = provider.asked
    time.sleep(0.3)
    assert (provider.asked, cell.expires_at > 0) == (asked, True)
    cell.stop()
    cell.join(5)


def test_while_a_token_is_good_a_failed_refresh_costs_nothing_and_is_not_hurried(
    cell: TokenCell, provider: Provider, clock: FakeClock
) -> None:
    """F64: Entra is down for the last minutes of a life."""
    cell.headers()
    provider.failure = TokenError("down")
    clock.advance(0.95 * HOUR)
    for _ in range(100):
        assert cell.headers() == bearer("t1")
        until(lambda: quiet(cell))
    assert (provider.asked, cell.problem) == (2, "down")
    assert cell.headers(lasting=20 * 60) == bearer("t1")  # good now beats none
    provider.failure = None
    clock.advance(61)
    until(lambda: cell.headers() == bearer("t3"))
    assert cell.problem is None


def test_a_token_that_has_expired_is_not_used(cell: TokenCell, provider: Provider, clock: FakeClock) -> None:
    """I3: no token is better than a wrong one; and there is a new one as soon as the provider is back."""
    cell.headers()
    provider.failure = TokenError("down")
    clock.advance(HOUR + 1)
    with pytest.raises(TokenError, match=r"^down$"):
        cell.headers()
    provider.failure = None
    assert cell.headers() == bearer("t3")


def test_a_token_that_comes_expired_is_refused(provider: Provider, clock: FakeClock) -> None:
    """I3: the clock of one of the two is wrong."""
    provider.life = -1
    cell = TokenCell(provider, clock=clock, patience_seconds=20)
    cell.start()
    with pytest.raises(TokenError, match=r"^the identity provider gave one that has expired: check the clock"):
        cell.headers()
    assert cell.expires_at == 0.0
    cell.stop()
    cell.join(5)


def test_a_provider_that_hangs_blocks_nobody_for_long_and_is_not_waited_for_twice(
    provider: Provider, clock: FakeClock
) -> None:
    """F64: IMDS hangs for 75 s; each sender waits from the begin of the fetch, so a later one hardly at all."""
    provider.answering.clear()
    real = SystemClock()
    cell = TokenCell(provider, clock=real, patience_seconds=PATIENCE, fetch_seconds=10)
    provider.clock = real  # type: ignore[assignment]  # a Clock too
    cell.start()
    began = time.monotonic()
    with pytest.raises(
        TokenError, match=r"^the identity provider has not answered within 0\.3 s: look at what stands between"
    ):
        cell.headers()
    first = time.monotonic() - began
    with pytest.raises(TokenError):
        cell.headers()
    both = time.monotonic() - began
    assert first < PATIENCE + 0.5
    assert both - first < 0.2
    began = time.monotonic()
    cell.stop()
    cell.join(5)
    assert time.monotonic() - began < 0.5  # SIGTERM is prompt though the fetch hangs on
    provider.answering.set()


def test_a_token_that_comes_after_its_fetch_was_given_up_is_taken(hanging: Provider, cell: TokenCell) -> None:
    """F64."""
    until(lambda: cell._ended >= 1)
    assert cell.expires_at == 0.0
    hanging.answering.set()
    until(lambda: cell.expires_at > 0)
    assert cell.headers() == bearer("t1")


def test_fetches_that_hang_are_bounded(hanging: Provider, cell: TokenCell) -> None:
    """I8: no thread is added once two hang."""
    for number in range(1, 6):
        until(lambda n=number: cell._ended >= n)  # type: ignore[misc]  # bound at once
        with cell._changed:
            cell._want()
    assert hanging.asked == HUNG_LIMIT
    assert sum(t.name == "token fetch" for t in threading.enumerate()) == HUNG_LIMIT


def test_stopping_interrupts_the_waits_between_tries(
    provider: Provider, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F66: sleep_using_event."""
    monkeypatch.setattr("tenacity.wait.random.uniform", lambda _least, most: 4 * most)  # two seconds, then four
    provider.failure = TokenTroubleError("trouble")
    cell = TokenCell(provider, clock=clock)
    cell.start()
    until(lambda: provider.asked == 1)
    began = time.monotonic()
    cell.stop()
    cell.join(5)
    until(lambda: not any(t.name == "token fetch" for t in threading.enumerate()))
    assert time.monotonic() - began < 1
    assert provider.asked <= 2


def test_whoever_waits_when_it_stops_is_told_at_once(provider: Provider, clock: FakeClock) -> None:
    provider.answering.clear()
    cell = TokenCell(provider, clock=clock, patience_seconds=30)
    cell.start()
    with ThreadPoolExecutor() as pool:
        sender = pool.submit(cell.headers)
        until(lambda: cell._begun == 1)
        cell.stop()
        with pytest.raises(TokenError):
            sender.result(2)
    provider.answering.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_a_fetch_is_an_end_like_any_other(clock: FakeClock) -> None:
    """F10: nobody waits for ever, and the next fetch goes out."""
    outcomes = iter([KeyError("expires_in")])

    def fetch() -> Token:
        for error in outcomes:
            raise error
        return Token(value="t", expires_at=clock.wall() + HOUR)

    cell = TokenCell(fetch, clock=clock)
    cell.start()
    until(lambda: quiet(cell) and not any(t.name == "token fetch" for t in threading.enumerate()))
    assert cell.headers() == bearer("t")
    cell.stop()
    cell.join(5)


def test_started_again_it_goes_on(cell: TokenCell, provider: Provider) -> None:
    """F10: a dead thread is started anew and keeps the token it had."""
    cell.headers()
    cell.stop()
    cell.join(5)
    cell.start()
    assert (cell.headers(), provider.asked, cell.alive()) == (bearer("t1"), 1, True)


# --- after a 401 ---------------------------------------------------------------------------------------------------------------


def test_many_senders_that_meet_one_401_cause_one_fetch(cell: TokenCell, provider: Provider) -> None:
    """F63."""
    refused = cell.headers()
    start = threading.Barrier(20)

    def sender() -> object:
        start.wait()
        return cell.renewed(refused)

    with ThreadPoolExecutor(20) as pool:
        found = [job.result(10) for job in [pool.submit(sender) for _ in range(20)]]
    assert found == [bearer("t2")] * 20
    assert provider.asked == 2


def test_a_401_that_comes_late_gets_the_token_that_is_there(cell: TokenCell, provider: Provider) -> None:
    """Its request began with the old one."""
    refused = cell.headers()
    assert cell.renewed(refused) == bearer("t2")
    assert cell.renewed(refused) == bearer("t2")
    assert provider.asked == 2


def test_the_same_token_again_is_no_fresh_one(provider: Provider, cell: TokenCell) -> None:
    """IMDS repeats a token for hours: then the 401 is the answer, and the next request tries it again."""
    refused = cell.headers()
    provider.repeat = True
    assert cell.renewed(refused) is None
    assert (cell.headers(), provider.asked) == (refused, 2)


def test_a_refused_token_is_not_shown_again_while_there_is_no_other(cell: TokenCell, provider: Provider) -> None:
    """F63."""
    refused = cell.headers()
    provider.failure = TokenError("down")
    assert cell.renewed(refused) is None
    with pytest.raises(TokenError, match=r"^down$"):
        cell.headers()


def test_the_value_of_a_token_is_in_no_representation() -> None:
    """I7, F65."""
    assert "canary" not in repr(Token(value="canary", expires_at=0.0))
