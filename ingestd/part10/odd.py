"""Headers that are not as the standard has them: which reading of one is right, what stands behind the value proves.

In explicit VR data sets the field has two characters for a VR that are none (blanks, "??", "--", zeros, small letters, capitals
that no edition knows), before a length of 16 bits, or of 32 behind two zeros; and elements without a VR. In implicit VR data sets
it has private sequences in explicit VR whose declared length is a few bytes short, because it was summed up for implicit VR.

A reading is proved where behind the value stands a header of the declared encoding, whose tag is a later one (PS3.5 7.1) and whose
value is there; or the end of the item; or the end of the data. What stands there may be odd in the same way: then the last in the
row is proved, or sixteen are. The end proves no reading that would hide a cut within the value by another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from ingestd.core.answers.reasons import Wholeness
from ingestd.part10.encoding import EXPLICIT_LITTLE, IMPLICIT_LITTLE, UNDEFINED, Encoding
from ingestd.part10.tags import BULK, ITEM, ITEM_END, SEQUENCE_END
from ingestd.part10.views import NotWholeError, View

TOO_ODD: Final = "more of its elements are odd than a file of its size may have"

_IN_A_ROW: Final = 16
_LOOK: Final = 5  # headers that a step of a proof counts as: it costs so much
_SHORT_BY: Final = 1024  # bytes; 4 for each header that is longer in explicit VR
_ZEROS: Final = b"\0\0"

_SHORT_NOTE: Final = "elements with a VR that is none, and a length of 16 bits"
_LONG_NOTE: Final = "elements with a VR that is none, and a length of 32 bits"
_IMPLICIT_NOTE: Final = "elements with implicit VR in an explicit VR data set"


class Reading(NamedTuple):
    """How long a header and its value are; `note` says what is odd, if that is to be said."""

    head: int
    length: int
    note: str = ""


_Reader = Callable[[bytes, Encoding], Reading | None]


def is_like_vr(vr: bytes) -> bool:
    return vr.isalpha() and vr.isupper()


def _is_text(vr: bytes) -> bool:
    return vr == _ZEROS or (vr.isascii() and vr.decode("ascii").isprintable())


def _short(header: bytes, encoding: Encoding) -> Reading | None:
    """A length of 16 bits."""
    if not _is_text(header[4:6]):
        return None
    return Reading(8, encoding.header.unpack_from(header)[2], _SHORT_NOTE)


def _long(header: bytes, encoding: Encoding) -> Reading | None:
    """A length of 32 bits: as VRs of the future have it (PS3.5 7.1.2), but not only they."""
    if not _is_text(header[4:6]) or header[6:8] != _ZEROS or len(header) < 12:
        return None
    (length,) = encoding.u32.unpack_from(header, 8)
    future = is_like_vr(header[4:6]) and length != UNDEFINED
    return Reading(12, length, "" if future else _LONG_NOTE)


def _implicit(header: bytes, encoding: Encoding) -> Reading | None:
    """No VR at all."""
    if is_like_vr(header[4:6]):
        return None
    return Reading(8, encoding.u32.unpack_from(header, 4)[0], _IMPLICIT_NOTE)


def _by_the_end(header: bytes, tag: int, reader: _Reader, reading: Reading) -> bool:
    """Whether the end of the data proves the reading, because no other one could be cut there."""
    vr = header[4:6]
    if reader is _implicit:
        if tag in BULK and header[6:8] == _ZEROS:  # it may be a length of 32 bits that was cut
            return False
        return not vr.isalpha() and (reading.length > 0 or tag not in BULK)
    if reader is _short:
        return vr != _ZEROS and reading.length > 0 and tag not in BULK
    return reading.length > 0


class OddHeaders:
    """Those of one data set. What is looked at counts on the walk's `budget`."""

    __slots__ = ("_budget", "_reader", "_until", "_view")

    def __init__(self, view: View, budget: Iterator[None]) -> None:
        self._view = view
        self._budget = budget
        self._reader: _Reader = _implicit
        self._until = 0  # what is odd before it is to be read so

    def read(self, header: bytes, at: int, encoding: Encoding, *, nested: bool) -> Reading | None:
        """How to read a header in explicit VR whose VR is none that is known; None where no element begins.

        `header`: the 12 bytes from `at` on, 8 where no more are there. `nested`: it stands in an item.
        """
        reading = _implicit(header, encoding)
        if reading is not None and reading.length == UNDEFINED:
            return reading
        if at < self._until and (reading := self._reader(header, encoding)) is not None:
            return reading
        for reader in (_short, _long, _implicit):
            if until := self._proved(reader, header, at, encoding, nested=nested):
                self._reader, self._until = reader, until
                return reader(header, encoding)
        return self._likely(header, at, encoding, nested=nested)

    def is_followed(self, header: bytes, at: int, encoding: Encoding) -> bool:
        """Whether behind the first element of a data set, whose VR is none, explicit VR follows."""
        readers = (_short, _long, _implicit)
        return any(self._proved(reader, header, at, encoding, nested=False, row=1) for reader in readers)

    def runs(self, header: bytes, at: int, encoding: Encoding, *, nested: bool) -> bool:
        """Whether three elements from `at` on can be read in this encoding, or fewer to the end."""
        for _ in range(2):
            if (plain := _plain(header, encoding)) is None:
                return False
            if plain.length == UNDEFINED:
                return True
            after, at = _tag(header, encoding), at + plain.head + plain.length
            following = self._peek(at)
            if not following:
                return following is not None and not nested
            if not self._stands(following, at, encoding, after=after, nested=nested):
                return False
            if _tag(following, encoding) == ITEM_END:
                return True
            header = following
        return True

    def sequence_end(self, header: bytes, at: int, *, nested: bool) -> int:
        """Where a private sequence in explicit VR ends that is longer than its header, in implicit VR, declares; else 0.

        Its items, delimiters and elements are read to where no more of them follow; what follows proves that this is its end.
        """
        tag, length = _tag(header, IMPLICIT_LITTLE), IMPLICIT_LITTLE.u32.unpack_from(header, 4)[0]
        at += 8
        declared = at + length
        if not tag >> 16 & 1 or length < 16 or not self._view.may_hold(declared):
            return 0
        following, depth = self._peek(at), 0
        if not following or _tag(following, EXPLICIT_LITTLE) != ITEM:
            return 0
        while following and at <= declared + _SHORT_BY:
            mark, plain = _tag(following, EXPLICIT_LITTLE), _plain(following, EXPLICIT_LITTLE)
            if mark == ITEM:
                depth += EXPLICIT_LITTLE.u32.unpack_from(following, 4)[0] == UNDEFINED
                at += 8
            elif mark in (ITEM_END, SEQUENCE_END) and depth:
                depth -= 1
                at += 8
            elif plain is not None and following[4:6] == b"SQ":
                depth += plain.length == UNDEFINED
                at += plain.head
            elif plain is not None and plain.length != UNDEFINED:
                at += plain.head + plain.length
            else:
                break
            following = self._peek(at)
        if following is None or not declared < at <= declared + _SHORT_BY or depth:
            return 0
        if not following:  # any cut behind its declared end would look like this
            return 0
        return at if self._stands(following, at, IMPLICIT_LITTLE, after=tag, nested=nested) else 0

    def _proved(
        self, reader: _Reader, header: bytes, at: int, encoding: Encoding, *, nested: bool, row: int = _IN_A_ROW
    ) -> int:
        """Up to where the reading is proved of what is odd; 0 where it is not."""
        for _ in range(row):
            if (reading := reader(header, encoding)) is None:
                return 0
            tag, at = _tag(header, encoding), at + reading.head
            if reading.length == UNDEFINED:
                following = self._peek(at)
                return at if following and _tag(following, encoding) in (ITEM, SEQUENCE_END) else 0
            at += reading.length
            if not (following := self._peek(at)):
                by_the_end = following is not None and not nested and _by_the_end(header, tag, reader, reading)
                return at if by_the_end else 0
            if self._stands(following, at, encoding, after=tag, nested=nested):
                return at
            if _tag(following, encoding) <= tag:
                return 0
            header = following
        return at if row > 1 else 0

    def _stands(self, header: bytes, at: int, encoding: Encoding, *, after: int, nested: bool) -> bool:
        """Whether a plain header stands `at`, of an element that may follow the tag `after`, or the item's end."""
        tag = _tag(header, encoding)
        if tag in (ITEM, ITEM_END, SEQUENCE_END):
            return nested and tag == ITEM_END and not any(header[4:8])
        plain = _plain(header, encoding)
        if tag <= after or plain is None:
            return False
        return plain.length == UNDEFINED or self._view.may_hold(at + plain.head + plain.length)

    def _likely(self, header: bytes, at: int, encoding: Encoding, *, nested: bool) -> Reading | None:
        """The reading that nothing proves, and that must prove itself as the walk goes on."""
        implicit = _implicit(header, encoding)
        if implicit is None:
            future = Reading(12, encoding.u32.unpack_from(header, 8)[0]) if len(header) >= 12 else None
            return future if future and self._view.may_hold(at + 12 + future.length) else None
        if _tag(header, encoding) in BULK and not nested:
            reading = _long(header, encoding) or implicit
            return reading if self._view.may_hold(at + 9) else None  # none is there, or its length is cut
        return implicit if implicit.length < 1 << 16 and self._view.may_hold(at + 8 + implicit.length) else None

    def _peek(self, at: int) -> bytes | None:
        """The 12 bytes there, 8 at least; none where the data end; None where nothing can be said. Raises NotWholeError."""
        for _ in islice(self._budget, _LOOK):
            pass
        if next(self._budget, TOO_ODD) is TOO_ODD:
            raise NotWholeError(Wholeness.OUT_OF_BOUNDS, TOO_ODD)
        found = self._view.peek(at, 12)
        return None if found is not None and 0 < len(found) < 8 else found


def _tag(header: bytes, encoding: Encoding) -> int:
    return encoding.tag(encoding.u32.unpack_from(header)[0])


def _plain(header: bytes, encoding: Encoding) -> Reading | None:
    """A header as the standard has it."""
    if not encoding.explicit:
        return Reading(8, encoding.u32.unpack_from(header, 4)[0])
    _, vr, length = encoding.header.unpack_from(header)
    head = encoding.heads[vr]
    if head == 12 and (len(header) < 12 or length):
        return None
    if head == 12:
        (length,) = encoding.u32.unpack_from(header, 8)
    return Reading(head, length) if head else None
