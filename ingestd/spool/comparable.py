"""The elements of a file that can be compared with a service's metadata, read by pydicom.

Only files that the walk found whole come here, seldom, and one at a time: pydicom's warnings hold values of the data
set (I7), and the only way to silence them is process-wide. Values of more than 64 KiB, sequences, bulk data and private
elements are left out, as are group lengths and SpecificCharacterSet (a service answers in UTF-8, PS3.18 F.2), which say
how the file is written and not what it says.
"""

from __future__ import annotations

import os
import struct
import threading
import warnings
import zlib

from pydicom import config, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag

from ingestd.core.elements import normalise

_LARGEST = 64 << 10
_LEFT_OUT = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "OB or OW", "UN"})
_CHARACTER_SET = 0x00080005
_UNREADABLE = (  # pydicom documents none of what it raises on odd input
    InvalidDicomError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    NotImplementedError,
    EOFError,
    RecursionError,
    struct.error,
    zlib.error,
)
_ONE_AT_A_TIME = threading.Lock()


def comparable_elements(handle: int) -> dict[str, tuple[str, ...]]:
    """Normalised values by 8-hex-digit tag; empty if pydicom can't read the file. The handle stays its owner's. Raises OSError."""
    with (
        _ONE_AT_A_TIME,
        warnings.catch_warnings(),
        config.disable_value_validation(),
        os.fdopen(os.dup(handle), "rb") as file,
    ):
        warnings.simplefilter("ignore")
        file.seek(0)
        try:
            dataset = dcmread(file, stop_before_pixels=True, defer_size=_LARGEST)
        except _UNREADABLE:
            return {}
        found: dict[str, tuple[str, ...]] = {}
        for tag in tuple(dataset.keys()):
            if not tag.is_private and tag.element != 0 and tag != _CHARACTER_SET:
                try:
                    values = _values(dataset, tag)
                except _UNREADABLE:
                    continue
                if values is not None:
                    found[f"{tag:08X}"] = values
        return found


def _values(dataset: Dataset, tag: BaseTag) -> tuple[str, ...] | None:
    raw: object = dataset.get_item(tag, keep_deferred=True)
    if isinstance(raw, RawDataElement) and raw.value is None and raw.length:
        return None
    element = dataset[tag]
    if element.VR in _LEFT_OUT:
        return None
    if element.VM > 1:
        return normalise(element.VR, element.value)
    return normalise(element.VR, (element.value,) if element.VM else ())
