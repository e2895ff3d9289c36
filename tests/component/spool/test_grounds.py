"""What real file systems tell about the files on them, and what a look makes of it (DESIGN 2, settle; facts about writers)."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import disks
from fakes.disks import KINDS, NOBODY, WITH_CAP_LEASE, run
from fakes.ops_fakes import FakeClock

from ingestd.core.model import Ground, Lease, Look, Room
from ingestd.spool.disk import extents
from ingestd.spool.disk.lease import ignore_sigio
from ingestd.spool.intake import canary
from ingestd.spool.intake.inbox import LEASES_DENIED, InboxFolder

SIZE = 2 << 20
CONTENT = bytes(range(256)) * (SIZE // 256)
HALF = SIZE // 2
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p  # Python's own keeps a second handle open


@pytest.fixture(autouse=True, scope="module")
def sigio_ignored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGIO)
    ignore_sigio()
    yield
    signal.signal(signal.SIGIO, before)


@pytest.fixture(scope="module", params=KINDS)
def disk(request: pytest.FixtureRequest, real: Any) -> Iterator[Path]:
    """A fresh file system of each kind."""
    real("mount", "umount", "mkfs.ext4", "mkfs.ext2", "mkfs.xfs", "mkfs.btrfs")
    if os.geteuid():
        pytest.skip("needs root: it mounts file systems")
    with disks.disk(request.param) as folder:
        yield folder


@pytest.fixture
def kind(disk: Path, request: pytest.FixtureRequest) -> str:
    found: str = request.node.callspec.params["disk"]
    return found


@pytest.fixture
def root(disk: Path, request: pytest.FixtureRequest) -> Path:
    """An inbox of the test's own on that disk."""
    folder = disk / str(abs(hash(request.node.nodeid)))
    folder.mkdir()
    folder.chmod(0o777)
    return folder


EXPECTED = {
    "ext4": {"leases": True, "holes": True, "unwritten": True, "extents": True},
    "xfs": {"leases": True, "holes": True, "unwritten": True, "extents": True},
    "btrfs": {"leases": True, "holes": True, "unwritten": True, "extents": True},
    "tmpfs": {"leases": True, "holes": True, "unwritten": True},
    "ext2": {"leases": True, "holes": True, "blocks": True},
    "overlay": {"holes": True, "unwritten": True, "extents": True},
}


def test_what_a_file_system_can_tell_is_found_out_once(root: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DESIGN 2: by a canary, which leaves nothing behind; a granted lease is no proof on overlayfs, and ext2 shows no claimed
    room."""
    inbox = InboxFolder(root)
    assert inbox.ground() == Ground(kind=kind, ctimes=True, complete=True, **EXPECTED[kind])
    assert os.listdir(root) == []
    assert (inbox.leases_problem is None) is (kind != "overlay")
    monkeypatch.setattr(canary, "ask", lambda _: pytest.fail("asked twice"))
    inbox.ground()


# --- what was never written ------------------------------------------------------------------------------------------------------


def fallocate(handle: int, mode: int = 0) -> None:
    """fallocate(2); as Samba's `strict allocate` and `rsync --preallocate` claim room."""
    if LIBC.fallocate(handle, mode, ctypes.c_long(0), ctypes.c_long(SIZE)):
        pytest.skip("this file system claims no room")


def claims_by_ftruncate(handle: int) -> None:
    os.ftruncate(handle, SIZE)
    os.pwrite(handle, CONTENT[:HALF], 0)


def claims_by_fallocate(handle: int) -> None:
    fallocate(handle)
    os.pwrite(handle, CONTENT[:HALF], 0)


def writes_the_end_first(handle: int) -> None:
    os.pwrite(handle, CONTENT[-1:], SIZE - 1)
    os.pwrite(handle, CONTENT[:HALF], 0)


def leaves_the_middle_out(handle: int) -> None:
    fallocate(handle)
    os.pwrite(handle, CONTENT[:65536], 0)
    os.pwrite(handle, CONTENT[-65536:], SIZE - 65536)


def writes(handle: int) -> None:
    os.pwrite(handle, CONTENT, 0)


def writes_zeros(handle: int) -> None:
    os.pwrite(handle, CONTENT[:HALF] + bytes(HALF), 0)


def claims_and_fills(handle: int) -> None:
    fallocate(handle)
    for at in reversed(range(0, SIZE, 65536)):
        os.pwrite(handle, CONTENT[at : at + 65536], at)


def truncates_and_fills(handle: int) -> None:
    os.ftruncate(handle, SIZE)
    for at in reversed(range(0, SIZE, 65536)):
        os.pwrite(handle, CONTENT[at : at + 65536], at)


def claims_more_than_it_counts(handle: int) -> None:
    fallocate(handle, 1)  # FALLOC_FL_KEEP_SIZE
    os.pwrite(handle, CONTENT[:HALF], 0)


UNFILLED = (claims_by_ftruncate, claims_by_fallocate, writes_the_end_first, leaves_the_middle_out)
FILLED = (writes, writes_zeros, claims_and_fills, truncates_and_fills, claims_more_than_it_counts)


def written(root: Path, writer: Callable[[int], None]) -> Path:
    path = root / "a.dcm"
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        writer(handle)
    finally:
        os.close(handle)
    return path


@pytest.mark.parametrize("reader", ["nobody", "a scanner", "a scanner after a sync"])
@pytest.mark.parametrize("writer", UNFILLED, ids=lambda writer: writer.__name__)
def test_what_was_never_written_is_seen_whoever_reads_it(
    root: Path, writer: Callable[[int], None], reader: str
) -> None:
    """F16: a dead writer's part. A virus scanner's read makes SEEK_HOLE blind to an unwritten extent, the extent map tells."""
    path = written(root, writer)
    if reader == "a scanner after a sync":
        os.sync()
    if reader != "nobody":
        path.read_bytes()
    look = InboxFolder(root).look("a.dcm")
    assert look.room is Room.UNFILLED
    assert HALF - 8192 <= look.unfilled <= SIZE  # it may count what is not written back yet
    os.sync()
    assert HALF - 8192 <= InboxFolder(root).look("a.dcm").unfilled <= SIZE - 2 * 65536


@pytest.mark.parametrize("synced", [False, True])
@pytest.mark.parametrize("writer", FILLED, ids=lambda writer: writer.__name__)
def test_what_was_written_is_never_called_unfilled(
    root: Path, kind: str, writer: Callable[[int], None], synced: bool
) -> None:
    """I3: fresh from the writer, where the extent map calls what is on its way to the disk unwritten; zeros are bytes too."""
    path = written(root, writer)
    if synced:
        os.sync()
    inbox = InboxFolder(root)
    for _ in range(3):
        look = inbox.look("a.dcm")
        assert (look.room, look.unfilled) == (Room.UNKNOWN if kind == "ext2" else Room.FILLED, 0)
        path.read_bytes()


def test_what_is_being_written_back_is_never_called_unfilled(root: Path, kind: str) -> None:
    """I3: a third of all looks said so on ext4, until the file was synced."""
    inbox = InboxFolder(root)
    stop = threading.Event()

    def syncing() -> None:
        while not stop.wait(0.002):
            os.sync()

    thread = threading.Thread(target=syncing)
    thread.start()
    try:
        for number in range(60):
            handle = os.open(root / "a.dcm", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            (writes if number % 2 and kind != "ext2" else truncates_and_fills)(handle)
            os.close(handle)
            assert inbox.look("a.dcm").room is not Room.UNFILLED
    finally:
        stop.set()
        thread.join()


def test_where_nothing_shows_claimed_room_the_end_of_the_file_is_read(root: Path, kind: str) -> None:
    """F16: on ext2 glibc's posix_fallocate writes zeros; 64 KiB of them at the end say that a writer may have died there."""
    path = root / "a.dcm"
    for content, ends in ((CONTENT[:-65536] + bytes(65536), True), (CONTENT[:-65537] + b"x" + bytes(65536), True)):
        path.write_bytes(content)
        assert InboxFolder(root).examine("a.dcm")[1].ends_in_zeros is (ends and kind == "ext2")
    path.write_bytes(CONTENT[:-65536] + b"x" + bytes(65535))
    assert not InboxFolder(root).examine("a.dcm")[1].ends_in_zeros
    path.write_bytes(bytes(65535))
    assert not InboxFolder(root).examine("a.dcm")[1].ends_in_zeros


def test_a_file_of_many_extents_is_asked_about_to_its_end(root: Path, kind: str) -> None:
    """F16: the answer comes by the page; every second block written, and the last one not."""
    if kind in ("tmpfs", "ext2"):
        pytest.skip("no unwritten extents here, or no map of them")
    path = root / "a.dcm"
    blocks = 1500
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    LIBC.fallocate(handle, 0, ctypes.c_long(0), ctypes.c_long(blocks * 8192))
    for at in range(0, blocks * 8192, 8192):
        os.pwrite(handle, CONTENT[:4096], at)
    os.fsync(handle)
    assert extents.unwritten(handle, blocks * 8192) == blocks * 4096
    assert extents.unwritten(handle, 8192) == 4096
    os.close(handle)
    assert InboxFolder(root).look("a.dcm").unfilled == blocks * 4096


def test_a_file_system_without_a_map_gives_no_answer() -> None:
    """F16: tmpfs and FUSE: which is not a no."""
    handle = os.memfd_create("mapless")
    try:
        assert extents.has_hole(handle, 0) is None  # an empty file has no place to ask about
        os.write(handle, CONTENT)
        assert extents.unwritten(handle, SIZE) is None
        assert extents.has_hole(handle, SIZE) is False
        assert os.lseek(handle, 0, os.SEEK_CUR) == 0
    finally:
        os.close(handle)


# --- who else has it open --------------------------------------------------------------------------------------------------------


def lease(root: Path) -> Lease:
    return InboxFolder(root).look("a.dcm").lease


def test_a_writer_is_seen_whatever_it_does(root: Path, kind: str) -> None:
    """F14 to F16, F18: open, renamed while open, linked in while open, mapped and closed; a reader is none."""
    path = written(root, writes)
    with path.open("rb"):
        assert lease(root) is Lease.GRANTED
    with path.open("r+b") as file:
        assert lease(root) is Lease.REFUSED
        path.rename(root / "b.dcm")
        os.link(root / "b.dcm", path)
        assert lease(root) is Lease.REFUSED
        shared = LIBC.mmap(
            None, SIZE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, file.fileno(), ctypes.c_long(0)
        )
    (root / "b.dcm").unlink()
    assert lease(root) is (Lease.GRANTED if kind == "overlay" else Lease.REFUSED)
    LIBC.munmap(ctypes.c_void_p(shared), ctypes.c_size_t(SIZE))
    assert lease(root) is Lease.GRANTED


LOOK = """
import sys
from pathlib import Path
from ingestd.spool.intake.inbox import InboxFolder
from ingestd.spool.disk.lease import ignore_sigio
ignore_sigio()
inbox = InboxFolder(Path(sys.argv[1]))
inbox.ground()
for name in sys.argv[2:]:
    look = inbox.look(name)
    print(look.lease.name, look.room.name, look.ground.leases)
print(inbox.leases_problem)
"""


def looked_at_by(user: tuple[str, ...], root: Path, *names: str) -> list[str]:
    done = run(*user, sys.executable, "-c", LOOK, root, *names)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def entered(disk: Path) -> Iterator[None]:
    with disks.entered(disk):
        yield


def test_another_users_file_is_an_unknown_and_said(root: Path, kind: str, entered: None, real: Any) -> None:
    """DESIGN 2: without CAP_LEASE nothing is known of another owner's file, which is another answer than nobody; with it all is."""
    real("setpriv")
    path = written(root, writes)
    path.chmod(0o644)
    own = root / "own.dcm"
    own.write_bytes(CONTENT)
    os.chown(own, 65534, 65534)
    room = "UNKNOWN" if kind == "ext2" else "FILLED"
    proof = kind != "overlay"
    said = LEASES_DENIED if proof else InboxFolder(root).leases_problem
    *looks, problem = looked_at_by(NOBODY, root, "own.dcm", "a.dcm")
    assert looks == [f"GRANTED {room} {proof}", f"UNKNOWN {room} {proof}"]
    assert said is None or problem == said
    *looks, problem = looked_at_by(WITH_CAP_LEASE, root, "own.dcm", "a.dcm")
    assert looks == [f"GRANTED {room} {proof}"] * 2
    assert (problem == "None") is proof


def test_where_an_nfs_server_gives_the_folder_out_a_lease_is_no_proof(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """DESIGN 2: nfsd closes its files when a lease is asked for, so one is granted between two WRITEs. Exports come and go."""
    exports = tmp_path / "exports"
    exports.write_text("# Version 1.1\n# Path Client(Flags) # IPs\n")
    monkeypatch.setattr(canary, "_EXPORTS", exports)
    clock = FakeClock()
    inbox = InboxFolder(root, clock)
    proof = kind != "overlay"
    assert inbox.ground().leases is proof
    (root / "a b").mkdir()
    escaped = str(root / "a b").replace(" ", "\\040")
    exports.write_text(f"# Version 1.1\n/gone\t*(rw)\n{escaped}\t192.168.1.0/24(rw,no_root_squash)\n")
    clock.advance(61)
    assert not inbox.ground().leases
    assert "NFS" in (inbox.leases_problem or "")
    exports.unlink()
    clock.advance(61)
    assert inbox.ground().leases is proof
    exports.mkdir()  # can't be read
    clock.advance(61)
    assert not inbox.ground().leases


def test_where_no_canary_can_be_made_nothing_is_believed_and_it_is_asked_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DESIGN 2: read-only, full: unknown, a minute long."""
    clock = FakeClock()
    inbox = InboxFolder(root, clock)
    written(root, writes)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    for broken in ("_canary", "_fallocate"):
        with monkeypatch.context() as patch:
            patch.setattr(canary, broken, full)
            look: Look = inbox.look("a.dcm")
        assert (look.ground.complete, look.ground.leases, look.room) == (False, False, Room.UNKNOWN)
        clock.advance(61)
    assert inbox.look("a.dcm").ground.complete
    assert sorted(os.listdir(root)) == ["a.dcm"]
