"""Replacing what a service holds: PUT where it has that, else DELETE and then POST."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from fakes.bodies_fake import FakeBodies, digest, parts
from fakes.hostile_server import Peer, Received, Script, answer, hostile, named

from ingestd.core.answers.answer import Answer, Loss, Referenced
from ingestd.core.errors import FileChangedError, FileGoneError
from ingestd.dicomweb.origin.client import OriginServer
from ingestd.dicomweb.origin.replace import DELETED, NEITHER, NO_SUCH_METHOD
from ingestd.ops.clock import SystemClock
from ingestd.part10.digests import Arrival

pytestmark = pytest.mark.timeout(30)

CONTENT = b"new" * 1000
JSON = "application/dicom+json"
STORED = answer(200, named("1.2.3.4.1"), content_type=JSON)
REJECTED = answer(409, named(failed={"1.2.3.4.1": 43264}), content_type=JSON)


def replace(
    said: Mapping[str, bytes], prepare: Callable[[FakeBodies], None] | None = None
) -> tuple[Answer, list[Received]]:
    """What came of it where a service says this to each method; without a word the connection breaks."""

    def script(peer: Peer) -> None:
        while True:
            method = peer.request().line.partition(" ")[0]
            if method not in said:
                return
            peer.send(said[method])

    return asked(script, prepare)


def asked(script: Script, prepare: Callable[[FakeBodies], None] | None = None) -> tuple[Answer, list[Received]]:
    bodies = FakeBodies()
    instance = bodies.add(CONTENT)
    if prepare is not None:
        prepare(bodies)
    with hostile(script) as server:
        origin = OriginServer(
            url=server.url,
            bodies=bodies,
            arrival=Arrival,
            clock=SystemClock(),
            connect_timeout=2.0,
            response_timeout=2.0,
        )
        try:
            return origin.replace(instance), server.requests
        finally:
            origin.close()


def methods(requests: list[Received]) -> list[str]:
    return [request.line.partition(" ")[0] for request in requests]


def test_put_replaces_it() -> None:
    """The managed Azure service: one request, as a Store transaction but for the method."""
    found, requests = replace({"PUT": STORED})
    assert (found.status, found.loss, found.digests) == (200, None, (digest(CONTENT),))
    assert found.response is not None
    assert found.response.referenced == (Referenced(sop_instance_uid="1.2.3.4.1"),)
    (request,) = requests
    assert request.line == "PUT /v2/studies HTTP/1.1"
    assert parts(request.content_type, request.body) == [CONTENT]


@pytest.mark.parametrize("no_put", sorted(NO_SUCH_METHOD))
@pytest.mark.parametrize("deleted", sorted(DELETED))
def test_without_put_it_is_deleted_and_stored(no_put: int, deleted: int) -> None:
    """404 to DELETE: an earlier attempt came as far as that."""
    gone = answer(deleted) if deleted != 204 else b"HTTP/1.1 204 No Content\r\n\r\n"
    found, requests = replace({"PUT": answer(no_put), "DELETE": gone, "POST": STORED})
    assert (found.status, found.digests) == (200, (digest(CONTENT),))
    assert found.response is not None
    assert [request.line.rpartition(" ")[0] for request in requests] == [
        "PUT /v2/studies",
        "DELETE /v2/studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.1",
        "POST /v2/studies",
    ]
    assert requests[1].headers["accept"] == "*/*"
    assert parts(requests[2].content_type, requests[2].body) == [CONTENT]


@pytest.mark.parametrize("status", [200, 202, 204, 302, 400, 401, 403, 406, 409, 413, 415, 424, 429, 500, 502, 503])
def test_what_else_is_said_to_put_is_the_answer_and_nothing_is_deleted(status: int) -> None:
    """I1: only a service that knows no PUT is asked to delete."""
    said = answer(status, b"some text") if status != 204 else b"HTTP/1.1 204 No Content\r\n\r\n"
    found, requests = replace({"PUT": said, "DELETE": answer(200), "POST": STORED})
    assert (found.status, found.response) == (status, None)
    assert set(methods(requests)) == {"PUT"}


@pytest.mark.parametrize("status", sorted(NO_SUCH_METHOD))
def test_a_service_that_answers_for_the_instance_knows_put(status: int) -> None:
    """A readable response is read whatever the status."""
    said = answer(status, named(failed={"1.2.3.4.1": 272}), content_type=JSON)
    found, requests = replace({"PUT": said, "DELETE": answer(200), "POST": STORED})
    assert found.response is not None
    assert methods(requests) == ["PUT"]


def test_a_put_that_is_lost_deletes_nothing() -> None:
    found, requests = replace({"DELETE": answer(200), "POST": STORED})
    assert (found.status, found.loss) == (None, Loss.LOST)
    assert set(methods(requests)) == {"PUT"}


@pytest.mark.parametrize("status", [405, 501])
def test_a_service_with_neither_says_so(status: int) -> None:
    """Orthanc's plugin answers 405 to both."""
    found, requests = replace({"PUT": answer(405), "DELETE": answer(status), "POST": STORED})
    assert (found.status, found.response, found.comment) == (status, None, NEITHER)
    assert methods(requests) == ["PUT", "DELETE"]


@pytest.mark.parametrize("status", [202, 301, 400, 401, 403, 409, 423, 500, 503])
def test_a_delete_that_is_refused_is_the_answer(status: int) -> None:
    """Nothing was deleted, so nothing is sent."""
    refusal = answer(status, b"may not", headers={"Retry-After": "9"})
    found, requests = replace({"PUT": answer(405), "DELETE": refusal, "POST": STORED})
    assert (found.status, found.response, found.retry_after, found.comment) == (status, None, 9.0, "may not")
    assert methods(requests)[:2] == ["PUT", "DELETE"]
    assert "POST" not in methods(requests)


def test_a_delete_that_is_lost_is_the_answer() -> None:
    """It is asked anew another time, and then answered 404."""
    found, requests = replace({"PUT": answer(405), "POST": STORED})
    assert (found.status, found.loss) == (None, Loss.LOST)
    assert "POST" not in methods(requests)


@pytest.mark.parametrize(
    ("said", "status", "loss"), [(REJECTED, 409, None), (answer(503), 503, None), (None, None, Loss.LOST)]
)
def test_a_post_that_fails_is_the_answer(said: bytes | None, status: int | None, loss: Loss | None) -> None:
    """The service holds nothing then; the file is still in the inbox, and is sent again like any other."""
    known = {"PUT": answer(405), "DELETE": answer(200)} | ({"POST": said} if said is not None else {})
    found, _ = replace(known)
    assert (found.status, found.loss) == (status, loss)


def test_a_file_that_changed_replaces_nothing_and_deletes_nothing() -> None:
    """I4."""

    def change(bodies: FakeBodies) -> None:
        bodies.failures["1.dcm"] = FileChangedError("changed")

    def script(peer: Peer) -> None:
        peer.head()
        peer.everything()

    found, requests = asked(script, change)
    assert (found.loss, found.changed) == (Loss.FILE_CHANGED, (0,))
    assert requests == []


def test_nothing_is_deleted_for_a_file_that_is_gone_by_now() -> None:
    """I1: a PUT may be refused before it has read the file, or the file go right after. Else nobody would hold anything."""
    kept: list[FakeBodies] = []

    def script(peer: Peer) -> None:
        peer.request()
        kept[0].failures["1.dcm"] = FileGoneError("gone")
        peer.send(answer(405))
        peer.request()

    found, requests = asked(script, kept.append)
    assert (found.loss, found.changed) == (Loss.FILE_CHANGED, (0,))
    assert methods(requests) == ["PUT"]


def test_after_abort_nothing_is_sent() -> None:
    bodies = FakeBodies()
    instance = bodies.add(CONTENT)
    with hostile(lambda peer: None) as server:
        origin = OriginServer(url=server.url, bodies=bodies, arrival=Arrival, clock=SystemClock())
        origin.abort()
        assert origin.replace(instance).loss is Loss.NOT_SENT
        origin.close()
        assert server.requests == []
