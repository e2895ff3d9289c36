"""Files that cost a reader the most: for each bound of the walk the worst that is known, written to disk (F32, F34).

Each says by which words the walk must refuse it.
"""

from __future__ import annotations

import os
import random
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from fakes.part10_writer import DEFLATED, EXPLICIT, IMPLICIT, JPEG, SR, UNDEFINED, Writer, head, identity

W: Final = Writer()
I: Final = Writer(IMPLICIT)  # noqa: E741 - beside W
FRONT: Final = b"".join(identity(W, sop_class=SR))
MANY: Final = 2_000_000


@dataclass(frozen=True)
class Bomb:
    name: str
    says: str
    write: Callable[[Path], None]


def _plain(path: Path, syntax: str, front: bytes, piece: bytes) -> None:
    path.write_bytes(head(syntax, sop_class=SR) + front + piece * MANY)


def _spread(path: Path, syntax: str, front: bytes, header: bytes, length: int) -> None:
    """Headers with values between them that are holes."""
    start = head(syntax, sop_class=SR) + front
    with path.open("wb") as file:
        file.write(start)
        at = len(start)
        for _ in range(200_000):
            os.pwrite(file.fileno(), header, at)
            at += len(header) + length
        os.ftruncate(file.fileno(), at)


def _deflated(path: Path, pieces: Iterable[bytes]) -> None:
    """One element without end, its value inflated from the pieces."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(FRONT + W.header(0x00091010, b"OB", 0xFFFFFFF0)) + packer.flush(zlib.Z_FULL_FLUSH)
    with path.open("wb") as file:
        file.write(head(DEFLATED, sop_class=SR) + first)
        file.writelines(pieces)


def _packed(data: bytes, times: int, *, level: int = 9) -> Iterable[bytes]:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return [packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)] * times


def _tiny_blocks(*, match: bool) -> Iterable[bytes]:
    """24 MiB of deflate blocks that hold their own Huffman tables (RFC 1951 3.2.7) and nothing else, or one match of 258 bytes.

    They are dear to read, and no deflater writes them.
    """
    block = _tables() + (_MATCH if match else "") + _END
    eight = int((block * 8)[::-1], 2).to_bytes(len(block), "little")
    return [eight * ((1 << 20) // len(eight))] * 24


_MATCH: Final = format(2 * 226 + 285 - 226, "09b") + "0000"
_END: Final = format(2 * 226 + 256 - 226, "09b")


def _tables() -> str:
    """The head of a block, in the order of the bits: 286 literal codes of 8 and 9 bits, 30 distance codes of 4 and 5."""
    lengths = {8: 2, 9: 3, 4: 3, 5: 2, 16: 2}  # of the codes for the code lengths; 16 repeats
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
    codes, code = dict[int, str](), 0
    for size in (2, 3):
        for symbol in sorted(s for s, bits in lengths.items() if bits == size):
            codes[symbol] = format(code, f"0{size}b")
            code += 1
        code <<= 1
    out = "0" + _number(2, 2) + _number(286 - 257, 5) + _number(30 - 1, 5) + _number(19 - 4, 4)
    out += "".join(_number(lengths.get(symbol, 0), 3) for symbol in order)
    for length, count in ((8, 226), (9, 60), (4, 2), (5, 28)):
        out += codes[length]
        left = count - 1
        while left >= 3:
            out += codes[16] + _number(min(6, left) - 3, 2)
            left -= min(6, left)
        out += codes[length] * left
    return out


def _number(value: int, bits: int) -> str:
    """Least significant bit first."""
    return format(value, f"0{bits}b")[::-1]


_ELEMENTS: Final = "there are more than 800000 elements"
_DENSE: Final = "there are more than 800000 elements in sequences, and more than one in 14 bytes"
_PLACES: Final = "its headers fill more than 625 MiB, or are spread over 160000 places"
_NOISE: Final = random.Random(1).randbytes(8 << 10) + bytes(1016 << 10)
_FUTURE: Final = struct.pack("<HH2sHI", 0x0009, 0x1010, b"ZZ", 0, 0)
_OPEN: Final = W.header(0x00081140, b"SQ", UNDEFINED)
_FRAGMENTS: Final = FRONT + W.header(0x7FE00010, b"OB", UNDEFINED)
_DEEP: Final = W.header(0x0040A730, b"SQ", UNDEFINED) + W.mark(0xE000, UNDEFINED)
_NESTED: Final = W.sequence(0x00091140, W.item(b"", undefined=True), undefined=True)
_ODD: Final = struct.pack("<HH2sH", 0x0009, 0x1010, b"??", 0) + W.element(0x00091011, b"LO", b"")
_TOO_ODD: Final = "more of its elements are odd than a file of its size may have"


def doubted(path: Path) -> None:
    """Cut, in implicit VR, and before the cut explicit VR in a private sequence: so it is walked once more, and into that."""
    inside = W.mark(0xE000, 0) + W.element(0x00091010, b"LO", b"") * 2_499_999
    path.write_bytes(head(IMPLICIT, sop_class=SR) + I.header(0x00091010, b"SQ", len(inside)) + inside + b"\1")


def _row(path: Path) -> None:
    """Elements without a VR, each with a tag that is later than the one before."""
    tags = range(0x00300000, 0x00300000 + MANY)
    path.write_bytes(head(EXPLICIT, sop_class=SR) + FRONT + b"".join(I.header(tag, b"", 0) for tag in tags))


def _many(name: str, piece: bytes, *, front: bytes = FRONT, syntax: str = EXPLICIT, says: str = _ELEMENTS) -> Bomb:
    return Bomb(f"many {name}", says, partial(_plain, syntax=syntax, front=front, piece=piece))


BOMBS: Final = (
    _many("elements", W.element(0x00091010, b"LO", b"")),
    _many("elements, implicit", I.element(0x00091010, b"LO", b""), front=b"", syntax=IMPLICIT),
    _many("elements, implicit in explicit", I.element(0x00091010, b"", b""), says=_TOO_ODD),
    Bomb("many elements, implicit in explicit, in order", _ELEMENTS, _row),
    _many("elements with a VR of the future", _FUTURE),
    _many("identifiers", W.element(0x0020000D, b"UI", b"1.2 ")),
    _many("pixel data", W.element(0x7FE00010, b"OW", b"")),
    _many("items", W.item(b""), front=FRONT + _OPEN, says=_DENSE),
    _many("open items", W.item(b"", undefined=True), front=FRONT + _OPEN, says=_DENSE),
    _many("open sequences", W.sequence(0x00091140, undefined=True)),
    _many("open sequences with open items", _NESTED),
    _many("open sequences in an item", _NESTED, front=FRONT + _OPEN + W.mark(0xE000, UNDEFINED), says=_DENSE),
    _many("odd elements", _ODD),
    _many("odd elements in an item", _ODD, front=FRONT + _OPEN + W.mark(0xE000, UNDEFINED), says=_TOO_ODD),
    _many("delimiters", W.mark(0xE0DD)),
    Bomb("deep nesting", "sequences nest more than 64 deep", partial(_plain, syntax=EXPLICIT, front=b"", piece=_DEEP)),
    Bomb(
        "spread elements",
        _PLACES,
        partial(_spread, syntax=EXPLICIT, front=FRONT, header=W.header(0x00091010, b"OB", 8192), length=8192),
    ),
    Bomb(
        "spread fragments",
        _PLACES,
        partial(_spread, syntax=JPEG, front=_FRAGMENTS, header=W.mark(0xE000, 8192), length=8192),
    ),
    Bomb(
        "deflated zeros",
        "the data set inflates to more than 256 times its size",
        lambda path: _deflated(path, _packed(bytes(1 << 20), 300)),
    ),
    Bomb(
        "deflated to the largest size",
        "the data set is too large to inflate: 3 MiB of it are 334 MiB inflated",
        lambda path: _deflated(path, _packed(_NOISE, 400)),
    ),
    Bomb(
        "deflated noise",
        "the data set is too large to inflate: 18 MiB of it are 27 MiB inflated",
        lambda path: _deflated(path, _packed(random.Random(1).randbytes(1 << 19) + bytes(1 << 18), 60, level=6)),
    ),
    Bomb(
        "deflated in tiny blocks",
        "the data set is too large to inflate: 20 MiB of it are 0 MiB inflated",
        partial(_deflated, pieces=_tiny_blocks(match=False)),
    ),
    Bomb(
        "deflated in tiny blocks that each give something",
        "the data set is too large to inflate: 15 MiB of it are 97 MiB inflated",
        partial(_deflated, pieces=_tiny_blocks(match=True)),
    ),
)
