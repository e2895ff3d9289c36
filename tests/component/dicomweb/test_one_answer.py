"""One answer to one question: what stands behind an answer, or came before the question, is nobody's answer (F83)."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.bodies_fake import FakeBodies
from fakes.hostile_server import HostileServer, Peer, Script, answer, answering, hostile, named
from fakes.pki import Authority

from ingestd.core.answers.answer import Answer, Failed, Loss, StoreResponse
from ingestd.dicomweb.identity.tls import Certificates
from ingestd.dicomweb.origin.client import OriginServer
from ingestd.dicomweb.wire.connection import Wire
from ingestd.ops.clock import SystemClock
from ingestd.part10.digests import Arrival

pytestmark = pytest.mark.timeout(30)

JSON = "application/dicom+json"
FIRST, SECOND = "1.2.3.4.1", "1.2.3.4.2"
GOOD = answer(200, named(FIRST), content_type=JSON)
SMUGGLED = answer(200, named(FIRST, SECOND), content_type=JSON)
HONEST = answering(409, named(failed={SECOND: 272}))
REFUSED = StoreResponse(
    referenced=(), failed=(Failed(sop_instance_uid=SECOND, failure_reason=272),)
)  # what the service really said of the second


def chunked(body: bytes, size: int, trailer: bytes = b"") -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    framed = b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {JSON}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + framed + b"0\r\n" + trailer + b"\r\n"


@contextmanager
def client(server: HostileServer, bodies: FakeBodies, **options: object) -> Iterator[OriginServer]:
    settings: dict[str, object] = {"connect_timeout": 2.0, "response_timeout": 5.0} | options
    origin = OriginServer(url=server.url, bodies=bodies, arrival=Arrival, clock=SystemClock(), **settings)
    try:
        yield origin
    finally:
        origin.close()


def two_stores(
    first: Script,
    *,
    content: bytes = b"s" * 1000,
    said: threading.Event | None = None,
    theirs: ssl.SSLContext | None = None,
    **options: object,
) -> tuple[Answer, Answer, int]:
    """Two instances stored one after the other, and how many connections that took; all but the first are honest.

    The second is sent when all is `said`: what comes while a request is under way nobody can tell from its answer.
    """
    bodies = FakeBodies()
    with hostile(first, HONEST, tls=theirs) as server, client(server, bodies, **options) as origin:
        one = origin.store([bodies.add(content)])
        assert said is None or said.wait(5)
        two = origin.store([bodies.add(b"second")])
        return one, two, server.connections


def saying(*pieces: bytes, said: threading.Event | None = None) -> Script:
    """Answers the first request with all of this, in so many pieces, and no other."""

    def script(peer: Peer) -> None:
        peer.request()
        for number, piece in enumerate(pieces):
            if number:
                peer.hold(0.02)
            peer.send(piece)
        if said is not None:
            said.set()
        peer.hold()

    return script


BEHIND = {
    "a whole answer": GOOD + SMUGGLED,
    "half an answer": GOOD + SMUGGLED[:20],
    "a line end": GOOD + b"\n",
    "behind a large one": answer(200, named(FIRST) + b" " * 200_000, content_type=JSON) + SMUGGLED,
    "behind chunks": chunked(named(FIRST), 7) + SMUGGLED,
    "behind chunks and a trailer": chunked(named(FIRST), 1000, b"X: y\r\n") + SMUGGLED,
    "behind an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD + SMUGGLED,
}


@pytest.mark.parametrize("said", BEHIND.values(), ids=BEHIND)
@pytest.mark.parametrize("cut", [0, -len(SMUGGLED), 30])
def test_bytes_behind_an_answer_are_not_the_next_one(said: bytes, cut: int) -> None:
    """F83, I2: in one piece with the answer or in two, the next request goes out on another connection."""
    pieces = (said[:cut], said[cut:]) if cut else (said,)
    all_of_it = threading.Event()
    first, second, connections = two_stores(saying(*pieces, said=all_of_it), said=all_of_it)
    assert first.response is not None
    assert [one.sop_instance_uid for one in first.response.referenced] == [FIRST]
    assert (second.status, second.response, connections) == (409, REFUSED, 2)


@pytest.mark.parametrize("said", BEHIND.values(), ids=BEHIND)
def test_bytes_behind_an_answer_are_not_the_next_one_under_tls(said: bytes, tmp_path: Path) -> None:
    """F83: both in one record, or in several."""
    authority = Authority(tmp_path / "ca")
    trusted = Certificates(clock=SystemClock(), ca_bundle=authority.ca)
    _, second, connections = two_stores(saying(said), tls=trusted, theirs=authority.server())
    assert (second.status, second.response, connections) == (409, REFUSED, 2)


def test_an_answer_to_no_question_is_found_before_the_next_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """F83: it came in the moment between the pool's look at the idle connection and the first byte of the request."""
    monkeypatch.setattr(Wire, "get_extra_info", lambda _self, _info: None)
    said = threading.Event()
    _, second, connections = two_stores(saying(GOOD, SMUGGLED, said=said), said=said)
    assert (second.status, second.response, connections) == (409, REFUSED, 2)


def test_two_answers_while_the_request_is_still_written_are_one() -> None:
    """F83: read off the socket before the parser asked for anything."""

    def script(peer: Peer) -> None:
        _, headers = peer.head()
        peer.send(GOOD + SMUGGLED)
        peer.body(int(headers["content-length"]))
        peer.hold()

    first, second, connections = two_stores(script, content=b"L" * (16 << 20))
    assert first.status == 200
    assert (second.status, second.response, connections) == (409, REFUSED, 2)


@pytest.mark.parametrize("status", [204, 304])
def test_a_body_where_none_may_be_is_not_the_next_answer(status: int) -> None:
    """F83: RFC 9112 6.3: such an answer ends with its head, whatever that says."""
    first, second, connections = two_stores(saying(answer(status, SMUGGLED)))
    assert (first.status, first.response) == (status, None)
    assert (second.status, second.response, connections) == (409, REFUSED, 2)


@pytest.mark.parametrize(
    "said", [GOOD, chunked(named(FIRST), 3), chunked(named(FIRST), 1000, b"X: y\r\n"), answer(204)]
)
def test_a_connection_that_gave_its_answer_and_no_more_is_used_again(said: bytes) -> None:
    """F83: in one piece or byte by byte."""

    def script(peer: Peer) -> None:
        for at in (len(said), 1, 2):
            peer.request()
            for begin in range(0, len(said), at):
                peer.send(said[begin : begin + at])

    bodies = FakeBodies()
    with hostile(script) as server, client(server, bodies) as origin:
        found = [origin.store([bodies.add(b"x")]) for _ in range(3)]
    assert len({(one.status, one.loss, one.response) for one in found}) == 1
    assert (found[0].loss, server.connections) == (None, 1)


# --- whose length nobody knows --------------------------------------------------------------------------------------------------


def with_headers(*lines: str, body: bytes = named(FIRST)) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", f"Content-Type: {JSON}", *lines, "", ""]).encode() + body


LENGTH = f"Content-Length: {len(named(FIRST))}"


@pytest.mark.parametrize(
    "said",
    [
        with_headers(LENGTH, "Transfer-Encoding: chunked", body=chunked(named(FIRST), 9).partition(b"\r\n\r\n")[2]),
        with_headers("transfer-encoding: CHUNKED", LENGTH),
        with_headers("Transfer-Encoding: gzip, chunked"),
        with_headers("Transfer-Encoding: identity", LENGTH),
        with_headers(LENGTH, "Content-Length: 7"),
        with_headers("Content-Length: 7", LENGTH),
        with_headers(f"{LENGTH}, 7"),
        with_headers("Content-Length: -1"),
        with_headers("Content-Length: 0x40"),
    ],
)
def test_an_answer_that_says_its_length_in_two_ways_is_none(said: bytes) -> None:
    """F83, I2: what stands between may have read it in the other way; the outcome is unknown, the connection is closed."""
    first, second, connections = two_stores(saying(said))
    assert (first.status, first.loss, first.response) == (None, Loss.LOST, None)
    assert (second.status, second.response, connections) == (409, REFUSED, 2)


@pytest.mark.slow
@pytest.mark.parametrize("said", [with_headers(LENGTH, LENGTH), with_headers(f"{LENGTH}, {len(named(FIRST))}")])
def test_the_same_length_twice_is_one(said: bytes) -> None:
    """RFC 9110 8.6 allows for it."""
    first, _, _ = two_stores(saying(said))
    assert first.response is not None


# --- what a proxy says before TLS -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [GOOD, b"x", SMUGGLED * 1000], ids=["an answer", "a byte", "much"])
def test_what_a_proxy_says_behind_its_tunnel_is_not_what_tls_protects(more: bytes, tmp_path: Path) -> None:
    """F83: in plain text, in one piece with the 200 to CONNECT; it would be read as the service's."""
    authority = Authority(tmp_path / "ca")
    bodies = FakeBodies()

    def proxy(peer: Peer) -> None:
        line, _ = peer.head()
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n" + more)
        peer.relay(int(line.split()[1].rpartition(":")[2]))

    with hostile(proxy) as between, hostile(answering(200), tls=authority.server()) as server:
        trusted = Certificates(clock=SystemClock(), ca_bundle=authority.ca)
        with client(server, bodies, tls=trusted, proxy=between.url.removesuffix("/v2")) as origin:
            found = origin.store([bodies.add(b"x")])
    assert (found.status, found.loss) == (None, Loss.NOT_SENT)
    assert server.requests == []
