"""The ports Inbox and Bodies, on a real folder and on the fake."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import pytest
from fakes.bodies_fake import digest
from fakes.spool_fakes import FakeInbox, part10, settled

from ingestd.core.answers.reasons import Wholeness
from ingestd.core.errors import FileChangedError, FileGoneError, FileLargeError
from ingestd.core.model import Instance, Lease, Look, Room
from ingestd.core.ports import Bodies, Inbox
from ingestd.spool.intake.inbox import InboxFolder

LARGE = part10(pixels=800)  # 640 KB: never kept in memory


class Ports(Inbox, Bodies, Protocol): ...


class Disk:
    """The real adapter, and what a modality does to its folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.inbox: Ports = InboxFolder(root)

    def drop(self, path: str, content: bytes) -> None:
        """A new file under that name, as a rename brings it."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        (self.root / ".new").write_bytes(content)
        (self.root / ".new").rename(target)

    def overwrite(self, path: str, content: bytes) -> None:
        (self.root / path).write_bytes(content)
        os.utime(self.root / path, ns=(1, 1))

    def remove(self, path: str) -> None:
        (self.root / path).unlink()

    def look_while_written(self, path: str) -> Look:
        with (self.root / path).open("ab"):
            return self.inbox.look(path)


class Memory:
    def __init__(self, _: Path) -> None:
        self.fake = FakeInbox()
        self.inbox: Ports = self.fake

    def drop(self, path: str, content: bytes) -> None:
        self.fake.put(path, content)

    def overwrite(self, path: str, content: bytes) -> None:
        self.fake.write(path, content)

    def remove(self, path: str) -> None:
        self.fake.remove(path)

    def look_while_written(self, path: str) -> Look:
        self.fake.set(path, lease=Lease.REFUSED)
        return self.inbox.look(path)


World = Disk | Memory


@pytest.fixture(params=[Disk, Memory], ids=["real", "fake"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    made: World = request.param(tmp_path)
    return made


def sent(bodies: Bodies, instance: Instance) -> tuple[bytes, str | None]:
    reading = bodies.read(instance)
    assert reading.sha256 is None
    pieces = list(reading)
    assert all(0 < len(piece) <= 256 << 10 for piece in pieces)
    return b"".join(pieces), reading.sha256


@pytest.mark.parametrize("content", [part10(), LARGE], ids=["small", "large"])
def test_a_whole_file_is_examined_and_read_as_it_is(world: World, content: bytes) -> None:
    """I4: the original bytes, with the digest from byte 128 on."""
    world.drop("study/a.dcm", content)
    instance = settled(world.inbox, "study/a.dcm")
    assert instance.ids.key == ("1.2.3", "1.2.3.4", "1.2.3.4.5")
    assert instance.size == len(content)
    assert sent(world.inbox, instance) == (content, digest(content))


def test_small_whole_files_are_read_once(world: World) -> None:
    """speed.md: content and digest travel with the inspection, up to 64 KiB."""
    content = part10()
    world.drop("small.dcm", content)
    world.drop("large.dcm", LARGE)
    _, small = world.inbox.examine("small.dcm")
    _, large = world.inbox.examine("large.dcm")
    assert (small.content, small.sha256) == (content, digest(content))
    assert (large.content, large.sha256) == (None, None)


def test_a_file_of_more_bytes_than_may_be_walked_now_is_not_walked(world: World) -> None:
    """F95, I8: and nothing is said about it but that."""
    world.drop("a.dcm", part10())
    with pytest.raises(FileLargeError, match="takes long"):
        world.inbox.examine("a.dcm", most=len(part10()) - 1)
    assert world.inbox.examine("a.dcm", most=len(part10()))[1].wholeness is Wholeness.WHOLE


def test_what_is_not_whole_is_told_and_not_kept(world: World) -> None:
    """F17, F22, F33."""
    world.drop("cut.dcm", part10()[:-10])
    world.drop("text.dcm", b"no DICOM here" * 20)
    world.drop("empty.dcm", b"")
    found = {path: world.inbox.examine(path)[1] for path in ("cut.dcm", "text.dcm", "empty.dcm")}
    assert found["cut.dcm"].wholeness is Wholeness.TRUNCATED
    assert found["text.dcm"].wholeness is Wholeness.NOT_DICOM
    assert found["empty.dcm"].wholeness is not Wholeness.WHOLE
    assert [inspection.content for inspection in found.values()] == [None, None, None]


def test_a_look_and_an_examination_see_the_same_file(world: World) -> None:
    world.drop("a.dcm", part10())
    look, _ = world.inbox.examine("a.dcm")
    assert world.inbox.look("a.dcm") == look
    assert (look.links, look.owner_owns_folder, look.on_network) == (1, True, False)
    assert (look.lease, look.room, look.ground.leases) == (Lease.GRANTED, Room.FILLED, True)


def test_a_lease_is_refused_while_somebody_has_it_open_for_writing(world: World) -> None:
    """F14, F18: which is another answer than none."""
    world.drop("a.dcm", part10())
    assert world.look_while_written("a.dcm").lease is Lease.REFUSED


def test_another_file_and_other_bytes_have_another_stamp(world: World) -> None:
    """F19, F20."""
    world.drop("a.dcm", part10())
    first = world.inbox.look("a.dcm").stamp
    world.overwrite("a.dcm", part10(name="C^D"))
    second = world.inbox.look("a.dcm").stamp
    world.drop("a.dcm", part10())
    third = world.inbox.look("a.dcm").stamp
    assert len({first, second, third}) == 3


@pytest.mark.parametrize("change", ["overwrite", "drop"])
def test_a_file_that_changed_is_not_read(world: World, change: str) -> None:
    """F19, F58: before the first byte."""
    world.drop("a.dcm", LARGE)
    instance = settled(world.inbox, "a.dcm")
    getattr(world, change)("a.dcm", LARGE)
    with pytest.raises(FileChangedError):
        next(iter(world.inbox.read(instance)))


@pytest.mark.parametrize("change", [LARGE, LARGE[:-1], LARGE + b"x"], ids=["touched", "shorter", "longer"])
def test_a_file_that_changes_while_it_is_read_is_not_taken_for_read(world: World, change: bytes) -> None:
    """F58: after the last byte."""
    world.drop("a.dcm", LARGE)
    reading = world.inbox.read(settled(world.inbox, "a.dcm"))
    pieces = iter(reading)
    next(pieces)
    world.overwrite("a.dcm", change)
    with pytest.raises(FileChangedError):
        list(pieces)
    assert reading.sha256 is None


def test_each_pass_is_a_fresh_one(world: World) -> None:
    """F57: an attempt sends the whole body, whatever became of the one before."""
    world.drop("a.dcm", LARGE)
    instance = settled(world.inbox, "a.dcm")
    begun = iter(world.inbox.read(instance))
    next(begun)
    assert sent(world.inbox, instance)[0] == LARGE
    assert sent(world.inbox, instance)[0] == LARGE


def test_a_file_that_vanishes_is_gone_at_every_step(world: World) -> None:
    """F24."""
    world.drop("a.dcm", LARGE)
    instance = settled(world.inbox, "a.dcm")
    world.remove("a.dcm")
    for touch in (
        lambda: world.inbox.look("a.dcm"),
        lambda: world.inbox.examine("a.dcm"),
        lambda: world.inbox.elements(instance),
        lambda: list(world.inbox.read(instance)),
    ):
        with pytest.raises(FileGoneError):
            touch()


def test_elements_are_normalised_and_comparable(world: World) -> None:
    """Verify compares them with Held.elements: no bulk, no private, no file meta."""
    world.drop("a.dcm", part10())
    elements = world.inbox.elements(settled(world.inbox, "a.dcm"))
    assert elements["00080018"] == ("1.2.3.4.5",)
    assert elements["00100010"] == ("A^B",)
    assert elements["00180050"] == ("1.5",)
    assert elements["00280010"] == ("64",)
    assert not {"7FE00010", "00020010"} & elements.keys()
