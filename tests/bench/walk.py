"""What the walk costs beside pydicom's dcmread, on one 512 KiB CT in one run: python tests/bench/walk.py

Interleaved, so that a busy machine slows all alike, and in turns of like length: what a turn begins with (cold caches, some 70 us)
would weigh ten times as much on the shorter of two. The median of many rounds; the file is in the page cache. The header is that of
pydicom's CT_small.dcm, a scanner's own, with 512 x 512 pixels behind it. Opening, walking and closing a file must cost at most a
tenth of dcmread. With --worst it prints what the worst known file for each bound costs instead.
"""

from __future__ import annotations

import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from fakes.part10_bombs import BOMBS  # noqa: E402 - behind the path
from fakes.part10_verdicts import walk_apart  # noqa: E402 - behind the path

from ingestd.part10.views import BytesSource, FileSource  # noqa: E402 - behind the path
from ingestd.part10.walk import walk  # noqa: E402 - behind the path

ROUNDS = 300
DCMREADS = 10  # in a turn
WALKS = 100
MOST = 0.1


def slice_of_ct() -> bytes:
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    dataset.Rows = dataset.Columns = 512
    dataset.PixelData = bytes(i % 251 for i in range(1024)) * 512
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def walk_path(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        walk(FileSource(descriptor), os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def costs(content: bytes, rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds by reader."""
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(content)
        file.flush()
        readers: dict[str, tuple[int, Callable[[], object]]] = {
            "walk, file": (WALKS, lambda: walk_path(file.name)),
            "dcmread, file": (DCMREADS, lambda: pydicom.dcmread(file.name)),
            "walk, bytes": (WALKS, lambda: walk(BytesSource(content), len(content))),
            "dcmread, bytes": (DCMREADS, lambda: pydicom.dcmread(io.BytesIO(content))),
        }
        seconds: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(rounds):
            for name, (times, read) in readers.items():
                start = time.perf_counter()
                for _ in range(times):
                    read()
                seconds[name].append((time.perf_counter() - start) / times)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def compare() -> int:
    found = costs(slice_of_ct())
    for name, median in found.items():
        print(f"{name:20} {median * 1e6:8.1f} us")
    ratios = {kind: found[f"walk, {kind}"] / found[f"dcmread, {kind}"] for kind in ("file", "bytes")}
    for kind, ratio in ratios.items():
        print(f"walk / dcmread, {kind}: {ratio:.3f}")
    return int(ratios["file"] > MOST)


def worst() -> int:
    with tempfile.TemporaryDirectory() as folder:
        for bomb in BOMBS:
            path = Path(folder, "bomb.dcm")
            bomb.write(path)
            cost = walk_apart(path)
            print(f"{bomb.name:40} {cost.seconds:5.2f} s {cost.megabytes:5.1f} MB  {cost.wholeness}: {cost.text}")
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(worst() if "--worst" in sys.argv else compare())
