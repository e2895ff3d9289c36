"""A Part 10 writer that can also write what no library would: elements in one of the encodings, well-formed or not (PS3.5 7)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
JPIP = "1.2.840.10008.1.2.4.94"
JPIP_DEFLATED = "1.2.840.10008.1.2.4.95"
JPIP_HTJ2K = "1.2.840.10008.1.2.4.204"
JPIP_HTJ2K_DEFLATED = "1.2.840.10008.1.2.4.205"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
PAPYRUS = "1.2.840.10008.1.20"
GE_PRIVATE = "1.2.840.113619.5.2"

IMPLICITS = (IMPLICIT, PAPYRUS, GE_PRIVATE)
DEFLATES = (DEFLATED, JPIP_DEFLATED, JPIP_HTJ2K_DEFLATED)

CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.11"
CANARY = "CANARY"

UNDEFINED = 0xFFFFFFFF
_LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OD", b"OF", b"OL", b"UC", b"UR", b"OV", b"SV", b"UV")


@dataclass(frozen=True)
class Writer:
    """Elements in one encoding."""

    syntax: str = EXPLICIT

    @property
    def order(self) -> str:
        return ">" if self.syntax == BIG else "<"

    def header(self, tag: int, vr: bytes, length: int) -> bytes:
        start = struct.pack(self.order + "HH", tag >> 16, tag & 0xFFFF)
        if self.syntax in IMPLICITS:
            return start + struct.pack("<I", length)
        if vr in _LONG or not (vr.isalpha() and vr.isupper()):
            return start + vr + b"\0\0" + struct.pack(self.order + "I", length)
        return start + vr + struct.pack(self.order + "H", length)

    def element(self, tag: int, vr: bytes, value: bytes | int) -> bytes:
        if isinstance(value, int):
            value = struct.pack(self.order + "H", value)
        value += (b"\0" if vr in (b"UI", b"OB") else b" ") * (len(value) % 2)
        return self.header(tag, vr, len(value)) + value

    def item(self, content: bytes, *, undefined: bool = False) -> bytes:
        if not undefined:
            return self.mark(0xE000, len(content)) + content
        return self.mark(0xE000, UNDEFINED) + content + self.mark(0xE00D)

    def sequence(self, tag: int, *items: bytes, undefined: bool = False, vr: bytes = b"SQ") -> bytes:
        content = b"".join(items)
        if not undefined:
            return self.header(tag, vr, len(content)) + content
        return self.header(tag, vr, UNDEFINED) + content + self.mark(0xE0DD)

    def mark(self, element: int, length: int = 0) -> bytes:
        return struct.pack(self.order + "HHI", 0xFFFE, element, length)


def head(
    syntax: str = EXPLICIT, *, sop_class: str = CT, preamble: bytes = bytes(128), group_length: int | None = None
) -> bytes:
    w = Writer()
    group = w.element(0x00020001, b"OB", b"\0\1")
    group += w.element(0x00020002, b"UI", sop_class.encode()) + w.element(0x00020003, b"UI", b"1.2.3.3")
    group += w.element(0x00020010, b"UI", syntax.encode())
    length = len(group) if group_length is None else group_length
    return preamble + b"DICM" + w.element(0x00020000, b"UL", struct.pack("<I", length)) + group


def identity(w: Writer, *, sop_class: str = CT, study: str = "1.2.3.1", instance: str = "1.2.3.3") -> list[bytes]:
    return [
        w.element(0x00080016, b"UI", sop_class.encode()),
        w.element(0x00080018, b"UI", instance.encode()),
        w.element(0x00100010, b"PN", CANARY.encode()),
        w.element(0x00100020, b"LO", CANARY.encode()),
        w.element(0x0020000D, b"UI", study.encode()),
        w.element(0x0020000E, b"UI", b"1.2.3.2"),
    ]


def image_pixel(w: Writer, *, rows: int = 4, columns: int = 4) -> list[bytes]:
    return [
        w.element(0x00280002, b"US", 1),
        w.element(0x00280004, b"CS", b"MONOCHROME2"),
        w.element(0x00280010, b"US", rows),
        w.element(0x00280011, b"US", columns),
        w.element(0x00280100, b"US", 16),
    ]


def pixels(w: Writer, length: int = 32) -> bytes:
    return w.element(0x7FE00010, b"OW", b"\1" * length)


def encapsulated(w: Writer) -> bytes:
    return w.sequence(
        0x7FE00010, w.item(b""), w.item(b"\xff\xd8" * 8), w.item(b"\xff\xd9" * 4), undefined=True, vr=b"OB"
    )


def nested(w: Writer, tag: int = 0x00081140) -> bytes:
    """Undefined lengths in undefined lengths, defined ones beside, an empty item, and rows that are nobody's."""
    inner = w.sequence(
        0x0040A730, w.item(w.element(0x00280010, b"US", 9), undefined=True), w.item(b"", undefined=True), undefined=True
    )
    return w.sequence(
        tag, w.item(inner + w.element(0x00080060, b"CS", b"CT"), undefined=True), w.item(inner), undefined=True
    )


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(data) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)


def part10(elements: Sequence[bytes], syntax: str = EXPLICIT, *, sop_class: str = CT) -> bytes:
    data = b"".join(elements)
    return head(syntax, sop_class=sop_class) + (deflate(data) if syntax in DEFLATES else data)
