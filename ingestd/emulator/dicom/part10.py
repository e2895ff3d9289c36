"""A Part 10 file (PS3.10 7.1): its head, its data set but for the pixel data as pydicom sees it, and a deflated one in plain bytes.

A file that ends too early is no failure: Azure's parser stops where the bytes stop and keeps what it has, so this one does, too.
Only a file without the DICM prefix, or one whose bytes contradict themselves, is unreadable. Every way that pydicom has to fail is
mapped here and only here.

A deflated data set (PS3.5 A.5) is inflated onto the disk, so that bytes without an end to them are found out before a parser takes
them one by one: 4 MB can hold 4 GB.

pydicom makes some 700 bytes of an empty item of 8. So its reads are counted, at every depth. It opens a sequence of defined length
only when somebody asks for it, with a reader of its own: those are opened here once for the count, and thrown away.
"""

import contextlib
import io
import struct
import tempfile
import warnings
import zlib
from typing import BinaryIO, Final, cast

from pydicom.charset import default_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial, read_sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian

from ingestd.emulator.dicom.onward import Until, drop_halves, pass_pixels, pixels_follow, read_behind, read_to

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

_DEFER_BYTES: Final = 256 * 1024
"""Values above this many bytes stay on the disk until somebody asks for them."""

_MOST_ELEMENTS: Final = 1 << 17
"""A file with more elements, items and delimiters, at all depths, is unreadable; what is empty counts twice. An enhanced image of
some 2,000 frames has fewer; 200 kB of deflated zeros would be 25 million."""

_MOST_PIXELS: Final = 16
"""Elements of the pixels' group that are passed over; there are six, and what follows more of them is not read."""

DEEPEST: Final = 32
"""Sequences nested deeper are never opened, as nothing real nests so."""

_MOST_INFLATED_BYTES: Final = 64 * 1024 * 1024
"""A deflated data set is cut after these."""

_DELIMITERS: Final = frozenset({b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0", b"\xff\xfe\xe0\x0d", b"\xff\xfe\xe0\xdd"})

PIXEL_DATA: Final = 0x7FE00010
_PIXEL_GROUP: Final = 0x7FE00000

PYDICOM_RAISES: Final = (
    # On bytes it has no reason to trust pydicom raises nearly anything: its own errors are ValueError and EOFError, lengths and
    # VRs that make no sense end in struct.error, KeyError, TypeError, AttributeError or NotImplementedError, a bad deflate
    # stream in zlib.error, sequences nested a thousand deep in RecursionError, a length of 4 GiB in MemoryError.
    ArithmeticError,
    AssertionError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


class UnreadableError(Exception):
    """The file is not DICOM, or not in a way anybody can read."""


def read_instance(path: str) -> FileDataset:
    """The data set but for its pixel data; of a truncated file what stands before the cut.

    Raises:
        UnreadableError: no DICM prefix (PS3.10 7.1), or the bytes contradict themselves.
    """
    _hush_pydicom()
    try:
        with open(path, "rb") as file, contextlib.ExitStack() as stack:
            plain = inflated(file, at_most=_MOST_INFLATED_BYTES)
            if plain is None:
                return _read(file, _DEFER_BYTES)
            dataset = _read(stack.enter_context(plain), None)
            dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
            return dataset
    except PYDICOM_RAISES as error:
        raise UnreadableError from error


def read_to_pixel_data(file: BinaryIO) -> FileDataset:
    """The data set before PixelData (7FE0,0010), and the file left at the first byte of that, if there is one.

    Raises:
        UnreadableError: as for read_instance.
    """
    _hush_pydicom()
    try:
        return _Counted(file).data_set(Until(PIXEL_DATA), _DEFER_BYTES)
    except PYDICOM_RAISES as error:
        raise UnreadableError from error


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


class _Counted:
    """A file as pydicom reads it, which asks for 8 bytes at each element, item and delimiter: too often, and it fails."""

    def __init__(self, file: BinaryIO, left: int = _MOST_ELEMENTS) -> None:
        self.left = left
        self.seek = file.seek
        self.tell = file.tell
        self._file = file

    def read(self, size: int = -1) -> bytes:
        found = self._file.read(size)
        if size == 8:
            # An empty item, whatever its tag, takes twice the memory of an element and nothing else is read for it.
            self.left -= 2 if found.endswith(bytes(4)) and found[:4] not in _DELIMITERS else 1
        if self.left < 0:
            raise ValueError
        return found

    def data_set(self, until: Until, defer_bytes: int | None) -> FileDataset:
        until.big_endian = data_set_of(self._file)[1] == ExplicitVRBigEndian.encode()
        self.seek(0)
        dataset = read_partial(cast("BinaryIO", self), until, defer_size=defer_bytes)
        read_to(cast("BinaryIO", self), dataset, until, defer_bytes)
        drop_halves(dataset)
        # Deferred values are fetched from the file by its name, not through this.
        dataset.buffer, dataset.filename, dataset.fileobj_type = None, self._file.name, open
        return dataset

    def items(self, raw: RawDataElement, length: int) -> list[Dataset]:
        """The items of a sequence that begins here, of those bytes; none if it cannot be read.

        Raises:
            ValueError: the file has too many elements.
        """
        args = (raw.is_implicit_VR, raw.is_little_endian, length, default_encoding)
        try:
            return list(read_sequence(cast("BinaryIO", self), *args))
        except PYDICOM_RAISES:
            if self.left < 0:  # pydicom makes an OSError of nearly everything
                raise ValueError from None
            return []


def _read(file: BinaryIO, defer_bytes: int | None) -> FileDataset:
    until = Until(_PIXEL_GROUP)
    counted = _Counted(file)
    dataset: FileDataset | None = None
    try:
        dataset = counted.data_set(until, defer_bytes)
    except PYDICOM_RAISES:
        if until.last is None or counted.left < 0 or file.read(1):
            raise
    if dataset is None or (not len(dataset) and until.last is not None):
        # The file ends inside a sequence, and pydicom threw all away, with or without an error: once more, up to there.
        counted = _Counted(file)
        dataset = counted.data_set(Until(until.last or 0), defer_bytes)
    if pixels_follow(until):
        _read_behind(file, counted, dataset, defer_bytes)
    _count_unopened(file, dataset, counted.left)
    return dataset


def _read_behind(file: BinaryIO, counted: _Counted, dataset: FileDataset, defer_bytes: int | None) -> None:
    """What stands behind the pixel data; as far as it can be read, like all that a file ends in."""
    for _ in range(_MOST_PIXELS):
        if not pass_pixels(file, dataset):
            return
        try:
            if not read_behind(cast("BinaryIO", counted), dataset, defer_bytes):
                return
        except PYDICOM_RAISES:
            if counted.left < 0:
                raise
            return


def _count_unopened(file: BinaryIO, dataset: Dataset, left: int) -> None:
    """Raises ValueError when the sequences of defined length have more than `left` elements."""
    unopened: list[tuple[Dataset, int]] = [(dataset, 0)]
    while unopened:
        opened, depth = unopened.pop()
        for element in opened.values():
            items: list[Dataset] = []
            if not isinstance(element, RawDataElement):
                items = list(element.value) if element.VR == "SQ" else []
            elif element.length and _is_sequence(element):
                inside = _Counted(file if element.value is None else io.BytesIO(element.value), left)
                if element.value is None:  # deferred
                    inside.seek(element.value_tell)
                items = inside.items(element, element.length)
                left = inside.left
            if depth <= DEEPEST:
                unopened += [(item, depth + 1) for item in items]


def _is_sequence(raw: RawDataElement) -> bool:
    try:
        return (raw.VR or dictionary_VR(raw.tag)) == "SQ"
    except KeyError:
        return False


def _hush_pydicom() -> None:
    # pydicom's warnings quote values, which can be a patient's. Said anew for each file, since whoever swaps the filters of the
    # process (pytest does for each test) would take this one with them; saying it twice changes nothing.
    warnings.filterwarnings("ignore", module="pydicom")
