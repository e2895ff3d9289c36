"""Every call that filing makes fails once, or is done and its answer is lost, as on a share that breaks off (F40, F41).

A call in turn, of each way into done/ and failed/ and out of the world: on one file system and across two, with renameat2 and
without. Afterwards the daemon would try again what is still in the inbox, and so does the test.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fakes.spool_fakes import part10, settled

from ingestd.core.answers.outcome import Quarantine
from ingestd.core.answers.reasons import Reason
from ingestd.core.errors import FileError, FilingError
from ingestd.core.record import Verdict
from ingestd.spool.disk import handles
from ingestd.spool.filing import copying
from ingestd.spool.filing.entry import Entry
from ingestd.spool.filing.filing import Filing
from ingestd.spool.intake.inbox import InboxFolder

AT = 1767323045.0
CONTENT = part10(pixels=8)
CALLS = (
    *(
        "open",
        "close",
        "stat",
        "fstat",
        "read",
        "write",
        "lseek",
        "fsync",
        "link",
        "unlink",
        "rename",
        "mkdir",
        "fchown",
    ),
    *("fchmod", "utime", "fpathconf", "access", "posix_fadvise"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The call of this number says `code`, `done` or not; as many more as `then` fail behind it."""

    number: int
    done: bool
    code: int
    then: int


class Faulty:
    """The system calls of filing, counted, one of them faulty. `renames`: there is a renameat2."""

    def __init__(self, patch: pytest.MonkeyPatch, fault: Fault | None, *, renames: bool) -> None:
        self.calls: list[str] = []
        self._fault = fault
        for name in CALLS:
            patch.setattr(os, name, self._faulty(name, getattr(os, name)))
        patch.setattr(fcntl, "fcntl", self._faulty("fcntl", fcntl.fcntl))
        patch.setattr(handles, "_renameat2", self._renameat2(handles._renameat2) if renames else None)

    def _now(self, name: str) -> Fault | None:
        self.calls.append(name)
        fault = self._fault
        if fault is None or not 0 <= len(self.calls) - fault.number <= fault.then:
            return None
        return fault if fault.number == len(self.calls) else replace(fault, done=False)

    def _faulty(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        close = os.close

        def call(*args: Any, **kwargs: Any) -> Any:
            fault = self._now(name)
            if fault is None:
                return real(*args, **kwargs)
            if fault.done or name == "close":  # the handle is gone whatever close says
                result = real(*args, **kwargs)
                if name == "open":
                    close(result)
            raise OSError(fault.code, os.strerror(fault.code))

        return call

    def _renameat2(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(*args: Any) -> int:
            fault = self._now("renameat2")
            if fault is None or (fault.done and real(*args) != 0):
                return real(*args) if fault is None else -1
            ctypes.set_errno(fault.code)
            return -1

        return call


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    inbox: Path
    done: Path
    failed: Path
    kind: str

    def way(self, path: str) -> Callable[[], object]:
        """What files it away."""
        filing = Filing(self.inbox, self.done, self.failed, delete=self.kind == "delete")
        instance = settled(InboxFolder(self.inbox), path)
        if self.kind != "failed":
            return lambda: filing.to_done(instance, at=AT)
        verdict = Verdict(
            path=path,
            stamp=instance.stamp,
            quarantine=Quarantine(reason=Reason.REJECTED, text="t", what_to_do="w"),
            attempts=1,
            first_seen=AT,
            failed_at=AT,
            ids=instance.ids,
            sha256=instance.sha256,
        )
        return lambda: filing.to_failed(verdict)

    def copies(self) -> list[str]:
        """Where its bytes stand under a name that people see."""
        roots = {"inbox": self.inbox, "done": self.done, "failed": self.failed}
        return sorted(name for name, root in roots.items() for path in files(root) if path.read_bytes() == CONTENT)

    def unexplained(self) -> list[str]:
        found = {path.name for path in files(self.failed)}
        return [name for name in found if not name.endswith(".reason.json") and name + ".reason.json" not in found]


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and not handles.is_temporary(path.name)]


def house(near: Path, elsewhere: Path, kind: str) -> House:
    made = House(inbox=near / "inbox", done=elsewhere / "done", failed=elsewhere / "failed", kind=kind)
    for folder in (made.inbox / "s", made.done, made.failed):
        folder.mkdir(parents=True)
    (made.inbox / "s" / "a.dcm").write_bytes(CONTENT)
    return made


@pytest.fixture
def shm() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def open_handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def tried(home: House, path: str, fault: Fault | None, *, renames: bool) -> list[str]:
    """File it away with this fault; the calls that were made."""
    file_away = home.way(path)
    with pytest.MonkeyPatch.context() as patch:
        faulty = Faulty(patch, fault, renames=renames)
        with suppress(FileError, FilingError):  # anything else is a bug
            file_away()
    return faulty.calls


def tried_again(home: House, *, renames: bool) -> None:
    for _ in range(3):
        for path in filter(Path.exists, files(home.inbox)):  # lazily: two names may be one file's
            tried(home, str(path.relative_to(home.inbox)), None, renames=renames)


FAULTS: Mapping[str, tuple[bool, int, int]] = {
    "fails": (False, errno.EIO, 0),
    "is done, and says EIO": (True, errno.EIO, 0),
    "is done, and says ENOENT": (True, errno.ENOENT, 0),
    "fails, and the next two": (False, errno.EIO, 2),
    "is done, and says EIO, and the next two fail": (True, errno.EIO, 2),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("renames", [True, False], ids=["renameat2", "link and unlink"])
@pytest.mark.parametrize(
    ("place", "kind"), [("near", "done"), ("near", "failed"), ("near", "delete"), ("far", "done"), ("far", "failed")]
)
def test_no_fault_of_a_call_costs_a_file_its_reason_or_a_handle(
    tmp_path: Path, shm: Path, place: str, kind: str, renames: bool, fault: str
) -> None:
    """I1, I3, I6, I8; F40, F41: and with the next tries it is where it belongs, once, or twice where nothing could be seen."""
    done, code, then = FAULTS[fault]

    def dropped(number: int) -> House:
        near = tmp_path / str(number)
        return house(near, shm / str(number) if place == "far" else near, kind)

    expected = tried(dropped(0), "s/a.dcm", None, renames=renames)
    assert len(expected) > 15
    gc.collect()  # an earlier test's handles
    for number, name in enumerate(expected, 1):
        home = dropped(number)
        before = open_handles()
        tried(home, "s/a.dcm", Fault(number=number, done=done, code=code, then=then), renames=renames)
        at = f"call {number} of {len(expected)}, {name}"
        assert open_handles() <= before, at
        assert home.copies() or kind == "delete", at
        assert home.unexplained() == [], at
        tried_again(home, renames=renames)
        ended = home.copies()
        assert (set(ended) if then else ended) == ({kind} if then else [kind]) or (kind == "delete" and not ended), at
        assert home.unexplained() == [], at


def test_what_is_quarantined_again_with_the_same_bytes_has_the_reason_of_the_last_time(
    tmp_path: Path, shm: Path
) -> None:
    """I3: across devices it is taken for the copy of a try that was killed; its reason is this one's."""
    home = house(tmp_path, shm, "failed")
    times = (home.inbox / "s" / "a.dcm").stat()
    home.way("s/a.dcm")()
    reason = home.failed / "s" / "a.dcm.reason.json"
    reason.write_text("{}")
    (home.inbox / "s" / "a.dcm").write_bytes(CONTENT)
    os.utime(home.inbox / "s" / "a.dcm", ns=(times.st_atime_ns, times.st_mtime_ns))
    home.way("s/a.dcm")()
    assert (home.copies(), b'"rejected"' in reason.read_bytes()) == (["failed"], True)


def test_a_snapshot_of_an_unfinished_copy_is_no_filed_file(tmp_path: Path, shm: Path) -> None:
    """I1, F41: killed before the copy got its name; then a backup by hard links gave its temporary name a second one."""
    home = house(tmp_path, shm, "done")
    stamp = settled(InboxFolder(home.inbox), "s/a.dcm").stamp
    folder, root = os.open(home.inbox / "s", os.O_RDONLY), os.open(home.done, os.O_RDONLY)
    try:
        copying.copy_over(Entry(folder=folder, name="a.dcm", path="s/a.dcm", stamp=stamp), root)
    finally:
        os.close(folder)
        os.close(root)
    subprocess.run(["cp", "-al", home.done, shm / "snapshot"], check=True)
    home.way("s/a.dcm")()
    assert home.copies() == ["done"]
