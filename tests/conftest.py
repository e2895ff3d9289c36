"""What every test may use: the fakes on the path, the rule for real components, and that a slow test says so."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS))

SLOW_SECONDS = 3.0  # a test that takes longer on two idle cores is marked `slow`
TOO_SLOW_SECONDS = 30.0  # one without the mark fails the run: no machine is ten times as busy
_seconds = Counter[str]()  # of tests without the mark, their own fixtures included

# `make quick` and `make fast` pass --hypothesis-profile=quick; any other run tries as many examples as a test asks for.
settings.register_profile("full", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=20)
settings.load_profile("full")


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


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if "slow" not in report.keywords:
        _seconds[report.nodeid] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput") and _slower_than(TOO_SLOW_SECONDS) and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, seconds in _slower_than(SLOW_SECONDS):
        word = "FAILED" if seconds > TOO_SLOW_SECONDS else "note"
        terminalreporter.write_line(f"{word} {name}: {seconds:.1f} s and not marked slow: @pytest.mark.slow")


def _slower_than(limit: float) -> list[tuple[str, float]]:
    return [(name, seconds) for name, seconds in _seconds.most_common() if seconds > limit]
