"""The elements of a file that can be compared with a service's metadata, read by pydicom.

Only files that the walk found whole come here, seldom, and one at a time: pydicom's warnings hold values of the data
set (I7), and the only way to silence them is process-wide. Values of more than 64 KiB, sequences, bulk data and private
elements are left out, as are group lengths and SpecificCharacterSet (a service answers in UTF-8, PS3.18 F.2), which say
how the file is written and not what it says. pydicom guesses that bytes which nothing declares are Latin letters: here they are
marked as what they are.

pydicom makes an object of each element and each item before the pixel data, inflates a deflated data set whole, and knows no
bounds. So it is given no more than so many bytes and reads; the elements that were whole by then are compared (F32, I8).
"""

from __future__ import annotations

import io
import os
import re
import struct
import sys
import threading
import warnings
import zlib
from typing import BinaryIO, Final, cast

from pydicom import config
from pydicom.charset import python_encoding
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from ingestd.core.answers.elements import UNDECLARED, normalise
from ingestd.part10.file_meta import read_file_meta
from ingestd.part10.views import FileSource, NotWholeError, PlainView

_LARGEST = 64 << 10
_PIXELS: Final = 0x7FE00008  # and what follows (PS3.6: Float, Double Float, Pixel Data)
_MOST_BYTES: Final = 16 << 20
_MOST_READS: Final = 100_000  # two or three for each element
_LEFT_OUT = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "OB or OW", "UN"})
_CHARACTER_SET = 0x00080005
_OF_THE_SET = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_UPPER_HALF = python_encoding.keys() - {"", "ISO_IR 6", "ISO 2022 IR 6"}  # terms that declare what bytes above 127 are
_LATIN = re.compile(r"[\x80-\xff]")
_UNREADABLE = (  # pydicom documents none of what it raises on odd input
    InvalidDicomError,
    NotWholeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    NotImplementedError,
    EOFError,
    RecursionError,
    struct.error,
    zlib.error,
)
_ONE_AT_A_TIME = threading.Lock()


def comparable_elements(handle: int) -> dict[str, tuple[str, ...]]:
    """Normalised values by 8-hex-digit tag; empty if pydicom can't read the file. The handle stays its owner's. Raises OSError."""
    with _ONE_AT_A_TIME, warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        try:
            dataset = _read(handle)
        except _UNREADABLE:
            return {}
        found: dict[str, tuple[str, ...]] = {}
        declares = _declares(dataset)
        for tag in tuple(dataset.keys()):
            if not tag.is_private and tag.element != 0 and tag != _CHARACTER_SET:
                try:
                    values = _values(dataset, tag, declares=declares)
                except _UNREADABLE:
                    continue
                if values is not None:
                    found[f"{tag:08X}"] = values
        return found


def _read(handle: int) -> Dataset:
    """What stands before the pixel data, or before the element in which the bounds were met."""
    count, most = 0, sys.maxsize

    def stops(tag: int, _vr: str | None, _length: int) -> bool:
        nonlocal count
        count += 1
        return tag >= _PIXELS or count >= most

    with _plain(handle) as file:
        try:
            return read_partial(cast("BinaryIO", _Bounded(file)), stops, _LARGEST)
        except _SpentError:
            pass
        except OSError as error:  # pydicom's, for whatever goes wrong within a sequence
            if error.errno is not None:
                raise
        count, most = 0, count
        file.seek(0)
        return read_partial(cast("BinaryIO", _Bounded(file)), stops, _LARGEST)


def _plain(handle: int) -> BinaryIO:
    """The file; where its data set is deflated, the beginning of it inflated. Raises NotWholeError."""
    file = os.fdopen(os.dup(handle), "rb")
    file.seek(0)
    meta = read_file_meta(PlainView(FileSource(handle), os.fstat(handle).st_size))
    syntax = meta.transfer_syntax_uid
    if syntax != DeflatedExplicitVRLittleEndian:
        return file
    with file:
        plain = ExplicitVRLittleEndian.encode().ljust(len(syntax), b"\0")
        head = file.read(meta.end).replace(syntax.encode(), plain)
        inflate, data = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
        while len(data) < _MOST_BYTES and not inflate.eof and (piece := file.read(_LARGEST)):
            data += inflate.decompress(piece, _MOST_BYTES - len(data))
    return io.BytesIO(head + data)


class _SpentError(Exception):
    """Enough was read, or the data end; pydicom would take the half of a value for a value."""


class _Bounded:
    """A file as pydicom reads one, that raises _SpentError once all of it would cost too much."""

    name = ""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._bytes = _MOST_BYTES
        self._reads = _MOST_READS
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        self._reads -= 1
        self._bytes -= size
        if self._reads < 0 or self._bytes < 0:
            raise _SpentError
        data = self._file.read(size)
        if len(data) < size:
            raise _SpentError
        return data


def _declares(dataset: Dataset) -> bool:
    """Whether the file's first character set has an upper half; texts begin in it."""
    try:
        terms = dataset[_CHARACTER_SET].value if _CHARACTER_SET in dataset else ""
    except _UNREADABLE:
        return False
    return (terms if isinstance(terms, str) else next(iter(terms or ()), "")) in _UPPER_HALF


def _values(dataset: Dataset, tag: BaseTag, *, declares: bool) -> tuple[str, ...] | None:
    raw: object = dataset.get_item(tag, keep_deferred=True)
    if isinstance(raw, RawDataElement) and raw.value is None and raw.length:
        return None
    element = dataset[tag]
    if element.VR in _LEFT_OUT:
        return None
    values = normalise(element.VR, element.value if element.VM > 1 else (element.value,) if element.VM else ())
    if declares and element.VR in _OF_THE_SET:
        return values
    return tuple(_LATIN.sub(UNDECLARED, value) for value in values)
