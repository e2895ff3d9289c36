"""Writers through real shares: smbd, and file systems by FUSE that lie over the inbox, or that the inbox itself lies on. Never is
a part sent as a whole but in the cells that writer_fates.py names, and never is a byte lost (F75, F76, F77, F92).

All daemons run side by side, and all writers at once, each a process of its own that finishes, pauses or dies by SIGKILL, in all
ways that a client of such a share has. The service keeps every version that ever arrived.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import pytest
from fakes import disks, shares
from fakes.hostile_server import hostile
from fakes.house import House
from fakes.scripted_origin import ScriptedOrigin
from fakes.writer_fates import WAYS, Cell, Sight, wrong
from fakes.writer_house import ACTIONS, LONG, Desk, WriterHouse, file_of, write_beside

TRIES = 3
pytestmark = pytest.mark.timeout((2 + TRIES) * LONG)  # one fixture waits for them all
SMB_WAYS = tuple(
    way for way in WAYS if not {"fallocate", "last byte", "mapped", "linked in"} & set(way.split(", "))
)  # all that libsmbclient can do
ON_A_SHARE = Sight(ftruncate=False, fallocate=False, tails=True, leases=False, refusals=True, closes=False)
OTHER_SIDE = replace(ON_A_SHARE, refusals=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`inbox`: what it is a mount of, if it is one. `through`: what writers go through, else they write on the other side."""

    inbox: str = ""
    through: str = ""
    user: str = "same user"
    sight: Sight
    ways: Sequence[str] = WAYS


PLACES = {
    "smbd": Place(through="smbd", user="another user", sight=Sight(leases=False, refusals=False), ways=SMB_WAYS),
    "smbd, CAP_LEASE": Place(through="smbd", user="CAP_LEASE", sight=Sight(leases=True, refusals=True), ways=SMB_WAYS),
    "written through bindfs": Place(
        through="bindfs", user="another user", sight=Sight(fallocate=False, leases=False, refusals=False)
    ),
    "written through bindfs, CAP_LEASE": Place(
        through="bindfs", user="CAP_LEASE", sight=Sight(fallocate=False, leases=True, refusals=True)
    ),
    "inbox on bindfs": Place(inbox="bindfs", through="inbox", sight=ON_A_SHARE),
    "inbox on bindfs, written on the other side": Place(inbox="bindfs", sight=OTHER_SIDE),
    "inbox where ctime is mtime, written on the other side": Place(
        inbox="mtimes", sight=replace(OTHER_SIDE, blocks=False)
    ),
}
MOUNTS = {"bindfs": shares.bindfs, "sshfs": shares.sshfs, "exfat": shares.exfat, "mtimes": shares.mtimes}
REFUSED = {("mtimes", "delete")}  # below
CELLS = [(place, action) for place, action in product(PLACES, ACTIONS) if (PLACES[place].inbox, action) not in REFUSED]
Written = Mapping[tuple[str, str], Mapping[tuple[str, str], Cell]]


def a_desk(stack: ExitStack, folder: Path, name: str, action: str) -> Desk:
    place, service = PLACES[name], ScriptedOrigin()
    server = stack.enter_context(hostile(service))
    root = folder / f"house{CELLS.index((name, action))}"
    home = WriterHouse(root, server.url, user=place.user, action=action)
    stack.callback(home.close)
    return Desk(
        home=home,
        service=service,
        sight=place.sight,
        action=action,
        ways=place.ways,
        door=str(home.inbox),
        beside=home.inbox,
        behind=home.inbox,
    )


def mount(stack: ExitStack, desk: Desk, place: Place) -> None:
    """What a place by FUSE is made of, and where its writers write."""
    (beside := desk.home.root / "beside").mkdir()
    if place.through == "bindfs":
        stack.enter_context(shares.bindfs(desk.home.inbox, beside))
    else:
        desk.behind = beside
        stack.enter_context(MOUNTS[place.inbox](beside, desk.home.inbox))
    if place.through != "inbox":
        desk.door, desk.beside = str(beside), beside


@pytest.fixture(scope="module")
def written(needed: None) -> Written:
    """Once more from the beginning where smbd died of a fault of its own: nothing could be said of its clients' files."""
    for _ in range(TRIES - 1):
        with suppress(shares.SmbdDiedError):
            return _written()
    return _written()


def _written() -> Written:
    with ExitStack() as stack:
        folder = stack.enter_context(disks.disk("ext4"))
        stack.enter_context(disks.entered(folder))
        desks = {cell: a_desk(stack, folder, *cell) for cell in CELLS}
        by_smb = {desk.home.root.name: desk for (name, _), desk in desks.items() if PLACES[name].through == "smbd"}
        url = stack.enter_context(shares.smbd({share: desk.home.inbox for share, desk in by_smb.items()}))
        for (name, _), desk in desks.items():
            if PLACES[name].through == "smbd":
                desk.door = f"{url}/{desk.home.root.name}"
            else:
                mount(stack, desk, PLACES[name])
        write_beside(list(desks.values()), folder / "sources")
        return {cell: desk.cells() for cell, desk in desks.items()}


@pytest.fixture(scope="module")
def needed(real: Callable[..., None]) -> None:
    real(
        "mount",
        "umount",
        "losetup",
        "setpriv",
        "unshare",
        "mkfs.ext4",
        "mkfs.exfat",
        "mount.exfat-fuse",
        "smbd",
        "bindfs",
        "sshfs",
    )
    shares.require_sftp_server(real)
    shares.require_libsmbclient(real)
    if os.geteuid():
        pytest.skip("needs root: it mounts file systems")


@pytest.mark.slow
@pytest.mark.parametrize(("place", "action"), CELLS)
def test_no_part_is_sent_as_a_whole_and_no_byte_is_lost(written: Written, place: str, action: str) -> None:
    """I1, I2, I3, F14, F15, F17, F18, F75, F76, F77: nothing is sent or removed before it is whole; every byte of what never is
    stays where a person finds it; what could not be told from a whole file is said."""
    lines = wrong(written[place, action])
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize(
    ("kind", "action", "line"),
    [
        ("exfat", "move", "neither rename without overwriting nor make hard links"),
        ("exfat", "delete", "neither rename without overwriting nor make hard links"),
        ("sshfs", "move", "another one to its file system once it has been moved"),
        ("sshfs", "delete", "another one to its file system once it has been moved"),
        ("mtimes", "delete", "an edit can leave no trace in a file's times"),
    ],
)
def test_an_inbox_that_can_not_carry_it_is_refused_at_the_start(
    needed: None, tmp_path: Path, kind: str, action: str, line: str
) -> None:
    """F92: in one line, and what lies there stays."""
    home = House(tmp_path / "house", "http://127.0.0.1:9/v2", INGESTD_DONE__ACTION=action)
    (beside := tmp_path / "beside").mkdir()
    with MOUNTS[kind](beside, home.inbox):
        file = file_of("keeps", "finishes")
        (home.inbox / file.name).write_bytes(file.content)
        ended = home.run("run", "--root", str(home.root), "--url", home.url)
        assert ended.returncode == 78
        [said] = [one for one in ended.stderr.splitlines() if one]
        assert line in said
        assert [path.name for path in home.inbox.iterdir()] == [file.name]
        assert (home.inbox / file.name).read_bytes() == file.content
