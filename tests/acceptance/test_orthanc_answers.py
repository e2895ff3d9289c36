"""What a service that nobody here wrote says: Orthanc 1.10.1 with its DICOMweb plugin 1.7, asked by the real client."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import httpx
import pytest
from fakes.bodies_fake import FakeBodies, digest
from fakes.origin_fake import fetched

from ingestd.core.answers.answer import Answer, Fetched
from ingestd.core.model import Instance
from ingestd.dicomweb.origin.client import OriginServer
from ingestd.dicomweb.origin.replace import NEITHER
from ingestd.emulator.samples import ct_instance
from ingestd.ops.clock import SystemClock
from ingestd.part10.digests import Arrival

pytestmark = pytest.mark.real

STUDY = "1.2.826.0.1.3680043.8.498.7"
SERIES = STUDY + ".1"
GARBAGE = b"\0" * 128 + b"DICM" + b"garbage" * 50


class Bench:
    """Orthanc's own REST API beside our client."""

    def __init__(self, orthanc: str) -> None:
        self.bodies = FakeBodies()
        self.rest = httpx.Client(base_url=orthanc, trust_env=False)
        self.origin = OriginServer(
            url=f"{orthanc}/dicom-web", bodies=self.bodies, arrival=Arrival, clock=SystemClock(), response_timeout=30.0
        )

    def drop(self, number: int, *, size: int = 4096, content: bytes | None = None) -> Instance:
        uid = f"{SERIES}.{number}"
        made = ct_instance(study_uid=STUDY, series_uid=SERIES, sop_instance_uid=uid, size_bytes=size)
        return self.bodies.add(content or made, sop_instance_uid=uid, study_uid=STUDY, series_uid=SERIES)

    def digest(self, instance: Instance) -> str:
        return digest(self.bodies.contents[instance.path])

    def count(self) -> int:
        return int(self.rest.get("/statistics").json()["CountInstances"])


@pytest.fixture
def bench(orthanc: str) -> Iterator[Bench]:
    made = Bench(orthanc)
    yield made
    made.origin.close()
    made.rest.close()


def named(answer: Answer) -> list[str]:
    assert answer.response is not None
    assert answer.response.failed == ()
    return [r.sop_instance_uid for r in answer.response.referenced]


@pytest.mark.slow
def test_the_control_is_answered_200_with_empty_sequences(bench: Bench) -> None:
    """Azure's normal answer is 204; this one is learnt."""
    found = bench.origin.control()
    assert (found.status, named(found), bench.count()) == (200, [], 0)


@pytest.mark.slow
def test_a_batch_with_one_bad_file_is_a_400_that_names_the_stored_ones(bench: Bench) -> None:
    """F50: without a Content-Type, and the bad one stands in neither sequence, wherever it stood in the batch."""
    for bad in range(3):
        batch = [bench.drop(10 * bad + n, content=GARBAGE if n == bad else None) for n in range(3)]
        found = bench.origin.store(batch)
        good = [instance for n, instance in enumerate(batch) if n != bad]
        assert (found.status, found.loss) == (400, None)
        assert sorted(named(found)) == sorted(i.sop_instance_uid for i in good)
        assert bench.count() == 2 * (bad + 1)
        for instance in good:
            assert bench.origin.fetch(instance.ids) == fetched(instance.ids, bench.digest(instance))
    alone = bench.origin.store([bench.drop(99, content=GARBAGE)])
    assert (alone.status, named(alone), bench.count()) == (400, [], 6)


@pytest.mark.slow
def test_changed_bytes_under_the_same_uids_are_named_and_not_kept(bench: Bench) -> None:
    """Why a receipt of other bytes asks for the bytes: it says 200 as to the same bytes, and keeps the old ones."""
    old, new = bench.drop(1), bench.drop(1, size=9000)
    for _ in range(2):
        found = bench.origin.store([old])
        assert (found.status, named(found)) == (200, [old.sop_instance_uid])
    found = bench.origin.store([new])
    assert (found.status, named(found)) == (200, [new.sop_instance_uid])
    assert bench.origin.fetch(new.ids) == fetched(old.ids, bench.digest(old))


@pytest.mark.slow
def test_what_is_stored_is_fetched_with_its_digest(bench: Bench) -> None:
    """The second is larger than what other answers may be. The path names all three UIDs: in another series there is none."""
    for number, size in enumerate((4096, 20_000_000)):
        instance = bench.drop(number, size=size)
        assert bench.origin.store([instance]).status == 200
        assert bench.origin.fetch(instance.ids) == fetched(instance.ids, bench.digest(instance))
        held = bench.origin.metadata(instance.ids)
        assert held.elements is not None
        assert held.elements["00080018"] == (instance.sop_instance_uid,)
        elsewhere = dataclasses.replace(instance.ids, series_uid="1.2.9")
        assert bench.origin.fetch(elsewhere) == Fetched(status=404)
    absent = bench.drop(7).ids
    assert bench.origin.fetch(absent) == Fetched(status=404)
    assert bench.origin.metadata(absent).status == 404


@pytest.mark.slow
def test_it_can_replace_nothing_and_says_so(bench: Bench) -> None:
    """The plugin has neither PUT nor DELETE: what it holds stays, and a person is told what to do."""
    old, new = bench.drop(1), bench.drop(1, size=9000)
    bench.origin.store([old])
    found = bench.origin.replace(new)
    assert (found.status, found.loss, found.response, found.comment) == (405, None, None, NEITHER)
    assert bench.origin.fetch(old.ids).sha256 == bench.digest(old)
    (held,) = bench.rest.get("/instances").json()
    assert bench.rest.delete(f"/instances/{held}").status_code == 200
    assert named(bench.origin.store([new])) == [new.sop_instance_uid]
    assert bench.origin.fetch(new.ids).sha256 == bench.digest(new)
