"""Content codings that nobody asked for (RFC 9110 8.4.1): every request says `identity`, but a proxy may compress all the same.

gzip and deflate are taken away piece by piece, so that whoever reads the body bounds it as if it had come plain: a bomb costs no
more than the cap. Input that yields next to nothing is an attack as well, and ends likewise. Any other coding, and several at once,
can't be read.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

PIECE = 64 * 1024  # bytes of output at a time
SLACK = 1 << 20  # bytes of input; beyond, it may be no more than twice its output
_GZIP = frozenset({"gzip", "x-gzip"})
_ZLIB, _RAW, _MEMBER = zlib.MAX_WBITS, -zlib.MAX_WBITS, zlib.MAX_WBITS | 16


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
