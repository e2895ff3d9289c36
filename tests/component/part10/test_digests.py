"""The digest of a data set, in a file and while it arrives in pieces (I2, F88)."""

from __future__ import annotations

import hashlib
import os
import random
import struct
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from ingestd.part10.digests import HEADER_LIMIT, Arrival, data_set_at, digest_of
from ingestd.part10.views import BytesSource
from ingestd.part10.walk import walk

IMPLICIT, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"
FILES = ["CT_small.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "JPEG2000.dcm", "rtplan.dcm", "SC_rgb_rle.dcm"]


def element(group: int, number: int, vr: str, value: bytes) -> bytes:
    long = vr in ("OB", "UN")
    head = struct.pack("<HH", group, number) + vr.encode() + (b"\0\0" if long else b"")
    return head + struct.pack("<I" if long else "<H", len(value)) + value


def carried(data_set: bytes, *, preamble: bytes = bytes(128), sender: bytes = b"MODALITY", more: bytes = b"") -> bytes:
    """The same data set as another system would send it on."""
    group = (
        element(2, 1, "OB", b"\0\1")
        + element(2, 3, "UI", b"1.2.3.4.5\0")
        + element(2, 16, "UI", b"1.2.840.10008.1.2.1\0")
        + element(2, 22, "AE", sender)
        + more
    )
    return preamble + b"DICM" + element(2, 0, "UL", struct.pack("<I", len(group))) + group + data_set


DATA_SET = (
    element(8, 22, "UI", b"1.2.840.10008.5.1.4.1.1.66\0")
    + element(8, 24, "UI", b"1.2.3.4.5\0")
    + element(0x20, 13, "UI", b"1.2.3\0")
    + element(0x20, 14, "UI", b"1.2.3.4\0")
    + element(0x20, 19, "IS", b"1 ")
)
DIGEST = hashlib.sha256(DATA_SET).hexdigest()


def arrived(content: bytes, *, piece: int) -> Arrival:
    arrival = Arrival()
    for at in range(0, len(content), piece):
        arrival.write(content[at : at + piece])
    arrival.end()
    return arrival


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("piece", [7, 4096, 1 << 20])
def test_real_files_have_one_digest_however_they_are_read(name: str, piece: int, tmp_path: Path) -> None:
    """pydicom says where the data set begins, and knows nothing of us."""
    content = Path(get_testdata_file(name)).read_bytes()
    with open(get_testdata_file(name), "rb") as file:
        pydicom.filereader.read_preamble(file, False)
        pydicom.filereader._read_file_meta_info(file)
        begins = file.tell()
    expected = hashlib.sha256(content[begins:]).hexdigest()
    assert walk(BytesSource(content), len(content)).data_set_at == begins
    assert data_set_at(BytesSource(content), len(content)) == begins
    one = arrived(content, piece=piece)
    found = pydicom.dcmread(get_testdata_file(name))
    assert one.sha256 == expected
    assert one.transfer_syntax_uid == found.file_meta.TransferSyntaxUID
    assert one.key == (found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID)
    (tmp_path / "a.dcm").write_bytes(content)
    handle = os.open(tmp_path / "a.dcm", os.O_RDONLY)
    try:
        assert digest_of(handle) == expected
    finally:
        os.close(handle)


@pytest.mark.parametrize(
    "content",
    [
        carried(DATA_SET),
        carried(DATA_SET, preamble=b"II*\0" + bytes(124)),
        carried(DATA_SET, sender=b"ANOTHER_AE"),
        carried(DATA_SET, more=element(2, 0x102, "OB", bytes(9000))),
        carried(DATA_SET).replace(b"UL\4\0" + carried(DATA_SET)[140:144], b"UL\4\0\1\0\0\0"),
    ],
    ids=["plain", "tiff preamble", "another sender", "private information", "wrong group length"],
)
@pytest.mark.parametrize("piece", [1, 13, 1000, 100_000])
def test_who_sent_it_on_does_not_matter(content: bytes, piece: int) -> None:
    """F88: the same image, re-sent by dcmtk, was a conflict 120 times of 120."""
    one = arrived(content, piece=piece)
    assert (one.sha256, one.key) == (DIGEST, ("1.2.3", "1.2.3.4", "1.2.3.4.5"))
    assert one.possible


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>" * 100,
        bytes(128) + b"DIC",
        bytes(132),
        carried(b""),
        carried(DATA_SET)[:200],
        bytes(128) + b"DICM",
    ],
)
@pytest.mark.parametrize("piece", [1, 4096])
def test_what_is_no_whole_object_has_no_digest(content: bytes, piece: int) -> None:
    one = arrived(content, piece=piece)
    assert (one.sha256, one.key, one.transfer_syntax_uid) == (None, None, None)


def test_what_has_not_ended_has_no_digest() -> None:
    """I2: half of it is the beginning of the whole."""
    one = Arrival()
    one.write(carried(DATA_SET))
    assert one.sha256 is None
    one.end()
    assert one.sha256 == DIGEST


def test_a_cut_anywhere_is_another_digest() -> None:
    """F78: an image of which half is held has other bytes, though the same metadata."""
    content = carried(DATA_SET)
    begins = len(content) - len(DATA_SET)
    for end in range(begins + 8, len(content)):
        assert arrived(content[:end], piece=50).sha256 == hashlib.sha256(content[begins:end]).hexdigest() != DIGEST


def test_what_comes_is_not_kept() -> None:
    """I8: 4 GiB may come; a header without end is given up."""
    one = Arrival()
    one.write(carried(DATA_SET))
    for _ in range(20):
        one.write(bytes(HEADER_LIMIT // 8))
    assert len(one._head) < 2 * HEADER_LIMIT
    endless = Arrival()
    endless.write(bytes(128) + b"DICM")
    while endless.possible:
        endless.write(element(2, 0x102, "OB", bytes(60_000)))
        assert len(endless._head) < 2 * HEADER_LIMIT
    endless.end()
    assert endless.sha256 is None


def test_a_header_in_small_pieces_costs_no_more_than_its_length() -> None:
    """I8: it is read again when half as much again has come, not at each byte."""
    content = carried(DATA_SET, more=element(2, 0x102, "OB", random.Random(1).randbytes(60_000)))
    one = Arrival()
    reads = 0
    begin = one._begin

    def counted(*, more: bool) -> None:
        nonlocal reads
        reads += 1
        begin(more=more)

    one._begin = counted  # type: ignore[method-assign]
    for byte in content:
        one.write(bytes((byte,)))
    one.end()
    assert one.sha256 == DIGEST
    assert reads < 60
