"""service.partition: in the path of all that is stored and read, and never created by the control."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fakes.bodies_fake import FakeBodies
from fakes.hostile_server import HostileServer, Peer, Script, answer, answering, hostile, named
from fakes.values import AZURE, batch, instance

from ingestd.core.answers.answer import Answer, Loss
from ingestd.core.answers.disposition import dispose
from ingestd.core.answers.fault import hold_for
from ingestd.core.answers.outcome import Hold, HoldCause
from ingestd.core.model import Identifiers
from ingestd.dicomweb.origin.client import OriginServer
from ingestd.dicomweb.origin.holds import hold_line
from ingestd.dicomweb.origin.partitions import KNOWN_SECONDS
from ingestd.ops.clock import SystemClock
from ingestd.part10.digests import Arrival

IDS = Identifiers(
    study_uid="1.2", series_uid="1.2.3", sop_instance_uid="1.2.3.4", sop_class_uid="", transfer_syntax_uid=""
)


class LaterClock(SystemClock):
    later = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.later


@contextmanager
def client(
    server: HostileServer, partition: str = "ward-1", clock: SystemClock | None = None
) -> Iterator[OriginServer]:
    origin = OriginServer(
        url=server.url,
        bodies=FakeBodies(),
        arrival=Arrival,
        clock=clock or SystemClock(),
        partition=partition,
        connect_timeout=2.0,
        response_timeout=5.0,
    )
    try:
        yield origin
    finally:
        origin.close()


def listing(*names: str, key: str = "PartitionName", store: int = 204) -> Script:
    """Azure: a list of partitions at the base URI, and a Studies service in each."""
    listed = json.dumps([{"PartitionKey": n, key: name, "CreatedDate": "x"} for n, name in enumerate(names)])

    def script(peer: Peer) -> None:
        while True:
            request = peer.request()
            if request.line.startswith("GET /v2/partitions "):
                assert request.headers["accept"] == "application/json"
                peer.send(answer(200, listed.encode(), content_type="application/json; charset=utf-8"))
            else:
                peer.send(
                    answer(store, named("1.2.3.4.1") if store == 200 else b"", content_type="application/dicom+json")
                )

    return script


def lines(server: HostileServer) -> list[str]:
    return [request.line.removesuffix(" HTTP/1.1") for request in server.requests]


def test_what_is_stored_and_read_names_the_partition() -> None:
    with hostile(listing("ward-1", store=200)) as server, client(server) as origin:
        bodies = FakeBodies()
        origin._bodies = bodies  # the instance is in these
        assert origin.store([bodies.add(b"x" * 200)]).status == 200
        origin.metadata(IDS)
    assert lines(server) == [
        "POST /v2/partitions/ward-1/studies",
        "GET /v2/partitions/ward-1/studies/1.2/series/1.2.3/instances/1.2.3.4/metadata",
    ]


@pytest.mark.parametrize("key", ["PartitionName", "partitionName"])
def test_the_control_goes_to_a_partition_that_is_listed(key: str) -> None:
    """The source of Azure's service has one spelling, its documentation the other."""
    with hostile(listing("Microsoft.Default", "ward-1", key=key)) as server, client(server) as origin:
        assert origin.control().status == 204
    assert lines(server) == ["GET /v2/partitions", "POST /v2/partitions/ward-1/studies"]


def test_what_was_listed_is_known_for_a_while() -> None:
    clock = LaterClock()
    with hostile(listing("ward-1")) as server, client(server, clock=clock) as origin:
        origin.control()
        clock.later = KNOWN_SECONDS - 60
        origin.control()
        clock.later = KNOWN_SECONDS + 60
        origin.control()
    assert [line.split()[0] for line in lines(server)] == ["GET", "POST", "POST", "GET", "POST"]


def held_for_the_route(found: Answer) -> str:
    """The hold that such a control leads to, as a probe and after a batch; the words that a person sees."""
    assert hold_for(found) == Hold(cause=HoldCause.ROUTE, counts=True)
    (disposition,) = dispose(batch(instance("1")), Answer(status=400), control=found, profile=AZURE)
    assert isinstance(disposition, Hold)
    assert disposition.cause is HoldCause.ROUTE
    assert disposition.problem is not None
    assert "service.partition" in disposition.problem
    assert hold_line(disposition, url="http://here/v2", identified=True) == disposition.problem
    return disposition.problem


def test_a_mistyped_partition_is_never_created_by_the_control() -> None:
    """F62, I3: nothing is posted, each time it is asked for anew, and the files stay."""
    with hostile(listing("Ward-1", "ward-10")) as server, client(server) as origin:
        found = [origin.control() for _ in range(3)]
    assert lines(server) == ["GET /v2/partitions"] * 3
    assert held_for_the_route(found[0]) == (
        "service.partition: the service has no partition ward-1: correct it, or create it by a first store"
    )


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_a_service_without_partitions_is_said_to_be_one(status: int) -> None:
    """F62: Azure answers 400 where they are not enabled, others have no such route."""
    with hostile(answering(status)) as server, client(server) as origin:
        found = origin.control()
    assert lines(server) == ["GET /v2/partitions"]
    assert held_for_the_route(found) == (
        f"service.partition: the service has no data partitions ({status} for /partitions): take the key away"
    )


def test_a_service_with_no_partition_at_all_has_not_this_one() -> None:
    with hostile(answering(204)) as server, client(server) as origin:
        found = origin.control()
    assert lines(server) == ["GET /v2/partitions"]
    assert "no partition ward-1" in held_for_the_route(found)


@pytest.mark.parametrize(
    "body", [b"", b"<html>ward-1</html>", b'{"PartitionName": "ward-1"}', b'["ward-1"]', b"[" * 9999]
)
def test_what_is_no_list_of_partitions_proves_none(body: bytes) -> None:
    """F62."""
    with hostile(answering(200, body)) as server, client(server) as origin:
        found = origin.control()
    assert lines(server) == ["GET /v2/partitions"]
    held_for_the_route(found)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (401, HoldCause.IDENTITY),
        (403, HoldCause.ROLE),
        (429, HoldCause.BUSY),
        (503, HoldCause.BUSY),
        (302, HoldCause.ROUTE),
    ],
)
def test_trouble_while_asking_is_what_the_service_says_it_is(status: int, cause: HoldCause) -> None:
    """I3."""
    with hostile(answering(status, headers={"Retry-After": "7", "Location": "/x"})) as server, client(server) as origin:
        found = origin.control()
    assert all(line == "GET /v2/partitions" for line in lines(server))
    hold = hold_for(found)
    assert hold is not None
    assert (hold.cause, found.status) == (cause, status)


def test_a_service_that_is_away_is_nothing_sent() -> None:
    """F47."""
    with hostile(answering(204)) as server:
        pass
    with client(server) as origin:
        found = origin.control()
    assert (found.loss, found.comment) == (Loss.NOT_SENT, "no connection: Connection refused")
