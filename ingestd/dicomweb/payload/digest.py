"""What the service holds, digested while it arrives: Retrieve Instance (PS3.18 10.4.1.1.1), up to 4 GiB and never in memory.

The digest decides whether two files with the same UIDs are one, and may lead to one of them being replaced. So there is a digest
only of exactly one part that was there to its closing delimiter, and that is a Part 10 file (PS3.10 7.1); of all else there is
none, and the core takes it for "not known". How a part is read and digested is the arrival's business (ports.Arrival).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ingestd.core.ports import Arrival
from ingestd.dicomweb.payload.multipart_reader import DICOM, PartsSink

FETCH_LIMIT = (4 << 30) + (1 << 20)  # the largest instance a service takes, and its wrapping


class InstanceDigest:
    """A sink of Exchange.ask. `arrival` gives what reads one object; `found` is None until a whole body has been one instance."""

    def __init__(self, arrival: Callable[[], Arrival], *, rate: int) -> None:
        self.rate = rate
        self._part = _OnePart(arrival)
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

    def finish(self) -> Arrival | None:
        """The one instance, once the answer has ended well; None where it was none."""
        self._sink.finish()
        return self._part.arrival if self._possible and self._sink.complete and self._part.possible else None


class _OnePart:
    """multipart_reader.Parts: the only part."""

    def __init__(self, arrival: Callable[[], Arrival]) -> None:
        self._new = arrival
        self.restart()

    def restart(self) -> None:
        self._parts = 0
        self.arrival = self._new()

    def begin(self, content_type: str) -> None:  # noqa: ARG002 - the file itself says what it is
        self._parts += 1

    def write(self, data: bytes) -> None:
        self.arrival.write(data)

    def end(self) -> None:
        self.arrival.end()

    @property
    def possible(self) -> bool:
        """Whether nothing yet says that it is none."""
        return self._parts < 2 and self.arrival.possible
