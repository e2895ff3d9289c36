"""Is this a whole DICOM file, and which instance is it? (PS3.10 7.1)

Neither Azure nor pydicom notices a truncated file, so this walk is the only guard there is. It reads headers to the very end of the
file and steps over values; `elements` says how. What it can't see, because nothing in the file shows it: a cut that falls exactly
between two top-level elements, behind the Series Instance UID, of an object that needs no pixel data (or behind its pixel data).

A file that isn't whole gets the verdict that is true of it. TRUNCATED: it ends before what it declares does, or before its
identifiers could come. NOT_DICOM: no `DICM`, no file meta information with a Transfer Syntax UID, or an element is due and none
begins.
"""

from __future__ import annotations

from typing import Final

from ingestd.core.model import Identifiers, Inspection, Wholeness
from ingestd.core.settle import SENDABLE
from ingestd.spool import tags
from ingestd.spool.elements import LONGER_SEQUENCE, Walk
from ingestd.spool.encoding import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from ingestd.spool.file_meta import FileMeta, read_file_meta
from ingestd.spool.pixels import cut_before_zeros, lacks_pixel_data, too_short
from ingestd.spool.sources import InflatedView, NotWholeError, PlainView, Source

_MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"

# PS3.6 table A-1, and GE's with swapped pixels. What is not named here is explicit VR little endian (PS3.5 A.4).
_IMPLICIT: Final = frozenset(("1.2.840.10008.1.2", "1.2.840.10008.1.20", "1.2.840.113619.5.2"))
_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
_DEFLATED: Final = frozenset(("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"))
_NATIVE: Final = _IMPLICIT | {"1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", _BIG_ENDIAN}

# What may come of a sequence that is longer than it declares: the walk goes on in the middle of it.
_DOUBTFUL: Final = frozenset((Wholeness.TRUNCATED, Wholeness.NOT_DICOM, Wholeness.NO_PIXEL_DATA))

# Digits and dots, one digit at least: `.` and `..` mean something else in a URL. PS3.5 9.1 is stricter; services judge that.
_UID_BYTES: Final = b"0123456789."
_UID_LIMIT: Final = 64
_PADDING: Final = b"\0 "

_IDENTIFIERS: Final = (
    (tags.STUDY_UID, "Study Instance UID (0020,000d)"),
    (tags.SERIES_UID, "Series Instance UID (0020,000e)"),
    (tags.SOP_INSTANCE_UID, "SOP Instance UID (0008,0018)"),
    (tags.SOP_CLASS_UID, "SOP Class UID (0008,0016)"),
)


def walk(source: Source, size: int) -> Inspection:
    """Judge the `size` bytes of the source. Raises FileBusyError where they can't be read, and nothing else whatever they are."""
    view = PlainView(source, size)
    try:
        meta = read_file_meta(view)
    except NotWholeError as verdict:
        return Inspection(wholeness=verdict.wholeness, text=verdict.text)
    if uid_of(meta.sop_class_uid) == _MEDIA_STORAGE_DIRECTORY:
        return Inspection(wholeness=Wholeness.DICOMDIR, text="a DICOMDIR lists instances and is none")
    syntax = uid_of(meta.transfer_syntax_uid)
    if syntax is None:
        text = "the file meta information has no readable Transfer Syntax UID"
        return Inspection(wholeness=Wholeness.NOT_DICOM, text=text, notes=meta.notes)
    inflated = InflatedView(view, meta.end, size) if syntax in _DEFLATED else None
    elements = _elements(view, inflated, meta.end, syntax)
    found = _walked(meta, syntax, elements, inflated)
    if found.wholeness in _DOUBTFUL and inflated is None and not elements.encoding.explicit:
        second = _walked(meta, syntax, _elements(view, None, meta.end, syntax, doubts=True), None)
        if second.wholeness in SENDABLE and LONGER_SEQUENCE in second.notes:
            return second
    return found


def _walked(meta: FileMeta, syntax: str, elements: Walk, inflated: InflatedView | None) -> Inspection:
    try:
        elements.run()
        if inflated and inflated.has_zero_tail():
            elements.zero_tail = True
    except NotWholeError as verdict:
        ids, _, _ = _identify(syntax, elements)
        notes = meta.notes + elements.notes
        return Inspection(wholeness=verdict.wholeness, text=verdict.text, ids=ids, notes=notes, data_set_at=meta.end)
    return _judge(meta, syntax, elements)


def _elements(view: PlainView, inflated: InflatedView | None, start: int, syntax: str, *, doubts: bool = False) -> Walk:
    if inflated:
        return Walk(inflated, 0, EXPLICIT_LITTLE)
    if syntax in _IMPLICIT:
        return Walk(view, start, IMPLICIT_LITTLE, doubts=doubts)
    return Walk(view, start, EXPLICIT_BIG if syntax == _BIG_ENDIAN else EXPLICIT_LITTLE, doubts=doubts)


def _judge(meta: FileMeta, syntax: str, elements: Walk) -> Inspection:
    """The verdict on a data set whose last element ends where the file does, or before zeros."""
    ids, missing, due = _identify(syntax, elements)
    notes = meta.notes + elements.notes
    if ids is None:
        if elements.zero_tail:
            wholeness, text = Wholeness.TRUNCATED, f"only zeros follow before a readable {missing} came"
        elif elements.last_tag < due:
            wholeness, text = Wholeness.TRUNCATED, f"the data set ends before a {missing} could come"
        else:
            wholeness, text = Wholeness.NO_UID, f"the data set has no readable {missing}"
    elif lacks_pixel_data(elements, ids.sop_class_uid):
        wholeness = Wholeness.NO_PIXEL_DATA
        text = "the data set is an image (by its class, or by group 0028) and has no pixel data (7fe0,0010)"
    elif elements.zero_tail and cut_before_zeros(elements, native=syntax in _NATIVE):
        wholeness, text = Wholeness.TRUNCATED, "only zeros follow pixel data that is too short"
    else:
        wholeness, text = Wholeness.WHOLE, ""
        if elements.zero_tail:
            wholeness, text = Wholeness.WHOLE_ZERO_TAIL, "zeros follow the last element"
        notes += _remarks(meta, syntax, elements)
    return Inspection(wholeness=wholeness, text=text, ids=ids, notes=notes, data_set_at=meta.end)


def uid_of(value: bytes | None) -> str | None:
    """A UID without its padding; None for what is none."""
    if not value:
        return None
    stripped = value.rstrip(_PADDING)
    if stripped.strip(_UID_BYTES) or not stripped.strip(b".") or len(stripped) > _UID_LIMIT:
        return None
    return stripped.decode("ascii")


def _identify(syntax: str, elements: Walk) -> tuple[Identifiers | None, str, int]:
    """The identifiers; or the name and the tag of one that is missing."""
    values = elements.values
    found = [uid_of(values.get(tag)) for tag, _ in _IDENTIFIERS]
    study, series, instance, sop_class = found
    if study is None or series is None or instance is None or sop_class is None:
        tag, name = _IDENTIFIERS[found.index(None)]
        return None, name, tag
    ids = Identifiers(
        study_uid=study,
        series_uid=series,
        sop_instance_uid=instance,
        sop_class_uid=sop_class,
        transfer_syntax_uid=syntax,
    )
    return ids, "", 0


def _remarks(meta: FileMeta, syntax: str, elements: Walk) -> tuple[str, ...]:
    values, remarks = elements.values, []
    if tags.PATIENT_ID not in values:
        remarks.append("no Patient ID (0010,0020)")
    if _differ(meta.sop_instance_uid, values[tags.SOP_INSTANCE_UID]):
        remarks.append("the file meta SOP Instance UID is not that of the data set")
    if _differ(meta.sop_class_uid, values[tags.SOP_CLASS_UID]):
        remarks.append("the file meta SOP Class UID is not that of the data set")
    if syntax in _NATIVE and too_short(elements):
        remarks.append("native pixel data is shorter than rows x columns x samples x bits x frames")
    return tuple(remarks)


def _differ(one: bytes | None, other: bytes) -> bool:
    return one != other and (one or b"").rstrip(_PADDING) != other.rstrip(_PADDING)
