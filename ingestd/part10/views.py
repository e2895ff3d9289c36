"""Where the walk's bytes come from, and the forward views it reads them through.

A view hands out the bytes from a position on, in blocks: a first one that holds a usual header, growing ones while the walk goes on
in order, small ones after a jump over a value. It never holds more than two blocks, whatever the file claims. Positions in a
deflated data set (PS3.5 A.5) count its inflated bytes.

No walk may hold its thread for a second, and no clock decides that: a busy machine must not fail a good file. What costs time is
bounded instead: reads, the bytes they bring, the bytes that are inflated, before and after.
"""

from __future__ import annotations

import os
import zlib
from typing import Final, Protocol

from ingestd.core.answers.reasons import Wholeness
from ingestd.core.errors import FileBusyError

LOOKAHEAD: Final = 512  # a view gives at least this much, unless the data ends before
_FIRST: Final = 16 << 10
_LARGEST: Final = 256 << 10

# A read counts as 4 KiB at least and costs some 5 microseconds: 160,000 of them, or 625 MiB in large blocks. A whole-slide image
# has a fragment a tile, up to 150,000 of them; the largest RT structure sets have some 300 MB of contours.
READ_LIMIT: Final = 160_000 << 12
_READ: Final = 1 << 12

# A deflated data set costs CPU by its inflated bytes, 2 nanoseconds each, and by its deflated ones: 5 each in what a deflater
# wrote, 40 where a hostile stream consists of Huffman tables. How much comes out doesn't tell the two apart: one long match
# behind each table gives six bytes for every one. So a deflated byte always counts as 20 inflated ones, and less than a second
# buys 400 MiB of blank masks, or 50 MiB of slices. Deflate can't do better than 1032:1; blank masks come near 400:1, so below
# the floor no ratio is asked for.
INFLATED_LIMIT: Final = 400 << 20
INFLATED_FLOOR: Final = 64 << 20
INFLATED_RATIO: Final = 256
_DEFLATED_BYTE: Final = 20

_CHECKSUMS: Final = 8  # zlib leaves 4 bytes behind a deflate stream, gzip 8

# Writers that claim room ahead leave zeros behind the last element; more of them than this nobody reads to the end.
ZERO_TAIL_LIMIT: Final = 64 << 20


class NotWholeError(Exception):
    """Inside the walk only: it ends here, and this is the verdict."""

    def __init__(self, wholeness: Wholeness, text: str) -> None:
        super().__init__(text)
        self.wholeness = wholeness
        self.text = text


class PastEndError(Exception):
    """Inside the walk only: a position past the end of the data, which is at `end`."""

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


class Source(Protocol):
    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset` on, `length` of them or fewer at the end of file. Raises FileBusyError."""


class FileSource:
    """An open file descriptor, which stays its owner's; its offset may be moved."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read_at(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._descriptor, length, offset)
        except OSError as error:
            raise FileBusyError(f"the file can't be read just now ({error.strerror}): it is looked at again") from error


class BytesSource:
    """A file that was read once, whole."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read_at(self, offset: int, length: int) -> bytes:
        return self._content[offset : offset + length]


class View(Protocol):
    @property
    def weight(self) -> int:
        """How many bytes of the data, about, the file may be said to pay for."""

    def load(self, at: int) -> bytes:
        """The bytes from `at` on: LOOKAHEAD or more, fewer where the data ends, none at its very end. `at` never goes back.

        Raises PastEndError, and NotWholeError where the data can't be read to there.
        """

    def held(self) -> tuple[int, bytes]:
        """A position, and the bytes from there on that were loaded last."""

    def peek(self, at: int, length: int) -> bytes | None:
        """Up to `length` bytes from `at` on, none at the very end, for a look ahead: what `load` gives next is still there.

        None where the data end before, or where they are too far away to be kept.
        """

    def may_hold(self, end: int) -> bool:
        """Whether the data can reach to `end`, as far as that is known without reading."""


class PlainView:
    """The file's own bytes, `size` of them: what lies behind was not there when the file was looked at."""

    __slots__ = ("_block", "_budget", "_buffer", "_loaded", "_size", "_source")

    def __init__(self, source: Source, size: int) -> None:
        self._source = source
        self._size = size
        self._budget = READ_LIMIT
        self._block = _FIRST
        self._buffer = b""
        self._loaded = 0  # where the buffer ends

    def load(self, at: int) -> bytes:
        if at >= self._size:
            if at > self._size:
                raise PastEndError(self._size)
            return b""
        left = self._loaded - at
        if LOOKAHEAD <= left <= len(self._buffer):
            return self._buffer[-left:]
        if left < 0:
            self._block = _READ
        elif self._loaded:
            self._block = min(self._block * 2, _LARGEST)
        wanted = min(self._block, self._size - at)
        self._buffer = data = self._read(at, wanted)
        self._loaded = at + wanted
        return data

    def _read(self, at: int, wanted: int) -> bytes:
        self._budget -= max(wanted, _READ)
        if self._budget < 0:
            text = f"its headers fill more than {READ_LIMIT >> 20} MiB, or are spread over {READ_LIMIT // _READ} places"
            raise NotWholeError(Wholeness.OUT_OF_BOUNDS, text)
        data = self._source.read_at(at, wanted)
        while len(data) < wanted:
            more = self._source.read_at(at + len(data), wanted - len(data))
            if not more:
                raise NotWholeError(Wholeness.TRUNCATED, f"the file shrank to {at + len(data)} bytes while it was read")
            data += more
        return data

    @property
    def weight(self) -> int:
        return self._size

    def held(self) -> tuple[int, bytes]:
        return self._loaded - len(self._buffer), self._buffer

    def peek(self, at: int, length: int) -> bytes | None:
        left = self._loaded - at
        if length <= left <= len(self._buffer):
            start = len(self._buffer) - left
            return self._buffer[start : start + length]
        if at > self._size:
            return None
        return self._read(at, min(length, self._size - at))

    def may_hold(self, end: int) -> bool:
        return end <= self._size


class InflatedView:
    """A deflated data set from `start` of the file on, inflated as it is walked and never kept. Position 0 is its first byte."""

    __slots__ = ("_base", "_buffer", "_compressed", "_compressed_size", "_first", "_inflate", "_pending", "_start")

    def __init__(self, compressed: PlainView, start: int, size: int) -> None:
        self._compressed = compressed
        self._compressed_size = size - start
        self._first = self._start = start
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)  # raw deflate, PS3.5 A.5
        self._pending = b""
        self._buffer = b""
        self._base = 0

    def load(self, at: int) -> bytes:
        while self._base + len(self._buffer) < at + LOOKAHEAD and not self._inflate.eof:
            self._drop(at)
            self._buffer += self._next()
        self._drop(at)
        if self._base < at:
            raise PastEndError(self._base)
        return self._buffer

    @property
    def weight(self) -> int:
        return _DEFLATED_BYTE * self._compressed_size

    def held(self) -> tuple[int, bytes]:
        return self._base, self._buffer

    def peek(self, at: int, length: int) -> bytes | None:
        while self._base + len(self._buffer) < at + length and not self._inflate.eof:
            if at + length - self._base > _LARGEST:
                return None
            self._buffer += self._next()
        start = at - self._base
        return self._buffer[start : start + length] if start <= len(self._buffer) else None

    def may_hold(self, end: int) -> bool:
        return end <= INFLATED_LIMIT

    def _drop(self, before: int) -> None:
        gone = min(before - self._base, len(self._buffer))
        if gone:
            self._buffer = self._buffer[gone:]
            self._base += gone

    def _next(self) -> bytes:
        if not self._pending:
            self._pending = self._compressed.load(self._start)
            self._start += len(self._pending)
        last = not self._pending  # zlib may still hold some output back
        try:
            piece = self._inflate.decompress(self._pending, _LARGEST)
        except zlib.error:
            text = f"what should be a deflated data set is damaged before byte {self._start} of the file"
            raise NotWholeError(Wholeness.NOT_DICOM, text) from None
        if last and not self._inflate.eof:
            raise NotWholeError(Wholeness.TRUNCATED, "the deflated data set breaks off before its end")
        self._pending = self._inflate.unconsumed_tail
        produced = self._base + len(self._buffer) + len(piece)
        consumed = self._start - self._first - len(self._pending)
        if produced + _DEFLATED_BYTE * consumed > INFLATED_LIMIT:
            text = f"the data set is too large to inflate: {consumed >> 20} MiB of it are {produced >> 20} MiB inflated"
            raise NotWholeError(Wholeness.OUT_OF_BOUNDS, text)
        if produced > max(INFLATED_FLOOR, INFLATED_RATIO * self._compressed_size):
            text = f"the data set inflates to more than {INFLATED_RATIO} times its size"
            raise NotWholeError(Wholeness.OUT_OF_BOUNDS, text)
        return piece

    def has_zero_tail(self) -> bool:
        """Whether zeros follow the deflate stream, which was inflated to its end. Raises NotWholeError for other bytes.

        A few bytes of any kind are none: the pad that PS3.5 A.5 asks for, the checksums of zlib and gzip that some writers leave.
        """
        at = self._start - len(self._inflate.unused_data)
        if not self._compressed.may_hold(at + _CHECKSUMS + 1):
            return False
        if zeros_to_the_end(self._compressed, at) is None:
            text = f"behind the deflated data set, from byte {at} of the file on, stand other bytes"
            raise NotWholeError(Wholeness.NOT_DICOM, text)
        return True


def zeros_to_the_end(view: View, at: int) -> int | None:
    """How many bytes there are from `at` to the end if all of them are zero, else None. Raises NotWholeError past the bound."""
    start = at
    while block := view.load(at):
        if block != bytes(len(block)):
            return None
        at += len(block)
        if at - start > ZERO_TAIL_LIMIT:
            text = f"more than {ZERO_TAIL_LIMIT >> 20} MiB of zeros follow from byte {start} on"
            raise NotWholeError(Wholeness.OUT_OF_BOUNDS, text)
    return at - start
