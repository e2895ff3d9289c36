"""How the service writes numbers into JSON: as fo-dicom and .NET do, once when it stores and again when it gives back.

A DS is a decimal of .NET, which ends 28 places behind the point: 3E-33 is 0. One whose plain spelling has more than 16 characters
is given back with ten digits: 6.1232339957E-17 as 6.123233996E-17. Beyond the decimals it is a double.

Sources: fo-dicom/fo-dicom, FO-DICOM.Core/Serialization/JsonDicomConverter.cs (WriteJsonDecimalString) and
FO-DICOM.Core/DicomElement.cs (ToDecimalString, since 5.1.0); microsoft/dicom-server,
src/Microsoft.Health.Dicom.Blob/Features/Storage/BlobMetadataStore.cs, which makes a data set of the JSON again.
"""

import math
import re
import struct
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final

_DS: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_IS: Final = re.compile(r"[+-]?\d+", re.ASCII)
_LARGEST: Final = Decimal(2**96 - 1)
_SMALLEST: Final = Decimal("1E-28")
_LONGEST: Final = 16
_WIDE: Final = Context(prec=60)
_TEN: Final = Context(prec=10, rounding=ROUND_HALF_UP)
_INTEGERS: Final = range(-(2**31), 2**31)
_FORMATS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}

BINARY: Final = frozenset(_FORMATS)


def integer_string(text: str) -> int:
    """An IS. Raises ValueError: it is none, or none of 32 bits, and cannot be read back."""
    text = text.strip(" \0")
    if _IS.fullmatch(text) is None or int(text) not in _INTEGERS:
        raise ValueError
    return int(text)


def decimal_string(text: str) -> int | float:
    """A DS. Raises ValueError: it is none, and cannot be read back."""
    text = text.strip(" \0")
    if _DS.fullmatch(text) is None:
        raise ValueError
    value = Decimal(text)
    if not value:
        return 0  # whatever its exponent: spelled out, 0E-999999999 is a gigabyte
    if abs(value) > _LARGEST:
        return _double(value)
    if (ended := value.quantize(_SMALLEST, context=_WIDE)) != value:
        value = ended
    if len(format(value, "f")) > _LONGEST:
        value = _TEN.plus(value)
    return int(value) if value == value.to_integral_value(context=_WIDE) else float(value)


def binary(vr: str, value: bytes, *, little_endian: bool) -> list[int | float | str]:
    """The numbers of a VR of BINARY; what follows the last whole one is passed over."""
    code = ("<" if little_endian else ">") + _FORMATS[vr]
    whole = len(value) - len(value) % struct.calcsize(code)
    numbers: Iterable[int | float] = (number for (number,) in struct.iter_unpack(code, value[:whole]))
    return [_floating(number, single=vr == "FL") if vr in {"FL", "FD"} else number for number in numbers]


def _double(value: Decimal) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError
    return number


def _floating(number: float, *, single: bool) -> float | str:
    """The shortest number that is this one; what is none as text."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    if not single:
        return number
    spelled = (float(f"{number:.{digits}g}") for digits in range(6, 9))
    return next((one for one in spelled if struct.pack("<f", one) == struct.pack("<f", number)), float(f"{number:.9g}"))
