"""The normal form in which a file's elements and a service's are compared (Verify).

A service answers in the DICOM JSON Model (PS3.18 Annex F), a file speaks PS3.5: padding, the way a number is written,
empty values and empty name components differ without meaning. Both sides call `normalise`, so that what differs
afterwards differs in meaning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

_NUMBERS = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV", "US or SS"})
_TEXTS = frozenset({"LT", "ST", "UT"})  # leading spaces mean something (PS3.5 6.2)
_PADDING = " \0"
_EXACT = 2**53  # doubles count by one up to here
_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def normalise(vr: str, values: Iterable[object]) -> tuple[str, ...]:
    """The values of one element as strings; those at its end that are empty are left out.

    Takes what pydicom reads as well as what JSON holds: strings, numbers, None, for PN an object with its groups
    (PS3.18 F.2.2).
    """
    out = [_value(vr, value) for value in values]
    while out and not out[-1]:
        out.pop()
    return tuple(out)


def _value(vr: str, value: object) -> str:
    if value is None:
        return ""
    if vr == "PN":
        return _name(value)
    if vr == "AT":
        return f"{value:08X}" if isinstance(value, int) else str(value).strip(_PADDING).upper()
    if vr in _NUMBERS:
        return _number(value, digits=6 if vr == "FL" else 15)
    text = str(value)
    return text.rstrip(_PADDING) if vr in _TEXTS else text.strip(_PADDING)


def _number(value: object, *, digits: int) -> str:
    """Integers as they are, whichever way they are written; others to the digits that survive every float on the way."""
    text = str(value).strip(_PADDING)
    try:
        return str(int(text))
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return text
    if math.isfinite(number) and number.is_integer() and abs(number) <= _EXACT:
        return str(int(number))
    return format(number, f".{digits}g")


def _name(value: object) -> str:
    if isinstance(value, Mapping):
        groups = [str(value.get(group) or "") for group in _NAME_GROUPS]
    else:
        groups = str(value).split("=")
    return "=".join(group.strip(_PADDING).rstrip("^ ") for group in groups).rstrip("=")
