"""The DICOM JSON Model (PS3.18 F.2) of a data set, as the service keeps it: no bulk values, no group lengths, nothing invalid.

An element that cannot be said in JSON is left out; the file itself is kept whole. A made-up value would be worse than none.
"""

import math
from collections.abc import Container
from typing import Any, Final

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from ingestd.emulator.part10 import DEEPEST, PYDICOM_RAISES

Json = dict[str, Any]  # Any: the model holds texts, numbers, names and data sets in data sets

_BULK: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_FLOATS: Final = frozenset({"DS", "FD", "FL"})


def is_bulk(element: DataElement | RawDataElement) -> bool:
    """True for a value that never goes into metadata, told without reading it."""
    vr = element.VR or _dictionary_vr(element.tag)
    return vr in _BULK or vr.startswith("OB or")


def to_json(dataset: Dataset, *, without: Container[int] = (), depth: int = 0) -> Json:
    """The model of all elements but bulk values, group lengths and the tags of `without` (of the outermost level)."""
    model: Json = {}
    for tag, unread in sorted(dataset.items()):
        if tag.element == 0 or tag in without or is_bulk(unread):
            continue
        try:
            element = dataset[tag]
            if element.VR == "SQ":
                model[f"{tag:08X}"] = _sequence(element, depth)
            elif element.VR not in _BULK and _is_finite(element):
                model[f"{tag:08X}"] = element.to_json_dict(None, 0)
        except PYDICOM_RAISES:
            continue
    return model


def _sequence(element: DataElement, depth: int) -> Json:
    items = [to_json(item, depth=depth + 1) for item in element.value] if depth < DEEPEST else []
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def _is_finite(element: DataElement) -> bool:
    if element.VR not in _FLOATS or element.is_empty:
        return True
    values = element.value if element.VM > 1 else [element.value]
    return all(math.isfinite(value) for value in values)


def _dictionary_vr(tag: BaseTag) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"
