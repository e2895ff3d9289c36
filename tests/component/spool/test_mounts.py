"""On what an open folder lies, and what is a mount point: here, in a chroot whose root is none, and without /proc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestd.core.errors import FilingError
from ingestd.spool.disk import mounts
from ingestd.spool.disk.mounts import FileSystem, MountPoints, file_system, is_mount

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")

CHROOT = """
import json, os, sys
from pathlib import Path
from ingestd.spool.disk.mounts import file_system, is_mount
os.chroot(sys.argv[1])
os.chdir("/")
said = {}
for name in ("/", "/plain", "/bound", "/memory"):
    handle = os.open(name, os.O_RDONLY)
    found = file_system(handle)
    said[name] = [found.kind, found.on_network, is_mount(Path(name))]
print(json.dumps(said))
"""


def kind_of(folder: Path) -> str:
    """As coreutils have it."""
    found = subprocess.run(["stat", "--file-system", "--format=%T", folder], capture_output=True, text=True, check=True)
    return {"ext2/ext3": "ext4", "overlayfs": "overlay"}.get(found.stdout.strip(), found.stdout.strip())


@needs_root
@pytest.mark.parametrize("proc", [True, False], ids=["with /proc", "without /proc"])
def test_in_a_chroot_whose_root_is_no_mount_point(tmp_path: Path, proc: bool) -> None:
    """F8, F44: mountinfo has no line for the root there, and what it said was taken for a local disk."""
    for name in ("plain", "bound", "memory", "proc"):
        (tmp_path / name).mkdir()
    shell = f"cd {tmp_path} && mount --bind bound bound && mount -t tmpfs memory memory"
    shell += " && mount -t proc proc proc" if proc else ""
    command = [
        "unshare",
        "--mount",
        "sh",
        "-ec",
        f'{shell}; exec "$@"',
        "sh",
        sys.executable,
        "-c",
        CHROOT,
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "ermission denied" in done.stderr or "not permitted" in done.stderr:
        pytest.skip("nothing can be mounted here")
    assert done.returncode == 0, done.stderr
    here = kind_of(tmp_path)
    assert json.loads(done.stdout) == {
        "/": [here, False, not proc],  # without /proc it is os.path.ismount that is asked
        "/plain": [here, False, False],
        "/bound": [here, False, proc],
        "/memory": ["tmpfs", False, True],
    }


def test_a_number_that_nobody_knows_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three values stay three: it is neither a local disk nor a share."""
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        assert file_system(handle, tmp_path).is_local  # by statfs(2) alone
        monkeypatch.setattr(mounts, "_MAGIC", {})
        unknown = file_system(handle, tmp_path)
        assert (unknown.kind, unknown.on_network, unknown.is_local) == ("", None, False)
        assert file_system(handle).is_local  # /proc knows it
    finally:
        os.close(handle)
    assert file_system(handle, tmp_path).on_network is None  # closed


def test_fuse_without_a_mount_line_counts_as_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F8: its number is the same for sshfs and for a local exfat."""
    monkeypatch.setattr(mounts, "_magic", lambda handle: 0x65735546)
    assert file_system(7, tmp_path).on_network is True


@pytest.mark.parametrize(
    ("kind", "tell"),
    [
        ("ext4", True),
        ("", True),
        ("fuse.sshfs", True),
        ("fuse", True),
        ("virtiofs", True),
        ("nfs4", False),
        ("cifs", False),
    ],
)
def test_a_refused_lease_tells_of_a_writer_but_where_clients_refuse_for_themselves(kind: str, tell: bool) -> None:
    """F8: a client of NFS or SMB refuses one for want of a delegation."""
    assert FileSystem(kind).refusals_tell is tell


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "bound"
    folder.mkdir()
    if subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", "--quiet", folder], check=False)


@needs_root
def test_a_bind_mount_that_is_gone_is_noticed(bound: Path) -> None:
    """F7: it has its parent's device, so os.path.ismount never saw it."""
    assert not os.path.ismount(bound)
    assert (is_mount(bound), is_mount(bound.parent)) == (True, False)
    points = MountPoints(bound, bound.parent)
    points.check(bound)
    points.check(bound.parent)
    subprocess.run(["umount", bound], check=True)
    points.check(bound.parent)
    with pytest.raises(FilingError, match="no longer mounted"):
        points.check(bound)
