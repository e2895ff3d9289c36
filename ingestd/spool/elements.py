"""The walk over the elements of a data set (PS3.5 7), from its first byte to its last.

It passes a data set only if its last element ends where the data end: declared lengths decide, and what has no declared
length (PS3.5 7.5) is walked to its delimiter. A value of declared length is stepped over, a sequence too: nothing inside can
change where it ends. So only what has no declared length is ever open, on a stack and never by recursion, and memory stays flat.

It reads what real files hold: implicit VR where explicit is declared and the other way round, UN of undefined length (implicit VR
little endian inside, PS3.5 6.2.2), VRs of the future (32-bit length, PS3.5 7.1.2), delimiters too many or with a length. Each such
leniency chooses how a header is read, never where the data end. It keeps the few top-level values that the verdict needs.
"""

from __future__ import annotations

from itertools import repeat
from typing import Final, NamedTuple

from ingestd.core.model import Wholeness
from ingestd.spool.encoding import (
    EXPLICIT_LITTLE,
    HEADER_LIMIT,
    IMPLICIT_LITTLE,
    TOO_MANY,
    UNDEFINED,
    Encoding,
    skim,
)
from ingestd.spool.sources import LOOKAHEAD, NotWholeError, PastEndError, View, zeros_to_the_end
from ingestd.spool.tags import BULK, ITEM, ITEM_END, PIXEL_DATA, SEQUENCE_END

# Report trees nest some twenty sequences deep.
DEPTH_LIMIT: Final = 64


class _Level(NamedTuple):
    """Something open: a data set (the file's, an item's), or the items of a sequence or of an encapsulated value."""

    encoding: Encoding
    items: bool
    tag: int  # whose items they are


class Walk:
    """One walk over the data set that begins `at` in the view.

    What it saw of the top level, all of it after run(): small `values` by tag, `lengths` of bulk data (None: undefined), the
    `last_tag` (0 before a zero tail), whether only zeros follow the last element, and `notes`.
    """

    __slots__ = (
        *("_base", "_budget", "_buffer", "_length", "_levels", "_notes", "_start", "_view"),
        *("last_tag", "lengths", "values", "zero_tail"),
    )

    def __init__(self, view: View, at: int, encoding: Encoding) -> None:
        self._view = view
        base, buffer = view.held()
        self._base, self._buffer = (base, buffer) if base <= at else (at, b"")
        self._start = at
        self._levels = [_Level(encoding, False, 0)]
        self._budget = repeat(None, HEADER_LIMIT)
        self._length = 0  # what the last header declares
        self._notes: dict[str, None] = {}
        self.last_tag = 0
        self.values: dict[int, bytes] = {}
        self.lengths: dict[int, int | None] = {}
        self.zero_tail = False

    @property
    def encoding(self) -> Encoding:
        """That of the top level."""
        return self._levels[0].encoding

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._notes)

    def run(self) -> None:
        """Walk to the end of the data. Raises NotWholeError."""
        pos = self._start - self._base
        levels = self._levels
        levels[0] = _Level(self._guess(levels[0].encoding, pos), False, 0)
        while True:
            encoding, items, _ = levels[-1]
            if pos < len(self._buffer):
                pos = self._step(encoding, pos) if items else self._skim(encoding, pos)
            if pos + 12 > len(self._buffer):
                self._load(pos)
                pos = 0
                if len(self._buffer) < 8:
                    break
            pos = self._item(encoding, pos) if items else self._element(encoding, pos)
        if self.zero_tail:
            self.last_tag = 0
        self._end()

    def _skim(self, encoding: Encoding, pos: int) -> int:
        """Pass over plain elements."""
        wanted = encoding.wanted if len(self._levels) == 1 else encoding.stops
        pos, key, length = skim(self._buffer, pos, encoding, wanted, budget=self._budget, values=self.values)
        if key >= 0 and key not in encoding.stops:
            self.last_tag, self._length = encoding.tag(key), length
        return pos

    def _step(self, encoding: Encoding, pos: int) -> int:
        """Pass over items and fragments of declared length."""
        buffer, header, item = self._buffer, encoding.item.unpack_from, encoding.item_key
        last = len(buffer) - 12
        for _ in self._budget:
            if pos > last:
                break
            key, length = header(buffer, pos)
            if key != item or length == UNDEFINED:
                break
            self.last_tag, self._length = ITEM, length
            pos += 8 + length
        else:
            raise NotWholeError(Wholeness.OUT_OF_BOUNDS, TOO_MANY)
        return pos

    def _load(self, pos: int) -> None:
        try:
            self._buffer = self._view.load(self._base + pos)
        except PastEndError as error:
            raise NotWholeError(Wholeness.TRUNCATED, self._cut(self._base + pos - self._length, error.end)) from None
        self._base += pos

    def _cut(self, start: int, end: int) -> str:
        """What is said of the value at `start`, which the data end within.

        A header that was read at the wrong place is eight letters of some value (I7); so only known tags are named.
        """
        if self.last_tag in self.encoding.wanted.values():
            return f"the element {_name(self.last_tag)} declares {self._length} bytes, {end - start} are there"
        return f"the value at byte {start} is longer than the {end - start} bytes that are there"

    def _end(self) -> None:
        """The buffer holds what is left, less than a header."""
        if len(self._levels) > 1:
            text = f"the data end inside {_name(self._levels[1].tag)}, before its delimiter"
            raise NotWholeError(Wholeness.TRUNCATED, text)
        # One zero may begin (6000,xxxx), or (0008,xxxx) in big endian.
        if self._buffer.strip(b"\0") or (len(self._buffer) == 1 and PIXEL_DATA not in self.lengths):
            text = f"the element header at byte {self._base} is cut"
            if PIXEL_DATA in self.lengths:
                text = f"bytes follow the last element, at byte {self._base}: too few for another one"
            raise NotWholeError(Wholeness.TRUNCATED, text)
        self.zero_tail = self.zero_tail or bool(self._buffer)

    def _element(self, encoding: Encoding, pos: int) -> int:
        """Look at one element of any kind; returns where the next header stands."""
        (key,) = encoding.u32.unpack_from(self._buffer, pos)
        tag = encoding.stops.get(key)
        if tag is not None:
            return self._mark(tag, pos)
        tag = encoding.tag(key)
        inner, head, length = self._header(encoding, pos)
        if len(self._levels) == 1 and key in encoding.wanted:
            self._keep(tag, pos + head, length)
        self.last_tag, self._length = tag, length
        if length == UNDEFINED:
            self._open(_Level(inner, True, tag))
            return pos + head
        return pos + head + length

    def _header(self, encoding: Encoding, pos: int) -> tuple[Encoding, int, int]:
        """How items inside would be encoded, the header's length, the value's length."""
        if not encoding.explicit:
            _, length = encoding.header.unpack_from(self._buffer, pos)
            return encoding, 8, length
        _, number, length = encoding.header.unpack_from(self._buffer, pos)
        head, vr = encoding.heads[number], self._buffer[pos + 4 : pos + 6]
        if head == 8:
            return encoding, 8, length
        if head == 12 or _like_vr(vr):
            if pos + 12 > len(self._buffer):
                raise NotWholeError(Wholeness.TRUNCATED, f"the element header at byte {self._base + pos} is cut")
            (length,) = encoding.u32.unpack_from(self._buffer, pos + 8)
            if not head and not self._fits(pos + 12, length):
                raise self._nothing_begins(pos)
            return (IMPLICIT_LITTLE if vr == b"UN" else encoding), 12, length
        (length,) = encoding.u32.unpack_from(self._buffer, pos + 4)
        if not (length < 1 << 16 and self._fits(pos + 8, length)) and length != UNDEFINED:
            raise self._nothing_begins(pos)
        self._note("elements with implicit VR in an explicit VR data set")
        return encoding, 8, length

    def _keep(self, tag: int, pos: int, length: int) -> None:
        if tag in BULK:
            self.lengths[tag] = None if length == UNDEFINED else length
        else:
            value = self._bytes(pos, length) if length <= LOOKAHEAD else b""
            self.values[tag] = value if len(value) == length else b""  # half a UID is another one's

    def _item(self, encoding: Encoding, pos: int) -> int:
        """Look at what stands where an item is due: an item, a fragment, the end."""
        key, length = encoding.item.unpack_from(self._buffer, pos)
        tag = encoding.stops.get(key)
        if tag is None:
            raise self._nothing_begins(pos, "item")
        if tag != ITEM:
            return self._mark(tag, pos)
        if length == UNDEFINED:
            self._open(_Level(self._guess(encoding, pos + 8), False, self._levels[-1].tag))
            return pos + 8
        self.last_tag, self._length = tag, length
        return pos + 8 + self._length

    def _mark(self, tag: int, pos: int) -> int:
        """Look at a delimiter, at zeros, or at an item where none is due."""
        if tag == 0:
            return self._zeros(pos)
        if tag == ITEM:
            raise self._nothing_begins(pos)
        return self._close(tag, pos)

    def _open(self, level: _Level) -> None:
        if len(self._levels) > 2 * DEPTH_LIMIT:  # a sequence takes two, itself and its item
            raise NotWholeError(Wholeness.OUT_OF_BOUNDS, f"sequences nest more than {DEPTH_LIMIT} deep")
        self._levels.append(level)

    def _close(self, tag: int, pos: int) -> int:
        level = self._levels[-1]
        if len(self._levels) > 1 and tag == (SEQUENCE_END if level.items else ITEM_END):
            self._levels.pop()
            self.last_tag = level.tag
        elif len(self._levels) == 1 or level.items:
            self._note("a delimiter too many")
        else:
            raise self._nothing_begins(pos)
        return pos + 8  # whatever length it declares: PS3.5 7.5 knows none but 0

    def _zeros(self, pos: int) -> int:
        """No element has the tag (0000,0000) in a file (PS3.10 7): only room that was claimed and never written to may follow."""
        at = self._base + pos
        count = zeros_to_the_end(self._view, at)
        if count is None:
            raise self._nothing_begins(pos)
        self.zero_tail = True
        self._base, self._buffer = at + count, b""
        return 0

    def _guess(self, encoding: Encoding, pos: int) -> Encoding:
        """The VR encoding that the first element of a data set shows, whatever is declared; little endian only."""
        head = self._bytes(pos, 8)
        if encoding.big_endian or len(head) < 8:
            return encoding
        vr = head[4:6]
        known = EXPLICIT_LITTLE.heads[int.from_bytes(vr, "little")] > 0
        if known is encoding.explicit:
            return encoding
        if int.from_bytes(head[:4], "little") in encoding.stops:
            return encoding
        if known:
            self._note("a data set in explicit VR where implicit VR is declared")
            return EXPLICIT_LITTLE
        if len(self._levels) == 1 and not _like_vr(vr) and self._fits(pos + 8, int.from_bytes(head[4:], "little")):
            self._note("a data set in implicit VR where explicit VR is declared")
            return IMPLICIT_LITTLE
        return encoding

    def _bytes(self, pos: int, length: int) -> bytes:
        if pos + length <= len(self._buffer):
            return self._buffer[pos : pos + length]
        return self._view.load(self._base + pos)[:length]

    def _fits(self, pos: int, length: int) -> bool:
        return self._view.may_hold(self._base + pos + length)

    def _note(self, text: str) -> None:
        self._notes[text] = None

    def _nothing_begins(self, pos: int, what: str = "element") -> NotWholeError:
        text = f"at byte {self._base + pos} no {what} begins"
        if len(self._levels) == 1 and PIXEL_DATA in self.lengths:
            text = f"bytes follow the last element: {text}"
        return NotWholeError(Wholeness.NOT_DICOM, text)


def _name(tag: int) -> str:
    return f"({tag >> 16:04x},{tag & 0xFFFF:04x})"


def _like_vr(vr: bytes) -> bool:
    return vr.isalpha() and vr.isupper()
