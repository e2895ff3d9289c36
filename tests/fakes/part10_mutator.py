"""Mutations of Part 10 files that keep them near to files: the tree changes, lengths and VRs lie, deflate streams stay streams."""

from __future__ import annotations

import random
import struct
import zlib
from typing import Final

from fakes.part10_files import MADE, TRANSFER_SYNTAXES, writer
from fakes.part10_writer import DEFLATES, UNDEFINED, Writer, deflate, head

_LENGTHS: Final = (0, 1, 2, 3, 7, 8, 12, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, UNDEFINED)
_SHORT: Final = tuple(b"AE CS DS FD LO PN UI UL US".split())
_VRS: Final = (*_SHORT, *b"SQ UN UT OB OW OF OD OV UC ZZ \0\0 xx".split(b" "))
_ODD_VRS: Final = (b"  ", b"??", b"--", b"\0\0", b"lo", b"ox", b"UK", b"RT", b"A ", b"\x10N")
_TAGS: Final = (
    *(0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00280002, 0x00280008, 0x00280010, 0x00280100, 0x00287FE0),
    *(0x56000020, 0x7FE00008, 0x7FE00009, 0x7FE00010, 0xFFFCFFFC, 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0, 0x00091010),
)
_LARGEST: Final = 256 << 10  # a data set that is larger grows no more


class Part10Mutator:
    """Keeps nothing but what it cuts pieces from: the data sets of the generated files."""

    def __init__(self) -> None:
        self._pieces = [element for made in MADE for element in made.elements]

    def mutate(self, data: bytes, seed: int) -> bytes | None:
        """Another file, or None where bytes are better mutated blindly (a third of the time, and what is no file)."""
        rng = random.Random(seed)
        start = data_set_start(data)
        if start is None or rng.random() < 0.34:
            return None
        syntax = _syntax(data[:start])
        front, body = data[:start], data[start:]
        if syntax in DEFLATES:
            try:
                body = zlib.decompressobj(-15).decompress(body, _LARGEST)
            except zlib.error:
                return None
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            if len(body) < _LARGEST:
                body = self._change(body, writer(syntax), rng)
        if rng.random() < 0.05:
            syntax = rng.choice(TRANSFER_SYNTAXES)
            front = head(syntax)
        if syntax in DEFLATES and rng.random() < 0.95:
            body = deflate(body)
        return front + body

    def _change(self, body: bytes, w: Writer, rng: random.Random) -> bytes:
        places = [*starts(body, w), len(body)]
        at = rng.choice(places)
        end = rng.choice(places)
        low, high = min(at, end), max(at, end)
        match rng.randrange(14):
            case 0:
                return body[:low] + body[high:]
            case 1:
                return body[:high] + body[low:high] * rng.choice((1, 2, 3, 20)) + body[high:]
            case 2:
                return body[: rng.randrange(len(body) + 1)] + bytes(rng.choice((0, 0, 1, 7, 8, 100, 5000)))
            case 3:
                return body[:at] + rng.choice(self._pieces) + body[at:]
            case 4:
                item = w.item(body[low:high], undefined=rng.random() < 0.5)
                return body[:low] + w.sequence(rng.choice(_TAGS), item, undefined=rng.random() < 0.5) + body[high:]
            case 5:
                return body[:at] + w.element(rng.choice(_TAGS), rng.choice(_VRS), bytes(rng.randrange(20))) + body[at:]
            case 6:
                vr, length = rng.choice(_VRS), rng.choice(_LENGTHS)
                length &= 0xFFFF if vr in (*_SHORT, b"ZZ") else UNDEFINED
                return body[:at] + w.header(rng.choice(_TAGS), vr, length) + body[at:]
            case 7:
                return body[:at] + w.mark(rng.choice((0xE000, 0xE00D, 0xE0DD)), rng.choice(_LENGTHS)) + body[at:]
            case 8:
                return _with_length(body, at, rng.choice(_LENGTHS), w)
            case 9:
                return body[: at + 4] + rng.choice(_VRS) + body[at + 6 :]
            case 10:
                return body[:at] + struct.pack(w.order + "HH", *divmod(rng.choice(_TAGS), 1 << 16)) + body[at + 4 :]
            case 11:
                return body[:at] + _odd(w, rng) + body[at:]
            case 12:
                return body[:at] + _short_sequence(rng) + body[at:]
            case _:
                piece = w.header(rng.choice(_TAGS), b"SQ", UNDEFINED) + w.mark(0xE000, UNDEFINED)
                return body[:at] + piece * rng.choice((1, 2, 62, 64, 70)) + body[at:]


def _odd(w: Writer, rng: random.Random) -> bytes:
    """An element whose VR is none before a length of 16 bits, or one without a VR of 64 KiB and more."""
    tag, value = rng.choice(_TAGS), bytes([rng.randrange(256)]) * rng.randrange(40)
    if rng.random() < 0.1:
        value = bytes([rng.randrange(256)]) * rng.choice((1 << 16, 70_000))
        return struct.pack(w.order + "HHI", tag >> 16, tag & 0xFFFF, len(value)) + value
    return struct.pack(w.order + "HH2sH", tag >> 16, tag & 0xFFFF, rng.choice(_ODD_VRS), len(value)) + value


def _short_sequence(rng: random.Random) -> bytes:
    """A private sequence in explicit VR, in implicit VR, whose length is too short, or right."""
    explicit = Writer()
    elements = [explicit.element(0x00091010 + n, rng.choice((b"OB", b"LO", b"UN", b"DS")), b"abcd") for n in range(3)]
    value = explicit.item(b"".join(elements), undefined=rng.random() < 0.5) * rng.randrange(3)
    return struct.pack("<HHI", 0x0009, 0x100F, max(len(value) - rng.choice((0, 4, 8, 12, 40)), 0)) + value


def data_set_start(data: bytes) -> int | None:
    """Behind the file meta information, None where there is none that is usual."""
    at = 132
    if data[128:132] != b"DICM":
        return None
    while data[at : at + 2] == b"\2\0" and at + 12 <= len(data):
        if data[at + 4 : at + 6] in (b"OB", b"UN", b"UT"):
            at += 12 + int.from_bytes(data[at + 8 : at + 12], "little")
        else:
            at += 8 + int.from_bytes(data[at + 6 : at + 8], "little")
    return at if 132 < at <= len(data) else None


def starts(body: bytes, w: Writer) -> list[int]:
    """Where headers stand, at every depth, as far as a naive reader gets."""
    found, at = [], 0
    while at + 8 <= len(body) and len(found) < 3000:
        found.append(at)
        group, element = struct.unpack_from(w.order + "HH", body, at)
        vr = body[at + 4 : at + 6]
        if group == 0xFFFE or w.header(0, b"LO", 0)[4:6] != b"LO":
            size, length = 8, struct.unpack_from(w.order + "I", body, at + 4)[0]
        elif vr in _SHORT:
            size, length = 8, struct.unpack_from(w.order + "H", body, at + 6)[0]
        elif at + 12 <= len(body):
            size, length = 12, struct.unpack_from(w.order + "I", body, at + 8)[0]
        else:
            break
        inside = length == UNDEFINED or vr == b"SQ" or (group, element) == (0xFFFE, 0xE000)
        at += size + (0 if inside else length)
    return found or [0]


def _with_length(body: bytes, at: int, length: int, w: Writer) -> bytes:
    if body[at + 4 : at + 6] in _SHORT:
        return body[: at + 6] + struct.pack(w.order + "H", length & 0xFFFF) + body[at + 8 :]
    place = at + (4 if body[at : at + 2] in (b"\xfe\xff", b"\xff\xfe") or w.header(0, b"LO", 0)[4:6] != b"LO" else 8)
    return body[:place] + struct.pack(w.order + "I", length) + body[place + 4 :]


def _syntax(front: bytes) -> str:
    at = front.find(b"\2\0\x10\0UI")
    if at < 0:
        return ""
    return (
        front[at + 8 : at + 8 + int.from_bytes(front[at + 6 : at + 8], "little")]
        .rstrip(b"\0 ")
        .decode("ascii", "replace")
    )
