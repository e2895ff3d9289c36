"""The Part 10 walk against whole, cut, awkward and hostile files."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

import pydicom
import pytest
from fakes.part10_files import MADE, TRANSFER_SYNTAXES, Made
from fakes.part10_verdicts import SENDABLE, Sipping, judge, verdict
from fakes.part10_writer import (
    BIG,
    CANARY,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    JPIP,
    JPIP_DEFLATED,
    SR,
    UNDEFINED,
    Writer,
    deflate,
    encapsulated,
    head,
    identity,
    image_pixel,
    nested,
    part10,
    pixels,
)
from pydicom.uid import UID_dictionary

from ingestd.core.answers.reasons import Wholeness
from ingestd.core.errors import FileBusyError
from ingestd.core.model import Identifiers, Inspection
from ingestd.part10.views import BytesSource, FileSource
from ingestd.part10.walk import walk

SPECTROSCOPY = "1.2.840.10008.5.1.4.1.1.4.2"
RAW_DATA = "1.2.840.10008.5.1.4.1.1.66"
PRIVATE_CLASS = "1.3.12.2.1107.5.9.1"


def stored(data: bytes) -> bytes:
    """A deflate block that is not the last one and holds the data as they are (RFC 1951 3.2.4)."""
    return b"\0" + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data


def image(syntax: str = EXPLICIT) -> list[bytes]:
    """The top-level elements of a CT slice."""
    w = Writer(syntax)
    before, after = identity(w), [w.element(0x0020000F, b"IS", b"1"), nested(w, 0x00209221)]
    bulk = encapsulated(w) if syntax == JPEG else pixels(w)
    return [*before[:2], nested(w), *before[2:], *after, *image_pixel(w), bulk]


def report() -> list[bytes]:
    w = Writer()
    return [*identity(w, sop_class=SR), w.element(0x0040A040, b"CS", b"CONTAINER"), nested(w, 0x0040A730)]


SYNTAXES = {"explicit": EXPLICIT, "implicit": IMPLICIT, "big endian": BIG, "encapsulated": JPEG, "deflated": DEFLATED}
every_syntax = pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)

IDS = Identifiers(
    study_uid="1.2.3.1",
    series_uid="1.2.3.2",
    sop_instance_uid="1.2.3.3",
    sop_class_uid=CT,
    transfer_syntax_uid=EXPLICIT,
)


# --- whole ------------------------------------------------------------------------------------------------------------------------


@every_syntax
def test_a_whole_image_is_whole_and_named(syntax: str) -> None:
    """I2: the UIDs that the service must name are the data set's own."""
    expected = Identifiers(
        study_uid="1.2.3.1",
        series_uid="1.2.3.2",
        sop_instance_uid="1.2.3.3",
        sop_class_uid=CT,
        transfer_syntax_uid=syntax,
    )
    assert judge(part10(image(syntax), syntax)) == Inspection(wholeness=Wholeness.WHOLE, ids=expected)


@pytest.mark.parametrize("made", MADE, ids=lambda made: made.name)
def test_every_kind_of_object_in_every_transfer_syntax_is_whole(made: Made) -> None:
    """I3: what the standard allows is not refused, and nothing about it is remarkable."""
    ids = Identifiers(
        study_uid="1.2.3.1",
        series_uid="1.2.3.2",
        sop_instance_uid="1.2.3.3",
        sop_class_uid=made.sop_class,
        transfer_syntax_uid=made.syntax,
    )
    assert judge(made.content) == Inspection(wholeness=Wholeness.WHOLE, ids=ids)


def test_no_transfer_syntax_is_missing() -> None:
    """PS3.6 table A-1, retired ones too, as pydicom has it; those added since stand in the list of the generated files."""
    table = {uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "Transfer Syntax"}
    assert table - {made.syntax for made in MADE} == set()
    assert len(TRANSFER_SYNTAXES) == len(set(TRANSFER_SYNTAXES))


def test_an_open_file_and_its_bytes_are_judged_alike(tmp_path: Path) -> None:
    """I4: what is read once is judged as what is read by the sender."""
    content = part10(image())
    file = tmp_path / "a.dcm"
    file.write_bytes(content)
    with file.open("rb") as opened:
        assert judge(content, FileSource(opened.fileno())) == judge(content)


def test_a_usual_slice_costs_one_read() -> None:
    """Speed: the header comes with the first block, the pixel data is stepped over."""
    w = Writer()
    content = part10([*identity(w), *image_pixel(w, rows=512, columns=512), pixels(w, 512 * 512 * 2)])
    reads: list[tuple[int, int]] = []

    class Counting(BytesSource):
        def read_at(self, offset: int, length: int) -> bytes:
            reads.append((offset, length))
            return super().read_at(offset, length)

    assert judge(content, Counting(content)) == Inspection(wholeness=Wholeness.WHOLE, ids=IDS)
    assert reads == [(0, 16384)]


def test_fragments_cost_a_small_read_each() -> None:
    """F34: stepping over values is not reading them."""
    w = Writer(JPEG)
    fragments = w.sequence(0x7FE00010, w.item(b""), *[w.item(bytes(100_000))] * 50, undefined=True, vr=b"OB")
    content = part10([*identity(w), *image_pixel(w), fragments], JPEG)
    read = 0

    class Counting(BytesSource):
        def read_at(self, offset: int, length: int) -> bytes:
            nonlocal read
            read += length
            return super().read_at(offset, length)

    assert walk(Counting(content), len(content)).wholeness is Wholeness.WHOLE
    assert read < 16384 + 51 * 4096


def test_un_of_undefined_length_is_little_endian_in_a_big_endian_file() -> None:
    """F33: PS3.5 6.2.2."""
    w, inside = Writer(BIG), Writer(IMPLICIT)
    odd = w.header(0x00091010, b"UN", UNDEFINED) + inside.item(nested(inside), undefined=True) + inside.mark(0xE0DD)
    assert verdict(part10([*identity(w), odd, *image_pixel(w), pixels(w)], BIG)) is Wholeness.WHOLE


def test_un_of_undefined_length_may_hold_items_in_the_files_own_order() -> None:
    """F95: fo-dicom reads private ones; the verdict is the service's. Cut anywhere, it is not whole."""
    w = Writer(BIG)
    for inside in (w.item(nested(w), undefined=True), w.item(nested(w)), b""):
        odd = w.header(0x00091010, b"UN", UNDEFINED) + inside + w.mark(0xE0DD)
        content = part10([*identity(w, sop_class=SR), odd], BIG, sop_class=SR)
        assert verdict(content) is Wholeness.WHOLE
        begins = len(content) - len(odd)
        assert all(verdict(content[:cut]) is not Wholeness.WHOLE for cut in range(begins + 1, len(content)))


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
def test_uids_behind_the_pixels_are_the_files_own(syntax: str) -> None:
    """F95: elements out of order."""
    w = Writer(syntax)
    found = judge(part10([*identity(w)[:4], *image_pixel(w), pixels(w), *identity(w)[4:]], syntax))
    assert found.wholeness is Wholeness.WHOLE
    assert found.ids is not None
    assert found.ids.key == ("1.2.3.1", "1.2.3.2", "1.2.3.3")


def test_a_blank_deflated_image_is_whole() -> None:
    """I3: 1000 to 1 is no bomb while it is small; zlib holds output back when its input is used up."""
    w = Writer()
    blank = w.header(0x7FE00010, b"OW", 8 << 20) + bytes(8 << 20)
    elements = [*identity(w), *image_pixel(w, rows=2048, columns=2048), blank]
    assert verdict(part10(elements, DEFLATED)) is Wholeness.WHOLE


@pytest.mark.parametrize(("syntax", "block"), [(EXPLICIT, 16 << 10), (IMPLICIT, 16 << 10), (DEFLATED, 256 << 10)])
def test_a_header_on_the_edge_of_a_block_is_read(syntax: str, block: int) -> None:
    """F17: wherever the blocks end, each element is seen."""
    w = Writer(syntax)
    before = identity(w)
    for shift in range(0, 600, 2):
        filler = w.element(0x00091010, b"UN", bytes(block - 600 + shift))
        found = judge(part10([*before[:2], filler, *before[2:], nested(w), *image_pixel(w), pixels(w)], syntax))
        assert (found.wholeness, found.ids is None, found.notes) == (Wholeness.WHOLE, False, ()), shift


AWKWARD: dict[str, Callable[[Writer], bytes]] = {
    "UN of undefined length": lambda w: w.sequence(
        0x00091010, w.item(nested(Writer(IMPLICIT)), undefined=True), undefined=True, vr=b"UN"
    ),
    "UN of undefined length with explicit VR inside": lambda w: w.sequence(
        0x00091010, w.item(nested(w), undefined=True), undefined=True, vr=b"UN"
    ),
    "a VR of the future": lambda w: struct.pack("<HH2sHI", 0x0009, 0x1010, b"ZZ", 0, 4) + b"abcd",
    "an implicit VR element": lambda w: Writer(IMPLICIT).element(0x00091010, b"LO", b"abcd"),
    "an implicit VR sequence": lambda w: struct.pack("<HHI", 0x0009, 0x1010, UNDEFINED) + w.item(b"") + w.mark(0xE0DD),
    "an odd length": lambda w: w.header(0x00091010, b"LO", 3) + b"abc",
    "a delimiter too many": lambda w: w.mark(0xE0DD) + w.mark(0xE00D),
    "a delimiter too many among items": lambda w: w.sequence(0x00091010, w.item(b"") + w.mark(0xE00D), undefined=True),
    "a delimiter with a length": lambda w: w.header(0x00091010, b"SQ", UNDEFINED) + w.mark(0xE0DD, 8),
    "elements out of order": lambda w: w.element(0x00189999, b"LO", b"x") + w.element(0x00080060, b"CS", b"CT"),
    "a group length": lambda w: w.element(0x00090000, b"UL", bytes(4)),
    "a fragment sequence that is private": lambda w: w.sequence(0x00091010, w.item(b"abcd"), undefined=True, vr=b"OB"),
    "a sequence of defined length that makes no sense inside": lambda w: w.header(0x00091010, b"SQ", 3) + b"abc",
}


@pytest.mark.parametrize("odd", AWKWARD.values(), ids=AWKWARD)
def test_what_real_files_hold_is_tolerated(odd: Callable[[Writer], bytes]) -> None:
    """I3: an oddity that doesn't hide where the data end fails no file."""
    w = Writer()
    before = identity(w)
    found = judge(part10([*before[:2], odd(w), *before[2:], *image_pixel(w), pixels(w)]))
    assert (found.wholeness, found.text, found.ids) == (Wholeness.WHOLE, "", IDS)


@pytest.mark.parametrize(("declared", "written"), [(EXPLICIT, IMPLICIT), (IMPLICIT, EXPLICIT)])
def test_the_other_vr_encoding_than_declared_is_read_and_noted(declared: str, written: str) -> None:
    """I3: scanners that mislabel their files exist."""
    found = judge(head(declared) + b"".join(image(written)))
    assert (found.wholeness, len(found.notes)) == (Wholeness.WHOLE, 1)


@pytest.mark.parametrize("group_length", [0, 20, 4000, 0xFFFFFFFF])
def test_a_wrong_file_meta_group_length_is_noted_only(group_length: int) -> None:
    """F33: meta that disagrees is sent, and noted."""
    found = judge(head(group_length=group_length) + b"".join(image()))
    assert found == Inspection(
        wholeness=Wholeness.WHOLE, ids=IDS, notes=("the file meta group length is wrong or absent",)
    )


def test_file_meta_that_names_another_instance_is_noted_only() -> None:
    """F33: the data set names the instance; what disagrees is noted."""
    w = Writer()
    found = judge(part10([*identity(w, instance="1.2.9"), *image_pixel(w), pixels(w)], sop_class=SR))
    assert (found.wholeness, found.notes) == (
        Wholeness.WHOLE,
        (
            "the file meta SOP Instance UID is not that of the data set",
            "the file meta SOP Class UID is not that of the data set",
        ),
    )


def test_a_missing_patient_id_is_noted_only() -> None:
    """DESIGN 2: sent, and noted."""
    elements = [e for e in report() if e[:4] != b"\x10\0\x20\0"]
    found = judge(part10(elements, sop_class=SR))
    assert (found.wholeness, found.notes) == (Wholeness.WHOLE, ("no Patient ID (0010,0020)",))


@every_syntax
def test_short_native_pixel_data_is_noted_only(syntax: str) -> None:
    """DESIGN 2: rows x columns and the like only add a warning; a compressed stream has no such length."""
    w = Writer(syntax)
    found = judge(part10([*identity(w), *image_pixel(w, rows=5), *image(syntax)[-1:]], syntax))
    note = "native pixel data is shorter than rows x columns x samples x bits x frames"
    assert (found.wholeness, found.notes) == (Wholeness.WHOLE, () if syntax == JPEG else (note,))


def test_file_meta_in_implicit_vr_is_read_and_noted() -> None:
    """F33: writers that use the data set's encoding for group 0002 exist."""
    w = Writer(IMPLICIT)
    group = w.element(0x00020010, b"UI", IMPLICIT.encode()) + w.element(0x00020003, b"UI", b"1.2.3.3")
    group += w.element(0x00020002, b"UI", CT.encode())
    found = judge(bytes(128) + b"DICM" + group + b"".join(image(IMPLICIT)))
    assert (found.wholeness, found.notes) == (
        Wholeness.WHOLE,
        ("file meta information with implicit VR", "the file meta group length is wrong or absent"),
    )


@pytest.mark.parametrize("size", range(15_900, 16_300, 2))
def test_file_meta_on_the_edge_of_a_block_is_read(size: int) -> None:
    """F33: private information (0002,0102) may be long."""
    w = Writer()
    private = w.element(0x00020001, b"OB", bytes(size))
    group = private + head()[128 + 4 + 12 :]
    start = bytes(128) + b"DICM" + w.element(0x00020000, b"UL", struct.pack("<I", len(group)))
    assert judge(start + group + b"".join(image())) == Inspection(wholeness=Wholeness.WHOLE, ids=IDS)


@pytest.mark.parametrize("program", [b"MZ", b"\x7fELF"])
def test_a_program_in_the_preamble_is_noted_and_kept(program: bytes) -> None:
    """F33: the bytes are the evidence; the preamble means nothing to DICOM."""
    found = judge(head(preamble=program.ljust(128, b"\1")) + b"".join(image()))
    assert (found.wholeness, found.notes) == (Wholeness.WHOLE, ("the preamble begins like a program",))


# --- cut --------------------------------------------------------------------------------------------------------------------------


def ends(elements: Sequence[bytes], start: int) -> list[int]:
    """Where the top-level elements end."""
    return list(accumulate((len(e) for e in elements), initial=start))[1:]


@every_syntax
def test_a_cut_image_is_never_sent(syntax: str) -> None:
    """F17: at every offset; its class says that it is an image even where the cut comes before group 0028."""
    content = part10(image(syntax), syntax)
    assert [cut for cut in range(len(content)) if verdict(content[:cut]) in SENDABLE] == []


def test_a_cut_object_without_pixel_data_is_sent_only_between_its_elements() -> None:
    """F17: an object that need not hold pixel data shows no cut between two top-level elements after the Series UID."""
    elements = report()
    content = part10(elements, sop_class=SR)
    sent = {cut for cut in range(len(content)) if verdict(content[:cut]) in SENDABLE}
    assert sent == set(ends(elements, len(head(sop_class=SR)))[5:-1])


@every_syntax
def test_each_cut_has_a_true_verdict(syntax: str) -> None:
    """F17, F22: no DICM yet is not DICOM; all else that is cut is truncated, or at a clean edge lacks its pixels."""
    elements = image(syntax)
    content = part10(elements, syntax)
    start = len(head(syntax))
    clean = set() if syntax == DEFLATED else set(ends(elements, start))
    for cut in range(len(content)):
        if cut < 132:
            expected = {Wholeness.NOT_DICOM}
        elif cut in clean:
            expected = {Wholeness.TRUNCATED, Wholeness.NO_PIXEL_DATA}
        else:
            expected = {Wholeness.TRUNCATED}
        assert verdict(content[:cut]) in expected, cut


def test_a_cut_says_what_is_missing_without_a_value() -> None:
    """I7: tags and lengths are fine, values never."""
    content = part10(image())
    found = judge(content[:-12])
    assert found == Inspection(
        wholeness=Wholeness.TRUNCATED, text="the element (7fe0,0010) declares 32 bytes, 20 are there", ids=IDS
    )


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_header_that_is_read_in_the_middle_of_a_name_is_not_quoted(syntax: str) -> None:
    """I7: a length that lies makes letters of the name a tag, and others a length."""
    w, name = Writer(syntax), b"MAYELOIS^ANN"
    content = part10([w.header(0x00091010, b"LO", 0) + name, *identity(w)[:1]], syntax)
    start = len(head(syntax)) + 16
    there = len(content) - start
    assert judge(content).text == f"the value at byte {start} is longer than the {there} bytes that are there"


@every_syntax
def test_a_cut_identifier_is_none(syntax: str) -> None:
    """I2: a reason file names the instance rightly or not at all."""
    content = part10(image(syntax), syntax)
    found = {judge(content[:cut]).ids for cut in range(len(content))}
    assert found <= {None, judge(content).ids}


@every_syntax
def test_no_verdict_carries_a_value(syntax: str) -> None:
    """I7, F71: the canary stands in the patient's name and id."""
    content = part10(image(syntax), syntax)
    for cut in range(len(content)):
        assert CANARY not in repr(judge(content[:cut]))


def test_a_file_that_shrinks_under_the_walk_is_truncated() -> None:
    """F58: what fstat said is no longer there."""
    content = part10(image())
    assert walk(BytesSource(content[:-1]), len(content)).wholeness is Wholeness.TRUNCATED


def test_a_data_set_that_was_cut_before_it_was_deflated_is_truncated() -> None:
    """F17: the stream has its end, the pixel data has not."""
    found = judge(head(DEFLATED) + deflate(b"".join(image())[:-12]))
    assert (found.wholeness, found.text) == (
        Wholeness.TRUNCATED,
        "the element (7fe0,0010) declares 32 bytes, 20 are there",
    )


def test_a_source_that_gives_little_at_a_time_is_read() -> None:
    """F9: a read may return less than was asked for."""
    content = part10(image())

    assert judge(content, Sipping(content)) == Inspection(wholeness=Wholeness.WHOLE, ids=IDS)


def test_bytes_behind_the_declared_size_are_not_read() -> None:
    """F15: a file that grows is judged as fstat saw it, and settles later."""
    content = part10(image())
    assert walk(BytesSource(content + b"more"), len(content)).wholeness is Wholeness.WHOLE


def test_a_disk_that_fails_judges_nothing() -> None:
    """F9, F40: EIO and ESTALE say nothing about the file."""
    with pytest.raises(FileBusyError, match="can't be read just now"):
        walk(FileSource(-1), 1000)


# --- zeros behind the end ---------------------------------------------------------------------------------------------------------


@every_syntax
@pytest.mark.parametrize("zeros", [1, 6, 7, 12, 100_000])
def test_a_zero_tail_is_told_apart(syntax: str, zeros: int) -> None:
    """F16: whole, by the full quiet rule only. Behind a deflate stream a few bytes are padding or a checksum."""
    expected = Wholeness.WHOLE if syntax == DEFLATED and zeros <= 7 else Wholeness.WHOLE_ZERO_TAIL
    assert verdict(part10(image(syntax), syntax) + bytes(zeros)) is expected


def test_one_zero_may_be_the_first_byte_of_an_overlay() -> None:
    """F17: of (6000,0010), cut. Behind the pixel data no group begins with a zero."""
    assert verdict(part10(report(), sop_class=SR) + b"\0") is Wholeness.TRUNCATED
    assert verdict(part10(report(), sop_class=SR) + b"\0\0") is Wholeness.WHOLE_ZERO_TAIL


def test_zeros_inside_a_deflated_data_set_are_a_tail_too() -> None:
    """F16."""
    assert verdict(part10([*image(DEFLATED), bytes(100)], DEFLATED)) is Wholeness.WHOLE_ZERO_TAIL


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, JPEG, DEFLATED])
def test_room_that_was_claimed_and_not_yet_filled_is_not_whole(syntax: str) -> None:
    """F16: zeros from any offset on. From its length on, native pixel data may be zeros: lease and quiet period guard it."""
    elements = image(syntax)
    content = part10(elements, syntax)
    at = ends(elements, len(head(syntax)))
    first, last = (at[9], len(content)) if syntax in (JPEG, DEFLATED) else (at[9], len(content) - 36)
    if syntax == DEFLATED:
        first = 0
    for cut in range(first, last):
        filled = content[:cut].ljust(len(content), b"\0")
        if filled != content:
            assert verdict(filled) not in SENDABLE, cut


def test_a_tail_with_a_byte_in_it_is_no_tail() -> None:
    """F16."""
    found = judge(part10(image()) + bytes(5000) + b"x")
    assert (found.wholeness, found.text) == (
        Wholeness.NOT_DICOM,
        f"bytes follow the last element: at byte {len(part10(image()))} no element begins",
    )


@pytest.mark.parametrize("tail", [b"\n", b"\r\n", b"\x1a", b" ", b"\1\2\3\4", b"\0\1"])
def test_a_few_bytes_behind_the_pixel_data_are_no_cut_header(tail: bytes) -> None:
    """F95: transfers as text add them; too few for an element they are not sent, and the words say what is there."""
    found = judge(part10(image()) + tail)
    assert (found.wholeness, found.text) == (
        Wholeness.TRUNCATED,
        f"bytes follow the last element, at byte {len(part10(image()))}: too few for another one",
    )


@pytest.mark.parametrize("tail", [b"\1\2\3\4\5\6\7\x08", b" " * 512, b"\r\n--abcdef--\r\n", part10(image())])
def test_what_follows_the_pixel_data_is_said_to_follow_it(tail: bytes) -> None:
    """F95: a boundary of a multipart body, padding, the file twice."""
    found = judge(part10(image()) + tail)
    assert (found.wholeness in SENDABLE, found.text) == (
        False,
        f"bytes follow the last element: at byte {len(part10(image()))} no element begins",
    )


def test_zeros_before_the_identifiers_are_a_truncation() -> None:
    """F16: room was claimed, and the header is not all there."""
    found = judge(part10(image()[:4]) + bytes(1000))
    assert found == Inspection(
        wholeness=Wholeness.TRUNCATED, text="only zeros follow before a readable Study Instance UID (0020,000d) came"
    )


# --- the other verdicts -----------------------------------------------------------------------------------------------------------

NOT_DICOM = {
    "empty": (b"", "the file is empty: the copy was broken off, copy it again"),
    "text": (b"hello" * 100, "no DICM at byte 128"),
    "zeros": (bytes(4096), "only zeros stand where DICOM begins: the copy was broken off, copy it again"),
    "a beginning that few bytes of a data set would have": (b"\x08\0\5\0CS", "no DICM at byte 128"),
    "numbers that begin with eight": (struct.pack("<200H", *range(8, 208)), "no DICM at byte 128"),
    "numbers that begin with two": (struct.pack("<200H", *range(2, 202)), "no DICM at byte 128"),
    "DICM and noise": (bytes(128) + b"DICM" + b"noise" * 100, "no file meta information at byte 132"),
    "a VR that is damaged": (
        part10(image()).replace(b"\x10\0\x10\0PN", b"\x10\0\x10\0\x10N"),
        f"at byte {ends(image(), len(head()))[2]} no element begins",
    ),
    "a VR that is damaged to letters, before what no longer follows": (
        part10(image()).replace(b"\x10\0\x10\0PN", b"\x99\0\x10\0XN"),
        f"at byte {ends(image(), len(head()))[2]} no element begins",
    ),
    "a VR that is damaged, with room behind it": (
        (part10(image()) + Writer().element(0xFFFCFFFC, b"OB", bytes(1 << 20))).replace(
            b"\x10\0\x10\0PN", b"\x10\0\x10\0\x10N"
        ),
        f"at byte {ends(image(), len(head()))[2]} no element begins",
    ),
    "noise where the data set should be": (head() + b"\xa5" * 500, f"at byte {len(head())} no element begins"),
    "no item in a sequence": (
        part10([Writer().header(0x00081140, b"SQ", UNDEFINED), *image()]),
        f"at byte {len(head()) + 12} no item begins",
    ),
    "an item outside": (
        part10([*image(), Writer().item(b"")]),
        f"bytes follow the last element: at byte {len(part10(image()))} no element begins",
    ),
    "an item that a sequence's end closes": (
        part10(
            [Writer().header(0x00081140, b"SQ", UNDEFINED) + Writer().mark(0xE000, UNDEFINED) + Writer().mark(0xE0DD)]
        ),
        f"at byte {len(head()) + 20} no element begins",
    ),
    "no deflate stream": (
        head(DEFLATED) + b"\xff" * 100,
        f"what should be a deflated data set is damaged before byte {len(head(DEFLATED)) + 100} of the file",
    ),
    "a deflate stream that is damaged": (
        head(DEFLATED) + stored(bytes(1000)) + b"\xff" * 100,
        f"what should be a deflated data set is damaged before byte {len(head(DEFLATED)) + 1105} of the file",
    ),
    "file meta that a deflate stream only resembles": (
        head(DEFLATED) + b"\2\0\x10\0\0\0\0\0" + b"\xff" * 100,
        f"what should be a deflated data set is damaged before byte {len(head(DEFLATED)) + 108} of the file",
    ),
    "text behind a deflate stream": (
        part10(image(DEFLATED), DEFLATED) + b"something",
        f"behind the deflated data set, from byte {len(part10(image(DEFLATED), DEFLATED))} of the file on, stand other bytes",
    ),
    "endless file meta": (
        head() + Writer().element(0x00020102, b"OB", b"") * 2000,
        "more than 1000 elements of file meta information",
    ),
}


@pytest.mark.parametrize(("content", "text"), NOT_DICOM.values(), ids=NOT_DICOM)
def test_what_is_not_dicom_is_named_with_its_place(content: bytes, text: str) -> None:
    """F22, F33."""
    found = judge(content)
    expected = Wholeness.OUT_OF_BOUNDS if "more than" in text else Wholeness.NOT_DICOM
    assert (found.wholeness, found.text) == (expected, text)


def test_a_head_alone_is_truncated() -> None:
    """F14: a writer that pauses after the file meta information; zeros are room it claimed."""
    assert judge(head()).text == "the file ends behind its file meta information"
    assert judge(head() + bytes(50)).text == "only zeros follow the file meta information"
    assert {verdict(head()), verdict(head() + bytes(50))} == {Wholeness.TRUNCATED}


def test_a_dicomdir_is_told() -> None:
    """F33: a directory names instances and is none."""
    found = judge(part10(report(), sop_class="1.2.840.10008.1.3.10"))
    assert found == Inspection(wholeness=Wholeness.DICOMDIR, text="a DICOMDIR lists instances and is none")


NO_UIDS = {
    "": "the data set has no readable Study Instance UID (0020,000d)",
    "../../etc/passwd": "the Study Instance UID (0020,000d) has '/' at character 3",
    ".": "the Study Instance UID (0020,000d) has neither a letter nor a digit",
    "..": "the Study Instance UID (0020,000d) has neither a letter nor a digit",
    "1" * 129: "the Study Instance UID (0020,000d) has 129 characters, more than 128",
    "1" * 600: "the Study Instance UID (0020,000d) has 600 characters, more than 128",
    "1.2\\1.3": r"the Study Instance UID (0020,000d) has '\\' at character 4",
    "1.2 3": "the Study Instance UID (0020,000d) has a blank at character 4",
    "1.2?x=3": "the Study Instance UID (0020,000d) has '?' at character 4",
    "1.2\r\nX-A: b": "the Study Instance UID (0020,000d) has the byte 0x0d at character 4",
}


@pytest.mark.parametrize(("uid", "why"), NO_UIDS.items(), ids=range(len(NO_UIDS)))
def test_what_can_not_stand_in_a_path_is_no_uid(uid: str, why: str) -> None:
    """F33, F95: what would need an escape may not reach a URL or a path; the reason names the character, and no more (I7)."""
    w = Writer()
    found = judge(part10([*identity(w, study=uid), *image_pixel(w), pixels(w)]))
    assert found == Inspection(wholeness=Wholeness.NO_UID, text=why)


UUID = "454c62fc-2d72-44c6-9521-1183db563b06"
LETTERS = "has letters or more than 64 characters"


@pytest.mark.parametrize(
    ("stored", "uid", "said"),
    [
        (UUID, UUID, LETTERS),
        ("1.2-3", "1.2-3", LETTERS),
        ("1" * 65, "1" * 65, LETTERS),
        (" 1.2", "1.2", "begins with a blank"),
    ],
)
def test_what_only_the_standard_refuses_is_sent_and_noted(stored: str, uid: str, said: str) -> None:
    """F95: files that were de-identified with UUIDs or digests; whether they are stored is the service's verdict."""
    w = Writer()
    found = judge(part10([*identity(w, study=stored), *image_pixel(w), pixels(w)]))
    assert found.wholeness is Wholeness.WHOLE
    assert found.ids is not None
    assert found.ids.study_uid == uid
    assert found.notes == (f"the Study Instance UID (0020,000d) {said}",)


@pytest.mark.parametrize(
    ("stored", "uid"), [("1.2.3\0", "1.2.3"), ("1.2.3 ", "1.2.3"), ("1.2.3 \0\0", "1.2.3"), ("01.02", "01.02")]
)
def test_padding_is_no_part_of_a_uid(stored: str, uid: str) -> None:
    """F33: PS3.5 9.1 pads with one NUL, writers with what they have."""
    w = Writer()
    found = judge(part10([*identity(w, study=stored), *image_pixel(w), pixels(w)]))
    assert found.ids is not None
    assert found.ids.study_uid == uid


@pytest.mark.parametrize(
    ("missing", "name"),
    [
        (0, "SOP Class UID (0008,0016)"),
        (1, "SOP Instance UID (0008,0018)"),
        (4, "Study Instance UID (0020,000d)"),
        (5, "Series Instance UID (0020,000e)"),
    ],
)
def test_each_identifier_must_be_there_at_the_top_level(missing: int, name: str) -> None:
    """F33: one inside a sequence names something else."""
    w = Writer()
    elements = [*identity(w), *image_pixel(w), pixels(w)]
    elements[missing] = w.sequence(0x00081140, w.item(elements[missing], undefined=True), undefined=True)
    assert judge(part10(elements)) == Inspection(
        wholeness=Wholeness.NO_UID, text=f"the data set has no readable {name}"
    )


@pytest.mark.parametrize("count", range(1, 6))
def test_a_data_set_that_ends_before_its_identifiers_is_truncated(count: int) -> None:
    """F17: elements come in the order of their tags (PS3.5 7.1), so more was to come; a UID that was passed over is absent."""
    found = judge(part10(identity(Writer())[:count]))
    missing = "Study Instance UID (0020,000d)" if count < 5 else "Series Instance UID (0020,000e)"
    assert (found.wholeness, found.text) == (Wholeness.TRUNCATED, f"the data set ends before a {missing} could come")
    later = part10([*identity(Writer())[:count], *image_pixel(Writer()), pixels(Writer())])
    assert (judge(later).wholeness, judge(later).text) == (Wholeness.NO_UID, f"the data set has no readable {missing}")


def test_the_class_of_an_image_says_that_pixels_are_missing() -> None:
    """F17: cut before group 0028, nothing else shows it. All classes that the dictionary calls images, and those that need none."""
    for uid, (name, kind, *_) in UID_dictionary.items():
        end = uid.removeprefix(ROOT)
        if kind == "SOP Class" and end != uid and end not in NO_SURE_IMAGES:
            is_image = " Image Storage" in name or end in MORE_IMAGES
            expected = Wholeness.NO_PIXEL_DATA if is_image else Wholeness.WHOLE
            assert verdict(part10(identity(W, sop_class=uid), sop_class=uid)) is expected, name


def test_rows_make_an_image_only_of_a_class_that_can_be_one() -> None:
    """F95: each storage class of the dictionary, with rows left over from an image and without pixels; reports are sent."""
    for uid, (name, kind, *_) in UID_dictionary.items():
        if kind == "SOP Class" and "Storage" in name and not name.startswith("Media Storage Directory"):
            is_image = " Image " in name or uid.removeprefix(ROOT) in (*MORE_IMAGES, *IMAGES_WITH_ROWS)
            expected = Wholeness.NO_PIXEL_DATA if is_image else Wholeness.WHOLE
            content = part10([*identity(W, sop_class=uid), *image_pixel(W)], sop_class=uid)
            assert verdict(content) is expected, name


W = Writer()
ROOT = "1.2.840.10008.5.1.4.1.1."
# US Volume, B-scan Volume Analysis, Thickness Map, Corneal Topography Map, Parametric Map, Segmentation
MORE_IMAGES = ("6.2", "77.1.5.8", "81.1", "82.1", "30", "66.4")
NO_SURE_IMAGES = ("77.1", "77.2", "501.1", "501.2.1", "501.2.2", "601.1", "601.2")  # never in force, or not PS3.3's
IMAGES_WITH_ROWS = ("481.2", "4.2")  # RT Dose, MR Spectroscopy
RF = "1.2.840.10008.5.1.4.1.1.12.2"
ELSCINT = [W.element(0x07A10010, b"LO", b"ELSCINT1"), W.element(0x07A1100A, b"OB", bytes(40))]
PIXELS_ELSEWHERE = {
    "spectroscopy data": (True, SPECTROSCOPY, [W.element(0x56000020, b"OF", bytes(8))], EXPLICIT),
    "float pixel data": (True, CT, [W.element(0x7FE00008, b"OF", bytes(8))], EXPLICIT),
    "double float pixel data": (True, CT, [W.element(0x7FE00009, b"OD", bytes(8))], EXPLICIT),
    "a pixel data provider URL": (True, CT, [W.element(0x00287FE0, b"UR", b"http://x")], EXPLICIT),
    "JPIP": (True, CT, [W.element(0x00287FE0, b"UR", b"http://x")], JPIP),
    "JPIP, deflated": (True, CT, [W.element(0x00287FE0, b"UR", b"http://x")], JPIP_DEFLATED),
    "JPIP without a provider": (False, CT, [], JPIP),
    "raw data": (True, RAW_DATA, [], EXPLICIT),
    "a private class with data of its own": (True, PRIVATE_CLASS, [W.element(0x7FE11010, b"OB", bytes(8))], EXPLICIT),
    "a private class": (False, PRIVATE_CLASS, [], EXPLICIT),
    "a private class and a delimiter too many": (False, PRIVATE_CLASS, [W.mark(0xE0DD)], EXPLICIT),
    "a private class that ends in a sequence": (False, PRIVATE_CLASS, [nested(W, 0x00291010)], EXPLICIT),
    "a private group behind the pixel data": (True, CT, [W.element(0x7FE11010, b"OB", bytes(8))], EXPLICIT),
    "a private sequence behind the pixel data": (True, CT, [nested(W, 0x7FE11001)], EXPLICIT),
    "a private group behind the pixel data, and padding": (
        True,
        CT,
        [W.element(0x7FE10010, b"LO", b"GEMS"), W.element(0x7FE11001, b"OB", b""), W.element(0xFFFCFFFC, b"OB", b"")],
        EXPLICIT,
    ),
    "a private group before the pixel data": (False, CT, [W.element(0x7FDF1010, b"OB", bytes(8))], EXPLICIT),
    "Elscint's pixels": (True, CT, ELSCINT, EXPLICIT),
    "Elscint's element, and nothing in it": (False, CT, [ELSCINT[0], W.element(0x07A1100A, b"OB", b"")], EXPLICIT),
    "the element of another maker": (False, CT, ELSCINT[1:], EXPLICIT),
    "a report with rows": (True, SR, [W.element(0x0040A040, b"CS", b"CONTAINER")], EXPLICIT),
    "a presentation state with rows": (True, ROOT + "11.1", [], EXPLICIT),
    "a PDF with rows": (True, ROOT + "104.1", [], EXPLICIT),
    "dose with rows": (False, ROOT + "481.2", [], EXPLICIT),
    "spectroscopy with rows": (False, SPECTROSCOPY, [], EXPLICIT),
    "trailing padding only": (False, CT, [W.element(0xFFFCFFFC, b"OB", bytes(8))], EXPLICIT),
    "offsets only": (False, CT, [W.element(0x7FE00001, b"OV", b"")], EXPLICIT),
    "encapsulated pixel data in an icon only": (
        False,
        CT,
        [W.sequence(0x00880200, W.item(encapsulated(W), undefined=True), undefined=True)],
        EXPLICIT,
    ),
    "pixel data in an icon only": (
        False,
        CT,
        [W.sequence(0x00880200, W.item(pixels(W), undefined=True), undefined=True)],
        EXPLICIT,
    ),
}


@pytest.mark.parametrize(("whole", "sop_class", "bulk", "syntax"), PIXELS_ELSEWHERE.values(), ids=PIXELS_ELSEWHERE)
def test_an_image_without_its_pixels_is_not_sent(whole: bool, sop_class: str, bulk: list[bytes], syntax: str) -> None:
    """F17: the most likely clean cut is before the pixel data; what keeps its pixels elsewhere is whole."""
    elements = [*identity(W, sop_class=sop_class), *image_pixel(W), *bulk]
    assert verdict(part10(elements, syntax)) is (Wholeness.WHOLE if whole else Wholeness.NO_PIXEL_DATA)


@pytest.mark.parametrize("bulk", [pixels(W), encapsulated(W)], ids=["native", "encapsulated"])
def test_pixels_in_the_icon_are_those_of_an_image_that_declares_none(bulk: bytes) -> None:
    """F95: an RF image whose rows and pixels all stand in its icon is whole. F17: no cut of an image with an icon passes by it."""
    icon = W.sequence(0x00880200, W.item(b"".join([*image_pixel(W), bulk]), undefined=True))
    assert verdict(part10([*identity(W, sop_class=RF), icon], sop_class=RF)) is Wholeness.WHOLE
    empty = W.sequence(0x00880200)
    assert verdict(part10([*identity(W, sop_class=RF), empty], sop_class=RF)) is Wholeness.NO_PIXEL_DATA
    whole = part10([*identity(W, sop_class=RF), *image_pixel(W), icon, pixels(W)], sop_class=RF)
    assert verdict(whole) is Wholeness.WHOLE
    assert [cut for cut in range(len(whole)) if verdict(whole[:cut]) in SENDABLE] == []


def test_a_makers_own_class_is_an_image_where_it_declares_all_of_one() -> None:
    """F95: rows and columns alone stand beside each Philips scan. F17: and a cut leaves more."""
    rows, columns = W.element(0x00280010, b"US", b"\x70\0"), W.element(0x00280011, b"US", b"\x70\0")
    beside = part10([*identity(W, sop_class=PRIVATE_CLASS), rows, columns], sop_class=PRIVATE_CLASS)
    assert verdict(beside) is Wholeness.WHOLE
    whole = part10([*identity(W, sop_class=PRIVATE_CLASS), *image_pixel(W), pixels(W)], sop_class=PRIVATE_CLASS)
    assert verdict(whole) is Wholeness.WHOLE
    assert verdict(whole[: -len(pixels(W))]) is Wholeness.NO_PIXEL_DATA


def test_no_rows_is_no_image() -> None:
    """I3: zero rows declare no pixels, and rows in a sequence are not the object's."""
    w = Writer()
    assert verdict(part10([*identity(w), *image_pixel(w, rows=0)])) is Wholeness.WHOLE
    assert (
        verdict(part10([*identity(w, sop_class=SR), w.sequence(0x00081140, w.item(b"".join(image_pixel(w))))]))
        is Wholeness.WHOLE
    )


# --- the files pydicom is tested with ---------------------------------------------------------------------------------------------

PYDICOM_FILES = sorted((Path(pydicom.__file__).parent / "data").rglob("*.dcm"))

# Looked at one by one: what each says of itself.
NOT_WHOLE = {
    Wholeness.NOT_DICOM: "no_meta",  # a blank stands before its data set
    Wholeness.NO_HEADER: "ExplVR_BigEndNoMeta ExplVR_LitEndNoMeta rtstruct",
    Wholeness.TRUNCATED: "MR_truncated rtplan_truncated empty_charset_LEI no_meta_group_length",
    Wholeness.NO_PIXEL_DATA: "chrJapMulti chrJapMultiExplicitIR6 chrKoreanMulti",
    Wholeness.DICOMDIR: "DICOMDIR-empty",
    Wholeness.NO_UID: "chrSQEncoding chrSQEncoding1 fall hotiron hotmetalblue pet pet20step spring summer winter "
    "JPEGLSNearLossless_08 JPEGLSNearLossless_16 SC_rgb_jls_lossy_line SC_rgb_jls_lossy_sample UN_sequence "
    "nested_priv_SQ priv_SQ meta_missing_tsyntax",
}
EXPECTED = {name: wholeness for wholeness, names in NOT_WHOLE.items() for name in names.split()}


@pytest.mark.parametrize("path", PYDICOM_FILES, ids=lambda path: path.stem)
def test_pydicoms_own_files_get_their_true_verdict(path: Path) -> None:
    """F33, I3: many are awkward, few are broken."""
    assert verdict(path.read_bytes()) is EXPECTED.get(path.stem, Wholeness.WHOLE)


@pytest.mark.parametrize("path", [p for p in PYDICOM_FILES if p.stem not in EXPECTED], ids=lambda path: path.stem)
def test_the_identifiers_are_those_pydicom_reads(path: Path) -> None:
    """I2."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = pydicom.dcmread(path, stop_before_pixels=True)
    assert judge(path.read_bytes()).ids == Identifiers(
        study_uid=read.StudyInstanceUID,
        series_uid=read.SeriesInstanceUID,
        sop_instance_uid=read.SOPInstanceUID,
        sop_class_uid=read.SOPClassUID,
        transfer_syntax_uid=read.file_meta.TransferSyntaxUID,
    )
