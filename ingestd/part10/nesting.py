"""What is open during the walk, and the loop that passes through sequences of undefined length (PS3.5 7.5).

An enhanced multi-frame object has 60 to 400 headers a frame, and half of them are sequences, items and delimiters. The loop opens
and closes these on the spot, and leaves to the walk whatever needs a look.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from ingestd.core.answers.reasons import Wholeness
from ingestd.part10.encoding import EXPLICIT_LITTLE, UNDEFINED, Encoding
from ingestd.part10.tags import ITEM_END, SEQUENCE_END
from ingestd.part10.views import NotWholeError

# Elements, items, fragments and delimiters inside of others, where they are not stepped over; 0.3 microseconds each. A whole-slide
# image has a fragment a tile, some 150,000; an enhanced multi-frame object 50 to 400 headers a frame, and thousands of frames. No
# number holds for all of them, so beyond a floor the file's size allows for more. Without their pixels such objects have 11 to 20
# bytes a header; what is made to cost much has 8 or 9.
NESTED_FLOOR: Final = 800_000
NESTED_BYTES: Final = 14
TOO_DENSE: Final = (
    f"there are more than {NESTED_FLOOR} elements in sequences, and more than one in {NESTED_BYTES} bytes"
)

# Report trees nest some twenty sequences deep.
DEPTH_LIMIT: Final = 64
OPEN_LIMIT: Final = 2 * DEPTH_LIMIT + 1  # a sequence takes two, itself and its item; the data set is one


class Level(NamedTuple):
    """Something open: a data set (the file's, an item's), or the items of a sequence or of an encapsulated value."""

    encoding: Encoding
    items: bool
    tag: int  # whose items they are


def pass_through(  # noqa: C901, PLR0912, PLR0915 - a call for each header would double what it costs
    buffer: bytes, pos: int, levels: list[Level], budget: Iterator[None]
) -> tuple[int, int, int]:
    """Pass over plain elements, items, fragments and delimiters from `pos` on; something is open, and `levels` follow.

    Returns where the file's own data set goes on, or one of another encoding, where a header stands that needs a look, or where the
    buffer has no whole one (that may lie behind it); and the tag and the length of what was passed last, the tag is -1 if nothing
    was. Each header takes one from the budget. Raises NotWholeError when it is spent.
    """
    encoding = levels[-1].encoding
    explicit, header, item, u32 = (
        encoding.explicit,
        encoding.header.unpack_from,
        encoding.item.unpack_from,
        encoding.u32.unpack_from,
    )
    heads, stops, unknown = encoding.heads or EXPLICIT_LITTLE.heads, encoding.stops, encoding.unknown
    item_start, item_end, sequence_end = encoding.item_key, encoding.tag(ITEM_END), encoding.tag(SEQUENCE_END)
    inside, passed, tag, length = not levels[-1].items, -1, -1, 0
    try:
        for _ in budget:
            if inside:
                if explicit:
                    key, vr, size = header(buffer, pos)
                    head = heads[vr]
                    if head == 12:
                        (size,) = u32(buffer, pos + 8)
                else:
                    key, size = header(buffer, pos)
                    head, vr = 8, 0
                if key in stops:
                    if key != item_end:
                        break
                    passed, tag, inside = -1, levels.pop().tag, False
                    pos += 8
                elif size != UNDEFINED and head:
                    passed, length = key, size
                    pos += head + size
                elif head and vr != unknown and len(levels) < OPEN_LIMIT:
                    passed, length, inside = key, size, False
                    levels.append(Level(encoding, True, encoding.tag(key)))
                    pos += head
                else:
                    break
                continue
            key, size = item(buffer, pos)
            if key == item_start and size != UNDEFINED:
                passed, length = key, size
                pos += 8 + size
            elif key == item_start:
                if explicit:
                    first, vr, _ = header(buffer, pos + 8)
                    alike = heads[vr] > 0
                else:
                    first, size = header(buffer, pos + 8)
                    alike = not heads[size & 0xFFFF]
                if not (alike or first in stops) or len(levels) >= OPEN_LIMIT:
                    break
                levels.append(Level(encoding, False, levels[-1].tag))
                inside = True
                pos += 8
            elif key == sequence_end:
                passed, tag, inside = -1, levels.pop().tag, True
                pos += 8
                if len(levels) == 1 or levels[-1].encoding is not encoding:
                    break
            else:
                break
        else:
            raise NotWholeError(Wholeness.OUT_OF_BOUNDS, TOO_DENSE)
    except struct.error:  # the buffer ends before a header does
        pass
    return pos, encoding.tag(passed) if passed >= 0 else tag, length
