"""The daemon and service.partition, against a service that has partitions (Azure's answers, by hand)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from fakes.hostile_server import Peer, answer, hostile, named
from fakes.house import House
from fakes.studies import made

MakeHouse = Callable[..., House]


@pytest.mark.slow
def test_a_mistyped_partition_holds_and_the_control_does_not_create_it(house: MakeHouse) -> None:
    """F62, I3: the service refuses the store, the control asks /partitions and is not sent; when it is there, all goes on."""
    files = [made(n) for n in range(1, 6)]
    listed = ["Microsoft.Default"]

    def service(peer: Peer) -> None:
        while True:
            request = peer.request()
            if request.line.startswith("GET /v2/partitions "):
                body = json.dumps(
                    [{"PartitionKey": n, "PartitionName": name} for n, name in enumerate(listed)]
                ).encode()
                peer.send(answer(200, body, content_type="application/json"))
            elif "ward-1" not in listed:
                peer.send(answer(400, b"no such partition"))
            elif len(request.body) < 100:
                peer.send(answer(204))
            else:
                uids = [one.ids[2] for one in files if one.content[128:] in request.body]
                peer.send(answer(200, named(*uids), content_type="application/dicom+json"))

    with hostile(service) as server:
        home = house(server.url, INGESTD_SERVICE__PARTITION="ward-1")
        for one in files:
            home.drop(one.name, one.content)
        home.start()
        home.waits(lambda: sum(r.line.startswith("GET") for r in server.requests) >= 3, 30)
        assert home.count() == {"inbox": 5, "done": 0, "failed": 0}
        posts = [r for r in server.requests if r.line.startswith("POST")]
        assert {r.line for r in posts} == {"POST /v2/partitions/ward-1/studies HTTP/1.1"}
        assert all(len(r.body) > 1000 for r in posts)  # files, and no control
        listed.append("ward-1")
        home.waits(home.ended(5), 30)
        assert home.stop() == 0
    assert home.count() == {"inbox": 0, "done": 5, "failed": 0}
    held = next(line for line in home.lines() if line["event"] == "held")
    assert held["cause"] == "route"
    assert "service.partition" in held["problem"]
