"""What the daemon may rely on, whatever stands behind ports.Origin: the fake, or the real client against the embedded service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.bodies_fake import FakeBodies, digest
from fakes.origin_fake import FakeOrigin, fetched

from ingestd.core.answers.answer import Fetched, Listed, Loss
from ingestd.core.errors import FileChangedError, FileGoneError
from ingestd.core.model import Instance
from ingestd.core.ports import Origin
from ingestd.dicomweb.origin.client import OriginServer
from ingestd.emulator.samples import ct_instance
from ingestd.emulator.server import running
from ingestd.ops.clock import SystemClock
from ingestd.part10.digests import Arrival

STUDY = "1.2.826.0.1.3680043.8.498.1"
SERIES = STUDY + ".1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    origin: Origin
    bodies: FakeBodies

    def digest(self, instance: Instance) -> str:
        return digest(self.bodies.contents[instance.path])

    def drop(self, number: int, *, size: int = 4096) -> Instance:
        uid = f"{SERIES}.{number}"
        content = ct_instance(study_uid=STUDY, series_uid=SERIES, sop_instance_uid=uid, size_bytes=size)
        return self.bodies.add(content, sop_instance_uid=uid, study_uid=STUDY, series_uid=SERIES)


@contextmanager
def fake(folder: Path) -> Iterator[Bench]:
    bodies = FakeBodies()
    yield Bench(origin=FakeOrigin(bodies), bodies=bodies)


@contextmanager
def real(folder: Path) -> Iterator[Bench]:
    bodies = FakeBodies()
    with running(data=folder) as service:
        origin = OriginServer(
            url=service.url, bodies=bodies, arrival=Arrival, clock=SystemClock(), response_timeout=20.0
        )
        try:
            yield Bench(origin=origin, bodies=bodies)
        finally:
            origin.close()


@pytest.fixture(params=[fake, real], ids=["fake", "real"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with request.param(tmp_path) as made:
        yield made


def test_what_is_stored_is_named(bench: Bench) -> None:
    """I2."""
    instances = [bench.drop(n) for n in range(5)]
    found = bench.origin.store(instances)
    assert (found.loss, found.status) == (None, 200)
    assert found.response is not None
    assert {r.sop_instance_uid for r in found.response.referenced} == {i.sop_instance_uid for i in instances}
    assert found.response.failed == ()
    assert found.sent_bytes >= sum(i.size for i in instances)
    assert found.seconds >= 0


def test_each_instance_has_the_digest_of_its_data_set(bench: Bench) -> None:
    """F88: what stands before it is the carrier's; receipts keep this digest."""
    instances = [bench.drop(1), bench.drop(2, size=1_000_000)]
    found = bench.origin.store(instances)
    assert found.digests == tuple(digest(bench.bodies.contents[i.path]) for i in instances)


def test_what_is_there_already_fails_with_its_own_reason(bench: Bench) -> None:
    """F51: 45070, and the new one beside it is stored."""
    old, new = bench.drop(1), bench.drop(2)
    bench.origin.store([old])
    found = bench.origin.store([old, new])
    assert found.status == 202
    assert found.response is not None
    assert [r.sop_instance_uid for r in found.response.referenced] == [new.sop_instance_uid]
    assert [(f.sop_instance_uid, f.failure_reason) for f in found.response.failed] == [(old.sop_instance_uid, 45070)]
    assert bench.origin.store([old]).status == 409


def test_the_control_stores_nothing_and_is_answered(bench: Bench) -> None:
    found = bench.origin.control()
    assert (found.status, found.loss, found.response) == (204, None, None)


def test_metadata_of_what_is_held_names_it(bench: Bench) -> None:
    instance = bench.drop(1)
    bench.origin.store([instance])
    held = bench.origin.metadata(instance.ids)
    assert (held.status, held.loss) == (200, None)
    assert held.elements is not None
    assert held.elements["00080018"] == (instance.sop_instance_uid,)
    assert held.elements["0020000D"] == (STUDY,)
    assert held.elements["0020000E"] == (SERIES,)


def test_metadata_of_what_is_not_held_is_a_404(bench: Bench) -> None:
    held = bench.origin.metadata(bench.drop(1).ids)
    assert (held.status, held.loss, held.elements) == (404, None, None)


def test_fetch_gives_the_digest_of_what_was_stored(bench: Bench) -> None:
    """Of the data set, as receipts have it; with what it is and how it is encoded."""
    instances = [bench.drop(1), bench.drop(2, size=1_000_000)]
    bench.origin.store(instances)
    for instance in instances:
        assert bench.origin.fetch(instance.ids) == fetched(instance.ids, bench.digest(instance))


def test_fetch_of_what_is_not_held_is_a_404(bench: Bench) -> None:
    assert bench.origin.fetch(bench.drop(1).ids) == Fetched(status=404)


def test_what_is_refused_as_there_already_changes_nothing(bench: Bench) -> None:
    """F51: the service holds the first."""
    first, second = bench.drop(1), bench.drop(1, size=9000)
    bench.origin.store([first])
    bench.origin.store([second])
    assert bench.origin.fetch(first.ids).sha256 == bench.digest(first) != bench.digest(second)


def test_replace_puts_the_new_in_the_place_of_the_old(bench: Bench) -> None:
    """The answer names it, as a Store transaction's does."""
    old, new = bench.drop(1), bench.drop(1, size=9000)
    bench.origin.store([old])
    found = bench.origin.replace(new)
    assert (found.status, found.loss, found.digests) == (200, None, (bench.digest(new),))
    assert found.response is not None
    assert [r.sop_instance_uid for r in found.response.referenced] == [new.sop_instance_uid]
    assert bench.origin.fetch(new.ids) == fetched(new.ids, bench.digest(new))


def test_replace_stores_what_is_not_held(bench: Bench) -> None:
    """So it may be repeated, whatever became of the last one."""
    instance = bench.drop(1)
    for _ in range(2):
        assert bench.origin.replace(instance).status == 200
        assert bench.origin.fetch(instance.ids).sha256 == bench.digest(instance)


def test_replacing_by_a_file_that_changed_leaves_what_is_held(bench: Bench) -> None:
    """I4."""
    old, new = bench.drop(1), bench.drop(1, size=9000)
    bench.origin.store([old])
    bench.bodies.failures[new.path] = FileChangedError("changed")
    found = bench.origin.replace(new)
    assert (found.loss, found.changed) == (Loss.FILE_CHANGED, (0,))
    assert bench.origin.fetch(old.ids).sha256 == bench.digest(old)


@pytest.mark.parametrize("error", [FileChangedError("changed"), FileGoneError("gone")])
def test_a_file_that_changed_is_named_and_not_stored(bench: Bench, error: FileChangedError | FileGoneError) -> None:
    """I4, F58."""
    instances = [bench.drop(1), bench.drop(2), bench.drop(3)]
    bench.bodies.failures[instances[1].path] = error
    found = bench.origin.store(instances)
    assert (found.status, found.loss, found.changed, found.response) == (None, Loss.FILE_CHANGED, (1,), None)
    assert bench.origin.metadata(instances[1].ids).status == 404


def test_the_same_store_may_be_repeated(bench: Bench) -> None:
    """F57: a fresh pass over the same bytes."""
    instance = bench.drop(1)
    bench.bodies.failures[instance.path] = FileGoneError("gone")
    bench.origin.store([instance])
    bench.bodies.failures.clear()
    found = bench.origin.store([instance])
    assert found.status == 200
    assert found.digests == (digest(bench.bodies.contents[instance.path]),)


def test_after_abort_nothing_is_sent(bench: Bench) -> None:
    """Any call, at once, without an exception."""
    instance = bench.drop(1)
    bench.origin.abort()
    assert bench.origin.store([instance]).loss is Loss.NOT_SENT
    assert bench.origin.control().loss is Loss.NOT_SENT
    assert bench.origin.replace(instance).loss is Loss.NOT_SENT
    assert bench.origin.fetch(instance.ids) == Fetched(status=None, loss=Loss.NOT_SENT)
    held = bench.origin.metadata(instance.ids)
    assert (held.status, held.loss) == (None, Loss.NOT_SENT)


def test_a_study_that_is_not_held_is_listed_as_absent(bench: Bench) -> None:
    """I2, F81: asked before a send."""
    assert bench.origin.listed(STUDY, [SERIES]) == Listed(answered=True, absent=True)
    assert bench.origin.shows(bench.drop(1).ids) is False


def test_a_series_is_listed_to_its_end(bench: Bench) -> None:
    """Of another series of the study nothing is held."""
    instances = [bench.drop(n, size=2000) for n in range(230)]  # more than a page
    bench.origin.store(instances)
    held = frozenset(i.sop_instance_uid for i in instances)
    found = bench.origin.listed(STUDY, [SERIES, "1.2.3"])
    assert found == Listed(answered=True, series={SERIES: held, "1.2.3": frozenset()})
    assert bench.origin.shows(instances[0].ids) is True


def test_after_abort_nothing_is_known(bench: Bench) -> None:
    bench.origin.abort()
    assert bench.origin.listed(STUDY, [SERIES]) == Listed(answered=False)
    assert bench.origin.shows(bench.drop(1).ids) is None
