"""Retrieving an instance only to digest it: a digest of exactly one whole part, or none (PS3.18 10.4.1.1.1)."""

from __future__ import annotations

import gzip
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.bodies_fake import FakeBodies, data_set, digest
from fakes.hostile_server import HostileServer, Peer, Script, answer, answering, hostile
from fakes.origin_fake import fetched

from ingestd.core.answers.answer import Fetched, Loss
from ingestd.dicomweb.origin.client import OriginServer
from ingestd.emulator.samples import ct_instance
from ingestd.ops.clock import SystemClock
from ingestd.part10.digests import Arrival

pytestmark = pytest.mark.timeout(60)

INSTANCE = ct_instance(study_uid="1.2.3", series_uid="1.2.3.4", sop_instance_uid="1.2.3.4.1", size_bytes=5000)
FILES = FakeBodies()
IDS = FILES.add(INSTANCE).ids
MULTIPART = 'multipart/related; type="application/dicom"; boundary=x'
SINGLE = "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
PART = b"--x\r\nContent-Type: application/dicom\r\nMIME-Version: 1.0\r\n\r\n"
END = b"\r\n--x--\r\n"
WHOLE = PART + INSTANCE + END


@contextmanager
def client(server: HostileServer, **options: object) -> Iterator[OriginServer]:
    settings: dict[str, object] = {"connect_timeout": 2.0, "response_timeout": 5.0} | options
    origin = OriginServer(url=server.url, bodies=FILES, arrival=Arrival, clock=SystemClock(), **settings)
    try:
        yield origin
    finally:
        origin.close()


def fetch(script: Script, **options: object) -> Fetched:
    with hostile(script) as server, client(server, **options) as origin:
        return origin.fetch(IDS)


def head(content_type: str, *more: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", f"Content-Type: {content_type}", *more, "", ""]).encode("ascii")


def saying(data: bytes) -> Script:
    """Reads a request, says this and closes."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(data)

    return script


def chunked(content_type: str, body: bytes, size: int) -> bytes:
    pieces = [body[n : n + size] for n in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return head(content_type, "Transfer-Encoding: chunked") + framed


@pytest.mark.slow
@pytest.mark.parametrize(
    "said",
    [
        answer(200, WHOLE, content_type=MULTIPART),
        answer(200, b"\r\n" + WHOLE, content_type=MULTIPART),
        answer(200, WHOLE[:-2], content_type=MULTIPART),  # RFC 2046: the line end after the close delimiter is optional
        answer(200, WHOLE + b"an epilogue", content_type=MULTIPART),
        answer(200, WHOLE, content_type='Multipart/Related;boundary="x"; TYPE=application/dicom'),
        chunked(MULTIPART, WHOLE, 1),
        chunked(MULTIPART, WHOLE, 100),
        head(MULTIPART) + WHOLE,  # it ends with the connection, and its delimiter says that it is whole
        answer(200, INSTANCE, content_type=SINGLE),
        answer(200, INSTANCE, content_type="application/dicom"),
        chunked(SINGLE, INSTANCE, 100),
    ],
)
def test_a_whole_instance_has_its_digest(said: bytes) -> None:
    """Of the data set, as receipts have it, however it is framed."""
    assert fetch(saying(said)) == fetched(IDS, digest(INSTANCE))


def test_content_that_looks_like_delimiters_is_content() -> None:
    """RFC 2046 5.1.1: only a line that begins with the whole delimiter is one."""
    content = INSTANCE + b"\r\n--\r\n--y--\r\n\r\r\n-\r\n--" * 1000
    body = PART + content + END
    for size in (7, 1024, len(body)):
        assert fetch(saying(chunked(MULTIPART, body, size))).sha256 == digest(content)


def test_it_asks_for_the_bytes_as_stored() -> None:
    """transfer-syntax=*: nothing is transcoded; identity: nothing is compressed. Multipart, which the standard has, first."""
    with hostile(answering(200, WHOLE, content_type=MULTIPART)) as server, client(server) as origin:
        origin.fetch(IDS)
    (request,) = server.requests
    assert request.line == "GET /v2/studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.1 HTTP/1.1"
    assert request.headers["accept"] == (
        'multipart/related; type="application/dicom"; transfer-syntax=*, application/dicom; transfer-syntax=*'
    )
    assert request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("status", [400, 406])
def test_a_service_that_reads_no_list_is_asked_again_for_multipart_alone(status: int) -> None:
    def script(peer: Peer) -> None:
        while True:
            refused = "," in peer.request().headers["accept"]
            peer.send(answer(status) if refused else answer(200, WHOLE, content_type=MULTIPART))

    with hostile(script) as server, client(server) as origin:
        assert origin.fetch(IDS) == fetched(IDS, digest(INSTANCE))
    assert len(server.requests) == 2


def test_a_service_that_takes_neither_is_asked_twice_and_no_more() -> None:
    with hostile(answering(406)) as server, client(server) as origin:
        assert origin.fetch(IDS) == Fetched(status=406)
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [204, 304, 302, 401, 403, 404, 410, 500, 503])
def test_other_statuses_are_passed_on_without_a_digest(status: int) -> None:
    body = b"" if status in (204, 304) else WHOLE
    assert fetch(answering(status, body, content_type=MULTIPART)) == Fetched(status=status)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (MULTIPART, b""),
        (MULTIPART, b"--x--\r\n"),
        (MULTIPART, PART + INSTANCE),
        (MULTIPART, PART + INSTANCE[:-1]),
        (MULTIPART, PART + INSTANCE + b"\r\n--x"),
        (MULTIPART, PART + INSTANCE + b"\r\n--x\r\n"),
        (MULTIPART, PART + INSTANCE + b"\r\n--x-"),
        (MULTIPART, PART + INSTANCE + b"\r\n" + PART + INSTANCE + END),
        (MULTIPART, PART + INSTANCE + b"\r\n" + PART + END),
        (MULTIPART, PART + END),
        (MULTIPART, PART + INSTANCE[:130] + END),
        (MULTIPART, PART + b"<html>" * 100 + END),
        (MULTIPART, b"<html>Welcome to the network</html>"),
        (MULTIPART, b"--x\r\n" + b"a: b\r\n" * 10_000 + b"\r\n" + INSTANCE + END),
        (MULTIPART.replace("=x", "=y"), WHOLE),
        (MULTIPART.replace("; boundary=x", ""), WHOLE),
        (MULTIPART.replace("=x", '=""'), WHOLE),
        (MULTIPART.replace("=x", "=" + "x" * 1000), WHOLE),
        ("multipart/form-data; boundary=x", WHOLE),
        ("text/html", b"<html>Welcome to the network</html>"),
        ("text/html", INSTANCE),
        ("application/octet-stream", INSTANCE),
        ("", INSTANCE),
        (SINGLE, b""),
        (SINGLE, INSTANCE[:131]),
        (SINGLE, b"<html>" * 100),
        ("application/dicom+json", b"[{}]"),
    ],
)
def test_what_is_not_one_whole_instance_has_no_digest(content_type: str, body: bytes) -> None:
    """F50, F55: a digest of a part of it would call the same bytes different, and get a file quarantined or one replaced."""
    assert fetch(saying(answer(200, body, content_type=content_type))) == Fetched(status=200)


def test_an_instance_that_ends_when_the_connection_does_has_no_digest() -> None:
    """Without a length nobody knows where application/dicom ends."""
    assert fetch(saying(head(SINGLE) + INSTANCE)) == Fetched(status=200)


@pytest.mark.parametrize(("content_type", "body"), [(MULTIPART, WHOLE), (SINGLE, INSTANCE)])
def test_a_compressed_answer_is_digested_as_what_it_is(content_type: str, body: bytes) -> None:
    """F84: it was not asked for, but a proxy compresses all the same."""
    headers = {"Content-Encoding": "gzip"}
    for packed in (gzip.compress(body), gzip.compress(body, 0)):
        said = answer(200, packed, content_type=content_type, headers=headers)
        assert fetch(saying(said)) == fetched(IDS, digest(INSTANCE))


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", WHOLE),
        ("br", gzip.compress(WHOLE, mtime=0)),
        ("gzip", gzip.compress(WHOLE, mtime=0)[:-1]),
        ("gzip", gzip.compress(WHOLE, mtime=0) + b"x"),
    ],
)
def test_an_answer_in_a_coding_that_can_not_be_read_has_no_digest(coding: str, body: bytes) -> None:
    """F84: a part of it would have another one, and convict the file."""
    said = answer(200, body, content_type=MULTIPART, headers={"Content-Encoding": coding})
    assert fetch(saying(said)) == Fetched(status=200)


def test_a_bomb_ends_where_the_largest_instance_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """F55, F84: the cap counts what comes out."""
    monkeypatch.setattr("ingestd.dicomweb.payload.digest.FETCH_LIMIT", 1 << 20)
    packed = gzip.compress(PART + INSTANCE + bytes(200 << 20) + END, 1)
    began = time.process_time()
    said = answer(200, packed, content_type=MULTIPART, headers={"Content-Encoding": "gzip"})
    assert fetch(saying(said)) == Fetched(status=200)
    assert time.process_time() - began < 0.3


@pytest.mark.parametrize(("content_type", "body"), [(MULTIPART, WHOLE), (SINGLE, INSTANCE)])
@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_breaks_in_the_body_is_lost(content_type: str, body: bytes, *, reset: bool) -> None:
    """F55: shorter than its Content-Length."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(head(content_type, f"Content-Length: {len(body) + 1}") + body)
        if reset:
            peer.reset()

    assert fetch(script) == Fetched(status=None, loss=Loss.LOST)


def test_a_chunked_body_that_breaks_is_lost() -> None:
    assert fetch(saying(chunked(SINGLE, INSTANCE, 100)[:-5])) == Fetched(status=None, loss=Loss.LOST)


def test_more_than_its_content_length_is_not_read() -> None:
    """What follows is no part of this answer; the delimiter is missing then."""
    said = head(MULTIPART, f"Content-Length: {len(WHOLE) - 8}") + WHOLE
    assert fetch(saying(said)) == Fetched(status=200)


def test_nobody_there_is_not_sent() -> None:
    with hostile(answering(200)) as server:
        url = server.url
    origin = OriginServer(url=url, bodies=FILES, arrival=Arrival, clock=SystemClock(), connect_timeout=1.0)
    assert origin.fetch(IDS) == Fetched(status=None, loss=Loss.NOT_SENT)
    origin.close()


def test_a_drip_ends_at_the_minimum_rate() -> None:
    """F56: a byte now and then holds nobody for ever."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(head(MULTIPART, "Content-Length: 1000000") + PART + INSTANCE[:132])
        while not peer.hold(0.02):
            peer.send(b"\0")

    began = time.monotonic()
    assert fetch(script, response_timeout=0.5) == Fetched(status=None, loss=Loss.TIMEOUT)
    assert 0.4 < time.monotonic() - began < 1.5


def test_silence_after_much_has_come_is_a_timeout() -> None:
    """What has arrived gives time for what goes on arriving, not for hanging."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(head(MULTIPART, "Content-Length: 100000000") + PART + INSTANCE + bytes(8 << 20))
        peer.hold()

    began = time.monotonic()
    assert fetch(script, response_timeout=0.5, minimum_rate=1 << 10) == Fetched(status=None, loss=Loss.TIMEOUT)
    assert time.monotonic() - began < 3


def test_a_large_instance_may_take_longer_than_other_answers() -> None:
    """It came fast enough all the while: 1 MiB in 1.2 s, where other answers have 0.5 s."""
    content = INSTANCE + bytes(1 << 20)

    def script(peer: Peer) -> None:
        peer.request()
        body = PART + content + END
        peer.send(head(MULTIPART, f"Content-Length: {len(body)}"))
        for start in range(0, len(body), 1 << 17):
            peer.send(body[start : start + (1 << 17)])
            peer.hold(0.15)

    began = time.monotonic()
    found = fetch(script, response_timeout=0.5, minimum_rate=512 << 10)
    assert found == fetched(IDS, digest(content))
    assert time.monotonic() - began > 1.0


def test_reading_stops_where_no_digest_can_come_of_it() -> None:
    """An endless second part, or an endless page, costs a few pieces."""
    page = b"<html>" * 30
    for start, kind in (
        (PART + INSTANCE + b"\r\n" + PART, MULTIPART),
        (PART + page, MULTIPART),
        (page, SINGLE),
        (page, "text/html"),
    ):
        sent = threading.Event()

        def script(peer: Peer, start: bytes = start, kind: str = kind, sent: threading.Event = sent) -> None:
            peer.request()
            try:
                peer.send(head(kind, f"Content-Length: {1 << 40}") + start)
                for _ in range(1000):
                    peer.send(bytes(1 << 20))
            except OSError:
                sent.set()

        with hostile(script) as server, client(server) as origin:
            assert origin.fetch(IDS) == Fetched(status=200)
            assert sent.wait(5)


def test_it_ends_at_the_largest_instance_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestd.dicomweb.payload.digest.FETCH_LIMIT", len(WHOLE) + 1000)
    body = PART + INSTANCE + bytes(1001) + END
    assert fetch(saying(answer(200, body, content_type=MULTIPART))) == Fetched(status=200)
    assert fetch(saying(answer(200, WHOLE, content_type=MULTIPART))).sha256 == digest(INSTANCE)


def test_abort_ends_it() -> None:
    started = threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(head(MULTIPART, "Content-Length: 1000000") + PART + INSTANCE)
        started.set()
        peer.hold()

    with hostile(script) as server, client(server, response_timeout=30.0) as origin:
        found: list[Fetched] = []
        thread = threading.Thread(target=lambda: found.append(origin.fetch(IDS)))
        thread.start()
        assert started.wait(5)
        origin.abort()
        thread.join(5)
        assert found == [Fetched(status=None, loss=Loss.LOST)]


def test_the_connection_is_kept_for_the_next() -> None:
    with hostile(answering(200, WHOLE, content_type=MULTIPART)) as server, client(server) as origin:
        for _ in range(3):
            assert origin.fetch(IDS).sha256 == digest(INSTANCE)
        assert server.connections == 1


@pytest.mark.parametrize("kind", [MULTIPART, SINGLE])
def test_300_mib_are_digested_in_constant_memory(kind: str) -> None:
    """Up to 4 GiB come this way, on small machines."""
    block = hashlib.shake_256(b"noise").digest(1 << 20)
    blocks = 300
    start, end = (PART, END) if kind is MULTIPART else (b"", b"")
    seen: list[int] = []

    def script(peer: Peer) -> None:
        peer.request()
        size = len(start) + len(INSTANCE) + blocks * len(block) + len(end)
        peer.send(head(kind, f"Content-Length: {size}") + start + INSTANCE)
        for _ in range(blocks):
            peer.send(block)
            seen.append(resident())
        peer.send(end)

    expected = hashlib.sha256(data_set(INSTANCE))
    for _ in range(blocks):
        expected.update(block)
    assert fetch(script) == fetched(IDS, expected.hexdigest())
    assert max(seen) - seen[0] < 16 << 20


def resident() -> int:
    """Bytes of this process in memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    assert found is not None
    return int(found[1]) << 10
