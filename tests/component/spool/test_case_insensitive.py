"""Filing and putting back on a file system that knows no letter case (F30): vfat, exFAT, CIFS, ext4 with folded case.

Few kernels that run tests can mount one, so the system calls are folded here: what takes a name gets the name that is there
already in another case. tests/acceptance/test_hostile_folder.py mounts a real one where it can.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.spool_fakes import part10, settled

from ingestd.core.answers.outcome import Quarantine
from ingestd.core.answers.reasons import Reason
from ingestd.core.record import Verdict
from ingestd.spool.disk import handles
from ingestd.spool.filing.filing import Filing
from ingestd.spool.filing.putting_back import PuttingBack
from ingestd.spool.filing.quarantined import FailedFolder
from ingestd.spool.intake.inbox import InboxFolder

AT = 1_700_000_000.0
NAMES = ("scan.dcm", "SCAN.DCM", "Scan.Dcm", "study/a.dcm", "STUDY/A.dcm", "Study/a.DCM")


@pytest.fixture(autouse=True)
def folded(monkeypatch: pytest.MonkeyPatch) -> None:
    def there(name: str, folder: int | None) -> str:
        names = os.listdir(folder) if folder is not None else ()
        return next((n for n in names if n.casefold() == name.casefold()), name)

    def one(call: Callable[..., Any]) -> Callable[..., Any]:
        def folding(name: str, *given: Any, dir_fd: int | None = None, **more: Any) -> Any:
            return call(there(name, dir_fd), *given, dir_fd=dir_fd, **more)

        return folding

    def two(call: Callable[..., Any]) -> Callable[..., Any]:
        def folding(
            old: str, new: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None, **more: Any
        ) -> Any:
            names = there(old, src_dir_fd), there(new, dst_dir_fd)
            return call(*names, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, **more)

        return folding

    monkeypatch.setattr(handles, "_renameat2", None)
    for name in ("open", "stat", "unlink", "mkdir"):
        monkeypatch.setattr(os, name, one(getattr(os, name)))
    for name in ("link", "rename"):
        monkeypatch.setattr(os, name, two(getattr(os, name)))


def contents(folder: Path) -> list[bytes]:
    return sorted(p.read_bytes() for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".reason.json"))


@pytest.mark.parametrize("far", [False, True], ids=["one file system", "across two"])
def test_names_that_differ_in_case_only_overwrite_nothing(
    tmp_path: Path, far: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F30: in done/, in failed/ each with its reason, and back in the inbox; every byte is kept."""
    inbox, done, failed = (tmp_path / name for name in ("inbox", "done", "failed"))
    for folder in (inbox, done, failed):
        folder.mkdir()
    if far:
        move = handles.move

        def cross(from_folder: int, name: str, to_folder: int, new_name: str) -> None:
            devices = [
                os.readlink(f"/proc/self/fd/{handle}").startswith(str(inbox)) for handle in (from_folder, to_folder)
            ]
            if devices[0] != devices[1]:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            move(from_folder, name, to_folder, new_name)

        monkeypatch.setattr(handles, "move", cross)
    filing = Filing(inbox, done, failed)
    wanted = []
    for n, name in enumerate(NAMES):
        for end in ("done", "failed"):
            wanted.append(content := part10(name=f"{end}{n}"))
            shutil.rmtree(inbox)
            (inbox / name).parent.mkdir(parents=True)
            (inbox / name).write_bytes(content)
            instance = settled(InboxFolder(inbox), name)
            if end == "done":
                filing.to_done(instance, at=AT)
            else:
                filing.to_failed(verdict(name, instance.stamp, n))
            assert contents(inbox) == []
    assert contents(done) + contents(failed) == sorted(wanted[::2]) + sorted(wanted[1::2])
    for reason in failed.rglob("*.reason.json"):
        attempts = json.loads(reason.read_bytes())["attempts"]
        assert reason.with_name(reason.name.removesuffix(".reason.json")).read_bytes() == part10(
            name=f"failed{attempts}"
        )
    putting = PuttingBack(failed, inbox, takes=lambda path: True)
    for one in list(FailedFolder(failed)):
        putting.put_back(one)
    assert contents(inbox) == sorted(wanted[1::2])
    assert contents(failed) == []


def verdict(path: str, stamp: Any, attempts: int) -> Verdict:
    why = Quarantine(reason=Reason.REJECTED, text="no", what_to_do="nothing")
    return Verdict(
        path=path, stamp=stamp, quarantine=why, attempts=attempts, first_seen=0.0, failed_at=AT, ids=None, sha256=None
    )
