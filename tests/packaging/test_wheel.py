"""The wheel, as another machine gets it: its content, and that the locks alone make it run."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
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


@pytest.mark.parametrize("form", ["wheel", "sdist"])
def test_the_licence_travels_along(run: Callable[..., str], repository: Path, tmp_path: Path, form: str) -> None:
    """MIT: its text goes with every copy; the metadata name it (PEP 639)."""
    run(sys.executable, "-m", "hatchling", "build", "-t", form, "-d", tmp_path, cwd=repository)
    (built,) = tmp_path.iterdir()
    content = licence_and_metadata(built)
    assert content[0] == (repository / "LICENSE").read_bytes()
    assert b"License-Expression: MIT\nLicense-File: LICENSE\n" in content[1]


def licence_and_metadata(built: Path) -> list[bytes]:
    if built.suffix == ".whl":
        with zipfile.ZipFile(built) as archive:
            return [archive.read(n) for end in ("/LICENSE", "/METADATA") for n in archive.namelist() if n.endswith(end)]
    with tarfile.open(built) as source:
        names = [f"{built.name.removesuffix('.tar.gz')}/{name}" for name in ("LICENSE", "PKG-INFO")]
        return [found.read() for name in names if (found := source.extractfile(name)) is not None]


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
