"""The walk's verdict on bytes, what must hold of it whatever the bytes were, and what it costs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from fakes.part10_writer import CANARY, DEFLATES

import ingestd
from ingestd.core.answers.reasons import Wholeness
from ingestd.core.model import Inspection
from ingestd.part10.views import BytesSource, Source
from ingestd.part10.walk import walk

SENDABLE = (Wholeness.WHOLE, Wholeness.WHOLE_ZERO_TAIL)


def judge(content: bytes, source: Source | None = None) -> Inspection:
    """But for where the data set begins, which test_digests.py is about. `source`: another one of these bytes."""
    return replace(walk(source or BytesSource(content), len(content)), data_set_at=0)


def verdict(content: bytes) -> Wholeness:
    return judge(content).wholeness


class Sipping(BytesSource):
    """Gives a few bytes at a time, as a network file system may."""

    def read_at(self, offset: int, length: int) -> bytes:
        return super().read_at(offset, min(length, 1021))


def wrong(data: bytes, found: Inspection, *, often: bool = True) -> str:
    """What is wrong with the verdict `found` on `data`, empty if nothing is. `often` asks the dear questions too."""
    if "\n" in found.text or len(found.text) > 200 or not found.text.isascii():
        return "a text that is no short line"
    if (found.text == "") is not (found.wholeness is Wholeness.WHOLE):
        return "a text where none is due, or none where one is"
    if CANARY in repr(found):
        return "a value in the verdict (I7)"
    if found.ids is None and found.wholeness in SENDABLE:
        return "sent without its UIDs"
    if not often:
        return ""
    if judge(data, Sipping(data)) != found:
        return "another verdict where reads are short"
    if found.wholeness is Wholeness.WHOLE and found.ids and found.ids.transfer_syntax_uid not in DEFLATES:
        cut = walk(BytesSource(data), len(data) - 1)  # behind a deflate stream the last byte may be a pad
        if cut.wholeness in SENDABLE:
            return "whole without its last byte"
    return ""


@dataclass(frozen=True)
class Cost:
    """CPU seconds, and by how much the largest resident memory grew."""

    wholeness: str
    text: str
    seconds: float
    megabytes: float


_PROGRAM = (
    "import os, re, sys, time\n"
    "from ingestd.part10.walk import walk\n"
    "from ingestd.part10.views import FileSource\n"
    "usage = lambda: int(re.search(r'VmHWM:\\s+([0-9]+) kB', open('/proc/self/status').read())[1]) / 1024\n"
    "opened = os.open(sys.argv[1], os.O_RDONLY)\n"
    "before, start = usage(), time.process_time()\n"
    "found = walk(FileSource(opened), os.fstat(opened).st_size)\n"
    "print(found.wholeness.value, time.process_time() - start, usage() - before)\n"
    "print(found.text)\n"
)


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
