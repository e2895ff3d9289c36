"""The DICOM JSON Model (PS3.18 Annex F), as far as answers need it. Pure; what is not well formed is None, never an exception."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ingestd.core.elements import normalise
from ingestd.dicomweb.media_type import JSON_TYPES, decoded, media_type

Dataset = Mapping[str, object]

BULK = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
MOST_VALUES = 1 << 18


def one_dataset(content_type: str, content: bytes, *, most: int = MOST_VALUES) -> Dataset | None:
    """The one data set of a body, an object or an array of one, of `most` values or fewer.

    A value is three bytes of text and a hundred of memory, so they are counted before they are read: each but the first stands
    behind a comma or a bracket.

    UTF-8 with or without a byte order mark (RFC 8259 8.1), or what is declared. A body without a Content-Type is what we asked for:
    Orthanc sends none with its Store Instances Response when a file of the batch was bad.
    """
    kind = media_type(content_type)
    if content_type and kind.name not in JSON_TYPES:
        return None
    if sum(content.count(mark) for mark in (b",", b"[", b"{")) > most:
        return None
    try:
        text = decoded(content, kind.charset)
        found: object = json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        return None
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    return found if isinstance(found, dict) else None


def elements(dataset: Dataset) -> dict[str, tuple[str, ...]] | None:
    """The elements that can be compared with a file's own, normalised; sequences, bulk data and private ones are left out."""
    out: dict[str, tuple[str, ...]] = {}
    for tag, element in dataset.items():
        if not isinstance(element, dict) or not isinstance(vr := element.get("vr"), str) or not _is_tag(tag):
            return None
        if vr == "SQ" or vr in BULK or "BulkDataURI" in element or "InlineBinary" in element or int(tag[:4], 16) % 2:
            continue
        value = element.get("Value", [])
        if not isinstance(value, list):
            return None
        out[tag.upper()] = normalise(vr, value)
    return out


def _is_tag(tag: str) -> bool:
    return len(tag) == 8 and all(c in "0123456789abcdefABCDEF" for c in tag)


def unique(members: list[tuple[str, object]]) -> dict[str, object]:
    """json's object_pairs_hook: an object that says a thing twice says nothing. Raises ValueError."""
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a name comes twice")
    return found


def refuse(constant: str) -> object:
    """json's parse_constant: RFC 8259 has neither NaN nor Infinity. Raises ValueError."""
    raise ValueError(f"{constant} is not JSON")
