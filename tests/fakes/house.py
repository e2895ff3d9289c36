"""The daemon as a subprocess, with its folders, as a person would run it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from fakes.warm_start import WarmPopen, can_start

QUICK = {
    "INGESTD_INTAKE__RESCAN_SECONDS": "1",
    "INGESTD_INTAKE__QUIET_SECONDS": "0.5",
    "INGESTD_INTAKE__NETWORK_QUIET_SECONDS": "2",
    "INGESTD_RETRY__CAP_SECONDS": "2",
    "INGESTD_SERVICE__KIND": "azure",  # as the embedded service answers, and what is scripted in its place
}


class House:
    """Four folders below `root`, and a daemon over them. `warm`: it starts without its imports where it can (warm_start.py)."""

    warm = True

    def __init__(self, root: Path, url: str, **environment: str) -> None:
        self.root = root
        self.url = url
        self.inbox, self.done, self.failed = root / "inbox", root / "done", root / "failed"
        self.inbox.mkdir(parents=True, exist_ok=True)
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._log = root / "log.jsonl"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "ingestd", *arguments]

    def environment(self) -> dict[str, str]:
        ours = {k: v for k, v in os.environ.items() if not k.startswith("INGESTD_")}
        return {**ours, **QUICK, "INGESTD_ADMIN__LISTEN": "off", **self._environment}

    def run(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """A command to its end."""
        process = self._popen(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with process:
            try:
                output, errors = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def start(self, *, stdout: int | None = None) -> subprocess.Popen[bytes]:
        """`ingestd run` in the background; `lines` is empty where its standard output is another."""
        with open(self._log, "ab") as log:
            self._process = self._popen(
                *("run", "--root", str(self.root), "--url", self.url),
                stdout=log if stdout is None else stdout,
                stderr=log,
            )
        return self._process

    def _popen(self, *arguments: str, **streams: Any) -> subprocess.Popen[Any]:
        command, environment = self.command(*arguments), self.environment()
        made = WarmPopen if self.warm and can_start(command, environment) else subprocess.Popen
        return made(command, env=environment, cwd=self.root, **streams)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 40) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def drop(self, name: str, content: bytes) -> Path:
        """As a good writer does it: under a temporary name, then renamed in."""
        target = self.inbox / name
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        part.write_bytes(content)
        part.rename(target)
        return target

    def lines(self) -> list[dict[str, Any]]:
        """The log so far; a line that is not JSON fails the test."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def events(self) -> list[str]:
        return [str(line["event"]) for line in self.lines()]

    def waits(self, for_what: Callable[[], bool], timeout: float, *, alive: bool = True) -> None:
        """Until it is so. Fails with the end of the log when it takes too long, or when the daemon ends."""
        deadline = time.monotonic() + timeout
        while not for_what():
            tail = "\n".join(self._log.read_text().splitlines()[-15:]) if self._log.exists() else ""
            if alive and self._process is not None:
                assert self._process.poll() is None, f"the daemon ended with {self._process.returncode}:\n{tail}"
            assert time.monotonic() < deadline, f"not so after {timeout} s:\n{self.count()}\n{tail}"
            time.sleep(0.05)

    def files(self, folder: Path) -> list[Path]:
        """But for reason files, and what the daemon has not finished writing."""
        return sorted(p for p in _below(folder) if p.is_file() and not p.name.endswith(".reason.json") and not _ours(p))

    def reasons(self) -> dict[str, dict[str, Any]]:
        """failed/'s reason files by the path of the file."""
        found = (json.loads(p.read_bytes()) for p in _below(self.failed) if p.name.endswith(".reason.json"))
        return {reason["path"]: reason for reason in found}

    def count(self) -> Mapping[str, int]:
        return {f.name: len(self.files(f)) for f in (self.inbox, self.done, self.failed)}

    def ended(self, number: int) -> Callable[[], bool]:
        """Whether so many files are in done/ and failed/ together."""
        return lambda: len(self.files(self.done)) + len(self.files(self.failed)) >= number

    def digests(self, folder: Path) -> list[str]:
        """Of the files; one that is moved away meanwhile is left out."""
        found = []
        for path in self.files(folder):
            with suppress(FileNotFoundError):
                found.append(digest(path.read_bytes()))
        return sorted(found)


def _below(folder: Path) -> Iterator[Path]:
    """Every name that is no folder; one that goes meanwhile, as the start's probes do, is passed over (rglob would raise)."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _ours(path: Path) -> bool:
    return path.name.startswith(".ingestd-") and path.name.endswith(".tmp")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def held_by(url: str, ids: tuple[str, str, str]) -> bytes | None:
    """What the service gives back for an instance, or None."""
    study, series, instance = ids
    answer = httpx.get(
        f"{url}/studies/{study}/series/{series}/instances/{instance}",
        headers={"Accept": "application/dicom; transfer-syntax=*"},
        trust_env=False,
    )
    return answer.content if answer.status_code == 200 else None
