"""A Part 10 file as pydicom sees it, up to its pixel data, with every way pydicom has to fail mapped here and only here.

A file that ends too early is no failure: Azure's parser stops where the bytes stop and keeps what it has, so this one does,
too. Only a file without the DICM prefix, or one whose bytes contradict themselves, is unreadable.
"""

import contextlib
import os
import struct
import warnings
import zlib
from typing import BinaryIO, Final

from pydicom.dataset import FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ingestd.emulator.part10 import inflated

DEFER_BYTES: Final = 256 * 1024
"""Values above this many bytes stay on the disk until somebody asks for them."""

MOST_ELEMENTS: Final = 65536
"""A file with more at its top level is unreadable; 200 kB of deflated zeros would be 25 million."""

MOST_INFLATED_BYTES: Final = 64 * 1024 * 1024
"""A deflated data set is cut after these."""

PIXEL_DATA: Final = 0x7FE00010

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
    """The data set before its pixel data; of a truncated file what stands before the cut.

    Raises:
        UnreadableError: no DICM prefix (PS3.10 7.1), or the bytes contradict themselves.
    """
    _hush_pydicom()
    try:
        with open(path, "rb") as file, contextlib.ExitStack() as stack:
            plain = inflated(file, at_most=MOST_INFLATED_BYTES)
            if plain is None:
                file.seek(0)
                return _read(file, DEFER_BYTES)
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
    count = 0

    def at_pixel_data(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        nonlocal count
        count += 1
        if count > MOST_ELEMENTS:
            raise ValueError
        return int(tag) >= PIXEL_DATA

    try:
        file.seek(0)
        return read_partial(file, at_pixel_data, defer_size=DEFER_BYTES)
    except PYDICOM_RAISES as error:
        raise UnreadableError from error


def _read(file: BinaryIO, defer_bytes: int | None) -> FileDataset:
    last: BaseTag | None = None
    count = 0

    def at_pixel_data(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        nonlocal last, count
        last = tag
        count += 1
        if count > MOST_ELEMENTS:
            raise ValueError
        return tag.group >= 0x7FE0

    try:
        dataset = read_partial(file, at_pixel_data, defer_size=defer_bytes)
        if len(dataset) or last is None:
            return dataset
    except PYDICOM_RAISES:
        if last is None or file.read(1):
            raise
    # The file ends inside a sequence, and pydicom threw all away, with or without an error: once more, up to there.
    cut = last
    file.seek(0, os.SEEK_SET)
    return read_partial(file, lambda tag, _vr, _length: tag >= cut, defer_size=defer_bytes)


def _hush_pydicom() -> None:
    # pydicom's warnings quote values, which can be a patient's. Said anew for each file, since whoever swaps the filters of the
    # process (pytest does for each test) would take this one with them; saying it twice changes nothing.
    warnings.filterwarnings("ignore", module="pydicom")
