"""Content-Type as servers write it (RFC 9110 8.3.1 and 5.6.6), and the charsets that answers are read in. Pure.

A server chooses what stands in the header, so reading it takes time in proportion to its length and never raises. Two habits of
servers are allowed for: spaces around `=`, and a value such as application/dicom without its quotes.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

DICOM_JSON = "application/dicom+json"
JSON_TYPES = frozenset({DICOM_JSON, "application/json"})
LONGEST = 4096  # characters; what servers have a reason to send is below 200
_CHARSETS = frozenset({"ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"})
_FAMILIES = ("iso8859", "cp125")
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_NAME = re.compile(rf"[ \t]*+({_WORD}/{_WORD})[ \t]*+")
_PARAMETER = re.compile(rf';[ \t]*+(?:({_WORD})[ \t]*+(?:=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"[ \t]*+|([^;"]*+)))?)?')
_QUOTED_PAIR = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaType:
    """Name and charset in lower case, the boundary as it is. What can't be read as a media type is text/plain."""

    name: str
    charset: str | None
    boundary: str | None


def media_type(value: str) -> MediaType:
    """What a Content-Type header holds. Never raises. Of a parameter that comes twice the first counts."""
    name = _NAME.match(value) if len(value) <= LONGEST else None
    parameters: dict[str, str] = {}
    at = name.end() if name is not None else 0
    while name is not None and at < len(value):
        parameter = _PARAMETER.match(value, at)
        if parameter is None:
            name = None
            break
        at = parameter.end()
        key, quoted, bare = parameter.groups()
        if key is not None:
            found = _QUOTED_PAIR.sub(r"\1", quoted) if quoted is not None else (bare or "").rstrip(" \t")
            parameters.setdefault(key.lower(), found)
    if name is None:
        return MediaType(name="text/plain", charset=None, boundary=None)
    return MediaType(
        name=name[1].lower(),
        charset=parameters.get("charset", "").lower() or None,
        boundary=parameters.get("boundary") or None,
    )


def decoded(content: bytes | bytearray, charset: str | None) -> str:
    """The text, without a byte order mark; UTF-8 where no charset is declared. Raises ValueError.

    Only charsets that servers use: Python has codecs (punycode, idna) that take hours for what we allow a body to be.
    """
    try:
        name = codecs.lookup(charset or "utf-8").name
    except LookupError as error:
        raise ValueError("no such charset") from error
    if name not in _CHARSETS and not name.startswith(_FAMILIES):
        raise ValueError("no charset for answers")
    return content.decode(name).removeprefix("\ufeff")
