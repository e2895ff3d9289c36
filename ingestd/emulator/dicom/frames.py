"""Where the frames of an instance lie in its file (PS3.5 8.1.1, A.4; PS3.3 C.7.6.3.1.8), found without reading a pixel.

Native frames follow one another. Encapsulated ones are the fragments between two entries of the extended or basic offset table;
without a table all fragments are the one frame there is, or each is a frame.
"""

import bisect
import contextlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from ingestd.emulator.dicom.part10 import PIXEL_DATA, PYDICOM_RAISES, UnreadableError, inflated, read_to_pixel_data

_EXTENDED_OFFSETS: Final = 0x7FE00001
_EXTENDED_LENGTHS: Final = 0x7FE00002

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_DELIMITATION: Final = 0xFFFEE0DD
_MOST_FRAGMENTS: Final = 2**20
_MOST_TABLE_BYTES: Final = 2**23
_MOST_INFLATED_BYTES: Final = 2**31


class NoSuchFrameError(Exception):
    """There is no such frame, or not all of it."""


class InseparableError(Exception):
    """There are frames, but nothing tells one from the next at a byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A run of bytes of the file."""

    offset: int
    length: int


class Frames:
    """The frames of one file, which stays open until `close`."""

    def __init__(self, path: str, transfer_syntax: str) -> None:
        """Raises OSError, or NoSuchFrameError when the file holds no frame at all."""
        with contextlib.ExitStack() as undo:
            self._file = _open(path, transfer_syntax, undo)
            try:
                self._dataset = read_to_pixel_data(self._file)
                self._size = os.fstat(self._file.fileno()).st_size
                self._start, self._length = _pixel_data(self._file, transfer_syntax)
                self._count = _number(self._dataset, "NumberOfFrames", 1)
            except (UnreadableError, struct.error) as error:
                raise NoSuchFrameError from error
            undo.pop_all()

    def close(self) -> None:
        """Ends it."""
        self._file.close()

    def spans(self, numbers: Sequence[int]) -> list[list[Span]]:
        """The bytes of each of these frames, the first of the file being 1.

        Raises:
            NoSuchFrameError: one of them is not there, or not all of it.
            InseparableError: there is no telling where one begins.
        """
        if any(number > self._count for number in numbers):
            raise NoSuchFrameError
        if self._length == _UNDEFINED:
            chosen = _encapsulated(self._file, self._dataset, self._count, numbers)
        else:
            chosen = _native(self._dataset, Span(offset=self._start, length=self._length), numbers)
        if not all(frame and frame[-1].offset + frame[-1].length <= self._size for frame in chosen):
            raise NoSuchFrameError
        return chosen

    def read(self, spans: Sequence[Span], step: int) -> Iterator[bytes]:
        """The bytes of these, in steps of at most so many."""
        for span in spans:
            for start in range(span.offset, span.offset + span.length, step):
                yield os.pread(self._file.fileno(), min(step, span.offset + span.length - start), start)


def _open(path: str, transfer_syntax: str, undo: contextlib.ExitStack) -> BinaryIO:
    file: BinaryIO = open(path, "rb")  # noqa: SIM115 - the caller's to close, or closed below
    if transfer_syntax != DeflatedExplicitVRLittleEndian:
        return undo.enter_context(file)
    with file:
        try:
            plain = inflated(file, at_most=_MOST_INFLATED_BYTES)
        except (ValueError, zlib.error) as error:
            raise NoSuchFrameError from error
    if plain is None:
        raise NoSuchFrameError
    return undo.enter_context(plain)


def _pixel_data(file: BinaryIO, transfer_syntax: str) -> tuple[int, int]:
    """Offset and length of the value that the file stands before."""
    order = ">" if transfer_syntax == ExplicitVRBigEndian else "<"
    head = file.read(8)
    group, element = struct.unpack(f"{order}HH", head[:4])
    if group << 16 | element != PIXEL_DATA:
        raise NoSuchFrameError
    last = head[4:] if transfer_syntax == ImplicitVRLittleEndian else file.read(4)
    (length,) = struct.unpack(f"{order}L", last)
    return file.tell(), length


def _native(dataset: Dataset, value: Span, numbers: Sequence[int]) -> list[list[Span]]:
    bits = (
        _number(dataset, "Rows")
        * _number(dataset, "Columns")
        * _number(dataset, "SamplesPerPixel", 1)
        * _number(dataset, "BitsAllocated")
    )
    if _text(dataset, "PhotometricInterpretation") == "YBR_FULL_422":
        bits = bits * 2 // 3
    if bits == 0 or bits * max(numbers) > value.length * 8:
        raise NoSuchFrameError
    if bits % 8 and max(numbers) > 1:
        raise InseparableError
    length = (bits + 7) // 8
    return [[Span(offset=value.offset + (number - 1) * length, length=length)] for number in numbers]


def _encapsulated(file: BinaryIO, dataset: Dataset, count: int, numbers: Sequence[int]) -> list[list[Span]]:
    table, fragments = _fragments(file)
    frames = _frames(dataset, count, table, fragments)
    return [frames[number - 1] if number <= len(frames) else [] for number in numbers]


def _frames(dataset: Dataset, count: int, table: list[int], fragments: list[Span]) -> list[list[Span]]:
    if not fragments:
        return []
    first = fragments[0].offset
    extended = _table(dataset, _EXTENDED_OFFSETS)
    if extended:
        frames = _between(fragments, [start + first for start in extended])
        lengths = _table(dataset, _EXTENDED_LENGTHS)
        if len(lengths) == len(frames):
            return [_cut(frame, length) for frame, length in zip(frames, lengths, strict=True)]
        return frames
    if count == 1:
        return [fragments]
    if table:
        return _between(fragments, [start + first for start in table])
    if len(fragments) == count:
        return [[fragment] for fragment in fragments]
    raise InseparableError


def _fragments(file: BinaryIO) -> tuple[list[int], list[Span]]:
    """The basic offset table and the fragments after it, up to the delimiter or the end of the file."""
    table: list[int] | None = None
    found: list[Span] = []
    while len(head := file.read(8)) == 8 and len(found) < _MOST_FRAGMENTS:
        group, element, length = struct.unpack("<HHL", head)
        tag = group << 16 | element
        if tag == _DELIMITATION:
            break
        if tag != _ITEM or length == _UNDEFINED:
            raise NoSuchFrameError
        start = file.tell()
        if table is None:
            raw = file.read(min(length, _MOST_TABLE_BYTES))
            table = list(struct.unpack(f"<{len(raw) // 4}L", raw[: len(raw) // 4 * 4]))
        else:
            found.append(Span(offset=start, length=length))
        file.seek(start + length)
    return table or [], found


def _between(fragments: list[Span], starts: list[int]) -> list[list[Span]]:
    """The fragments from each start up to the next; an entry that no fragment begins at makes an empty frame."""
    offsets = [fragment.offset for fragment in fragments]
    frames = []
    for start, end in zip(starts, [*starts[1:], offsets[-1] + 1], strict=True):
        low, high = bisect.bisect_left(offsets, start), bisect.bisect_left(offsets, end)
        frames.append(fragments[low:high] if low < high and offsets[low] == start else [])
    return frames


def _cut(frame: list[Span], length: int) -> list[Span]:
    # A fragment is of even length; its table knows how much of it is the frame.
    if len(frame) == 1 and frame[0].length - 1 <= length <= frame[0].length:
        return [Span(offset=frame[0].offset, length=length)]
    return frame


def _table(dataset: Dataset, tag: int) -> list[int]:
    try:
        raw = dataset[tag].value
        return list(struct.unpack(f"<{len(raw) // 8}Q", raw))
    except PYDICOM_RAISES:
        return []


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        return str(dataset[keyword].value)
    except PYDICOM_RAISES:
        return ""


def _number(dataset: Dataset, keyword: str, absent: int = 0) -> int:
    try:
        return max(0, int(dataset[keyword].value)) if keyword in dataset else absent
    except PYDICOM_RAISES:
        return 0
