"""Headers that no edition of PS3.5 knows and the field is full of: sent, noted, and no cut passes by them (F17, F95)."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from fakes.part10_verdicts import SENDABLE, Sipping, judge, verdict
from fakes.part10_writer import (
    BIG,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    SR,
    UNDEFINED,
    Writer,
    head,
    identity,
    image_pixel,
    part10,
    pixels,
)

from ingestd.core.answers.reasons import Wholeness

W = Writer()
I = Writer(IMPLICIT)  # noqa: E741 - beside W
SHORT = "elements with a VR that is none, and a length of 16 bits"
LONG = "elements with a VR that is none, and a length of 32 bits"
NONE = "elements with implicit VR in an explicit VR data set"
LONGER = "a private sequence in explicit VR is longer than it declares in implicit VR"


def short(vr: bytes, value: bytes = b"abcd", *, tag: int = 0x00091010, order: str = "<") -> bytes:
    return struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def long(vr: bytes, value: bytes, *, tag: int = 0x00091010, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, size) + value


def implicit(value: bytes, *, tag: int = 0x00091010) -> bytes:
    return I.header(tag, b"", len(value)) + value


def image(odd: bytes = b"", *, bulk: bytes | None = None, syntax: str = EXPLICIT) -> bytes:
    """A slice with something odd between its elements, or for its pixel data."""
    w = Writer(syntax)
    before = identity(w)
    last = pixels(w) if bulk is None else bulk
    return part10([*before[:2], odd, *before[2:], *image_pixel(w), last], syntax)


def in_item(odd: bytes, w: Writer = W) -> bytes:
    return w.sequence(0x00081140, w.item(odd, undefined=True), undefined=True)


def in_implicit(sequence: bytes) -> bytes:
    return image(I.element(0x00090010, b"LO", b"MAKER") + sequence, syntax=IMPLICIT)


def shortened(by: int, *, items_too: int = 0, tail: bytes = b"") -> bytes:
    """A private sequence in explicit VR whose length was summed up for implicit VR."""
    code = W.sequence(0x00091020, W.item(W.element(0x00080100, b"SH", b"AB") + W.element(0x00080104, b"UT", b"text")))
    inside = W.element(0x00091011, b"OB", b"12345678") + code + W.element(0x00091012, b"DS", b"1.5 ")
    item = W.mark(0xE000, len(inside) - items_too) + inside
    value = item + item + tail
    return I.header(0x0009100F, b"SQ", len(value) - by) + value


VALUE = bytes(range(7, 247)) * 300  # 72,000 bytes
SPELLS = int.from_bytes(b"CS", "little")  # a length
ODD: dict[str, tuple[bytes, str]] = {
    "blanks": (image(short(b"  ")), SHORT),
    "question marks": (image(short(b"??")), SHORT),
    "dashes": (image(short(b"--")), SHORT),
    "zeros": (image(short(b"\0\0")), SHORT),
    "small letters": (image(short(b"lo")), SHORT),
    "capitals that no edition knows": (image(short(b"UK") + short(b"RT", b"12", tag=0x00091011)), SHORT),
    "an empty value": (image(short(b"RT", b"")), SHORT),
    "a value that is longer than a look ahead": (image(short(b"??", bytes(3000))), SHORT),
    "many in a row": (image(b"".join(short(b"  ", tag=0x00091000 + n) for n in range(100))), SHORT),
    "in an item": (image(in_item(short(b"--"))), SHORT),
    "an identifier": (image().replace(b"\x20\0\x0d\0UI", b"\x20\0\x0d\0??"), SHORT),
    "the first element": (image().replace(b"\x08\0\x16\0UI", b"\x08\0\x16\0--"), SHORT),
    "the last element": (image(bulk=pixels(W) + short(b"??", tag=0x7FE11010)), SHORT),
    "in big endian": (image(short(b"??", order=">"), syntax=BIG), SHORT),
    "deflated": (image(short(b"??"), syntax=DEFLATED), SHORT),
    "ox": (image(bulk=long(b"ox", bytes(32), tag=0x7FE00010)), LONG),
    "ox, a large one": (image(bulk=long(b"ox", VALUE, tag=0x7FE00010)), LONG),
    "zeros before 32 bits": (image(bulk=long(b"\0\0", VALUE, tag=0x7FE00010)), LONG),
    "ox of fragments": (
        image(bulk=long(b"ox", W.item(b"") + W.item(b"\xff\xd8") + W.mark(0xE0DD), tag=0x7FE00010, length=UNDEFINED)),
        LONG,
    ),
    "no VR, 64 KiB": (image(implicit(bytes(1 << 16))), NONE),
    "no VR, more": (image(implicit(VALUE)), NONE),
    "no VR, in a row": (image(b"".join(implicit(VALUE, tag=0x00091000 + n) for n in range(20))), NONE),
    "no VR, in an item": (image(in_item(implicit(VALUE))), NONE),
    "pixel data without a VR": (image(bulk=implicit(VALUE, tag=0x7FE00010)), NONE),
    "pixel data without a VR, 128 KiB": (image(bulk=implicit(bytes(1 << 17), tag=0x7FE00010)), NONE),
    "pixel data without a VR, and padding": (
        image(bulk=implicit(VALUE, tag=0x7FE00010) + W.element(0xFFFCFFFC, b"OB", b"\1" * 8)),
        NONE,
    ),
    "the first without a VR, the rest with": (
        image().replace(b"\x08\0\x16\0UI\x1a\0", b"\x08\0\x16\0\x1a\0\0\0"),
        NONE,
    ),
    "a short private sequence": (in_implicit(shortened(4)), LONGER),
    "a short private sequence of short items": (in_implicit(shortened(24, items_too=12)), LONGER),
    "a short private sequence in an item": (in_implicit(in_item(shortened(4), I)), LONGER),
    "a short private sequence before large pixel data": (
        image(shortened(8), bulk=I.element(0x7FE00010, b"OW", bytes(1 << 21)), syntax=IMPLICIT),
        LONGER,
    ),
    "a length that spells a VR": (
        image(in_item(implicit(b"PATIENT " * 3000)[:8] + bytes(24000), I), syntax=IMPLICIT),
        "",
    ),
}
SPELLED = struct.pack("<HHI", 0x0008, 0x103E, SPELLS) + (b"AUTOUS\\DERIVED\\" * 1500)[:SPELLS]
ODD["a length that spells a VR"] = (image(in_item(SPELLED + implicit(b"more", tag=0x00091010), I), syntax=IMPLICIT), "")
ODD["a length that spells a VR, alone in its item"] = (image(in_item(SPELLED, I), syntax=IMPLICIT), "")
ODD["a first length that spells a VR"] = (
    head(IMPLICIT) + struct.pack("<HHI", 8, 1, SPELLS) + SPELLED[8:] + image(syntax=IMPLICIT)[len(head(IMPLICIT)) :],
    "",
)


@pytest.mark.parametrize(("content", "note"), ODD.values(), ids=ODD)
def test_what_is_odd_is_sent_and_noted(content: bytes, note: str) -> None:
    """F95, I3: what follows proves how a header is to be read, and the instance is known."""
    found = judge(content)
    notes = tuple(n for n in found.notes if not n.startswith("native"))
    assert (found.wholeness, found.text, notes) == (Wholeness.WHOLE, "", (note,) if note else ())
    assert found.ids is not None
    assert found.ids.key == ("1.2.3.1", "1.2.3.2", "1.2.3.3")
    assert judge(content, Sipping(content)) == found


# Bytes at the end without which the rest is whole.
LOOSE = {"the last element": 12, "pixel data without a VR, and padding": 20, "deflated": 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_no_cut_passes_by_what_is_odd(name: str) -> None:
    """F17, F95: at the first 3,000 offsets, at the last 1,000, and at some between; behind the pixel data nothing shows it."""
    content, _ = ODD[name]
    whole = len(content) - LOOSE.get(name, 0)
    cuts = {*range(len(content))[:3000], *range(len(content))[-1000:], *range(len(content))[:: len(content) // 500 + 1]}
    cuts -= set(range(whole, len(content)))
    assert [cut for cut in sorted(cuts) if verdict(content[:cut]) in SENDABLE] == []
    if name in LOOSE:
        assert verdict(content[:whole]) is Wholeness.WHOLE


UNPROVED: dict[str, bytes] = {
    "nothing follows that is one": image(short(b"??") + b"\xa5" * 40),
    "a tag follows that is no later one": image(short(b"??", tag=0x00990010)),
    "the value of what follows is not there": part10(
        [*identity(W), short(b"??", tag=0x00280004), W.header(0x00280010, b"OW", 99)]
    ),
    "the end, of zeros for a VR": image(bulk=pixels(W) + short(b"\0\0", tag=0x7FE11010)),
    "the end, of pixel data": image(bulk=short(b"??", bytes(32), tag=0x7FE00010)),
    "the end, of an empty value": image(bulk=pixels(W) + short(b"??", b"", tag=0x7FE11010)),
    "the end inside of an item": image()[: -len(pixels(W))]
    + W.header(0x00290010, b"SQ", UNDEFINED)
    + W.mark(0xE000, UNDEFINED)
    + short(b"??"),
    "64 KiB that are not there": image(implicit(bytes(1 << 16)))[: 1 << 16],
    "letters that are bytes": image(short(b"\x10N")),
    "an empty value of 32 bits": image(bulk=struct.pack("<HHII", 0x7FE0, 0x0010, 0, 0)[:8]),
}


@pytest.mark.parametrize("content", UNPROVED.values(), ids=UNPROVED)
def test_a_reading_that_nothing_proves_is_none(content: bytes) -> None:
    """F17, F95: half a value must not become a shorter one that is whole."""
    assert verdict(content) not in SENDABLE


def test_a_sequence_that_runs_on_too_far_is_none() -> None:
    """F95: a few bytes are; what declares a kilobyte less is damage."""
    many = W.item(W.element(0x00091011, b"OB", b"12345678")) * 80
    assert verdict(in_implicit(I.header(0x0009100F, b"SQ", len(many) - 4) + many)) is Wholeness.WHOLE
    assert verdict(in_implicit(I.header(0x0009100F, b"SQ", 28) + many)) not in SENDABLE


def test_a_cut_of_odd_pixel_data_says_how_much_is_missing() -> None:
    """F17: a copy under way is truncated, not "not DICOM"."""
    for bulk in (long(b"ox", VALUE, tag=0x7FE00010), implicit(VALUE, tag=0x7FE00010)):
        found = judge(image(bulk=bulk)[:-2000])
        assert found.wholeness is Wholeness.TRUNCATED
        assert found.text == "the element (7fe0,0010) declares 72000 bytes, 70000 are there"


@pytest.mark.parametrize("wrap", [lambda odd: odd, in_item])
def test_an_odd_element_in_a_deflated_data_set_is_looked_behind(wrap: Callable[[bytes], bytes]) -> None:
    """F95: what is inflated for a look ahead is still there for the walk, as far as it is kept."""
    assert judge(image(wrap(implicit(VALUE)), syntax=DEFLATED)).notes == (NONE,)
    assert judge(image(wrap(implicit(VALUE * 4)), syntax=DEFLATED)).wholeness is Wholeness.NOT_DICOM


def test_what_is_odd_in_a_report_and_last_needs_no_pixel_data() -> None:
    """F95: the end proves a value of 16 bits that is there. F17: a private sequence that is longer than it declares it proves not,
    because a cut behind the declared end looks the same.
    """
    report = part10([*identity(W, sop_class=SR), short(b"??", tag=0x0040A043)], sop_class=SR)
    assert (verdict(report), verdict(report[:-1])) == (Wholeness.WHOLE, Wholeness.NOT_DICOM)
    private = part10([*identity(I, sop_class=SR), shortened(4).replace(b"\x09\0", b"\x41\0")], IMPLICIT, sop_class=SR)
    assert (verdict(private), verdict(private[:-1])) == (Wholeness.TRUNCATED, Wholeness.TRUNCATED)


def test_a_vr_of_the_future_keeps_its_32_bits() -> None:
    """PS3.5 7.1.2: and it is nothing to note."""
    assert judge(image(long(b"ZZ", b"abcd"))).notes == ()
    assert CT in str(judge(image(long(b"ZZ", b""))).ids)
    assert JPEG not in str(judge(image(long(b"ZZ", VALUE))).ids)


@pytest.mark.parametrize("vr", [b"??", b"  ", b"--", b"O "])
def test_no_cut_of_pixel_data_whose_vr_is_none_is_whole(vr: bytes) -> None:
    """F17: cut inside, its two characters and zeros would be read as a length in implicit VR that ends just there."""
    spelt = int.from_bytes(vr + bytes(2), "little")
    value = bytes(range(256)) * 512
    whole = image(bulk=long(vr, value, tag=0x7FE00010))
    start = len(whole) - len(value) - 12
    assert verdict(whole) is Wholeness.WHOLE
    assert verdict(whole[: start + 8 + spelt]) not in SENDABLE
    assert [cut for cut in range(start, len(whole), 97) if verdict(whole[:cut]) in SENDABLE] == []
