"""How a file is read on where pydicom stops: behind the pixel data, and at UN of undefined length in big endian.

fo-dicom reads to the end and puts the elements in order, so UIDs may stand behind the pixels; of two with one tag the last counts.
UN of undefined length holds items in implicit VR little endian, whatever the file is in (PS3.5 6.2.2). In a file in big endian
fo-dicom knows that of elements that the dictionary calls sequences; private ones it reads only if their items are in big endian
too, and at others it gives up. pydicom knows it of none; of those inside of items this does not, either.

Source: fo-dicom/fo-dicom, FO-DICOM.Core/IO/Reader/DicomReader.cs (ParseLength, ParseValue, ParseFragmentSequence).
"""

import struct
from typing import BinaryIO, Final

from pydicom.charset import default_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_sequence
from pydicom.tag import BaseTag

_UNDEFINED: Final = 0xFFFFFFFF
_PIXEL_GROUP: Final = 0x7FE0
_LONG_HEAD: Final = 12
_SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LITTLE_ITEMS: Final = frozenset({b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"})
_ITEM: Final = 0xFFFEE000
_END: Final = 0xFFFEE0DD
_MOST_FRAGMENTS: Final = 1 << 20


class Until:
    """Stops pydicom at the first element of this tag or a later one, and at UN of undefined length where that is big endian."""

    def __init__(self, tag: int) -> None:
        self.big_endian = False
        self.last: BaseTag | None = None
        self.at_unknown = False
        self._tag = tag

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        self.last = tag
        self.at_unknown = self.big_endian and vr == "UN" and length == _UNDEFINED
        return self.at_unknown or self.is_reached(tag)

    def is_reached(self, tag: BaseTag) -> bool:
        return int(tag) >= self._tag


class _Pixels(Until):
    """Stops pydicom at each element of the pixels' group, whatever stands before it."""

    def is_reached(self, tag: BaseTag) -> bool:
        return tag.group == _PIXEL_GROUP


def read_to(file: BinaryIO, dataset: Dataset, until: Until, defer_bytes: int | None) -> None:
    """Past each UN of undefined length, into `dataset`, until `until` stops for its tag or the file ends.

    Raises:
        ValueError: fo-dicom can't read such an element.
    """
    while until.at_unknown and until.last is not None:
        dataset[until.last] = DataElement(until.last, "SQ", _unknown(file, until.last), is_undefined_length=True)
        until.at_unknown = False
        dataset.update(read_dataset(file, False, False, stop_when=until, defer_size=defer_bytes))


def drop_halves(dataset: Dataset) -> None:
    """Away with the element in which the file ends, of which pydicom gives what is there."""
    read = (element for element in tuple(dataset.values()) if isinstance(element, RawDataElement))
    for element in read:
        if element.value is not None and len(element.value) < element.length != _UNDEFINED:
            del dataset[element.tag]


def pixels_follow(until: Until) -> bool:
    """Whether pydicom was stopped at the pixels' group."""
    return until.last is not None and until.last.group == _PIXEL_GROUP


def read_behind(file: BinaryIO, dataset: Dataset, defer_bytes: int | None) -> bool:
    """What stands from here on, into `dataset`; whether more pixels follow, which are not read."""
    implicit, little = dataset.original_encoding
    until = _Pixels(0)
    until.big_endian = not little
    more = read_dataset(file, bool(implicit), bool(little), stop_when=until, defer_size=defer_bytes)
    read_to(file, more, until, defer_bytes)
    drop_halves(more)
    dataset.update(more)
    return pixels_follow(until)


def _unknown(file: BinaryIO, tag: BaseTag) -> list[Dataset]:
    file.seek(file.tell() + _LONG_HEAD)
    little = file.read(4) in _LITTLE_ITEMS
    file.seek(file.tell() - 4)
    if tag.is_private == little or not (tag.is_private or _is_sequence(tag)):
        raise ValueError
    return list(read_sequence(file, little, little, _UNDEFINED, default_encoding))


def _is_sequence(tag: BaseTag) -> bool:
    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:
        return False


def pass_pixels(file: BinaryIO, dataset: Dataset) -> bool:
    """Passes over the element that begins here; False where the file ends within its header or its fragments.

    Raises:
        ValueError: what should be a fragment is none, and fo-dicom gives up.
    """
    implicit, little = dataset.original_encoding
    mark = "<" if little else ">"
    start, head = file.tell(), file.read(_LONG_HEAD)
    if len(head) < 8:
        return False
    if implicit or head[4:6] in _SHORT_VRS:
        (length,) = struct.unpack(mark + ("I" if implicit else "H"), head[4 if implicit else 6 : 8])
        file.seek(start + 8)
    else:
        (length,) = struct.unpack(mark + "I", head[8:].ljust(4, b"\0"))
    if length != _UNDEFINED:
        file.seek(file.tell() + length)
        return True
    for _ in range(_MOST_FRAGMENTS):
        if len(head := file.read(8)) < 8:
            return False
        group, element, length = struct.unpack(mark + "HHI", head)
        if group << 16 | element == _END:
            return True
        if group << 16 | element != _ITEM:
            break
        file.seek(file.tell() + length)
    raise ValueError
