"""What a crash has left in done/ and failed/ goes in the end, and nothing else does."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fakes.ops_fakes import FakeClock

from ingestd.spool.upkeep.leftovers import AGE_SECONDS, Leftovers

LEFT = ".ingestd-0123456789abcdef.tmp"
OTHERS = ("study/a.dcm", "a.dcm", f"study/{LEFT}", ".ingestd-something", "b.tmp")


def swept(root: Path, *, after: float) -> set[str]:
    """What stands once `after` seconds from now one round has ended."""
    clock = FakeClock(epoch=time.time() + after)
    task = Leftovers((root / "gone", root), clock=clock)
    assert task.due_at() == clock.monotonic()
    for _ in task.steps():
        pass
    assert task.due_at() == clock.monotonic() + AGE_SECONDS
    return {str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (LEFT, *OTHERS):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
    return tmp_path


def test_a_copy_that_was_abandoned_goes_after_a_day(root: Path) -> None:
    """F41: a temporary name is never the only one of a file's bytes."""
    assert swept(root, after=AGE_SECONDS + 60) == set(OTHERS)


def test_a_copy_that_may_be_under_way_stays(root: Path) -> None:
    """F41: also another daemon's, that files into the same folders; and its times are the source's, so they count for nothing."""
    os.utime(root / LEFT, (0, 0))
    assert swept(root, after=AGE_SECONDS - 60) == {LEFT, *OTHERS}
