"""Instances to store: the three of Microsoft's DICOMweb tutorials, drawn here, and any number of small CT slices.

The data sets are written element by element (PS3.10 7.1, PS3.5 7.1.2: explicit VR little endian), which takes microseconds where
a library takes a millisecond; tests want them by the thousand.
"""

import hashlib
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
_CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
_IMPLEMENTATION_CLASS_UID: Final = "2.25.330668209424036410617925311829012415573"

_ROOT: Final = "1.2.826.0.1.3680043.8.498."
_STUDY: Final = _ROOT + "13230779778012324449356534479549187420"
_SERIES: Final = _ROOT + "45787841905473114233124723359129632652"
_OTHER_SERIES: Final = _ROOT + "77033797676425927098669402985243398207"

_SIDE: Final = 256
_WHITE: Final = b"\xff\xff\xff"

Span = tuple[int, int]
"""The columns of a row that the shape covers: from, and up to but without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A Part 10 file and the UIDs in it."""

    name: str
    content: bytes
    study_uid: str
    series_uid: str
    sop_instance_uid: str


def tutorial_samples() -> tuple[Sample, ...]:
    """green-square.dcm and red-triangle.dcm (one series), blue-circle.dcm (another), all of one study, 256 by 256 RGB."""
    return (
        _sample(
            "green-square", "12714725698140337137334606354172323212", b"\x00\x80\x00", _square, series=_SERIES, number=1
        ),
        _sample(
            "red-triangle",
            "47359123102728459884412887463296905395",
            b"\xd0\x10\x10",
            _triangle,
            series=_SERIES,
            number=2,
        ),
        _sample(
            "blue-circle",
            "13273713909719068980354078852867170114",
            b"\x10\x30\xd0",
            _circle,
            series=_OTHER_SERIES,
            number=1,
        ),
    )


def ct_instance(
    *,
    study_uid: str,
    series_uid: str,
    sop_instance_uid: str,
    size_bytes: int = 4096,
    patient_id: str = "ID1",
    patient_name: str = "Anony^Mous",
    study_date: str = "20200922",
    instance_number: int = 1,
) -> bytes:
    """A whole CT Image as a Part 10 file of at most `size_bytes`, short of it by less than a row; one row at least.

    The same arguments give the same bytes, another SOPInstanceUID other pixels. Nothing is checked: a bad value makes a bad file.
    """
    columns = 64 if size_bytes < 2**22 else 1024 if size_bytes < 2**26 else 32768
    head = _meta(_CT_IMAGE, sop_instance_uid) + _texts(
        (0x0008, 0x0016, "UI", _CT_IMAGE),
        (0x0008, 0x0018, "UI", sop_instance_uid),
        (0x0008, 0x0020, "DA", study_date),
        (0x0008, 0x0030, "TM", "101500"),
        (0x0008, 0x0050, "SH", ""),
        (0x0008, 0x0060, "CS", "CT"),
        (0x0008, 0x0090, "PN", ""),
        (0x0010, 0x0010, "PN", patient_name),
        (0x0010, 0x0020, "LO", patient_id),
        (0x0010, 0x0030, "DA", ""),
        (0x0010, 0x0040, "CS", ""),
        (0x0020, 0x000D, "UI", study_uid),
        (0x0020, 0x000E, "UI", series_uid),
        (0x0020, 0x0010, "SH", ""),
        (0x0020, 0x0011, "IS", "1"),
        (0x0020, 0x0013, "IS", str(instance_number)),
    )
    image_head = len(_image(samples=1, photometric="MONOCHROME2", rows=1, columns=columns, bits=16, pixels=b""))
    rows = max(1, (size_bytes - len(head) - image_head) // (2 * columns))
    pattern = hashlib.sha256(sop_instance_uid.encode()).digest()
    pixels = pattern * (2 * columns * rows // len(pattern))
    return head + _image(samples=1, photometric="MONOCHROME2", rows=rows, columns=columns, bits=16, pixels=pixels)


def _sample(name: str, suffix: str, colour: bytes, shape: Callable[[int], Span], *, series: str, number: int) -> Sample:
    sop_instance = _ROOT + suffix
    rows = []
    for row in range(_SIDE):
        start, end = shape(row)
        rows.append(_WHITE * start + colour * (end - start) + _WHITE * (_SIDE - end))
    texts = _texts(
        (0x0008, 0x0016, "UI", _SECONDARY_CAPTURE),
        (0x0008, 0x0018, "UI", sop_instance),
        (0x0008, 0x0020, "DA", "20200922"),
        (0x0008, 0x0030, "TM", ""),
        (0x0008, 0x0050, "SH", ""),
        (0x0008, 0x0060, "CS", "OT"),
        (0x0008, 0x0064, "CS", "WSD"),
        (0x0008, 0x0090, "PN", ""),
        (0x0008, 0x103E, "LO", name),
        (0x0010, 0x0010, "PN", "Anony^Mous"),
        (0x0010, 0x0020, "LO", "ID1"),
        (0x0010, 0x0030, "DA", ""),
        (0x0010, 0x0040, "CS", ""),
        (0x0020, 0x000D, "UI", _STUDY),
        (0x0020, 0x000E, "UI", series),
        (0x0020, 0x0010, "SH", ""),
        (0x0020, 0x0011, "IS", "1" if series == _SERIES else "2"),
        (0x0020, 0x0013, "IS", str(number)),
    )
    image = _image(samples=3, photometric="RGB", rows=_SIDE, columns=_SIDE, bits=8, pixels=b"".join(rows))
    return Sample(
        name=f"{name}.dcm",
        content=_meta(_SECONDARY_CAPTURE, sop_instance) + texts + image,
        study_uid=_STUDY,
        series_uid=series,
        sop_instance_uid=sop_instance,
    )


def _square(row: int) -> Span:
    return (64, 192) if 64 <= row < 192 else (0, 0)


def _triangle(row: int) -> Span:
    half = (row - 48) * 5 // 8 if 48 <= row < 208 else 0
    return (128 - half, 128 + half)


def _circle(row: int) -> Span:
    half = round(math.sqrt(max(0, 80**2 - (row - 128) ** 2)))
    return (128 - half, 128 + half)


def _meta(sop_class: str, sop_instance: str) -> bytes:
    group = _element(0x0002, 0x0001, b"OB", b"\x00\x01") + _texts(
        (0x0002, 0x0002, "UI", sop_class),
        (0x0002, 0x0003, "UI", sop_instance),
        (0x0002, 0x0010, "UI", _EXPLICIT_LITTLE_ENDIAN),
        (0x0002, 0x0012, "UI", _IMPLEMENTATION_CLASS_UID),
    )
    return bytes(128) + b"DICM" + _element(0x0002, 0x0000, b"UL", struct.pack("<I", len(group))) + group


def _image(*, samples: int, photometric: str, rows: int, columns: int, bits: int, pixels: bytes) -> bytes:
    elements = _short(0x0002, samples) + _texts((0x0028, 0x0004, "CS", photometric))
    if samples > 1:
        elements += _short(0x0006, 0)
    for number, value in ((0x10, rows), (0x11, columns), (0x100, bits), (0x101, bits), (0x102, bits - 1), (0x103, 0)):
        elements += _short(number, value)
    return elements + _element(0x7FE0, 0x0010, b"OB" if bits == 8 else b"OW", pixels)


def _short(number: int, value: int) -> bytes:
    return _element(0x0028, number, b"US", struct.pack("<H", value))


def _texts(*elements: tuple[int, int, str, str]) -> bytes:
    return b"".join(_element(group, number, vr.encode(), value.encode()) for group, number, vr, value in elements)


def _element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr in {b"UI", b"OB"} else b" "
    if vr in {b"OB", b"OW"}:
        return struct.pack("<HH2sHI", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value
