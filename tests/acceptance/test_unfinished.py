"""Writers that claim room, pause, come back and die, on real file systems, against a daemon of the same user, of another without
any capability, and of another with CAP_LEASE: never is a part sent as a whole, and never is a byte lost (DESIGN 2, settle).

All writers write at the same time into one inbox, a virus scanner reads everything they have so far, and the service keeps every
part that ever arrived. The waits are those of the settings, all of them shorter by one factor. Where the table of DESIGN 2 has
nothing to hold a part back (room that was filled with zeros, on a file system that shows no claimed room), the row says so.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fakes import disks
from fakes.disks import KINDS, NOBODY, WITH_CAP_LEASE
from fakes.hostile_server import hostile
from fakes.house import House
from fakes.scripted_origin import ScriptedOrigin, sop_instance_uid
from fakes.studies import Made, made

QUIET, NETWORK_QUIET, TIMEOUT = 0.5, 5.0, 9.0  # seconds: a factor of about 10 to 100 below the defaults
PAUSE = 2.0  # longer than the quiet time: a walk that calls the part whole has nothing but the rule to hold it back
SIZE = 512 << 10
BLOCK = 64 << 10
SETTINGS = {
    "INGESTD_INTAKE__QUIET_SECONDS": str(QUIET),
    "INGESTD_INTAKE__NETWORK_QUIET_SECONDS": str(NETWORK_QUIET),
    "INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS": str(TIMEOUT),
    "INGESTD_INTAKE__RESCAN_SECONDS": "0.5",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where a writer writes, and what: no block of it is zeros."""

    target: Path
    beside: Path
    content: bytes

    def opened(self) -> int:
        return os.open(self.target, os.O_RDWR | os.O_CREAT, 0o644)

    def write(self, handle: int, blocks: range) -> None:
        for number in blocks:
            at = number * BLOCK
            os.pwrite(handle, self.content[at : at + BLOCK], at)

    @property
    def blocks(self) -> int:
        return -(-len(self.content) // BLOCK)

    @property
    def first(self) -> range:
        return range(self.blocks // 2)

    @property
    def rest(self) -> range:
        return range(self.blocks // 2, self.blocks)


Writer = Callable[[Desk], None]


def one_descriptor(claim: Callable[[Desk, int], None], *, dies: bool = False) -> Writer:
    def writer(desk: Desk) -> None:
        handle = desk.opened()
        claim(desk, handle)
        desk.write(handle, desk.first)
        if not dies:
            time.sleep(PAUSE)
            desk.write(handle, desk.rest)
        os.close(handle)

    return writer


def opened_for_each_block(claim: Callable[[Desk, int], None], *, backwards: bool = False, dies: bool = False) -> Writer:
    """As an NFS server does it; closed while it pauses, so nothing but the room itself tells."""

    def writer(desk: Desk) -> None:
        handle = desk.opened()
        claim(desk, handle)
        os.close(handle)
        numbers = list(range(desk.blocks))
        for count, number in enumerate(reversed(numbers) if backwards else numbers):
            handle = desk.opened()
            desk.write(handle, range(number, number + 1))
            os.close(handle)
            if count == desk.blocks // 2:
                if dies:
                    return
                time.sleep(PAUSE)

    return writer


def nothing(_: Desk, __: int) -> None:
    """No room is claimed."""


def ftruncate(desk: Desk, handle: int) -> None:
    os.ftruncate(handle, len(desk.content))


def fallocate(desk: Desk, handle: int) -> None:
    os.posix_fallocate(handle, 0, len(desk.content))


def last_byte(desk: Desk, handle: int) -> None:
    os.pwrite(handle, desk.content[-1:], len(desk.content) - 1)


def mapped(desk: Desk) -> None:
    """F16: claimed, mapped, closed, and written through the mapping."""
    handle = desk.opened()
    ftruncate(desk, handle)
    with mmap.mmap(handle, len(desk.content)) as shared:
        os.close(handle)
        middle = len(desk.content) // 2
        shared[:middle] = desk.content[:middle]
        time.sleep(PAUSE)
        shared[middle:] = desk.content[middle:]


def renamed_in(desk: Desk) -> None:
    """F4"""
    part = desk.target.with_name(desk.target.name + ".part")
    one_descriptor(ftruncate)(Desk(target=part, beside=desk.beside, content=desk.content))
    part.rename(desk.target)


def linked_in(desk: Desk) -> None:
    """F4: while it is written under its other name, which goes when it is whole; no close is heard under this one."""
    handle = os.open(desk.beside / desk.target.name, os.O_RDWR | os.O_CREAT, 0o644)
    ftruncate(desk, handle)
    desk.write(handle, desk.first)
    os.link(desk.beside / desk.target.name, desk.target)
    time.sleep(PAUSE)
    desk.write(handle, desk.rest)
    os.close(handle)
    (desk.beside / desk.target.name).unlink()


FINISH: Mapping[str, Writer] = {
    "plain": one_descriptor(nothing),
    "ftruncate": one_descriptor(ftruncate),
    "fallocate": one_descriptor(fallocate),
    "last byte first": one_descriptor(last_byte),
    "each block": opened_for_each_block(nothing),
    "each block, ftruncate": opened_for_each_block(ftruncate),
    "each block, fallocate": opened_for_each_block(fallocate),
    "each block backwards": opened_for_each_block(nothing, backwards=True),
    "each block backwards, fallocate": opened_for_each_block(fallocate, backwards=True),
    "mapped": mapped,
    "renamed in": renamed_in,
    "linked in": linked_in,
}
DIE: Mapping[str, Writer] = {
    "dies, plain": one_descriptor(nothing, dies=True),
    "dies, ftruncate": one_descriptor(ftruncate, dies=True),
    "dies, fallocate": one_descriptor(fallocate, dies=True),
    "dies, last byte first": one_descriptor(last_byte, dies=True),
    "dies, each block, ftruncate": opened_for_each_block(ftruncate, dies=True),
    "dies, each block backwards": opened_for_each_block(nothing, backwards=True, dies=True),
}
WRITERS = {**FINISH, **DIE}
SENT_IN_THE_END = {
    ("ext2", "dies, fallocate")
}  # its end is zeros that were written, by all that can be seen: sent late, and said
SENT_EARLY = {("ext2", "each block backwards, fallocate")}  # the zeros are in the middle: nothing shows them
USERS: Mapping[str, tuple[str, ...]] = {"same user": (), "another user": NOBODY, "CAP_LEASE": WITH_CAP_LEASE}


class OthersHouse(House):
    """A daemon that runs as somebody."""

    def __init__(self, root: Path, url: str, user: tuple[str, ...]) -> None:
        super().__init__(root, url, **SETTINGS)
        self._user = user
        if user:
            for folder in (root, self.inbox):
                os.chown(folder, 65534, 65534)
                folder.chmod(0o777)

    def command(self, *arguments: str) -> list[str]:
        return [*self._user, *super().command(*arguments)]


@dataclass(slots=True, kw_only=True)
class Written:
    """What became of all that was written, beside one daemon."""

    kind: str
    home: House
    service: ScriptedOrigin
    files: dict[str, Made]

    def arrived(self, writer: str) -> list[bytes]:
        return [part for part in self.service.arrived if sop_instance_uid(part) == self.files[writer].ids[2]]

    def standing(self, folder: Path, writer: str) -> list[bytes]:
        return [path.read_bytes() for path in self.home.files(folder) if path.name == self.files[writer].name]


def content(number: int) -> Made:
    one = made(number, size=SIZE)
    noise = bytes(1 + (number * 7 + at * at) % 251 for at in range(4096)) * (SIZE // 4096)
    return Made(name=f"{number}.dcm", content=one.content[:4096] + noise[: len(one.content) - 4096], ids=one.ids)


def reading(inbox: Path, stop: threading.Event) -> None:
    """A virus scanner, by read."""
    while not stop.wait(0.1):
        for path in inbox.glob("*.dcm"):
            with suppress(FileNotFoundError):
                path.read_bytes()


def write_beside(home: House, kind: str, service: ScriptedOrigin, beside: Path) -> Written:
    """All writers at once, until everything has come to its end."""
    found = Written(kind=kind, home=home, service=service, files={})
    stop = threading.Event()
    home.start()
    home.waits((home.root / "state" / "journal.sqlite").exists, 60)
    with ThreadPoolExecutor(len(WRITERS) + 1) as pool:
        scanner = pool.submit(reading, home.inbox, stop)
        jobs = []
        try:
            for number, (name, writer) in enumerate(WRITERS.items(), start=1):
                one = found.files[name] = content(number)
                desk = Desk(target=home.inbox / one.name, beside=beside, content=one.content)
                jobs.append(pool.submit(writer, desk))
            for job in jobs:
                job.result(60)
            home.waits(home.ended(len(WRITERS)), 90)
        finally:
            stop.set()
        scanner.result(10)
    assert home.stop() == 0
    return found


@pytest.fixture(scope="module", params=KINDS)
def written(request: pytest.FixtureRequest, real: Any) -> Iterator[Mapping[str, Written]]:
    """By user: the three daemons side by side on one disk; nearly all of it is waiting."""
    real("mount", "umount", "setpriv", "mkfs.ext4", "mkfs.ext2", "mkfs.xfs", "mkfs.btrfs")
    if os.geteuid():
        pytest.skip("needs root: it mounts file systems")
    kind = request.param
    with ExitStack() as stack:
        folder = stack.enter_context(disks.disk(kind))
        stack.enter_context(disks.entered(folder))
        pool = stack.enter_context(ThreadPoolExecutor(len(USERS)))
        jobs = {}
        for number, (name, user) in enumerate(USERS.items()):
            service = ScriptedOrigin()
            server = stack.enter_context(hostile(service))
            home = OthersHouse(folder / f"house{number}", server.url, user)
            stack.callback(home.close)
            beside = folder / f"beside{number}"
            beside.mkdir()
            if user:  # the owner of what is linked in owns the folder, or the link would be a stranger's
                os.chown(home.inbox, 0, 0)
            jobs[name] = pool.submit(write_beside, home, kind, service, beside)
        yield {name: job.result() for name, job in jobs.items()}


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("writer", FINISH)
def test_what_is_finished_after_a_pause_is_sent_whole_and_once(
    written: Mapping[str, Written], user: str, writer: str
) -> None:
    """I1, I2, F4, F14 to F16, F18: and nothing of it before."""
    found = written[user]
    if (found.kind, writer) in SENT_EARLY:
        assert found.arrived(writer)[-1] == found.files[writer].content
        return
    assert found.arrived(writer) == [found.files[writer].content]
    assert found.standing(found.home.done, writer) == [found.files[writer].content]


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("writer", DIE)
def test_what_is_never_finished_is_never_sent_and_fails(written: Mapping[str, Written], user: str, writer: str) -> None:
    """I1, I3, F16, F17: its bytes stay, and the reason says what is missing."""
    found = written[user]
    if (found.kind, writer) in SENT_IN_THE_END:
        assert len(found.arrived(writer)) == 1
        assert [line["problem"] for line in found.home.lines() if line["event"] == "unproved"]
        return
    assert found.arrived(writer) == []
    [part] = found.standing(found.home.failed, writer)
    whole = found.files[writer].content
    assert all(
        part[at : at + BLOCK] in (whole[at : at + BLOCK], bytes(len(part[at : at + BLOCK])))
        for at in range(0, len(part) - BLOCK, BLOCK)
    )
    reason = found.home.reasons()[found.files[writer].name]
    assert reason["reason"] == ("truncated" if writer == "dies, plain" else "unfilled")
    if reason["reason"] == "unfilled":
        assert "KiB were never written" in reason["text"]
        assert "intake.holes" in reason["what_to_do"]
