"""The embedded service's versions, its partitions, delete at each level, and the change feed of version 1."""

import io
import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement

from ingestd.dicomweb.origin.partitions import Partition
from ingestd.emulator.samples import ct_instance
from ingestd.emulator.server import running
from ingestd.ops.clock import SystemClock

JSON = {"Accept": "application/dicom+json"}
SINGLE = {"Content-Type": "application/dicom"}
STUDY, SERIES = "studies/1.2.3", "studies/1.2.3/series/1.2.3.4"
NUMBERS = itertools.count(1000)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[httpx.Client]:
    with running(data=tmp_path) as emulator, httpx.Client(base_url=root(emulator.url), headers=JSON) as client:
        yield client


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One service for tests that make no partition and do not mind what is stored."""
    with running(data=tmp_path_factory.mktemp("shared")) as emulator:
        with httpx.Client(base_url=root(emulator.url), headers=JSON) as client:
            yield client


def root(url: str) -> str:
    return url.removesuffix("/v2")


def base(client: httpx.Client) -> str:
    return str(client.base_url).removesuffix("/") + "/"


def instance(number: int = 1, *, series: str = "1.2.3.4", study: str = "1.2.3") -> bytes:
    return ct_instance(study_uid=study, series_uid=series, sop_instance_uid=f"1.2.3.4.{number}", size_bytes=1500)


def changed(**values: str) -> bytes:
    dataset = dcmread(io.BytesIO(instance(next(NUMBERS))))
    for keyword, value in values.items():
        setattr(dataset, keyword, "")
        # Without pydicom's judgement of the value.
        tag, vr = dataset[keyword].tag, dataset[keyword].VR
        dataset[tag] = RawDataElement(tag, vr, len(value), value.encode(), 0, False, True)
    target = io.BytesIO()
    dataset.save_as(target)
    return target.getvalue()


def store(client: httpx.Client, base: str, content: bytes, method: str = "POST") -> httpx.Response:
    return client.request(method, f"{base}/studies", content=content, headers=SINGLE)


# -- versions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v1.0-prerelease", "v1", "v2"])
def test_every_version_serves_what_any_of_them_stored(service: httpx.Client, version: str) -> None:
    """azure-dicom 2.6; the URLs in the answer are of the version that was asked."""
    answer = store(service, version, instance())
    url = answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]

    assert url == f"{base(service)}{version}/{SERIES}/instances/1.2.3.4.1"
    assert answer.headers["api-supported-versions"] == "1.0-prerelease, 1, 2"
    assert all(service.get(f"{other}/{STUDY}/metadata").status_code == 200 for other in ("v1", "v2"))


@pytest.mark.parametrize(
    "path", ["studies", "v3/studies", "v2", "v2/", "v2/nonsense", "v2/studies/", "V2/studies", "changefeed"]
)
def test_there_is_no_route_without_a_version(shared: httpx.Client, path: str) -> None:
    """azure-dicom 1.2."""
    assert shared.get(path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("HEAD", "studies"), ("PATCH", "studies"), ("DELETE", "studies"), ("POST", "changefeed"), ("PUT", SERIES)],
)
def test_another_method_is_405(shared: httpx.Client, method: str, path: str) -> None:
    assert shared.request(method, f"v2/{path}").status_code == 405


@pytest.mark.parametrize(
    ("path", "methods"),
    [("studies", "GET, POST, PUT"), ("studies/1.2.3", "DELETE, GET, POST, PUT"), ("studies/1.2.3/metadata", "GET")],
)
def test_a_405_lists_every_method_of_the_path(shared: httpx.Client, path: str, methods: str) -> None:
    """RFC 9110 15.5.6."""
    assert shared.patch(f"v2/{path}").headers["allow"] == methods
    assert shared.patch(f"v2/partitions/p/{path}").headers["allow"] == methods


@pytest.mark.parametrize(
    "values",
    [
        {"StudyDate": "2020-9-22"},
        {"StudyDate": "20201301"},
        {"PatientBirthDate": "today"},
        {"AccessionNumber": "1" * 17},
        {"StudyDescription": "x" * 65},
        {"PatientName": "a^b^c^d^e^f"},
        {"PatientName": "a=b=c=d"},
        {"ReferringPhysicianName": "x" * 65},
        {"Modality": "COMPUTERTOMOGRAPH"},
        {"PatientID": ""},
    ],
)
def test_version_1_fails_what_version_2_remarks_on(shared: httpx.Client, values: dict[str, str]) -> None:
    """azure-dicom 1.6: version 1 validates every attribute that can be searched."""
    content = changed(**values)
    strict, lenient = store(shared, "v1", content), store(shared, "v2", content)

    (failed,) = strict.json()["00081198"]["Value"]
    assert (strict.status_code, failed["00081197"]["Value"]) == (409, [43264])
    assert failed["00741048"]["Value"][0]["00000902"]["Value"][0].startswith("DICOM100: ")
    assert lenient.status_code in {200, 202}


def test_version_1_looks_at_nothing_else_and_keeps_it(service: httpx.Client) -> None:
    answer = store(service, "v1", changed(SeriesDate="yesterday"))

    assert answer.status_code == 200
    assert "00741048" not in answer.json()["00081199"]["Value"][0]
    (found,) = service.get(f"v1/{STUDY}/metadata").json()
    assert found["00080021"]["Value"] == ["yesterday"]


def test_a_warning_is_200_in_version_1_and_202_in_version_2(service: httpx.Client) -> None:
    """azure-dicom 1.1, 1.5: implicit VR, 45063."""
    dataset = dcmread(io.BytesIO(instance()))
    target = io.BytesIO()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    dataset.save_as(target, implicit_vr=True, little_endian=True)
    for path, expected in (("v1/partitions/a", 200), ("v2/partitions/b", 202)):
        answer = store(service, path, target.getvalue())
        assert answer.status_code == expected
        assert answer.json()["00081199"]["Value"][0]["00081196"]["Value"] == [45063]


# -- partitions (azure-dicom 2.6) --------------------------------------------------------------------------------------


def names(client: httpx.Client) -> list[str]:
    return [one["partitionName"] for one in client.get("v2/partitions").json()]


def test_a_store_makes_the_partition_that_it_names(service: httpx.Client) -> None:
    assert names(service) == ["Microsoft.Default"]
    answer = store(service, "v2/partitions/ward-1", instance())

    url = answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    assert url == f"{base(service)}v2/partitions/ward-1/{SERIES}/instances/1.2.3.4.1"
    assert service.get(url.removeprefix(base(service)), headers={"Accept": "*/*"}).content == instance()
    assert service.put("v2/partitions/ward-2/studies", content=b"", headers=SINGLE).status_code == 409
    assert names(service) == ["Microsoft.Default", "ward-1", "ward-2"]


def test_each_partition_has_its_own(service: httpx.Client) -> None:
    """The same UIDs in two partitions are two instances, and the plain routes are those of Microsoft.Default."""
    for base in ("v2", "v2/partitions/a", "v2/partitions/b"):
        assert store(service, base, instance()).status_code == 200
        assert store(service, base, instance()).status_code == 409
    assert store(service, "v2/partitions/Microsoft.Default", instance()).status_code == 409
    assert service.delete(f"v2/partitions/a/{STUDY}").status_code == 204

    def found(base: str) -> tuple[int, int]:
        return service.get(f"{base}/{STUDY}/metadata").status_code, service.get(f"{base}/studies").status_code

    assert found("v2") == found("v2/partitions/b") == found("v2/partitions/Microsoft.Default") == (200, 200)
    assert found("v2/partitions/a") == (404, 204)


@pytest.mark.parametrize("path", ["studies", "series", "instances", STUDY, f"{STUDY}/metadata", f"{SERIES}/instances"])
def test_an_unknown_partition_is_400_and_reading_makes_none(shared: httpx.Client, path: str) -> None:
    """azure-dicom 1.2."""
    answer = shared.get(f"v2/partitions/nowhere/{path}", headers={"Accept": "*/*"})

    assert (answer.status_code, answer.text) == (400, "Specified PartitionName does not exist.")
    assert shared.delete(f"v2/partitions/nowhere/{STUDY}").status_code == 400
    assert names(shared) == ["Microsoft.Default"]


@pytest.mark.parametrize("name", ["a" * 65, "a b", "a%00", "ä", "%25"])
def test_a_partition_of_no_name_is_400(shared: httpx.Client, name: str) -> None:
    for answer in (store(shared, f"v2/partitions/{name}", b""), shared.get(f"v2/partitions/{name}/studies")):
        assert (answer.status_code, answer.text) == (400, "The specified PartitionName is invalid.")
    assert names(shared) == ["Microsoft.Default"]


def test_ingestd_s_own_control_learns_of_them(service: httpx.Client) -> None:
    """F62: the list that the daemon reads before it sends an empty Store transaction to a partition."""
    store(service, "v2/partitions/ward-1", instance())
    answer = service.get("v2/partitions", headers={"Accept": "application/json"})
    known, mistyped = Partition("ward-1", clock=SystemClock()), Partition("Ward-1", clock=SystemClock())

    assert known.learn(answer.status_code, answer.content) is None
    assert known.exists()
    assert "no partition Ward-1" in (mistyped.learn(answer.status_code, answer.content) or "")


def test_partitions_outlast_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        with running(data=tmp_path) as emulator, httpx.Client(base_url=root(emulator.url), headers=JSON) as client:
            store(client, "v2/partitions/ward-1", instance())
            assert names(client) == ["Microsoft.Default", "ward-1"]


# -- delete ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "left"),
    [(STUDY, ["4"]), (SERIES, ["3", "4"]), (f"{SERIES}/instances/1.2.3.4.1", ["2", "3", "4"])],
)
def test_delete_takes_what_it_names_and_nothing_else(
    service: httpx.Client, tmp_path: Path, path: str, left: list[str]
) -> None:
    """Tutorial 18 to 20: 204, then 404; the files are gone, and the change feed has a row for each instance."""
    for content in (instance(1), instance(2), instance(3, series="1.2.3.5"), instance(4, study="1.2.9")):
        store(service, "v2", content)
    gone = [number for number in "1234" if number not in left]

    first, second = service.delete(f"v2/{path}"), service.delete(f"v2/{path}")

    assert (first.status_code, first.content, second.status_code) == (204, b"", 404)
    assert service.get(f"v2/{path}", headers={"Accept": "*/*"}).status_code == 404
    stored = [one for study in ("1.2.3", "1.2.9") for one in metadata(service, f"v2/studies/{study}/metadata")]
    assert [one["00080018"]["Value"][0][-1] for one in stored] == left
    feed = service.get("v2/changefeed?includeMetadata=false").json()
    assert [one["SopInstanceUid"][-1] for one in feed if one["Action"] == "delete"] == gone
    assert [one["SopInstanceUid"][-1] for one in feed if one["State"] == "current"] == left
    assert len([file for file in (tmp_path / "blobs").rglob("*") if file.is_file()]) == len(left)


def metadata(client: httpx.Client, path: str) -> list[dict[str, Any]]:
    answer = client.get(path)
    return answer.json() if answer.status_code == 200 else []


@pytest.mark.parametrize("path", ["studies/x", "studies/1.2.3/series/x", f"{SERIES}/instances/x"])
def test_delete_of_a_uid_that_is_none_is_400(shared: httpx.Client, path: str) -> None:
    assert shared.delete(f"v2/{path}").status_code == 400


# -- change feed (azure-dicom 5) ---------------------------------------------------------------------------------------


def test_version_1_numbers_its_changes(service: httpx.Client) -> None:
    """offset is a sequence not included, limit a window of sequences; more than one partition in it."""
    for number in range(1, 13):
        store(service, "v1" if number % 2 else "v1/partitions/p", instance(number))

    def sequences(query: str) -> list[int]:
        return [one["Sequence"] for one in service.get(f"v1/changefeed?{query}").json()]

    assert sequences("") == list(range(1, 11))
    assert sequences("offset=10") == [11, 12]
    assert sequences("offset=2&limit=3") == [3, 4, 5]
    assert sequences("offset=12") == sequences(f"offset={2**63 - 1}&limit=100") == []
    (last,) = service.get("v1/changefeed?offset=11").json()
    assert (last["PartitionName"], last["SopInstanceUid"]) == ("p", "1.2.3.4.12")
    assert service.get("v1/changefeed/latest").json() == service.get("v2/changefeed/latest").json() == last
    assert len(service.get("v2/changefeed").json()) == 12


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "offset=-1", f"offset={2**63}", "includeMetadata=1"]
)
def test_a_query_that_makes_no_sense_is_400_in_version_1_too(shared: httpx.Client, query: str) -> None:
    assert shared.get(f"v1/changefeed?{query}").status_code == 400


def test_it_is_the_feed_of_the_whole_service(shared: httpx.Client) -> None:
    for path in ("changefeed", "changefeed/latest", "partitions"):
        assert shared.get(f"v2/partitions/Microsoft.Default/{path}").status_code == 404


# -- an index of an earlier version ------------------------------------------------------------------------------------

_EARLIER = """
CREATE TABLE instance (
    id INTEGER PRIMARY KEY AUTOINCREMENT, study TEXT NOT NULL, series TEXT NOT NULL, sop TEXT NOT NULL,
    transfer_syntax TEXT NOT NULL, key TEXT NOT NULL UNIQUE, UNIQUE (study, series, sop)
);
CREATE TABLE metadata (instance_id INTEGER PRIMARY KEY REFERENCES instance (id), json TEXT NOT NULL);
CREATE TABLE change (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL DEFAULT 0, action TEXT NOT NULL,
    study TEXT NOT NULL, series TEXT NOT NULL, sop TEXT NOT NULL, instance_id INTEGER NOT NULL
);
CREATE INDEX change_by_time ON change (at_ms, sequence);
INSERT INTO instance VALUES (41, '1.2.3', '1.2.3.4', '1.2.3.4.1', '1.2.840.10008.1.2.1', 'abcd');
INSERT INTO instance VALUES (42, '1', '1', '1', '1', '42'), (7, '2', '2', '2', '2', '7');
DELETE FROM instance WHERE id IN (7, 42);
INSERT INTO metadata VALUES (41, '{"0020000D":{"vr":"UI","Value":["1.2.3"]}}');
INSERT INTO change (action, study, series, sop, instance_id) VALUES ('create', '1.2.3', '1.2.3.4', '1.2.3.4.1', 41);
"""


def test_an_index_from_before_partitions_goes_on(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "index.sqlite3")) as index:
        index.executescript(_EARLIER)
    (tmp_path / "blobs" / "ab").mkdir(parents=True)
    (tmp_path / "blobs" / "ab" / "abcd").write_bytes(instance())

    for _ in range(2):
        with running(data=tmp_path) as emulator, httpx.Client(base_url=root(emulator.url), headers=JSON) as client:
            assert client.get(f"v2/{SERIES}/instances/1.2.3.4.1", headers={"Accept": "*/*"}).content == instance()
            assert client.get("v2/changefeed").json()[0]["PartitionName"] == "Microsoft.Default"
            assert len(client.get("v2/studies?StudyInstanceUID=1.2.3").json()) == 1
            store(client, "v2", instance(2))
            etag = client.get(f"v2/{SERIES}/instances/1.2.3.4.2/metadata").headers["etag"]
            assert etag == '"43"'  # 42 was another's, and never comes again
