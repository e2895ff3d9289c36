"""The real inbox against hostile names, kinds and writers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from fakes.spool_fakes import part10, settled
from pydicom import dcmread
from pydicom.dataset import Dataset

from ingestd.core.errors import FileBusyError, FileChangedError, FileError, FileGoneError, FileRefusedError
from ingestd.core.model import Inspection, Lease
from ingestd.spool.disk.lease import ignore_sigio
from ingestd.spool.disk.mounts import FileSystem, file_system
from ingestd.spool.intake import canary
from ingestd.spool.intake import inbox as inbox_module
from ingestd.spool.intake.inbox import InboxFolder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def sigio_ignored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGIO)
    ignore_sigio()
    yield
    signal.signal(signal.SIGIO, before)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def make_symlink(root: Path) -> None:
    (root.parent / "elsewhere.dcm").write_bytes(part10())
    (root / "x.dcm").symlink_to(root.parent / "elsewhere.dcm")


def make_loop(root: Path) -> None:
    (root / "x.dcm").symlink_to("x.dcm")


def make_fifo(root: Path) -> None:
    os.mkfifo(root / "x.dcm")


def make_socket(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        listener.bind(f"/proc/self/fd/{here}/x.dcm")
        os.close(here)


def make_folder(root: Path) -> None:
    (root / "x.dcm").mkdir()


@pytest.mark.parametrize("make", [make_symlink, make_loop, make_fifo, make_socket, make_folder])
def test_only_regular_files_are_opened_and_nothing_blocks(root: Path, make: Callable[[Path], None]) -> None:
    """F25, F27."""
    make(root)
    before = open_files()
    for touch in (InboxFolder(root).look, InboxFolder(root).examine):
        with pytest.raises(FileRefusedError):
            touch("x.dcm")
    assert open_files() == before


def test_a_linked_folder_on_the_way_is_not_entered(root: Path) -> None:
    """F25, F28."""
    (root.parent / "other").mkdir()
    (root.parent / "other" / "x.dcm").write_bytes(part10())
    (root / "study").symlink_to(root.parent / "other")
    with pytest.raises(FileRefusedError):
        InboxFolder(root).look("study/x.dcm")


@pytest.mark.parametrize("path", ["../x.dcm", "/etc/passwd", "a//x.dcm", "./x.dcm", "", "a/../../x.dcm", "x\0.dcm"])
def test_no_path_leads_out_of_the_root(root: Path, path: str) -> None:
    """F28."""
    (root.parent / "x.dcm").write_bytes(part10())
    with pytest.raises(FileRefusedError):
        InboxFolder(root).look(path)


@pytest.mark.parametrize(
    "name",
    [
        "a\nb.dcm",
        "\x1b[31m.dcm",
        os.fsdecode(b"\xff\xfe.dcm"),
        "x" * 251 + ".dcm",
        "-rf.dcm",
        "\u202emcd.dcm",
        "%s'\".dcm",
    ],
)
def test_awkward_names_are_names(root: Path, name: str) -> None:
    """F29."""
    (root / name).write_bytes(part10())
    assert settled(InboxFolder(root), name).ids.sop_instance_uid == "1.2.3.4.5"


def test_error_texts_never_name_the_file(root: Path) -> None:
    """I7, F71."""
    make_folder(root)
    for path in ("x.dcm", "MILLER^ANNA.dcm", "MILLER^ANNA/x.dcm"):
        with pytest.raises(FileError) as caught:
            InboxFolder(root).look(path)
        assert "MILLER" not in str(caught.value)
        assert "x.dcm" not in str(caught.value)


def test_links_and_owners_are_told(root: Path) -> None:
    """F26."""
    (root / "x.dcm").write_bytes(part10())
    os.link(root / "x.dcm", root.parent / "y.dcm")
    assert InboxFolder(root).look("x.dcm").links == 2
    if os.geteuid() == 0:
        os.chown(root / "x.dcm", 12345, 12345)
        assert not InboxFolder(root).look("x.dcm").owner_owns_folder


def test_a_root_that_is_away_says_nothing_about_its_files(root: Path) -> None:
    """F6, F7."""
    inbox = InboxFolder(root)
    (root / "x.dcm").write_bytes(part10())
    root.rename(root.parent / "away")
    with pytest.raises(FileBusyError):
        inbox.look("x.dcm")
    (root.parent / "away").rename(root)
    assert inbox.look("x.dcm").lease is Lease.GRANTED
    with pytest.raises(FileGoneError):
        inbox.look("study/x.dcm")


def test_the_handles_are_given_back(root: Path) -> None:
    """I8: an abandoned pass among them."""
    (root / "x.dcm").write_bytes(part10(pixels=800))
    inbox = InboxFolder(root)
    before = open_files()
    instance = settled(inbox, "x.dcm")
    inbox.look("x.dcm")
    inbox.elements(instance)
    list(inbox.read(instance))
    abandoned = iter(inbox.read(instance))
    next(abandoned)
    del abandoned
    assert open_files() == before


def test_a_writer_in_the_doorway_ends_the_proof(
    root: Path, sigio_ignored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F15: its open waits for the lease and turns it; what was asked meanwhile is no proof."""
    (root / "x.dcm").write_bytes(part10())
    inbox = InboxFolder(root)
    inbox.ground()
    has_hole = inbox_module.has_hole
    opening = threading.Thread(target=lambda: (root / "x.dcm").open("r+b").close())

    def slow(handle: int, size: int) -> bool | None:
        opening.start()
        wait_until_blocked()
        return has_hole(handle, size)

    monkeypatch.setattr(inbox_module, "has_hole", slow)
    look = inbox.look("x.dcm")
    opening.join(5)
    assert look.lease is Lease.REFUSED


def test_no_writer_waits_for_the_walk(root: Path, sigio_ignored: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """DESIGN 2: a lease is held for its questions alone; what is written during the walk is another state of the file."""
    (root / "x.dcm").write_bytes(part10())
    inspect = inbox_module._inspect

    def written(handle: int, size: int, **rules: bool) -> Inspection:
        writer = os.open(root / "x.dcm", os.O_WRONLY | os.O_NONBLOCK)  # EWOULDBLOCK while a lease is held
        os.write(writer, b"x")
        os.close(writer)
        return inspect(handle, size, **rules)

    monkeypatch.setattr(inbox_module, "_inspect", written)
    with pytest.raises(FileChangedError):
        InboxFolder(root).examine("x.dcm")


def wait_until_blocked() -> None:
    """Until the kernel lists a lease that is being broken (proc_locks(5))."""
    for _ in range(20_000):
        if "BREAKING" in Path("/proc/locks").read_text(encoding="ascii"):
            return
        os.sched_yield()
    pytest.fail("nobody came to the door")


def test_a_file_rewritten_during_the_walk_is_not_judged(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F19, F28, I4."""
    (root / "x.dcm").write_bytes(part10())
    inspect = inbox_module._inspect

    def rewritten(handle: int, size: int, **rules: bool) -> Inspection:
        found = inspect(handle, size, **rules)
        os.utime(root / "x.dcm", ns=(1, 1))
        return found

    monkeypatch.setattr(inbox_module, "_inspect", rewritten)
    with pytest.raises(FileChangedError):
        InboxFolder(root).examine("x.dcm")


def test_breaking_a_lease_does_not_end_a_process_that_ignores_sigio(root: Path) -> None:
    """libraries.md 2: SIGIO's default action ends it."""
    (root / "x.dcm").write_bytes(part10())
    program = """
import fcntl, os, signal, subprocess, sys
from ingestd.spool.disk.lease import ignore_sigio
signal.signal(signal.SIGIO, signal.SIG_DFL)  # what the test process ignores, its child would too
if sys.argv[2] == "ignore":
    ignore_sigio()
handle = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
opening = "import os,sys; os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK)"
opened = subprocess.run([sys.executable, "-c", opening, sys.argv[1]], stderr=subprocess.PIPE)
assert b"BlockingIOError" in opened.stderr, "nobody broke the lease"
print("alive")
"""
    ended = [
        subprocess.run(
            [sys.executable, "-c", program, str(root / "x.dcm"), how], capture_output=True, text=True, check=False
        )
        for how in ("ignore", "default")
    ]
    assert [run.stdout for run in ended] == ["alive\n", ""]


def test_only_what_a_service_must_give_back_is_compared(root: Path) -> None:
    """Verify: no sequences, bulk, private or huge elements, nothing about how the file is written."""
    dataset = dcmread(BytesIO(part10()))
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.add_new(0x0040A160, "UT", "x" * 70_000)
    dataset.ReferencedImageSequence = [Dataset()]
    dataset.PatientBirthDate = None
    dataset.RedPaletteColorLookupTableData = b"12"
    dataset.add_new(0x00090010, "LO", "PRIVATE")
    dataset.save_as(root / "x.dcm")
    elements = InboxFolder(root).elements(settled(InboxFolder(root), "x.dcm"))
    assert elements["00080008"] == ("ORIGINAL", "PRIMARY")
    assert elements["00100030"] == ()
    assert not {"00080005", "00081140", "0040A160", "00281201", "00090010"} & elements.keys()


def test_unreadable_data_gives_no_elements(root: Path) -> None:
    """Verify: no evidence, neither for nor against."""
    (root / "x.dcm").write_bytes(part10())
    instance = settled(InboxFolder(root), "x.dcm")
    content = bytearray(part10())
    content[128:132] = b"JUNK"
    (root / "x.dcm").write_bytes(content)
    look = InboxFolder(root).look("x.dcm")
    other = type(instance)(path="x.dcm", stamp=look.stamp, ids=instance.ids, first_seen=0.0)
    assert InboxFolder(root).elements(other) == {}


@pytest.mark.parametrize(
    ("kind", "network"),
    [
        ("ext4", False),
        ("tmpfs", False),
        ("overlay", False),
        ("nfs4", True),
        ("cifs", True),
        ("fuse.sshfs", True),
        ("fuseblk", False),
    ],
)
def test_network_file_systems_are_known_by_their_mount(tmp_path: Path, kind: str, network: bool) -> None:
    """F8, F44."""
    (tmp_path / "fdinfo").mkdir()
    (tmp_path / "fdinfo" / "7").write_text("pos:\t0\nflags:\t0100000\nmnt_id:\t29\nino:\t2\n")
    (tmp_path / "mountinfo").write_text(
        f"291 1 8:2 / / rw - xfs /dev/b rw\n29 1 8:1 / /mnt/a\\040b rw,relatime shared:1 master:2 - {kind} server:/x rw\n"
    )
    found = file_system(7, tmp_path)
    assert (found.kind, found.on_network, found.is_local) == (kind, network, not network)


def test_a_file_system_that_nobody_knows_counts_as_shared(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F8: unknown is no proof that no other machine writes there."""
    monkeypatch.setattr(canary, "file_system", lambda *_: FileSystem(""))
    (root / "x.dcm").write_bytes(part10())
    assert InboxFolder(root).look("x.dcm").on_network
    assert InboxFolder(root).on_network()


def test_no_lease_is_asked_for_on_a_network_file_system(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F8: other machines write unseen by this kernel, and the client refuses leases for reasons of its own."""
    monkeypatch.setattr(canary, "file_system", lambda *_: FileSystem("nfs4"))
    (root / "x.dcm").write_bytes(part10())
    with (root / "x.dcm").open("ab"):
        look = InboxFolder(root).look("x.dcm")
    assert (look.lease, look.on_network) == (Lease.UNKNOWN, True)


def test_a_root_that_becomes_a_link_leads_nowhere(root: Path, sigio_ignored: None) -> None:
    """F28: whoever may write beside the inbox swaps it against a link; nothing is read from there, and nothing concluded."""
    (root / "x.dcm").write_bytes(part10())
    InboxFolder(root).examine("x.dcm")
    root.rename(root.parent / "aside")
    root.symlink_to(root.parent / "aside")
    with pytest.raises(FileBusyError, match="inbox itself"):
        InboxFolder(root).examine("x.dcm")
