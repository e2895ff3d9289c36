"""A warm stand for daemons: `python tests/crash/warm.py` imports ingestd once and then forks a process for every command.

A matrix starts the daemon thousands of times, and its imports would be nearly all of what is traced. What runs in the fork is the
console script, `main()`, as a person starts it; only the longest waits are cut, since a wait is not what is tested here.

Protocol, one line each: in, a JSON object (arguments, environment, output: the file for stdout and stderr, held: the name of the
thread that waits for a tracer, program: run `-c` and a text instead of the console script); out, the process's id, and when it has
ended its exit code, negative for a signal. Held, the main thread has stopped the process (SIGSTOP); another writes its id to
`<output>.thread` and looks whether it is traced.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import ingestd.app
import ingestd.cli.daemon
import ingestd.part10.comparable  # noqa: F401 - what the daemon would import on its way
from ingestd.cli.main import main
from ingestd.daemon import loop
from ingestd.daemon.arriving import admission, intake
from ingestd.daemon.ending import endings, ledger

WAITS = {
    endings: ("UNMOVABLE_BASE_SECONDS",),
    ledger: ("RETRY_SECONDS",),
    admission: ("DUE_EVERY_SECONDS",),
    intake: ("BUSY_RETRY_SECONDS",),
    loop: ("LONGEST_SLEEP_SECONDS",),
}
CUT_SECONDS = 0.1


def serve() -> None:
    for module, names in WAITS.items():
        for name in names:
            assert getattr(module, name) > CUT_SECONDS
            setattr(module, name, CUT_SECONDS)
    while line := sys.stdin.readline():
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(job)
            if job["program"]:
                exec(sys.argv[2], {})
            else:
                main()
            return
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(job: dict[str, object]) -> None:
    """A process of its own: nothing of the stand's input or output is left to it."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(str(job["output"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)
    environment, arguments = job["environment"], job["arguments"]
    assert isinstance(environment, dict)
    assert isinstance(arguments, list)
    os.environ.update(environment)
    sys.argv = ["ingestd", *arguments]
    if job["held"] == "main":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif job["held"]:
        _hold(str(job["held"]), Path(f"{job['output']}.thread"))


def _hold(name: str, said: Path) -> None:
    """The first thread of that name says its id and does nothing until it is traced."""
    run = threading.Thread.run

    def held(thread: threading.Thread) -> None:
        if thread.name == name and not said.exists():
            # Opened before: to open it as the tracer comes would be the daemon's first call, and be failed in its place.
            status = os.open(f"/proc/self/task/{threading.get_native_id()}/status", os.O_RDONLY)
            (unfinished := said.with_suffix(".new")).write_text(str(threading.get_native_id()))
            unfinished.rename(said)
            while b"TracerPid:\t0\n" in os.pread(status, 4096, 0):
                time.sleep(0.002)
        run(thread)

    threading.Thread.run = held  # type: ignore[method-assign, assignment]  # of every class: libraries start threads as well


if __name__ == "__main__":
    serve()
