"""strace(1): what a process did to the disk and the wire, and how to break it at exactly one of those calls.

What strace's tampering does, found out with strace 6.1 (test_strace_does_what_the_matrix_believes):

- `signal=KILL` is delivered on the way into the call, and the kernel then skips the call: killed *before*.
- `delay_exit` holds the process after the call was carried out, and strace writes the line out before the wait is over; who kills
  the process in that wait killed it *after*.
- `error=` replaces the call: it fails, and nothing happened.
- `when=N` counts for each thread apart, so one thread alone is traced (no -f), and it waits until it is.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

OPENS = ("open", "openat", "openat2", "creat")
AT = (
    "openat",
    "openat2",
    "mkdirat",
    "unlinkat",
    "linkat",
    "renameat",
    "renameat2",
    "symlinkat",
    "fchmodat",
    "fchownat",
    "utimensat",
)
WRITES = ("write", "writev", "pwrite64", "pwritev", "pwritev2", "copy_file_range", "sendfile", "ftruncate", "fallocate")
SYNCS = ("fsync", "fdatasync", "syncfs", "sync_file_range")
BY_PATH = (
    "open",
    "creat",
    "truncate",
    "link",
    "rename",
    "unlink",
    "rmdir",
    "mkdir",
    "symlink",
    "chmod",
    "chown",
    "lchown",
    "utime",
    "utimes",
)
SENDS = ("sendto", "sendmsg", "sendmmsg")
TRACED = sorted({*AT, *WRITES, *SYNCS, "fchmod", "fchown", *BY_PATH, *SENDS})
FIRST_LONG, LONG = "60s", 10.0  # how long a call is held at its exit, and how long a step of strace's may take

_CALL = re.compile(r"^(?:(\d+) +)?(\w+)\((.*)\) += +(\?|-?\w+)(.*)$")
_UNFINISHED = re.compile(r"^(?:(\d+) +)?(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(?:(\d+) +)?<\.\.\. \w+ resumed>(.*)$")
_ARGUMENT = re.compile(r'(?:\d+|AT_FDCWD)<(?P<handle>(?:->|[^<>])*)>|"(?P<text>(?:[^"\\]|\\.)*)"(?:\.\.\.)?')


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One system call; `thread` is 0 where only one was traced, `count` its number among its thread's of that name."""

    thread: int
    name: str
    arguments: str
    result: str
    remark: str
    paths: tuple[str, ...]
    count: int

    @property
    def writes(self) -> bool:
        """Whether it changes something; an open for reading does not."""
        return self.name not in OPENS or any(
            flag in self.arguments for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC")
        )

    @property
    def succeeded(self) -> bool:
        return self.result.isdigit()

    @property
    def tampered(self) -> bool:
        """Whether this is the call that was broken."""
        return self.result == "?" or "INJECTED" in self.remark or "DELAYED" in self.remark


def calls(trace: str) -> list[Call]:
    """The calls of a trace, each where it began."""
    counts: dict[tuple[int, str], int] = {}
    begun: dict[int, int] = {}
    lines: list[str] = []
    for line in trace.splitlines():
        if found := _UNFINISHED.match(line):
            begun[int(found[1] or 0)] = len(lines)
            lines.append(line.removesuffix(" <unfinished ...>"))
        elif (found := _RESUMED.match(line)) and int(found[1] or 0) in begun:
            lines[begun.pop(int(found[1] or 0))] += found[2]
        else:
            lines.append(line)
    out: list[Call] = []
    for line in lines:
        if found := _CALL.match(line):
            thread, name = int(found[1] or 0), found[2]
            count = counts[thread, name] = counts.get((thread, name), 0) + 1
            call = Call(
                thread=thread,
                name=name,
                arguments=found[3],
                result=found[4],
                remark=found[5],
                paths=_paths(name, found[3]),
                count=count,
            )
            out.append(call)
    return out


def _paths(name: str, arguments: str) -> tuple[str, ...]:
    found = list(_ARGUMENT.finditer(arguments))
    if name in BY_PATH:
        return tuple(_text(m["text"]) for m in found if m["text"] is not None)
    if name not in AT:
        return tuple(m["handle"].removesuffix(" (deleted)") for m in found[:1] if m["handle"] is not None)
    out: list[str] = []
    folder = ""
    for m in found:
        if m["handle"] is not None:
            folder = m["handle"]
        else:
            out.append(os.path.join(folder, _text(m["text"])))
    return tuple(out) or (folder,)  # utimensat(2) on a handle names nothing


def _text(quoted: str) -> str:
    return quoted.encode().decode("unicode_escape").encode("latin-1").decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tampering:
    """What is done to the `count`-th call of that name: `how` is "before", "after" or the name of an errno."""

    name: str
    count: int
    how: str

    @property
    def expression(self) -> str:
        what = {"before": "signal=KILL", "after": f"delay_exit={FIRST_LONG}"}.get(self.how, f"error={self.how}")
        return f"{self.name}:{what}:when={self.count}"


class Strace:
    """strace on one thread of a process, or on all of them."""

    def __init__(
        self, pid: int, log: Path, thread: int, *, everybody: bool, tampering: Tampering | None, always: tuple[str, ...]
    ) -> None:
        self._pid = pid
        self._log = log
        self._tampering = tampering
        command = ["strace", "-qq", "-s", "0", "-yy", "-o", str(log), "-p", str(thread), "-e", "signal=none"]
        command += ["-e", "trace=" + ",".join(f"?{name}" for name in TRACED), *(["-f"] if everybody else [])]
        for expression in (*always, *([tampering.expression] if tampering else [])):
            command += ["-e", f"inject={expression}"]
        if thread == pid:
            _until(lambda: _state(pid) == "T")
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        _until(lambda: _tracer(thread) == self._process.pid or self._process.poll() is not None)
        if self._process.poll() is not None:
            os.kill(pid, signal.SIGKILL)
            raise RuntimeError(f"strace ended: {self._process.communicate()[1]}")
        if thread == pid:
            os.kill(pid, signal.SIGCONT)

    def kill_after(self) -> bool:
        """Whether the process is held after the call that is to be its last; it is killed then. To be asked until it has ended."""
        if self._tampering is None or self._tampering.how != "after" or "(DELAYED)" not in self._log.read_text():
            return False
        os.kill(self._pid, signal.SIGKILL)
        self._process.kill()  # it would sit the delay out before it lets the dead process go
        return True

    def end(self) -> list[Call]:
        """What was traced, once the process has ended."""
        self._process.communicate(timeout=LONG)
        return calls(self._log.read_text(errors="surrogateescape"))


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def _tracer(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("TracerPid:")[2].split()[0])


def _until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
