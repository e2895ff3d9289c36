"""The normal form in which a file's elements and a service's are compared (Verify).

A service answers in the DICOM JSON Model (PS3.18 Annex F), a file speaks PS3.5: padding, the way a number is written,
empty values and empty name components differ without meaning. Both sides call `normalise`, so that what differs
afterwards differs in meaning, but where the file has bytes that its character set does not: `contradict` knows of those.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

UNDECLARED: Final = "\ufffd"
"""Stands in the file's values for bytes that the declared character set does not have."""

_NUMBERS = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV", "US or SS"})
_SIXTEEN_BITS = frozenset({"SS", "US", "US or SS"})  # an implicit VR does not say which of the first two it is
_TEXTS = frozenset({"LT", "ST", "UT"})  # leading spaces mean something (PS3.5 6.2)
_PADDING = " \0"
_EXACT = 2**53  # doubles count by one up to here
_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_DIGITS = {"FL": 6, "DS": 10}  # .NET's decimals are given back with ten digits, and end 28 places behind the point
_PLACES = 28
_INTEGER = re.compile(r"-?[0-9]{1,9}")
_GUESSED = re.compile(r"[^\x00-\x3e\x40-\x7f]+")  # "?" and whatever is not ASCII


def normalise(vr: str, values: Iterable[object]) -> tuple[str, ...]:
    """The values of one element as strings; those at its end that are empty are left out.

    Takes what pydicom reads as well as what JSON holds: strings, numbers, None, for PN an object with its groups
    (PS3.18 F.2.2).
    """
    out = [_value(vr, value) for value in values]
    while out and not out[-1]:
        out.pop()
    return tuple(out)


def contradict(own: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether a service shows other values than the file has.

    Each reader makes something else of bytes that the character set does not have ("?", U+FFFD, Latin letters), so what stands for
    them proves nothing; the signs around them do.
    """
    if tuple(own) == tuple(theirs):
        return False
    if not any(UNDECLARED in value for value in own):
        return True
    return [_GUESSED.sub(UNDECLARED, value) for value in own] != [_GUESSED.sub(UNDECLARED, value) for value in theirs]


def _value(vr: str, value: object) -> str:
    if value is None:
        return ""
    if vr == "PN":
        return _name(value)
    if vr == "AT":
        return f"{value:08X}" if isinstance(value, int) else str(value).strip(_PADDING).upper()
    if vr in _NUMBERS:
        text = _number(vr, value)
        return str(int(text) & 0xFFFF) if vr in _SIXTEEN_BITS and _INTEGER.fullmatch(text) else text
    text = str(value)
    return text.rstrip(_PADDING) if vr in _TEXTS else text.strip(_PADDING)


def _number(vr: str, value: object) -> str:
    """Integers as they are, whichever way they are written; others to the digits that survive every number on the way."""
    text = str(value).strip(_PADDING)
    try:
        if vr != "DS" or abs(int(text)) <= _EXACT:
            return str(int(text))
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return text
    if vr == "DS":
        number = round(number, _PLACES)
    if math.isfinite(number) and number.is_integer() and abs(number) <= _EXACT:
        return str(int(number))
    return format(number, f".{_DIGITS.get(vr, 15)}g")


def _name(value: object) -> str:
    if isinstance(value, Mapping):
        groups = [str(value.get(group) or "") for group in _NAME_GROUPS]
    else:
        groups = str(value).split("=")
    return "=".join(group.strip(_PADDING).rstrip("^ ") for group in groups).rstrip("=")
