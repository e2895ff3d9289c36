"""A service that nobody here wrote: Orthanc with its DICOMweb plugin."""

from __future__ import annotations

import httpx
import pytest
from fakes.house import House, digest
from fakes.studies import studies

pytestmark = pytest.mark.real


def test_a_thousand_instances_dropped_while_it_runs_are_all_in_orthanc(house: type[House], orthanc: str) -> None:
    """I1, I2, I4: all in Orthanc by its own REST API, all in done/, nothing in failed/, bytes as they were dropped."""
    files = studies(count=20, each=50, size=16_000)
    home = house(f"{orthanc}/dicom-web")
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
