"""The walk through a tree of any depth and width: every folder once, few handles, few bytes, and never out of the tree."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest
from fakes.ops_fakes import FakeClock

from ingestd.spool.disk import descent, handles
from ingestd.spool.disk.descent import At, Descent, in_order
from ingestd.spool.intake.beginning import Beginnings, Reading
from ingestd.spool.intake.names import Rules
from ingestd.spool.intake.tree import Tree


def open_handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def deep(root: Path, names: list[str]) -> int:
    """A handle on a folder that many folders below, made; paths may be too long to be named."""
    folder = handles.open_root(root)
    for name in names:
        os.mkdir(name, dir_fd=folder)
        folder = handles.open_below(folder, [name])
    return folder


def grown(root: Path, seed: int) -> None:
    """Three hundred folders, each in one of those before, or at the end of a chain."""
    dice = random.Random(seed)
    folders = [root]
    for number in range(300):
        above = folders[-1] if dice.random() < 0.5 else dice.choice(folders)
        folders.append(above / f"{dice.choice('ab')}{number}{'x' * dice.randrange(60)}")
        folders[-1].mkdir()


def walked(root: Path) -> list[tuple[At, str]]:
    """The steps as they come, each folder by its path."""
    out: list[tuple[At, str]] = []
    with Descent(handles.open_root(root), wanted=lambda _: True) as way:
        for at, folder in way.steps():
            out.append((at, way.path + (f"{folder.name}/" if at is not At.ENTERED else "")))
            if at is At.ENTERED:
                for name in os.listdir(folder.handle):
                    way.put_off(name)
    return out


def expected(root: Path, below: str = "") -> Iterator[tuple[At, str]]:
    yield At.ENTERED, below
    for name in sorted(os.listdir(root / below)):
        yield from expected(root, f"{below}{name}/")
    if below:
        yield At.LEFT, below


@pytest.mark.parametrize("most", [1, 300, 5000, descent.MOST_BYTES])
@pytest.mark.parametrize("seed", range(3))
def test_every_folder_is_entered_and_left_once_however_little_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, seed: int
) -> None:
    """F90, I6: in the order of names; a bound in bytes costs listings and no folder."""
    grown(tmp_path, seed)
    monkeypatch.setattr(descent, "MOST_BYTES", most)
    before = open_handles()
    assert walked(tmp_path) == list(expected(tmp_path))
    assert open_handles() == before


def test_names_come_in_order_and_once_however_little_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F90: with names that are no UTF-8."""
    names = {os.fsdecode(bytes([65 + n % 26, 1 + n % 255, 1 + n // 255])).replace("/", "_") for n in range(1000)}
    for name in names:
        (tmp_path / name).touch()
    monkeypatch.setattr(descent, "MOST_BYTES", 2000)
    folder = handles.open_root(tmp_path)
    assert list(in_order(folder, lambda entry: entry.name[0] != "B")) == sorted(n for n in names if n[0] != "B")
    os.close(folder)


def test_a_folder_that_is_moved_away_leads_nowhere_and_the_rest_is_found(tmp_path: Path) -> None:
    """F28: the way back up is by `..` only if that is the folder that was entered."""
    (tmp_path / "in/a/b/c/d").mkdir(parents=True)
    (tmp_path / "in/a/z").mkdir()
    (tmp_path / "outside/secret").mkdir(parents=True)
    entered: list[str] = []
    with Descent(handles.open_root(tmp_path / "in"), wanted=lambda _: True) as way:
        for at, folder in way.steps():
            if at is At.ENTERED:
                entered.append(way.path)
                for name in os.listdir(folder.handle):
                    way.put_off(name)
                if way.path == "a/b/c/d/":
                    (tmp_path / "in/a/b").rename(tmp_path / "outside/b")
    assert entered == ["", "a/", "a/b/", "a/b/c/", "a/b/c/d/", "a/z/"]


def test_what_cannot_be_opened_or_listed_again_is_said_and_the_rest_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F9, F24."""
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(descent, "MOST_BYTES", 1)  # listed again for each
    out: list[tuple[At, str, bool]] = []
    with Descent(handles.open_root(tmp_path), wanted=lambda _: True) as way:
        for at, folder in way.steps():
            out.append((at, folder.name, folder.problem is not None))
            if len(out) == 1:
                for name in ("a", "b", "c", "d"):
                    way.put_off(name)
                (tmp_path / "a").rmdir()
            if folder.name == "b" and at is At.LEFT:
                monkeypatch.setattr(os, "scandir", refused)
    assert out == [
        (At.ENTERED, "", False),
        (At.UNREADABLE, "a", True),
        (At.ENTERED, "b", False),
        (At.LEFT, "b", False),
        (At.UNREADABLE, "", True),
    ]


def refused(_: object) -> None:
    raise PermissionError(13, "Permission denied")


@pytest.fixture
def wide(tmp_path: Path) -> tuple[Path, int]:
    """Twenty thousand folders with long names, far down; in every hundredth a file."""
    folder = deep(tmp_path, ["d" * 240] * 14)
    for number in range(20_000):
        os.mkdir(f"{number:0250d}", dir_fd=folder)
    for number in range(0, 20_000, 100):
        below = os.open(f"{number:0250d}", handles.FOLDER, dir_fd=folder)
        os.close(os.open("a.dcm", os.O_CREAT | os.O_WRONLY, dir_fd=below))
        os.close(below)
    os.close(folder)
    return tmp_path, 200


@pytest.mark.slow
def test_a_scan_of_very_many_deep_folders_keeps_few_bytes_and_misses_nothing(
    wide: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """F90, I6, I8: 20,000 paths of 3,600 bytes are 80 MB and their names alone 6; there is room for a part of those."""
    root, files = wide
    monkeypatch.setattr(descent, "MOST_BYTES", 400_000)
    folder = handles.open_inbox(root)
    before = most = open_handles()
    reading = Reading(Beginnings(FakeClock()), inf)
    tree = Tree(Rules(include=("*.dcm",)), reading=reading)
    found: set[str] = set()
    tracemalloc.start()
    try:
        for sighting in tree.sightings(folder):
            found.add(sighting.path[-20:])
            most = max(most, open_handles())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    os.close(folder)
    assert (len(found), sum(tree.passed.counts.values())) == (files, 0)
    assert peak < 2_000_000
    assert most - before <= 7  # beside the root itself


def test_a_comb_of_deep_folders_needs_few_handles(tmp_path: Path) -> None:
    """I8: on each of 300 levels a second folder, so that the walk comes back to each."""
    below = handles.open_root(tmp_path)
    for _ in range(300):
        os.mkdir("z", dir_fd=below)
        os.mkdir("a", dir_fd=below)
        below = handles.open_below(below, ["a"])
    os.close(below)
    before = most = open_handles()
    entered = 0
    with Descent(handles.open_root(tmp_path), wanted=lambda _: True) as way:
        for at, folder in way.steps():
            if at is At.ENTERED:
                entered += 1
                for name in os.listdir(folder.handle):
                    way.put_off(name)
            most = max(most, open_handles())
    assert entered == 601
    assert most - before <= 3
