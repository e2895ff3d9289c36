"""Who may move a file out of a folder, and the command that lets us."""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.powerless import powerless

from ingestd.spool.disk import handles, rights
from ingestd.spool.disk.rights import may_write, mend_of

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a folder of another owner")
OTHER, OTHERS = 65534, 65533

ASK = """
import sys
from pathlib import Path
from ingestd.spool.disk import handles
from ingestd.spool.disk.rights import mend_of
print(mend_of(handles.open_root(Path(sys.argv[1]))))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "s"
    made.mkdir()
    yield made
    made.chmod(0o755)


def asked(folder: Path) -> str:
    """By an ordinary user, whoever runs the tests."""
    command = powerless([sys.executable, "-c", ASK, str(folder)])
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_folder_of_ours_that_we_may_not_write(folder: Path) -> None:
    """F94"""
    assert asked(folder) == "None"
    folder.chmod(0o555)
    assert asked(folder) == "as {who}, run chmod -R u+rwX FOLDER"


@needs_root
@pytest.mark.parametrize(
    ("owner", "group", "mode", "mend"),
    [
        (OTHER, 0, 0o755, "chmod -R g+rwX FOLDER"),
        (OTHER, 0, 0o775, "None"),
        (OTHER, OTHERS, 0o777, "None"),
        (OTHER, OTHERS, 0o755, "chown -R :root FOLDER && chmod -R g+rwX FOLDER"),
        (OTHER, OTHERS, 0o775, "chown -R :root FOLDER && chmod -R g+rwX FOLDER"),
    ],
)
def test_a_folder_of_another_owner(folder: Path, owner: int, group: int, mode: int, mend: str) -> None:
    """F94: what `cp -r`, Samba and `storescp -su` make; its owner goes on writing there."""
    os.chown(folder, owner, group)
    folder.chmod(mode)
    assert asked(folder) == (mend if mend == "None" else f"as {{who}}, run {mend}")
    if mend != "None":
        subprocess.run(["sh", "-ec", mend.replace("FOLDER", str(folder))], check=True)
        assert asked(folder) == "None"


@pytest.mark.parametrize(
    ("mode", "ours", "our_group", "mend"),
    [
        (0o755, True, True, "as root, run chattr -R -i FOLDER"),
        (0o775, False, True, f"as {{who}}, run setfacl -R -m u:{pwd.getpwuid(os.geteuid()).pw_name}:rwX FOLDER"),
    ],
)
def test_what_neither_owner_nor_mode_explains(mode: int, ours: bool, our_group: bool, mend: str) -> None:
    """F94: an attribute, an ACL."""
    assert rights._mend(stat.S_IFDIR | mode, ours=ours, our_group=our_group) == mend


def test_a_user_without_a_name_is_a_number() -> None:
    """F94: a container may know no names."""

    def unknown(_: int) -> tuple[str]:
        raise KeyError

    assert rights._name(unknown, 1234) == "1234"


def test_a_file_system_that_is_mounted_read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F45, F94: no mode helps there."""
    monkeypatch.setattr(rights, "may_write", lambda _: False)
    found = os.statvfs(folder)
    read_only = os.statvfs_result((*found[:8], os.ST_RDONLY, *found[9:]))
    monkeypatch.setattr(os, "fstatvfs", lambda _: read_only)
    handle = handles.open_root(folder)
    assert mend_of(handle) == "mount it writable; under systemd ReadWritePaths= must name it (`systemctl edit ingestd`)"
    os.close(handle)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_a_disk_or_share_in_trouble_refuses_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """F9, F94: whether the folder is locked is unknown then, and no chmod is advised."""

    def broken(*_: object) -> int:
        ctypes.set_errno(code)
        return -1

    handle = handles.open_root(folder)
    assert may_write(handle)
    monkeypatch.setattr(rights._libc, "faccessat", broken)
    for ask in (may_write, mend_of):
        with pytest.raises(OSError, match=os.strerror(code)) as raised:
            ask(handle)
        assert raised.value.errno == code
    os.close(handle)
    monkeypatch.undo()
    with pytest.raises(OSError, match="Bad file descriptor"):
        may_write(handle)
