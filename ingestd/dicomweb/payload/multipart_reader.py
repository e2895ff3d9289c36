"""The parts of an answer as they arrive: multipart/related (RFC 2387, PS3.18 8.6.1), of any size and never in memory.

A body is complete when its closing delimiter was there: a part that a broken connection cut is indistinguishable from a whole one
until then, for parts carry no length. A body that is no multipart is taken as one part where its own type is one that was asked for
and HTTP says how long it is.

PS3.18 8.7.3.2 has multipart/related as the default for DICOM objects; application/dicom alone is what Azure's documentation and
several smaller services have for one instance, so both are asked for; where a service can't read such a list, the first alone.
Nothing is transcoded: `transfer-syntax=*` asks for the bytes as stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError

from ingestd.dicomweb.payload.answer_headers import media_type

ACCEPT_MULTIPART = 'multipart/related; type="application/dicom"; transfer-syntax=*'
ACCEPT_EITHER = f"{ACCEPT_MULTIPART}, application/dicom; transfer-syntax=*"
NOT_ACCEPTED = frozenset({400, 406})
DICOM = frozenset({"application/dicom"})
HEADERS_LIMIT = 16 * 1024  # of one part; and of what stands before the first and after the last (RFC 2046 5.1.1)


class Parts(Protocol):
    """What becomes of the parts, one after the other. What it raises ends the request."""

    def restart(self) -> None:
        """An answer begins, perhaps not the first: a part that has begun and not ended will not."""

    def begin(self, content_type: str) -> None: ...
    def write(self, data: bytes) -> None: ...
    def end(self) -> None: ...


class PartsSink:
    """A sink of Exchange.ask that hands parts on. `rate` in bytes a second; `alone`: types that may come without a multipart."""

    def __init__(self, parts: Parts, *, rate: int, alone: frozenset[str]) -> None:
        self.rate = rate
        self._parts = parts
        self._alone = alone
        self._parser: MultipartParser | None = None
        self._single = False
        self._closed = False
        self._field = bytearray()
        self._value = bytearray()
        self._content_type = ""
        self._headers = 0
        self._outside = True
        self._idle = True  # no part was in this piece

    @property
    def complete(self) -> bool:
        """The closing delimiter was there. (Of a single part HTTP says it: Reply.whole.)"""
        return self._closed or self._single

    def begin(self, headers: Mapping[str, str]) -> bool:
        self._parts.restart()
        self._single = self._closed = False
        self._outside = True
        self._headers = 0
        self._parser = None
        declared = headers.get("content-type", "")
        kind = media_type(declared)
        if kind.name == "multipart/related" and kind.boundary:
            self._parser = self._multipart(kind.boundary)
            return self._parser is not None
        if kind.name in self._alone and ("content-length" in headers or "transfer-encoding" in headers):
            self._single = True
            self._parts.begin(declared)
            return True
        return False

    def take(self, piece: bytes) -> bool:
        if self._parser is None:
            self._parts.write(piece)
            return True
        self._idle = self._outside
        try:
            self._parser.write(piece)
        except FormParserError:
            return False
        if self._idle:
            self._headers += len(piece)
        return self._headers <= HEADERS_LIMIT

    def finish(self) -> None:
        """The answer has ended well: a single part ends with it."""
        if self._single:
            self._parts.end()

    def _multipart(self, boundary: str) -> MultipartParser | None:
        try:
            return MultipartParser(
                boundary.encode("latin-1"),
                {
                    "on_part_begin": self._part_begins,
                    "on_header_field": self._name,
                    "on_header_value": self._says,
                    "on_header_end": self._header_ends,
                    "on_headers_finished": lambda: self._parts.begin(self._content_type),
                    "on_part_data": lambda data, start, end: self._parts.write(data[start:end]),
                    "on_part_end": self._parts.end,
                    "on_end": self._ends,
                },
            )
        except (UnicodeEncodeError, FormParserError):
            return None

    def _part_begins(self) -> None:
        self._headers = 0
        self._content_type = ""
        self._field.clear()
        self._value.clear()
        self._outside = self._idle = False

    def _name(self, data: bytes, start: int, end: int) -> None:
        self._headers += end - start
        self._field += data[start:end][:HEADERS_LIMIT]

    def _says(self, data: bytes, start: int, end: int) -> None:
        self._headers += end - start
        self._value += data[start:end][:HEADERS_LIMIT]

    def _header_ends(self) -> None:
        if self._field.lower() == b"content-type":
            self._content_type = self._value.decode("latin-1")
        self._field.clear()
        self._value.clear()

    def _ends(self) -> None:
        self._closed = self._outside = True
        self._headers = 0
