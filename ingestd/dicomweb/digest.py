"""What the service holds, digested while it arrives: Retrieve Instance (PS3.18 10.4.1.1.1), up to 4 GiB and never in memory.

The digest decides whether two files with the same UIDs are one, and may lead to one of them being replaced. So there is a digest
only of exactly one part that was there to its closing delimiter, and that is a Part 10 file by its prefix (PS3.10 7.1); of all
else there is none, and the core takes it for "not known".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from ingestd.dicomweb.multipart_reader import DICOM, PartsSink

FETCH_LIMIT = (4 << 30) + (1 << 20)  # the largest instance a service takes, and its wrapping
PREAMBLE = 128
PREFIX = b"DICM"


class InstanceDigest:
    """A sink of Exchange.ask. `sha256` is None until a whole body has been one instance."""

    def __init__(self, *, rate: int) -> None:
        self.rate = rate
        self._part = _OnePart()
        self._sink = PartsSink(self._part, rate=rate, alone=DICOM)
        self._received = 0
        self._possible = False

    def begin(self, headers: Mapping[str, str]) -> bool:
        """A body with these headers comes (names in any case); False when no digest can come of it."""
        self._received = 0
        self._possible = self._sink.begin(headers)
        return self._possible

    def take(self, piece: bytes) -> bool:
        """The next piece; False when no digest can come any more."""
        self._received += len(piece)
        self._possible = (
            self._possible and self._received <= FETCH_LIMIT and self._sink.take(piece) and self._part.possible
        )
        return self._possible

    @property
    def sha256(self) -> str | None:
        return self._part.sha256 if self._possible and self._sink.complete else None


class _OnePart:
    """multipart_reader.Parts: the digest from byte 128 on, of the only part, which begins like a Part 10 file."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._parts = 0
        self._start = b""
        self._hash = hashlib.sha256()

    def begin(self, content_type: str) -> None:  # noqa: ARG002 - the file itself says what it is
        self._parts += 1

    def write(self, data: bytes) -> None:
        missing = PREAMBLE + len(PREFIX) - len(self._start)
        if missing > 0:
            self._start += data[:missing]
            if len(self._start) < PREAMBLE + len(PREFIX):
                return
            self._hash.update(self._start[PREAMBLE:])
            data = data[missing:]
        self._hash.update(data)

    def end(self) -> None:
        """The sink knows whether it was the last one."""

    @property
    def possible(self) -> bool:
        """Whether nothing yet says that it is none."""
        return self._parts < 2 and PREFIX.startswith(self._start[PREAMBLE:])

    @property
    def sha256(self) -> str | None:
        return self._hash.hexdigest() if self._start[PREAMBLE:] == PREFIX else None
