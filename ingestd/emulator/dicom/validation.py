"""What the service demands of an instance, and what it merely remarks on: versions 1 and 2.

Required: StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, SOPClassUID with one value each, and that PatientID is there,
even if empty. Whatever misses one of them fails with 43264. Anything else that its VR does not allow, wherever it stands, is
remarked on with warning 1 and left out of the metadata, unless it is one of the three UIDs; an implicit VR transfer syntax
is remarked on with 45063.

Version 1 wants a value in PatientID, too, fails whatever has an invalid value in one of the attributes that can be searched, and
looks at no other.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import ImplicitVRLittleEndian
from pydicom.valuerep import PersonName

from ingestd.emulator.dicom.attributes import SEARCHABLE
from ingestd.emulator.dicom.metadata import is_bulk
from ingestd.emulator.dicom.part10 import DEEPEST, PYDICOM_RAISES
from ingestd.emulator.dicom.value_rules import UID_INVALID, complaint, least_demand

SOP_CLASS_UID: Final = Tag(0x00080016)
SOP_INSTANCE_UID: Final = Tag(0x00080018)
PATIENT_ID: Final = Tag(0x00100020)
STUDY_INSTANCE_UID: Final = Tag(0x0020000D)
SERIES_INSTANCE_UID: Final = Tag(0x0020000E)

NEVER_DROPPED: Final = frozenset({STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID})
_ONE_VALUE: Final = (SOP_CLASS_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID)
_CORE: Final = (STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID, PATIENT_ID, SOP_CLASS_UID)

_SEARCHED: Final = _CORE + tuple(tag for tag in (Tag(int(one.tag, 16)) for one in SEARCHABLE) if tag not in _CORE)
"""What version 1 looks at: all that can be searched, and SOPClassUID."""

Elements = dict[BaseTag, DataElement | RawDataElement]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """`complaints` by tag, the first for each; `failed` when one of them concerns what is required."""

    complaints: dict[BaseTag, str]
    failed: bool
    implicit_vr: bool
    several_values: bool

    @property
    def comments(self) -> tuple[str, ...]:
        """The complaints in the service's words, for ErrorComment (0000,0902). They quote values: patient data."""
        return tuple(f"DICOM100: {_name(tag)} - {text}" for tag, text in self.complaints.items())


def validate(dataset: FileDataset, *, required_study: str | None, version_1: bool = False) -> Findings:
    """All there is to say against this data set; `required_study` is the StudyInstanceUID of the path, if it had one."""
    # As they stand in the file: an element that was looked at is replaced by what pydicom makes of it.
    unread = dict(dataset.items())
    complaints = dict(_missing(dataset, required_study, version_1=version_1))
    judged = _SEARCHED if version_1 else _CORE
    for tag, text in _wrong(dataset, unread, judged):
        complaints.setdefault(tag, text)
    failed = bool(complaints)
    for tag, text in () if version_1 else _remarks(dataset, unread):
        complaints.setdefault(tag, text)
    return Findings(
        complaints=complaints,
        failed=failed,
        implicit_vr=_is_implicit(dataset),
        several_values=any(len(values(dataset, tag)) > 1 for tag in (judged if version_1 else (PATIENT_ID,))),
    )


def values(dataset: Dataset, tag: BaseTag) -> list[str]:
    """The element's values as texts without padding; none when it is absent, empty or beyond reading."""
    try:
        value = dataset[tag].value
    except PYDICOM_RAISES:
        return []
    if isinstance(value, str | PersonName):
        value = [value]
    elif isinstance(value, bytes):
        value = value.decode("latin-1").split("\\")
    elif value is None or not hasattr(value, "__iter__"):
        value = [] if value is None else [value]
    return [text for text in (str(part).rstrip("\0 ") for part in value) if text]


def identifier_complaint(keyword: str) -> str:
    """The service's words for a UID that breaks its rule."""
    return _failed_validation(keyword, "UI", UID_INVALID)


def _missing(dataset: Dataset, required_study: str | None, *, version_1: bool) -> Iterator[tuple[BaseTag, str]]:
    # The service stops at the first of these.
    for tag in _ONE_VALUE:
        if len(values(dataset, tag)) != 1:
            yield tag, _is_missing(tag)
            return
    if required_study is not None and values(dataset, STUDY_INSTANCE_UID)[0] != required_study.rstrip():
        text = "The StudyInstanceUid in the payload does not match the specified StudyInstanceUid."
        yield STUDY_INSTANCE_UID, text
    elif PATIENT_ID not in dataset or (version_1 and not values(dataset, PATIENT_ID)):
        yield PATIENT_ID, _is_missing(PATIENT_ID)


def _wrong(dataset: Dataset, unread: Elements, judged: Iterable[BaseTag]) -> Iterator[tuple[BaseTag, str]]:
    for tag in judged:
        if tag not in unread:
            continue
        keyword, expected, actual = keyword_for_tag(tag), dictionary_VR(tag), unread[tag].VR
        if actual is not None and actual != expected:
            text = f"The extended query tag '{keyword}' is expected to have VR '{expected}' but has '{actual}' in file."
            yield tag, _failed_validation(keyword, actual, text)
            continue
        first = next(iter(values(dataset, tag)), "")
        why = least_demand(expected, first)
        if why is not None:
            yield tag, identifier_complaint(keyword) if expected == "UI" else _failed_validation(keyword, expected, why)


def _remarks(dataset: Dataset, elements: Elements, depth: int = 0) -> Iterator[tuple[BaseTag, str]]:
    for tag, unread in sorted(elements.items()):
        if is_bulk(unread) or tag.element == 0:
            continue
        if tag == PATIENT_ID and not values(dataset, tag):
            yield tag, _is_missing(tag)
            continue
        try:
            if unread.VR == "SQ" or (unread.VR is None and dataset[tag].VR == "SQ"):
                for item in dataset[tag].value if depth < DEEPEST else ():
                    yield from _remarks(item, dict(item.items()), depth + 1)
            elif isinstance(unread, RawDataElement):
                yield from _remark(dataset, unread)
        except PYDICOM_RAISES:
            yield tag, "The value cannot be read."


def _remark(dataset: Dataset, unread: RawDataElement) -> Iterator[tuple[BaseTag, str]]:
    vr = unread.VR or dataset[unread.tag].VR
    raw = unread.value
    if isinstance(raw, bytes) and complaint(vr, raw) is not None:
        # Once more with what the character set makes of it: its bytes can be more than its characters.
        decoded = dataset[unread.tag]
        text = complaint(vr, raw, "\\".join(_texts(decoded)))
        if text is not None:
            yield unread.tag, text


def _texts(element: DataElement) -> list[str]:
    return [str(value) for value in (element.value if element.VM > 1 else [element.value])]


def _is_implicit(dataset: FileDataset) -> bool:
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    return bool(dataset.original_encoding[0]) if syntax is None else syntax == ImplicitVRLittleEndian


def _is_missing(tag: BaseTag) -> str:
    return f"The required tag '{_name(tag)}' is missing."


def _failed_validation(keyword: str, vr: str, why: str) -> str:
    return f"Dicom element '{keyword}' failed validation for VR '{vr}': {why}."


def _name(tag: BaseTag) -> str:
    return f"({tag.group:04x},{tag.element:04x})"
