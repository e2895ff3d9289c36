"""What the client makes of answers: statuses, bodies, headers, credentials. Bad sockets: test_dicomweb_sockets."""

from __future__ import annotations

import gzip
import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import pytest
from fakes.bodies_fake import FakeBodies, digest, parts
from fakes.hostile_server import HostileServer, Peer, answer, answering, hostile, named

from ingestd.core.answers.answer import Answer, Held, Loss, Referenced, StoreResponse
from ingestd.core.errors import ConfigurationError, FileChangedError
from ingestd.core.model import Identifiers
from ingestd.dicomweb.identity.headers import TokenFile
from ingestd.dicomweb.origin.client import OriginServer
from ingestd.dicomweb.payload.store_response import answer_limit
from ingestd.ops.clock import SystemClock
from ingestd.part10.digests import Arrival

CONTENT = b"\0" * 128 + b"DICM" + b"pixels" * 5000
IDS = Identifiers(
    study_uid="1.2", series_uid="1.2.3", sop_instance_uid="1.2.3.4", sop_class_uid="1", transfer_syntax_uid="1"
)


def packed(content: bytes) -> bytes:
    """By gzip, the same at any time: test names are made of it."""
    return gzip.compress(content, mtime=0)


@contextmanager
def client(server: HostileServer, bodies: FakeBodies, **options: object) -> Iterator[OriginServer]:
    settings: dict[str, object] = {"connect_timeout": 2.0, "response_timeout": 5.0} | options
    origin = OriginServer(url=server.url, bodies=bodies, arrival=Arrival, clock=SystemClock(), **settings)
    try:
        yield origin
    finally:
        origin.close()


def store_once(status: int, body: bytes = b"", **more: object) -> Answer:
    bodies = FakeBodies()
    instance = bodies.add(CONTENT, sop_instance_uid="1.2.3.4")
    with hostile(answering(status, body, **more)) as server, client(server, bodies) as origin:
        return origin.store([instance])


# --- what is sent --------------------------------------------------------------------------------------------------------------


def test_a_store_is_one_post_to_the_studies_service_with_its_length_known() -> None:
    """PS3.18 10.5; I4: the bytes are the file's."""
    bodies = FakeBodies()
    contents = [bytes([n]) * (n * 40_000) for n in range(1, 20)]
    instances = [bodies.add(content) for content in contents]
    with hostile(answering(200, named(*(i.sop_instance_uid for i in instances)))) as server:
        with client(server, bodies) as origin:
            found = origin.store(instances)
    (request,) = server.requests
    assert request.line == "POST /v2/studies HTTP/1.1"
    assert "transfer-encoding" not in request.headers
    assert list(parts(request.content_type, request.body)) == contents
    assert request.headers["accept"] == "application/dicom+json, application/dicom+xml;q=0.9"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("ingestd/")
    assert "authorization" not in request.headers
    assert found.status == 200
    assert found.digests == tuple(digest(content) for content in contents)
    assert found.sent_bytes > sum(map(len, contents))
    assert found.response == StoreResponse(
        referenced=tuple(Referenced(sop_instance_uid=i.sop_instance_uid) for i in instances), failed=()
    )


def test_a_boundary_in_the_content_splits_nothing() -> None:
    """F35: even the boundary of an earlier request."""
    bodies = FakeBodies()
    with hostile(answering(200, named("1"))) as server, client(server, bodies) as origin:
        origin.store([bodies.add(CONTENT)])
        content = server.requests[0].body * 2
        origin.store([bodies.add(content)])
    request = server.requests[1]
    assert parts(request.content_type, request.body) == [content]


def test_the_control_is_an_empty_store_transaction() -> None:
    with hostile(answering(204)) as server, client(server, FakeBodies()) as origin:
        found = origin.control()
    (request,) = server.requests
    boundary = request.content_type.partition("boundary=")[2]
    assert request.body == f"--{boundary}--\r\n".encode()
    assert (found.status, found.response, found.loss) == (204, None, None)


def test_the_next_request_uses_the_same_connection() -> None:
    bodies = FakeBodies()
    with hostile(answering(200, named("1"))) as server, client(server, bodies) as origin:
        for _ in range(3):
            origin.store([bodies.add(CONTENT)])
    assert server.connections == 1


def test_cookies_are_not_kept() -> None:
    """A service's session is none of ours."""
    with hostile(answering(204, headers={"Set-Cookie": "a=b"})) as server, client(server, FakeBodies()) as origin:
        origin.control()
        origin.control()
    assert "cookie" not in server.requests[1].headers


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"])
def test_the_environment_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """F59: proxies, certificates and .netrc are taken from the settings or not at all."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with hostile(answering(204)) as server, client(server, FakeBodies()) as origin:
        assert origin.control().status == 204
    assert "authorization" not in server.requests[0].headers


# --- what comes back -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 202, 400, 409, 500])
def test_a_readable_body_is_read_whatever_the_status(status: int) -> None:
    """F51: Orthanc answers a mixed batch with 400, Azure all failures with 409 or 500."""
    found = store_once(status, named("1.2.3.4", failed={"1.2.3.5": 45070}))
    assert found.status == status
    assert found.response is not None
    assert [r.sop_instance_uid for r in found.response.referenced] == ["1.2.3.4"]
    assert [(f.sop_instance_uid, f.failure_reason) for f in found.response.failed] == [("1.2.3.5", 45070)]
    assert found.comment is None


@pytest.mark.parametrize(
    ("body", "content_type", "comment"),
    [
        (b"", "application/dicom+json", None),
        (b"<html>OK</html>", "text/html", "<html>OK</html>"),
        (named("1.2.3.4")[:-9], "application/dicom+json", named("1.2.3.4")[:-9].decode()),
        (b"{}", "application/dicom+json", "{}"),
        (named("1.2.3.4"), "text/plain", named("1.2.3.4").decode()),
        ("ä".encode("utf-16"), "application/dicom+json", None),
        (packed(named("1.2.3.4")), "application/dicom+json", None),
    ],
)
def test_a_200_without_a_readable_body_names_nothing(body: bytes, content_type: str, comment: str | None) -> None:
    """F50, I2."""
    found = store_once(200, body, content_type=content_type)
    assert (found.status, found.loss, found.response) == (200, None, None)
    if comment is not None or not body:
        assert found.comment == comment


@pytest.mark.parametrize("status", [200, 409])
@pytest.mark.parametrize(
    ("coding", "code"),
    [("gzip", gzip.compress), ("X-GZIP", gzip.compress), ("identity, gzip", gzip.compress), ("Deflate", zlib.compress)],
)
def test_a_compressed_answer_is_read_like_any_other(status: int, coding: str, code: Callable[[bytes], bytes]) -> None:
    """F84, I3: a proxy compresses what nobody asked it to; the service has stored the files."""
    body = named("1.2.3.4", failed={"1.2.3.5": 45070})
    found = store_once(status, code(body), headers={"Content-Encoding": coding})
    assert (found.status, found.loss, found.comment) == (status, None, None)
    assert found.response == store_once(status, body).response
    assert found.response is not None


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("br", packed(named("1.2.3.4"))),
        ("gzip, gzip", packed(packed(named("1.2.3.4")))),
        ("gzip", named("1.2.3.4")),
        ("gzip", packed(named("1.2.3.4"))[:-1]),
        ("gzip", packed(named("1.2.3.4")) + packed(b" ")),
        ("deflate", packed(named("1.2.3.4"))),
    ],
)
def test_an_answer_in_a_coding_that_can_not_be_read_names_nothing(coding: str, body: bytes) -> None:
    """F84, I2: an answer for all that, with its status; what cannot be read is in no comment either."""
    found = store_once(200, body, headers={"Content-Encoding": coding})
    assert (found.status, found.loss, found.response, found.comment) == (200, None, None, None)


@pytest.mark.parametrize("status", [200, 503])
def test_a_bomb_is_not_inflated_beyond_what_an_answer_may_have(status: int) -> None:
    """F55, F84."""
    bomb = packed(b"\0" * 200_000_000)
    started = time.process_time()
    found = store_once(status, bomb, headers={"Content-Encoding": "gzip"})
    assert (found.status, found.response) == (status, None)
    assert len(found.comment or "") <= 2000
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("instances", [1, 300])
def test_an_answer_may_be_as_long_as_what_was_sent_is_many(instances: int) -> None:
    """F90: each instance has room for a hundred comments, and all of them for no more than that."""
    bodies = FakeBodies()
    files = [bodies.add(CONTENT) for _ in range(instances)]
    body = named(*(one.sop_instance_uid for one in files))
    limit = answer_limit(instances)
    full, more = (body + b" " * (size - len(body)) for size in (limit, limit + 1))
    for said, expected in ((full, instances), (more, None)):
        with hostile(answering(200, said)) as server, client(server, bodies) as origin:
            found = origin.store(files)
        assert found.status == 200
        assert (None if found.response is None else len(found.response.referenced)) == expected
    assert limit < 300_000 + 20_000 * instances


METADATA = b'[{"00080018":{"vr":"UI","Value":["1.2.3.4"]},"00080060":{"vr":"CS","Value":["CT"]}}]'


@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
def test_metadata_are_read_for_comparison(coding: str | None) -> None:
    """F84: also where a proxy compressed them."""
    body = {"gzip": gzip.compress, "deflate": zlib.compress, None: bytes}[coding](METADATA)
    headers = {"Content-Encoding": coding} if coding else None
    with hostile(answering(200, body, headers=headers)) as server, client(server, FakeBodies()) as origin:
        held = origin.metadata(IDS)
    assert held == Held(status=200, elements={"00080018": ("1.2.3.4",), "00080060": ("CT",)})


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (METADATA + b" " * (16 << 20), {}),
        (packed(METADATA + b" " * (200 << 20)), {"Content-Encoding": "gzip"}),
        (METADATA.replace(b'"CT"', b"NaN"), {}),
        (METADATA, {"Content-Encoding": "br"}),
        (b"<html>", {"Content-Type": "text/html"}),
    ],
    ids=["too large", "a bomb", "NaN", "another coding", "a page"],
)
def test_metadata_that_can_not_be_read_are_an_answer_without_elements(body: bytes, headers: dict[str, str]) -> None:
    """F87: too large or malformed is something else than no answer."""
    content_type = headers.pop("Content-Type", "application/dicom+json")
    said = answering(200, body, content_type=content_type, headers=headers)
    with hostile(said) as server, client(server, FakeBodies()) as origin:
        assert origin.metadata(IDS) == Held(status=200, elements=None)


def test_metadata_that_break_off_are_no_answer() -> None:
    """F87."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(answer(200, METADATA, content_type="application/dicom+json")[:-1])

    with hostile(script) as server, client(server, FakeBodies()) as origin:
        assert origin.metadata(IDS) == Held(status=None, loss=Loss.LOST)


@pytest.mark.parametrize(
    ("content_type", "readable"),
    [("application/dicom+json; charset*=%00''x", True), ('application/dicom+json;"' + ";" * 90_000, False)],
    ids=["an extended charset", "long"],
)
def test_no_content_type_raises_or_takes_long(content_type: str, *, readable: bool) -> None:
    """F84: the job died, and the same files were sent again for ever; or each answer cost twenty seconds."""
    started = time.process_time()
    found = store_once(200, named("1.2.3.4"), content_type=content_type)
    assert (found.status, found.response is not None) == (200, readable)
    assert time.process_time() - started < 0.5


def test_the_words_of_another_body_are_bounded() -> None:
    """I8."""
    assert store_once(503, "ä".encode() * 100_000, content_type="text/plain").comment == "ä" * 2000


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_seconds_from_now(as_date: bool) -> None:
    """F52."""
    value = formatdate(time.time() + 300, usegmt=True) if as_date else "300"
    found = store_once(503, headers={"Retry-After": value})
    assert found.retry_after is not None
    assert 290 <= found.retry_after <= 300


@pytest.mark.parametrize("value", ["soon", "-1", formatdate(0, usegmt=True)])
def test_retry_after_that_says_nothing_is_none(value: str) -> None:
    """F52."""
    found = store_once(429, headers={"Retry-After": value})
    assert (found.status, found.retry_after) == (429, None)


def test_the_newest_whole_answer_that_says_so_tells_what_time_it_is_at_the_service() -> None:
    """F91, RFC 9110 6.6.1; an answer without a Date, with a bad one, or cut, tells nothing."""
    dates = ["Fri, 02 Jan 2026 03:04:05 GMT", None, "next week", "Sat, 03 Jan 2026 03:04:05 GMT"]

    def script(peer: Peer) -> None:
        for date in dates:
            peer.request()
            peer.send(answer(204, headers={"Date": date} if date is not None else None))
        peer.request()
        peer.send(b"HTTP/1.1 503 X\r\nDate: Sun, 04 Jan 2026 03:04:05 GMT\r\nContent-Length: 9\r\n\r\nno")

    seen: list[float | None] = []
    with hostile(script) as server, client(server, FakeBodies()) as origin:
        for _ in range(5):
            origin.control()
            seen.append(origin.date.value if origin.date is not None else None)
        came = origin.date.came if origin.date is not None else 0.0
    assert seen == [1767323045.0] * 3 + [1767323045.0 + 86400] * 2
    assert 0 <= time.monotonic() - came < 60


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["http://127.0.0.1:{port}/elsewhere", "/v2/other", "http://[::bad"])
def test_a_redirect_is_an_answer_and_not_followed(status: int, location: str, tmp_path: Path) -> None:
    """F53: neither token nor body goes elsewhere, whatever Location holds."""
    bodies = FakeBodies()
    token = token_file(tmp_path, "secret")
    with hostile(answering(204)) as elsewhere:
        headers = {"Location": location.format(port=elsewhere.port)}
        with hostile(answering(status, headers=headers)) as server, client(server, bodies, token=token) as origin:
            found = origin.store([bodies.add(CONTENT)])
    assert found.status == status
    assert elsewhere.connections == 0
    assert len(server.requests) == 1


# --- our own files -------------------------------------------------------------------------------------------------------------


def test_a_file_that_changes_while_it_is_sent_breaks_the_request_off() -> None:
    """F58, I4: the service never has the last byte of what was declared, and only that instance is to be settled again."""
    bodies = FakeBodies()
    instances = [bodies.add(CONTENT), bodies.add(b"x" * 5_000_000), bodies.add(CONTENT)]
    bodies.failures[instances[1].path] = FileChangedError("changed")
    seen: list[tuple[int, int]] = []

    def script(peer: Peer) -> None:
        _, headers = peer.head()
        seen.append((int(headers["content-length"]), len(peer.everything())))

    with hostile(script) as server, client(server, bodies) as origin:
        found = origin.store(instances)
    assert (found.status, found.loss, found.changed) == (None, Loss.FILE_CHANGED, (1,))
    assert found.digests == (digest(CONTENT), None, None)
    ((declared, received),) = seen
    assert received < declared


@pytest.mark.parametrize("content", [b"x" * 400_000, b"x" * 600_000])
def test_a_file_that_shrank_or_grew_is_not_sent_as_something_else(content: bytes) -> None:
    """F58."""
    bodies = FakeBodies()
    instance = bodies.add(b"x" * 500_000)
    bodies.contents[instance.path] = content
    with hostile(answering(200, named("1"))) as server, client(server, bodies) as origin:
        found = origin.store([instance])
    assert (found.loss, found.changed, server.requests) == (Loss.FILE_CHANGED, (0,), [])


# --- who we are ----------------------------------------------------------------------------------------------------------------


def token_file(folder: Path, content: str, mode: int = 0o600) -> TokenFile:
    path = folder / "token"
    path.write_text(content)
    path.chmod(mode)
    return TokenFile(path)


def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    token = token_file(tmp_path, "first\n")
    with hostile(answering(204)) as server, client(server, FakeBodies(), token=token) as origin:
        origin.control()
        (tmp_path / "new").write_text("second")
        (tmp_path / "new").chmod(0o600)
        (tmp_path / "new").rename(tmp_path / "token")
        origin.control()
    assert [r.headers["authorization"] for r in server.requests] == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize(
    ("content", "mode"),
    [("secret", 0o604), ("", 0o600), ("two words", 0o600), ("secret\nX-Evil: 1", 0o600), ("ä", 0o600)],
)
def test_a_token_file_that_can_not_work_is_refused_without_its_content(tmp_path: Path, content: str, mode: int) -> None:
    """I7."""
    with pytest.raises(ConfigurationError, match=r"auth\.token_file") as caught:
        token_file(tmp_path, content, mode)
    assert "secret" not in str(caught.value)


def test_a_missing_token_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        TokenFile(tmp_path / "nothing")


def test_without_a_token_nothing_is_sent(tmp_path: Path) -> None:
    """I3: an outage of the identity provider is no file's fault."""
    token = token_file(tmp_path, "secret")
    (tmp_path / "token").unlink()
    bodies = FakeBodies()
    with hostile(answering(204)) as server, client(server, bodies, token=token) as origin:
        found = origin.store([bodies.add(CONTENT)])
        held = origin.metadata(IDS)
    assert (found.loss, held.loss, server.connections) == (Loss.NOT_SENT, Loss.NOT_SENT, 0)
    why = "it can't be read (No such file or directory): put it there, readable for the service's user"
    assert found.comment == f"no token: auth.token_file: {why}"


# --- metadata ------------------------------------------------------------------------------------------------------------------


def metadata(status: int, dataset: object, ids: Identifiers = IDS) -> tuple[object, HostileServer]:
    body = json.dumps(dataset).encode()
    with hostile(answering(status, body)) as server, client(server, FakeBodies()) as origin:
        return origin.metadata(ids), server


def test_metadata_gives_what_can_be_compared() -> None:
    """PS3.18 10.4.1.1.2: no sequences, no bulk data, no private elements."""
    dataset: Mapping[str, object] = {
        "00080018": {"vr": "UI", "Value": ["1.2.3.4"]},
        "00100020": {"vr": "LO"},
        "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]},
        "00081140": {"vr": "SQ", "Value": [{}]},
        "00091001": {"vr": "LO", "Value": ["private"]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "x"},
        "00281201": {"vr": "US", "BulkDataURI": "x"},
    }
    held, server = metadata(200, [dataset])
    assert server.requests[0].line == "GET /v2/studies/1.2/series/1.2.3/instances/1.2.3.4/metadata HTTP/1.1"
    assert held.status == 200
    assert sorted(held.elements) == ["00080005", "00080018", "00100020"]
    assert held.elements["00080018"] == ("1.2.3.4",)


def test_an_instance_that_is_not_there_is_a_404() -> None:
    held, _ = metadata(404, {})
    assert (held.status, held.elements, held.loss) == (404, None, None)


@pytest.mark.parametrize("dataset", [[], [{}, {}], {"00080018": 1}, {"x": {"vr": "UI"}}, "no"])
def test_metadata_that_can_not_be_read_proves_nothing(dataset: object) -> None:
    """I2."""
    held, _ = metadata(200, dataset)
    assert (held.status, held.elements) == (200, None)


@pytest.mark.parametrize(("uid", "segment"), [("../../x", "..%2F..%2Fx"), ("..", "%2E%2E"), ("1?x#y", "1%3Fx%23y")])
def test_a_uid_can_not_climb_out_of_its_place_in_the_path(uid: str, segment: str) -> None:
    """A UID is what some file says it is."""
    ids = Identifiers(study_uid=uid, series_uid="1", sop_instance_uid="2", sop_class_uid="", transfer_syntax_uid="")
    _, server = metadata(404, {}, ids)
    assert server.requests[0].line == f"GET /v2/studies/{segment}/series/1/instances/2/metadata HTTP/1.1"


def test_many_threads_may_ask_at_once() -> None:
    """Any thread, as the port says."""
    bodies = FakeBodies()
    instances = [bodies.add(CONTENT) for _ in range(8)]
    answers: list[Answer] = []
    with hostile(answering(200, named("1"))) as server, client(server, bodies) as origin:
        threads = [threading.Thread(target=lambda i=i: answers.append(origin.store([i]))) for i in instances]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [a.status for a in answers] == [200] * 8
    assert len(server.requests) == 8


# --- what is said of it --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "mend"),
    [
        # a space before the colon
        (b"HTTP/1.1 200 OK\r\nServer : x\r\nContent-Length: 2\r\n\r\n{}", "look at it, and at what stands between"),
        # HTTP/2 alone
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18), "check service.url (--url), its port, and http or https"),
    ],
)
def test_what_answers_in_no_http_1_1_is_said_to(said: bytes, mend: str) -> None:
    """I7: in our own words."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(said)

    with hostile(script) as server, client(server, FakeBodies()) as origin:
        found = origin.control()
    assert (found.loss, found.problem) == (Loss.LOST, f"what answers does not speak HTTP/1.1: {mend}")


def test_a_connection_that_just_breaks_is_not_said_to_speak_otherwise() -> None:
    """There is nothing to mend in a protocol."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Len")

    with hostile(script) as server, client(server, FakeBodies()) as origin:
        found = origin.control()
    assert (found.loss, found.problem) == (Loss.LOST, None)


@pytest.mark.parametrize(
    ("content_type", "page"),
    [
        ("text/html; charset=utf-8", "text/html"),
        ("image/png", "image/png"),
        ("application/x-" + "a" * 90, "an unknown type"),
        ("text/plain", None),
        ("application/problem+json", None),
        ("", None),
    ],
)
def test_a_page_is_said_to_be_one(content_type: str, page: str | None) -> None:
    """A proxy's login page: its type is said, its words are not (I7)."""
    assert store_once(200, b"<title>Log in</title>", content_type=content_type).page == page


def test_an_empty_answer_is_no_page() -> None:
    """Some servers declare a type for nothing."""
    assert store_once(403, b"", content_type="text/html").page is None


def test_a_response_in_xml_alone_is_understood() -> None:
    """PS3.18 10.5.3 allows both; a service that has no JSON answers 406 to whoever takes nothing else."""
    item = '<Item number="1"><DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2.3.4</Value></DicomAttribute></Item>'
    text = f'<NativeDicomModel><DicomAttribute tag="00081199" vr="SQ">{item}</DicomAttribute></NativeDicomModel>'

    def script(peer: Peer) -> None:
        accepted = "dicom+xml" in peer.request().headers["accept"]
        peer.send(answer(200 if accepted else 406, text.encode(), content_type="application/dicom+xml"))

    bodies = FakeBodies()
    instance = bodies.add(CONTENT, sop_instance_uid="1.2.3.4")
    with hostile(script) as server, client(server, bodies) as origin:
        found = origin.store([instance])
    assert found.response == StoreResponse(referenced=(Referenced(sop_instance_uid="1.2.3.4"),), failed=())


def test_a_service_that_takes_a_request_and_says_nothing_is_timed() -> None:
    """From the last byte that went out to the first that comes back."""
    go_on = threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        go_on.wait(20)
        peer.send(answer(204))

    with hostile(script) as server, client(server, FakeBodies()) as origin, ThreadPoolExecutor(1) as pool:
        assert origin.silent_seconds == 0.0
        asked = pool.submit(origin.control)
        deadline = time.monotonic() + 10
        while origin.silent_seconds < 0.2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        go_on.set()
        assert asked.result(10).status == 204
        assert origin.silent_seconds == 0.0
