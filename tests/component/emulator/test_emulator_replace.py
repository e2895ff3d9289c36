"""The embedded service replaces and deletes as Azure's does (azure-dicom 2.5, 5)."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.emulator_client import serving

from ingestd.emulator.samples import ct_instance

INSTANCE = "studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.1"
SINGLE = {"Content-Type": "application/dicom"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(tmp_path) as client:
        yield client


def instance(size: int = 1500, number: int = 1) -> bytes:
    uid = f"1.2.3.4.{number}"
    return ct_instance(study_uid="1.2.3", series_uid="1.2.3.4", sop_instance_uid=uid, size_bytes=size)


def send(client: httpx.Client, method: str, body: bytes, path: str = "studies") -> httpx.Response:
    return client.request(method, path, content=body, headers=SINGLE)


def held(client: httpx.Client) -> bytes | None:
    found = client.get(INSTANCE, headers={"Accept": "application/dicom; transfer-syntax=*"})
    return found.content[128:] if found.status_code == 200 else None


def changes(client: httpx.Client) -> list[tuple[str, str]]:
    found: list[dict[str, Any]] = client.get("changefeed").json()
    return [(change["Action"], change["State"]) for change in found]


def blobs(data: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(data / "blobs"))


def test_put_takes_the_place_of_what_is_held(service: httpx.Client, tmp_path: Path) -> None:
    old, new = instance(), instance(9000)
    assert send(service, "POST", old).status_code == 200
    answer = send(service, "PUT", new)
    assert answer.status_code == 200
    assert [item["00081155"]["Value"] for item in answer.json()["00081199"]["Value"]] == [["1.2.3.4.1"]]
    assert held(service) == new[128:]
    assert changes(service) == [("create", "replaced"), ("update", "current")]
    assert blobs(tmp_path) == 1


def test_put_stores_what_is_new(service: httpx.Client) -> None:
    assert send(service, "PUT", instance()).status_code == 200
    assert held(service) == instance()[128:]
    assert changes(service) == [("create", "current")]


def test_put_checks_as_post_does(service: httpx.Client) -> None:
    """What is refused takes no one's place."""
    send(service, "POST", instance())
    assert send(service, "PUT", b"garbage" * 100).status_code == 409
    assert send(service, "PUT", instance(9000), "studies/1.2.9").status_code == 409
    assert send(service, "PUT", instance(9000), "studies/not-a-uid").status_code == 400
    assert held(service) == instance()[128:]


def test_the_metadata_are_those_of_the_new_one(service: httpx.Client) -> None:
    send(service, "POST", instance())
    before = service.get(f"{INSTANCE}/metadata").headers["etag"]
    send(service, "PUT", instance(9000))
    assert service.get(f"{INSTANCE}/metadata", headers={"If-None-Match": before}).status_code == 200


def test_what_is_deleted_is_gone_and_may_come_again(service: httpx.Client, tmp_path: Path) -> None:
    send(service, "POST", instance())
    gone = service.delete(INSTANCE)
    assert (gone.status_code, gone.content) == (204, b"")
    assert (held(service), blobs(tmp_path)) == (None, 0)
    assert service.get(f"{INSTANCE}/metadata").status_code == 404
    assert service.delete(INSTANCE).status_code == 404
    assert changes(service) == [("create", "deleted"), ("delete", "deleted")]
    assert send(service, "POST", instance(9000)).status_code == 200
    assert held(service) == instance(9000)[128:]


def test_only_what_is_named_is_deleted(service: httpx.Client) -> None:
    send(service, "POST", instance(number=1))
    send(service, "POST", instance(number=2))
    assert service.delete("studies/1.2.3/series/1.2.3.9/instances/1.2.3.4.1").status_code == 404
    assert service.delete("studies/1.2.3/series/1.2.3.4/instances/x").status_code == 400
    assert service.delete(INSTANCE).status_code == 204
    assert service.get(INSTANCE.removesuffix("1") + "2/metadata").status_code == 200


def test_both_outlast_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        send(client, "POST", instance(number=2))
        send(client, "POST", instance())
        send(client, "PUT", instance(9000))
        client.delete(INSTANCE.removesuffix("1") + "2")
    with serving(tmp_path) as client:
        assert held(client) == instance(9000)[128:]
        assert client.delete(INSTANCE.removesuffix("1") + "2").status_code == 404
        assert blobs(tmp_path) == 1
