"""Every request of Microsoft's two DICOMweb tutorials, by plain curl, with the answers that Azure gives.

"Using DICOMweb Standard APIs with Python" and "... with cURL"; the numbers are those of their steps, in order.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ingestd.emulator.samples import Sample, tutorial_samples
from ingestd.emulator.server import running

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

CURL = ("curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "60")
CURL += ("--write-out", "%{http_code} %{content_type}")
DICOM_JSON = "application/dicom+json"
RELATED = 'multipart/related; type="application/dicom"'
ANY_SYNTAX = f"{RELATED}; transfer-syntax=*"
GREEN, RED, BLUE = tutorial_samples()
STUDY = f"/studies/{GREEN.study_uid}"
SERIES = f"{STUDY}/series/{GREEN.series_uid}"
INSTANCE = f"{SERIES}/instances/{GREEN.sop_instance_uid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What curl got."""

    status: int
    content_type: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Curl:
    """curl against one service, in a folder with the samples."""

    def __init__(self, folder: Path, url: str, *headers: str) -> None:
        self._folder = folder
        self._url = url
        self._headers = headers

    def __call__(self, method: str, path: str, *options: str, headers: tuple[str, ...] = ()) -> Said:
        body = self._folder / "body"
        body.write_bytes(b"")
        named = [part for header in (*self._headers, *headers) for part in ("--header", header)]
        done = subprocess.run(
            [*CURL, "--request", method, f"{self._url}{path}", *named, *options, "--output", str(body)],
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=True,
        )
        status, _, content_type = done.stdout.partition(" ")
        return Said(status=int(status), content_type=content_type, body=body.read_bytes())

    def get(self, path: str, accept: str) -> Said:
        return self("GET", path, headers=(f"Accept: {accept}",))

    def store(self, path: str, *samples: Sample, content_type: str = RELATED) -> Said:
        """As the tutorial does it: a form, whose parts carry a Content-Disposition."""
        forms = [
            part for n, s in enumerate(samples) for part in ("--form", f"file{n}=@{s.name};type=application/dicom")
        ]
        return self("POST", path, *forms, headers=(f"Accept: {DICOM_JSON}", f"Content-Type: {content_type}"))


@pytest.fixture
def folder(tmp_path: Path, real: Callable[..., None]) -> Path:
    real("curl")
    for sample in tutorial_samples():
        (tmp_path / sample.name).write_bytes(sample.content)
    return tmp_path


@pytest.fixture
def curl(folder: Path) -> Iterator[Curl]:
    with running(data=folder / "data") as service:
        yield Curl(folder, service.url)


@pytest.fixture
def stored(curl: Curl) -> Curl:
    """With the three samples in it."""
    assert curl.store("/studies", GREEN, RED, BLUE).status == 200
    return curl


def reasons(said: Said) -> list[int]:
    return [item["00081197"]["Value"][0] for item in said.json["00081198"]["Value"]]


def values(said: Said, tag: str) -> list[str]:
    return [found[tag]["Value"][0] for found in said.json]


def parts(said: Said) -> list[bytes]:
    """The contents of a multipart body, cut by hand."""
    kind, _, boundary = said.content_type.partition("boundary=")
    assert kind.startswith("multipart/related")
    delimiter = b"--" + boundary.strip('"').encode()
    first, *found, last = said.body.split(delimiter)
    assert (first.strip(), last.strip()) == (b"", b"--")
    return [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in found]


def test_1_changefeed_tells_whether_authentication_is_right(folder: Path) -> None:
    """200 with the token, 401 without and with another."""
    (folder / "tokens").write_text("right-token\n")
    with running(data=folder / "data", token_file=folder / "tokens") as service:
        right = Curl(folder, service.url, "Authorization: Bearer right-token")("GET", "/changefeed")
        assert (right.status, right.json) == (200, [])
        assert Curl(folder, service.url)("GET", "/changefeed").status == 401
        assert Curl(folder, service.url, "Authorization: Bearer other")("GET", "/changefeed").status == 401


@pytest.mark.parametrize(
    "content_type", [RELATED, f"{RELATED}; boundary=ABCD1234", "multipart/related", "multipart/form-data"]
)
def test_2_store_by_multipart(curl: Curl, folder: Path, content_type: str) -> None:
    """200 and each instance named, with the type and without. A form as such is 415."""
    if content_type == "multipart/form-data":
        assert curl.store("/studies", GREEN, content_type=content_type).status == 415
        return
    if "boundary" in content_type:  # curl would add its own
        head = b'--ABCD1234\r\nContent-Disposition: form-data; name="f"; filename="g.dcm"\r\n'
        body = head + b"Content-Type: application/dicom\r\n\r\n" + GREEN.content + b"\r\n--ABCD1234--\r\n"
        (folder / "request").write_bytes(body)
        headers = (f"Accept: {DICOM_JSON}", f"Content-Type: {content_type}")
        said = curl("POST", "/studies", "--data-binary", "@request", headers=headers)
    else:
        said = curl.store("/studies", GREEN, content_type=content_type)
    assert said.status == 200
    assert said.content_type.startswith(DICOM_JSON)
    (item,) = said.json["00081199"]["Value"]
    assert item["00081155"]["Value"] == [GREEN.sop_instance_uid]


def test_2_the_second_time_all_are_there_already(stored: Curl) -> None:
    """409, and 45070 for each in the body."""
    said = stored.store("/studies", GREEN, RED, BLUE)
    assert said.status == 409
    assert reasons(said) == [45070] * 3


def test_3_store_into_a_study(curl: Curl) -> None:
    """200 into its own, 409 into another; some new ones among old ones are 202."""
    said = curl.store(STUDY, GREEN, RED)
    assert said.status == 200
    assert said.json["00081190"]["Value"][0].endswith(STUDY)
    other = curl.store("/studies/1.2.3", BLUE)
    assert (other.status, reasons(other)) == (409, [43264])
    mixed = curl.store(STUDY, RED, BLUE)
    assert (mixed.status, reasons(mixed)) == (202, [45070])


def test_4_store_one_without_multipart(curl: Curl) -> None:
    """200, and 409 the second time."""
    headers = (f"Accept: {DICOM_JSON}", "Content-Type: application/dicom")
    statuses = [curl("POST", "/studies", "--data-binary", f"@{BLUE.name}", headers=headers) for _ in range(2)]
    assert [said.status for said in statuses] == [200, 409]
    assert reasons(statuses[1]) == [45070]


@pytest.mark.parametrize(("path", "samples"), [(STUDY, (GREEN, RED, BLUE)), (SERIES, (GREEN, RED))])
def test_5_and_7_retrieve_a_study_and_a_series(stored: Curl, path: str, samples: tuple[Sample, ...]) -> None:
    """I4: byte for byte from 128 on; the service zeroes the preamble."""
    said = stored.get(path, ANY_SYNTAX)
    assert said.status == 200
    assert sorted(part[128:] for part in parts(said)) == sorted(sample.content[128:] for sample in samples)


def test_9_retrieve_an_instance(stored: Curl) -> None:
    """As application/dicom alone, and as multipart."""
    said = stored.get(INSTANCE, "application/dicom; transfer-syntax=*")
    assert said.status == 200
    assert said.content_type.startswith("application/dicom")
    assert said.body[128:] == GREEN.content[128:]
    (part,) = parts(stored.get(INSTANCE, ANY_SYNTAX))
    assert part[128:] == GREEN.content[128:]


@pytest.mark.parametrize(
    ("path", "uids"),
    [
        (STUDY, {GREEN.sop_instance_uid, RED.sop_instance_uid, BLUE.sop_instance_uid}),
        (SERIES, {GREEN.sop_instance_uid, RED.sop_instance_uid}),
        (INSTANCE, {GREEN.sop_instance_uid}),
    ],
)
def test_6_8_and_10_metadata(stored: Curl, path: str, uids: set[str]) -> None:
    """One data set an instance, and no pixels in it."""
    said = stored.get(f"{path}/metadata", DICOM_JSON)
    assert said.status == 200
    assert said.content_type.startswith(DICOM_JSON)
    assert set(values(said, "00080018")) == uids
    assert all("7FE00010" not in found for found in said.json)


@pytest.mark.parametrize("syntax", ["; transfer-syntax=1.2.840.10008.1.2.1", "; transfer-syntax=*", ""])
def test_11_frames(stored: Curl, syntax: str) -> None:
    """The pixels of frame 1, whatever the syntax parameter; frame 2 is not there."""
    accept = f'multipart/related; type="application/octet-stream"{syntax}'
    said = stored.get(f"{INSTANCE}/frames/1", accept)
    assert said.status == 200
    (frame,) = parts(said)
    assert frame == GREEN.content[-256 * 256 * 3 :]
    assert stored.get(f"{INSTANCE}/frames/1,2", accept).status == 404


@pytest.mark.parametrize(
    ("path", "tag", "uid"),
    [
        (f"/studies?StudyInstanceUID={GREEN.study_uid}", "0020000D", GREEN.study_uid),
        (f"/series?SeriesInstanceUID={GREEN.series_uid}", "0020000E", GREEN.series_uid),
        (f"{STUDY}/series?SeriesInstanceUID={GREEN.series_uid}", "0020000E", GREEN.series_uid),
        (f"/instances?SOPInstanceUID={RED.sop_instance_uid}", "00080018", RED.sop_instance_uid),
        (f"{STUDY}/instances?SOPInstanceUID={RED.sop_instance_uid}", "00080018", RED.sop_instance_uid),
        (f"{SERIES}/instances?SOPInstanceUID={RED.sop_instance_uid}", "00080018", RED.sop_instance_uid),
    ],
)
def test_12_to_17_the_six_searches(stored: Curl, path: str, tag: str, uid: str) -> None:
    """One each; 204 when nothing is found."""
    said = stored.get(path, DICOM_JSON)
    assert said.status == 200
    assert said.content_type.startswith(DICOM_JSON)
    assert values(said, tag) == [uid]
    assert stored.get(path.replace(uid, "1.2.3.4") if "?" in path else path, DICOM_JSON).status == 204


def test_other_attributes_can_be_searched_too(stored: Curl) -> None:
    """The tutorial's example is PatientName."""
    assert len(stored.get("/studies?PatientName=Anony%5EMous", DICOM_JSON).json) == 1
    assert len(stored.get("/instances?PatientID=ID1", DICOM_JSON).json) == 3


def test_18_to_20_delete(stored: Curl) -> None:
    """204, and 404 when it is gone; a series and a study take what is in them along."""
    for path, left in ((INSTANCE, 2), (SERIES, 1), (STUDY, 0)):
        assert stored("DELETE", path).status == 204
        assert stored("DELETE", path).status == 404
        found = stored.get("/instances", DICOM_JSON)
        assert (len(found.json) if found.status == 200 else 0) == left
    assert stored.get(STUDY, ANY_SYNTAX).status == 404
    changes = stored("GET", "/changefeed").json
    assert [change["Action"] for change in changes] == ["create"] * 3 + ["delete"] * 3
