"""The body of a Store transaction, spooled part by part into incoming/ while it arrives; memory does not grow with it.

Reading ends for the whole request when a part is of another type than application/dicom (415) or the multipart framing is broken
(400). A body that ends inside a part is no error to the Azure service: that part is dropped without a word and the ones before it
are stored; 204 when there are none. A body that ends where a part or its header is due is broken framing.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import BinaryIO, Final, Protocol

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError

from ingestd.emulator import RefusedError
from ingestd.emulator.http.negotiation import DICOM, MULTIPART_RELATED, MediaType, media_type

_MOST_HEADERS: Final = 16
_MOST_HEADER_BYTES: Final = 16 * 1024
_BROKEN: Final = "There was an error reading the multipart request."

NewPart = Callable[[], tuple[str, str]]
"""Gives a key and the path of a file to make for it."""


class Reception(Protocol):
    """Takes the body in pieces; `keys` names every part begun, complete or not."""

    keys: list[str]

    def feed(self, data: bytes) -> None:
        """The next piece."""

    def finish(self) -> list[str]:
        """The keys of the complete parts, in their order."""

    def abort(self) -> None:
        """Closes what is open; may be called at any time and again."""


def reception_for(content_type: str, new_part: NewPart) -> Reception:
    """The reception for a request of this Content-Type.

    Raises:
        RefusedError: 415 for another type or no boundary, 400 for a start parameter.
    """
    if content_type == DICOM:
        return SinglePart(new_part)
    media = media_type(content_type)
    if media is None or media.name != MULTIPART_RELATED:
        raise RefusedError(415, f"The specified content type '{content_type}' is not supported.")
    if not media.parameters.get("boundary", "").strip():
        raise RefusedError(415, f"The content type '{content_type}' is either not multipart or is missing boundary.")
    if "start" in media.parameters:
        raise RefusedError(400, "The start parameter in multipart/related request is not supported.")
    return Multipart(media, new_part)


class SinglePart:
    """The body is the instance (an addition of Azure's, not in PS3.18)."""

    def __init__(self, new_part: NewPart) -> None:
        key, self._path = new_part()
        self.keys = [key]
        self._file: BinaryIO | None = None

    def feed(self, data: bytes) -> None:
        if self._file is None:
            self._file = open(self._path, "xb")  # noqa: SIM115 - closed by abort
        self._file.write(data)

    def finish(self) -> list[str]:
        self.feed(b"")
        self.abort()
        return self.keys

    def abort(self) -> None:
        if self._file is not None:
            self._file.close()


class _Place(Enum):
    PREAMBLE = auto()
    HEADER = auto()
    DATA = auto()
    END = auto()


class Multipart:
    """multipart/related (RFC 2387, PS3.18 10.5)."""

    def __init__(self, media: MediaType, new_part: NewPart) -> None:
        self.keys: list[str] = []
        self._complete: list[str] = []
        self._new_part = new_part
        self._root_type = media.parameters.get("type")
        self._place = _Place.PREAMBLE
        self._preamble = b""
        self._file: BinaryIO | None = None
        self._name = self._value = b""
        self._content_type: str | None = None
        try:
            boundary = media.parameters["boundary"].encode("latin-1")
            self._delimiter = b"--" + boundary
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
                max_header_count=_MOST_HEADERS,
                max_header_size=_MOST_HEADER_BYTES,
            )
        except (FormParserError, UnicodeEncodeError) as error:
            raise RefusedError(400, _BROKEN) from error

    def feed(self, data: bytes) -> None:
        if self._place is _Place.PREAMBLE:
            data = self._skip_preamble(data)
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise RefusedError(400, _BROKEN) from error

    def finish(self) -> list[str]:
        self.abort()
        if self._place in {_Place.PREAMBLE, _Place.HEADER}:
            raise RefusedError(400, _BROKEN)
        return self._complete

    def abort(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _skip_preamble(self, data: bytes) -> bytes:
        # RFC 2046 5.1.1 allows text before the first delimiter; the parser does not.
        data = self._preamble + data
        start = 0 if data.startswith(self._delimiter) else data.find(b"\r\n" + self._delimiter)
        if start >= 0:
            self._place = _Place.HEADER
            self._preamble = b""
            return data[start:]
        if len(data) > _MOST_HEADER_BYTES:
            raise RefusedError(400, _BROKEN)
        self._preamble = data
        return b""

    def _on_part_begin(self) -> None:
        self._place = _Place.HEADER
        self._content_type = None if self._complete else self._root_type
        self._name = self._value = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._name.lower() == b"content-type":
            self._content_type = self._value.strip().decode("latin-1")
        self._name = self._value = b""

    def _on_headers_finished(self) -> None:
        if (self._content_type or "").lower() != DICOM:
            raise RefusedError(415, f"The specified content type '{self._content_type or ''}' is not supported.")
        key, path = self._new_part()
        self.keys.append(key)
        self._file = open(path, "xb")  # noqa: SIM115 - closed by _on_part_end or abort
        self._place = _Place.DATA

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(memoryview(data)[start:end])

    def _on_part_end(self) -> None:
        self.abort()
        self._complete.append(self.keys[-1])

    def _on_end(self) -> None:
        self._place = _Place.END
