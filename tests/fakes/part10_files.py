"""Whole files to walk, cut and mutate: one in each transfer syntax, and one of each kind of object (PS3.3 A, PS3.6 A)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fakes.part10_writer import (
    BIG,
    DEFLATED,
    DEFLATED_FRAMES,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT,
    GE_PRIVATE,
    IMPLICIT,
    IMPLICITS,
    JPEG,
    JPIP,
    JPIP_DEFLATED,
    JPIP_HTJ2K,
    JPIP_HTJ2K_DEFLATED,
    PAPYRUS,
    SR,
    Writer,
    deflate,
    identity,
    image_pixel,
    nested,
    part10,
    pixels,
)

_DICOM: Final = "1.2.840.10008.1.2."
_JPEGS: Final = [f"4.{n}" for n in (*range(50, 67), 70, 80, 81, *range(90, 94), 110, 111, 112, 201, 202, 203)]
_VIDEOS: Final = [f"4.{n}" for n in (*range(100, 109), *(f"{n}.1" for n in range(100, 107)))]
_ENCAPSULATED: Final = [_DICOM + end for end in (*_JPEGS, *_VIDEOS, "5", "8.1", "1.98")]
_NATIVE: Final = [IMPLICIT, EXPLICIT, DEFLATED, BIG, PAPYRUS, GE_PRIVATE]
_NO_PIXELS: Final = [JPIP, JPIP_DEFLATED, JPIP_HTJ2K, JPIP_HTJ2K_DEFLATED]
# No file should name these: a MIME or XML message, a stream on the wire. If one does, it is explicit VR little endian.
_STRANGE: Final = [_DICOM + end for end in ("6.1", "6.2", "7.1", "7.2", "7.3")]

TRANSFER_SYNTAXES: Final = (*_NATIVE, *_ENCAPSULATED, *_NO_PIXELS, *_STRANGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A whole file. `elements`: the top level as it stands in the data set, before deflation."""

    name: str
    syntax: str
    sop_class: str
    elements: Sequence[bytes]

    @property
    def content(self) -> bytes:
        return part10(self.elements, self.syntax, sop_class=self.sop_class)


def writer(syntax: str) -> Writer:
    return Writer(syntax if syntax in IMPLICITS or syntax == BIG else EXPLICIT)


def _frames(w: Writer, *frames: bytes) -> bytes:
    """An encapsulated Pixel Data with a Basic Offset Table and a fragment a frame (PS3.5 A.4)."""
    offsets, at = b"", 0
    for frame in frames:
        offsets += struct.pack("<I", at)
        at += 8 + len(frame)
    return w.sequence(0x7FE00010, w.item(offsets), *map(w.item, frames), undefined=True, vr=b"OB")


def _pixel_data(w: Writer, syntax: str) -> list[bytes]:
    if syntax in _NO_PIXELS:
        return [w.element(0x00287FE0, b"UR", b"http://localhost/a.jp2")]
    if syntax in _ENCAPSULATED:
        frame = b"\xff\xd8\xff\xe0" + bytes(range(40)) + b"\xff\xd9"
        if syntax == DEFLATED_FRAMES:
            frame = deflate(bytes(32))
        elif syntax == ENCAPSULATED_UNCOMPRESSED:
            frame = b"\1" * 32
        return [_frames(w, frame, frame[:20], frame)]
    return [pixels(w)]


def image_in(syntax: str) -> Made:
    """A slice with sequences of both kinds, private elements, an overlay and an icon."""
    w = writer(syntax)
    before = identity(w)
    sop_class = "1.2.840.10008.5.1.4.1.1.77.1.4.1" if syntax[:-1].endswith("4.10") else "1.2.840.10008.5.1.4.1.1.7"
    before[0] = w.element(0x00080016, b"UI", sop_class.encode())
    icon = w.item(b"".join([*image_pixel(w), pixels(w)]), undefined=True)
    elements = [
        *before[:2],
        nested(w),
        w.element(0x00091010, b"UN", b"private "),
        *before[2:],
        *image_pixel(w),
        *_pixel_data(w, syntax)[: syntax in _NO_PIXELS],
        w.sequence(0x00880200, icon, undefined=True),
        w.element(0x60003000, b"OW", bytes(2)),
        *_pixel_data(w, syntax)[syntax in _NO_PIXELS :],
    ]
    return Made(name=f"image in {syntax}", syntax=syntax, sop_class=sop_class, elements=elements)


def _object(name: str, sop_class: str, *rest: bytes, syntax: str = EXPLICIT, front: Sequence[bytes] = ()) -> Made:
    start = identity(writer(syntax), sop_class=sop_class)
    elements = [*start[:2], *front, *start[2:], *rest]
    return Made(name=name, syntax=syntax, sop_class=sop_class, elements=elements)


def _tree(w: Writer, depth: int, *, undefined: bool) -> bytes:
    content = w.element(0x0040A040, b"CS", b"CONTAINER")
    for _ in range(depth):
        items = (w.item(content, undefined=undefined), w.item(w.element(0x0040A160, b"UT", b"text"), undefined=True))
        content = w.element(0x0040A040, b"CS", b"CONTAINER") + w.sequence(0x0040A730, *items, undefined=undefined)
    return content


def _waveform(w: Writer) -> bytes:
    samples = w.element(0x5400100A, b"OW", b"\0\0") + w.element(0x54001010, b"OW", bytes(range(200)))
    return w.sequence(0x54000100, w.item(w.element(0x003A0005, b"US", 2) + samples))


def _many_frames(w: Writer, count: int) -> list[bytes]:
    groups = [w.item(w.sequence(0x00209111, w.item(w.element(0x00209057, b"UL", bytes(4))), undefined=True))] * count
    pixel = image_pixel(w)
    pixel.insert(2, w.element(0x00280008, b"IS", str(count).encode()))
    return [*pixel, w.sequence(0x52009230, *groups, undefined=True), pixels(w, 32 * count)]


def _objects() -> list[Made]:
    w, i, b = Writer(), Writer(IMPLICIT), Writer(BIG)
    storage = "1.2.840.10008.5.1.4.1.1."
    unknown = w.sequence(0x00091010, i.item(nested(i), undefined=True), undefined=True, vr=b"UN")
    dose = w.sequence(0x30040050, w.item(w.element(0x30040058, b"DS", b"1")), w.item(b"", undefined=True))
    padding = w.element(0xFFFCFFFC, b"OB", bytes(300))
    signature = w.sequence(0xFFFAFFFA, w.item(w.element(0x04000005, b"US", 1)))
    lengths = [w.element(0x00080000, b"UL", bytes(4)), w.element(0x00280000, b"UL", bytes(4))]
    one_bit = w.element(0x00280100, b"US", 1)
    roi = w.sequence(0x30060020, *[w.item(w.element(0x30060022, b"IS", b"1"))] * 4)
    contours = w.sequence(0x30060039, w.item(w.element(0x30060050, b"DS", b"1\\2\\3" * 60), undefined=True))
    return [
        _object("SR, undefined lengths", SR, _tree(w, 12, undefined=True)),
        _object("SR, explicit lengths", SR, _tree(w, 12, undefined=False)),
        _object("SR, implicit VR", SR, _tree(i, 8, undefined=True), syntax=IMPLICIT),
        _object("SR, big endian", SR, _tree(b, 8, undefined=True), syntax=BIG),
        _object("SR, deflated", SR, _tree(w, 12, undefined=True), syntax=DEFLATED),
        _object("deep sequences, undefined lengths", SR, _tree(w, 63, undefined=True)),
        _object("deep sequences, explicit lengths", SR, _tree(w, 200, undefined=False)),
        _object("PDF", storage + "104.1", w.element(0x00420011, b"OB", b"%PDF-1.4\n" * 60)),
        _object("RT dose", storage + "481.2", *image_pixel(w), dose, pixels(w)),
        _object("RT structure set", storage + "481.3", roi, contours),
        _object("RT plan", storage + "481.5", w.sequence(0x300A0070, w.item(dose), undefined=True)),
        _object("waveform", storage + "9.1.1", _waveform(w)),
        _object("parametric map, float", storage + "30", *image_pixel(w), w.element(0x7FE00008, b"OF", bytes(64))),
        _object("parametric map, double", storage + "30", *image_pixel(w), w.element(0x7FE00009, b"OD", bytes(128))),
        _object("spectroscopy", storage + "4.2", *image_pixel(w), w.element(0x56000020, b"OF", bytes(64))),
        _object("multi-frame", storage + "2.1", *_many_frames(w, 20)),
        _object("multi-frame, implicit VR", storage + "2.1", *_many_frames(i, 20), syntax=IMPLICIT),
        _object("segmentation, one bit", storage + "66.4", *image_pixel(w)[:-1], one_bit, pixels(w, 2)),
        _object("presentation state", storage + "11.1", nested(w, 0x00700001)),
        _object("CP-246: UN of undefined length", storage + "7", *image_pixel(w), pixels(w), front=[unknown]),
        _object("group lengths", storage + "7", *lengths[1:], *image_pixel(w), pixels(w)),
        _object("trailing padding", storage + "7", *image_pixel(w), pixels(w), padding),
        _object("digital signature", storage + "7", *image_pixel(w), pixels(w), signature),
        _object("a tile a fragment", storage + "77.1.6", *image_pixel(w), _frames(w, *[b"\xff\xd8"] * 30), syntax=JPEG),
        _object("no offset table", storage + "7", *image_pixel(w), _frames(w), syntax=JPEG),
        _object("raw data", storage + "66", w.element(0x00291010, b"OB", bytes(200))),
        _object("private class", "1.3.12.2.1107.5.9.1", w.element(0x7FE11010, b"OB", bytes(200))),
    ]


MADE: Final = (*map(image_in, TRANSFER_SYNTAXES), *_objects())
