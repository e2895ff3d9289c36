"""The walk over the elements of a data set (PS3.5 7), from its first byte to its last.

It passes a data set only if its last element ends where the data end: declared lengths decide, and what has no declared
length (PS3.5 7.5) is walked to its delimiter. A value of declared length is stepped over, a sequence too: nothing inside can
change where it ends. So only what has no declared length is ever open, on a stack and never by recursion, and memory stays flat.

It reads what real files hold: implicit VR where explicit is declared and the other way round, UN of undefined length (implicit VR
little endian inside, PS3.5 6.2.2), VRs of the future (32-bit length, PS3.5 7.1.2) and VRs that are none (`odd`), delimiters too
many or with a length. Each such leniency chooses how a header is read, never where the data end. It keeps the few top-level values
that the verdict needs.
"""

from __future__ import annotations

from itertools import islice, repeat
from typing import Final

from ingestd.core.answers.reasons import Wholeness
from ingestd.part10.encoding import (
    EXPLICIT_LITTLE,
    HEADER_LIMIT,
    IMPLICIT_LITTLE,
    TOO_MANY,
    UNDEFINED,
    Encoding,
    inside_unknown,
    skim,
)
from ingestd.part10.nesting import DEPTH_LIMIT, NESTED_BYTES, NESTED_FLOOR, OPEN_LIMIT, Level, pass_through
from ingestd.part10.odd import OddHeaders, is_like_vr
from ingestd.part10.tags import BULK, ITEM, ITEM_END, PIXEL_DATA, SEQUENCE_END
from ingestd.part10.views import LOOKAHEAD, NotWholeError, PastEndError, View, zeros_to_the_end

# A note of a walk that had doubts.
LONGER_SEQUENCE: Final = "a private sequence in explicit VR is longer than it declares in implicit VR"

_A_LOOK: Final = 5  # headers more that one counts as that leaves the loops: it costs so much


class Walk:
    """One walk over the data set that begins `at` in the view.

    What it saw of the top level, all of it after run(): small `values` by tag, `lengths` of bulk data (None: undefined), the
    `last_tag` (0 before a zero tail), whether only zeros follow the last element, and `notes`. With `doubts`, slowly, it looks into
    private sequences in implicit VR, which may be longer than they declare.
    """

    __slots__ = (
        *("_base", "_budget", "_buffer", "_doubts", "_length", "_levels", "_nested_budget", "_notes", "_odd"),
        *("_start", "_view"),
        *("last_tag", "lengths", "values", "zero_tail"),
    )

    def __init__(self, view: View, at: int, encoding: Encoding, *, doubts: bool = False) -> None:
        self._view = view
        base, buffer = view.held()
        self._base, self._buffer = (base, buffer) if base <= at else (at, b"")
        self._start = at
        self._levels = [Level(encoding, False, 0)]
        self._budget = repeat(None, HEADER_LIMIT)
        self._nested_budget = repeat(None, NESTED_FLOOR + view.weight // NESTED_BYTES)
        self._doubts = doubts
        self._odd = OddHeaders(view, self._nested_budget)
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
        levels[0] = Level(self._guess(levels[0].encoding, pos), False, 0)
        while True:
            if len(levels) > 1 and pos < len(self._buffer) and not self._doubts:
                pos = self._pass_through(pos)
            if len(levels) == 1 and pos < len(self._buffer) and not self._doubts:
                pos = self._skim(pos)
            if pos + 12 > len(self._buffer):
                self._load(pos)
                pos = 0
                if len(self._buffer) < 8:
                    break
            encoding, items, _ = levels[-1]
            budget = self._nested_budget if len(levels) > 1 else self._budget
            for _ in islice(budget, _A_LOOK):
                pass
            if self._doubts and next(budget, TOO_MANY) is TOO_MANY:
                raise NotWholeError(Wholeness.OUT_OF_BOUNDS, TOO_MANY)
            pos = self._item(encoding, pos) if items else self._element(encoding, pos)
        if self.zero_tail:
            self.last_tag = 0
        self._end()

    def _skim(self, pos: int) -> int:
        """Pass over plain elements of the file's own data set."""
        encoding = self._levels[0].encoding
        pos, key, length = skim(self._buffer, pos, encoding, encoding.wanted, budget=self._budget, values=self.values)
        if key >= 0 and key not in encoding.stops:
            self.last_tag, self._length = encoding.tag(key), length
        return pos

    def _pass_through(self, pos: int) -> int:
        """Pass over what is plain in what is open."""
        pos, tag, length = pass_through(self._buffer, pos, self._levels, self._nested_budget)
        if tag >= 0:
            self.last_tag, self._length = tag, length
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
            self._open(Level(inner, True, tag))
            return pos + head
        return pos + head + length

    def _header(self, encoding: Encoding, pos: int) -> tuple[Encoding, int, int]:
        """How items inside would be encoded, the header's length, the value's length."""
        at, nested = self._base + pos, len(self._levels) > 1
        if not encoding.explicit:
            _, length = encoding.header.unpack_from(self._buffer, pos)
            if self._doubts and (end := self._odd.sequence_end(self._buffer[pos : pos + 8], at, nested=nested)):
                self._note(LONGER_SEQUENCE)
                length = end - at - 8
            return encoding, 8, length
        _, number, length = encoding.header.unpack_from(self._buffer, pos)
        head, vr = encoding.heads[number], self._buffer[pos + 4 : pos + 6]
        if head == 8:
            return encoding, 8, length
        cut = pos + 12 > len(self._buffer)
        if not head:
            reading = self._odd.read(self._buffer[pos : pos + 12], at, encoding, nested=nested)
            if reading is None and not (cut and is_like_vr(vr)):
                raise self._nothing_begins(pos)
            if reading is not None:
                if reading.note:
                    self._note(reading.note)
                return encoding, reading.head, reading.length
        if cut:
            raise NotWholeError(Wholeness.TRUNCATED, f"the element header at byte {self._base + pos} is cut")
        (length,) = encoding.u32.unpack_from(self._buffer, pos + 8)
        return (inside_unknown(encoding, self._bytes(pos + 12, 4)) if vr == b"UN" else encoding), 12, length

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
            self._open(Level(self._guess(encoding, pos + 8), False, self._levels[-1].tag))
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

    def _open(self, level: Level) -> None:
        if len(self._levels) >= OPEN_LIMIT:
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
        """The VR encoding that the first element of a data set shows, whatever is declared; little endian only.

        A length in implicit VR may spell a VR, and an odd VR may look like a length: then what follows tells which it is.
        """
        head, at, nested = self._bytes(pos, 12), self._base + pos, len(self._levels) > 1
        if encoding.big_endian or len(head) < 8:
            return encoding
        vr = head[4:6]
        known = EXPLICIT_LITTLE.heads[int.from_bytes(vr, "little")] > 0
        if known is encoding.explicit:
            return encoding
        if int.from_bytes(head[:4], "little") in encoding.stops:
            return encoding
        if known:
            runs = self._odd.runs
            if not runs(head, at, EXPLICIT_LITTLE, nested=nested) and runs(head, at, encoding, nested=nested):
                return encoding  # a length that spells a VR
            self._note("a data set in explicit VR where implicit VR is declared")
            return EXPLICIT_LITTLE
        if nested or is_like_vr(vr) or not self._fits(pos + 8, int.from_bytes(head[4:8], "little")):
            return encoding
        if self._odd.is_followed(head, at, encoding):
            return encoding
        self._note("a data set in implicit VR where explicit VR is declared")
        return IMPLICIT_LITTLE

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
