"""The DICOM JSON Model (PS3.18 Annex F), as far as answers need it. Pure; what is not well formed is None, never an exception."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ingestd.dicomweb.payload.answer_headers import JSON_TYPES, decoded, media_type

Dataset = Mapping[str, object]

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


def unique(members: list[tuple[str, object]]) -> dict[str, object]:
    """json's object_pairs_hook: an object that says a thing twice says nothing. Raises ValueError."""
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a name comes twice")
    return found


def refuse(constant: str) -> object:
    """json's parse_constant: RFC 8259 has neither NaN nor Infinity. Raises ValueError."""
    raise ValueError(f"{constant} is not JSON")
