"""What a data set that was walked to its end says of its pixels: whether they are missing, and whether they are too few."""

from __future__ import annotations

from typing import Final, Literal

from ingestd.part10 import tags
from ingestd.part10.elements import Walk

_STANDARD: Final = "1.2.840.10008."
_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
_PADDING: Final = b"\0 "

# The classes whose every instance is an image (PS3.3 A.1.4: Image Pixel is mandatory, and Pixel Data in it but for a Pixel Data
# Provider URL); a test holds them against PS3.6 table A-1, as pydicom has it. A cut before group 0028 leaves nothing else that
# tells them from an object that needs no pixels.
# fmt: off
_IMAGE_CLASSES: Final = frozenset(_STORAGE + end for end in (
    "1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1",  # radiography
    "2", "2.1", "2.2", "4", "4.1", "4.3", "4.4",  # CT, MR
    "3", "3.1", "5", "6", "6.1", "6.2", "6.3", "20", "128", "128.1", "130",  # ultrasound, nuclear medicine, PET
    "7", "7.1", "7.2", "7.3", "7.4",  # secondary capture
    "12.1", "12.1.1", "12.2", "12.2.1", "12.3", "13.1.1", "13.1.2", "13.1.3", "13.1.4", "13.1.5",  # angiography, 3D X-ray
    "14.1", "14.2", "30", "66.4", "66.7",  # intravascular, parametric maps, segmentations
    "77.1.1", "77.1.1.1", "77.1.2", "77.1.2.1", "77.1.3", "77.1.4", "77.1.4.1", "77.1.6", "77.1.7", "77.1.8", "77.1.9",
    "77.1.5.1", "77.1.5.2", "77.1.5.4", "77.1.5.5", "77.1.5.6", "77.1.5.7", "77.1.5.8", "81.1", "82.1",  # ophthalmic
    "481.1", "481.23", "481.24",  # RT images
))
# fmt: on

# Those that are images where they declare rows: RT Dose, MR Spectroscopy (PS3.3 A.18, A.36.3); and images that PS3.3 has no longer
# or never had: VL of the trial, DICOS and DICONDE, hardcopy.
_IMAGES_WITH_ROWS: Final = frozenset(
    (
        *(_STORAGE + end for end in ("481.2", "4.2", "77.1", "77.2", "501.1", "501.2.1", "501.2.2", "601.1", "601.2")),
        *("1.2.840.10008.5.1.1.29", "1.2.840.10008.5.1.1.30"),
    )
)
_PRIVATE_BEHIND: Final = range(0x7FE1, 0xFFFE, 2)  # groups
_FEWER_COLOURS: Final = (b"YBR_FULL_422", b"YBR_PARTIAL_42")  # colour samples than pixels

_BITS_OF_A_FRAME: Final = (tags.ROWS, tags.COLUMNS, tags.SAMPLES_PER_PIXEL, tags.BITS_ALLOCATED)
_IMAGE_PIXEL: Final = (tags.ROWS, tags.COLUMNS, tags.SAMPLES_PER_PIXEL, tags.PHOTOMETRIC_INTERPRETATION)
_WHOLE_MODULE: Final = (*_IMAGE_PIXEL, tags.BITS_ALLOCATED)


NO_PIXELS: Final = "the file is that of an image, and has neither pixel data (7fe0,0010) nor private bulk data instead"


def lacks_pixel_data(elements: Walk, sop_class: str) -> bool:
    """Whether it is an image of the standard whose pixels are not in the file, though nothing says that they are elsewhere.

    What stands in for Pixel Data (PS3.3 C.7.6.3): float pixel data, spectroscopy data, a Pixel Data Provider URL, which the JPIP
    transfer syntaxes require; Elscint's private element; private elements behind group 7FE0, which the elements' order proves was
    reached. An icon does where the image itself declares nothing: where it does, a cut behind the icon looks the same.

    A class of a maker's own is an image where it declares all of the Image Pixel module: a cut before the pixels leaves just that,
    while rows and columns alone are what makers keep beside an image.
    """
    always, values = sop_class in _IMAGE_CLASSES, elements.values
    declared = not sop_class.startswith(_STANDARD) and all(tag in values for tag in _WHOLE_MODULE)
    if not (always or declared or sop_class in _IMAGES_WITH_ROWS) or _keeps_pixels(elements):
        return False
    if not any(tag in values for tag in _IMAGE_PIXEL):
        return always and not _has(elements, tags.ICON_IMAGE_SEQUENCE)
    declares_none = any(tag in values and not any(values[tag][:2]) for tag in (tags.ROWS, tags.COLUMNS))
    return elements.zero_tail or not declares_none


def _keeps_pixels(elements: Walk) -> bool:
    """Whether there are pixel data, or private ones."""
    if not tags.PIXELS.isdisjoint(elements.lengths):
        return True
    if tags.CREATOR_BEHIND in elements.values or elements.last_tag >> 16 in _PRIVATE_BEHIND:
        return True
    return tags.ELSCINT_CREATOR in elements.values and _has(elements, tags.ELSCINT_PIXEL_DATA)


def _has(elements: Walk, tag: int) -> bool:
    """Whether bulk data is there, and not empty."""
    return elements.lengths.get(tag, 0) != 0


def too_short(elements: Walk) -> bool:
    """Whether native pixel data is shorter than what rows, columns, samples, bits and frames ask for."""
    values = elements.values
    lengths = elements.lengths
    length = lengths.get(tags.PIXEL_DATA, lengths.get(tags.FLOAT_PIXEL_DATA, lengths.get(tags.DOUBLE_PIXEL_DATA)))
    if length is None or values.get(tags.PHOTOMETRIC_INTERPRETATION, b"").startswith(_FEWER_COLOURS):
        return False
    frames = values.get(tags.NUMBER_OF_FRAMES, b"").strip(_PADDING)
    asked = int(frames) if frames.isdigit() and len(frames) <= 10 else 1
    order: Literal["big", "little"] = "big" if elements.encoding.big_endian else "little"
    for tag in _BITS_OF_A_FRAME:
        asked *= int.from_bytes(values.get(tag, b"")[:2], order)  # an unsigned short (VR US), 0 where it is absent
    return length * 8 < asked


def cut_before_zeros(elements: Walk, *, native: bool) -> bool:
    """Whether a length of pixel data before a zero tail is suspect: some of its own bytes may be zeros that were never written."""
    length = elements.lengths.get(tags.PIXEL_DATA)
    return length is not None and (length == 0 or not native or too_short(elements))
