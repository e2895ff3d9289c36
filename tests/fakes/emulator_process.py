"""The embedded service as a process of its own, so that its memory can be looked at."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fakes.admin_pages import cpu_seconds

_CODE = (
    "import sys, pathlib; from ingestd.emulator.server import serve;"
    "serve(host='127.0.0.1', port=0, data=pathlib.Path(sys.argv[1]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorProcess:
    """`url` without the version."""

    url: str
    pid: int

    def peak_bytes(self) -> int:
        """The most memory that it ever had, since it began or since `forget_peak`."""
        return self._status("VmHWM")

    def memory_bytes(self) -> int:
        """What it has now."""
        return self._status("VmRSS")

    def cpu_seconds(self) -> float:
        """Processor time of all its threads since it began."""
        return cpu_seconds(self.pid)

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


@contextmanager
def emulator_process(data: Path) -> Iterator[EmulatorProcess]:
    """Serves until the block is left. AssertionError when it wrote to stderr, but for its word on what is no request."""
    command = [sys.executable, "-c", _CODE, os.fspath(data)]
    errors = data.with_name(data.name + ".stderr")
    with (
        errors.open("wb") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            yield EmulatorProcess(url=line.split()[-1].removesuffix("/v2"), pid=process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    said = set(errors.read_text().splitlines()) - {"Invalid HTTP request received."}
    assert (said, process.returncode) == (set(), 0)
