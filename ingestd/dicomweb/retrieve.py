"""What the service holds, digested while it arrives: Retrieve Instance (PS3.18 10.4.1.1.1), up to 4 GiB and never in memory.

The digest decides whether two files with the same UIDs are one, and may lead to one of them being replaced. So there is a digest
only of exactly one part that was there to its closing delimiter, and that is a Part 10 file by its prefix (PS3.10 7.1); of all
else there is none, and the core takes it for "not known". Nothing is transcoded: `transfer-syntax=*` asks for the bytes as stored.

PS3.18 8.7.3.2 has multipart/related as the default for DICOM objects; application/dicom alone is what Azure's documentation and
several smaller services have for one instance, so both are asked for; where a service can't read such a list, the first alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError

from ingestd.dicomweb.media_type import media_type

ACCEPT_MULTIPART = 'multipart/related; type="application/dicom"; transfer-syntax=*'
ACCEPT_EITHER = f"{ACCEPT_MULTIPART}, application/dicom; transfer-syntax=*"
NOT_ACCEPTED = frozenset({400, 406})
FETCH_LIMIT = (4 << 30) + (1 << 20)  # the largest instance a service takes, and its wrapping
PREAMBLE = 128
PREFIX = b"DICM"


class InstanceDigest:
    """A sink of Exchange.ask. `sha256` is None until a whole body has been one instance."""

    def __init__(self, *, rate: int) -> None:
        self.rate = rate
        self._body: _Single | _Multipart | None = None
        self._received = 0

    def begin(self, headers: Mapping[str, str]) -> bool:
        """A body with these headers comes (names in any case); False when no digest can come of it."""
        self._body = _reader(headers)
        self._received = 0
        return self._body is not None

    def take(self, piece: bytes) -> bool:
        """The next piece; False when no digest can come any more."""
        self._received += len(piece)
        if self._body is None or self._received > FETCH_LIMIT or not self._body.take(piece):
            self._body = None
            return False
        return True

    @property
    def sha256(self) -> str | None:
        return self._body.sha256 if self._body is not None else None


class _Part10:
    """The digest from byte 128 on, of bytes that begin like a Part 10 file."""

    def __init__(self) -> None:
        self._start = b""
        self._hash = hashlib.sha256()

    def take(self, data: bytes) -> None:
        missing = PREAMBLE + len(PREFIX) - len(self._start)
        if missing > 0:
            self._start += data[:missing]
            if len(self._start) < PREAMBLE + len(PREFIX):
                return
            self._hash.update(self._start[PREAMBLE:])
            data = data[missing:]
        self._hash.update(data)

    @property
    def possible(self) -> bool:
        """Whether nothing yet says that it is none."""
        return PREFIX.startswith(self._start[PREAMBLE:])

    @property
    def sha256(self) -> str | None:
        return self._hash.hexdigest() if self._start[PREAMBLE:] == PREFIX else None


class _Single:
    """The body is the instance."""

    def __init__(self) -> None:
        self._instance = _Part10()

    def take(self, piece: bytes) -> bool:
        self._instance.take(piece)
        return self._instance.possible

    @property
    def sha256(self) -> str | None:
        return self._instance.sha256


class _Multipart:
    """The body has one part (RFC 2046 5.1.1, without a preamble)."""

    def __init__(self, boundary: bytes) -> None:
        """Raises FormParserError."""
        self._instance = _Part10()
        self._parts = 0
        self._closed = False
        self._parser = MultipartParser(
            boundary, {"on_part_begin": self._begin, "on_part_data": self._data, "on_end": self._end}
        )

    def take(self, piece: bytes) -> bool:
        try:
            self._parser.write(piece)
        except FormParserError:
            return False
        return self._parts < 2 and self._instance.possible

    @property
    def sha256(self) -> str | None:
        return self._instance.sha256 if self._closed else None

    def _begin(self) -> None:
        self._parts += 1

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._parts == 1:
            self._instance.take(data[start:end])

    def _end(self) -> None:
        self._closed = True


def _reader(headers: Mapping[str, str]) -> _Single | _Multipart | None:
    kind = media_type(headers.get("content-type", ""))
    match kind.name:
        case "multipart/related" if kind.boundary:
            try:
                return _Multipart(kind.boundary.encode("latin-1"))
            except (UnicodeEncodeError, FormParserError):
                return None
        case "application/dicom" if "content-length" in headers or "transfer-encoding" in headers:
            return _Single()
        case _:  # among them an application/dicom that ends when the connection does, which may be anywhere
            return None
