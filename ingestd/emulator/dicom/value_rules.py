"""Is this value one that its VR allows? (PS3.5 6.2, in the words of fo-dicom, the parser of the Azure service)

Values are looked at as the bytes that stand in the file: what pydicom would make of them is already repaired.
"""

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

_UID: Final = re.compile(r"[0-9.]*[0-9]")
"""Leading zeroes pass here (the service's UidValidation), though not in the warnings below."""
UID_INVALID: Final = (
    "DICOM Identifier is invalid. Value length should not exceed the maximum length of 64 characters. "
    "Value should contain characters in '0'-'9' and '.'. Each component must start with non-zero number."
)

_CONTROL: Final = re.compile(r"[\x00-\x1a\x1c-\x1f\x7f]")
_SHOWN: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    pattern: re.Pattern[bytes]
    complaint: str


def _rule(pattern: bytes, complaint: str) -> _Rule:
    return _Rule(pattern=re.compile(pattern), complaint=complaint)


_DATE: Final = rb"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
_TIME: Final = rb"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?"

_RULES: Final = {
    "AE": _rule(rb"[ -\[\]-~]{0,16}", "value exceeds 16 characters or contains an invalid character"),
    "AS": _rule(rb"\d{3}[DWMY]", "value does not have pattern 000[DWMY]"),
    "CS": _rule(rb"[A-Z0-9 _]{0,16}", "value exceeds 16 characters or contains an invalid character"),
    "DA": _rule(rb"(%b)?(-(%b)?)?" % (_DATE, _DATE), "one of the date values does not match the pattern YYYYMMDD"),
    "DS": _rule(rb"(?=.{0,16}$) *[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)? *", "value is not a decimal string"),
    "DT": _rule(
        rb"\d{4}((0[1-9]|1[0-2])((0[1-9]|[12]\d|3[01])(%b)?)?)?([-+]\d{4})?" % _TIME, "value does not match the pattern"
    ),
    "IS": _rule(rb"(?=.{0,12}$) *[-+]?\d{1,10} *", "value is not an integer string"),
    "TM": _rule(rb"(%b)?(-(%b)?)?" % (_TIME, _TIME), "value does not match the pattern HHMMSS.FFFFFF"),
    "UI": _rule(rb"(?=.{0,64}$)(0|[1-9]\d*)(\.(0|[1-9]\d*))*", "value is not a UID"),
}
_LEAST_LENGTHS: Final = {"CS": 16, "LO": 64, "SH": 16}
_LONGEST: Final = {"SH": 16, "LO": 64, "ST": 1024, "LT": 10240}


def is_uid(value: str) -> bool:
    """The service's own rule for UIDs: digits and dots, a digit last, at most 64, spaces after it allowed."""
    value = value.rstrip(" ")
    return len(value) <= 64 and _UID.fullmatch(value) is not None


def is_date(value: str) -> bool:
    """True for a day of the calendar as YYYYMMDD."""
    if re.fullmatch(r"[0-9]{8}", value) is None:
        return False
    try:
        date(int(value[:4]), int(value[4:6]), int(value[6:]))
    except ValueError:
        return False
    return True


def least_demand(vr: str, value: str) -> str | None:
    """What breaks the service's own rule, milder than the standard's, for a value of an attribute that can be searched."""
    if vr == "UI":
        return UID_INVALID if value and not is_uid(value) else None
    if vr == "DA":
        return "Value cannot be parsed as a valid date." if value and not is_date(value) else None
    if vr == "PN":
        return _name_demand(value)
    longest = _LEAST_LENGTHS.get(vr)
    if longest is not None and len(value) > longest:
        return f"Value length exceeds maximum length of {longest}."
    return "Value contains invalid character." if vr == "LO" and _CONTROL.search(value) is not None else None


def _name_demand(value: str) -> str | None:
    groups = value.split("=")
    if len(groups) > 3:
        return "Value contains more than 3 groups."
    if any(len(group) > 64 for group in groups):
        return "One or more group of person name exceeds maxium length of 64."
    if any(_CONTROL.search(group) is not None for group in groups):
        return "Value contains invalid character."
    return "Value contains more than 5 components." if any(group.count("^") > 4 for group in groups) else None


def complaint(vr: str, raw: bytes, decoded: str | None = None) -> str | None:
    """What is wrong with these bytes as a value of this VR, quoting them; None when nothing is. Padding is forgiven."""
    raw = raw.rstrip(b"\0")
    rule = _RULES.get(vr)
    if rule is not None:
        for value in raw.split(b"\\"):
            if (bare := value.strip(b" ")) and rule.pattern.fullmatch(bare) is None:
                return _say(vr, bare.decode("latin-1"), rule.complaint)
        return None
    longest = _LONGEST.get(vr)
    if longest is None or len(raw) <= longest:
        return None
    text = raw.decode("latin-1") if decoded is None else decoded
    values = text.split("\\") if vr in {"SH", "LO"} else [text]
    for part in values:
        if len(part.strip(" ")) > longest:
            return _say(vr, part.strip(" "), f"value exceeds maximum length of {longest} characters")
    return None


def _say(vr: str, value: str, why: str) -> str:
    return f'Content "{value[:_SHOWN]}" does not validate VR {vr}: {why}'
