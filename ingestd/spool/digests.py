"""The digest by which bytes are known again: SHA-256 from byte 128 on, for services replace the preamble (PS3.10 7.1)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

from ingestd.spool.fsutil import PIECE

PREAMBLE = 128
DIGESTED = 64 << 20  # bytes of a file that the owner thread may digest: no longer than a tick may last


def pieces(handle: int) -> Iterator[bytes]:
    """The bytes that count of an open file, piece by piece. Raises OSError."""
    at = PREAMBLE
    while piece := os.pread(handle, PIECE, at):
        yield piece
        at += len(piece)


def digest_of(handle: int) -> str:
    """The digest, in hex, of an open file. Raises OSError."""
    digest = hashlib.sha256()
    for piece in pieces(handle):
        digest.update(piece)
    return digest.hexdigest()


def digest_of_bytes(content: bytes) -> str:
    return hashlib.sha256(memoryview(content)[PREAMBLE:]).hexdigest()
