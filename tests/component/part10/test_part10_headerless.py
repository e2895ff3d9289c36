"""Data sets without a Part 10 header, or with a part of one (F95): what they are called, and what where they may be sent."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from fakes.part10_verdicts import SENDABLE
from fakes.part10_writer import (
    BIG,
    CT,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    SR,
    Writer,
    encapsulated,
    head,
    identity,
    image_pixel,
    nested,
    part10,
    pixels,
)

from ingestd.core.answers.reasons import Wholeness
from ingestd.core.model import Inspection
from ingestd.part10.digests import Arrival, digest_of
from ingestd.part10.file_meta import BARE, BEGINNING, NO_GROUP, NO_PREAMBLE, NO_SYNTAX, begins_like_dicom
from ingestd.part10.views import BytesSource
from ingestd.part10.walk import walk
from ingestd.spool.intake.inbox import SMALL, InboxFolder

PREAMBLE = bytes(128) + b"DICM"


def data_set(syntax: str = EXPLICIT) -> bytes:
    w = Writer(syntax)
    before = identity(w)
    return b"".join([*before[:2], nested(w), *before[2:], *image_pixel(w), pixels(w)])


def group(syntax: str | None, *, order: str = EXPLICIT) -> bytes:
    w = Writer(order)
    found = w.element(0x00020002, b"UI", CT.encode()) + w.element(0x00020003, b"UI", b"1.2.3.3")
    return found + (w.element(0x00020010, b"UI", syntax.encode()) if syntax is not None else b"")


# The file, where its data set begins, its transfer syntax, what is said of it.
CASES = {
    "explicit": (data_set(), 0, EXPLICIT, BARE),
    "implicit": (data_set(IMPLICIT), 0, IMPLICIT, BARE),
    "big endian": (data_set(BIG), 0, BIG, BARE),
    "a preamble only": (PREAMBLE + data_set(), 132, EXPLICIT, NO_GROUP),
    "a preamble only, implicit": (PREAMBLE + data_set(IMPLICIT), 132, IMPLICIT, NO_GROUP),
    "no preamble": (group(EXPLICIT) + data_set(), len(group(EXPLICIT)), EXPLICIT, NO_PREAMBLE),
    "no preamble, implicit": (group(IMPLICIT) + data_set(IMPLICIT), len(group(IMPLICIT)), IMPLICIT, NO_PREAMBLE),
    "no transfer syntax": (PREAMBLE + group(None) + data_set(), 132 + len(group(None)), EXPLICIT, NO_SYNTAX),
    "no transfer syntax, implicit": (
        PREAMBLE + group(None) + data_set(IMPLICIT),
        132 + len(group(None)),
        IMPLICIT,
        NO_SYNTAX,
    ),
    "an empty transfer syntax": (PREAMBLE + group("") + data_set(), 132 + len(group("")), EXPLICIT, NO_SYNTAX),
    "letters as transfer syntax": (PREAMBLE + group("LE") + data_set(BIG), 132 + len(group("LE")), BIG, NO_SYNTAX),
    "neither preamble nor transfer syntax": (group(None) + data_set(), len(group(None)), EXPLICIT, NO_SYNTAX),
}
each = pytest.mark.parametrize(("content", "begins", "syntax", "lacks"), CASES.values(), ids=CASES)


def judged(content: bytes, *, headerless: bool = False) -> Inspection:
    return walk(BytesSource(content), len(content), headerless=headerless)


@each
def test_what_lacks_a_header_is_called_so(content: bytes, begins: int, syntax: str, lacks: str) -> None:
    """F95: its own reason, never "not DICOM"; the words say what is missing and what adds it."""
    found = judged(content)
    assert (found.wholeness, found.text, found.data_set_at) == (Wholeness.NO_HEADER, lacks, begins)
    assert "dcmconv" in found.text
    assert found.ids is not None
    assert found.ids.key == ("1.2.3.1", "1.2.3.2", "1.2.3.3")
    assert begins_like_dicom(content[:BEGINNING])


@each
def test_where_it_may_be_sent_it_is_whole(content: bytes, begins: int, syntax: str, lacks: str) -> None:
    """intake.headerless = send: the transfer syntax is declared, or what the data set shows; and it is noted."""
    found = judged(content, headerless=True)
    assert (found.wholeness, found.text, found.data_set_at) == (Wholeness.WHOLE, "", begins)
    assert found.ids is not None
    assert found.ids.transfer_syntax_uid == syntax
    assert lacks.startswith(found.notes[0])
    assert judged(content + bytes(100), headerless=True).wholeness is Wholeness.WHOLE_ZERO_TAIL


@each
def test_no_cut_of_it_is_sent(content: bytes, begins: int, syntax: str, lacks: str) -> None:
    """F17: at every offset, whatever intake.headerless says."""
    assert [cut for cut in range(len(content)) if judged(content[:cut], headerless=True).wholeness in SENDABLE] == []


@each
def test_a_cut_of_it_is_never_called_headerless(content: bytes, begins: int, syntax: str, lacks: str) -> None:
    """F17: whoever adds a header to half a file has half a file."""
    assert [cut for cut in range(len(content)) if judged(content[:cut]).wholeness is Wholeness.NO_HEADER] == []


@each
@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_its_digest_is_that_of_its_data_set(
    content: bytes, begins: int, syntax: str, lacks: str, piece: int, tmp_path: Path
) -> None:
    """DESIGN 3a: a file without header from its first byte; as it arrives, too, so that what the service holds can be compared."""
    expected = hashlib.sha256(content[begins:]).hexdigest()
    (tmp_path / "a.dcm").write_bytes(content)
    handle = os.open(tmp_path / "a.dcm", os.O_RDONLY)
    try:
        assert digest_of(handle) == expected
    finally:
        os.close(handle)
    arrival = Arrival()
    for at in range(0, len(content), piece):
        arrival.write(content[at : at + piece])
    arrival.end()
    assert (arrival.sha256, arrival.transfer_syntax_uid) == (expected, syntax)
    assert arrival.key == ("1.2.3.1", "1.2.3.2", "1.2.3.3")


def test_a_header_that_a_service_adds_changes_no_digest() -> None:
    """DESIGN 3a: what was sent bare and comes back with a header is the same image."""
    bare, carried = Arrival(), Arrival()
    bare.write(data_set())
    carried.write(head() + data_set())
    for one in (bare, carried):
        one.end()
    assert bare.sha256 == carried.sha256 is not None
    assert bare.transfer_syntax_uid == carried.transfer_syntax_uid


@pytest.mark.parametrize("start", [b"", PREAMBLE, PREAMBLE + group(None)], ids=["bare", "a preamble", "no syntax"])
def test_compressed_pixel_data_without_a_transfer_syntax_are_nobodys(start: bytes) -> None:
    """F95: nothing says how they are compressed, so it is sent on a person's word alone."""
    w = Writer()
    content = start + b"".join([*identity(w), *image_pixel(w), encapsulated(w)])
    found = judged(content, headerless=True)
    assert (found.wholeness, found.ids is None) == (Wholeness.NO_HEADER, False)
    assert found.text.endswith("its pixel data is compressed, and nothing in the file says how")
    declared = group(JPEG) + b"".join([*identity(w), *image_pixel(w), encapsulated(w)])
    assert judged(declared, headerless=True).wholeness is Wholeness.WHOLE


def test_file_meta_in_big_endian_is_read_and_noted() -> None:
    """F95: writers that use the data set's byte order for group 0002; its data set begins behind it, in the syntax it declares."""
    for syntax in (BIG, EXPLICIT):
        content = PREAMBLE + group(syntax, order=BIG) + data_set(syntax)
        found = judged(content)
        assert (found.wholeness, found.data_set_at) == (Wholeness.WHOLE, len(content) - len(data_set(syntax)))
        assert found.ids is not None
        assert found.ids.transfer_syntax_uid == syntax
        assert "file meta information in big endian" in found.notes


def test_dicm_in_a_value_of_a_bare_data_set_is_no_preamble() -> None:
    """F95."""
    w = Writer()
    start = w.element(0x00080005, b"CS", b"ISO_IR 100")
    text = w.header(0x00080008, b"CS", 200)
    content = start + text + (b"x" * (128 - len(start) - len(text)) + b"DICM").ljust(200, b"x")
    content += b"".join([*identity(w), *image_pixel(w), pixels(w)])
    assert content[128:132] == b"DICM"
    found = judged(content, headerless=True)
    assert (found.wholeness, found.data_set_at) == (Wholeness.WHOLE, 0)


def test_a_true_verdict_comes_before_the_missing_header() -> None:
    """F95: what else is wrong with it stays wrong with a header."""
    w = Writer()
    assert judged(b"".join(identity(w)[:4])).wholeness is Wholeness.TRUNCATED
    assert judged(b"".join([*identity(w), *image_pixel(w)])).wholeness is Wholeness.NO_PIXEL_DATA
    assert judged(b"".join([*identity(w)[:4], *image_pixel(w), pixels(w)])).wholeness is Wholeness.NO_UID
    assert judged(b"".join(identity(w, sop_class=SR))).wholeness is Wholeness.NO_HEADER


@pytest.mark.parametrize(
    ("beginning", "like"),
    [
        (b"", False),
        (b"Dear colleague,\r\n" * 20, False),
        (b"\x89PNG\r\n\x1a\n".ljust(200, b"\0"), False),
        (bytes(200), False),
        (bytes(128) + b"DICM", True),
        (part10([])[:BEGINNING], True),
        (b"\x08\0\5\0CS\x0a\0ISO_IR 100", True),
        (b"\x08\0\5\0\x0a\0\0\0ISO_IR 100", True),
        (b"\0\x08\0\5CS\0\x0aISO_IR 100", True),
        (b"\x08\0\5\0\0\0\5\0ISO_IR 100", False),
        (b"\x10\0\x10\0PN\4\0A^B ", False),
    ],
)
def test_what_begins_like_dicom(beginning: bytes, like: bool) -> None:
    """F95: one rule, for a folder that is stored by hand as for the walk."""
    assert begins_like_dicom(beginning) is like


@pytest.mark.parametrize("size", [0, SMALL])
def test_the_inbox_goes_by_its_setting(size: int, tmp_path: Path) -> None:
    """intake.headerless: the bytes go out as they are (I4), small files and large ones."""
    w = Writer()
    content = b"".join([*identity(w), *image_pixel(w), pixels(w, size + 32)])
    (tmp_path / "a.dcm").write_bytes(content)
    assert InboxFolder(tmp_path).examine("a.dcm")[1].wholeness is Wholeness.NO_HEADER
    _, found = InboxFolder(tmp_path, headerless=True).examine("a.dcm")
    assert found.wholeness is Wholeness.WHOLE
    assert found.content == (None if size else content)
    assert found.sha256 == (None if size else hashlib.sha256(content).hexdigest())
