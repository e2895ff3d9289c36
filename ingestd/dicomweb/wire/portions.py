"""How much of what a connection gave belongs to the answer that is being read. Pure.

An HTTP parser that is fed more than one answer keeps the rest, and takes it for the answer to the next request (F83). So it is fed
no more than one: the head and whatever is not data line by line, since a head ends with a line; the data by their length. What is
left over is then still in the wire's hands, and the connection is not used again.
"""

from __future__ import annotations


class Portions:
    """Of one answer, from its first byte on. It only counts: what is no HTTP, the parser behind it refuses."""

    def __init__(self) -> None:
        self._left = 0  # bytes of data until the next line
        self._closes = False  # data until the connection ends
        self._ended = False
        self._chunked = False
        self._size: bytearray | None = None  # of a chunk, as far as its line is there

    def body_follows(self, *, chunked: bool, length: int | None) -> None:
        """The head is over. `length` in bytes; None: it ends with the connection."""
        self._chunked = chunked
        self._size = bytearray() if chunked else None
        self._left = 0 if chunked or length is None else length
        self._closes = not chunked and length is None
        self._ended = not chunked and length == 0

    def take(self, held: bytearray, most: int) -> bytes:
        """The next portion, taken out of `held`. Empty where the answer is over and `held` begins with something else."""
        if self._ended:
            return b""
        if self._closes:
            size = most
        elif self._left:
            size = min(self._left, most)
        else:
            size = min(held.find(b"\n") + 1 or most, most)
        portion = bytes(held[:size])
        del held[:size]
        self._count(portion)
        return portion

    def _count(self, portion: bytes) -> None:
        if self._left:
            self._left -= len(portion)
            self._ended = not self._left and not self._chunked
        elif self._size is not None:
            self._size += portion
            if portion.endswith(b"\n"):
                self._chunk_begins(bytes(self._size))

    def _chunk_begins(self, line: bytes) -> None:
        """RFC 9112 7.1. A line that is no size is left to the parser; behind the last chunk come lines only."""
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            size = 0
        self._left = size + len(b"\r\n") if size > 0 else 0
        self._size = bytearray() if size > 0 else None
