"""How the headers of data elements are written (PS3.5 7.1), and the two loops that pass over plain elements.

The loops are the hot path of the walk: an element in them costs a tenth of a microsecond, one that leaves them ten times as much.
They stop at whatever is not an element of declared length with a known VR.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from ingestd.core.answers.reasons import Wholeness
from ingestd.part10.tags import BULK, ITEM, ITEM_END, SEQUENCE_END, SMALL
from ingestd.part10.views import NotWholeError

# Elements that are not inside of others, each of which has a tag of its own (PS3.5 7.1); each costs a microsecond at most.
HEADER_LIMIT: Final = 800_000
TOO_MANY: Final = f"there are more than {HEADER_LIMIT} elements"

UNDEFINED: Final = 0xFFFFFFFF
SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())  # 16-bit length
LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # 32-bit length


class Encoding:
    """Explicit or implicit VR, and the byte order.

    A *key* is a tag as one 32-bit number read in that order. `heads` gives the length of the header by VR, read as one 16-bit
    number; 0 where it is no VR. (A list of 65,536: nothing is looked up faster.) `unknown` is UN as such a number. `wanted` gives
    the tags of the keys that matter at the top level of a data set, `stops` of those that matter everywhere. `item` is the header
    of an item, a fragment or a delimiter: key and length.
    """

    __slots__ = ("big_endian", "explicit", "header", "heads", "item", "item_key", "stops", "u32", "unknown", "wanted")

    def __init__(self, *, explicit: bool, big_endian: bool = False) -> None:
        mark = ">" if big_endian else "<"
        self.explicit = explicit
        self.big_endian = big_endian
        self.item = struct.Struct(mark + "II")
        self.header = struct.Struct(mark + "IHH") if explicit else self.item
        self.heads = _heads(big_endian=big_endian) if explicit else []
        self.u32 = struct.Struct(mark + "I")
        self.unknown = int.from_bytes(b"UN", "big" if big_endian else "little")
        self.stops = {self.tag(tag): tag for tag in (0, ITEM, ITEM_END, SEQUENCE_END)}
        self.item_key = self.tag(ITEM)
        self.wanted = self.stops | {self.tag(tag): tag for tag in SMALL | BULK}

    def tag(self, key: int) -> int:
        """The tag of a key; the key of a tag just as well."""
        return key if self.big_endian else (key & 0xFFFF) << 16 | key >> 16


def _heads(*, big_endian: bool) -> list[int]:
    heads = [0] * (1 << 16)
    for vrs, head in ((SHORT_VRS, 8), (LONG_VRS, 12)):
        for vr in vrs:
            heads[int.from_bytes(vr, "big" if big_endian else "little")] = head
    return heads


IMPLICIT_LITTLE: Final = Encoding(explicit=False)
EXPLICIT_LITTLE: Final = Encoding(explicit=True)
EXPLICIT_BIG: Final = Encoding(explicit=True, big_endian=True)


_BIG_ITEMS: Final = frozenset({b"\xff\xfe\xe0\x00", b"\xff\xfe\xe0\xdd"})


def inside_unknown(encoding: Encoding, first: bytes) -> Encoding:
    """What UN of undefined length holds: implicit VR little endian (PS3.5 6.2.2), but big endian where its first item is."""
    return encoding if encoding.big_endian and first in _BIG_ITEMS else IMPLICIT_LITTLE


def skim(
    buffer: bytes,
    pos: int,
    encoding: Encoding,
    wanted: dict[int, int],
    *,
    budget: Iterator[None],
    values: dict[int, bytes],
) -> tuple[int, int, int]:
    """Pass over plain elements from `pos` on, and keep the small `wanted` ones in `values` by tag.

    Returns where a header stands that needs a look, or where the buffer has no whole one (that may lie behind it), and the
    key and the length of the header that was read last; the key is -1 if none was. Each header takes one from the budget.
    Raises NotWholeError when it is spent.
    """
    if encoding.explicit:
        return _skim_explicit(buffer, pos, encoding, wanted, budget=budget, values=values)
    return _skim_implicit(buffer, pos, encoding, wanted, budget=budget)


def _skim_explicit(
    buffer: bytes,
    pos: int,
    encoding: Encoding,
    wanted: dict[int, int],
    *,
    budget: Iterator[None],
    values: dict[int, bytes],
) -> tuple[int, int, int]:
    header, u32 = encoding.header.unpack_from, encoding.u32.unpack_from
    heads, size, stops = encoding.heads, len(buffer), encoding.stops
    key, length = -1, 0
    try:
        for _ in budget:
            key, vr, length = header(buffer, pos)
            if key in wanted:
                end = pos + 8 + length
                if heads[vr] != 8 or end > size or key in stops:
                    break
                values[wanted[key]] = buffer[pos + 8 : end]
                pos = end
            elif heads[vr] == 8:
                pos += 8 + length
            elif heads[vr] == 12:
                (length,) = u32(buffer, pos + 8)
                if length == UNDEFINED:
                    break
                pos += 12 + length
            else:
                break
        else:
            raise NotWholeError(Wholeness.OUT_OF_BOUNDS, TOO_MANY)
    except struct.error:  # the buffer ends before a header does
        pass
    return pos, key, length


def _skim_implicit(
    buffer: bytes, pos: int, encoding: Encoding, wanted: dict[int, int], *, budget: Iterator[None]
) -> tuple[int, int, int]:
    header = encoding.header.unpack_from
    key, length = -1, 0
    try:
        for _ in budget:
            key, length = header(buffer, pos)
            if key in wanted or length == UNDEFINED:
                break
            pos += 8 + length
        else:
            raise NotWholeError(Wholeness.OUT_OF_BOUNDS, TOO_MANY)
    except struct.error:  # the buffer ends before a header does
        pass
    return pos, key, length
