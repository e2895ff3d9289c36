"""The embedded service as a client sees it that nobody here wrote: dicomweb-client, and pydicom and dcmtk on what came back."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient

from ingestd.emulator.samples import tutorial_samples
from ingestd.emulator.server import running

pytestmark = pytest.mark.timeout(120)

GREEN, RED, BLUE = tutorial_samples()
ONE = (GREEN.study_uid, GREEN.series_uid, GREEN.sop_instance_uid)
UIDS = sorted(sample.sop_instance_uid for sample in (GREEN, RED, BLUE))


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with running(data=tmp_path / "data") as service:
        yield service.url


@pytest.fixture
def answers() -> list[requests.Response]:
    """What the service answered, in order."""
    return []


@pytest.fixture
def client(url: str, answers: list[requests.Response]) -> Iterator[DICOMwebClient]:
    session = requests.Session()
    session.trust_env = False
    session.hooks["response"].append(lambda response, **_: answers.append(response))
    yield DICOMwebClient(url, session=session)
    session.close()


@pytest.fixture
def filled(client: DICOMwebClient, answers: list[requests.Response]) -> DICOMwebClient:
    """With the three samples in it.

    dicomweb-client 0.61 reads no Store Instances Response whose Content-Type has a charset, as Azure's has; so it is read here.
    """
    client.store_instances(datasets())
    (stored,) = answers
    assert stored.status_code == 200
    assert sorted(item["00081155"]["Value"][0] for item in stored.json()["00081199"]["Value"]) == UIDS
    return client


def datasets() -> list[pydicom.Dataset]:
    return [pydicom.dcmread(BytesIO(sample.content)) for sample in (GREEN, RED, BLUE)]


def written(dataset: pydicom.Dataset) -> bytes:
    """As dicomweb-client writes it before it sends it, without the preamble."""
    with BytesIO() as file:
        pydicom.dcmwrite(file, dataset)
        return file.getvalue()[128:]


def same(found: list[pydicom.Dataset], expected: list[pydicom.Dataset]) -> bool:
    """Every element of every data set, pixels too."""
    by_uid = {dataset.SOPInstanceUID: dataset for dataset in expected}
    return len(found) == len(expected) and all(by_uid[dataset.SOPInstanceUID] == dataset for dataset in found)


def test_retrieve_at_three_levels_gives_what_was_stored(filled: DICOMwebClient) -> None:
    """I4: every element, and byte for byte what was sent."""
    green, red, blue = datasets()
    study = filled.retrieve_study(GREEN.study_uid)
    assert same(study, [green, red, blue])
    assert sorted(map(written, study)) == sorted(map(written, (green, red, blue)))
    assert same(filled.retrieve_series(GREEN.study_uid, GREEN.series_uid), [green, red])
    assert same([filled.retrieve_instance(*ONE)], [green])


def test_metadata_at_three_levels(filled: DICOMwebClient) -> None:
    def uids(found: list[dict[str, dict[str, list[str]]]]) -> list[str]:
        return sorted(pydicom.Dataset.from_json(one).SOPInstanceUID for one in found)

    assert uids(filled.retrieve_study_metadata(GREEN.study_uid)) == UIDS
    series = filled.retrieve_series_metadata(GREEN.study_uid, GREEN.series_uid)
    assert uids(series) == sorted((GREEN.sop_instance_uid, RED.sop_instance_uid))
    one = pydicom.Dataset.from_json(filled.retrieve_instance_metadata(*ONE))
    assert (one.PatientName, one.PatientID, one.Rows) == ("Anony^Mous", "ID1", 256)


def test_frames(filled: DICOMwebClient) -> None:
    """It is told the type; without one it asks for `*/*`."""
    kind = ("application/octet-stream", "1.2.840.10008.1.2.1")
    (frame,) = filled.retrieve_instance_frames(*ONE, frame_numbers=[1], media_types=(kind,))
    assert frame == datasets()[0].PixelData


def test_searches(filled: DICOMwebClient) -> None:
    """The six, by UIDs and by name."""

    def uids(found: list[dict[str, dict[str, list[str]]]], tag: str) -> set[str]:
        return {one[tag]["Value"][0] for one in found}

    study, series, _ = ONE
    assert uids(filled.search_for_studies(search_filters={"PatientID": "ID1"}), "0020000D") == {study}
    assert uids(filled.search_for_studies(fuzzymatching=True, search_filters={"PatientName": "mous"}), "0020000D") == {
        study
    }
    assert filled.search_for_studies(search_filters={"PatientID": "ID2"}) == []
    both = {GREEN.series_uid, BLUE.series_uid}
    assert uids(filled.search_for_series(), "0020000E") == both
    assert uids(filled.search_for_series(study, search_filters={"Modality": "OT"}), "0020000E") == both
    assert uids(filled.search_for_instances(), "00080018") == set(UIDS)
    assert uids(filled.search_for_instances(study), "00080018") == set(UIDS)
    assert uids(filled.search_for_instances(study, series), "00080018") == {
        GREEN.sop_instance_uid,
        RED.sop_instance_uid,
    }
    assert len(filled.search_for_instances(limit=2)) == 2
    assert len(filled.search_for_instances(limit=2, offset=2)) == 1


def test_delete_at_three_levels(filled: DICOMwebClient) -> None:
    study, series, _ = ONE
    filled.delete_instance(*ONE)
    assert len(filled.search_for_instances()) == 2
    filled.delete_series(study, series)
    assert len(filled.search_for_instances()) == 1
    filled.delete_study(study)
    assert filled.search_for_studies() == []
    with pytest.raises(requests.HTTPError, match="404"):
        filled.delete_study(study)


@pytest.mark.real
def test_dcmtk_reads_what_came_back(
    filled: DICOMwebClient, url: str, tmp_path: Path, real: Callable[..., None]
) -> None:
    """The bytes on the wire are those that dicomweb-client sent, and a third reader finds them whole."""
    real("dcmdump")
    study, series, instance = ONE
    came = httpx.get(
        f"{url}/studies/{study}/series/{series}/instances/{instance}",
        headers={"Accept": "application/dicom; transfer-syntax=*"},
        trust_env=False,
    ).raise_for_status()
    assert came.content[128:] == written(datasets()[0])
    file = tmp_path / "came.dcm"
    file.write_bytes(came.content)
    done = subprocess.run(["dcmdump", "--quiet", str(file)], capture_output=True, text=True, check=True)
    assert f"[{instance}]" in done.stdout
    assert "(7fe0,0010)" in done.stdout
    assert done.stderr == ""
