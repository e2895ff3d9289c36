"""The digest by which an image is known again: SHA-256 of its data set, from behind the file meta information to the end.

The preamble and group 0002 (PS3.10 7.1) belong to the carrier: the same image, sent on by another system, has others. What stands
behind them is digested as it stands, deflated data sets too; beside it the transfer syntax says how to read it. A file without a
header is digested from its first byte.

A file that was walked is digested from where the walk saw its data set begin. Of one that arrives over the network that is found
while it arrives (`Arrival`), by the same reader of the header.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Final

from ingestd.part10.file_meta import BEGINNING, begins_like_dicom, read_file_meta
from ingestd.part10.views import BytesSource, FileSource, NotWholeError, PlainView, Source
from ingestd.part10.walk import walk

DIGESTED = 64 << 20  # bytes of a file that the owner thread may digest: no longer than a tick may last
HEADER_LIMIT = 1 << 20  # bytes in which the header of an object that arrives must end, and its UIDs must stand
_NEXT_HEADER = 12  # bytes of an element's header: with so many behind the group, nothing of it can follow
_PIECE: Final = 256 << 10  # bytes read at once


def pieces(handle: int, at: int) -> Iterator[bytes]:
    """The bytes of an open file from `at` on, piece by piece. Raises OSError."""
    while piece := os.pread(handle, _PIECE, at):
        yield piece
        at += len(piece)


def digest_from(handle: int, at: int) -> str:
    """The digest, in hex, of an open file from `at` on. Raises OSError."""
    digest = hashlib.sha256()
    for piece in pieces(handle, at):
        digest.update(piece)
    return digest.hexdigest()


def digest_of(handle: int) -> str:
    """The digest, in hex, of the data set in an open file. Raises OSError, FileBusyError."""
    return digest_from(handle, data_set_at(FileSource(handle), os.fstat(handle).st_size))


def digest_of_bytes(content: bytes, at: int) -> str:
    return hashlib.sha256(memoryview(content)[at:]).hexdigest()


def data_set_at(source: Source, size: int) -> int:
    """Where the data set begins; 0 where no whole header says so. Raises FileBusyError."""
    try:
        return read_file_meta(PlainView(source, size)).end
    except NotWholeError:
        return 0


class Arrival:
    """ports.Arrival: one Part 10 object that comes in pieces, digested and never kept but for its beginning."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._hash = hashlib.sha256()
        # So many bytes before the header is read, and read again: pieces may be small, and headers long.
        self._enough = BEGINNING + _NEXT_HEADER
        self._begun = False
        self._ended = False
        self.possible = True
        self.transfer_syntax_uid: str | None = None

    def write(self, data: bytes) -> None:
        if len(self._head) < HEADER_LIMIT:
            self._head += data
        if self._begun:
            self._hash.update(data)
        elif self.possible and len(self._head) >= min(self._enough, HEADER_LIMIT):
            self._begin(more=len(self._head) < HEADER_LIMIT)

    def end(self) -> None:
        """No more will come, and all of it was there."""
        if not self._begun and self.possible:
            self._begin(more=False)
        self._ended = True

    @property
    def sha256(self) -> str | None:
        return self._hash.hexdigest() if self._begun and self._ended else None

    @property
    def key(self) -> tuple[str, str, str] | None:
        """Study, series and SOP Instance UID, where they stand in its beginning."""
        if not self._begun:
            return None
        content = bytes(self._head)
        ids = walk(BytesSource(content), len(content)).ids
        return ids.key if ids is not None else None

    def _begin(self, *, more: bool) -> None:
        """Find the end of the header in what has come; `more` may still come."""
        head = bytes(self._head)
        self._enough = len(head) * 3 // 2
        try:
            meta = read_file_meta(PlainView(BytesSource(head), len(head)))
        except NotWholeError:
            # What was cut may go on; what did not begin like DICOM never will.
            self.possible = more and begins_like_dicom(head)
            return
        if more and len(head) < meta.end + _NEXT_HEADER:
            return
        self._begun = True
        self.transfer_syntax_uid = meta.transfer_syntax_uid
        self._hash.update(memoryview(head)[meta.end :])
