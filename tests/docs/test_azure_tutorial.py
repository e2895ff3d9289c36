"""docs/azure-tutorial.md is run from top to bottom, in an empty folder, and prints what it says.

A block `console` holds commands, after `$ `, and under each what it prints. They run in one shell, in order; the emulator runs
beside it. Compared are the words, for line ends and runs of blanks are as wide as a terminal happens to be. Two things stand for
others: 8080 for a free port, and a time for any time.

    python tests/docs/test_azure_tutorial.py > new.md      # the page with what the commands print now
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "azure-tutorial.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")
STEPS = 20

pytestmark = pytest.mark.timeout(170)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command, and what the page says it prints."""

    command: str
    output: str


def steps(block: str) -> list[Step]:
    found = []
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        found.append(Step(command=command, output=output))
    return found


class Terminal:
    """A shell in a folder, with the emulator in another one."""

    def __init__(self, folder: Path, port: int) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("INGESTD_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        self._options = {
            "cwd": folder,
            "env": {**ours, "PATH": path, "LC_ALL": "C.UTF-8", "COLUMNS": "80"},
            "text": True,
        }
        self._port = port
        self._emulator: subprocess.Popen[str] | None = None
        self._shell = subprocess.Popen(
            ["bash", "--norc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **self._options
        )

    def runs(self, command: str) -> str:
        """What it prints, with 8080 for the port."""
        if command.startswith("ingestd emulator"):
            self._emulator = subprocess.Popen(
                [*command.split(), "--port", str(self._port)], stdout=subprocess.PIPE, **self._options
            )
            assert self._emulator.stdout is not None
            return self._emulator.stdout.readline().replace(str(self._port), "8080")
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{command.replace('8080', str(self._port))}\necho :end:\n")
        self._shell.stdin.flush()
        lines = []
        while not (line := self._shell.stdout.readline()).endswith(":end:\n"):
            assert line, f"the shell ended over {command}"
            lines.append(line)
        return "".join(lines).replace(str(self._port), "8080")

    def close(self) -> None:
        for process in (self._shell, self._emulator):
            if process is not None:
                process.terminate()
                process.wait(20)
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        pipe.close()


@contextmanager
def terminal(folder: Path) -> Iterator[Terminal]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    one = Terminal(folder, port)
    try:
        yield one
    finally:
        one.close()


def words(text: str) -> list[str]:
    return TIME.sub("TIME", text).split()


def test_the_page_has_every_step_of_the_tutorials() -> None:
    """Twenty requests, in Microsoft's order."""
    assert re.findall(r"^## (\d+)\. ", PAGE.read_text(), re.MULTILINE) == [str(n) for n in range(1, STEPS + 1)]


@pytest.mark.slow
def test_the_page_prints_what_it_says(tmp_path: Path) -> None:
    """Every command of it, in order, in an empty folder."""
    asked = [step for block in BLOCK.findall(PAGE.read_text()) for step in steps(block)]
    assert len(asked) > STEPS
    with terminal(tmp_path) as shell:
        for step in asked:
            assert (step.command, words(shell.runs(step.command))) == (step.command, words(step.output))


def folded(output: str) -> str:
    """No line longer than the page's own."""
    lines = []
    for line in output.splitlines():
        indent = " " * (len(line) - len(line.lstrip()))
        lines += textwrap.wrap(line, 130, subsequent_indent=indent, break_on_hyphens=False, drop_whitespace=False) or [
            ""
        ]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _renewed() -> str:
    def block(match: re.Match[str]) -> str:
        return (
            "```console\n" + "".join(f"$ {s.command}\n{folded(shell.runs(s.command))}" for s in steps(match[1])) + "```"
        )

    with tempfile.TemporaryDirectory() as folder, terminal(Path(folder)) as shell:
        return BLOCK.sub(block, PAGE.read_text())


if __name__ == "__main__":
    print(_renewed(), end="")
