"""Bodies of a Store transaction: multipart/related; type="application/dicom" (PS3.18 10.5.2, RFC 2387), streamed.

One object is one attempt. It has a boundary of its own, 128 random bits that no content can have been prepared for, so nothing is
scanned (F35), and passes of its own over the files, so that a second attempt sends every byte again (F57). The length is known
before the first byte: a chunked body that breaks off is taken by some services for a complete one with a part fewer. The boundary
after a part is written only when the pass over its file has ended well; a file that changed can't be stored as a whole part (I4).

Small instances travel with their neighbours in pieces of about 256 KiB, for each piece costs a system call and, in TLS, a record.

One instance can also be the whole body (Azure's addition): SingleBody.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

from ingestd.core.errors import FileChangedError, FileError
from ingestd.core.model import Instance
from ingestd.core.ports import Bodies, Reading

PIECE = 256 * 1024
Digests = tuple[str | None, ...]
DICOM = "application/dicom"  # nothing after it: Azure answers 415 to a parameter


class StoreBody:
    """The bytes of one attempt, once. Without instances it is the control: `--boundary--` alone.

    `length` is the Content-Length. Iterating raises FileError; `failed` then says which instance's file it was.
    """

    def __init__(self, instances: Sequence[Instance], bodies: Bodies) -> None:
        self._instances = tuple(instances)
        self._readings: tuple[Reading, ...] = tuple(bodies.read(instance) for instance in instances)
        self._boundary = secrets.token_hex(16)
        opening, between, closing = self._delimiters()
        self.length = len(closing) + sum(i.size for i in self._instances)
        if self._instances:
            self.length += len(opening) + len(between) * (len(self._instances) - 1)
        self.failed: int | None = None

    @property
    def content_type(self) -> str:
        """`type` must be quoted: .NET's header parser refuses an unquoted `/` (Azure: 415)."""
        return f'multipart/related; type="application/dicom"; boundary={self._boundary}'

    @property
    def digests(self) -> Digests:
        """SHA-256 from byte 128 on for each instance; None where it was not read to its end."""
        return tuple(reading.sha256 for reading in self._readings)

    def __iter__(self) -> Iterator[bytes]:
        waiting: list[bytes] = []
        size = 0
        for piece in self._pieces():
            waiting.append(piece)
            size += len(piece)
            if size >= PIECE:
                yield b"".join(waiting)
                waiting.clear()
                size = 0
        if waiting:
            yield b"".join(waiting)

    def _pieces(self) -> Iterator[bytes]:
        delimiter, between, closing = self._delimiters()
        for index, (instance, reading) in enumerate(zip(self._instances, self._readings, strict=True)):
            yield delimiter
            delimiter = between
            try:
                yield from _counted(reading, instance.size)
            except FileError:
                self.failed = index
                raise
        yield closing

    def _delimiters(self) -> tuple[bytes, bytes, bytes]:
        """What stands before the first part, between two, and at the end (RFC 2046 5.1.1)."""
        dashes = b"--" + self._boundary.encode("ascii")
        head = dashes + f"\r\nContent-Type: {DICOM}\r\n\r\n".encode("ascii")
        return head, b"\r\n" + head, (b"\r\n" if self._instances else b"") + dashes + b"--\r\n"


class SingleBody:
    """One instance as the whole body. `length` is the Content-Length. Iterating raises FileError; `failed` is 0 then."""

    content_type = DICOM

    def __init__(self, instance: Instance, bodies: Bodies) -> None:
        self._reading = bodies.read(instance)
        self.length = instance.size
        self.failed: int | None = None

    @property
    def digests(self) -> Digests:
        return (self._reading.sha256,)

    def __iter__(self) -> Iterator[bytes]:
        """One piece late: the last goes out when the pass has ended well, so a file that changed is never stored whole (I4)."""
        held = b""
        try:
            for piece in self._reading:
                if held:
                    yield held
                held = piece
        except FileError:
            self.failed = 0
            raise
        yield held


class Upload:
    """What a Store transaction carries: `size` bytes of instances, and for each try a body of its own that has them all (F57).

    `single`: the one instance is the whole body. `last` is the body of the newest try, None before the first.
    """

    def __init__(self, instances: Sequence[Instance], bodies: Bodies, *, single: bool = False) -> None:
        self.instances = tuple(instances)
        self.size = sum(instance.size for instance in instances)
        self.last: StoreBody | SingleBody | None = None
        self._bodies = bodies
        self._single = single

    def fresh(self) -> StoreBody | SingleBody:
        """A new pass over the same files."""
        if self._single:
            self.last = SingleBody(self.instances[0], self._bodies)
        else:
            self.last = StoreBody(self.instances, self._bodies)
        return self.last


def _counted(reading: Reading, declared: int) -> Iterator[bytes]:
    """The bytes of one file, held against the size that Content-Length was computed from."""
    count = 0
    for piece in reading:
        count += len(piece)
        if count > declared:
            raise FileChangedError("the file grew while it was sent: it is looked at again")
        yield piece
    if count < declared:
        raise FileChangedError("the file shrank while it was sent: it is looked at again")
