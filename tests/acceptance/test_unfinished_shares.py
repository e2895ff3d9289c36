"""Writers through real shares: smbd, and file systems by FUSE that lie over the inbox, or that the inbox itself lies on. Never is
a part sent as a whole but in the cells that DESIGN 2 names, and never is a byte lost (F75, F76, F77, F92).

All daemons run side by side, and all writers at once, each a program of its own that finishes, pauses for longer than all waits but
the longest, or dies by SIGKILL. The service keeps every part that ever arrived. The waits are those of the settings, made shorter.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
from fakes import disks, shares
from fakes.disks import NOBODY, WITH_CAP_LEASE
from fakes.hostile_server import hostile
from fakes.house import House
from fakes.scripted_origin import ScriptedOrigin, sop_instance_uid
from fakes.studies import Made, made

QUIET, NETWORK_QUIET, TIMEOUT = 0.5, 4.0, 12.0  # seconds: a factor of about 4 to 75 below the defaults
PAUSE = 6.0  # longer than all but the longest
SIZE = 256 << 10
BLOCK = 64 << 10  # what share_writer.py writes at once
SETTINGS = {
    "INGESTD_INTAKE__QUIET_SECONDS": str(QUIET),
    "INGESTD_INTAKE__NETWORK_QUIET_SECONDS": str(NETWORK_QUIET),
    "INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS": str(TIMEOUT),
}
pytestmark = pytest.mark.timeout(300)  # one fixture waits for them all
WRITER = Path(shares.__file__).with_name("share_writer.py")
WAYS = ("keeps", "reopens", "claims", "reopens claims")
ENDS = ("finishes", "pauses", "dies")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`inbox`: what it is a mount of, if it is one. `through`: what writers go through, else they write on the other side."""

    inbox: str = ""
    through: str = ""
    user: tuple[str, ...] = ()


PLACES = {
    "smbd": Place(through="smbd", user=NOBODY),
    "smbd, CAP_LEASE": Place(through="smbd", user=WITH_CAP_LEASE),
    "written through bindfs": Place(through="bindfs", user=NOBODY),
    "written through bindfs, CAP_LEASE": Place(through="bindfs", user=WITH_CAP_LEASE),
    "inbox on bindfs": Place(inbox="bindfs", through="inbox"),
    "inbox on bindfs, written on the other side": Place(inbox="bindfs"),
    "inbox where ctime is mtime, written on the other side": Place(inbox="mtimes"),
}
MOUNTS = {"bindfs": shares.bindfs, "sshfs": shares.sshfs, "exfat": shares.exfat, "mtimes": shares.mtimes}
ACTIONS = ("move", "delete")
REFUSED = {("mtimes", "delete")}  # below
CELLS = [(place, action) for place, action in product(PLACES, ACTIONS) if (PLACES[place].inbox, action) not in REFUSED]


class ShareHouse(House):
    """A daemon that runs as somebody, and removes or moves."""

    def __init__(self, root: Path, url: str, *, user: tuple[str, ...], action: str) -> None:
        super().__init__(root, url, INGESTD_DONE__ACTION=action, **SETTINGS)
        self._user = user
        if user:
            os.chown(root, 65534, 65534)
            os.chown(self.inbox, 65534, 65534)
        self.inbox.chmod(0o777)

    def command(self, *arguments: str) -> list[str]:
        return [*self._user, *super().command(*arguments)]


@dataclass(slots=True, kw_only=True)
class Cell:
    """One daemon, and what became of all that was written into its inbox."""

    place: Place
    action: str
    home: House
    service: ScriptedOrigin
    folder: Path  # where the inbox's files are on the disk
    door: str = ""

    def arrived(self, file: Made) -> list[bytes]:
        return [part for part in self.service.arrived if sop_instance_uid(part) == file.ids[2]]

    def standing(self, file: Made) -> Mapping[str, list[bytes]]:
        """By folder."""
        folders = {"inbox": self.home.inbox, "done": self.home.done, "failed": self.home.failed}
        found = {
            name: [path.read_bytes() for path in self.home.files(folder) if path.name == file.name]
            for name, folder in folders.items()
        }
        return {name: contents for name, contents in found.items() if contents}

    def is_over(self) -> bool:
        """What was removed is no longer counted; more than that may be missing, and the tests say so."""
        filed = len(self.home.files(self.home.done)) + len(self.home.files(self.home.failed))
        dead = sum("dies" in name for name in FILES)
        over = filed <= dead if self.action == "delete" else filed >= len(FILES)
        return over and not self.home.files(self.home.inbox)


def _file(number: int) -> Made:
    one = made(number, size=SIZE)
    noise = bytes(1 + (number * 7 + at * at) % 251 for at in range(4096)) * (SIZE // 4096)
    return Made(name=f"{number}.dcm", content=one.content[:4096] + noise[: len(one.content) - 4096], ids=one.ids)


FILES = {f"{way}, {end}": _file(number) for number, (way, end) in enumerate(product(WAYS, ENDS), start=1)}


def is_perhaps_unfilled(place: Place, writer: str) -> bool:
    """DESIGN 2: where holes can't be seen, zeros at the end are sent after the longest wait; it is said, and nothing is removed."""
    return bool(place.inbox) and "claims" in writer and "dies" in writer


def reading(inboxes: list[Path], stop: threading.Event) -> None:
    """A virus scanner, by read."""
    while not stop.wait(1):
        for inbox in inboxes:
            for path in inbox.glob("*.dcm"):
                with suppress(FileNotFoundError):
                    path.read_bytes()


def begun(cell: Cell, sources: Path) -> list[subprocess.Popen[bytes]]:
    command = [sys.executable, "-I", str(WRITER)]
    return [
        subprocess.Popen(
            [*command, f"{cell.door}/{file.name}", sources / file.name, name.replace(",", ""), str(PAUSE)],
            stderr=subprocess.PIPE,
        )
        for name, file in FILES.items()
    ]


def ended_otherwise(cells: Mapping[tuple[str, str], Cell], writers: list[subprocess.Popen[bytes]]) -> list[str]:
    """Which writers came to another end than theirs, and what they said of it."""
    found = []
    for (place, name), writer in zip(product(cells, FILES), writers, strict=True):
        _, said = writer.communicate(timeout=60)
        if writer.returncode != (-9 if "dies" in name else 0):
            found.append(f"{place}: {name}: {writer.returncode}: {said.decode()[-300:]}")
    return found


def write_beside(cells: Mapping[tuple[str, str], Cell], sources: Path) -> None:
    """All writers of all cells, until everything has come to its end."""
    for cell in cells.values():
        cell.home.start()
    for cell in cells.values():
        cell.home.waits((cell.home.root / "state" / "journal.sqlite").exists, 60)
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        scanner = pool.submit(reading, [cell.folder for cell in cells.values()], stop)
        writers = []
        try:
            writers = [writer for cell in cells.values() for writer in begun(cell, sources)]
            otherwise = ended_otherwise(cells, writers)
            assert not otherwise, otherwise[0]
            for cell in cells.values():
                cell.home.waits(cell.is_over, 90)
        finally:
            stop.set()
            for writer in writers:
                writer.kill()
                writer.wait(10)
        scanner.result(10)
    for cell in cells.values():
        assert cell.home.stop() == 0


def made_cells(stack: ExitStack, folder: Path) -> Mapping[tuple[str, str], Cell]:
    cells = {}
    for number, (name, action) in enumerate(CELLS):
        place, service = PLACES[name], ScriptedOrigin()
        server = stack.enter_context(hostile(service))
        home = ShareHouse(folder / f"house{number}", server.url, user=place.user, action=action)
        cells[name, action] = Cell(place=place, action=action, home=home, service=service, folder=home.inbox)
    inboxes = {f"share{n}": cell.home.inbox for n, cell in enumerate(cells.values()) if cell.place.through == "smbd"}
    url = stack.enter_context(shares.smbd(inboxes))
    for number, cell in enumerate(cells.values()):
        cell.door = f"{url}/share{number}" if cell.place.through == "smbd" else str(mounted(stack, cell))
        stack.callback(cell.home.close)
    return cells


def mounted(stack: ExitStack, cell: Cell) -> Path:
    """Where the writers of a cell by FUSE write."""
    beside = cell.home.root / "beside"
    beside.mkdir()
    if cell.place.through == "bindfs":
        stack.enter_context(shares.bindfs(cell.home.inbox, beside))
        return beside
    cell.folder = beside
    stack.enter_context(MOUNTS[cell.place.inbox](beside, cell.home.inbox))
    return cell.home.inbox if cell.place.through == "inbox" else beside


@pytest.fixture(scope="module")
def written(needed: None) -> Iterator[Mapping[tuple[str, str], Cell]]:
    with ExitStack() as stack:
        folder = stack.enter_context(disks.disk("ext4"))
        stack.enter_context(disks.entered(folder))
        cells = made_cells(stack, folder)
        (sources := folder / "sources").mkdir()
        for file in FILES.values():
            (sources / file.name).write_bytes(file.content)
        write_beside(cells, sources)
        yield cells


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


@pytest.mark.parametrize(("place", "action"), CELLS)
@pytest.mark.parametrize("writer", [name for name in FILES if "dies" not in name])
def test_what_is_finished_is_sent_whole_and_once(
    written: Mapping[tuple[str, str], Cell], place: str, action: str, writer: str
) -> None:
    """I1, I2, F14, F15, F18, F75, F76, F77: nothing of it is sent before, and nothing is removed before."""
    cell, file = written[place, action], FILES[writer]
    assert cell.arrived(file) == [file.content]
    assert cell.standing(file) == ({} if action == "delete" else {"done": [file.content]})


@pytest.mark.parametrize(("place", "action"), CELLS)
@pytest.mark.parametrize("writer", [name for name in FILES if "dies" in name])
def test_what_is_never_finished_is_kept_and_fails(
    written: Mapping[tuple[str, str], Cell], place: str, action: str, writer: str
) -> None:
    """I1, I3, F17, F75, F76: every byte that was written stays where a person finds it, also where stored files are removed."""
    cell, file = written[place, action], FILES[writer]
    half = file.content[: -(-len(file.content) // BLOCK) // 2 * BLOCK]
    part = half + bytes(len(file.content) - len(half)) if "claims" in writer else half
    if is_perhaps_unfilled(cell.place, writer):
        assert cell.arrived(file) == [part]
        assert cell.standing(file) == {"done": [part]}
        return
    assert cell.arrived(file) == []
    assert cell.standing(file) == {"failed": [part]}
    assert cell.home.reasons()[file.name]["reason"] == ("unfilled" if "claims" in writer else "truncated")


@pytest.mark.parametrize(("place", "action"), CELLS)
def test_a_part_that_could_not_be_told_from_a_whole_file_is_said(
    written: Mapping[tuple[str, str], Cell], place: str, action: str
) -> None:
    """F75: once for each."""
    cell = written[place, action]
    said = [line for line in cell.home.lines() if line["event"] == "unproved"]
    assert len(said) == sum(is_perhaps_unfilled(cell.place, writer) for writer in FILES)
    assert all("compare it with its source" in line["problem"] for line in said)


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
        file = FILES["keeps, finishes"]
        (home.inbox / file.name).write_bytes(file.content)
        ended = home.run("run", "--root", str(home.root), "--url", home.url)
        assert ended.returncode == 78
        [said] = [one for one in ended.stderr.splitlines() if one]
        assert line in said
        assert [path.name for path in home.inbox.iterdir()] == [file.name]
        assert (home.inbox / file.name).read_bytes() == file.content
