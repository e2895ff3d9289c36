"""Content-Type as servers write it (RFC 9110 8.3.1), and the charsets that answers are read in. Pure."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from email.message import Message

DICOM_JSON = "application/dicom+json"
JSON_TYPES = frozenset({DICOM_JSON, "application/json"})
_CHARSETS = frozenset({"ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"})
_FAMILIES = ("iso8859", "cp125")


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaType:
    """Name and charset in lower case, the boundary as it is. What can't be read as a media type is text/plain."""

    name: str
    charset: str | None
    boundary: str | None


def media_type(value: str) -> MediaType:
    """What a Content-Type header holds."""
    message = Message()
    message["Content-Type"] = value
    return MediaType(
        name=message.get_content_type(), charset=message.get_content_charset(), boundary=message.get_boundary()
    )


def decoded(content: bytes, charset: str | None) -> str:
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
