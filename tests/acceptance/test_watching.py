"""How files are found: every kind of file system, and everything that can befall the folder while the daemon watches it.

File systems are real: tmpfs, ext4 on a loop device, overlayfs, bind mounts, and a share behind FUSE whose writers this kernel does
not see (fakes/fuse_share.py). An NFS or CIFS server needs kernel modules that a test machine seldom has; to ingestd they are what
that share is: a network file system by its type, without events, leases or news.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.admin_pages import AdminPages
from fakes.altered import AlteredRoomy
from fakes.hostile_server import hostile
from fakes.house import House, digest
from fakes.room import Fault, Room, RoomyHouse
from fakes.scripted_origin import ScriptedOrigin, says
from fakes.studies import Made, made

from ingestd.emulator.samples import ct_instance

SINK = Path(__file__).parents[1] / "bench" / "sink.py"
MakeHouse = Callable[..., House]


@pytest.fixture
def pages() -> AdminPages:
    return AdminPages()


@contextmanager
def sink() -> Iterator[str]:
    """A service that keeps nothing and names everything, in a process of its own; its URL."""
    with subprocess.Popen([sys.executable, str(SINK)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v2"
        finally:
            process.kill()


def delivered(home: House, *files: Made) -> Callable[[], bool]:
    """Whether these are in done/, each once and byte for byte, and the inbox is empty."""
    expected = sorted(digest(one.content) for one in files)
    return lambda: not home.files(home.inbox) and home.digests(home.done) == expected


def resting_house(room: Room, root: Path, url: str, **environment: str) -> RoomyHouse:
    """Its inbox may be a disk of its own: without a lease a stored file rests there before it is copied away, here shortly."""
    return RoomyHouse(room, root, url, **{"INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS": "4", **environment})


# --- every kind of file system ---------------------------------------------------------------------------------------------------


def mount_tmpfs(room: Room, root: Path) -> Path:
    room.mount("-t", "tmpfs", "tmpfs", root / "inbox")
    return room.see(root / "inbox")


def mount_ext4(room: Room, root: Path) -> Path:
    disk = root / "disk"
    with open(disk, "wb") as file:
        file.truncate(16 << 20)
    room.run("mkfs.ext4", "-q", disk)
    room.mount("-o", "loop", disk, root / "inbox")
    room.run("rmdir", root / "inbox" / "lost+found")
    return room.see(root / "inbox")


def mount_bind(room: Room, root: Path) -> Path:
    """Written to under its other name."""
    (root / "other").mkdir()
    room.mount("--bind", root / "other", root / "inbox")
    return root / "other"


def mount_overlay(room: Room, root: Path) -> Path:
    """With a folder below that has files of its own: `old.dcm` is taken out of it, too."""
    for name in ("lower", "upper", "work"):
        (root / name).mkdir()
    (root / "lower" / "old.dcm").write_bytes(made(99).content)
    options = f"lowerdir={root}/lower,upperdir={root}/upper,workdir={root}/work"
    room.mount("-t", "overlay", "overlay", "-o", options, root / "inbox")
    return room.see(root / "inbox")


def mount_share(room: Room, root: Path) -> Path:
    """Written to by others, behind this kernel's back."""
    (root / "shared").mkdir()
    room.share(root / "shared", root / "inbox")
    return root / "shared"


MOUNTS = (mount_tmpfs, mount_ext4, mount_bind, mount_overlay, mount_share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A daemon on one kind of file system, and where its writers write."""

    mount: Callable[[Room, Path], Path]
    study: int
    home: RoomyHouse
    write: Path


@pytest.fixture
def places(room: Room, tmp_path: Path, service: str) -> list[Place]:
    """As many as this kernel has; what it lacks is a skip in the tests of that one alone."""
    found = []
    for study, mount in enumerate(MOUNTS, start=1):
        root = tmp_path / mount.__name__
        home = resting_house(room, root, service, INGESTD_INTAKE__NETWORK_QUIET_SECONDS="0.5")
        with suppress(pytest.skip.Exception):
            found.append(Place(mount=mount, study=study, home=home, write=mount(room, root)))
    return found


@pytest.mark.slow
def test_files_are_found_on_every_kind_of_file_system(places: list[Place]) -> None:
    """I1, I6, F3, F5, F8: tmpfs, ext4, bind, overlay and a share, at the same time, for nearly all of it is waiting."""
    with ThreadPoolExecutor(len(MOUNTS)) as pool:
        jobs = [pool.submit(finds_all, place) for place in places]
    for job in jobs:
        job.result()
    if missing := {mount.__name__ for mount in MOUNTS} - {place.mount.__name__ for place in places}:
        pytest.skip(f"the others are well; this kernel or container can't {', '.join(sorted(missing))}")


def finds_all(place: Place) -> None:
    """Before the start, while it runs, while it is down; a share is polled and a line says so."""
    home, write = place.home, place.write
    files = [made(n, study=place.study) for n in range(1, 9)]

    def put(one: Made, folder: Path = write) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f".{one.name}.part").write_bytes(one.content)
        (folder / f".{one.name}.part").rename(folder / one.name)

    put(files[0])
    put(files[1], write / "a" / "b")
    home.start()
    try:
        old = [made(99)] if place.mount is mount_overlay else []
        home.waits(delivered(home, *files[:2], *old), 60)
        (write / files[2].name).write_bytes(files[2].content)
        put(files[3])
        put(files[4], write / "c" / "d")
        home.waits(delivered(home, *files[:5], *old), 60)
        assert home.stop() == 0
        put(files[5])
        put(files[6], write / "a" / "b")
        home.start()
        home.waits(delivered(home, *files[:7], *old), 60)
        put(files[7])
        home.waits(delivered(home, *files, *old), 60)
        assert home.stop() == 0
    finally:
        home.close()
    assert home.files(home.failed) == []
    assert ("watch_off" in home.events()) == (place.mount is mount_share)


def share_of(home: RoomyHouse, room: Room) -> Fault:
    """A share as its inbox; the test sees what others have it: the folder behind it."""
    behind = home.root / "shared"
    behind.mkdir()
    fault = room.share(behind, home.root / "inbox")
    home.inbox = behind
    return fault


@pytest.mark.slow
def test_a_share_that_is_watched_against_advice_is_polled_as_well(room: Room, tmp_path: Path, service: str) -> None:
    """I6, F8: `watch = events` where events tell only what this machine does."""
    settings = {"INGESTD_INTAKE__WATCH": "events", "INGESTD_INTAKE__NETWORK_QUIET_SECONDS": "0.5"}
    home = resting_house(room, tmp_path / "house", service, **settings)
    share_of(home, room)
    home.start()
    try:
        home.waits((home.root / "state" / "journal.sqlite").exists, 60)
        (home.inbox / "s").mkdir()
        (home.inbox / "s" / "a.dcm").write_bytes(made(1).content)
        home.waits(delivered(home, made(1)), 60)
        assert home.stop() == 0
    finally:
        home.close()


@pytest.mark.slow
def test_a_share_that_shows_stale_sizes_delivers_whole_files_alone(room: Room, tmp_path: Path) -> None:
    """F23: as NFS, it tells a file's size anew only when it is opened; decided is on open and fstat."""
    one = made(1, size=200_000)
    service = ScriptedOrigin()
    with hostile(service) as server:
        settings = {"INGESTD_INTAKE__NETWORK_QUIET_SECONDS": "1.5", "INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS": "6"}
        home = resting_house(room, tmp_path / "house", server.url, **settings)
        share_of(home, room).set("stale")
        home.start()
        try:
            with open(home.inbox / "a.dcm", "wb", buffering=0) as out:
                for at in range(0, len(one.content), 50_000):
                    out.write(one.content[at : at + 50_000])
                    time.sleep(1)
            home.waits(delivered(home, one), 60)
            assert home.stop() == 0
        finally:
            home.close()
    assert service.arrived == [one.content]


@pytest.mark.slow
@pytest.mark.parametrize("word", ["EIO", "ESTALE"])
def test_a_share_in_trouble_turns_readiness_red_and_fails_no_file(
    room: Room, tmp_path: Path, pages: AdminPages, word: str
) -> None:
    """F9, I3: and it goes on by itself."""
    files = [made(n, size=200_000) for n in range(1, 11)]
    service = ScriptedOrigin(store=[says(503, retry_after="1")])
    with hostile(service) as server:
        settings = {"INGESTD_INTAKE__NETWORK_QUIET_SECONDS": "0.3", "INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS": "1"}
        home = resting_house(room, tmp_path / "house", server.url, **settings, **pages.setting)
        fault = share_of(home, room)
        for one in files:
            (home.inbox / one.name).write_bytes(one.content)
        home.start()
        try:
            home.waits(lambda: service.count("store") > 0, 60)
            fault.set(word)
            home.waits(lambda: pages.red("inbox"), 60)
            service.heal()
            time.sleep(2)  # twice incomplete_timeout_seconds: long enough for a wrong verdict
            assert home.files(home.failed) == home.files(home.done) == []
            fault.mend()
            home.waits(delivered(home, *files), 60)
            home.waits(lambda: pages.ready() and "inbox_back" in home.events(), 60)
            assert home.stop() == 0
        finally:
            fault.mend()
            home.close()
    assert home.files(home.failed) == []
    assert home.events().count("inbox_trouble") == home.events().count("inbox_back") == 1


@pytest.mark.slow
def test_sending_goes_on_while_the_scan_hangs(room: Room, tmp_path: Path, pages: AdminPages) -> None:
    """F9: a listing that does not come back keeps the scanner's thread in the kernel, and nothing else.

    The files lie in a sub-folder: in a folder that is being listed the kernel itself lets nobody remove a name.
    """
    files = [made(n, size=200_000) for n in range(1, 21)]
    late = made(30)
    service = ScriptedOrigin(store=[says(503, retry_after="1")])
    with hostile(service) as server:
        settings = {"INGESTD_INTAKE__NETWORK_QUIET_SECONDS": "0.3"}
        home = resting_house(room, tmp_path / "house", server.url, **settings, **pages.setting)
        fault = share_of(home, room)
        (home.inbox / "s").mkdir()
        for one in files:
            (home.inbox / "s" / one.name).write_bytes(one.content)
        home.start()
        try:
            home.waits(lambda: service.count("store") > 0, 60)
            home.waits(lambda: pages.metric("ingestd_scan_seconds") >= 0, 60)
            fault.set("hang-list")
            (home.inbox / late.name).write_bytes(late.content)
            service.heal()
            home.waits(lambda: home.digests(home.done) == sorted(digest(one.content) for one in files), 60)
            assert pages.get("livez")[0] == 200
            seen = pages.metric("ingestd_last_scan_timestamp_seconds")
            time.sleep(2.5)
            assert (
                pages.metric("ingestd_last_scan_timestamp_seconds") == seen
            )  # what an alarm on the scan's age goes by
            fault.mend()
            home.waits(lambda: digest(late.content) in home.digests(home.done), 60)
            assert home.stop() == 0
        finally:
            fault.mend()
            home.close()
    assert home.files(home.failed) == []


SHORT = """
import ingestd.daemon.loop as loop, ingestd.spool.intake.scan_pass as scan_pass
assert (loop.STUCK_SECONDS, scan_pass._STUCK_SECONDS) == (60.0, 60.0)
loop.STUCK_SECONDS, scan_pass._STUCK_SECONDS = 3.0, 4.0
"""  # or the test would last minutes


@pytest.mark.slow
def test_a_share_that_does_not_answer_stops_nothing_but_its_files(
    room: Room, tmp_path: Path, pages: AdminPages
) -> None:
    """F9, F67: looks and moves are stuck in the kernel and the loop is not: /livez is green, /readyz says why; then it goes on."""
    files = [made(n, size=200_000) for n in range(1, 6)]
    service = ScriptedOrigin()
    with hostile(service) as server:
        settings = {"INGESTD_INTAKE__NETWORK_QUIET_SECONDS": "1", "INGESTD_INTAKE__RESCAN_SECONDS": "1"}
        settings["INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS"] = "4"
        home = AlteredRoomy(room, tmp_path / "house", server.url, prelude=SHORT, **settings, **pages.setting)
        fault = share_of(home, room)
        home.start()
        try:
            home.waits(pages.ready, 60)
            for one in files:
                (home.inbox / one.name).write_bytes(one.content)
                time.sleep(0.4)  # some are sent, some looked at once, and some not known
            fault.set("hang")
            home.waits(lambda: pages.red("the inbox"), 60)
            until = time.monotonic() + 6
            while time.monotonic() < until:
                assert pages.get("livez") == (200, "ok\n")
                time.sleep(0.1)
            fault.mend()
            home.waits(delivered(home, *files), 60)
            home.waits(pages.ready, 60)
            assert home.stop() == 0
        finally:
            fault.mend()
            home.close()
    assert home.files(home.failed) == []
    assert sorted(service.arrived) == sorted(one.content for one in files)


@pytest.mark.slow
def test_a_share_whose_server_dies_costs_no_file_and_no_restart(room: Room, tmp_path: Path, pages: AdminPages) -> None:
    """F9, F67, I1: every call fails from then on, closing included; it is mounted again, and the daemon goes on. A start meanwhile
    says 75, so that it is tried again."""
    files = [made(n, size=200_000) for n in range(1, 61)]
    service = ScriptedOrigin()
    with hostile(service) as server:
        settings = {"INGESTD_INTAKE__NETWORK_QUIET_SECONDS": "0.5", "INGESTD_INTAKE__RESCAN_SECONDS": "1"}
        home = resting_house(room, tmp_path / "house", server.url, **settings, **pages.setting)
        fault = share_of(home, room)
        for one in files:
            (home.inbox / one.name).write_bytes(one.content)
        home.start()
        try:
            home.waits(lambda: service.count("store") > 0, 60)
            fault.kill()
            home.waits(lambda: pages.red("inbox"), 60)
            start = home.run("drain", "--root", str(home.root), "--url", server.url)
            assert (start.returncode, "does not answer" in start.stderr) == (75, True), start.stderr
            room.umount(home.root / "inbox", "--lazy")
            room.share(home.inbox, home.root / "inbox")
            home.waits(delivered(home, *files), 60)
            home.waits(pages.ready, 60)
            assert home.stop() == 0
        finally:
            home.close()
    assert home.files(home.failed) == []
    assert "job_died" not in home.events()


# --- what can befall the root ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("watch", ["auto", "poll"])
def test_an_inbox_that_is_deleted_and_made_again_goes_on(
    house: MakeHouse, service: str, pages: AdminPages, watch: str
) -> None:
    """F6: readiness is red and says what to do; no restart; one line each."""
    home = house(service, INGESTD_INTAKE__WATCH=watch, **pages.setting)
    home.start()
    home.drop("before.dcm", made(1).content)
    home.waits(home.ended(1), 60)
    home.drop("half.dcm", made(2).content[:2000])
    shutil.rmtree(home.inbox)
    home.waits(lambda: pages.red("the inbox is missing"), 60)
    home.inbox.mkdir()
    home.drop("s/after.dcm", made(3).content)
    home.waits(delivered(home, made(1), made(3)), 60)
    home.waits(pages.ready, 60)
    home.waits(lambda: "inbox_back" in home.events(), 60)
    assert home.stop() == 0
    assert home.files(home.failed) == []
    assert (home.events().count("inbox_trouble"), home.events().count("inbox_back")) == (1, 1)
    assert "watch_off" not in home.events()


@pytest.mark.slow
def test_an_inbox_that_is_unmounted_and_mounted_over_loses_nothing(
    room: Room, tmp_path: Path, pages: AdminPages
) -> None:
    """F7, I1: nothing is concluded from files that are not there; what was known of them is known when they are back."""
    files = [made(n) for n in range(1, 21)]
    half, over = made(30), made(31)
    service = ScriptedOrigin(store=[says(503, retry_after="1")], control=[says(503, retry_after="1")])
    with hostile(service) as server:
        patience = {
            "INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS": "12"
        }  # longer than all files that are back take to be sent
        home = resting_house(room, tmp_path / "house", server.url, **patience, **pages.setting)
        inbox, backing = home.root / "inbox", home.root / "backing"
        backing.mkdir()
        room.mount("--bind", backing, inbox)
        for one in files:
            (backing / one.name).write_bytes(one.content)
        (backing / half.name).write_bytes(half.content[:2000])
        home.start()
        try:
            home.waits(lambda: "waiting" in home.events() and service.count("store") > 0, 60)
            scans = pages.metric("ingestd_last_scan_timestamp_seconds")
            room.umount(inbox, "-l")
            home.waits(lambda: pages.metric("ingestd_last_scan_timestamp_seconds") >= scans + 2, 60)
            assert home.count() == {"inbox": 0, "done": 0, "failed": 0}
            room.mount("-t", "tmpfs", "tmpfs", inbox)
            (home.inbox / over.name).write_bytes(over.content)
            service.heal()
            home.waits(delivered(home, over), 60)
            room.umount(inbox, "-l")
            room.mount("--bind", backing, inbox)
            home.waits(lambda: len(home.files(home.done)) == 21, 60)
            home.waits(
                lambda: [p.name for p in home.files(home.inbox)] == [half.name], 10
            )  # a copied source steps aside first
            (backing / half.name).write_bytes(half.content)
            home.waits(delivered(home, *files, half, over), 60)
            assert pages.metric("ingestd_watch_overflows_total") == 0
            assert home.stop() == 0
        finally:
            home.close()
    assert home.files(home.failed) == []
    assert home.events().count("waiting") in (1, 2)  # said again where its time came while it was away
    assert len(home.lines()) < 60
    assert "watch_off" not in home.events()


# --- watches ---------------------------------------------------------------------------------------------------------------------


class Limited(House):
    """In a user namespace with so many watches or instances and no more."""

    limit = "watches"
    most = 0

    def command(self, *arguments: str) -> list[str]:
        shell = f'echo {self.most} > /proc/sys/user/max_inotify_{self.limit} && exec "$@"'
        return ["unshare", "-Ur", "sh", "-c", shell, "sh", *super().command(*arguments)]


@pytest.mark.parametrize(("limit", "most"), [("watches", 5), ("instances", 0)])
def test_without_enough_watches_all_is_polled_and_a_line_says_so(
    tmp_path: Path, service: str, limit: str, most: int
) -> None:
    """F2: nothing is unwatched in silence, and nothing is missed."""
    if subprocess.run(["unshare", "-Ur", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a user namespace")
    home = Limited(tmp_path / "house", service)
    home.limit, home.most = limit, most
    files = [made(n) for n in range(1, 21)]
    for number, one in enumerate(files[:10]):
        home.drop(f"s{number}/{one.name}", one.content)
    home.start()
    try:
        home.waits(home.ended(10), 60)
        for number, one in enumerate(files[10:]):
            home.drop(f"t{number}/{one.name}", one.content)
        home.waits(delivered(home, *files), 60)
        home.waits(lambda: "watch_off" in home.events(), 60)
        assert home.stop() == 0
    finally:
        home.close()
    assert home.events().count("watch_off") == 1


@pytest.mark.slow
def test_our_own_moves_make_no_loop(house: MakeHouse, service: str, pages: AdminPages) -> None:
    """F12: 300 files are read and moved out; then nothing is looked at any more, and no scan is asked for."""
    home = house(service, INGESTD_INTAKE__RESCAN_SECONDS="600", **pages.setting)
    home.start()
    home.waits(pages.ready, 60)
    for number in range(1, 301):
        home.drop(f"{number}.dcm", made(number).content)
    home.waits(home.ended(300), 60)
    home.waits(lambda: pages.metric('ingestd_pending_files{stage="in_flight"}') == 0, 60)
    pid = home.process.pid

    def spent() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    scan, cpu = pages.metric("ingestd_last_scan_timestamp_seconds"), spent()
    time.sleep(3)
    assert pages.metric("ingestd_last_scan_timestamp_seconds") == scan
    assert spent() - cpu < 0.5
    assert home.stop() == 0


DYING = """
import ingestd.spool.intake.scanner as discover, ingestd.spool.intake.watch as watch, sys
real, left = {what}, [2]
def dying(*arguments, **named):
    left[0] -= 1
    if not left[0]:
        raise KeyError("an error nobody thought of")
    return real(*arguments, **named)
{what} = dying
from ingestd.cli.main import main
sys.argv[0] = "ingestd"
main()
"""


class Dying(House):
    """A method of the scanner's threads raises, the second time it is called."""

    what = ""

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", DYING.format(what=self.what), *arguments]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["discover.FolderScanner._scan", "watch._Emitter.queue_events"])
def test_a_thread_that_dies_is_started_again_and_counted(
    tmp_path: Path, service: str, pages: AdminPages, what: str
) -> None:
    """F10: the scan's own thread and one of watchdog's; said, counted, and nothing is missed."""
    home = Dying(tmp_path / "house", service, **pages.setting)
    home.what = what
    files = [made(n) for n in range(1, 31)]
    home.start()
    try:
        home.waits(pages.ready, 60)
        for one in files:
            home.drop(one.name, one.content)
        home.waits(lambda: pages.metric('ingestd_threads_restarted_total{thread="scanner"}') == 1, 60)
        home.waits(delivered(home, *files), 60)
        assert home.stop() == 0
    finally:
        home.close()
    assert (home.events().count("thread_died"), home.events().count("thread_restarted")) == (1, 1)


# --- what waits ------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_empty_file_waits_and_is_then_failed_and_kept(house: MakeHouse, service: str) -> None:
    """F22, I3: nothing is deleted; one that is filled in time is sent."""
    home = house(service, INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS="4")
    home.start()
    (home.inbox / "empty.dcm").touch()
    (home.inbox / "filled.dcm").touch()
    time.sleep(1.5)
    assert home.count()["failed"] == 0
    (home.inbox / "filled.dcm").write_bytes(made(1).content)
    home.waits(home.ended(2), 60)
    assert home.stop() == 0
    assert [p.read_bytes() for p in home.files(home.done)] == [made(1).content]
    assert [(p.name, p.read_bytes()) for p in home.files(home.failed)] == [("empty.dcm", b"")]
    assert home.reasons()["empty.dcm"]["reason"] in ("not_dicom", "truncated")


@pytest.mark.slow
def test_names_that_say_not_yet_are_left_alone_and_counted(house: MakeHouse, service: str, pages: AdminPages) -> None:
    """F21: temporary, partial, lock and .nfs names, whatever they hold; a name no pattern includes is said out loud."""
    home = house(service, **pages.setting)
    names = [
        "a.dcm.part",
        "b.dcm.tmp",
        "c.dcm.filepart",
        ".d.dcm",
        "~$e.dcm",
        ".nfs0000001",
        "f.lock",
        ".s/g.dcm",
        "IM1",
    ]
    for number, name in enumerate(names, start=1):
        (home.inbox / name).parent.mkdir(exist_ok=True)
        (home.inbox / name).write_bytes(made(number).content)
    home.start()
    home.drop("whole.dcm", made(50).content)
    home.waits(home.ended(1), 60)
    home.waits(lambda: pages.metric('ingestd_ignored_files{reason="temporary"}') == 6, 60)
    assert pages.metric('ingestd_ignored_files{reason="hidden"}') == 2
    assert pages.metric('ingestd_ignored_files{reason="no_pattern"}') == 1
    assert home.stop() == 0
    assert len(home.files(home.inbox)) == len(names)
    assert [line["files"] for line in home.lines() if line["event"] == "ignored"] == [1]


@pytest.mark.slow
def test_a_clock_that_was_set_back_keeps_no_file_waiting(house: MakeHouse, service: str) -> None:
    """F13: the journal says that a file is due in a year, by a clock that was a year ahead."""
    home = house(service, INGESTD_INTAKE__WATCH="poll")
    home.drop("half.dcm", made(1).content[:2000])
    home.start()
    home.waits(lambda: "waiting" in home.events(), 60)
    assert home.stop() == 0
    with sqlite3.connect(home.root / "state" / "journal.sqlite") as journal:
        year = "31536000"
        journal.execute(
            f"UPDATE deferrals SET due_at = due_at + {year}, since = since + {year}, first_seen = first_seen + {year}"
        )
    journal.close()
    (home.inbox / "half.dcm").write_bytes(made(1).content)
    home.start()
    home.waits(delivered(home, made(1)), 60)
    assert home.stop() == 0
    assert home.files(home.failed) == []


@pytest.mark.slow
def test_a_file_that_waits_is_passed_over_and_its_replacement_is_not(house: MakeHouse, service: str) -> None:
    """F19, F8: without an event, another file under the name of one that waits for minutes; the scan lists its inode."""
    home = house(service, INGESTD_INTAKE__WATCH="poll", INGESTD_INTAKE__QUIET_SECONDS="300")
    (home.inbox / "image.dcm").write_bytes(made(1).content[:2000])
    home.start()
    home.waits(lambda: "waiting" in home.events(), 60)
    home.drop("image.dcm", made(2).content)
    home.waits(delivered(home, made(2)), 60)
    assert home.stop() == 0


# --- a burst ---------------------------------------------------------------------------------------------------------------------

BURST = int(os.environ.get("INGESTD_TEST_BURST", "20000"))


@pytest.mark.slow
def test_a_burst_that_overflows_the_kernels_queue_is_delivered_whole(house: MakeHouse, pages: AdminPages) -> None:
    """F1, I1, I6, I8: so many files of 1 KiB in a tree of a hundred folders, while the daemon can't read a single event.

    INGESTD_TEST_BURST=100000 is the whole of it. The kernel's queue holds 16,384 events; the next scan is ten minutes off, so only
    the overflow can have asked for the one that finds them.
    """
    root = "1.2.826.0.1.3680043.10.1466"
    with sink() as url:
        home = house(url, INGESTD_INTAKE__RESCAN_SECONDS="600", INGESTD_LOG__LEVEL="warning", **pages.setting)
        for folder in range(100):
            (home.inbox / f"s{folder}").mkdir()
        home.start()
        home.waits(pages.ready, 60)
        home.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        sizes = set()
        for number in range(BURST):
            study = number % 100
            ids = {"study_uid": f"{root}.{study}", "series_uid": f"{root}.{study}.1"}
            content = ct_instance(**ids, sop_instance_uid=f"{root}.{study}.1.{number}", size_bytes=1024)
            sizes.add(len(content))
            with open(home.inbox / f"s{study}" / f"{number}.dcm", "wb", buffering=0) as out:
                out.write(content)
        written = time.monotonic() - began
        home.process.send_signal(signal.SIGCONT)
        began = time.monotonic()

        def filed() -> bool:
            return pages.metric('ingestd_instances_total{outcome="stored",reason=""}') == BURST

        home.waits(filed, 60 + BURST / 200)
        seconds = time.monotonic() - began
        memory = Path(f"/proc/{home.process.pid}/status").read_text()
        resident = int(memory.partition("VmHWM:")[2].split()[0]) // 1024
        overflows = pages.metric("ingestd_watch_overflows_total")
        assert home.stop() == 0
    found = {path.name for path in home.files(home.done)}
    missed = {f"{number}.dcm" for number in range(BURST)} - found
    print(
        f"{BURST} files of {max(sizes)} bytes written in {written:.1f} s, filed {seconds:.1f} s later, "
        f"{len(missed)} missed, {overflows:.0f} overflows, {resident} MiB at most"
    )
    assert (len(missed), home.files(home.inbox), home.files(home.failed)) == (0, [], [])
    assert overflows >= 1
    assert resident < 250
