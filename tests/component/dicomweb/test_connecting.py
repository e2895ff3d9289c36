"""The way to a connection: nothing on it waits longer than it may, and `abort` waits for nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from fakes.bodies_fake import FakeBodies
from fakes.hostile_server import answering, hostile

from ingestd.core.answers.answer import Loss
from ingestd.dicomweb.origin.client import OriginServer
from ingestd.dicomweb.wire.backend import Wires
from ingestd.ops.clock import SystemClock
from ingestd.part10.digests import Arrival

pytestmark = pytest.mark.timeout(30)

Resolver = Callable[..., object]


@contextmanager
def client(url: str, **options: object) -> Iterator[OriginServer]:
    origin = OriginServer(url=url, bodies=FakeBodies(), arrival=Arrival, clock=SystemClock(), **options)
    try:
        yield origin
    finally:
        origin.abort()
        origin.close()


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, list[str]]]:
    """One that hangs until the event is set; the names it was asked for."""
    released, asked = threading.Event(), []
    resolve = socket.getaddrinfo

    def hangs(host: str, port: int, **options: int) -> object:
        if options.get("flags"):
            return resolve(host, port, **options)  # an address, not a name
        asked.append(host)
        released.wait(20)
        return resolve("127.0.0.1", port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    yield released, asked
    released.set()


@contextmanager
def black_hole() -> Iterator[int]:
    """A port whose packets go unanswered: its queue of connections is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        time.sleep(0.1)
        yield listener.getsockname()[1]


def test_a_resolver_that_hangs_is_bounded_by_the_connect_timeout(resolver: tuple[threading.Event, list[str]]) -> None:
    """F47: glibc's own bound is 5 s for each server and try."""
    with client("http://service.invalid/v2", connect_timeout=0.3) as origin:
        started = time.monotonic()
        found = origin.control()
    assert time.monotonic() - started < 2
    assert (found.loss, found.comment) == (Loss.NOT_SENT, "no connection: the name lookup took too long")


def test_many_requests_wait_for_one_lookup(resolver: tuple[threading.Event, list[str]]) -> None:
    """I8: a hanging resolver holds one thread, whatever is asked of it."""
    released, asked = resolver
    with hostile(answering(204)) as server, client(server.url.replace("127.0.0.1", "service.invalid")) as origin:
        with ThreadPoolExecutor(4) as pool:
            before = threading.active_count()
            found = [pool.submit(origin.control) for _ in range(4)]
            while not asked:
                time.sleep(0.01)
            time.sleep(0.1)
            assert threading.active_count() <= before + 5  # the pool's and one
            released.set()
            assert [f.result(5).status for f in found] == [204] * 4
    assert asked[:1] == ["service.invalid"]
    assert len(asked) <= 2  # one that came after the first had ended


def test_abort_does_not_wait_for_a_resolver(resolver: tuple[threading.Event, list[str]]) -> None:
    """F66: a second SIGTERM leaves at once."""
    _, asked = resolver
    with client("http://service.invalid/v2", connect_timeout=20.0) as origin, ThreadPoolExecutor(1) as pool:
        found = pool.submit(origin.control)
        while not asked:
            time.sleep(0.01)
        started = time.monotonic()
        origin.abort()
        assert found.result(2).loss is Loss.NOT_SENT
        assert origin.control().loss is Loss.NOT_SENT
        assert time.monotonic() - started < 1


def test_abort_does_not_wait_for_a_tcp_handshake() -> None:
    """F66."""
    with black_hole() as port, client(f"http://127.0.0.1:{port}/v2", connect_timeout=20.0) as origin:
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(origin.control)
            with pytest.raises(TimeoutError):  # it hangs
                found.result(0.3)
            started = time.monotonic()
            origin.abort()
            assert found.result(2).loss is Loss.NOT_SENT
            assert time.monotonic() - started < 1


def test_abort_does_not_wait_for_a_tls_handshake() -> None:
    """F66."""
    with hostile(lambda peer: peer.hold()) as server:
        with client(server.url.replace("http:", "https:"), connect_timeout=20.0) as origin:
            with ThreadPoolExecutor(1) as pool:
                found = pool.submit(origin.control)
                with pytest.raises(TimeoutError):
                    found.result(0.3)
                started = time.monotonic()
                origin.abort()
                assert found.result(2).loss is Loss.NOT_SENT
                assert time.monotonic() - started < 1


def test_a_tcp_handshake_that_never_ends_is_bounded() -> None:
    """F47."""
    with black_hole() as port, client(f"http://127.0.0.1:{port}/v2", connect_timeout=0.3) as origin:
        started = time.monotonic()
        found = origin.control()
    assert time.monotonic() - started < 2
    assert (found.loss, found.comment) == (Loss.NOT_SENT, "no connection: no answer in time")


def test_an_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """F47: a host with two addresses, one of them dead."""
    with black_hole() as dead, hostile(answering(204)) as server:
        places = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in (dead, server.port)]
        monkeypatch.setattr(Wires, "_places", lambda *_, **__: places)
        with client("http://service.invalid/v2", connect_timeout=2.0) as origin:
            started = time.monotonic()
            assert origin.control().status == 204
            assert time.monotonic() - started < 1.5


@pytest.mark.parametrize("host", ["x" * 64 + ".invalid", "a..invalid"])
def test_a_name_that_can_be_none_is_nothing_sent(host: str) -> None:
    """F47."""
    with client(f"http://{host}/v2") as origin:
        found = origin.control()
    assert found.loss is Loss.NOT_SENT
    assert found.comment is not None
    assert found.comment.startswith("no connection: ")


def test_a_name_that_nobody_has_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """F47, with the system's words."""

    def knows_nothing(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", knows_nothing)
    with client("http://service.invalid/v2") as origin:
        found = origin.control()
    assert (found.loss, found.comment) == (
        Loss.NOT_SENT,
        "no connection: the name lookup failed: Name or service not known",
    )
