"""Commands that start without their imports: a process that has them already forks for each of them.

Two thirds of what a start costs are imports, and the acceptance tests start a daemon each. What runs is `main()`, as the console
script runs it, in a process of its own with its own environment, folder and output, which is a child of the tests' own
process (PR_SET_CHILD_SUBREAPER), to be waited for and killed like any other. A start that is itself what is tested, one through
another program, and one whose environment Python or a library reads at its own start, is made as everywhere else.

    python warm_start.py FD

FD is a socket. In: a message with the descriptors 0 to 2 and a JSON object (arguments, environment, folder); out: the process's id.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
ITS_OWN = ("INGESTD_", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_")  # read when `main()` runs
LONGEST = 1 << 20


class WarmPopen(subprocess.Popen[Any]):
    """As Popen, for [sys.executable, "-m", "ingestd", ...] with nothing but standard streams, an environment and a folder."""

    def _execute_child(self, args: list[str], *rest: Any) -> None:
        _, _, _, _, cwd, env, _, _, _, *pipes = rest
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite = pipes[:6]
        streams = [inherited if ours == -1 else ours for inherited, ours in enumerate((p2cread, c2pwrite, errwrite))]
        job = {"arguments": args[3:], "environment": dict(env), "folder": os.fspath(cwd)}
        try:
            self.pid = _stand().start(job, streams)
            self._child_created = True
        finally:
            self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


def can_start(command: list[str], environment: Mapping[str, str]) -> bool:
    """Whether a command can be started so."""
    return command[:3] == [sys.executable, "-m", "ingestd"] and _foreign(environment) == _foreign(os.environ)


def _foreign(environment: Mapping[str, str]) -> dict[str, str]:
    left = ("PYTEST_", "COVERAGE_")  # what only the tests' own process reads
    return {name: value for name, value in environment.items() if not name.startswith(ITS_OWN + left)}


class _Stand:
    """The process that forks."""

    def __init__(self) -> None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )

    def start(self, job: Mapping[str, Any], streams: list[int]) -> int:
        socket.send_fds(self._socket, [json.dumps(job).encode()], streams)
        answer = self._socket.recv(32)
        assert answer, f"the warm stand ended with {self._process.wait()}"
        return int(answer)


@cache
def _stand() -> _Stand:
    """One for each process of the tests; it ends with it, when its socket closes."""
    return _Stand()


def _serve(requests: socket.socket) -> None:
    """Comes back in each new process, which is then what was asked for; and at the end."""
    while True:
        message, streams, _, _ = socket.recv_fds(requests, LONGEST, 3)
        if not message:
            os._exit(0)
        told, tell = os.pipe()
        between = os.fork()
        if between == 0:
            if process := os.fork():
                os.write(tell, str(process).encode())
                os._exit(0)
            os.close(told)
            os.close(tell)
            requests.close()
            _become(json.loads(message), streams)
            return
        os.close(tell)
        process_id = os.read(told, 32)
        os.close(told)
        os.waitpid(between, 0)  # from here on the new process is the tests' child
        for stream in streams:
            os.close(stream)
        requests.send(process_id)


def _become(job: dict[str, Any], streams: list[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    for name in ("stdout", "stderr"):  # as Python makes them at its start
        stream = getattr(sys, name)
        number = stream.fileno()
        setattr(sys, name, open(number, "w", encoding=stream.encoding, errors=stream.errors, closefd=False))  # noqa: SIM115
        setattr(sys, f"__{name}__", getattr(sys, name))
    sys.stderr.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    sys.argv = ["ingestd", *job["arguments"]]


if __name__ == "__main__":
    import ingestd.app
    import ingestd.cli.daemon
    import ingestd.cli.failed_commands
    import ingestd.part10.comparable  # noqa: F401 - what a daemon would import on its way
    from ingestd.cli.main import main

    _serve(socket.socket(fileno=int(sys.argv[1])))
    main()
