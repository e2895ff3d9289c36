"""Disks that are full, read-only or gone, too few open files, no memory, no threads, a log that nobody takes: the real daemon.

Whatever it is: no file is lost or judged for it, /readyz says what is wrong, one line says it in the log, nothing spins, and it
goes on by itself when it is mended.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from fakes.admin_pages import AdminPages, cpu_seconds
from fakes.altered import Altered, AlteredRoomy
from fakes.hostile_server import hostile
from fakes.house import House, digest
from fakes.room import Room
from fakes.scripted_origin import ScriptedOrigin, after, good, says, stops_reading
from fakes.studies import Made, made

pytestmark = pytest.mark.timeout(120)
MakeHouse = Callable[..., House]

SOON = """
import ingestd.daemon.ending.endings as endings, ingestd.daemon.arriving.intake as intake
endings.UNMOVABLE_BASE_SECONDS = intake.BUSY_RETRY_SECONDS = 0.4
"""  # or each test would last a minute
LARGE = 40_000  # bytes: 25 of them fill a MiB
TROUBLE = {  # what is said of a folder that takes nothing, beside folder_trouble
    "inbox": set[str](),
    "done": {"unmovable"},
    "failed": {"unmovable"},
    "state": {"journal_trouble"},
}


def drop(home: House, one: Made, content: bytes) -> None:
    """As House.drop does it; an inbox without room keeps nothing of it."""
    part = home.inbox / f".{one.name}.part"
    try:
        part.write_bytes(content)
    except OSError:
        part.unlink()
        raise
    part.rename(home.inbox / one.name)


def everything(home: House) -> list[str]:
    return sorted(home.digests(home.inbox) + home.digests(home.done) + home.digests(home.failed))


def content_of(one: Made, folder: str) -> bytes:
    """failed/ fills with files that are half there."""
    return one.content[: LARGE // 2] if folder == "failed" else one.content


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["inbox", "done", "failed", "state"])
def test_a_mebibyte_that_is_full_stops_nothing_for_good(room: Room, tmp_path: Path, folder: str) -> None:
    """I1, I3, F39: each of the four folders in turn is a tmpfs of 1 MiB."""
    service, pages = ScriptedOrigin(), AdminPages()
    if folder == "inbox":  # else it never fills
        service = ScriptedOrigin(store=[says(503, retry_after="1")], control=[says(503)])
    with hostile(service) as server:
        settings = {"INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS": "1", **pages.setting}
        home = AlteredRoomy(room, tmp_path / "house", server.url, prelude=SOON, **settings)
        (home.root / folder).mkdir(exist_ok=True)
        room.mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", home.root / folder)
        home.start()
        try:
            home.waits(pages.ready, 30)
            if folder == "state":  # receipts are small
                fill(room.see(home.root / folder), leave=8 << 10)
            dropped = stream_in(home, folder)
            home.waits(lambda: pages.red(f"folders.{folder}" if folder != "state" else "journal"), 30)
            assert pages.metric(f'ingestd_folder_free_bytes{{folder="{folder}"}}') < 200_000
            home.waits(lambda: TROUBLE[folder] | {"folder_trouble"} <= set(home.events()), 20)
            if folder in ("done", "failed"):
                home.waits(lambda: pages.metric('ingestd_pending_files{stage="unmovable"}') > 0, 20)
            nothing_spins(home, service)
            assert everything(home) == dropped
            if folder != "failed":
                assert home.files(home.failed) == []
            room.mount("-o", "remount,size=64m", home.root / folder)
            service.heal()
            home.waits(lambda: not home.files(home.inbox), 60)
            home.waits(pages.ready, 30)
            assert home.stop() == 0
        finally:
            home.close()
    assert everything(home) == home.digests(home.failed if folder == "failed" else home.done) == dropped
    again = len(service.arrived) - len(service.named)
    if folder == "state":  # what was in flight when the journal filled could not be judged, and is sent again
        assert again <= len(service.named) // 2
    elif folder != "inbox":  # which filled while the service was away
        assert again == 0
    for event in TROUBLE[folder] | {"folder_trouble"}:
        assert home.events().count(event) == 1  # and not one a file


def fill(folder: Path, *, leave: int) -> None:
    """Somebody else's file takes all the room but this."""
    with open(folder / "ballast", "wb", buffering=0) as ballast:
        with suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        ballast.truncate(ballast.tell() - leave)


def stream_in(home: House, folder: str) -> list[str]:
    """Drop files until the folder is full, and some more; their digests."""
    digests = []
    for number in range(1, 61):
        one = made(number, size=LARGE)
        content = content_of(one, folder)
        try:
            drop(home, one, content)
        except OSError:
            assert folder == "inbox"
            break
        digests.append(digest(content))
        time.sleep(0.01)
    return sorted(digests)


def nothing_spins(home: House, service: ScriptedOrigin, *, seconds: float = 1.5) -> None:
    """While nothing can move: hardly any CPU time, hardly a request, no flood of lines."""
    pid = home.process.pid
    cpu, stores, lines = cpu_seconds(pid), service.count("store"), len(home.lines())
    time.sleep(seconds)
    assert cpu_seconds(pid) - cpu < 0.2 * seconds
    assert service.count("store") - stores <= 2
    assert len(home.lines()) - lines <= 26  # rate_limit.py: a line a file for twenty, then one a minute


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["inbox", "done"])
def test_a_folder_that_turns_read_only_and_goes_away_comes_back(room: Room, tmp_path: Path, folder: str) -> None:
    """I1, F7, F31, F45: read-only, then writable; unmounted, then mounted again. What lies below a mount point is no place for
    files."""
    service, pages = ScriptedOrigin(), AdminPages()
    with hostile(service) as server:
        home = AlteredRoomy(room, tmp_path / "house", server.url, prelude=SOON, **pages.setting)
        mounted, spare = home.root / folder, home.root / "spare"
        for made_folder in (mounted, spare):
            made_folder.mkdir(exist_ok=True)
        room.mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", mounted)
        room.mount("--bind", mounted, spare)
        home.start()
        try:
            home.waits(pages.ready, 30)
            files = [made(number) for number in range(1, 13)]
            for one in files[:4]:
                home.drop(one.name, one.content)
            if folder == "inbox":
                home.waits(home.ended(4), 30)
                home.drop(files[4].name, files[4].content)
            room.mount("-o", "remount,ro", mounted)
            for one in files[4:8] if folder == "done" else []:
                home.drop(one.name, one.content)
            home.waits(lambda: pages.red(f"folders.{folder} can't be written"), 30)
            home.waits(lambda: "folder_trouble" in home.events(), 30)
            nothing_spins(home, service)
            room.mount("-o", "remount,rw", mounted)
            sent = files[:8] if folder == "done" else files[:5]
            home.waits(home.ended(len(sent)), 60)
            home.waits(pages.ready, 30)
            room.umount(mounted, "--lazy")
            for one in files[8:] if folder == "done" else []:
                home.drop(one.name, one.content)
            words = "folders.done is no longer mounted" if folder == "done" else "folders.inbox"
            home.waits(lambda: pages.red(words), 30)
            time.sleep(1)
            assert not list(room.see(mounted).rglob("*.dcm"))
            room.mount("--bind", spare, mounted)
            for one in files[8:] if folder == "inbox" else []:
                home.drop(one.name, one.content)
            home.waits(home.ended(len(sent) + 4), 60)
            home.waits(pages.ready, 30)
            assert home.stop() == 0
        finally:
            home.close()
    expected = sorted(digest(one.content) for one in [*sent, *files[8:]])
    assert home.digests(home.done) == expected
    assert home.files(home.failed) == []


@pytest.mark.slow
def test_a_state_disk_that_breaks_off_stops_sending_until_it_is_back(room: Room, tmp_path: Path) -> None:
    """I1, I5, F40, F45: ext4 aborts and is read-only from then on. When it is unmounted the daemon ends with 75, for its supervisor
    to start it on what is there then."""
    service, pages = ScriptedOrigin(), AdminPages()
    with hostile(service) as server:
        home = AlteredRoomy(room, tmp_path / "house", server.url, prelude=SOON, **pages.setting)
        state, disk = home.root / "state", home.root / "disk"
        state.mkdir()
        with open(disk, "wb") as file:
            file.truncate(16 << 20)
        room.run("mkfs.ext4", "-q", disk)
        room.mount("-o", "loop", disk, state)
        home.start()
        try:
            home.waits(pages.ready, 30)
            files = [made(number) for number in range(1, 9)]
            for one in files[:4]:
                home.drop(one.name, one.content)
            home.waits(home.ended(4), 30)
            room.mount("-o", "remount,abort", state)
            for one in files[4:]:
                home.drop(one.name, one.content)
            home.waits(lambda: pages.red("journal") and "journal_trouble" in home.events(), 30)
            nothing_spins(home, service)
            assert sum(home.count().values()) == 8
            room.umount(state, "--lazy")
            assert home.process.wait(30) == 75
            room.mount("-o", "loop", disk, state)
            home.start()
            home.waits(home.ended(8), 60)
            home.waits(pages.ready, 30)
            assert home.stop() == 0
        finally:
            home.close()
    assert home.digests(home.done) == sorted(digest(one.content) for one in files)


def limit_open_files(home: House, number: int) -> None:
    _, hard = resource.prlimit(home.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(home.process.pid, resource.RLIMIT_NOFILE, (number, hard))


@pytest.mark.slow
def test_too_few_open_files_are_waited_out(tmp_path: Path) -> None:
    """F46, I3: not one descriptor more is to be had; then there is."""
    service, pages = ScriptedOrigin(), AdminPages()
    with hostile(service) as server:
        home = Altered(tmp_path / "house", server.url, prelude=SOON, **pages.setting)
        home.start()
        try:
            home.waits(pages.ready, 30)
            home.drop("before.dcm", made(1).content)
            home.waits(home.ended(1), 30)
            limit_open_files(home, len(os.listdir(f"/proc/{home.process.pid}/fd")))
            files = [made(number) for number in range(2, 42)]
            for one in files:
                home.drop(one.name, one.content)
            time.sleep(1)
            nothing_spins(home, service)
            assert home.count()["failed"] == 0
            limit_open_files(home, 1024)
            home.waits(home.ended(41), 60)
            home.waits(pages.ready, 30)
            assert home.stop() == 0
        finally:
            home.close()
    assert home.count() == {"inbox": 0, "done": 41, "failed": 0}


@pytest.mark.slow
def test_no_thread_to_be_had_is_waited_out(tmp_path: Path) -> None:
    """F46: no slot's first thread, no copy's, no client's of the admin port, while a file says so."""
    prelude = """
import os, threading
real = threading._start_new_thread
def starved(*arguments):
    if os.path.exists("starved"):
        raise RuntimeError("can't start new thread")
    return real(*arguments)
threading._start_new_thread = starved
"""
    service, pages = ScriptedOrigin(), AdminPages()
    with hostile(service) as server:
        home = Altered(tmp_path / "house", server.url, prelude=prelude, **pages.setting)
        home.start()
        try:
            home.waits(pages.ready, 30)
            (home.root / "starved").touch()
            for number in range(1, 9):
                home.drop(f"{number}.dcm", made(number).content)
            home.waits(lambda: "job_died" in home.events(), 30)
            assert pages.get("livez")[0] == 0
            nothing_spins(home, service)
            (home.root / "starved").unlink()
            home.waits(home.ended(8), 60)
            home.waits(pages.ready, 30)
            assert home.stop() == 0
        finally:
            home.close()
    assert home.count() == {"inbox": 0, "done": 8, "failed": 0}


NO_MEMORY = """
import os
import ingestd.spool.intake.inbox as inbox, ingestd.spool.memory.journal as journal
real = {what}
def starved(*arguments, **named):
    if os.path.exists("starved"):
        raise MemoryError
    return real(*arguments, **named)
{what} = starved
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["inbox.InboxFolder.examine", "journal.SqliteJournal.commit"])
def test_no_memory_costs_no_file(tmp_path: Path, what: str) -> None:
    """F46, I1: for a file, it is looked at again; for the loop, it ends at once whatever is in flight, to be started again."""
    service, pages = ScriptedOrigin(store=[after(1000, stops_reading), good]), AdminPages()
    files = [made(number) for number in range(2, 12)]
    with hostile(service) as server:
        home = Altered(tmp_path / "house", server.url, prelude=SOON + NO_MEMORY.format(what=what), **pages.setting)
        home.start()
        try:
            home.waits(pages.ready, 30)
            home.drop("large.dcm", made(1, size=8 << 20).content)
            home.waits(lambda: service.count("store") == 1, 30)
            (home.root / "starved").touch()
            for one in files:
                home.drop(one.name, one.content)
            if what == "inbox.InboxFolder.examine":
                nothing_spins(home, service)
                (home.root / "starved").unlink()
                home.waits(home.ended(10), 60)
                home.process.kill()  # or the large one's request would be waited for
                home.process.wait(10)
            else:
                (home.inbox / "half.dcm").write_bytes(files[0].content[:1000])  # something to be remembered
                assert home.process.wait(30) == 1
                (home.inbox / "half.dcm").unlink()
                (home.root / "starved").unlink()
            service.heal()
            home.start()
            home.waits(home.ended(11), 60)
            assert home.stop() == 0
        finally:
            home.close()
    assert home.count() == {"inbox": 0, "done": 11, "failed": 0}


# --- a log that nobody takes ------------------------------------------------------------------------------------------------------


def nowhere() -> tuple[int, int]:
    """A pipe that nobody reads, full."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writes, bytes(4096))
    os.set_blocking(writes, True)
    return reads, writes


@pytest.mark.slow
@pytest.mark.parametrize("how", ["full disk", "closed pipe", "unread pipe"])
def test_a_log_that_nobody_takes_stops_nothing(room: Room, tmp_path: Path, how: str) -> None:
    """F39, F69: everything is delivered, and SIGTERM is obeyed with exit status 0."""
    service = ScriptedOrigin()
    reads, writes = nowhere()
    if how == "closed pipe":
        os.close(reads)
    logs = tmp_path / "logs"
    logs.mkdir()
    room.mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", logs)
    if how == "full disk":
        full = room.see(logs) / "log"
        with suppress(OSError):
            full.write_bytes(bytes(1 << 20))
        with open(full, "ab") as log:
            os.dup2(log.fileno(), writes)
    with hostile(service) as server:
        home = House(tmp_path / "house", server.url)
        try:
            home.start(stdout=writes)
            for number in range(1, 301):
                home.drop(f"{number}.dcm", made(number).content)
            home.waits(home.ended(300), 60)
            if how == "full disk":
                full.write_bytes(b"")
                home.drop("last.dcm", made(301).content)
                home.waits(lambda: b'"dropped":' in full.read_bytes(), 30)
            began = time.monotonic()
            assert home.stop() == 0
            assert time.monotonic() - began < 8
        finally:
            home.close()
            for descriptor in (reads, writes) if how != "closed pipe" else (writes,):
                os.close(descriptor)
    assert home.count() == {"inbox": 0, "done": 301 if how == "full disk" else 300, "failed": 0}
