"""Is this a whole DICOM file, and which instance is it? (PS3.10 7.1)

Neither Azure nor pydicom notices a truncated file, so this walk is the only guard there is. It reads headers to the very end of the
file and steps over values; `elements` says how. What it can't see, because nothing in the file shows it: a cut that falls exactly
between two top-level elements, behind the Series Instance UID, of an object without pixel data, or of an image before its first
Image Pixel element (0028,0002).

A file that isn't whole gets the verdict that is true of it. TRUNCATED: it ends before what it declares does. NOT_DICOM: no
`DICM`, no file meta information with a Transfer Syntax UID, or a place where an element is due and none begins.
"""

from __future__ import annotations

import re
from typing import Final

from ingestd.core.model import Identifiers, Inspection, Wholeness
from ingestd.spool import encoding as tags
from ingestd.spool.elements import Elements, Walk
from ingestd.spool.encoding import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from ingestd.spool.file_meta import FileMeta, read_file_meta
from ingestd.spool.sources import InflatedView, NotWholeError, PlainView, Source

_STANDARD: Final = "1.2.840.10008."
_MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"
_RAW_DATA: Final = "1.2.840.10008.5.1.4.1.1.66"  # holds what its maker likes (PS3.3 A.37)
_IMPLICIT: Final = frozenset(("1.2.840.10008.1.2", "1.2.840.113619.5.2"))  # the second is GE's, with swapped pixels
_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
_JPIP_DEFLATED: Final = frozenset(("1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"))
_JPIP: Final = _JPIP_DEFLATED | {"1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.204"}
_DEFLATED: Final = _JPIP_DEFLATED | {"1.2.840.10008.1.2.1.99"}
_NATIVE: Final = _IMPLICIT | {"1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", _BIG_ENDIAN}

# Digits and dots, one digit at least: `.` and `..` mean something else in a URL. PS3.5 9.1 is stricter; services judge that.
_UID: Final = re.compile(rb"(?=\.*[0-9])[0-9.]{1,64}")

_PADDING: Final = b"\0 "
_IMAGE_PIXEL: Final = (tags.ROWS, tags.COLUMNS, tags.SAMPLES_PER_PIXEL, tags.PHOTOMETRIC_INTERPRETATION)
_PIXELS: Final = (tags.PIXEL_DATA, tags.FLOAT_PIXEL_DATA, tags.DOUBLE_PIXEL_DATA)


def walk(source: Source, size: int) -> Inspection:
    """Judge the `size` bytes of the source. Raises FileBusyError where they can't be read, and nothing else whatever they are."""
    view = PlainView(source, size)
    try:
        meta = read_file_meta(view)
    except NotWholeError as verdict:
        return Inspection(wholeness=verdict.wholeness, text=verdict.text)
    if _uid(meta.sop_class_uid) == _MEDIA_STORAGE_DIRECTORY:
        return Inspection(wholeness=Wholeness.DICOMDIR, text="a DICOMDIR lists instances and is none")
    syntax = _uid(meta.transfer_syntax_uid)
    if syntax is None:
        text = "the file meta information has no readable Transfer Syntax UID"
        return Inspection(wholeness=Wholeness.NOT_DICOM, text=text, notes=meta.notes)
    return _walk_data_set(view, size, meta, syntax)


def _walk_data_set(view: PlainView, size: int, meta: FileMeta, syntax: str) -> Inspection:
    inflated = InflatedView(view, meta.end, size) if syntax in _DEFLATED else None
    if inflated:
        steps = Walk(inflated, 0, EXPLICIT_LITTLE)
    elif syntax in _IMPLICIT:
        steps = Walk(view, meta.end, IMPLICIT_LITTLE)
    else:
        steps = Walk(view, meta.end, EXPLICIT_BIG if syntax == _BIG_ENDIAN else EXPLICIT_LITTLE)
    try:
        steps.run()
        zeros = inflated.has_zero_tail() if inflated else False
    except NotWholeError as verdict:
        elements = steps.found()
        ids, _ = _identify(syntax, elements)
        notes = meta.notes + elements.notes
        return Inspection(wholeness=verdict.wholeness, text=verdict.text, ids=ids, notes=notes)
    elements = steps.found()
    return _judge(meta, syntax, elements, zero_tail=zeros or elements.zero_tail)


def _judge(meta: FileMeta, syntax: str, elements: Elements, *, zero_tail: bool) -> Inspection:
    """The verdict on a data set whose last element ends where the file does, or before zeros."""
    ids, missing = _identify(syntax, elements)
    notes = meta.notes + elements.notes
    if ids is None:
        wholeness, text = Wholeness.NO_UID, f"the data set has no readable {missing}"
        if zero_tail:
            wholeness, text = Wholeness.TRUNCATED, f"only zeros follow before a readable {missing} came"
    elif _lacks_pixel_data(ids, elements):
        wholeness = Wholeness.NO_PIXEL_DATA
        text = "the data set describes an image (group 0028) and has no pixel data (7fe0,0010)"
    elif zero_tail and _is_cut_short(syntax, elements):
        wholeness, text = Wholeness.TRUNCATED, "only zeros follow pixel data that is too short"
    else:
        wholeness, text = Wholeness.WHOLE, ""
        if zero_tail:
            wholeness, text = Wholeness.WHOLE_ZERO_TAIL, "zeros follow the last element"
        notes += _remarks(meta, syntax, elements)
    return Inspection(wholeness=wholeness, text=text, ids=ids, notes=notes)


def _uid(value: bytes | None) -> str | None:
    stripped = value.rstrip(_PADDING) if value else b""
    return stripped.decode("ascii") if _UID.fullmatch(stripped) else None


def _identify(syntax: str, elements: Elements) -> tuple[Identifiers | None, str]:
    """The identifiers, or the name of one that is missing."""
    values = elements.values
    study, series = _uid(values.get(tags.STUDY_UID)), _uid(values.get(tags.SERIES_UID))
    instance, sop_class = _uid(values.get(tags.SOP_INSTANCE_UID)), _uid(values.get(tags.SOP_CLASS_UID))
    if study is None:
        return None, "Study Instance UID"
    if series is None:
        return None, "Series Instance UID"
    if instance is None:
        return None, "SOP Instance UID"
    if sop_class is None:
        return None, "SOP Class UID"
    ids = Identifiers(
        study_uid=study,
        series_uid=series,
        sop_instance_uid=instance,
        sop_class_uid=sop_class,
        transfer_syntax_uid=syntax,
    )
    return ids, ""


def _lacks_pixel_data(ids: Identifiers, elements: Elements) -> bool:
    """An image whose pixels are not in the file, though nothing says that they may be elsewhere (PS3.3 C.7.6.3).

    Bulk data that stands in for them is Spectroscopy Data or a Pixel Data Provider URL; a private class may keep its own behind
    group 7FE0, which the elements' order proves was reached.
    """
    if elements.lengths or not any(tag in elements.values for tag in _IMAGE_PIXEL):
        return False
    declares_none = any(tag in elements.values and not _number(elements, tag) for tag in (tags.ROWS, tags.COLUMNS))
    if declares_none and not elements.zero_tail:
        return False
    if ids.sop_class_uid == _RAW_DATA or ids.transfer_syntax_uid in _JPIP:
        return False
    return ids.sop_class_uid.startswith(_STANDARD) or elements.last_tag >> 16 <= tags.PIXEL_DATA >> 16


def _remarks(meta: FileMeta, syntax: str, elements: Elements) -> tuple[str, ...]:
    values, remarks = elements.values, []
    if tags.PATIENT_ID not in values:
        remarks.append("no Patient ID (0010,0020)")
    if (meta.sop_instance_uid or b"").rstrip(_PADDING) != values[tags.SOP_INSTANCE_UID].rstrip(_PADDING):
        remarks.append("the file meta SOP Instance UID is not that of the data set")
    if (meta.sop_class_uid or b"").rstrip(_PADDING) != values[tags.SOP_CLASS_UID].rstrip(_PADDING):
        remarks.append("the file meta SOP Class UID is not that of the data set")
    if syntax in _NATIVE and _is_short(elements):
        remarks.append("native pixel data is shorter than rows x columns x samples x bits x frames")
    return tuple(remarks)


def _is_cut_short(syntax: str, elements: Elements) -> bool:
    """Before zeros, a length of pixel data is suspect: some of its own bytes may be zeros that were never written."""
    length = elements.lengths.get(tags.PIXEL_DATA)
    return length is not None and (length == 0 or syntax not in _NATIVE or _is_short(elements))


def _is_short(elements: Elements) -> bool:
    length = next((elements.lengths[tag] for tag in _PIXELS if tag in elements.lengths), None)
    photometric = elements.values.get(tags.PHOTOMETRIC_INTERPRETATION, b"")
    if length is None or photometric.startswith(
        (b"YBR_FULL_422", b"YBR_PARTIAL_42")
    ):  # fewer colour samples than pixels
        return False
    rows, columns = _number(elements, tags.ROWS), _number(elements, tags.COLUMNS)
    samples, bits = _number(elements, tags.SAMPLES_PER_PIXEL), _number(elements, tags.BITS_ALLOCATED)
    frames = elements.values.get(tags.NUMBER_OF_FRAMES, b"").strip(_PADDING)
    count = int(frames) if frames.isdigit() and len(frames) <= 10 else 1
    return length * 8 < rows * columns * samples * bits * count


def _number(elements: Elements, tag: int) -> int:
    """An unsigned short (VR US), 0 where it is absent."""
    value = elements.values.get(tag, b"")[:2]
    return int.from_bytes(value, "big" if elements.big_endian else "little")
