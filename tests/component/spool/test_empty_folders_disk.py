"""`intake.remove_empty_dirs_after_seconds` on a real disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes.ops_fakes import FakeClock

from ingestd.spool.disk import handles
from ingestd.spool.upkeep.empty_folders import EmptyFolders

AFTER = 100.0


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def looked(task: EmptyFolders) -> None:
    for _ in task.steps():
        pass


def folders(inbox: Path) -> set[str]:
    return {str(p.relative_to(inbox)) for p in inbox.rglob("*")}


def test_a_tree_that_stays_empty_goes_at_once_and_the_root_stays(inbox: Path) -> None:
    """F13: by the time it was seen empty, whatever its mtime says."""
    clock = FakeClock()
    task = EmptyFolders(inbox=inbox, after=AFTER, clock=clock)
    (inbox / "study" / "series").mkdir(parents=True)
    os.utime(inbox / "study" / "series", (0, 0))
    looked(task)
    clock.advance(AFTER - 1)
    looked(task)
    assert folders(inbox) == {"study", "study/series"}
    clock.advance(1)
    looked(task)
    assert (folders(inbox), inbox.is_dir()) == (set(), True)


def test_what_holds_anything_stays_with_all_that_is_above_it(inbox: Path, tmp_path: Path) -> None:
    """Only ever rmdir; a writer's hidden and temporary folders are its own (F21), a link is not followed (F25)."""
    clock = FakeClock()
    task = EmptyFolders(inbox=inbox, after=AFTER, clock=clock)
    (tmp_path / "outside" / "empty").mkdir(parents=True)
    for name in ("a/full", "b/hidden/.staging", "c/linked", "d/empty"):
        (inbox / name).mkdir(parents=True)
    (inbox / "a" / "full" / ".x").touch()
    (inbox / "c" / "linked" / "link").symlink_to(tmp_path / "outside")
    for _ in range(3):
        looked(task)
        clock.advance(AFTER)
    assert folders(inbox) == {
        "a", "a/full", "a/full/.x", "b", "b/hidden", "b/hidden/.staging", "c", "c/linked", "c/linked/link"
    }  # fmt: skip
    assert (tmp_path / "outside" / "empty").is_dir()


def test_a_folder_that_was_used_begins_anew(inbox: Path) -> None:
    """A modality that puts one study after another into the same folder."""
    clock = FakeClock()
    task = EmptyFolders(inbox=inbox, after=AFTER, clock=clock)
    (inbox / "CT1").mkdir()
    for step in range(10):
        looked(task)
        (inbox / "CT1" / "a.dcm").touch()
        (inbox / "CT1" / "a.dcm").unlink()
        os.utime(inbox / "CT1", (step, step))  # a coarse clock could give two of these the same mtime
        clock.advance(AFTER)
    assert folders(inbox) == {"CT1"}


def test_an_inbox_that_is_away_is_no_end(inbox: Path) -> None:
    """F6: the scanner says so; here it is looked at again later."""
    clock = FakeClock()
    task = EmptyFolders(inbox=inbox, after=AFTER, clock=clock)
    inbox.rmdir()
    looked(task)
    assert task.due_at() == clock.monotonic() + AFTER / 4


def test_a_tree_of_any_depth_goes_with_few_handles(inbox: Path) -> None:
    """I8: as deep as files are taken, and deeper than a path can name."""
    clock = FakeClock()
    task = EmptyFolders(inbox=inbox, after=AFTER, clock=clock)
    folder = handles.open_root(inbox)
    for _ in range(2500):
        os.mkdir("d", dir_fd=folder)
        folder = handles.open_below(folder, ["d"])
    os.close(folder)
    before = most = len(os.listdir("/proc/self/fd"))
    looked(task)
    clock.advance(AFTER)
    for _ in task.steps():
        most = max(most, len(os.listdir("/proc/self/fd")))
    assert list(inbox.iterdir()) == []
    assert most - before <= 5
