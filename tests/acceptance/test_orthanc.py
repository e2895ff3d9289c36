"""A service that nobody here wrote: Orthanc with its DICOMweb plugin."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import httpx
import pytest
from fakes.house import House, digest
from fakes.studies import made, studies

from ingestd.emulator.samples import ct_instance

pytestmark = pytest.mark.real


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["auto", "orthanc"])
def test_a_thousand_instances_dropped_while_it_runs_are_all_in_orthanc(
    house: type[House], orthanc: str, kind: str
) -> None:
    """I1, I2, I4: all in Orthanc by its own REST API, all in done/, nothing in failed/, bytes as they were dropped."""
    files = studies(count=20, each=50, size=16_000)
    home = house(f"{orthanc}/dicom-web", INGESTD_SERVICE__KIND=kind)
    home.start()
    for one in files:
        home.drop(one.name, one.content)
    home.waits(home.ended(len(files)), 150)
    assert home.stop() == 0
    assert home.count() == {"inbox": 0, "done": 1000, "failed": 0}
    assert home.digests(home.done) == sorted(digest(f.content) for f in files)
    with httpx.Client(base_url=orthanc, trust_env=False, timeout=60) as rest:
        statistics = rest.get("/statistics").json()
        assert (statistics["CountStudies"], statistics["CountInstances"]) == (20, 1000)
        held = {digest(rest.get(f"/instances/{i}/file").content[128:]) for i in rest.get("/instances").json()}
    assert held == {digest(f.content[128:]) for f in files}
    with closing(sqlite3.connect(home.root / "state" / "journal.sqlite")) as journal:
        proofs = {proof for (proof,) in journal.execute("SELECT DISTINCT proof FROM receipts")}
    assert proofs <= {"asked", "fetched"}
    assert "asked" in proofs


@pytest.mark.slow
def test_what_orthanc_stores_and_the_standard_does_not_is_sent(house: type[House], orthanc: str) -> None:
    """F95, I2, I4: data sets without a header as they are; letters, a blank and 65 characters in UIDs; all are held."""
    content = made(1).content
    files = {"bare.dcm": content[144 + int.from_bytes(content[140:144], "little") :]}
    for name, study in {
        "uuid": "ad111191-79e4-4892-9b91-430047f0a0b2",
        "blank": " 1.2.3.4",
        "long": "1." * 32 + "1",
    }.items():
        files[f"{name}.dcm"] = ct_instance(
            study_uid=study, series_uid=f"1.{len(study)}", sop_instance_uid=f"1.2.{len(study)}"
        )
    home = house(f"{orthanc}/dicom-web", INGESTD_SERVICE__KIND="orthanc", INGESTD_INTAKE__HEADERLESS="send")
    home.start()
    for name, content in files.items():
        home.drop(name, content)
    home.waits(home.ended(len(files)), 60)
    assert home.stop() == 0
    assert {p.name: p.read_bytes() for p in home.files(home.done)} == files
    assert home.reasons() == {}


@pytest.mark.slow
def test_a_changed_file_under_the_same_uids_is_a_conflict_though_orthanc_says_stored(
    house: type[House], orthanc: str
) -> None:
    """I2, F36: Orthanc answers 200, names it, and keeps the old bytes; what it holds is fetched and compared."""
    one = made(1)
    home = house(f"{orthanc}/dicom-web", INGESTD_SERVICE__KIND="orthanc")
    home.start()
    home.drop("first.dcm", one.content)
    home.waits(home.ended(1), 30)
    home.drop("again.dcm", one.content)
    home.waits(home.ended(2), 30)
    home.drop("changed.dcm", one.content.replace(b"Anony^Mous", b"Other^Name"))
    home.waits(home.ended(3), 30)
    assert home.stop() == 0
    assert {p.name for p in home.files(home.done)} == {"first.dcm", "again.dcm"}
    assert home.reasons()["changed.dcm"]["reason"] == "conflict"
