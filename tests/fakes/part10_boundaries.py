"""Where elements begin and end in a file, at every depth: a second reader of PS3.5 7, recursive, strict and slow, that shares
nothing with the walk.

It reads what is well-formed, and stops with ValueError at anything else; the file must be whole.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from fakes.part10_writer import BIG, DEFLATES, IMPLICITS, UNDEFINED

_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())


@dataclass(slots=True)
class Boundaries:
    """Offsets in the file (of a deflated data set: none). `top`: the tag of each top-level element by the offset of its end."""

    syntax: str
    start: int = 0
    sop_class: str = ""
    top: dict[int, int] = field(default_factory=dict)
    every: set[int] = field(default_factory=set)


def boundaries(content: bytes) -> Boundaries:
    reader = _Reader(content, explicit=True, order="<")
    at, syntax = 132, ""
    found = Boundaries(syntax)
    while content[at : at + 2] == b"\2\0":
        found.every.add(at)
        end = reader.element(at, depth=9)
        if content[at + 2 : at + 4] == b"\x10\0":
            syntax = content[at + 8 : end].rstrip(b"\0 ").decode("ascii")
        at = end
    found.syntax, found.start = syntax, at
    found.every.add(at)
    if syntax in DEFLATES:
        zlib.decompress(content[at:].rstrip(b"\0") + b"\0" * 2, -15)
        return found
    reader = _Reader(content, explicit=syntax not in IMPLICITS, order=">" if syntax == BIG else "<")
    while at < len(content):
        tag = reader.tag(at)
        begin, at = at, reader.element(at, depth=0)
        found.top[at] = tag
        if tag == 0x00080016:
            found.sop_class = content[reader.header(begin)[1] : at].rstrip(b"\0 ").decode("ascii")
    found.every |= reader.every
    return found


class _Reader:
    def __init__(self, content: bytes, *, explicit: bool, order: str) -> None:
        self.content = content
        self.explicit = explicit
        self.order = order
        self.every: set[int] = set()

    def tag(self, at: int) -> int:
        group, element = struct.unpack_from(self.order + "HH", self.content, at)
        return int(group << 16 | element)

    def element(self, at: int, *, depth: int) -> int:
        """The end of the element at `at`; every header, value and end in it is noted."""
        vr, start, length = self.header(at)
        self.every |= {at, start}
        if length == UNDEFINED:
            inner = self if vr != b"UN" else self._as_implicit()
            end = inner.items(start, None, depth=depth)
        else:
            end = start + length
            if end > len(self.content):
                raise ValueError(f"the element at {at} ends at {end}, behind the end")
            if vr == b"SQ" or (not self.explicit and self.content[start : start + 4] == b"\xfe\xff\x00\xe0"):
                self.items(start, end, depth=depth)
        self.every.add(end)
        return end

    def items(self, at: int, end: int | None, *, depth: int) -> int:
        while end is None or at < end:
            tag = self.tag(at)
            (length,) = struct.unpack_from(self.order + "I", self.content, at + 4)
            self.every |= {at, at + 8}
            if tag == 0xFFFEE0DD and end is None:
                return at + 8
            if tag != 0xFFFEE000:
                raise ValueError(f"no item at {at}")
            at = self._item(at + 8, length, depth=depth)
        return at

    def _item(self, at: int, length: int, *, depth: int) -> int:
        if length != UNDEFINED:
            end: int = at + length
            if self._holds_elements(at, end):
                while at < end:
                    at = self.element(at, depth=depth + 1)
            return end
        while self.tag(at) != 0xFFFEE00D:
            at = self.element(at, depth=depth + 1)
        self.every |= {at, at + 8}
        return at + 8

    def _holds_elements(self, at: int, end: int) -> bool:
        """Of an item of declared length; a fragment is bytes."""
        if not self.explicit or end - at < 8:
            return not self.explicit
        vr = self.content[at + 4 : at + 6]
        return vr.isalpha() and vr.isupper() and self.content[at : at + 2] != b"\xff\xd8"

    def header(self, at: int) -> tuple[bytes, int, int]:
        if not self.explicit:
            (length,) = struct.unpack_from("<I", self.content, at + 4)
            return b"", at + 8, length
        vr = self.content[at + 4 : at + 6]
        if vr in _LONG:
            (length,) = struct.unpack_from(self.order + "I", self.content, at + 8)
            return vr, at + 12, length
        if not (vr.isalpha() and vr.isupper()):
            raise ValueError(f"no VR at {at}")
        (length,) = struct.unpack_from(self.order + "H", self.content, at + 6)
        return vr, at + 8, length

    def _as_implicit(self) -> _Reader:
        """UN of undefined length is implicit VR little endian inside (PS3.5 6.2.2)."""
        inner = _Reader(self.content, explicit=False, order="<")
        inner.every = self.every
        return inner
