"""Half a minute of `make soak`, which goes on for forty."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash.soak import soak


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_killed_again_and_again_under_a_bad_service_nothing_is_lost(tmp_path: Path) -> None:
    """I1, I2, I3; F37, F66, F72."""
    report = soak(tmp_path, seconds=20, calm=0, seed=7)
    assert report.wrong == []
    assert report.kills >= 1
    assert report.done > 300
    assert report.faults.total() > 2  # as many as a slow machine lets requests go
    assert report.meddled.total() > 5
