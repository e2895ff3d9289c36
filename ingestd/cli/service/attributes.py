"""DICOM attributes by their keywords (PS3.6), in what a person types and in what is printed.

pydicom has the dictionary. It is imported when a name is looked up: it brings numpy, and half of what is asked for has no names.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

from ingestd.dicomweb.payload.json_reader import Object

_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")
_LONGEST = 400  # characters of one value that a person is shown


def attribute(text: str) -> str:
    """A keyword or a tag, or several joined by dots (a sequence and what is in it), as PS3.18 8.3.4.1 writes it.

    Raises ValueError, with what it may have been.
    """
    return ".".join(_attribute(part) for part in text.split("."))


def _attribute(text: str) -> str:
    from pydicom.datadict import keyword_dict  # noqa: PLC0415 - see above

    if match := _TAG.fullmatch(text):
        return (match[1] + match[2]).upper()
    if text in keyword_dict:
        return text
    lower = {keyword.lower(): keyword for keyword in keyword_dict if keyword}
    near = difflib.get_close_matches(text.lower(), lower, n=1, cutoff=0.6)
    meant = (
        f"did you mean {lower[near[0]]}?" if near else "give a keyword such as PatientName, or a tag such as 00100010"
    )
    raise ValueError(f"{text!r} is no DICOM attribute: {meant}")


def keyword(tag: str) -> str:
    """The keyword of a tag of eight hex digits; empty for a private or an unknown one."""
    from pydicom.datadict import keyword_for_tag  # noqa: PLC0415 - see above

    try:
        return keyword_for_tag(int(tag, 16))
    except ValueError:
        return ""


def first(found: Object, tag: str) -> str:
    """An element's first value as text; empty where there is none."""
    return next(iter(_values(found.get(tag))), "")


def named(found: Object, *, but: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Keyword and value of every element that has one, in the order of their tags, `but` those and sequences."""
    for tag in sorted(found):
        if tag not in but and (value := "\\".join(_values(found[tag]))):
            yield keyword(tag) or tag, _cut(value)


def listed(found: Object, depth: int = 0) -> Iterator[tuple[str, str, str, str]]:
    """Every element: tag, keyword, VR and value; those of a sequence's items below it, with a `>` for each level."""
    for tag in sorted(found):
        element = found[tag]
        vr = str(element.get("vr", "")) if isinstance(element, dict) else ""
        yield ">" * depth + f"({tag[:4]},{tag[4:]})", keyword(tag), vr, _cut(_summary(element))
        for item in _items(element):
            yield from listed(item, depth + 1)


def _summary(element: object) -> str:
    if isinstance(element, dict):
        if "BulkDataURI" in element:
            return "(bulk data)"
        if "InlineBinary" in element:
            return f"({len(str(element['InlineBinary'])) * 3 // 4} bytes)"
        if items := list(_items(element)):
            return f"({len(items)} item{'s' if len(items) > 1 else ''})"
    return "\\".join(_values(element))


def _items(element: object) -> Iterator[Mapping[str, object]]:
    if isinstance(element, dict) and element.get("vr") == "SQ" and isinstance(values := element.get("Value"), list):
        yield from (item for item in values if isinstance(item, dict))


def _values(element: object) -> Iterator[str]:
    values = element.get("Value") if isinstance(element, dict) and element.get("vr") != "SQ" else None
    for value in values if isinstance(values, list) else ():
        if isinstance(value, dict):  # PersonName (PS3.18 F.2.2)
            yield "=".join(str(value.get(part, "")) for part in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
        elif value is not None:
            yield str(value)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"
