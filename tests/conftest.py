"""What every test may use: the fakes on the path, and the rule for real components."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS))


def require_real(*binaries: str) -> None:
    """A missing real component is a failure in CI and a visible skip elsewhere."""
    missing = [b for b in binaries if shutil.which(b, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None]
    if not missing:
        return
    line = f"needs {', '.join(missing)}: install the Debian packages that .ci/run names"
    if os.environ.get("CI"):
        pytest.fail(line)
    pytest.skip(line)


def pytest_configure(config: pytest.Config) -> None:
    """Coverage is told by the environment to measure each process: meant are the workers, not the daemons that tests start."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        for name in [name for name in os.environ if name.startswith("COVERAGE_PROCESS")]:
            del os.environ[name]


@pytest.fixture(scope="session")
def real() -> Callable[..., None]:
    """`real("Orthanc")` skips, or fails in CI, where a program is missing."""
    return require_real
