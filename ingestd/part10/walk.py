"""Is this a whole DICOM file, and which instance is it? (PS3.10 7.1)

Neither Azure nor pydicom notices a truncated file, so this walk is the only guard there is. It reads headers to the very end of the
file and steps over values; `elements` says how. What it can't see, because nothing in the file shows it: a cut that falls exactly
between two top-level elements, behind the Series Instance UID, of an object that needs no pixel data (or behind its pixel data), or
of a private class, of which nobody else knows what it needs.

A file that isn't whole gets the verdict that is true of it. TRUNCATED: it ends before what it declares does, or before its
identifiers could come. NOT_DICOM: it does not begin like DICOM, or an element is due and none begins. NO_HEADER: it is whole, and a
bare data set, or one whose header has no Transfer Syntax UID. Where such files may be sent, the encoding that the data set shows is
its transfer syntax; but what is encapsulated shows none.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

from ingestd.core.answers.reasons import SENDABLE, Wholeness
from ingestd.core.model import Identifiers, Inspection
from ingestd.part10 import tags
from ingestd.part10.elements import LONGER_SEQUENCE, Walk
from ingestd.part10.encoding import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from ingestd.part10.file_meta import FileMeta, read_file_meta
from ingestd.part10.pixels import NO_PIXELS, cut_before_zeros, lacks_pixel_data, too_short
from ingestd.part10.uids import is_standard, is_uid, why_none
from ingestd.part10.views import InflatedView, NotWholeError, PlainView, Source

_MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"

# PS3.6 table A-1, and GE's with swapped pixels. What is not named here is explicit VR little endian (PS3.5 A.4).
_IMPLICIT: Final = frozenset(("1.2.840.10008.1.2", "1.2.840.10008.1.20", "1.2.840.113619.5.2"))
_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
_DEFLATED: Final = frozenset(("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"))
_NATIVE: Final = _IMPLICIT | {"1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", _BIG_ENDIAN}

# What may come of a sequence that is longer than it declares: the walk goes on in the middle of it.
_DOUBTFUL: Final = frozenset((Wholeness.TRUNCATED, Wholeness.NOT_DICOM, Wholeness.NO_PIXEL_DATA))

_PADDING: Final = b"\0 "

_IDENTIFIERS: Final = (
    (tags.STUDY_UID, "Study Instance UID (0020,000d)"),
    (tags.SERIES_UID, "Series Instance UID (0020,000e)"),
    (tags.SOP_INSTANCE_UID, "SOP Instance UID (0008,0018)"),
    (tags.SOP_CLASS_UID, "SOP Class UID (0008,0016)"),
)


def walk(source: Source, size: int, *, headerless: bool = False) -> Inspection:
    """Judge the `size` bytes of the source. Raises FileBusyError where they can't be read, and nothing else whatever they are.

    `headerless`: a data set without a Part 10 header is as good as one with it.
    """
    view = PlainView(source, size)
    try:
        meta = read_file_meta(view)
    except NotWholeError as verdict:
        return Inspection(wholeness=verdict.wholeness, text=verdict.text)
    if uid_of(meta.sop_class_uid) == _MEDIA_STORAGE_DIRECTORY:
        return Inspection(wholeness=Wholeness.DICOMDIR, text="a DICOMDIR lists instances and is none")
    syntax = meta.transfer_syntax_uid
    inflated = InflatedView(view, meta.end, size) if syntax in _DEFLATED else None
    elements = _elements(view, inflated, meta.end, syntax)
    found = _walked(meta, syntax, elements, inflated, headerless=headerless)
    if found.wholeness in _DOUBTFUL and inflated is None and not elements.encoding.explicit:
        doubting = _elements(view, None, meta.end, syntax, doubts=True)
        second = _walked(meta, syntax, doubting, None, headerless=headerless)
        if second.wholeness in (*SENDABLE, Wholeness.NO_HEADER) and LONGER_SEQUENCE in second.notes:
            return second
    return found


def _walked(
    meta: FileMeta, syntax: str, elements: Walk, inflated: InflatedView | None, *, headerless: bool
) -> Inspection:
    try:
        elements.run()
        if inflated and inflated.has_zero_tail():
            elements.zero_tail = True
    except NotWholeError as verdict:
        ids, _, _ = _identify(syntax, elements)
        notes = meta.notes + elements.notes
        return Inspection(wholeness=verdict.wholeness, text=verdict.text, ids=ids, notes=notes, data_set_at=meta.end)
    found = _judge(meta, syntax, elements)
    return _without_header(found, meta, elements, sent=headerless) if meta.lacks else found


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
        if why := _unusable(elements.values.get(due)):
            wholeness, text = Wholeness.NO_UID, f"the {missing} {why}"
        elif elements.zero_tail:
            wholeness, text = Wholeness.TRUNCATED, f"only zeros follow before a readable {missing} came"
        elif elements.last_tag < due:
            wholeness, text = Wholeness.TRUNCATED, f"the data set ends before a {missing} could come"
        else:
            wholeness, text = Wholeness.NO_UID, f"the data set has no readable {missing}"
    elif lacks_pixel_data(elements, ids.sop_class_uid):
        wholeness, text = Wholeness.NO_PIXEL_DATA, NO_PIXELS
    elif elements.zero_tail and cut_before_zeros(elements, native=syntax in _NATIVE):
        wholeness, text = Wholeness.TRUNCATED, "only zeros follow pixel data that is too short"
    else:
        wholeness, text = Wholeness.WHOLE, ""
        if elements.zero_tail:
            wholeness, text = Wholeness.WHOLE_ZERO_TAIL, "zeros follow the last element"
        notes += _remarks(meta, syntax, elements)
    return Inspection(wholeness=wholeness, text=text, ids=ids, notes=notes, data_set_at=meta.end)


def _without_header(found: Inspection, meta: FileMeta, elements: Walk, *, sent: bool) -> Inspection:
    """The verdict on a file whose header lacks something, which `found` is about as if nothing did."""
    if found.wholeness not in (Wholeness.WHOLE, Wholeness.WHOLE_ZERO_TAIL):
        return found
    if not meta.declared and elements.lengths.get(tags.PIXEL_DATA, 0) is None:
        text = f"{meta.lacks}; its pixel data is compressed, and nothing in the file says how"
        return replace(found, wholeness=Wholeness.NO_HEADER, text=text)
    if not sent:
        return replace(found, wholeness=Wholeness.NO_HEADER, text=meta.lacks)
    return replace(found, notes=(meta.lacks.partition(":")[0], *found.notes))


@lru_cache(maxsize=256)  # a series repeats all of them but one, and a file says that one twice
def uid_of(value: bytes | None) -> str | None:
    """A UID without its padding, and without blanks before it; None for what is none."""
    if not value:
        return None
    text = _text(value)
    return text if is_uid(text) else None


def _text(value: bytes) -> str:
    return value.rstrip(_PADDING).lstrip(b" ").decode("latin-1")


def _unusable(value: bytes | None) -> str:
    """Why a value is no UID; empty where there is none."""
    return why_none(text) if (text := _text(value or b"")) else ""


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
    values, remarks = elements.values, _odd_uids(elements.values)
    if tags.PATIENT_ID not in values:
        remarks.append("no Patient ID (0010,0020)")
    if not meta.lacks and _differ(meta.sop_instance_uid, values[tags.SOP_INSTANCE_UID]):
        remarks.append("the file meta SOP Instance UID is not that of the data set")
    if not meta.lacks and _differ(meta.sop_class_uid, values[tags.SOP_CLASS_UID]):
        remarks.append("the file meta SOP Class UID is not that of the data set")
    if syntax in _NATIVE and too_short(elements):
        remarks.append("native pixel data is shorter than rows x columns x samples x bits x frames")
    return tuple(remarks)


def _odd_uids(values: dict[int, bytes]) -> list[str]:
    return [f"the {name} {oddity}" for tag, name in _IDENTIFIERS for oddity in _oddities(values[tag])]


@lru_cache(maxsize=256)
def _oddities(value: bytes) -> tuple[str, ...]:
    letters = () if is_standard(_text(value)) else ("has letters or more than 64 characters",)
    return (*letters, "begins with a blank") if value.startswith(b" ") else letters


def _differ(one: bytes | None, other: bytes) -> bool:
    return one != other and (one or b"").rstrip(_PADDING) != other.rstrip(_PADDING)
