"""What the headers of an answer say of it: its type, its coding, how long to wait, its date. Pure.

A server chooses what stands in a header, so reading it takes time in proportion to its length and never raises. Content-Type
(RFC 9110 8.3.1 and 5.6.6) is read with two habits of servers: spaces around `=`, and a value such as application/dicom without its
quotes.

Content codings are those that nobody asked for (RFC 9110 8.4.1): every request says `identity`, but a proxy may compress all the
same. gzip and deflate are taken away piece by piece, so that whoever reads the body bounds it as if it had come plain: a bomb costs
no more than the cap. Input that yields next to nothing is an attack as well, and ends likewise. Any other coding, and several at
once, can't be read.
"""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

DICOM_JSON = "application/dicom+json"
JSON_TYPES = frozenset({DICOM_JSON, "application/json"})
LONGEST_TYPE = 4096  # characters; what servers have a reason to send is below 200
_CHARSETS = frozenset({"ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"})
_FAMILIES = ("iso8859", "cp125")
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_NAME = re.compile(rf"[ \t]*+({_WORD}/{_WORD})[ \t]*+")
_PARAMETER = re.compile(rf';[ \t]*+(?:({_WORD})[ \t]*+(?:=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"[ \t]*+|([^;"]*+)))?)?')
_QUOTED_PAIR = re.compile(r"\\(.)")
PIECE = 64 * 1024  # bytes of output at a time
SLACK = 1 << 20  # bytes of input; beyond, it may be no more than twice its output
_GZIP = frozenset({"gzip", "x-gzip"})
_ZLIB, _RAW, _MEMBER = zlib.MAX_WBITS, -zlib.MAX_WBITS, zlib.MAX_WBITS | 16
FOR_EVER = 1e9  # a number with more digits means for ever; the core has its own cap


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaType:
    """Name and charset in lower case, the boundary as it is. What can't be read as a media type is text/plain."""

    name: str
    charset: str | None
    boundary: str | None


def media_type(value: str) -> MediaType:
    """What a Content-Type header holds. Never raises. Of a parameter that comes twice the first counts."""
    name = _NAME.match(value) if len(value) <= LONGEST_TYPE else None
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


class CodingError(Exception):
    """The body is in a coding that we don't know, or is not what its coding says."""


def plain(coding: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The body without `coding`, the value of Content-Encoding. An empty body is empty in any coding. Raises CodingError.

    The end is reached only if the compressed stream was whole and nothing stood behind it.
    """
    names = [name for name in (part.strip().lower() for part in coding.split(",")) if name not in ("", "identity")]
    if not names:
        return iter(pieces)
    return _inflated(names[0] if len(names) == 1 else "", pieces)


def _inflated(name: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    stream = None
    begun = b""  # what the stream has not had yet
    taken = given = 0
    for piece in pieces:
        taken += len(piece)
        begun += piece
        if stream is None and len(begun) >= 2:
            stream = zlib.decompressobj(_bits(name, begun))
        if stream is None:
            continue
        for out in _out(stream, begun):
            given += len(out)
            yield out
        begun = b""
        if taken > 2 * given + SLACK:
            raise CodingError("hardly anything in it")
    if taken and (stream is None or not stream.eof):
        raise CodingError("not whole")


def _bits(name: str, begun: bytes) -> int:
    """What zlib is to expect. Some servers send deflate without the zlib header that RFC 9110 8.4.1.2 wants."""
    if name in _GZIP:
        return _MEMBER
    if name != "deflate":
        raise CodingError("unknown")
    return _ZLIB if begun[0] & 0x0F == zlib.DEFLATED and int.from_bytes(begun[:2], "big") % 31 == 0 else _RAW


def _out(stream: zlib._Decompress, piece: bytes) -> Iterator[bytes]:
    """All that comes of one piece of input, a bounded part at a time."""
    if piece and stream.eof:
        raise CodingError("more behind its end")
    while True:
        try:
            out = stream.decompress(piece, PIECE)
        except zlib.error as error:
            raise CodingError("broken") from error
        if out:
            yield out
        if stream.unused_data:
            raise CodingError("more behind its end")
        piece = stream.unconsumed_tail
        if not piece and len(out) < PIECE:
            return


def seconds_to_wait(value: str | None, *, now: float) -> float | None:
    """Seconds from `now` (epoch) on; None where there is nothing, or garbage, or a time that has passed (F52)."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) < 10 else FOR_EVER
    when = http_date(text)
    return when - now if when is not None and when > now else None


def http_date(value: str | None) -> float | None:
    """Seconds since the epoch; None where there is nothing, or garbage."""
    try:
        when = parsedate_to_datetime(value or "")
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
