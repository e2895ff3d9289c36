"""The gate installs what the tests ask for."""

from __future__ import annotations

import re
from pathlib import Path


def test_gate_installs_every_real_component(repository: Path) -> None:
    """Each program or package that a test names in `real(...)` stands in .ci/run."""
    calls = [
        call
        for file in (repository / "tests").rglob("*.py")
        for call in re.findall(r"\breal\(([^)]*)\)", file.read_text())
    ]
    asked = {name for call in calls for name in re.findall(r'"([\w.-]+)"', call)}
    offered = {
        name for pair in re.findall(r"([\w.-]+):([\w.+-]+)", (repository / ".ci/run").read_text()) for name in pair
    }
    assert asked <= offered
    assert "debootstrap" in asked


def test_no_lock_names_an_index(repository: Path) -> None:
    """Where packages come from is the machine's business; their hashes are ours."""
    for lock in (repository / "tests/requirements.txt", *(repository / "deploy").glob("requirements*.txt")):
        lines = lock.read_text().splitlines()
        assert not [line for line in lines if "://" in line or line.startswith("-")]
        pins = [line for line in lines if "==" in line]
        assert pins
        assert all(line.endswith("\\") for line in pins)  # a hash follows
