"""Instances whose bytes are in memory: ports.Bodies for tests of everything but the disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from ingestd.core.errors import FileChangedError, FileError
from ingestd.core.model import Identifiers, Instance, Stamp
from ingestd.core.ports import Reading

PIECE = 256 * 1024
_CT = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"


class FakeBodies:
    """Give it contents by `add`; what `failures` holds for a path is raised instead of its last piece."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.failures: dict[str, FileError] = {}
        self.passes = 0

    def add(
        self, content: bytes, *, sop_instance_uid: str = "", study_uid: str = "1.2.3", series_uid: str = "1.2.3.4"
    ) -> Instance:
        """An instance of this content; without a UID it gets one of its own."""
        number = len(self.contents) + 1
        path = f"{number}.dcm"
        self.contents[path] = content
        return Instance(
            path=path,
            stamp=Stamp(device=1, inode=number, size=len(content), mtime_ns=1, ctime_ns=1),
            ids=Identifiers(
                study_uid=study_uid,
                series_uid=series_uid,
                sop_instance_uid=sop_instance_uid or f"1.2.3.4.{number}",
                sop_class_uid=_CT,
                transfer_syntax_uid=_EXPLICIT_LITTLE_ENDIAN,
            ),
            first_seen=0.0,
        )

    def read(self, instance: Instance) -> Reading:
        self.passes += 1
        return _Reading(self.contents.get(instance.path, b""), instance.stamp.size, self.failures.get(instance.path))


class _Reading:
    """One pass: whoever begins it twice would send a body that is used up (F57)."""

    def __init__(self, content: bytes, declared: int, failure: FileError | None) -> None:
        self._content = content
        self._declared = declared
        self._failure = failure
        self._sha256: str | None = None
        self._begun = False

    def __iter__(self) -> Iterator[bytes]:
        assert not self._begun, "a pass that has begun is no fresh one"
        self._begun = True
        for offset in range(0, len(self._content), PIECE):
            if self._failure is not None and offset + PIECE >= len(self._content):
                raise self._failure
            yield self._content[offset : offset + PIECE]
        if self._failure is not None or len(self._content) != self._declared:
            raise self._failure or FileChangedError("the file is no longer what was judged")
        self._sha256 = digest(self._content)

    @property
    def sha256(self) -> str | None:
        return self._sha256


def digest(content: bytes) -> str:
    """As receipts have it: of the data set."""
    return hashlib.sha256(data_set(content)).hexdigest()


def data_set(content: bytes) -> bytes:
    """What stands behind the file meta information, by its group length (PS3.10 7.1); all of what has no header."""
    if content[128:138] != b"DICM\2\0\0\0UL":
        return content
    return content[144 + int.from_bytes(content[140:144], "little") :]


def parts(content_type: str, body: bytes) -> Sequence[bytes]:
    """What a server finds in a multipart body, by the letter of RFC 2046 5.1.1; AssertionError where it is not well formed."""
    boundary = content_type.partition("boundary=")[2].encode("ascii")
    assert boundary
    delimiter = b"\r\n--" + boundary
    head, *rest = (b"\r\n" + body).split(delimiter)
    assert head == b""
    assert rest.pop() == b"--\r\n"
    found = []
    for part in rest:
        header, separator, content = part.partition(b"\r\n\r\n")
        assert (header, separator) == (b"\r\nContent-Type: application/dicom", b"\r\n\r\n")
        found.append(content)
    return found
