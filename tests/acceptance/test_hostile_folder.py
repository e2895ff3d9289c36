"""The daemon over a folder whose writers mean it ill: one test for each of F25 to F36, on a real file system, with a server that
keeps what it is sent.

The daemon runs without capabilities (fakes.powerless): where the tests run as root, files of another owner are truly another's.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import json
import os
import random
import re
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from fakes.hostile_server import Peer, Received, answer, hostile, named
from fakes.house import House, digest, held_by
from fakes.powerless import powerless
from fakes.scripted_origin import ScriptedOrigin, judges, sop_instance_uid
from fakes.studies import made

from ingestd.emulator.samples import ct_instance

pytestmark = pytest.mark.timeout(240)
MakePlain = Callable[..., "Plain"]
Property = Callable[[str, object], None]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another owner's files, device nodes, mounts")

SOMEBODY = 65534
OUTSIDE = "1.2.3.99"  # the study of what lies outside the inbox
QUICK = {
    "INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS": "1",
    "INGESTD_RETRY__BASE_SECONDS": "0.05",
    "INGESTD_LOG__LEVEL": "debug",
}

# The waits of unmovable files, 15 s and then ever longer, are made short, so that a test sees many tries.
MAIN = """
import sys
import ingestd.daemon.ending.endings as endings
{patch}
endings.growing = lambda base, attempt: 0.3
from ingestd.cli.main import main
sys.exit(main())
"""


class Plain(House):
    """A daemon without privileges. `patch`: lines of Python for it; `mounts`: a shell line in a mount namespace of its own."""

    patch = ""
    mounts = ""
    port = 0

    def command(self, *arguments: str) -> list[str]:
        program = powerless([sys.executable, "-c", MAIN.format(patch=self.patch), *arguments])
        return ["unshare", "-m", "sh", "-ec", f'{self.mounts}; exec "$@"', "sh", *program] if self.mounts else program

    def metric(self, name: str) -> float:
        """The value of a metric's line; 0 before the daemon listens."""
        with suppress(httpx.HTTPError):
            for line in httpx.get(f"http://127.0.0.1:{self.port}/metrics", trust_env=False).text.splitlines():
                if line.startswith(f"{name} "):
                    return float(line.rpartition(" ")[2])
        return 0.0

    def ignores(self, **counts: int) -> Callable[[], bool]:
        """Whether a scan has counted so many, by reason."""
        return lambda: all(
            self.metric(f'ingestd_ignored_files{{reason="{reason}"}}') == count for reason, count in counts.items()
        )

    def said(self, event: str) -> list[Mapping[str, object]]:
        """The whole lines of this event in the log so far."""
        text = self._log.read_text() if self._log.exists() else ""
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [line for line in lines if line["event"] == event]

    def megabytes(self) -> int:
        """The most resident memory so far, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) >> 10  # type: ignore[index] - every process has one

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[MakePlain]:
    """`plain(url, KEY="value")`; whatever still runs at the end is killed."""
    homes: list[Plain] = []

    def make(url: str, **environment: str) -> Plain:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        listen = {"INGESTD_ADMIN__LISTEN": f"127.0.0.1:{port}"}
        homes.append(Plain(tmp_path / f"house{len(homes)}", url, **QUICK | listen | environment))
        homes[-1].port = port
        return homes[-1]

    yield make
    for home in homes:
        home.close()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that is none of ours, with instances in it."""
    folder = tmp_path / "outside"
    for name in ("secret.dcm", "inner.dcm", "q/inner.dcm"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(secret(name))
    return folder


def secret(name: str) -> bytes:
    """secret.dcm is so small that it would be kept when it is looked at; the others are read when they are sent."""
    size = 4096 if name == "secret.dcm" else 100_000
    uid = f"{OUTSIDE}.1.{len(name)}"
    return ct_instance(study_uid=OUTSIDE, series_uid=f"{OUTSIDE}.1", sop_instance_uid=uid, size_bytes=size)


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Kind, links and size of everything in it."""
    found = {str(p.relative_to(folder)): p.lstat() for p in folder.rglob("*")}
    return {name: (stat.S_IFMT(s.st_mode), s.st_nlink, s.st_size) for name, s in found.items()}


def sent(service: ScriptedOrigin) -> list[str]:
    """The digests of what came, each as often as it came."""
    return sorted(digest(part) for part in service.arrived)


# --- F25 to F28: what is no file of ours -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_links_are_never_followed_and_are_said(plain: MakePlain, outside: Path) -> None:
    """F25: to files and folders, absolute and relative, in loops, dangling, and to our own file: none is sent, moved or removed."""
    one = made(1)
    with hostile(service := ScriptedOrigin()) as server:
        home = plain(server.url)
        (home.inbox / "study").mkdir()
        links = {
            "absolute.dcm": outside / "secret.dcm",
            "relative.dcm": "../../outside/secret.dcm",
            "passwd.dcm": "/etc/passwd",
            "loop.dcm": "loop.dcm",
            "dangling.dcm": "/nowhere/at/all",
            "own.dcm": "one.dcm",
            "folder": outside,
            "study/up": "..",
            "root": "/",
        }
        for name, target in links.items():
            (home.inbox / name).symlink_to(target)
        before = tree(outside)
        home.drop("one.dcm", one.content)
        home.start()
        home.waits(home.ended(1), 60)
        home.waits(home.ignores(symlink=len(links)), 60)
        (home.inbox / "late.dcm").symlink_to(outside / "secret.dcm")  # a hint brings it
        home.waits(home.ignores(symlink=len(links) + 1), 60)
        assert home.stop() == 0
    assert sent(service) == [digest(one.content)]
    assert all((home.inbox / name).is_symlink() for name in links)
    assert (tree(outside), home.count()["failed"]) == (before, 0)
    assert [(line["reason"], line["files"]) for line in home.said("ignored")][-1] == ("symlink", len(links) + 1)


@pytest.mark.slow
@needs_root
@pytest.mark.parametrize("readable", [True, False])
def test_a_hard_link_to_anothers_file_is_refused(plain: MakePlain, outside: Path, readable: bool) -> None:
    """F26: not sent, and never taken away from its owner; a link of the folder's own owner is sent after its time."""
    one = made(1)
    with hostile(service := ScriptedOrigin()) as server:
        home = plain(server.url)
        victim = outside / "secret.dcm"
        os.chown(victim, SOMEBODY, SOMEBODY)
        victim.chmod(0o644 if readable else 0o600)
        os.link(victim, home.inbox / "stolen.dcm")
        own = home.root / "own.dcm"
        own.write_bytes(one.content)
        os.link(own, home.inbox / "own.dcm")
        home.start()
        home.waits(lambda: len(home.files(home.done)) == 1, 60)
        if readable:
            home.waits(lambda: len(home.files(home.failed)) == 1, 60)
        else:
            home.waits(lambda: any("may not be read" in str(line["problem"]) for line in home.said("waiting")), 60)
        assert home.stop() == 0
    assert sent(service) == [digest(one.content)]
    assert [reason["reason"] for reason in home.reasons().values()] == ["hard_link"] * readable
    assert victim.read_bytes() == secret("secret.dcm")
    assert victim.stat().st_nlink == 2
    assert own.read_bytes() == one.content


@pytest.mark.slow
def test_what_is_no_regular_file_is_counted_and_never_opened(plain: MakePlain, tmp_path: Path) -> None:
    """F27: FIFOs with and without a writer, a socket, devices; a folder named like a file is a folder."""
    one, two = made(1), made(2)
    with hostile(service := ScriptedOrigin()) as server, socket.socket(socket.AF_UNIX) as listener:
        home = plain(server.url)
        os.mkfifo(home.inbox / "fifo.dcm")
        os.mkfifo(home.inbox / "written.dcm")
        writer = os.open(home.inbox / "written.dcm", os.O_RDWR | os.O_NONBLOCK)
        os.write(writer, one.content)
        here = os.open(home.inbox, os.O_RDONLY | os.O_DIRECTORY)
        listener.bind(f"/proc/self/fd/{here}/socket.dcm")
        os.close(here)
        odd = 3
        if os.geteuid() == 0:
            for name, minor in (("null.dcm", 3), ("zero.dcm", 5)):
                os.mknod(home.inbox / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
                odd += 1
        home.drop("folder.dcm/inner.dcm", two.content)
        home.start()
        home.waits(home.ended(1), 60)
        home.waits(home.ignores(not_a_file=odd), 60)
        pipe = os.open(home.inbox / "fifo.dcm", os.O_PATH)
        blocked = threading.Thread(target=lambda: os.close(os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY)))
        blocked.start()  # it gets through when somebody reads
        (home.inbox / "fifo.dcm").rename(home.inbox / "hint.dcm")
        os.mkfifo(home.inbox / "late.dcm")
        home.waits(home.ignores(not_a_file=odd + 1), 60)
        assert blocked.is_alive()
        os.close(os.open(home.inbox / "hint.dcm", os.O_RDONLY))
        blocked.join(10)
        os.close(pipe)
        assert home.stop() == 0
        assert os.read(writer, 1 << 16) == one.content
        os.close(writer)
    assert sent(service) == [digest(two.content)]
    assert [p.parent.name for p in home.files(home.done)] == ["folder.dcm"]
    assert home.count()["failed"] == 0


WIDENED = """
import random, time
from ingestd.spool.disk import handles
def widened(step):
    def slowly(*given, **more):
        time.sleep(random.random() * 0.003)
        try:
            return step(*given, **more)
        finally:
            time.sleep(random.random() * 0.003)
    return slowly
for name in ("open_below", "open_file", "lstat", "move"):
    setattr(handles, name, widened(getattr(handles, name)))
"""


class Swapper:
    """Threads that put other things under the same names as fast as they can. `made` holds all bytes of ours."""

    def __init__(self, home: House, outside: Path) -> None:
        self._inbox, self._outside = home.inbox, outside
        self._staging = home.root / "staging"
        self._staging.mkdir()
        self._numbers = itertools.count(1)
        self._over = threading.Event()
        self.made: set[str] = set()
        self.swaps = 0
        self._threads = [
            threading.Thread(target=self._repeat, args=(step, name))
            for step, name in ((self._file, "a"), (self._file, "b"), (self._folder, "d"), (self._parent, "p"))
        ]

    def run(self, seconds: float) -> None:
        for thread in self._threads:
            thread.start()
        self._over.wait(seconds)
        self._over.set()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()

    def _repeat(self, step: Callable[[str], None], name: str) -> None:
        while not self._over.is_set():
            with suppress(FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError):
                step(name)

    def _rests(self) -> None:
        self.swaps += 1
        time.sleep(random.random() * (0.15 if self.swaps % 16 == 0 else 0.01))  # now and then it is left in peace

    def _new(self, target: Path) -> None:
        number = next(self._numbers)
        one = made(number, size=4096 if number % 2 else 100_000)
        part = self._staging / f"{number}"
        part.write_bytes(one.content)
        self.made.add(digest(one.content))
        part.rename(target)

    def _file(self, name: str) -> None:
        """A file, a link, a FIFO, a folder, in turn."""
        target = self._inbox / f"{name}.dcm"
        self._new(target)
        self._rests()
        link = self._staging / f"{name}.link"
        link.symlink_to(self._outside / "secret.dcm")
        link.rename(target)
        self._rests()
        fifo = self._staging / f"{name}.fifo"
        os.mkfifo(fifo)
        fifo.rename(target)
        target.unlink()
        target.mkdir()
        self._rests()
        target.rmdir()

    def _folder(self, name: str) -> None:
        """A folder and a link to another that has a file of the same name."""
        self._swap(self._inbox / name, self._outside, "inner.dcm")

    def _parent(self, name: str) -> None:
        """The same, one level up."""
        self._swap(self._inbox / name, self._outside, "q/inner.dcm")

    def _swap(self, folder: Path, elsewhere: Path, below: str) -> None:
        aside = self._staging / f"{folder.name}.aside"
        if not folder.exists():
            folder.mkdir()
        (folder / below).parent.mkdir(exist_ok=True)
        self._new(folder / below)
        self._rests()
        folder.rename(aside)
        folder.symlink_to(elsewhere)
        self._rests()
        folder.unlink()
        aside.rename(folder)
        self._rests()


@pytest.mark.slow
def test_what_is_swapped_in_between_is_never_sent_and_never_moved(
    plain: MakePlain, outside: Path, record_property: Property
) -> None:
    """F28, I4: files, folders and their parents are swapped against links and other kinds in a loop, between any two steps."""
    seconds = float(os.environ.get("INGESTD_TEST_SWAP_SECONDS", "6"))
    with hostile(service := ScriptedOrigin()) as server:
        home = plain(server.url, INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS="600")
        home.patch = WIDENED
        swapper = Swapper(home, outside)
        before = tree(outside)
        home.start()
        home.waits(lambda: home.metric("ingestd_last_scan_timestamp_seconds") > 0, 60)
        swapper.run(seconds)
        for left in home.inbox.iterdir():
            if left.is_symlink() or not (left.is_dir() or left.is_file()):
                left.unlink()
        last = made(99_999)
        home.drop("last.dcm", last.content)
        home.waits(lambda: any(p.name == "last.dcm" for p in home.files(home.done)), 60)
        home.waits(lambda: not home.files(home.inbox), 60)
        assert home.stop() == 0
    ours = swapper.made | {digest(last.content)}
    arrived = sent(service)
    record_property("swaps, POSTs, instances", (swapper.swaps, service.count("store"), len(arrived)))
    print(f"{swapper.swaps} swaps, {service.count('store')} POSTs, {len(arrived)} instances, {home.count()}")
    assert len(arrived) > 10
    assert set(arrived) <= ours
    assert not any(OUTSIDE.encode() in part for part in service.arrived)
    for folder in (home.done, home.failed):
        assert {stat.S_IFMT(p.lstat().st_mode) for p in folder.rglob("*")} <= {stat.S_IFREG, stat.S_IFDIR}
        assert set(home.digests(folder)) <= ours
    assert tree(outside) == before
    assert not home.said("thread_died") + home.said("job_died") + home.said("thread_restarted")


# --- F29, F30: names -------------------------------------------------------------------------------------------------------------

NAMES = [
    'a\nlevel=error event="INJECTED"',
    "b\r\nX-INJECTED: yes\r\n\r\n--INJECTED--\r\n",
    "\x1b[2J\x1b]0;INJECTED\x07",
    os.fsdecode(b"INJECTED\xff\xfe\xe9"),
    "-rf INJECTED",
    "\u202emcd.INJECTED\u2028\x85",
    "%s%n%(path)s{0}{path}{date} INJECTED",
    "INJECTED 'quotes\" back\\slash `id` $(id) ;&|<>*?",
    "INJECTED" + "x" * (255 - 8 - 4),
    "INJECTED " + "\u00e4" * 121,
]


@pytest.mark.slow
@pytest.mark.parametrize("style", ["json", "console"])
def test_a_name_of_any_bytes_is_a_name(plain: MakePlain, style: str) -> None:
    """F29: sent and filed under it, one line in the log, and none of it in a request."""
    received: list[Received] = []

    def script(peer: Peer) -> None:
        while True:
            received.append(peer.request())
            body = received[-1].body
            uids = re.findall(rb"\x08\x00\x18\x00UI..([0-9.]+)", body, re.DOTALL)
            peer.send(answer(200, named(*(u.decode() for u in uids)), content_type="application/dicom+json"))

    with hostile(script) as server:
        home = plain(server.url, INGESTD_LOG__PATHS="name", INGESTD_LOG__FORMAT=style)
        good = {f"{name}.dcm": made(n).content for n, name in enumerate(NAMES, start=1)}
        bad = {f"bad/{name}.dcm": f"{n} no DICOM".encode() for n, name in enumerate(NAMES)}
        nested = {f"{name}/{name}.dcm": made(100 + n).content for n, name in enumerate(NAMES)}
        for name, content in (good | bad | nested).items():
            path = os.fsencode(home.inbox / name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            part = os.fsencode(home.inbox / ".part")
            Path(os.fsdecode(part)).write_bytes(content)
            os.rename(part, path)
        home.start()
        home.waits(home.ended(3 * len(NAMES)), 60)
        assert home.stop() == 0
    (day,) = home.done.iterdir()
    assert {str(p.relative_to(day)): p.read_bytes() for p in home.files(home.done)} == good | nested
    reasons = {os.fsencode(path) for path in home.reasons()}
    assert reasons == {os.fsencode(name) for name in bad}
    assert home.digests(home.failed) == sorted(digest(content) for content in bad.values())
    assert all(b"INJECTED" not in r.body and "INJECTED" not in f"{r.line} {r.headers}" for r in received)
    text = (home.root / "log.jsonl").read_bytes().decode("utf-8")
    assert len(text.splitlines()) == text.count("\n")
    lines = [line for line in text.splitlines() if "quarantined" in line and "INJECTED" in line]
    assert len(lines) == len(NAMES)
    assert all(line.isprintable() for line in text.splitlines())
    listed = home.run("failed", "list", "--root", str(home.root))
    assert listed.returncode == 0
    assert all(line.isprintable() for line in listed.stdout.splitlines())


def collide(home: Plain) -> None:
    """The same names again and again, in other letter cases too, for both ends."""
    names = ("scan.dcm", "SCAN.DCM", "Study/a.dcm", "STUDY/A.DCM", "study/a.dcm")
    contents = [made(n).content for n in range(1, 21)]
    for n, content in enumerate(contents, start=1):
        home.drop(names[n % len(names)], content)
        home.waits(home.ended(n), 60)
    assert home.count() == {"inbox": 0, "done": 10, "failed": 10}
    assert sorted(home.digests(home.done) + home.digests(home.failed)) == sorted(map(digest, contents))
    pairs = {p.name.removesuffix(".reason.json") for p in home.failed.rglob("*.reason.json")}
    assert pairs == {p.name for p in home.files(home.failed)}


REFUSES_HALF = judges(dict.fromkeys(range(1, 11), 43264))


def test_nothing_in_done_and_failed_is_overwritten_or_followed(plain: MakePlain, outside: Path) -> None:
    """F30: a taken name gets a suffix; a folder, a link or a foreign reason file in the way stays as it is."""
    with hostile(ScriptedOrigin(store=[REFUSES_HALF])) as server:
        home = plain(server.url)
        day = time.strftime("%Y-%m-%d", time.gmtime())
        (home.done / day / "scan.dcm").mkdir(parents=True)
        (home.done / day / "study").symlink_to(outside)
        home.failed.mkdir()
        (home.failed / "scan.dcm").symlink_to(outside / "new.dcm")
        (home.failed / "SCAN.DCM.reason.json").mkdir()
        (home.failed / "study").write_bytes(b"in the way")
        before = tree(outside)
        home.start()
        names = ("scan.dcm", "SCAN.DCM", "study/a.dcm", "study/a.dcm")
        for n, name in enumerate(names, start=1):
            for number in (n, 10 + n):  # refused, stored
                home.drop(name, made(number).content)
                home.waits(lambda: not home.files(home.inbox), 60)
        assert home.stop() == 0
    assert tree(outside) == before
    assert (home.done / day / "scan.dcm").is_dir()
    assert (home.failed / "scan.dcm").is_symlink()
    assert (home.failed / "SCAN.DCM.reason.json").is_dir()
    assert (home.failed / "study").read_bytes() == b"in the way"
    found = {str(p.relative_to(home.done / day)) for p in home.files(home.done)}
    assert found == {"scan~1.dcm", "SCAN.DCM", "study~1/a.dcm", "study~1/a~1.dcm"}
    beside = {str(p.relative_to(home.failed)) for p in home.files(home.failed)}
    assert beside == {"scan~1.dcm", "SCAN~1.DCM", "study", "study~1/a.dcm", "study~1/a~1.dcm"}


def test_many_files_of_one_name_are_all_kept(plain: MakePlain) -> None:
    """F30: in done/ and in failed/, with names that differ in nothing or in their case only."""
    with hostile(ScriptedOrigin(store=[REFUSES_HALF])) as server:
        home = plain(server.url)
        home.start()
        collide(home)
        assert home.stop() == 0


@needs_root
def test_a_file_system_that_knows_no_case_keeps_them_all(
    plain: MakePlain, case_insensitive: Callable[[Path], None]
) -> None:
    """F30: on ext4 with folded case, or vfat."""
    with hostile(ScriptedOrigin(store=[REFUSES_HALF])) as server:
        home = plain(server.url)
        case_insensitive(home.root)
        home.inbox.mkdir()
        home.start()
        collide(home)
        assert home.stop() == 0


@pytest.fixture
def case_insensitive(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Mounts one over a folder; a visible skip where this kernel has none, which no package can mend."""
    mounted: list[Path] = []

    def mount(folder: Path) -> None:
        image = tmp_path / "image"
        tries = (
            (["mkfs.ext4", "-q", "-F", "-O", "casefold", "-E", "encoding=utf8,root_owner=0:0"], "loop"),
            (["mkfs.vfat", "-F", "32"], "loop,check=r"),
        )
        for make, options in tries:
            image.unlink(missing_ok=True)
            with open(image, "wb") as file:
                file.truncate(64 << 20)
            with suppress(FileNotFoundError):
                subprocess.run([*make, image], capture_output=True, check=False)
                done = subprocess.run(["mount", "-o", options, image, folder], capture_output=True, check=False)
                if done.returncode == 0:
                    mounted.append(folder)
                    if "casefold" in make:
                        set_flags(folder, CASEFOLD)
                    return
        pytest.skip("this kernel mounts no case-insensitive file system (CONFIG_UNICODE, CONFIG_VFAT_FS)")

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


# --- F31: what can't be read or moved ---------------------------------------------------------------------------------------------

IMMUTABLE, APPEND_ONLY, CASEFOLD = 0x10, 0x20, 0x40000000  # ioctl_iflags(2)


def set_flags(path: Path, flags: int) -> None:
    """As chattr does. Skips where the file system or this user can't."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(handle, 0x40086602, struct.pack("l", flags))
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EPERM, errno.EOPNOTSUPP):
            pytest.skip(f"no file attributes here: {error.strerror}")
        raise
    finally:
        os.close(handle)


Stubborn = Callable[[House, str, bytes], Callable[[], None]]
"""Puts a file into the inbox that can be read and not be moved; the value mends it."""


def immutable(home: House, name: str, content: bytes) -> Callable[[], None]:
    file = home.drop(f"immutable/{name}", content)
    set_flags(file, IMMUTABLE)
    return lambda: set_flags(file, 0)


def append_only(home: House, name: str, content: bytes) -> Callable[[], None]:
    folder = home.drop(f"append-only/{name}", content).parent
    set_flags(folder, APPEND_ONLY)
    return lambda: set_flags(folder, 0)


def sticky(home: House, name: str, content: bytes) -> Callable[[], None]:
    file = home.drop(f"sticky/{name}", content)
    for path, mode in ((file, 0o644), (file.parent, 0o1777)):
        os.chown(path, SOMEBODY, SOMEBODY)
        path.chmod(mode)
    return lambda: os.chown(file, os.geteuid(), os.getegid())


def read_only(home: House, name: str, content: bytes) -> Callable[[], None]:
    folder = home.drop(f"read-only/{name}", content).parent
    folder.chmod(0o555)
    return lambda: folder.chmod(0o755)


def mounted(home: House, name: str, content: bytes) -> Callable[[], None]:
    """Within the daemon's mount namespace the folder is a read-only mount; it is another one after a restart."""
    home.drop(f"mounted/{name}", content)
    folder = home.inbox / "mounted"
    home.mounts = f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}"  # type: ignore[attr-defined] - Plain

    def mend() -> None:
        home.mounts = ""  # type: ignore[attr-defined] - Plain

    return mend


STUBBORN: tuple[Stubborn, ...] = (read_only, immutable, append_only, sticky, mounted)
NO_RENAMEAT2 = """
from ingestd.spool.disk import handles
handles._renameat2 = None
"""


@pytest.mark.slow
@needs_root
@pytest.mark.parametrize("patch", ["", NO_RENAMEAT2], ids=["renameat2", "link and unlink, as on NFS"])
def test_what_cannot_be_moved_is_sent_once_and_said(plain: MakePlain, patch: str, record_property: Property) -> None:
    """F31, F94: +i, +a, sticky: tried again and again, after a restart too, one POST each; read-only folder and mount: none before
    they are mended."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace can be had here")
    mends: list[Callable[[], None]] = []
    files = [made(n) for n in range(1, len(STUBBORN) + 1)]
    free, rejected = made(77), made(78)
    try:
        with hostile(service := ScriptedOrigin(store=[judges({78: 43264})])) as server:
            home = plain(server.url)
            home.patch = patch
            home.done.mkdir()
            mends += [make(home, one.name, one.content) for make, one in zip(STUBBORN, files, strict=True)]
            (home.inbox / "read-only").chmod(0o755)
            home.drop(f"read-only/{rejected.name}", rejected.content)
            home.drop("read-only/text.dcm", b"no DICOM")
            (home.inbox / "read-only").chmod(0o555)
            home.drop(free.name, free.content)
            home.start()
            unmovable = 'ingestd_pending_files{stage="unmovable"}'
            home.waits(lambda: home.metric(unmovable) == len(STUBBORN) + 2, 60)
            until = time.monotonic() + 3
            home.waits(lambda: time.monotonic() > until, 10)
            counted = {
                n: sum(sop_instance_uid(p).endswith(f".{n}") for p in service.arrived) for n in (*range(1, 6), 77)
            }
            refused = sum(sop_instance_uid(part).endswith(".78") for part in service.arrived)
            (said, *_) = home.said("unmovable")
            assert (said["level"], "allow the service's user" in str(said["problem"])) == ("error", True)
            assert [p.name for p in home.files(home.done)] == [free.name]
            assert home.stop() == 0

            mends[-1]()  # the mount goes with its namespace
            home.start()
            home.waits(lambda: len(home.files(home.done)) == 2, 60)
            for mend in mends[:-1]:
                mend()
            home.waits(lambda: len(home.files(home.done)) == len(files) + 1, 60)
            home.waits(lambda: len(home.files(home.failed)) == 2, 60)
            assert home.stop() == 0
    finally:
        for mend in mends:
            with suppress(FileNotFoundError):
                mend()
    print(f"POSTs by instance in 3 s: {counted}; of the rejected one: {refused}")
    record_property("POSTs by instance", counted)
    assert counted == {1: 0, 2: 1, 3: 1, 4: 1, 5: 0, 77: 1}
    assert refused == 0  # in the read-only folder
    assert home.digests(home.done) == sorted(digest(f.content) for f in [*files, free])
    assert {r["reason"] for r in home.reasons().values()} == {"rejected", "not_dicom"}
    once = [
        sop_instance_uid(p) for p in service.arrived if p not in (files[1].content, files[3].content, rejected.content)
    ]
    assert len(once) == len(
        set(once)
    )  # mending by chattr or chown makes another ctime: those two may have been sent again


@pytest.mark.slow
@needs_root
def test_what_cannot_be_read_waits_and_is_said(plain: MakePlain) -> None:
    """F31: a file, a folder of another owner: never sent, never failed, said with what to do; taken once it can be read."""
    one, two, free = made(1), made(2), made(3)
    with hostile(service := ScriptedOrigin()) as server:
        home = plain(server.url)
        file, folder = home.drop("closed.dcm", one.content), home.drop("closed/two.dcm", two.content).parent
        for path, mode in ((file, 0o600), (folder, 0o700)):
            os.chown(path, SOMEBODY, SOMEBODY)
            path.chmod(mode)
        home.drop("free.dcm", free.content)
        home.start()
        home.waits(home.ended(1), 60)
        home.waits(home.ignores(unreadable=1), 60)
        home.waits(lambda: bool(home.said("waiting")) and bool(home.said("ignored")), 60)
        until = time.monotonic() + 2  # incomplete_timeout_seconds is 1
        home.waits(lambda: time.monotonic() > until, 10)
        home.waits(lambda: home.metric('ingestd_pending_files{stage="waiting"}') == 1, 10)
        assert sent(service) == [digest(free.content)]
        for path in (file, folder):
            os.chown(path, os.geteuid(), os.getegid())
        home.waits(home.ended(3), 60)
        assert home.stop() == 0
    assert "let the service's user read it" in str(home.said("waiting")[0]["problem"])
    assert (home.said("ignored")[0]["reason"], home.count()["failed"]) == ("unreadable", 0)
    assert sent(service) == sorted(digest(f.content) for f in (one, two, free))


# --- F32 to F34: what costs -------------------------------------------------------------------------------------------------------


def short(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


def long(group: int, element: int, vr: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHI", group, element, vr, 0, length)


WHOLE = made(50).content
META = WHOLE[: WHOLE.index(b"\x08\x00\x16\x00UI")]
DATA = WHOLE[len(META) :]
IDENTITY = DATA[: DATA.index(b"\x28\x00\x02\x00US")]


def deflated_meta() -> bytes:
    old, new = b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x16\x001.2.840.10008.1.2.1.99"
    assert old in META
    length = struct.unpack_from("<I", META, 140)[0] + 2
    return META[:140] + struct.pack("<I", length) + META[144:].replace(old, new)


def bomb(block: bytes, count: int) -> bytes:
    """`count` times `block`, deflated, within one value that never ends."""
    first, again = zlib.compressobj(9, zlib.DEFLATED, -15), zlib.compressobj(9, zlib.DEFLATED, -15)
    start = first.compress(IDENTITY + long(0x0029, 0x1010, b"OB", 0xFFFFFFF0)) + first.flush(zlib.Z_FULL_FLUSH)
    packed = again.compress(block) + again.flush(zlib.Z_FULL_FLUSH)
    return deflated_meta() + start + packed * count


def nest(levels: int) -> bytes:
    level = long(0x0040, 0xA730, b"SQ", 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return META + IDENTITY + level * levels


BOMBS: Mapping[str, tuple[Callable[[], bytes], str]] = {
    "deflated 8 GiB": (lambda: bomb(bytes(1 << 20), 8192), "bounds"),
    "deflated 2 GiB within the ratio": (lambda: bomb(os.urandom(8 << 10) + bytes(1016 << 10), 2048), "bounds"),
    "a value of 4 GiB": (lambda: META + IDENTITY + long(0x7FE0, 0x0010, b"OW", 0xFFFFFFFE) + bytes(100), "truncated"),
    "100,000 sequences deep": (lambda: nest(100_000), "bounds"),
    "2 million elements": (lambda: META + IDENTITY + short(0x0029, 0x1010, b"LO", b"") * 2_000_000, "bounds"),
    "2 million items": (
        lambda: (
            META
            + IDENTITY
            + long(0x0029, 0x1010, b"SQ", 0xFFFFFFFF)
            + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 2_000_000
        ),
        "bounds",
    ),
    "a file meta group of 4 GiB": (lambda: META[:140] + b"\xff\xff\xff\xff" + META[144:-30], "truncated"),
}


@pytest.mark.slow
def test_what_would_cost_without_bounds_is_bounded_and_ends_in_failed(
    plain: MakePlain, record_property: Property
) -> None:
    """F32, I8: CPU and memory of the whole daemon, each with its reason; what comes among them is sent at once."""
    with hostile(service := ScriptedOrigin()) as server:
        home = plain(server.url)
        home.drop("first.dcm", made(1).content)
        home.start()
        home.waits(home.ended(1), 60)
        memory, cpu = home.megabytes(), home.cpu_seconds()
        for name, (make, _) in BOMBS.items():
            home.drop(f"{name}.dcm", make())
        home.drop("among.dcm", made(2).content)
        home.waits(lambda: any(p.name == "among.dcm" for p in home.files(home.done)), 60)
        home.waits(home.ended(2 + len(BOMBS)), 60)
        memory, cpu = home.megabytes() - memory, home.cpu_seconds() - cpu
        assert home.stop() == 0
    print(f"{len(BOMBS)} bombs: {memory} MiB more, {cpu:.1f} CPU seconds")
    record_property("MiB more, CPU seconds", (memory, cpu))
    assert memory < 64
    assert cpu < 60
    reasons = {path.removesuffix(".dcm"): reason["reason"] for path, reason in home.reasons().items()}
    assert reasons == {name: reason for name, (_, reason) in BOMBS.items()}
    assert len(service.arrived) == 2


def uid(tag: int, value: bytes) -> bytes:
    return short(tag >> 16, tag & 0xFFFF, b"UI", value + b"\0" * (len(value) % 2))


def with_uid(tag: int, value: bytes) -> bytes:
    """made(50) with another value of a UID."""
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, b"UI")
    at = DATA.index(head)
    (length,) = struct.unpack_from("<H", DATA, at + 6)
    return META + DATA[:at] + (uid(tag, value) if value else b"") + DATA[at + 8 + length :]


DICOMDIR = META.replace(b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.840.10008.1.3.10\0\0\0\0\0\0") + DATA
REFUSED: Mapping[str, tuple[bytes, str]] = {
    "text": (b"Dear colleague,\r\n" * 20, "not_dicom"),
    "empty": (b"", "not_dicom"),
    "a program": (b"MZ" + os.urandom(4000), "not_dicom"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(4000), "not_dicom"),
    "DICM and noise": (bytes(128) + b"DICM" + b"noise" * 100, "not_dicom"),
    "no study UID": (with_uid(0x0020000D, b""), "no_uid"),
    "no series UID": (with_uid(0x0020000E, b""), "no_uid"),
    "no SOP UID": (with_uid(0x00080018, b""), "no_uid"),
    "an empty study UID": (
        META + DATA.replace(b"\x20\x00\x0d\x00UI", b"\x20\x00\x0d\x00UI\0\0\x21\0\x0d\0UI", 1),
        "no_uid",
    ),
    "a study UID that climbs": (with_uid(0x0020000D, b"../../../etc/passwd"), "no_uid"),
    "a SOP UID of two dots": (with_uid(0x00080018, b".."), "no_uid"),
    "a SOP UID with a query": (with_uid(0x00080018, b"1.2?x=/../"), "no_uid"),
    "a series UID with a line": (with_uid(0x0020000E, b"1.2\r\nX: y"), "no_uid"),
    "a SOP UID of 129 digits": (with_uid(0x00080018, b"1." * 64 + b"1"), "no_uid"),
    "a study UID with a blank in it": (with_uid(0x0020000D, b"1.2 3"), "no_uid"),
    "a data set without a header": (DATA, "no_header"),
    "a data set behind a preamble": (bytes(128) + b"DICM" + DATA, "no_header"),
    "DICOMDIR": (DICOMDIR, "dicomdir"),
}
TAKEN: Mapping[str, bytes] = {
    "meta names another": META + DATA.replace(b".1.50", b".1.51"),
    "preamble of a program": b"MZ\x90".ljust(128, b"\1") + made(52).content[128:],
    "preamble of an ELF": b"\x7fELF".ljust(128, b"\2") + made(53).content[128:],
    "preamble of a TIFF": b"II*\0".ljust(128, b"\3") + made(54).content[128:],
    "a study UID of letters": with_uid(0x0020000D, b"454c62fc-2d72-44c6-9521-1183db563b06"),
    "a SOP UID of 66 digits": with_uid(0x00080018, b"1." * 33),
    "a SOP UID behind a blank": with_uid(0x00080018, b" 1.2.3.7"),
}


def test_each_bad_file_fails_with_its_reason_and_the_rest_goes_on(plain: MakePlain) -> None:
    """F33, F95, I3, I4: no DICOM, no header, UIDs that are missing or lead elsewhere, DICOMDIR; what lies or is odd is noted."""
    with hostile(service := ScriptedOrigin()) as server:
        home = plain(server.url)
        for name, (content, _) in REFUSED.items():
            home.drop(f"{name}.dcm", content)
        for name, content in TAKEN.items():
            home.drop(f"{name}.dcm", content)
        home.start()
        home.waits(home.ended(len(REFUSED) + len(TAKEN)), 60)
        assert home.stop() == 0
    reasons = {path.removesuffix(".dcm"): reason for path, reason in home.reasons().items()}
    assert {name: r["reason"] for name, r in reasons.items()} == {name: reason for name, (_, reason) in REFUSED.items()}
    assert all(r["text"] and r["what_to_do"] for r in reasons.values())
    assert sent(service) == sorted(digest(content) for content in TAKEN.values())
    assert home.digests(home.done) == sent(service)
    assert {line.partition("?")[0] for line in {a.line for a in service.asked}} == {"POST /v2/studies HTTP/1.1"}
    notes = " ".join(str(line["problem"]) for line in home.said("noted"))
    assert "not that of the data set" in notes
    assert "begins like a program" in notes


@pytest.mark.slow
def test_a_file_of_gigabytes_is_streamed(plain: MakePlain, record_property: Property) -> None:
    """F34, I8: constant memory from the look to the move. INGESTD_TEST_LARGE_GIB sets the size (5 is the catalogue's)."""
    size = int(float(os.environ.get("INGESTD_TEST_LARGE_GIB", "0.25")) * (1 << 30))
    arrived: list[tuple[int, str]] = []
    limits = {"INGESTD_SERVICE__MAX_REQUEST_BYTES": str(2 * size), "INGESTD_INTAKE__HOLES": "zeros"}  # it is sparse
    home = plain("http://127.0.0.1:9", **limits)
    large = home.inbox / ".large.part"
    pieces = WHOLE[: WHOLE.index(b"\xe0\x7f\x10\x00")]
    with open(large, "wb") as file:  # native pixel data can't have more than 4 GiB; what is private before it can
        file.write(pieces[: len(META) + len(IDENTITY)])
        left = size
        while left:
            length = min(left, 3 << 30)
            file.write(long(0x0021, 0x1010, b"OB", length))
            file.seek(length, os.SEEK_CUR)
            left -= length
        file.write(WHOLE[len(META) + len(IDENTITY) :])
    whole = large.stat().st_size

    def discard(peer: Peer) -> None:
        while True:
            _, headers = peer.head()
            length = int(headers["content-length"])
            if length < 1000:
                peer.body(length)
                peer.send(answer(204))
                continue
            total, digests = 0, hashlib.sha256()
            while total < length:
                piece = peer.body(min(1 << 20, length - total))
                total += len(piece)
                digests.update(piece)
            arrived.append((total, digests.hexdigest()))
            peer.send(answer(200, named(made(50).ids[2]), content_type="application/dicom+json"))

    with hostile(discard) as server:
        home.url = server.url
        home.start()
        home.waits(lambda: home.metric("ingestd_last_scan_timestamp_seconds") > 0, 60)
        memory, cpu, began = home.megabytes(), home.cpu_seconds(), time.monotonic()
        large.rename(home.inbox / "large.dcm")
        home.waits(home.ended(1), 100)
        memory, cpu, seconds = home.megabytes() - memory, home.cpu_seconds() - cpu, time.monotonic() - began
        assert home.stop() == 0
    print(f"{size / (1 << 30):.1f} GiB: {memory} MiB more, {cpu:.1f} CPU seconds, {seconds:.1f} s")
    record_property("MiB more, CPU seconds, seconds", (memory, cpu, seconds))
    assert memory < 32
    assert [p.stat().st_size for p in home.files(home.done)] == [whole]
    ((total, _),) = arrived
    assert 0 < total - whole < 1000


# --- F35, F36: what is in the file ------------------------------------------------------------------------------------------------


def test_a_boundary_inside_a_file_splits_nothing(plain: MakePlain) -> None:
    """F35, I4: a file that holds the boundary of the request before, and a forged part behind it, arrives as one."""
    requests: list[Received] = []

    def script(peer: Peer) -> None:
        while True:
            requests.append(peer.request())
            if len(requests[-1].body) < 100:
                peer.send(answer(204))
                continue
            uids = [sop_instance_uid(part) for part in split(requests[-1])]
            peer.send(answer(200, named(*uids), content_type="application/dicom+json"))

    with hostile(script) as server:
        home = plain(server.url)
        home.start()
        home.drop("one.dcm", made(1).content)
        home.waits(home.ended(1), 60)
        known = boundary(requests[0])
        forged = b"\r\n--" + known + b"\r\nContent-Type: application/dicom\r\n\r\n" + made(66).content
        ending = b"\r\n--" + known + b"--\r\n"
        trap = made(2).content
        trap += struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, len(forged + ending) * 2) + (forged + ending) * 2
        home.drop("trap.dcm", trap)
        home.waits(home.ended(2), 60)
        assert home.stop() == 0
    stores = [request for request in requests if len(request.body) > 100]
    assert [list(split(request)) for request in stores] == [[made(1).content], [trap]]
    boundaries = [boundary(request) for request in requests]
    assert len(set(boundaries)) == len(boundaries)
    assert home.count() == {"inbox": 0, "done": 2, "failed": 0}


def boundary(request: Received) -> bytes:
    return request.content_type.rpartition("boundary=")[2].encode()


def split(request: Received) -> Iterator[bytes]:
    """The parts, as RFC 2046 5.1.1 has them."""
    mark = b"\r\n--" + boundary(request)
    first, *rest = (b"\r\n" + request.body).split(mark)
    assert first == b""
    assert rest.pop() == b"--\r\n"
    for part in rest:
        head, _, content = part.partition(b"\r\n\r\n")
        assert head == b"\r\nContent-Type: application/dicom"
        yield content


@pytest.mark.slow
def test_other_bytes_under_the_same_uids_are_kept_and_reported(plain: MakePlain, service: str) -> None:
    """F36, I2: in one burst, later, and after a restart: the first is stored, each other one is a conflict; nothing is lost."""
    one = made(1)
    others = [one.content.replace(b"Anony^Mous", f"Other^Nam{n}".encode()) for n in range(3)]
    home = plain(service)
    home.drop("a.dcm", one.content)
    home.start()
    home.waits(home.ended(1), 60)
    home.drop("b.dcm", others[0])
    home.drop("c/a.dcm", others[1])
    home.drop("same.dcm", one.content)
    home.waits(home.ended(4), 60)
    assert home.stop() == 0
    home.drop("a.dcm", others[2])
    home.start()
    home.waits(home.ended(5), 60)
    assert home.stop() == 0
    assert home.digests(home.done) == [digest(one.content)] * 2
    assert home.digests(home.failed) == sorted(digest(content) for content in others)
    assert [r["reason"] for r in home.reasons().values()] == ["conflict"] * 3
    assert [line["reason"] for line in home.said("quarantined")] == ["conflict"] * 3
    held = held_by(service, one.ids)
    assert held is not None
    assert held[128:] == one.content[128:]


def test_two_files_of_the_same_uids_at_once_are_never_sent_together(plain: MakePlain, service: str) -> None:
    """F36: dropped in one burst, whichever comes first is stored and the other one is in failed/."""
    home = plain(service)
    pairs = [(made(n).content, made(n).content.replace(b"Anony^Mous", b"Other^Name")) for n in range(1, 11)]
    for n, (first, second) in enumerate(pairs):
        home.drop(f"{n}-first.dcm", first)
        home.drop(f"{n}-second.dcm", second)
    home.start()
    home.waits(home.ended(20), 60)
    assert home.stop() == 0
    kept = sorted(home.digests(home.done) + home.digests(home.failed))
    assert kept == sorted(digest(content) for pair in pairs for content in pair)
    assert (home.count()["done"], {r["reason"] for r in home.reasons().values()}) == (10, {"conflict"})


def test_drain_says_which_folders_it_could_not_list(house: Callable[..., House], service: str) -> None:
    """I1, F31: what is in them is not shipped, so exit code 0 would be a lie."""
    home = house(service)
    home.drop("open/1.dcm", made(1).content)
    home.drop("closed/2.dcm", made(2).content)
    (home.inbox / "closed").chmod(0)
    try:
        drained = subprocess.run(
            powerless(home.command("drain", "--root", str(home.root), "--url", service)),
            env=home.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        (home.inbox / "closed").chmod(0o755)
    assert (drained.returncode, len(home.files(home.done))) == (75, 1)
    assert "1 of its folders could not be listed" in drained.stderr
