"""What a walk costs, measured in a process of its own; and sparse files, large without taking room."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ingestd

_PROGRAM = (
    "import os, re, sys, time\n"
    "from ingestd.spool.part10 import walk\n"
    "from ingestd.spool.sources import FileSource\n"
    "usage = lambda: int(re.search(r'VmHWM:\\s+([0-9]+) kB', open('/proc/self/status').read())[1]) / 1024\n"
    "opened = os.open(sys.argv[1], os.O_RDONLY)\n"
    "before, start = usage(), time.process_time()\n"
    "found = walk(FileSource(opened), os.fstat(opened).st_size)\n"
    "print(found.wholeness.value, time.process_time() - start, usage() - before)\n"
    "print(found.text)\n"
)


@dataclass(frozen=True)
class Cost:
    """CPU seconds, and by how much the largest resident memory grew."""

    wholeness: str
    text: str
    seconds: float
    megabytes: float


def walk_apart(path: Path) -> Cost:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(path)],
        env=os.environ | {"PYTHONPATH": str(Path(ingestd.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    figures, text = done.stdout.splitlines()
    wholeness, seconds, megabytes = figures.split()
    return Cost(wholeness, text, float(seconds), float(megabytes))


def sparse(folder: Path, pieces: Sequence[tuple[int, bytes]], *, size: int) -> Path:
    """A file of `size` bytes with these pieces in it, and holes between them."""
    path = folder / "sparse.dcm"
    with path.open("wb") as file:
        for at, piece in pieces:
            file.seek(at)
            file.write(piece)
        file.truncate(size)
    return path
