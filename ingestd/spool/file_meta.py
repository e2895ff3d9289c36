"""The preamble and the file meta information (PS3.10 7.1): explicit VR little endian, group 0002, before the data set.

Its group length is often wrong, so the group ends where another group begins, and a length that disagrees is noted.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from ingestd.core.model import Wholeness
from ingestd.spool.encoding import EXPLICIT_LITTLE
from ingestd.spool.sources import LOOKAHEAD, NotWholeError, PastEndError, View, zeros_to_the_end

_PREAMBLE: Final = 128
_PROGRAMS: Final = (b"MZ", b"\x7fELF")
_ELEMENTS: Final = 1000  # PS3.10 7.1 knows some twenty

_HEADER: Final = struct.Struct("<HHHH")
_UINT32: Final = struct.Struct("<I")

_GROUP_LENGTH: Final = 0x0000
_SOP_CLASS_UID: Final = 0x0002
_SOP_INSTANCE_UID: Final = 0x0003
_TRANSFER_SYNTAX_UID: Final = 0x0010
_WANTED: Final = frozenset((_GROUP_LENGTH, _SOP_CLASS_UID, _SOP_INSTANCE_UID, _TRANSFER_SYNTAX_UID))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """Values as they stand in the file, None where absent. The data set begins at `end`."""

    sop_class_uid: bytes | None = field(repr=False)
    sop_instance_uid: bytes | None = field(repr=False)
    transfer_syntax_uid: bytes | None = field(repr=False)
    end: int
    notes: tuple[str, ...]


def read_file_meta(view: View) -> FileMeta:
    """Read to the first byte of the data set. Raises NotWholeError where there is none."""
    buffer = view.load(0)
    if buffer[_PREAMBLE : _PREAMBLE + 4] != b"DICM":
        raise NotWholeError(Wholeness.NOT_DICOM, "no DICM at byte 128" if buffer else "the file is empty")
    notes = ["the preamble begins like a program"] if buffer.startswith(_PROGRAMS) else []
    try:
        values, end, rest = _elements(view, buffer, notes)
    except (PastEndError, struct.error):
        raise NotWholeError(Wholeness.TRUNCATED, "the file ends inside its file meta information") from None
    if rest and len(rest) < 8 and _TRANSFER_SYNTAX_UID not in values:
        raise NotWholeError(Wholeness.TRUNCATED, "the file ends inside its file meta information")
    if not rest:
        raise NotWholeError(Wholeness.TRUNCATED, "the file ends behind its file meta information")
    if end == _PREAMBLE + 4:
        raise NotWholeError(Wholeness.NOT_DICOM, "no file meta information at byte 132")
    if not any(rest) and zeros_to_the_end(view, end):
        raise NotWholeError(Wholeness.TRUNCATED, "only zeros follow the file meta information")
    return FileMeta(
        sop_class_uid=values.get(_SOP_CLASS_UID),
        sop_instance_uid=values.get(_SOP_INSTANCE_UID),
        transfer_syntax_uid=values.get(_TRANSFER_SYNTAX_UID),
        end=end,
        notes=tuple(notes),
    )


def _elements(view: View, buffer: bytes, notes: list[str]) -> tuple[dict[int, bytes], int, bytes]:
    """The values by element number, where the group ends, and up to 8 bytes from there on.

    Raises PastEndError and struct.error where the file ends before.
    """
    values: dict[int, bytes] = {}
    at, base, declared_end = _PREAMBLE + 4, 0, None
    heads = EXPLICIT_LITTLE.heads
    for _ in range(_ELEMENTS):
        if at + 12 > base + len(buffer):
            buffer, base = view.load(at), at
        if len(buffer) < 8:
            break
        group, element, vr, length = _HEADER.unpack_from(buffer, at - base)
        if group != 2:
            break
        start = at + 8
        head = heads[vr]
        if head == 12:
            (length,) = _UINT32.unpack_from(buffer, start - base)
            start += 4
        elif not head:
            if at == declared_end:  # a deflated data set may begin with any bytes
                break
            (length,) = _UINT32.unpack_from(buffer, at - base + 4)
            _add(notes, "file meta information with implicit VR")
        if element in _WANTED:
            value = buffer[start - base : start - base + length]
            values[element] = value if len(value) == length else view.load(start)[: min(length, LOOKAHEAD)]
        at = start + length
        if element == _GROUP_LENGTH and length == 4:
            declared_end = at + _UINT32.unpack(values[element])[0]
    else:
        raise NotWholeError(Wholeness.OUT_OF_BOUNDS, f"more than {_ELEMENTS} elements of file meta information")
    if at != declared_end:
        _add(notes, "the file meta group length is wrong or absent")
    return values, at, buffer[at - base : at - base + 8]


def _add(notes: list[str], text: str) -> None:
    if text not in notes:
        notes.append(text)
