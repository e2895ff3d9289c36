"""The DICOM JSON Model (PS3.18 F.2) of a data set, as the service gives it back: no bulk values, no group lengths, nothing invalid.

It says what fo-dicom makes of the bytes (fo-dicom/fo-dicom, FO-DICOM.Core/Serialization/JsonDicomConverter.cs), and where that
reads them otherwise than pydicom does, it is not mended: texts and numbers have their own modules. A VR that the file does not name
is the first that the dictionary has, "US" for "US or SS" (FO-DICOM.Core/IO/Reader/DicomReader.cs, ParseVR).

An element that cannot be said in JSON is left out; the file itself is kept whole. A made-up value would be worse than none.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from ingestd.emulator.dicom import numbers, texts
from ingestd.emulator.dicom.part10 import DEEPEST, PYDICOM_RAISES

Json = dict[str, Any]  # Any: the model holds texts, numbers, names and data sets in data sets

_BULK: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_CHARACTER_SET: Final = 0x00080005
_ONE_TEXT: Final = frozenset({"LT", "ST", "UR", "UT"})
_OF_THE_SET: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_NUMBERS: Final[dict[str, Callable[[str], int | float]]] = {
    "DS": numbers.decimal_string,
    "IS": numbers.integer_string,
}
_NAME_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


def is_bulk(element: DataElement | RawDataElement) -> bool:
    """True for a value that never goes into metadata, told without reading it."""
    vr = element.VR or _dictionary_vr(element.tag)
    return vr in _BULK or vr.startswith("OB or")


def to_json(dataset: Dataset, *, depth: int = 0, inherited: Sequence[str] = texts.DEFAULT) -> Json:
    """The model of all elements but bulk values and group lengths, out of the bytes as they stand in the file.

    Of an element that was asked for pydicom has not kept them: such a data set is not to come here.
    """
    encodings = inherited
    model: Json = {}
    for tag in sorted(dataset.keys()):
        vr = _vr(dataset.get_item(tag, keep_deferred=True))
        if tag.element == 0 or vr in _BULK:
            continue
        try:
            if vr == "SQ":
                model[f"{tag:08X}"] = _sequence(dataset[tag], depth, encodings)
                continue
            value, little_endian = _bytes(dataset.get_item(tag))
            if tag == _CHARACTER_SET:
                encodings = texts.declared(value, inherited)
            model[f"{tag:08X}"] = _element(vr, value, encodings, little_endian=little_endian)
        except PYDICOM_RAISES:
            continue
    return model


def _bytes(element: DataElement | RawDataElement) -> tuple[bytes, bool]:
    """As they stand in the file, and whether that is little endian. SpecificCharacterSet pydicom has read by itself.

    Raises:
        TypeError: another that was asked for.
    """
    if isinstance(element, RawDataElement):
        return element.value or b"", element.is_little_endian
    values = [element.value] if isinstance(element.value, str) else element.value
    return "\\".join(values or ()).encode("latin-1"), True


def _vr(element: DataElement | RawDataElement) -> str:
    vr = element.VR
    if vr is None or (vr == "UN" and not element.tag.is_private):
        vr = _dictionary_vr(element.tag)
    return "OW" if vr.startswith("OB or") else vr[:2]


def _dictionary_vr(tag: BaseTag) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "LO" if tag.is_private_creator else "UN"


def _sequence(element: DataElement, depth: int, encodings: Sequence[str]) -> Json:
    items = element.value if depth < DEEPEST else ()
    models = [to_json(item, depth=depth + 1, inherited=encodings) for item in items]
    return {"vr": "SQ", "Value": models} if models else {"vr": "SQ"}


def _element(vr: str, value: bytes, encodings: Sequence[str], *, little_endian: bool) -> Json:
    values: Sequence[object]
    if vr in numbers.BINARY:
        values = numbers.binary(vr, value, little_endian=little_endian)
    elif vr == "AT":
        pairs = struct.iter_unpack("<HH" if little_endian else ">HH", value[: len(value) // 4 * 4])
        values = [f"{group:04X}{number:04X}" for group, number in pairs]
    else:
        values = _of_text(vr, value, encodings)
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _of_text(vr: str, value: bytes, encodings: Sequence[str]) -> Sequence[object]:
    text = texts.decode(value, encodings if vr in _OF_THE_SET else texts.DEFAULT, name=vr == "PN")
    text = text.rstrip("\0" if vr == "UI" else " ")
    if vr in _ONE_TEXT:
        return [text or None]
    if not text:
        return ()
    spell = _name if vr == "PN" else _NUMBERS.get(vr, str)
    return [spell(one) if one else None for one in text.split("\\")]


def _name(text: str) -> dict[str, str]:
    """Raises ValueError: it has more than three groups."""
    groups = text.split("=")
    if len(groups) > len(_NAME_GROUPS):
        raise ValueError
    return {key: group for key, group in zip(_NAME_GROUPS, groups, strict=False) if group.strip()}
