"""What can be compared of a file, read by pydicom within bounds."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from fakes.spool_fakes import part10

from ingestd.part10.comparable import comparable_elements

WHOLE = part10()
DATA_SET = WHOLE.index(b"\x08\x00\x16\x00UI")
IMAGE = WHOLE.index(b"\x28\x00\x02\x00US")  # the patient stands before it, the pixels behind
PIXELS = WHOLE.index(b"\xe0\x7f\x10\x00")
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
MEASURE = """
import os, re, sys
from ingestd.part10.comparable import comparable_elements
def most(): return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10
before = most()
found = comparable_elements(os.open(sys.argv[1], os.O_RDONLY))
print(most() - before, *found.get("00100010", ("none",)))
"""


def sequence(items: bytes) -> bytes:
    """Of undefined length, so it must be walked."""
    head = struct.pack("<HH2sHI", 0x0019, 0x1010, b"SQ", 0, 0xFFFFFFFF)
    return head + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def elements(count: int) -> bytes:
    return b"".join(struct.pack("<HH2sH", 0x0022 + (n >> 16), n & 0xFFFF, b"LO", 0) for n in range(count))


def deflated(data: bytes, *, then_zeros: int = 0) -> bytes:
    """A Part 10 file in Deflated Explicit VR Little Endian (PS3.5 A.5) of this data set, and of zeros behind it."""
    meta = WHOLE[132:DATA_SET].replace(
        b"\x10\x00UI\x14\x00" + b"1.2.840.10008.1.2.1\0", b"\x10\x00UI\x16\x00" + b"1.2.840.10008.1.2.1.99"
    )
    length = struct.pack("<I", len(meta) - 12)
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = packer.compress(data)
    for _ in range(then_zeros >> 20):
        packed += packer.compress(bytes(1 << 20))
    return WHOLE[:132] + meta[:8] + length + meta[12:] + packed + packer.flush()


def found(tmp_path: Path, content: bytes) -> dict[str, tuple[str, ...]]:
    (tmp_path / "x.dcm").write_bytes(content)
    handle = os.open(tmp_path / "x.dcm", os.O_RDONLY)
    try:
        return comparable_elements(handle)
    finally:
        os.close(handle)


def test_a_deflated_data_set_says_what_the_plain_one_says(tmp_path: Path) -> None:
    """F32: it is inflated here, and not by pydicom, which knows no bound."""
    plain = found(tmp_path, WHOLE)
    assert plain["00100010"] == ("A^B",)
    assert found(tmp_path, deflated(WHOLE[DATA_SET:])) == plain


COSTLY = {
    "a million items": WHOLE[:IMAGE] + sequence(ITEM * 990_000) + WHOLE[IMAGE:],
    "300,000 elements": WHOLE[:IMAGE] + elements(300_000) + WHOLE[IMAGE:],
    "deflated, 1 GiB of pixels": deflated(
        WHOLE[DATA_SET:PIXELS] + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 1 << 30), then_zeros=1 << 30
    ),
    "deflated, 5 million items": deflated(WHOLE[DATA_SET:IMAGE] + sequence(ITEM * 5_000_000)),
    "deflated, 1 GiB of nothing": deflated(WHOLE[DATA_SET:IMAGE], then_zeros=1 << 30),
}


@pytest.mark.parametrize("content", COSTLY.values(), ids=COSTLY)
def test_what_would_cost_too_much_is_compared_by_its_beginning(tmp_path: Path, content: bytes) -> None:
    """F32, I8: pydicom took 2 GiB for the third; the patient stands before it and is compared all the same."""
    (tmp_path / "x.dcm").write_bytes(content)
    ended = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path / "x.dcm"], capture_output=True, text=True, check=True, timeout=60
    )
    megabytes, name = ended.stdout.split()
    assert name == "A^B"
    assert int(megabytes) < 128


@pytest.mark.parametrize("cut", [2, 5, 8, 9, 20])
def test_half_a_value_is_no_evidence(tmp_path: Path, cut: int) -> None:
    """I2: it would differ from the service's whole one, and be called a conflict."""
    content = WHOLE[:IMAGE]
    whole = found(tmp_path, content)
    part = found(tmp_path, content[:-cut])
    assert part.items() <= whole.items()
    assert "00100010" in part
