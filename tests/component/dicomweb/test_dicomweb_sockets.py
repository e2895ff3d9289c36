"""How the client bears servers that no specification allows for. Every test here has a clock running against it."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fakes.bodies_fake import FakeBodies, parts
from fakes.hostile_server import HostileServer, Peer, Script, answer, answering, hostile, named

from ingestd.core.answers.answer import Answer, Loss
from ingestd.dicomweb.identity.tls import Certificates
from ingestd.dicomweb.origin.client import OriginServer
from ingestd.dicomweb.wire.backend import Wires
from ingestd.dicomweb.wire.connection import Wire
from ingestd.ops.clock import SystemClock
from ingestd.part10.digests import Arrival

pytestmark = pytest.mark.timeout(30)

SMALL = b"s" * 1000
LARGE = b"L" * (64 << 20)
GOOD = answer(200, named("1.2.3.4.1"), content_type="application/dicom+json")


@contextmanager
def client(server: HostileServer, bodies: FakeBodies, **options: object) -> Iterator[OriginServer]:
    settings: dict[str, object] = {"connect_timeout": 2.0, "response_timeout": 5.0} | options
    origin = OriginServer(url=server.url, bodies=bodies, arrival=Arrival, clock=SystemClock(), **settings)
    try:
        yield origin
    finally:
        origin.close()


def store(
    script: Script,
    content: bytes = SMALL,
    *,
    tls: tuple[Certificates, ssl.SSLContext] | None = None,
    **options: object,
) -> Answer:
    bodies = FakeBodies()
    instance = bodies.add(content)
    ours, theirs = tls or (None, None)
    with hostile(script, tls=theirs) as server, client(server, bodies, tls=ours, **options) as origin:
        return origin.store([instance])


def outcome(found: Answer) -> int | Loss | None:
    return found.status if found.loss is None else found.loss


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificates, ssl.SSLContext]:
    """The client's trust, and the server's context with a certificate for 127.0.0.1 that the client trusts."""
    folder = tmp_path_factory.mktemp("tls")
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate(folder))
    return Certificates(clock=SystemClock(), ca_bundle=folder / "cert.pem"), theirs


def certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "cert.pem"
    path.write_bytes(pem + private)
    return path


# --- answers before the request was read (F48) ------------------------------------------------------------------------------------


def then_close(peer: Peer) -> None:
    pass


def then_half_close(peer: Peer) -> None:
    peer.half_close()
    peer.hold()


def then_stop_reading(peer: Peer) -> None:
    peer.hold()


def then_read_all(peer: Peer) -> None:
    peer.everything()


def refusing(status: int, then: Script) -> Script:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(answer(status, b"no", headers={"Retry-After": "7"}))
        then(peer)

    return script


@pytest.mark.parametrize("then", [then_close, then_half_close, then_stop_reading, then_read_all])
@pytest.mark.parametrize("status", [413, 401, 503])
def test_an_early_refusal_is_heard_while_sending(status: int, then: Script) -> None:
    """F48: also where the server stops reading and leaves the connection open, which plain httpx reports as a write timeout."""
    started = time.monotonic()
    found = store(refusing(status, then), LARGE)
    assert (outcome(found), found.retry_after) == (status, 7.0)
    assert found.sent_bytes < len(LARGE)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("then", [then_half_close, then_stop_reading, then_read_all])
def test_an_early_refusal_is_heard_under_tls(then: Script, tls: tuple[Certificates, ssl.SSLContext]) -> None:
    """F48."""
    assert outcome(store(refusing(413, then), LARGE, tls=tls)) == 413


def test_session_tickets_are_no_answer(tls: tuple[Certificates, ssl.SSLContext]) -> None:
    """TLS 1.3 sends them unasked, so the socket is readable while nothing was said."""
    found = store(answering(200, named("1.2.3.4.1")), LARGE, tls=tls)
    assert outcome(found) == 200
    assert found.sent_bytes > len(LARGE)


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 102 Processing\r\nX-A: b\r\n\r\n", GOOD[:20]]
)
def test_what_is_no_refusal_lets_the_request_end(interim: bytes) -> None:
    """An interim response, or a 200 that begins early: the rest of the files still goes out."""

    def script(peer: Peer) -> None:
        _, headers = peer.head()
        peer.send(interim)
        peer.body(int(headers["content-length"]))
        peer.send(GOOD[20:] if interim == GOOD[:20] else GOOD)
        peer.hold()

    found = store(script, LARGE)
    assert outcome(found) == 200
    assert found.response is not None


def test_a_200_that_comes_in_pieces_while_we_send_is_read_whole() -> None:

    def script(peer: Peer) -> None:
        _, headers = peer.head()
        peer.send(GOOD[:20])
        peer.body(8 << 20)
        peer.send(GOOD[20:])
        peer.body(int(headers["content-length"]) - (8 << 20))
        peer.hold()

    found = store(script, LARGE)
    assert outcome(found) == 200
    assert found.response is not None


def test_a_refusal_after_an_interim_response_is_heard() -> None:
    """F48."""

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(413))
        peer.hold()

    assert outcome(store(script, LARGE)) == 413


# --- no answer (F47, F49) ---------------------------------------------------------------------------------------------------------


def resets_mid_body(peer: Peer) -> None:
    peer.head()
    peer.body(100_000)
    peer.reset()


def closes_after_the_body(peer: Peer) -> None:
    peer.request()


def resets_after_the_body(peer: Peer) -> None:
    peer.request()
    peer.reset()


def says_nothing(peer: Peer) -> None:
    peer.request()
    peer.hold()


def breaks_off_the_answer(peer: Peer) -> None:
    peer.request()
    peer.send(GOOD[:-5])


def speaks_no_http(peer: Peer) -> None:
    peer.request()
    peer.send(b"220 mail.example ESMTP\r\n")


def sends_headers_for_ever(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        peer.send(b"X: y\r\n" * 1000)


@pytest.mark.parametrize(
    "script",
    [
        resets_mid_body,
        closes_after_the_body,
        resets_after_the_body,
        breaks_off_the_answer,
        speaks_no_http,
        sends_headers_for_ever,
    ],
)
def test_a_connection_that_breaks_leaves_the_outcome_unknown(script: Script) -> None:
    """F49: and a new connection is not tried twice by itself."""
    bodies = FakeBodies()
    with hostile(script) as server, client(server, bodies) as origin:
        found = origin.store([bodies.add(b"x" * 3_000_000)])
    assert outcome(found) is Loss.LOST
    assert (found.response, server.connections) == (None, 1)
    assert ("does not speak HTTP/1.1" in (found.problem or "")) is (script in (speaks_no_http, sends_headers_for_ever))


def test_silence_after_the_body_is_a_timeout() -> None:
    """F49."""
    started = time.monotonic()
    found = store(says_nothing, response_timeout=0.5)
    assert outcome(found) is Loss.TIMEOUT
    assert 0.4 < time.monotonic() - started < 3
    assert found.seconds >= 0.4


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v2", "http://nobody.invalid/v2"])
def test_nobody_there_is_nothing_sent(url: str) -> None:
    """F47, I3."""
    bodies = FakeBodies()
    origin = OriginServer(url=url, bodies=bodies, arrival=Arrival, clock=SystemClock(), connect_timeout=2.0)
    found = origin.store([bodies.add(SMALL)])
    origin.close()
    assert (outcome(found), found.sent_bytes) == (Loss.NOT_SENT, 0)


def test_a_certificate_that_is_not_trusted_is_nothing_sent(tls: tuple[Certificates, ssl.SSLContext]) -> None:
    """F47."""
    found = store(answering(200), tls=(Certificates(clock=SystemClock()), tls[1]))
    assert (outcome(found), found.sent_bytes) == (Loss.NOT_SENT, 0)


def test_a_tls_handshake_that_never_ends_is_bounded(tls: tuple[Certificates, ssl.SSLContext]) -> None:
    """F47: connect_timeout has TLS in it."""
    bodies = FakeBodies()
    with hostile(then_stop_reading) as server:
        url = server.url.replace("http:", "https:")
        origin = OriginServer(
            url=url, bodies=bodies, arrival=Arrival, clock=SystemClock(), connect_timeout=0.4, tls=tls[0]
        )
        started = time.monotonic()
        assert outcome(origin.control()) is Loss.NOT_SENT
        assert time.monotonic() - started < 2
        origin.close()


# --- the connection was idle too long (F54) ---------------------------------------------------------------------------------------


def one_answer_then(end: Callable[[Peer], None]) -> Script:
    """Answers one request, and closes when the next one has begun: the client can't have known."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(GOOD)
        peer.head()
        end(peer)

    return script


@pytest.mark.parametrize("end", [then_close, Peer.reset])
def test_a_stale_connection_costs_no_attempt(end: Callable[[Peer], None]) -> None:
    """F54, F57: the whole body goes out again on a fresh connection, under another boundary."""
    bodies = FakeBodies()
    content = b"c" * 300_000
    with hostile(one_answer_then(end), answering(200, named("1.2.3.4.1"))) as server:
        with client(server, bodies) as origin:
            first = origin.store([bodies.add(SMALL)])
            second = origin.store([bodies.add(content)])
    assert (outcome(first), outcome(second), server.connections) == (200, 200, 2)
    request = server.requests[-1]
    assert list(parts(request.content_type, request.body)) == [content]
    assert second.sent_bytes < 2 * len(content)
    assert bodies.passes == 3


def test_a_closed_idle_connection_is_not_used_again() -> None:
    """F54."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(GOOD)

    bodies = FakeBodies()
    with hostile(script) as server, client(server, bodies) as origin:
        found = [outcome(origin.store([bodies.add(SMALL)])) for _ in range(5)]
    assert found == [200] * 5


def test_a_fresh_connection_is_really_fresh() -> None:
    """F54: not one that was kept from the last time this happened."""
    bodies = FakeBodies()
    with hostile(one_answer_then(then_close)) as server, client(server, bodies) as origin:
        assert [outcome(origin.store([bodies.add(SMALL)])) for _ in range(6)] == [200] * 6


def test_one_stale_connection_is_not_changed_for_another() -> None:
    """F54: what was idle is likely to be stale altogether."""
    both = threading.Barrier(2)

    def script(peer: Peer) -> None:
        peer.request()
        both.wait(10)  # so that there are two connections
        peer.send(GOOD)
        peer.head()

    bodies = FakeBodies()
    with hostile(script, script, answering(200, named("1.2.3.4.1"))) as server, client(server, bodies) as origin:
        with ThreadPoolExecutor(2) as pool:
            first = [pool.submit(origin.store, [bodies.add(SMALL)]) for _ in range(2)]
            assert [outcome(one.result()) for one in first] == [200, 200]
        assert outcome(origin.store([bodies.add(SMALL)])) == 200
    assert server.connections == 3


def test_a_fresh_connection_that_breaks_too_is_lost() -> None:
    """F54: once, not for ever."""
    bodies = FakeBodies()
    with hostile(one_answer_then(then_close), closes_after_the_body) as server, client(server, bodies) as origin:
        origin.store([bodies.add(SMALL)])
        assert outcome(origin.store([bodies.add(SMALL)])) is Loss.LOST
    assert server.connections == 2


def test_a_kept_connection_that_took_much_was_not_stale() -> None:
    """F49: the server read the body and went away; it may have stored it, and the attempt counts."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(GOOD)
        peer.head()
        peer.body(20 << 20)
        peer.reset()

    bodies = FakeBodies()
    with hostile(script) as server, client(server, bodies) as origin:
        origin.store([bodies.add(SMALL)])
        assert outcome(origin.store([bodies.add(LARGE)])) is Loss.LOST
    assert server.connections == 1


# --- answers and uploads that never end (F55, F56) --------------------------------------------------------------------------------


def dripping(start: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(start)
        while not peer.hold(0.05):
            peer.send(b"x")

    return script


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX-Drip: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_a_dripping_answer_has_a_deadline(start: bytes) -> None:
    """F55: httpx's own timeouts begin anew with each byte."""
    started = time.monotonic()
    assert outcome(store(dripping(start), response_timeout=0.6, minimum_rate=1)) is Loss.TIMEOUT
    assert time.monotonic() - started < 3


def test_a_refusal_counts_although_its_body_drips() -> None:
    """F55: a 503 needs no body."""
    start = b"HTTP/1.1 503 No\r\nRetry-After: 9\r\nContent-Length: 9999\r\n\r\n"
    found = store(dripping(start), response_timeout=0.6)
    assert (outcome(found), found.retry_after, found.response) == (503, 9.0, None)


def test_an_endless_answer_is_cut_off() -> None:
    """F55, I8."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n\r\n" + named("1.2.3.4.1"))
        while True:
            peer.send(b" " * (1 << 20))

    found = store(script)
    assert (outcome(found), found.response) == (200, None)


def test_a_server_that_takes_nothing_is_a_timeout() -> None:
    """F56: zero window."""
    started = time.monotonic()
    found = store(then_stop_reading, LARGE, response_timeout=0.6)
    assert outcome(found) is Loss.TIMEOUT
    assert found.sent_bytes < len(LARGE)
    assert time.monotonic() - started < 3


def test_a_server_that_takes_a_little_now_and_then_has_a_deadline_by_size() -> None:
    """F56: progress alone is not enough; 64 MiB at 64 MiB/s are one second, and the answer's time."""

    def script(peer: Peer) -> None:
        while not peer.hold(0.005):
            peer.take(20_000)

    started = time.monotonic()
    found = store(script, LARGE, response_timeout=0.6, minimum_rate=64 << 20)
    assert outcome(found) is Loss.TIMEOUT
    assert 1.5 < time.monotonic() - started < 4


def test_a_slow_line_within_the_rate_is_waited_for() -> None:
    """F56: the upload takes longer than response_timeout and is no failure."""

    def script(peer: Peer) -> None:
        _, headers = peer.head()
        left = int(headers["content-length"])
        while left > 0:
            peer.hold(0.02)
            before = len(peer.body(min(left, 1 << 20)))
            left -= before
        peer.send(GOOD)
        peer.hold()

    found = store(script, LARGE, response_timeout=0.5, minimum_rate=1 << 20)
    assert outcome(found) == 200
    assert found.seconds > 0.5


# --- the end from outside ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["waiting for the answer", "sending"])
def test_abort_ends_what_is_under_way_at_once(content: bytes) -> None:
    """A second SIGTERM does not wait for a server; nor is it taken for a stale connection."""
    bodies = FakeBodies()
    instance = bodies.add(content)
    begun = threading.Event()
    answers: list[Answer] = []

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(GOOD)
        peer.head()
        begun.set()
        peer.hold()

    with hostile(script) as server, client(server, bodies, response_timeout=20.0) as origin:
        origin.control()
        sender = threading.Thread(target=lambda: answers.append(origin.store([instance])))
        sender.start()
        begun.wait(5)
        started = time.monotonic()
        origin.abort()
        sender.join(10)
        later = origin.control()
    assert time.monotonic() - started < 2
    assert [outcome(a) for a in answers] == [Loss.LOST]
    assert outcome(later) is Loss.NOT_SENT


def test_a_connection_that_was_made_during_abort_is_shut_too() -> None:
    wires = Wires()
    wires.abort()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Wire(wires, ours)
        assert theirs.recv(1) == b""


def test_abort_reaches_idle_connections_too() -> None:
    bodies = FakeBodies()
    with hostile(answering(200, named("1.2.3.4.1"))) as server, client(server, bodies) as origin:
        origin.store([bodies.add(SMALL)])
        origin.abort()
        assert outcome(origin.store([bodies.add(SMALL)])) in (Loss.LOST, Loss.NOT_SENT)
    assert len(server.requests) == 1
