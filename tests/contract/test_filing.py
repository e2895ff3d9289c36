"""The port Filer, on real folders and on the fake."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes.spool_fakes import FakeFiler, FakeInbox, part10, settled

from ingestd.core.answers.outcome import Quarantine
from ingestd.core.answers.reasons import Reason
from ingestd.core.errors import FileChangedError, FileGoneError
from ingestd.core.model import Evidence, Instance
from ingestd.core.ports import Filer, Inbox
from ingestd.core.record import Verdict
from ingestd.spool.filing.filing import Filing
from ingestd.spool.intake.inbox import InboxFolder

AT = 1767323045.0  # 2026-01-02 03:04:05 UTC


class Disk:
    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("inbox", "done", "failed"):
            (root / name).mkdir()
        self.inbox: Inbox = InboxFolder(root / "inbox")
        self.filer: Filer = Filing(root / "inbox", root / "done", root / "failed")

    def drop(self, path: str, content: bytes) -> None:
        target = self.root / "inbox" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_bytes(content)

    def remove(self, path: str) -> None:
        (self.root / "inbox" / path).unlink()

    def files(self, folder: str) -> dict[str, bytes]:
        root = self.root / folder
        found = (p for p in root.rglob("*") if p.is_file() and not p.name.endswith(".reason.json"))
        return {str(p.relative_to(root)): p.read_bytes() for p in found}


class Memory:
    def __init__(self, _: Path) -> None:
        self.fake = FakeInbox()
        self.fake_filer = FakeFiler(self.fake)
        self.inbox: Inbox = self.fake
        self.filer: Filer = self.fake_filer

    def drop(self, path: str, content: bytes) -> None:
        self.fake.put(path, content)

    def remove(self, path: str) -> None:
        self.fake.remove(path)

    def files(self, folder: str) -> dict[str, bytes]:
        if folder == "inbox":
            return {path: file.content for path, file in self.fake.files.items()}
        return self.fake_filer.done if folder == "done" else self.fake_filer.failed


World = Disk | Memory


def test_with_delete_a_stored_file_is_gone_and_a_judged_one_is_kept(tmp_path: Path) -> None:
    """`done.action = delete`: removed on the same proof as a move; a verdict removes nothing."""
    disk = Disk(tmp_path)
    filer = Filing(tmp_path / "inbox", tmp_path / "done", tmp_path / "failed", delete=True)
    disk.drop("study/a.dcm", part10())
    disk.drop("study/b.dcm", part10())
    assert filer.to_done(settled(disk.inbox, "study/a.dcm"), at=AT) is None
    assert filer.to_failed(verdict(settled(disk.inbox, "study/b.dcm"))) == "study/b.dcm"
    assert (disk.files("inbox"), disk.files("done")) == ({}, {})
    assert disk.files("failed") == {"study/b.dcm": part10()}


@pytest.fixture(params=[Disk, Memory], ids=["real", "fake"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    made: World = request.param(tmp_path)
    return made


def verdict(instance: Instance) -> Verdict:
    quarantine = Quarantine(
        reason=Reason.REJECTED, text="the service refused it", what_to_do="ask the service's operator"
    )
    return Verdict(
        path=instance.path,
        stamp=instance.stamp,
        quarantine=quarantine,
        attempts=1,
        first_seen=AT - 60,
        failed_at=AT,
        ids=instance.ids,
        sha256=instance.sha256,
    )


def test_a_stored_file_goes_to_done_under_the_day_of_filing(world: World) -> None:
    """I1: byte for byte, and in one folder only."""
    content = part10()
    world.drop("study/a.dcm", content)
    instance = settled(world.inbox, "study/a.dcm")
    assert world.filer.to_done(instance, at=AT) == "2026-01-02/study/a.dcm"
    assert (world.files("inbox"), world.files("done")) == ({}, {"2026-01-02/study/a.dcm": content})


def test_what_was_filed_can_be_looked_at_where_it_was_foreseen(world: World) -> None:
    """F77: the stamp after the move is what a second look is compared with; of what is not there, nothing is known."""
    world.drop("study/a.dcm", part10())
    instance = settled(world.inbox, "study/a.dcm")
    place = world.filer.place(instance, at=AT)
    assert world.filer.stamp(place) is None
    assert world.filer.to_done(instance, at=AT) == place
    stamp = world.filer.stamp(place)
    assert stamp is not None
    assert replace(stamp, ctime_ns=0) == replace(instance.stamp, ctime_ns=0)


@pytest.mark.parametrize("evidence", [one for one in Evidence if one is not Evidence.LEASE])
def test_with_delete_what_no_lease_proved_unwritten_is_moved(tmp_path: Path, evidence: Evidence) -> None:
    """DESIGN 3a, removal: it is not removed before its second look."""
    disk = Disk(tmp_path)
    filer = Filing(tmp_path / "inbox", tmp_path / "done", tmp_path / "failed", delete=True)
    disk.drop("a.dcm", part10())
    assert filer.to_done(settled(disk.inbox, "a.dcm", evidence=evidence), at=AT) == "2026-01-02/a.dcm"
    assert (disk.files("inbox"), disk.files("done")) == ({}, {"2026-01-02/a.dcm": part10()})


def test_a_judged_file_goes_to_failed_at_its_path(world: World) -> None:
    """I3."""
    content = part10()
    world.drop("study/a.dcm", content)
    assert world.filer.to_failed(verdict(settled(world.inbox, "study/a.dcm"))) == "study/a.dcm"
    assert (world.files("inbox"), world.files("failed")) == ({}, {"study/a.dcm": content})


def test_a_taken_name_gets_a_number(world: World) -> None:
    """F30, F36: both are kept."""
    contents = [part10(name=name) for name in ("A", "B", "C")]
    done, failed = [], []
    for content in contents:
        world.drop("a.dcm", content)
        done.append(world.filer.to_done(settled(world.inbox, "a.dcm"), at=AT))
        world.drop("a.dcm", content)
        failed.append(world.filer.to_failed(verdict(settled(world.inbox, "a.dcm"))))
    assert done == ["2026-01-02/a.dcm", "2026-01-02/a~1.dcm", "2026-01-02/a~2.dcm"]
    assert failed == ["a.dcm", "a~1.dcm", "a~2.dcm"]
    assert sorted(world.files("failed").values()) == sorted(contents)
    assert sorted(world.files("done").values()) == sorted(contents)


def test_a_file_that_changed_is_not_moved(world: World) -> None:
    """F19, I4: a new version is never filed unsent."""
    world.drop("a.dcm", part10())
    instance = settled(world.inbox, "a.dcm")
    world.drop("a.dcm", part10(name="NEW"))
    with pytest.raises(FileChangedError):
        world.filer.to_done(instance, at=AT)
    with pytest.raises(FileChangedError):
        world.filer.to_failed(verdict(instance))
    assert world.files("inbox") == {"a.dcm": part10(name="NEW")}
    assert (world.files("done"), world.files("failed")) == ({}, {})


def test_a_file_that_vanished_is_gone(world: World) -> None:
    """F24."""
    world.drop("a.dcm", part10())
    instance = settled(world.inbox, "a.dcm")
    world.remove("a.dcm")
    with pytest.raises(FileGoneError):
        world.filer.to_done(instance, at=AT)
    with pytest.raises(FileGoneError):
        world.filer.to_failed(verdict(instance))
    assert (world.files("done"), world.files("failed")) == ({}, {})
