"""The gate installs what the tests ask for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]


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


@pytest.mark.parametrize(("part", "measured"), [("", 2), ("tests/unit", 1), ("tests/docs", 0), ("-k demo", 0)])
def test_a_part_of_the_tests_is_not_held_to_the_coverage_of_all(
    run: Run, real: Callable[..., None], repository: Path, part: str, measured: int
) -> None:
    """README's short command ends well, and with no list of what the rest covers; core/ is covered by tests/unit alone."""
    real("make")
    recipe = run("make", "--dry-run", "test", f"ARGS={part}", cwd=repository)
    assert f"-m pytest --ignore=tests/bench {part}".rstrip() in recipe
    assert recipe.count("coverage report") == measured
    assert recipe.count("--fail-under=100") == min(measured, 1)


def test_no_lock_names_an_index(repository: Path) -> None:
    """Where packages come from is the machine's business; their hashes are ours."""
    for lock in (repository / "tests/requirements.txt", *(repository / "deploy").glob("requirements*.txt")):
        lines = lock.read_text().splitlines()
        assert not [line for line in lines if "://" in line or line.startswith("-")]
        pins = [line for line in lines if "==" in line]
        assert pins
        assert all(line.endswith("\\") for line in pins)  # a hash follows
