"""The head of a Part 10 file (PS3.10 7.1), and a deflated data set (PS3.5 A.5) inflated onto the disk, so that bytes without an
end to them are found out before a parser takes them one by one: 4 MB can hold 4 GB.
"""

import tempfile
import zlib
from typing import BinaryIO, Final

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

PREAMBLE_BYTES: Final = 128
"""The service keeps the file but for these bytes, which it sets to zero."""

_MOST_META_ELEMENTS: Final = 1000
_LONG_LENGTHS: Final = frozenset({b"OB", b"OW", b"SQ", b"UN", b"UT"})
_STEP_BYTES: Final = 256 * 1024
_EXPLICIT_HEAD: Final = (
    bytes(PREAMBLE_BYTES)
    + b"DICM\x02\x00\x10\x00UI"
    + (len(ExplicitVRLittleEndian) + 1).to_bytes(2, "little")
    + ExplicitVRLittleEndian.encode()
    + b"\0"
)


def data_set_of(file: BinaryIO) -> tuple[int, bytes]:
    """Where the data set begins, and the transfer syntax that the file meta group names, empty when it names none.

    Raises:
        ValueError: no DICM prefix, no end to the file meta group, or a command group where the data set should begin.
    """
    file.seek(PREAMBLE_BYTES)
    if file.read(4) != b"DICM":
        raise ValueError
    syntax = b""
    for _ in range(_MOST_META_ELEMENTS):
        start = file.tell()
        head = file.read(8)
        if len(head) < 8 or head[:2] != b"\x02\x00":
            if head[:2] == b"\x00\x00":
                raise ValueError
            return start, syntax
        is_long = head[4:6] in _LONG_LENGTHS
        length = int.from_bytes(file.read(4) if is_long else head[6:8], "little")
        if head[2:4] == b"\x10\x00":
            syntax = file.read(min(length, 64)).rstrip(b"\0 ")
        file.seek(start + (12 if is_long else 8) + length)
    raise ValueError


def inflated(file: BinaryIO, *, at_most: int) -> BinaryIO | None:
    """The same instance in explicit VR little endian, in a temporary file, cut where the data set goes past `at_most` bytes.

    None when it is not deflated. `file` is left wherever it is.

    Raises:
        OSError, ValueError, zlib.error: the disk is full, or it is no such file. A stream that ends too early is cut there.
    """
    start, syntax = data_set_of(file)
    if syntax != DeflatedExplicitVRLittleEndian.encode():
        return None
    file.seek(start)
    target = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's to close
    try:
        target.write(_EXPLICIT_HEAD)
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        left = at_most
        while left > 0 and not stream.eof:
            step = stream.unconsumed_tail or file.read(_STEP_BYTES)
            if not step:
                break
            left -= target.write(stream.decompress(step, min(_STEP_BYTES, left)))
        data_set_of(target)
        target.seek(0)
    except (OSError, ValueError, zlib.error):
        target.close()
        raise
    return target
