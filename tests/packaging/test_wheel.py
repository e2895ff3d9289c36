"""The wheel, as another machine gets it: its content, and that the locks alone make it run."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest


def test_holds_the_package_and_nothing_else(wheel: Path, repository: Path) -> None:
    """Every file of ingestd/, its type marker, and no test, cache or secret beside them."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = repository / "ingestd"
    files = [p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    sources = {str(p.relative_to(repository)) for p in files}
    assert {name for name in names if ".dist-info/" not in name} == sources
    assert "ingestd/py.typed" in names
    assert any(name.endswith(".dist-info/entry_points.txt") for name in names)


@pytest.mark.slow
def test_runs_with_the_locked_dependencies_alone(
    wheel: Path, repository: Path, run: Callable[..., str], tmp_path: Path
) -> None:
    """A new environment, the runtime lock with hashes, the wheel without looking for more: nothing is missing."""
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", venv)
    pip = [venv / "bin/pip", "install", "-qq"]
    run(*pip, "--require-hashes", "-r", repository / "deploy/requirements.txt")
    run(*pip, "--no-deps", "--no-index", wheel)
    run(venv / "bin/pip", "check")
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    ask = [str(venv / "bin/ingestd"), "--help"]
    told = subprocess.run(ask, text=True, capture_output=True, check=False, env=clean, cwd=tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    assert "drain" in told.stdout
