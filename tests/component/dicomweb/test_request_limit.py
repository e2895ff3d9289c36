"""`service.max_request_bytes` holds for what is really sent: the rules' arithmetic against the bodies' own length."""

from __future__ import annotations

from fakes.bodies_fake import FakeBodies
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.batch import BatchRules, Shelves
from ingestd.dicomweb.payload.store_body import StoreBody

LIMITS = st.integers(65536, 400_000)


def rules(limit: int, max_bytes: int = 1 << 30) -> BatchRules:
    return BatchRules(
        by_study=False, max_instances=10_000, max_bytes=max_bytes, linger_seconds=0.0, max_request_bytes=limit
    )


@given(limit=LIMITS, sizes=st.lists(st.integers(0, 150_000), min_size=1, max_size=40))
def test_no_request_is_larger_than_the_limit(limit: int, sizes: list[int]) -> None:
    """F60: any files that may travel at all; what is on the wire is Content-Length, and the body is as long as that says."""
    chosen = rules(limit)
    bodies, shelves = FakeBodies(), Shelves(chosen)
    for size in sizes:
        if size <= chosen.largest_instance:
            shelves.put(bodies.add(bytes(size)), now=0.0)
    waiting = len(shelves)
    while (batch := shelves.take(now=1.0, idle=True, arriving=())) is not None:
        body = StoreBody(batch.instances, bodies)
        assert body.length <= limit
        assert sum(map(len, body)) == body.length
        waiting -= len(batch.instances)
    assert waiting == 0


@given(limit=LIMITS)
def test_the_largest_instance_travels_alone_and_one_byte_more_would_not(limit: int) -> None:
    """F60: what is quarantined as too large could not have been sent, but for the framing's margin."""
    chosen, bodies = rules(limit), FakeBodies()
    assert StoreBody([bodies.add(bytes(chosen.largest_instance))], bodies).length <= limit
    assert StoreBody([bodies.add(bytes(chosen.largest_instance + 512))], bodies).length > limit


def test_many_small_files_keep_the_limit_too() -> None:
    """F60: a thousand empty parts are framing and nothing else."""
    bodies, shelves = FakeBodies(), Shelves(rules(65536))
    for _ in range(1000):
        shelves.put(bodies.add(b""), now=0.0)
    batch = shelves.take(now=1.0, idle=True, arriving=())
    assert batch is not None
    assert len(batch.instances) > 150
    assert StoreBody(batch.instances, bodies).length <= 65536
