"""The preamble and the file meta information (PS3.10 7.1): explicit VR little endian, group 0002, before the data set.

Its group length is often wrong, so the group ends where another group begins, and a length that disagrees is noted.

A bare data set has no such header: treatment planning systems and old scanners write it. Others lack a part of it: the preamble,
the group, or the Transfer Syntax UID in it. They are told by how the data set's first element begins, and read by what that shows.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from ingestd.core.answers.reasons import Wholeness
from ingestd.part10.encoding import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding
from ingestd.part10.views import LOOKAHEAD, NotWholeError, PastEndError, View, zeros_to_the_end

BEGINNING: Final = 132  # bytes that show whether a file begins like DICOM
_PREAMBLE: Final = 128
_PROGRAMS: Final = (b"MZ", b"\x7fELF")
_ELEMENTS: Final = 1000  # PS3.10 7.1 knows some twenty

_HEADER: Final = struct.Struct("<HHHH")
_BIG_HEADER: Final = struct.Struct(">HHHH")
_UINT32: Final = struct.Struct("<I")

_META_GROUP: Final = 0x0002
_FIRST_GROUPS: Final = (_META_GROUP, 0x0008)  # of a file, whatever it lacks
_GROUP_LENGTH: Final = 0x0000
_SOP_CLASS_UID: Final = 0x0002
_SOP_INSTANCE_UID: Final = 0x0003
_TRANSFER_SYNTAX_UID: Final = 0x0010
_WANTED: Final = frozenset((_GROUP_LENGTH, _SOP_CLASS_UID, _SOP_INSTANCE_UID, _TRANSFER_SYNTAX_UID))
_MOST: Final = 1 << 16  # bytes of a first element in implicit VR

_SHOWN: Final = {
    IMPLICIT_LITTLE: "1.2.840.10008.1.2",
    EXPLICIT_LITTLE: "1.2.840.10008.1.2.1",
    EXPLICIT_BIG: "1.2.840.10008.1.2.2",
}
_ADD_IT: Final = ": add it, such as with dcmconv"
BARE: Final = "a DICOM data set without the Part 10 header" + _ADD_IT
NO_GROUP: Final = "a DICOM data set without file meta information (group 0002)" + _ADD_IT
NO_PREAMBLE: Final = "a DICOM data set without the preamble of the Part 10 header" + _ADD_IT
NO_SYNTAX: Final = "the file meta information has no readable Transfer Syntax UID (0002,0010)" + _ADD_IT


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """UIDs of the instance as they stand in the file, None where absent. The data set begins at `end`.

    `transfer_syntax_uid`: as `declared`, else what the data set's first element shows. `lacks` says what is missing of a header by
    PS3.10, empty where nothing is.
    """

    sop_class_uid: bytes | None = field(repr=False)
    sop_instance_uid: bytes | None = field(repr=False)
    transfer_syntax_uid: str
    declared: bool
    end: int
    lacks: str
    notes: tuple[str, ...]


def begins_like_dicom(beginning: bytes) -> bool:
    """Whether a file of these first BEGINNING bytes is DICOM by its look: `DICM` behind a preamble, or a bare data set."""
    return beginning[_PREAMBLE : _PREAMBLE + 4] == b"DICM" or _first_element(beginning) is not None


def read_file_meta(view: View) -> FileMeta:
    """Read to the first byte of the data set. Raises NotWholeError where there is none."""
    buffer = view.load(0)
    if not buffer:
        raise NotWholeError(Wholeness.NOT_DICOM, "the file is empty: the copy was broken off, copy it again")
    start = _start(buffer)
    notes = ["the preamble begins like a program"] if start and buffer.startswith(_PROGRAMS) else []
    big = buffer[start : start + 1] == b"\0" and _first_element(buffer[start : start + 8]) is EXPLICIT_BIG
    try:
        values, end, rest = _elements(view, buffer, start, notes, EXPLICIT_BIG if big else EXPLICIT_LITTLE)
    except (PastEndError, struct.error):
        raise NotWholeError(Wholeness.TRUNCATED, "the file ends inside its file meta information") from None
    if rest and len(rest) < 8 and _TRANSFER_SYNTAX_UID not in values:
        raise NotWholeError(Wholeness.TRUNCATED, "the file ends inside its file meta information")
    if not rest:
        raise NotWholeError(Wholeness.TRUNCATED, "the file ends behind its file meta information")
    declared = _syntax(values.get(_TRANSFER_SYNTAX_UID))
    shown = None if declared else _first_element(rest)
    if start == end and shown is None:
        raise NotWholeError(Wholeness.NOT_DICOM, "no file meta information at byte 132")
    if not any(rest) and zeros_to_the_end(view, end):
        raise NotWholeError(Wholeness.TRUNCATED, "only zeros follow the file meta information")
    if start == end:
        lacks = NO_GROUP if start else BARE
    elif declared is None:
        lacks = NO_SYNTAX
    else:
        lacks = "" if start else NO_PREAMBLE
    return FileMeta(
        sop_class_uid=values.get(_SOP_CLASS_UID),
        sop_instance_uid=values.get(_SOP_INSTANCE_UID),
        transfer_syntax_uid=declared or _SHOWN[shown or IMPLICIT_LITTLE],
        declared=declared is not None,
        end=end,
        lacks=lacks,
        notes=tuple(notes),
    )


def _start(buffer: bytes) -> int:
    """Where group 0002 or a bare data set begins. Raises NotWholeError where neither does."""
    marked = buffer[_PREAMBLE : _PREAMBLE + 4] == b"DICM"
    if marked and buffer[_PREAMBLE + 4 : _PREAMBLE + 6] == b"\2\0":
        return _PREAMBLE + 4
    bare = _first_element(buffer) is not None
    if not marked and not bare:
        zeros = "only zeros stand where DICOM begins: the copy was broken off, copy it again"
        raise NotWholeError(Wholeness.NOT_DICOM, "no DICM at byte 128" if any(buffer[: _PREAMBLE + 4]) else zeros)
    # `DICM` may be a part of a value, too.
    return 0 if bare and not (marked and _first_element(buffer[_PREAMBLE + 4 : _PREAMBLE + 12])) else _PREAMBLE + 4


def _first_element(beginning: bytes) -> Encoding | None:
    """The encoding of a data set, or of group 0002, that begins so; None where nothing does."""
    if len(beginning) < 8:
        return None
    group, _, vr, _ = _HEADER.unpack_from(beginning)
    (length,) = _UINT32.unpack_from(beginning, 4)
    if group in _FIRST_GROUPS:
        if EXPLICIT_LITTLE.heads[vr]:
            return EXPLICIT_LITTLE
        return IMPLICIT_LITTLE if length < _MOST and not length & 1 else None
    return EXPLICIT_BIG if group >> 8 in _FIRST_GROUPS and not group & 0xFF and EXPLICIT_LITTLE.heads[vr] else None


@lru_cache(maxsize=64)  # a folder has one or two
def _syntax(value: bytes | None) -> str | None:
    """A Transfer Syntax UID without its padding; None for what is none."""
    stripped = (value or b"").strip(b"\0 ")
    return stripped.decode("ascii") if stripped.replace(b".", b"").isdigit() and len(stripped) <= 64 else None


def _elements(
    view: View, buffer: bytes, at: int, notes: list[str], encoding: Encoding
) -> tuple[dict[int, bytes], int, bytes]:
    """The values by element number from `at` on, where the group ends, and up to 8 bytes from there on.

    Raises PastEndError and struct.error where the file ends before.
    """
    values: dict[int, bytes] = {}
    first, base, end, declared_end = at, 0, len(buffer), None
    header, heads, u32 = (_BIG_HEADER if encoding.big_endian else _HEADER).unpack_from, encoding.heads, encoding.u32
    for _ in range(_ELEMENTS):
        if at + 12 > end:
            buffer, base = view.load(at), at
            end = at + len(buffer)
            if end < at + 8:
                break
        group, element, vr, length = header(buffer, at - base)
        if group != _META_GROUP:
            break
        start = at + 8
        head = heads[vr]
        if head == 12:
            (length,) = u32.unpack_from(buffer, start - base)
            start += 4
        elif not head:
            if at == declared_end:  # a deflated data set may begin with any bytes
                break
            (length,) = u32.unpack_from(buffer, at - base + 4)
            _add(notes, "file meta information with implicit VR")
        if element in _WANTED:
            value = buffer[start - base : start - base + length]
            values[element] = value if len(value) == length else view.load(start)[: min(length, LOOKAHEAD)]
        at = start + length
        if element == _GROUP_LENGTH and length == 4:
            declared_end = at + u32.unpack(values[element])[0]
    else:
        raise NotWholeError(Wholeness.OUT_OF_BOUNDS, f"more than {_ELEMENTS} elements of file meta information")
    if at not in (first, declared_end):
        _add(notes, "the file meta group length is wrong or absent")
    if encoding.big_endian and at != first:
        _add(notes, "file meta information in big endian")
    return values, at, buffer[at - base : at - base + 8]


def _add(notes: list[str], text: str) -> None:
    if text not in notes:
        notes.append(text)
