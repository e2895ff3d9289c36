"""The scenario of the crash matrix: one inbox, one drain, and what must be true afterwards whatever happened.

Five files: two that are stored (one in a sub-folder), one that the service holds already, one truncated, one not DICOM. The first
three belong into done/, the others into failed/. Every round has UIDs of its own, so that all share one service.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx
from crash.strace import Call, Strace, Tampering
from fakes.house import digest
from fakes.studies import Made, data_set, made

PATIENCE = 40.0
ENVIRONMENT = {
    "INGESTD_ADMIN__LISTEN": "off",
    "INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS": "0.2",
    "INGESTD_INTAKE__NETWORK_QUIET_SECONDS": "0.3",  # for when the canary is what fails, so that leases prove nothing
    "INGESTD_INTAKE__QUIET_SECONDS": "0.1",
    "INGESTD_RETRY__BASE_SECONDS": "0.05",
    "INGESTD_RETRY__CAP_SECONDS": "0.1",
    "INGESTD_SERVICE__CONCURRENCY": "1",
    "INGESTD_SERVICE__KIND": "azure",
    "INGESTD_BATCH__LINGER_SECONDS": "0.1",
}
NUMBERS = count(100_000)
MAIN, EVERYBODY = "main", "everybody"
THREADS = (MAIN, "copy_0", "store_0", "scanner", "upkeep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """How the folders lie. `renames`: whether the file system has a rename that lands on nothing."""

    name: str
    across: bool
    renames: bool = True

    @property
    def always(self) -> tuple[str, ...]:
        return () if self.renames else ("renameat2:error=EINVAL",)


SAME = Variant(name="same device", across=False)
ACROSS = Variant(name="across devices", across=True)
# Where strace says that there is no such rename: of interest are the link and the unlink alone.
LINKS = Variant(name="link and unlink", across=False, renames=False)
VARIANTS = (SAME, ACROSS, LINKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a run ended, and what it did if it was traced."""

    code: int
    output: str
    calls: list[Call]


class Stand:
    """One warm stand (warm.py): starts daemons one after the other."""

    def __init__(self, work: Path) -> None:
        self._output = work / "output"
        self._thread = work / "output.thread"
        self._trace = work / "trace"
        work.mkdir()
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("warm.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={name: value for name, value in os.environ.items() if not name.startswith("INGESTD_")},
        )

    def close(self) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()

    def run(
        self,
        arguments: list[str],
        environment: dict[str, str],
        *,
        traced: str = "",
        tampering: Tampering | None = None,
        always: tuple[str, ...] = (),
        program: bool = False,
    ) -> End:
        """A command to its end. `traced`: the name of a thread, or EVERYBODY; with `program` the arguments are Python's."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for file in (self._output, self._thread, self._trace):
            file.unlink(missing_ok=True)
        held = MAIN if traced == EVERYBODY else traced
        job = {"arguments": arguments, "environment": environment, "output": str(self._output), "held": held}
        self._process.stdin.write(json.dumps({**job, "program": program}) + "\n")
        pid = int(self._process.stdout.readline())
        strace: Strace | None = None
        deadline = time.monotonic() + PATIENCE
        while not _ended(pid):
            if traced and strace is None and (thread := self._held(pid, held)) is not None:
                everybody = traced == EVERYBODY
                strace = Strace(pid, self._trace, thread, everybody=everybody, tampering=tampering, always=always)
            if strace is not None and strace.kill_after():
                break
            if time.monotonic() > deadline:  # whoever asks sees a death that nobody wanted
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
        code = int(self._process.stdout.readline())
        calls = strace.end() if strace is not None else []
        return End(code=code, output=self._output.read_text(errors="replace"), calls=calls)

    def _held(self, pid: int, name: str) -> int | None:
        if name == MAIN:
            return pid
        return int(self._thread.read_text()) if self._thread.exists() else None


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The embedded service, in a process of its own, which nobody traces."""

    url: str
    client: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False, timeout=30))

    def hold(self, one: Made) -> None:
        """Have it store an instance beforehand."""
        answer = self.client.post(
            f"{self.url}/studies",
            content=b"--b\r\nContent-Type: application/dicom\r\n\r\n" + one.content + b"\r\n--b--\r\n",
            headers={
                "Content-Type": 'multipart/related; type="application/dicom"; boundary=b',
                "Accept": "application/dicom+json",
            },
        )
        assert answer.status_code == 200, answer.text

    def holds(self, ids: tuple[str, str, str]) -> bytes | None:
        study, series, instance = ids
        answer = self.client.get(
            f"{self.url}/studies/{study}/series/{series}/instances/{instance}",
            headers={"Accept": "application/dicom; transfer-syntax=*"},
        )
        return answer.content if answer.status_code == 200 else None


@contextmanager
def emulator(data: Path) -> Iterator[Service]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ingestd", "emulator", "--port", "0", "--data", str(data)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            yield Service(url=process.stdout.readline().split()[-1])
        finally:
            process.terminate()


class Round:
    """Fresh folders with the five files in the inbox."""

    def __init__(self, variant: Variant, service: Service, here: Path, there: Path) -> None:
        self.variant = variant
        self.service = service
        self.number = next(NUMBERS)
        self.near = here / str(self.number)
        self.far = there / str(self.number) if variant.across else self.near
        self.folders = {
            "inbox": self.near / "inbox",
            "done": self.far / "done",
            "failed": self.far / "failed",
            "state": self.near / "state",
        }
        for folder in self.folders.values():
            folder.mkdir(parents=True)
        self.good = {
            "ward/one.dcm": made(1, study=self.number),
            "two.dcm": made(2, study=self.number),
            "held.dcm": made(3, study=self.number),
        }
        self.dropped = {name: one.content for name, one in self.good.items()}
        self.dropped["half.dcm"] = made(4, study=self.number).content[:1500]
        self.dropped["list.dcm"] = f"shopping list {self.number}: milk, bread\n".encode() * 20
        service.hold(self.good["held.dcm"])
        for name, content in self.dropped.items():
            file = self.folders["inbox"] / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)

    def drain(self, stand: Stand, *, traced: str = "", tampering: Tampering | None = None) -> End:
        environment = {**ENVIRONMENT, "INGESTD_SERVICE__URL": self.service.url}
        environment |= {f"INGESTD_FOLDERS__{name.upper()}": str(folder) for name, folder in self.folders.items()}
        return stand.run(
            ["drain", "--timeout", str(PATIENCE / 2)],
            environment,
            traced=traced,
            tampering=tampering,
            always=self.variant.always if traced else (),
        )

    def remove(self) -> None:
        for folder in {self.near, self.far}:
            shutil.rmtree(folder)

    # What must be true

    def waiting(self) -> bool:
        return bool(self._standing()["inbox"])

    def lost(self) -> list[str]:
        """At any moment: which dropped files stand whole in none of the folders, under a name that is no temporary one."""
        standing = {digest(file.read_bytes()) for files in self._standing().values() for file in files}
        return [f"{name} is nowhere" for name, content in self.dropped.items() if digest(content) not in standing]

    def wrong(self) -> list[str]:
        """What is not as it must be when everything has ended."""
        out: list[str] = []
        standing = self._standing()
        for name, content in self.dropped.items():
            where = "done" if name in self.good else "failed"
            found = [
                f"{folder}/{file.relative_to(self.folders[folder])}"
                for folder, files in standing.items()
                for file in files
                if file.read_bytes() == content
            ]
            if len(found) != 1 or not found[0].startswith(where):
                out.append(f"{name} is to be in {where}/ once, and is in {found}")
        expected = len(self.dropped)
        if (number := sum(map(len, standing.values()))) != expected:
            out.append(f"{number} files stand where {expected} were dropped")
        for file in standing["failed"]:
            out += self._reason_wrong(file)
        reasons = list(self.folders["failed"].rglob("*.reason.json"))
        out += [
            f"{file.name} explains no file"
            for file in reasons
            if not file.with_name(file.name.removesuffix(".reason.json")).exists()
        ]
        for name, one in self.good.items():
            held = self.service.holds(one.ids)
            if held is None or data_set(held) != data_set(one.content):
                out.append(f"the service does not hold the bytes of {name}")
        left = [
            file for folder in self.folders.values() for file in folder.rglob(".*") if not self._is_second_link(file)
        ]
        out += [
            f"left over: {file.relative_to(self.near if file.is_relative_to(self.near) else self.far)}" for file in left
        ]
        return out

    def _is_second_link(self, file: Path) -> bool:
        """The temporary name of a copy that has been filed, left by a death after the source was gone: upkeep's, a day later."""
        return file.parent in (self.folders["done"], self.folders["failed"]) and file.stat().st_nlink == 2

    def _reason_wrong(self, file: Path) -> list[str]:
        reason = file.with_name(file.name + ".reason.json")
        if not reason.exists():
            return [f"failed/{file.name} has no reason file"]
        document = json.loads(reason.read_bytes())
        if document["reason"] not in ("truncated", "not_dicom"):
            return [f"failed/{file.name} is there for {document['reason']}"]
        content = file.read_bytes()
        is_dicom = document["reason"] == "truncated"
        if document["sha256"] not in (None, data_set(content) if is_dicom else digest(content)):
            return [f"failed/{file.name} has another digest than its reason file says"]
        return []

    def _standing(self) -> dict[str, list[Path]]:
        return {
            name: [
                f
                for f in self.folders[name].rglob("*")
                if f.is_file() and not f.name.startswith(".") and not f.name.endswith(".reason.json")
            ]
            for name in ("inbox", "done", "failed")
        }
