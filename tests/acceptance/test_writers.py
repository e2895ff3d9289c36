"""Every kind of writer, against the daemon: whatever it does on the way, one final version is sent, and it is the whole one.

All writers of a table write at the same time into one daemon's inbox; each row then asks what became of its file. The service keeps
every part that ever arrived, so a version that was sent too early can't hide.
"""

from __future__ import annotations

import itertools
import mmap
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes.hostile_server import hostile
from fakes.house import House
from fakes.scripted_origin import ScriptedOrigin, Turn, good, says, sop_instance_uid
from fakes.studies import Made, made

QUIET = 0.4  # seconds; the daemon's intake.quiet_seconds
PAUSE = 1.2  # three times as long
TIMEOUT = 6  # intake.incomplete_timeout_seconds, longer than any pause here

SETTINGS = {
    "INGESTD_INTAKE__QUIET_SECONDS": str(QUIET),
    "INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS": str(TIMEOUT),
    "INGESTD_INTAKE__RESCAN_SECONDS": "0.5",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What a writer has: the file to deliver, where it goes, a folder beside the inbox and one on another file system, and where
    to leave a descriptor that it does not close."""

    one: Made
    inbox: Path
    beside: Path
    elsewhere: Path
    left_open: list[int]

    @property
    def target(self) -> Path:
        return self.inbox / self.one.name

    @property
    def content(self) -> bytes:
        return self.one.content

    def source(self, folder: Path) -> Path:
        """The whole file, in `folder`."""
        path = folder / self.one.name
        path.write_bytes(self.content)
        return path


Writer = Callable[[Desk], None]


# --- writers that hold the file open ---------------------------------------------------------------------------------------------


def one_byte_at_a_time(desk: Desk) -> None:
    """F14, with the seconds scaled to milliseconds: 400 writes in the header, 400 in the pixels, all of them seen."""
    with open(desk.target, "wb", buffering=0) as out:
        for at in range(400):
            out.write(desk.content[at : at + 1])
            time.sleep(0.002)
        out.write(desk.content[400:-400])
        for at in range(400, 0, -1):
            out.write(desk.content[-at : len(desk.content) - at + 1])
            time.sleep(0.002)


def pausing(desk: Desk) -> None:
    """F15: longer than the quiet period, in the header, before the pixel data and in it."""
    marks = [0, 128, 300, desk.content.rindex(b"\xe0\x7f\x10\x00"), 3000, len(desk.content)]
    with open(desk.target, "wb", buffering=0) as out:
        for begin, end in itertools.pairwise(marks):
            out.write(desk.content[begin:end])
            time.sleep(PAUSE)


def pausing_where_no_walk_can_tell(desk: Desk) -> None:
    """F15: a report has no pixel data that could be missing; between two of its elements it looks whole."""
    with open(desk.target, "wb", buffering=0) as out:
        out.write(desk.content[: -len(LAST_ELEMENT)])
        time.sleep(2 * PAUSE)
        out.write(LAST_ELEMENT)


def preallocating(desk: Desk) -> None:
    """F16: the size is right from the beginning, then header and pixels come, with pauses."""
    with open(desk.target, "wb", buffering=0) as out:
        os.posix_fallocate(out.fileno(), 0, len(desk.content))
        time.sleep(PAUSE)
        out.write(desk.content[:2000])
        time.sleep(PAUSE)
        out.write(desk.content[2000:])


def preallocating_and_coming_back(desk: Desk) -> None:
    """F16, F18: closed in between."""
    with open(desk.target, "wb") as out:
        os.posix_fallocate(out.fileno(), 0, len(desk.content))
    time.sleep(PAUSE)
    with open(desk.target, "r+b") as out:
        out.write(desk.content)


def sparse(desk: Desk) -> None:
    """F16: the end first, as parallel downloads do."""
    with open(desk.target, "wb", buffering=0) as out:
        out.truncate(len(desk.content))
        for begin in (3000, 1000, 0):
            time.sleep(PAUSE)
            out.seek(begin)
            out.write(desk.content[begin : {3000: None, 1000: 3000, 0: 1000}[begin]])


def through_a_mapping(desk: Desk) -> None:
    """F16: no write is ever made, and the descriptor is closed before the first byte."""
    with open(desk.target, "w+b") as out:
        out.truncate(len(desk.content))
        mapped = mmap.mmap(out.fileno(), len(desk.content))
    half = len(desk.content) // 2
    mapped[:half] = desk.content[:half]
    time.sleep(PAUSE)
    mapped[half:] = desk.content[half:]
    mapped.close()


def never_closing(desk: Desk) -> None:
    """Some programs keep open what they wrote; taken when incomplete_timeout_seconds are over."""
    out = os.open(desk.target, os.O_WRONLY | os.O_CREAT)
    desk.left_open.append(out)
    os.write(out, desk.content)


# --- writers that come back ------------------------------------------------------------------------------------------------------


def open_append_close(desk: Desk) -> None:
    """F18: five times, with pauses longer than the quiet period; nothing is held open meanwhile."""
    fifth = len(desk.content) // 5 + 1
    for at in range(0, len(desk.content), fifth):
        with open(desk.target, "ab") as out:
            out.write(desk.content[at : at + fifth])
        time.sleep(PAUSE / 2)


def beginning_again(desk: Desk) -> None:
    """F15, F19: half a copy, and then the copy anew from its beginning in the same file."""
    desk.target.write_bytes(desk.content[:2500])
    time.sleep(PAUSE)
    desk.target.write_bytes(desk.content)


def replacing_half_a_copy(desk: Desk) -> None:
    """F19: half a copy waits; the whole file is renamed over it."""
    desk.target.write_bytes(desk.content[:2500])
    time.sleep(PAUSE)
    desk.source(desk.beside).rename(desk.target)


# --- copies ----------------------------------------------------------------------------------------------------------------------


def copying_with_its_times(desk: Desk) -> None:
    """F20: cp -p; the modification time is of another century."""
    source = desk.source(desk.elsewhere)
    os.utime(source, (915148800, 915148800))
    subprocess.run(["cp", "-p", source, desk.target], check=True)


def slowly_and_with_old_times(desk: Desk) -> None:
    """F20: the times are old at every moment, as a copy program may keep them; age by mtime would take it at once."""
    with open(desk.target, "wb", buffering=0) as out:
        for begin in range(0, len(desk.content), 1024):
            out.write(desk.content[begin : begin + 1024])
            os.utime(out.fileno(), (915148800, 915148800))
            time.sleep(PAUSE / 2)


def from_the_future(desk: Desk) -> None:
    """F13: a writer whose clock is wrong."""
    with open(desk.target, "wb", buffering=0) as out:
        out.write(desk.content[:1000])
        os.utime(out.fileno(), (4102444800, 4102444800))
        time.sleep(PAUSE)
        out.write(desk.content[1000:])
        os.utime(out.fileno(), (4102444800, 4102444800))


def from_1970(desk: Desk) -> None:
    """F13"""
    desk.target.write_bytes(desk.content)
    os.utime(desk.target, (0, 0))


def moving_across_file_systems(desk: Desk) -> None:
    """mv: a copy under the final name, then the removal of the source."""
    subprocess.run(["mv", desk.source(desk.elsewhere), desk.target], check=True)


def rsync(desk: Desk) -> None:
    """Under `.name.XXXXXX`, then renamed."""
    subprocess.run(["rsync", "-a", desk.source(desk.elsewhere), f"{desk.inbox}/"], check=True)


def rsync_in_place(desk: Desk) -> None:
    """Over half a copy that was left behind, at 3 KiB a second."""
    desk.target.write_bytes(desk.content[:1000])
    command = ["rsync", "-a", "--inplace", "--ignore-times", "--no-whole-file", "--bwlimit=3"]
    subprocess.run([*command, desk.source(desk.elsewhere), desk.target], check=True)


# --- the file is whole when its name comes ---------------------------------------------------------------------------------------


def renaming_in(desk: Desk) -> None:
    """F4"""
    desk.source(desk.beside).rename(desk.target)


def renaming_in_place(desk: Desk) -> None:
    """F4, F21: a temporary name, written slowly, then the final one."""
    part = desk.target.with_name(desk.target.name + ".part")
    with open(part, "wb", buffering=0) as out:
        out.write(desk.content[:2000])
        time.sleep(PAUSE)
        out.write(desk.content[2000:])
    part.rename(desk.target)


def linking_in(desk: Desk) -> None:
    """F4: link and unlink is how some programs rename."""
    source = desk.source(desk.beside)
    os.link(source, desk.target)
    time.sleep(PAUSE)
    source.unlink()


def linking_in_for_good(desk: Desk) -> None:
    """F4, F26: the other name stays; taken when incomplete_timeout_seconds are over, since the folder's owner owns it."""
    os.link(desk.source(desk.beside), desk.target)


def nameless_then_linked(desk: Desk) -> None:
    """F4: O_TMPFILE and linkat; neither a create nor a close event under its name."""
    nameless = os.open(desk.inbox, os.O_TMPFILE | os.O_WRONLY)
    try:
        os.write(nameless, desk.content)
        os.link(f"/proc/self/fd/{nameless}", desk.target, src_dir_fd=nameless)  # linkat, which follows
    finally:
        os.close(nameless)


def making_folders_first(desk: Desk) -> None:
    """F5: mkdir -p, and the file at once."""
    folder = desk.inbox / desk.one.name.removesuffix(".dcm") / "a" / "b" / "c"
    folder.mkdir(parents=True)
    (folder / desk.one.name).write_bytes(desk.content)


def moving_a_folder_in(desk: Desk) -> None:
    """F5"""
    folder = desk.beside / desk.one.name.removesuffix(".dcm")
    (folder / "series").mkdir(parents=True)
    desk.source(folder / "series")
    folder.rename(desk.inbox / folder.name)


def a_folder_under_a_temporary_name(desk: Desk) -> None:
    """F5, F21: a study that is copied as `name.tmp` and renamed when all of it is there."""
    folder = desk.inbox / desk.one.name.replace(".dcm", ".tmp")
    folder.mkdir()
    (folder / desk.one.name).write_bytes(desk.content[:2000])
    time.sleep(PAUSE)
    (folder / desk.one.name).write_bytes(desk.content)
    folder.rename(folder.with_suffix(""))


WRITERS: tuple[Writer, ...] = (
    one_byte_at_a_time,
    pausing,
    pausing_where_no_walk_can_tell,
    preallocating,
    preallocating_and_coming_back,
    sparse,
    through_a_mapping,
    never_closing,
    open_append_close,
    beginning_again,
    replacing_half_a_copy,
    copying_with_its_times,
    slowly_and_with_old_times,
    from_the_future,
    from_1970,
    moving_across_file_systems,
    rsync,
    rsync_in_place,
    renaming_in,
    renaming_in_place,
    linking_in,
    linking_in_for_good,
    nameless_then_linked,
    making_folders_first,
    moving_a_folder_in,
    a_folder_under_a_temporary_name,
)
TOUCHING_AFTERWARDS = (from_1970, rsync, rsync_in_place)
LAST_ELEMENT = b"\x40\x00\x10\xa0CS\x08\x00CONTAINS"  # (0040,A010) RelationshipType


def whole(writer: Writer, number: int) -> Made:
    one = made(number)
    if writer is not pausing_where_no_walk_can_tell:
        return Made(name=f"{writer.__name__}.dcm", content=one.content, ids=one.ids)
    ct, report = (
        b"1.2.840.10008.5.1.4.1.1.2\0",
        b"1.2.840.10008.5.1.4.1.1.88.33\0"[:26],
    )  # same length, so no length changes
    header = one.content[: one.content.index(b"\x28\x00\x02\x00US")].replace(ct, report[:25] + b"\0")
    return Made(name=f"{writer.__name__}.dcm", content=header + LAST_ELEMENT, ids=one.ids)


@dataclass(slots=True)
class Writing:
    """A daemon whose inbox all writers have written into."""

    home: House
    service: ScriptedOrigin
    files: dict[str, Made] = field(default_factory=dict)

    def arrived(self, one: Made) -> list[bytes]:
        return [part for part in self.service.arrived if sop_instance_uid(part) == one.ids[2]]


@contextmanager
def writing_into(watch: str) -> Iterator[Writing]:
    """A daemon that found its files so (intake.watch), when all of them have ended."""
    service = ScriptedOrigin()
    left_open: list[int] = []
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        with hostile(service) as server:
            home = House(Path(root), server.url, **SETTINGS, INGESTD_INTAKE__WATCH=watch)
            beside = home.root / "beside"
            beside.mkdir()
            found = Writing(home, service)
            try:
                home.start()
                home.waits((home.root / "state" / "journal.sqlite").exists, 60)
                with ThreadPoolExecutor(len(WRITERS)) as pool:
                    jobs = []
                    for number, writer in enumerate(WRITERS, start=1):
                        one = found.files[writer.__name__] = whole(writer, number)
                        desk = Desk(
                            one=one, inbox=home.inbox, beside=beside, elsewhere=Path(elsewhere), left_open=left_open
                        )
                        jobs.append(pool.submit(writer, desk))
                    for job in jobs:
                        job.result(60)
                home.waits(home.ended(len(WRITERS)), 90)
                yield found
                assert home.stop() == 0
            finally:
                home.close()
                for handle in left_open:
                    os.close(handle)


@pytest.fixture(scope="module")
def writings(real: Callable[..., None]) -> Iterator[Mapping[str, Writing]]:
    """In `auto` an event tells of most steps; in `poll` nothing does. Both at the same time: nearly all of it is waiting."""
    real("rsync")
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        managers = {watch: writing_into(watch) for watch in ("auto", "poll")}
        jobs = {watch: pool.submit(manager.__enter__) for watch, manager in managers.items()}
        wait(jobs.values())
        for watch, job in jobs.items():
            if job.exception() is None:
                stack.push(managers[watch])
        yield {watch: job.result() for watch, job in jobs.items()}


@pytest.fixture(scope="module", params=["auto", "poll"])
def writing(request: pytest.FixtureRequest, writings: Mapping[str, Writing]) -> Writing:
    return writings[request.param]


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_one_final_version_is_sent_and_filed(writing: Writing, writer: Writer) -> None:
    """I1, I2, F4, F5, F13 to F18, F20: equal bytes at the service and in done/, sent once, nothing left in the inbox.

    Whoever sets a file's times after closing it may find it under way: it is another state of the file, and sent again.
    """
    one = writing.files[writer.__name__]
    done = [path.read_bytes() for path in writing.home.files(writing.home.done) if path.name == one.name]
    assert done == [one.content]
    arrived = writing.arrived(one)
    assert set(arrived) == {one.content}
    assert len(arrived) <= (2 if writer in TOUCHING_AFTERWARDS else 1)
    assert not [path for path in writing.home.files(writing.home.inbox) if path.name == one.name]
    assert writing.home.reasons() == {}


# --- the same name, another file (F19) -------------------------------------------------------------------------------------------


class Gate:
    """A service that reads all requests and answers none until the test says so."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def __call__(self, turn: Turn) -> None:
        turn.parts()
        self.opened.wait(60)
        good(turn)


def rename_over(target: Path, content: bytes) -> None:
    part = target.with_name(".new.part")
    part.write_bytes(content)
    part.rename(target)


def rewrite(target: Path, content: bytes) -> None:
    target.write_bytes(content)


HELD, READ = 4096, 300_000  # bytes: held in memory; read while it is sent


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_files_replaced_under_their_names_are_sent_too(house: Callable[..., House], when: str) -> None:
    """I1, I4, F19: the new version is never moved unsent, and nothing is moved that was not sent; small and large, by a rename and
    in place."""
    cases = list(itertools.product((rename_over, rewrite), (HELD, READ)))
    first = [made(n, size=size) for n, (_, size) in enumerate(cases, start=1)]
    second = [made(n, size=size) for n, (_, size) in enumerate(cases, start=11)]
    gate = Gate()
    service = ScriptedOrigin(store={"before": [says(503, retry_after="1")], "during": [gate], "after": [good]}[when])
    with hostile(service) as server:
        home = house(server.url, **SETTINGS)
        for one in first:
            home.drop(one.name, one.content)
        home.start()
        if when == "before":
            home.waits(lambda: service.count("store") > 0, 60)
        elif when == "during":
            home.waits(lambda: len(service.arrived) == len(first), 60)
        else:
            home.waits(home.ended(len(first)), 60)
        for (replace, _), old, new in zip(cases, first, second, strict=True):
            replace(home.inbox / old.name, new.content)
        service.heal()
        gate.opened.set()
        expected = sorted(one.content for one in ([*first, *second] if when == "after" else second))
        home.waits(lambda: service.named >= {one.ids[2] for one in second} and home.ended(len(expected))(), 60)
        assert home.stop() == 0
    assert sorted(path.read_bytes() for path in home.files(home.done)) == expected
    assert (home.files(home.inbox), home.files(home.failed)) == ([], [])
    assert [service.arrived.count(one.content) for one in second] == [1] * len(second)
    assert set(service.arrived) <= {one.content for one in (*first, *second)}


def test_a_new_version_of_the_same_instance_is_a_conflict_and_both_are_kept(
    house: Callable[..., House], service: str
) -> None:
    """F19, F36, I2: the name is the same, the UIDs are, the bytes are not; never "already stored"."""
    one = made(1)
    other = one.content.replace(b"Anony^Mous", b"Other^Name")
    home = house(service, **SETTINGS)
    home.start()
    home.drop("image.dcm", one.content)
    home.waits(home.ended(1), 60)
    home.drop("image.dcm", other)
    home.waits(home.ended(2), 60)
    assert home.stop() == 0
    assert [path.read_bytes() for path in home.files(home.done)] == [one.content]
    assert [path.read_bytes() for path in home.files(home.failed)] == [other]
    assert home.reasons()["image.dcm"]["reason"] == "conflict"


def test_files_that_vanish_at_any_step_are_nobodys_business(house: Callable[..., House]) -> None:
    """F24, I1: somebody takes every second file away again, before, while and after it is looked at; the rest is delivered."""
    service = ScriptedOrigin()
    with hostile(service) as server:
        home = house(server.url, **SETTINGS, INGESTD_BATCH__MAX_INSTANCES="5")
        home.start()
        kept = []
        for number in range(1, 201):
            one = made(number)
            target = home.drop(one.name, one.content)
            if number % 2:
                kept.append(one)
                continue
            time.sleep(number / 20_000)
            target.unlink(missing_ok=True)
        home.waits(lambda: {one.ids[2] for one in kept} <= service.named and not home.files(home.inbox), 60)
        home.waits(lambda: {p.read_bytes() for p in home.files(home.done)} >= {one.content for one in kept}, 60)
        assert home.stop() == 0
    assert home.files(home.failed) == []
    assert not [line for line in home.lines() if line["event"] in ("unmovable", "job_died", "thread_died")]
