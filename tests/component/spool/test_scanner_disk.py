"""The scanner on a real file system, with the real watchdog."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.room import Room
from watchdog.observers.inotify import InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyFD

from ingestd.core.model import Close, Sighting, Stamp
from ingestd.spool.disk import handles, mounts
from ingestd.spool.intake import tree, watch
from ingestd.spool.intake.names import Rules
from ingestd.spool.intake.scanner import NO_ANSWER, FolderScanner


class SystemClock:
    """Time passes, and a test may add to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def now(self) -> float:
        return time.time() + self.ahead

    def wall(self) -> float:
        return time.time()


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"it did not happen within {seconds} seconds"
        time.sleep(0.005)


class House:
    """An inbox and a scanner on it. `seen` and `hinted` gather what was taken."""

    def __init__(self, root: Path) -> None:
        self.inbox = root / "inbox"
        self.outside = root / "outside"
        self.inbox.mkdir()
        self.outside.mkdir()
        self.clock = SystemClock()
        self.woken = threading.Event()
        self.seen: list[str] = []
        self.hinted: list[str] = []
        self.scanner = self.make()

    def make(self, **settings: Any) -> FolderScanner:
        defaults: dict[str, Any] = {
            "root": self.inbox,
            "rules": Rules(include=("*.dcm",)),
            "watch": "poll",
            "rescan_seconds": 0.2,
            "clock": self.clock,
            "wake": self.woken.set,
        }
        self.scanner = FolderScanner(**(defaults | settings))
        return self.scanner

    def begin(self, **settings: Any) -> FolderScanner:
        self.make(**settings)
        self.scanner.start()
        return self.scanner

    def take(self) -> set[str]:
        self.seen += [s.path for s in self.scanner.take(1000)]
        self.hinted += [s.path for s in self.scanner.take_hinted(1000)]
        return set(self.seen)

    def scan(self) -> set[str]:
        """What one whole scan that begins after now brings."""
        for _ in range(2):  # the first may have been under way
            self.take()
            self.seen.clear()
            before = self.scanner.status().full_scans
            self.scanner.request_scan()
            self.until_scanned(before + 1)
        return self.take()

    def until_scanned(self, scans: int) -> None:
        until(lambda: (self.take(), self.scanner.status().full_scans >= scans)[1])

    def ready(self) -> None:
        until(lambda: self.scanner.status().full_scans > 0)

    def until_hinted(self, *paths: str) -> None:
        until(lambda: (self.take(), set(paths) <= set(self.hinted))[1])

    def ignored(self, reason: str) -> int:
        return self.scanner.status().passed.counts[reason]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    gc.collect()  # an earlier test's handles
    handles = len(os.listdir("/proc/self/fd"))
    yield house
    house.scanner.stop()
    house.scanner.join(5)
    assert not house.scanner.alive()
    assert [t.name for t in threading.enumerate() if isinstance(t, InotifyFD)] == []
    assert len(os.listdir("/proc/self/fd")) <= handles


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


# --- the scan is the truth -------------------------------------------------------------------------------------------------------

BURST = """
import os, sys, time, threading
from pathlib import Path
from ingestd.spool.intake.scanner import FolderScanner
from ingestd.spool.intake.names import Rules
class C:
    monotonic = staticmethod(time.monotonic); now = wall = staticmethod(time.time)
s = FolderScanner(root=Path(sys.argv[1]), rules=Rules(include=("*.dcm",)), watch="auto",
                  rescan_seconds=600, clock=C(), wake=lambda: None)
s.start()
while not s.status().full_scans: time.sleep(0.01)
print("ready", s.watching, flush=True)
seen, deadline = set(), time.monotonic() + 120
while (len(seen) < 100000 or not s.status().overflows) and time.monotonic() < deadline:
    seen.update(x.path for x in s.take(1000)); seen.update(x.path for x in s.take_hinted(1000)); time.sleep(0.001)
print(len(seen), s.status().overflows, s.alive(), flush=True)
s.stop(); s.join(5)
"""


@pytest.mark.slow
def test_a_burst_that_overflows_the_kernels_queue_is_found_whole(house: House) -> None:
    """F1: the watcher sleeps while 100,000 files arrive; the overflow itself asks for the scan (the next is ten minutes off)."""
    child = subprocess.Popen(
        [sys.executable, "-c", BURST, str(house.inbox)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready True\n"
        child.send_signal(signal.SIGSTOP)
        folder = os.open(house.inbox, os.O_RDONLY)
        for number in range(100_000):
            os.close(os.open(f"{number}.dcm", os.O_WRONLY | os.O_CREAT, dir_fd=folder))
        os.close(folder)
        child.send_signal(signal.SIGCONT)
        assert child.stdout.readline() == "100000 1 True\n"


def test_a_file_is_found_however_it_comes(house: House) -> None:
    """F4: without a close event: renamed in, linked in, made nameless and linked in."""
    touch(house.outside / "r")
    touch(house.outside / "l")
    house.begin(watch="auto", rescan_seconds=600)
    house.ready()
    assert house.scanner.watching
    (house.outside / "r").rename(house.inbox / "renamed.dcm")
    os.link(house.outside / "l", house.inbox / "linked.dcm")
    nameless = os.open(house.inbox, os.O_TMPFILE | os.O_WRONLY)
    os.link(f"/proc/self/fd/{nameless}", house.inbox / "nameless.dcm", src_dir_fd=nameless)  # linkat, which follows
    os.close(nameless)
    house.until_hinted("renamed.dcm", "linked.dcm", "nameless.dcm")
    assert house.scan() == {"renamed.dcm", "linked.dcm", "nameless.dcm"}


@pytest.mark.parametrize("mode", ["poll", "auto"])
def test_a_tree_made_or_moved_in_is_found_whole(house: House, mode: str) -> None:
    """F5: `mkdir -p` filled at once, and a full tree renamed in."""
    expected = {f"a/b/c/d/e/f/{n}.dcm" for n in range(20)} | {f"moved/s{n}/i.dcm" for n in range(20)}
    for number in range(20):
        touch(house.outside / f"moved/s{number}/i.dcm")
    house.begin(watch=mode, rescan_seconds=0.2 if mode == "poll" else 600)
    house.ready()
    for number in range(20):
        touch(house.inbox / f"a/b/c/d/e/f/{number}.dcm")
    (house.outside / "moved").rename(house.inbox / "moved")
    until(lambda: house.take() | set(house.hinted) == expected)


def test_a_file_in_a_folder_renamed_inside_the_inbox_is_told_of_again(house: House) -> None:
    """F5: a study copied under a temporary name and then renamed."""
    house.begin(watch="auto", rescan_seconds=600)
    house.ready()
    touch(house.inbox / "study.tmp/a.dcm")
    (house.inbox / "study.tmp").rename(house.inbox / "study")
    house.until_hinted("study/a.dcm")
    touch(house.inbox / "study/b.dcm")
    house.until_hinted("study/b.dcm")
    assert house.scanner.alive()
    assert not [p for p in house.hinted if "tmp" in p]


@pytest.mark.parametrize("mode", ["poll", "auto"])
def test_a_root_that_is_deleted_and_made_again_is_scanned_and_watched_again(house: House, mode: str) -> None:
    """F6: no restart; a problem without a path in it meanwhile."""
    touch(house.inbox / "old.dcm")
    house.begin(watch=mode)
    house.ready()
    shutil.rmtree(house.inbox)
    until(lambda: house.scanner.status().problem is not None)
    assert house.scanner.status().problem == "the inbox is missing: make the folder or mount it"
    assert not house.scanner.watching
    house.inbox.mkdir()
    touch(house.inbox / "new.dcm")
    assert house.scan() == {"new.dcm"}
    assert house.scanner.status().problem is None
    assert house.scanner.alive()
    if mode == "auto":
        until(lambda: house.scanner.watching)
        touch(house.inbox / "newer.dcm")
        house.until_hinted("newer.dcm")


def test_another_folder_in_the_roots_place_is_watched_instead(house: House) -> None:
    """F7: the path stays, device or inode change, as with a mount over the root; no event tells of it."""
    house.begin(watch="auto")
    house.ready()
    house.inbox.rename(house.outside / "unmounted")
    house.inbox.mkdir()
    house.scan()
    until(lambda: house.scanner.watching)
    touch(house.inbox / "a.dcm")
    house.until_hinted("a.dcm")
    assert house.scan() == {"a.dcm"}


def test_an_inbox_that_is_a_link_is_a_problem(house: House) -> None:
    """F25: not even the root is reached through a link."""
    (house.outside / "real").mkdir()
    (house.outside / "link").symlink_to(house.outside / "real")
    house.begin(root=house.outside / "link")
    until(lambda: house.scanner.status().problem is not None)
    assert "is not a folder" in (house.scanner.status().problem or "")


def test_a_folder_that_cannot_be_listed_is_counted_and_the_rest_is_found(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F9: chmod is no obstacle for root, so the kernel's answer is put in here."""
    touch(house.inbox / "bad/a.dcm")
    touch(house.inbox / "good/b.dcm")
    real = os.open

    def failing(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "bad":
            raise OSError(5, "Input/output error")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", failing)
    house.begin()
    assert house.scan() == {"good/b.dcm"}
    assert house.ignored("unreadable") == 1
    assert house.scanner.status().problem is None
    monkeypatch.undo()
    assert house.scan() == {"bad/a.dcm", "good/b.dcm"}
    assert house.ignored("unreadable") == 0


def test_a_scan_that_gets_nowhere_for_a_minute_is_a_problem(
    house: House, real: Callable[..., None], tmp_path: Path
) -> None:
    """F9: a share that does not answer keeps the thread in the kernel; whoever asks is told, and told when it is over."""
    real("unshare", "nsenter")
    if os.geteuid():
        pytest.skip("needs root: it mounts a file system")
    touch(house.outside / "s/a.dcm")
    with Room() as room:
        fault = room.share(house.outside, house.inbox)
        house.begin(root=room.see(house.inbox))
        house.ready()
        fault.set("hang")
        try:
            until(lambda: house.scanner._pass is not None and house.scanner.status().problem is None)
            time.sleep(0.3)  # it is in there now, whatever pass that was
            house.scanner.status()
            house.clock.ahead = 59.0
            assert house.scanner.status().problem is None
            house.clock.ahead = 61.0
            assert house.scanner.status().problem == NO_ANSWER
            assert house.scanner.alive()
        finally:
            fault.mend()
        until(lambda: house.scanner.status().problem is None)
        assert house.scan() == {"s/a.dcm"}
        house.scanner.stop()
        house.scanner.join(5)


def test_files_and_folders_that_vanish_under_the_scan_are_nothing(house: House) -> None:
    """F24: the hand-over of 4 makes the scan stand still in the middle of the tree."""
    for number in range(60):
        touch(house.inbox / f"s{number}/a.dcm")
    house.begin(window=4)
    house.woken.wait(5)
    shutil.rmtree(house.inbox)
    house.inbox.mkdir()
    touch(house.inbox / "b.dcm")
    assert house.scan() == {"b.dcm"}
    assert house.scanner.alive()
    assert house.ignored("unreadable") == 0


# --- bounded ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_first_name_comes_before_the_scan_ends_and_the_hand_over_is_bounded(house: House) -> None:
    """F11, I8: 50,000 names; nobody takes, then somebody does. The scan goes on where it was: each name comes once."""
    touch(house.outside / "x")
    expected = {f"s{study}/{number}.dcm" for study in range(50) for number in range(1000)}
    for study in range(50):
        (house.inbox / f"s{study}").mkdir()
    for path in expected:
        os.link(house.outside / "x", house.inbox / path)
    house.begin(window=2000, rescan_seconds=600)
    assert house.woken.wait(5)
    until(lambda: len(house.scanner._found) == 2000)
    assert house.scanner.status().full_scans == 0
    assert house.scanner.status().offered == 2000
    taken: list[str] = []
    longest = 0

    def all_taken() -> bool:
        nonlocal longest
        longest = max(longest, len(house.scanner._found))
        taken.extend(s.path for s in house.scanner.take(300))
        return len(taken) == 50_000

    until(all_taken, 20)
    assert set(taken) == expected
    assert longest == 2000
    until(lambda: house.scanner.status().full_scans == 1)


def test_a_deep_tree_needs_few_open_folders_and_a_path_without_end_is_counted(house: House) -> None:
    """F11, I8: 100 levels with files, and one that goes on beyond what a path can name."""
    expected = set()
    for level in range(1, 100, 7):
        path = "/".join(["d"] * level + ["a.dcm"])
        touch(house.inbox / path)
        expected.add(path)
    folder = os.open(house.inbox, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("x" * 200, dir_fd=folder)
        below = os.open("x" * 200, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    before = len(os.listdir("/proc/self/fd"))
    house.begin(window=1)
    most = 0
    seen: set[str] = set()

    def found() -> bool:
        nonlocal most
        most = max(most, len(os.listdir("/proc/self/fd")))
        seen.update(s.path for s in house.scanner.take(1))
        return seen == expected and house.scanner.status().full_scans > 0

    until(found)
    assert most - before <= 10
    assert house.ignored("unreadable") == 1


def test_one_scan_may_be_all_there_is(house: House) -> None:
    """`drain` ships what is there at start: an endless rest, out of which it can be stopped."""
    touch(house.inbox / "a.dcm")
    house.begin(rescan_seconds=float("inf"))
    house.ready()
    assert house.take() == {"a.dcm"}
    time.sleep(0.3)
    assert house.scanner.alive()
    assert house.scanner.status().full_scans == 1


def test_stop_reaches_a_scan_that_stands_still(house: House) -> None:
    """F66"""
    for number in range(20):
        touch(house.inbox / f"{number}.dcm")
    house.begin(window=2, rescan_seconds=600)
    until(lambda: len(house.scanner._found) == 2)
    began = time.monotonic()
    house.scanner.stop()
    house.scanner.join(5)
    assert not house.scanner.alive()
    assert time.monotonic() - began < 2


def test_more_hints_than_there_is_room_for_ask_for_a_scan(house: House) -> None:
    """I8, I6: the oldest hint gives way, newest first stays."""
    house.begin(watch="events", hints=3, rescan_seconds=600)
    house.ready()
    for number in range(5):
        touch(house.inbox / f"{number}.dcm")
    until(lambda: house.scanner.status().full_scans > 1)
    assert list(house.scanner.take_hinted(10)) == [Sighting(path=f"{n}.dcm", hinted=True) for n in (4, 3, 2)]
    until(lambda: house.take() == {f"{n}.dcm" for n in range(5)})


def test_names_are_counted_to_the_end_while_nobody_takes(house: House) -> None:
    """DESIGN 5, `ingestd_ignored_files`: behind a backlog the end of a pass can be days away. Anew as often as a rescan."""
    for number in range(600):
        touch(house.inbox / f"s{number % 7}/{number}.dcm")
    for number in range(40):
        touch(house.inbox / f"t{number}/IM1")
    house.begin(window=4, rescan_seconds=0.1)
    until(lambda: house.ignored("not_dicom") == 40)
    (house.inbox / "t3/IM1").unlink()
    until(lambda: house.ignored("not_dicom") == 39)
    assert house.scanner.status().full_scans == 0
    assert house.scanner.status().offered == 4
    assert len({s.path for s in house.scanner.take(1000)}) == 4


def test_a_sighting_brings_the_inode_that_its_folder_lists(house: House) -> None:
    """F19: so another file under the name of one that waits is seen without an event."""
    touch(house.inbox / "a.dcm")
    house.begin()
    house.ready()
    (sighting,) = house.scanner.take(10)
    assert sighting.inode == (house.inbox / "a.dcm").stat().st_ino


# --- events are hints ------------------------------------------------------------------------------------------------------------


def test_a_closed_file_is_hinted_long_before_the_next_scan(house: House) -> None:
    """watch = auto: proved by the canary, which leaves nothing behind."""
    house.begin(watch="auto", rescan_seconds=600)
    house.ready()
    assert house.scanner.watching
    assert list(house.inbox.iterdir()) == []
    house.woken.clear()
    touch(house.inbox / "s/a.dcm")
    assert house.woken.wait(5)
    house.until_hinted("s/a.dcm")


def told(house: House, *names: str) -> dict[str, Close | None]:
    """What the newest event about each of these names says of an end of writing, once all have been heard of and it is calm."""
    heard: dict[str, Close | None] = {}

    def hears() -> bool:
        heard.update({sighting.path: sighting.closed for sighting in house.scanner.take_hinted(1000)})
        return set(names) <= heard.keys()

    until(hears)
    time.sleep(0.2)
    hears()
    return heard


def stamp(path: Path) -> Stamp:
    return handles.stamp_of(path.stat())


def test_a_close_and_a_rename_into_place_are_told_apart_from_the_rest(house: House) -> None:
    """F4, F18: closed after writing, renamed from a name that nobody takes; not opened, linked, moved in or renamed from
    another."""
    house.begin(watch="events", rescan_seconds=600)
    house.ready()
    inbox = house.inbox
    (inbox / "closed.dcm").write_bytes(b"x")
    (inbox / "p.part").write_bytes(b"x")
    (inbox / "p.part").rename(inbox / "renamed.dcm")
    (inbox / "first.dcm").write_bytes(b"x")
    (inbox / "first.dcm").rename(inbox / "second.dcm")
    touch(house.outside / "o.dcm")
    (house.outside / "o.dcm").rename(inbox / "moved.dcm")
    touch(house.outside / "l.dcm")
    os.link(house.outside / "l.dcm", inbox / "linked.dcm")
    with (inbox / "open.dcm").open("wb") as writer:
        writer.write(b"x")
        writer.flush()
        heard = told(house, "closed.dcm", "renamed.dcm", "second.dcm", "moved.dcm", "linked.dcm", "open.dcm")
    closes = {path: close.stamp for path, close in heard.items() if close is not None and path != "first.dcm"}
    assert closes == {path: stamp(inbox / path) for path in ("closed.dcm", "renamed.dcm")}
    assert told(house, "open.dcm")["open.dcm"] is not None


def test_what_comes_under_a_name_after_its_close_ends_what_was_heard(house: House) -> None:
    """F19: a move from outside onto it, a link in its place: the newest event counts."""
    house.begin(watch="events", rescan_seconds=600)
    house.ready()
    (house.inbox / "a.dcm").write_bytes(b"x")
    touch(house.outside / "o.dcm")
    (house.outside / "o.dcm").rename(house.inbox / "a.dcm")
    assert told(house, "a.dcm")["a.dcm"] is None


def test_a_folder_that_is_renamed_closes_none_of_its_files(house: House) -> None:
    """F5: a writer may be at work in it."""
    house.begin(watch="events", rescan_seconds=600)
    house.ready()
    touch(house.inbox / "study.tmp" / "a.dcm")  # not taken there, so a rename of the file itself would count
    (house.inbox / "study.tmp").rename(house.inbox / "study")
    assert told(house, "study/a.dcm")["study/a.dcm"] is None


def test_a_file_that_is_gone_when_its_close_is_heard_of_tells_nothing(house: House) -> None:
    """F24"""
    house.begin()
    house.scanner._hint("gone.dcm", True, "")
    assert [sighting.closed for sighting in house.scanner.take_hinted(9)] == [None]


def test_closes_are_in_doubt_until_events_come_and_when_some_were_lost(house: House) -> None:
    """F1, F2: before the watch is armed, once it ends, and at an overflow."""
    assert house.begin().doubted_at == float("inf")
    house.scanner.stop()
    house.scanner.join(5)
    scanner = house.begin(watch="auto")
    house.ready()
    armed = scanner.doubted_at
    assert house.clock.now() - 10 < armed < house.clock.now()
    house.clock.ahead = 5
    scanner._watcher._overflowed()
    assert armed + 5 <= scanner.doubted_at <= house.clock.now()
    scanner._watcher.disarm()
    assert scanner.doubted_at == float("inf")


def test_a_new_folder_asks_for_a_scan(house: House) -> None:
    """F5, I6: files can come into it before its watch is there."""
    house.begin(watch="auto", rescan_seconds=600)
    house.ready()
    (house.inbox / "s").mkdir()
    house.until_scanned(2)
    (house.outside / "t").mkdir()
    (house.outside / "t").rename(house.inbox / "t")
    house.until_scanned(3)


def test_our_own_reads_and_moves_tell_nobody(house: House) -> None:
    """F12"""
    touch(house.inbox / "s/a.dcm")
    house.begin(watch="auto", rescan_seconds=600)
    house.ready()
    scans = house.scanner.status().full_scans
    (house.inbox / "s/a.dcm").read_bytes()
    (house.inbox / "s/a.dcm").rename(house.outside / "a.dcm")
    (house.inbox / "s").rmdir()
    touch(house.inbox / "last.dcm")  # events come in order: with this one there, the others would be
    house.until_hinted("last.dcm")
    assert set(house.hinted) == {"last.dcm"}
    assert house.scanner.status().full_scans == scans


def test_hints_pass_over_what_the_scan_passes_over(house: House) -> None:
    """F21: temporary names, hidden and temporary folders, names that no pattern includes."""
    house.begin(watch="auto", rescan_seconds=600)
    house.ready()
    for name in ("a.dcm.part", ".b.dcm", ".hidden/c.dcm", "s.tmp/d.dcm", "IM0001"):
        touch(house.inbox / name)
    touch(house.inbox / "last.dcm")
    house.until_hinted("last.dcm")
    assert set(house.hinted) == {"last.dcm"}


def test_a_file_system_without_events_is_polled(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F8: here the canary's event is held back, as on a share."""
    monkeypatch.setattr(watch, "_CANARY_SECONDS", 0.05)
    monkeypatch.setattr(watch._Emitter, "queue_event", lambda self, event: None)
    house.begin(watch="auto")
    house.ready()
    assert not house.scanner.watching
    assert not [t for t in threading.enumerate() if isinstance(t, InotifyFD)]
    touch(house.inbox / "a.dcm")
    assert house.scan() == {"a.dcm"}
    assert not house.scanner.watching
    monkeypatch.undo()
    house.clock.ahead = 601.0
    until(lambda: house.scanner.watching)


def test_a_network_file_system_is_polled_without_trying(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F8: no share is to be had here, so the kind that this folder's mount is of counts as one."""
    command = ["df", "--output=fstype", str(house.inbox)]
    kind = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
    monkeypatch.setattr(mounts, "_NETWORK", {kind})
    tried: list[object] = []
    monkeypatch.setattr(watch, "_Armed", tried.append)
    house.begin(watch="auto")
    house.ready()
    assert not house.scanner.watching
    assert tried == []


LIMITED = """
import os, sys, time
from pathlib import Path
from ingestd.spool.intake.scanner import FolderScanner
from ingestd.spool.intake.names import Rules
class C:
    now = wall = staticmethod(time.time)
    def monotonic(self): return time.monotonic() * 10000  # a watch that was refused is tried at each scan
before = len(os.listdir("/proc/self/fd"))
s = FolderScanner(root=Path(sys.argv[1]), rules=Rules(include=("*.dcm",)), watch=sys.argv[2],
                  rescan_seconds=0.2, clock=C(), wake=lambda: None)
s.start()
seen, deadline = set(), time.monotonic() + 20
while (len(seen) < 10 or s.status().full_scans < 4) and time.monotonic() < deadline:
    seen.update(x.path for x in s.take(1000)); time.sleep(0.005)
print(len(seen), s.watching, s.alive(), s.status().problem)
s.stop(); s.join(5)
print(len(os.listdir("/proc/self/fd")) - before)
"""


@pytest.mark.parametrize(("limit", "most"), [("watches", 3), ("watches", 0), ("instances", 0)])
@pytest.mark.parametrize("mode", ["auto", "events"])
def test_where_a_watch_is_refused_all_is_polled_and_it_says_so(house: House, limit: str, most: int, mode: str) -> None:
    """F2: 10 folders and too few watches (ENOSPC) or no instance at all (EMFILE), in a user namespace of our own.

    It is tried again at each scan here, and leaves no open file behind.
    """
    shell = f"echo {most} > /proc/sys/user/max_inotify_{limit}"
    if subprocess.run(["unshare", "-Ur", "sh", "-c", shell], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a user namespace")
    for number in range(10):
        touch(house.inbox / f"s{number}/a.dcm")
    command = ["unshare", "-Ur", "sh", "-c", f'{shell}; exec "$@"', "sh", sys.executable, "-c", LIMITED]
    child = subprocess.run(
        [*command, str(house.inbox), mode],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert child.stderr == ""
    assert child.stdout == "10 False True None\n0\n"


def test_a_canary_that_a_crash_left_behind_is_removed(house: House) -> None:
    """Only an empty one, only in the root: a file with content is somebody's."""
    (house.inbox / f"{watch.CANARY}0badc0de").touch()
    touch(house.inbox / f"{watch.CANARY}full")
    house.begin()
    house.scan()
    assert [p.name for p in house.inbox.iterdir()] == [f"{watch.CANARY}full"]


def test_a_watch_that_is_armed_anew_is_no_news(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F7: whoever asks meanwhile is not told that there are no events here."""
    house.begin(watch="auto")
    house.ready()
    told: list[bool | None] = []
    real = watch.Watcher.disarm

    def slow(self: watch.Watcher) -> None:
        real(self)
        told.append(house.scanner.status().watching)

    monkeypatch.setattr(watch.Watcher, "disarm", slow)
    house.inbox.rename(house.outside / "unmounted")
    house.inbox.mkdir()
    until(lambda: told != [])
    monkeypatch.undo()
    assert told == [True]
    until(lambda: house.scanner.watching)


# --- nothing dies in silence -----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_scan_that_dies_says_so_and_can_be_started_again(house: House) -> None:
    """F10"""
    broken = threading.Event()

    def wake() -> None:
        if not broken.is_set():
            broken.set()
            raise RuntimeError("an error nobody thought of")

    touch(house.inbox / "a.dcm")
    house.begin(wake=wake, watch="auto")
    until(lambda: broken.is_set() and not house.scanner.alive())
    house.scanner.start()
    assert house.scanner.alive()
    assert house.scan() == {"a.dcm"}
    until(lambda: house.scanner.watching)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("thread", "method"), [(watch._Inotify, "handle_event"), (watch._Emitter, "queue_events")])
def test_a_watch_that_dies_says_so_and_can_be_started_again(
    house: House, monkeypatch: pytest.MonkeyPatch, thread: type, method: str
) -> None:
    """F10: watchdog's own threads; the scan lives on, and is not waited for."""

    def dying(*_: object) -> None:
        raise KeyError("an error in watchdog")

    house.begin(watch="auto", rescan_seconds=600)
    house.ready()
    scan = house.scanner._thread
    monkeypatch.setattr(thread, method, dying)
    touch(house.inbox / "1.dcm")
    touch(house.inbox / "2.dcm")
    until(lambda: not house.scanner.alive())
    monkeypatch.undo()
    house.scanner.start()
    assert house.scanner.alive()
    until(lambda: house.scanner.watching)
    assert house.scanner._thread is scan
    until(lambda: {"1.dcm", "2.dcm"} <= house.take())
    touch(house.inbox / "3.dcm")
    house.until_hinted("3.dcm")


def test_a_watch_whose_tables_disagree_is_still_let_go(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F10, F28: folders were moved over each other; watchdog's KeyError ended the scanner, and left its reader waiting."""

    def disagreeing(*_: object) -> None:
        raise KeyError("a path of two watches")

    house.begin(watch="events", rescan_seconds=600)
    house.ready()
    armed = house.scanner._watcher._armed
    assert armed is not None
    monkeypatch.setattr(InotifyWatchGroup, "_remove_watch_internally", disagreeing)
    house.scanner.stop()
    house.scanner.join(10)
    assert not house.scanner._thread.is_alive()
    assert [thread.is_alive() for thread in (armed.emitter, armed.fd)] == [False, False]


@pytest.mark.parametrize("error", [RuntimeError, OSError, ValueError, MemoryError])
def test_a_hint_that_fails_becomes_a_scan(house: House, monkeypatch: pytest.MonkeyPatch, error: type) -> None:
    """F10: watchdog #427; nothing dies of it."""

    def failing(self: watch._Emitter, event: object) -> None:
        raise error

    house.begin(watch="events", rescan_seconds=600)
    house.ready()
    monkeypatch.setattr(watch._Emitter, "_tell", failing)
    touch(house.inbox / "a.dcm")
    until(lambda: house.take() == {"a.dcm"})
    assert house.hinted == []
    assert house.scanner.alive()


# --- hostile names and kinds -----------------------------------------------------------------------------------------------------


def test_links_are_never_followed(house: House) -> None:
    """F25: to a file, to a folder, to itself, to an absolute path, to nothing."""
    touch(house.outside / "secret.dcm")
    touch(house.inbox / "a.dcm")
    (house.inbox / "file.dcm").symlink_to("a.dcm")
    (house.inbox / "folder").symlink_to(house.outside)
    (house.inbox / "loop.dcm").symlink_to("loop.dcm")
    (house.inbox / "up").symlink_to("..")
    (house.inbox / "absolute.dcm").symlink_to(house.outside / "secret.dcm")
    (house.inbox / "nowhere.dcm").symlink_to("nowhere")
    house.begin(watch="auto")
    assert house.scan() == {"a.dcm"}
    assert house.ignored("symlink") == 6


def test_what_is_no_file_is_counted_and_a_folder_is_a_folder_whatever_its_name(house: House) -> None:
    """F27: nothing blocks."""
    os.mkfifo(house.inbox / "fifo.dcm")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(house.inbox / "s.dcm"))
    expected = 2
    try:
        os.mknod(house.inbox / "null.dcm", 0o20600, os.makedev(1, 3))
        expected = 3
    except PermissionError:
        pass
    touch(house.inbox / "x.dcm/a.dcm")
    house.begin()
    assert house.scan() == {"x.dcm/a.dcm"}
    assert house.ignored("not_a_file") == expected
    listener.close()


@pytest.mark.parametrize("mode", ["poll", "events"])
def test_odd_names_are_names(house: House, mode: str) -> None:
    """F29: newline, ESC, invalid UTF-8, 255 bytes, leading -, right-to-left, %s, quotes, in files and folders."""
    odd = [b"a\nb", b"\x1b[2Jb", b"\xff\xfe", b"x" * 251, b"-rf", "\u202egnp".encode(), b"%s%n", b"\"'`$(a)"]
    expected = {os.fsdecode(name + b".dcm") for name in odd} | {os.fsdecode(n[:200] + b"/" + n + b".dcm") for n in odd}
    house.begin(watch=mode, rescan_seconds=600 if mode == "events" else 0.2)
    house.ready()
    for path in expected:
        touch(house.inbox / path)
    until(lambda: house.take() | set(house.hinted) >= expected)
    assert house.take() | set(house.hinted) == expected


def test_names_that_are_passed_over_are_counted_by_reason(house: House) -> None:
    """F21, `ingestd_ignored_files`: anew at each full scan, also while the hand-over is full."""
    for name in ("a.part", "~$b.dcm", ".nfs01", ".c.dcm", ".git/d.dcm", "IM1", "IM2", "s/IM3", "scout.dcm", "ok.dcm"):
        touch(house.inbox / name)
    house.begin(rules=Rules(include=("*.dcm",), exclude=("scout*",)))
    assert house.scan() == {"ok.dcm"}
    assert house.scanner.status().passed.counts == {
        "temporary": 3,
        "hidden": 2,
        "bin": 0,
        "no_pattern": 0,
        "not_dicom": 3,
        "unwritten": 0,
        "unread": 0,
        "excluded": 1,
        "not_a_file": 0,
        "symlink": 0,
        "unreadable": 0,
    }
    (house.inbox / "IM1").unlink()
    house.scan()
    assert house.ignored("not_dicom") == 2


DICOM = bytes(128) + b"DICM"


def test_dicom_files_without_a_fitting_name_are_counted_with_an_example(house: House) -> None:
    """F93: the value that the log, /readyz, the metrics and drain all read."""
    touch(house.inbox / "a.dcm")
    for name in ("s/IM1", "Thumbs.db"):
        touch(house.inbox / name)
    (house.inbox / "s/IM1").write_bytes(DICOM)
    house.begin()
    assert house.scan() == {"a.dcm"}
    passed = house.scanner.status().passed
    assert (passed.not_taken, passed.example, passed.include) == (1, "s/IM1", ("*.dcm",))


def test_behind_a_backlog_not_taken_names_are_counted_too(house: House) -> None:
    """F93: while nobody takes what is offered, the tree is walked to its end beside it."""
    for number in range(9):
        touch(house.inbox / f"{number}.dcm")
    touch(house.inbox / "z/IM1")
    (house.inbox / "z/IM1").write_bytes(DICOM)
    house.begin(window=2, rescan_seconds=0.1)
    until(lambda: house.scanner.status().passed.not_taken == 1)
    assert house.scanner.status().passed.example == "z/IM1"
    assert house.scanner.status().full_scans == 0


@pytest.mark.parametrize("mode", ["poll", "events"])
def test_dicom_takes_any_name_of_a_file_that_begins_like_it(house: House, mode: str) -> None:
    """F93, I6: by the scan, and by an event that comes before it; one that begins so only later is taken then."""
    house.begin(rules=Rules(include=("*",), dicom=True), watch=mode, rescan_seconds=600 if mode == "events" else 0.2)
    house.ready()
    (house.inbox / "IM1").write_bytes(DICOM)
    (house.inbox / "notes").write_bytes(b"text")
    until(lambda: "IM1" in house.take() | set(house.hinted))
    (house.inbox / "notes").write_bytes(DICOM)
    until(lambda: {"IM1", "notes"} == house.take() | set(house.hinted))


def test_a_hint_of_what_does_not_begin_like_dicom_is_none(house: House) -> None:
    """F93: nothing is offered but what the scan would offer."""
    house.begin(rules=Rules(include=("*",), dicom=True), watch="events", rescan_seconds=600)
    house.ready()
    (house.inbox / "notes").write_bytes(b"text")
    (house.inbox / "IM1").write_bytes(DICOM)
    house.until_hinted("IM1")
    assert set(house.hinted) == {"IM1"}


def test_a_rename_within_the_inbox_is_no_close_whatever_begins_like_dicom(house: House) -> None:
    """F19: a name that is taken tells nothing of its writer's end, and after the rename its file can't be asked."""
    house.begin(rules=Rules(include=("*",), dicom=True), watch="events", rescan_seconds=600)
    house.ready()
    (house.inbox / "IM1").write_bytes(DICOM)
    house.until_hinted("IM1")
    (house.inbox / "IM1").rename(house.inbox / "IM2")
    (house.inbox / "IM3.part").write_bytes(DICOM)
    (house.inbox / "IM3.part").rename(house.inbox / "IM3")
    closes: dict[str, bool] = {}
    until(
        lambda: (
            closes.update((s.path, s.closed is not None) for s in house.scanner.take_hinted(10)),
            {"IM2", "IM3"} <= closes.keys(),
        )[1]
    )
    assert (closes["IM2"], closes["IM3"]) == (False, True)


def test_nothing_in_a_bin_is_offered(house: House) -> None:
    """F93: by the scan or by an event; the bins are counted."""
    house.begin(watch="events", rescan_seconds=0.2)
    house.ready()
    for name in ("#recycle/b.dcm", "@Recycle/c.dcm", "$RECYCLE.BIN/S-1-5-21/$RD.dcm", "s/lost+found/e.dcm"):
        touch(house.inbox / name)
    touch(house.inbox / "z.dcm")
    house.until_hinted("z.dcm")
    assert house.scan() == {"z.dcm"}
    assert (set(house.hinted), house.ignored("bin")) == ({"z.dcm"}, 4)


def test_files_in_a_folder_that_nothing_can_be_moved_out_of_are_counted_and_not_offered(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F94: and offered by the first scan after it was mended."""
    for name in ("a.dcm", "locked/b.dcm", "locked/c.dcm", "locked/notes", "locked/open/d.dcm", "z/locked/e.dcm"):
        touch(house.inbox / name)
    locked = {(house.inbox / name).stat().st_ino for name in ("locked", "z/locked")}
    monkeypatch.setattr(tree, "mend_of", lambda folder: "mend FOLDER" if os.fstat(folder).st_ino in locked else None)
    house.begin()
    assert house.scan() == {"a.dcm", "locked/open/d.dcm"}
    found = house.scanner.status().passed.locked
    (alike,) = found.alike
    assert (alike.files, alike.folders, alike.mend, found.everything) == (3, 2, "mend FOLDER", False)
    assert alike.example in ("locked", "z/locked")
    locked.clear()
    assert len(house.scan()) == 5
    assert house.scanner.status().passed.locked.files == 0


def test_each_locked_folder_keeps_what_mends_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F94: the first one's command would mend the first alone."""
    mends: dict[int, str | None] = {house.inbox.stat().st_ino: None}
    for name, mend in (("s", "chmod"), ("t", "chattr"), ("u", "chattr")):
        touch(house.inbox / name / "a.dcm")
        mends[(house.inbox / name).stat().st_ino] = mend
    monkeypatch.setattr(tree, "mend_of", lambda folder: mends[os.fstat(folder).st_ino])
    house.begin()
    assert house.scan() == set()
    alike = {one.mend: one for one in house.scanner.status().passed.locked.alike}
    assert {mend: (one.files, one.folders) for mend, one in alike.items()} == {"chmod": (1, 1), "chattr": (2, 2)}
    assert (alike["chmod"].place, alike["chattr"].place) == ("s", "")


def test_a_folder_of_which_the_rights_are_unknown_is_unreadable(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F9, F94: neither locked nor free; nothing in it is offered, and the pass goes on."""
    for name in ("a.dcm", "s/b.dcm", "s/deep/er/c.dcm", "z/d.dcm"):
        touch(house.inbox / name)
    broken = {(house.inbox / name).stat().st_ino for name in ("s/deep/er", "z")}

    def mend_of(folder: int) -> None:
        if os.fstat(folder).st_ino in broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(tree, "mend_of", mend_of)
    house.begin()
    assert house.scan() == {"a.dcm", "s/b.dcm"}
    assert (house.ignored("unreadable"), house.scanner.status().passed.locked.files) == (2, 0)
    broken.clear()
    assert len(house.scan()) == 4


def test_everything_is_locked_where_there_is_no_other_file(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F94: what may turn /readyz red."""
    touch(house.inbox / "s/a.dcm")
    touch(house.inbox / "b.dcm")
    free = {house.inbox.stat().st_ino}
    monkeypatch.setattr(tree, "mend_of", lambda folder: None if os.fstat(folder).st_ino in free else "mend FOLDER")
    house.begin()
    house.scan()
    assert house.scanner.status().passed.locked.everything is False
    (house.inbox / "b.dcm").unlink()
    house.scan()
    assert house.scanner.status().passed.locked.everything is True
    (house.inbox / "s/a.dcm").unlink()
    house.scan()
    assert house.scanner.status().passed.locked.everything is False


def test_without_recursion_sub_folders_are_left_alone(house: House) -> None:
    """intake.recursive"""
    touch(house.inbox / "s/a.dcm")
    touch(house.inbox / "b.dcm")
    house.begin(rules=Rules(include=("*.dcm",), recursive=False), watch="auto")
    assert house.scan() == {"b.dcm"}
    assert house.ignored("not_a_file") == 1
    touch(house.inbox / "s/c.dcm")
    touch(house.inbox / "d.dcm")
    house.until_hinted("d.dcm")
    assert not [p for p in house.hinted if "/" in p]
