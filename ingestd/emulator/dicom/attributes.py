"""What can be searched for, and what a search gives back: the tables of the service's conformance statements, versions 1 and 2.

Tags are eight upper-case hexadecimal digits, as in the DICOM JSON Model (PS3.18 F.2.2).
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from pydicom.datadict import tag_for_keyword


class Level(Enum):
    """What a result of a search stands for."""

    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Searchable:
    """An attribute that a search can name, and the column of its level's table (catalog.py) that it is compared with."""

    keyword: str
    tag: str
    vr: str
    level: Level
    column: str


SEARCHABLE: Final = (
    Searchable(keyword="StudyInstanceUID", tag="0020000D", vr="UI", level=Level.STUDY, column="uid"),
    Searchable(keyword="PatientName", tag="00100010", vr="PN", level=Level.STUDY, column="patient_name"),
    Searchable(keyword="PatientID", tag="00100020", vr="LO", level=Level.STUDY, column="patient_id"),
    Searchable(keyword="PatientBirthDate", tag="00100030", vr="DA", level=Level.STUDY, column="patient_birth_date"),
    Searchable(keyword="AccessionNumber", tag="00080050", vr="SH", level=Level.STUDY, column="accession_number"),
    Searchable(keyword="ReferringPhysicianName", tag="00080090", vr="PN", level=Level.STUDY, column="physician_name"),
    Searchable(keyword="StudyDate", tag="00080020", vr="DA", level=Level.STUDY, column="study_date"),
    Searchable(keyword="StudyDescription", tag="00081030", vr="LO", level=Level.STUDY, column="study_description"),
    Searchable(keyword="ModalitiesInStudy", tag="00080061", vr="CS", level=Level.STUDY, column=""),
    Searchable(keyword="SeriesInstanceUID", tag="0020000E", vr="UI", level=Level.SERIES, column="uid"),
    Searchable(keyword="Modality", tag="00080060", vr="CS", level=Level.SERIES, column="modality"),
    Searchable(
        keyword="PerformedProcedureStepStartDate", tag="00400244", vr="DA", level=Level.SERIES, column="start_date"
    ),
    Searchable(keyword="ManufacturerModelName", tag="00081090", vr="LO", level=Level.SERIES, column="model_name"),
    Searchable(keyword="SOPInstanceUID", tag="00080018", vr="UI", level=Level.INSTANCE, column="uid"),
)

STUDY_INSTANCE_UID: Final = "0020000D"
SERIES_INSTANCE_UID: Final = "0020000E"
PATIENT_ID: Final = "00100020"
MODALITY: Final = "00080060"
MODALITIES_IN_STUDY: Final = "00080061"
"""Has no column: it is the modalities of the study's series."""
STUDY_RELATED_INSTANCES: Final = "00201208"
SERIES_RELATED_INSTANCES: Final = "00201209"

BY_TAG: Final = {attribute.tag: attribute for attribute in SEARCHABLE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """The tags given back for a level without asking: by version 1, by version 2, and what includefield=all adds to either."""

    v1: frozenset[str]
    v2: frozenset[str]
    more: frozenset[str]


def _tags(*keywords: str) -> frozenset[str]:
    numbers = {keyword: tag_for_keyword(keyword) for keyword in keywords}
    return frozenset(f"{number:08X}" for number in numbers.values() if number is not None)


RETURNED: Final = {
    Level.STUDY: Returned(
        v1=_tags(
            "SpecificCharacterSet",
            "StudyDate",
            "StudyTime",
            "AccessionNumber",
            "InstanceAvailability",
            "ReferringPhysicianName",
            "TimezoneOffsetFromUTC",
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "StudyID",
            "StudyInstanceUID",
        ),
        v2=_tags(
            "StudyDate",
            "AccessionNumber",
            "StudyDescription",
            "ReferringPhysicianName",
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "StudyInstanceUID",
        ),
        more=_tags(
            "SpecificCharacterSet",
            "StudyTime",
            "InstanceAvailability",
            "TimezoneOffsetFromUTC",
            "AnatomicRegionsInStudyCodeSequence",
            "StudyDescription",
            "ProcedureCodeSequence",
            "NameOfPhysiciansReadingStudy",
            "AdmittingDiagnosesDescription",
            "ReferencedStudySequence",
            "PatientAge",
            "PatientSize",
            "PatientWeight",
            "Occupation",
            "AdditionalPatientHistory",
            "PatientSex",
            "StudyID",
        ),
    ),
    Level.SERIES: Returned(
        v1=_tags(
            "SpecificCharacterSet",
            "Modality",
            "TimezoneOffsetFromUTC",
            "SeriesDescription",
            "SeriesInstanceUID",
            "PerformedProcedureStepStartDate",
            "PerformedProcedureStepStartTime",
            "RequestAttributesSequence",
        ),
        v2=_tags("Modality", "ManufacturerModelName", "SeriesInstanceUID", "PerformedProcedureStepStartDate"),
        more=_tags(
            "SpecificCharacterSet",
            "TimezoneOffsetFromUTC",
            "SeriesNumber",
            "Laterality",
            "SeriesDate",
            "SeriesTime",
            "SeriesDescription",
            "PerformedProcedureStepStartTime",
            "RequestAttributesSequence",
        ),
    ),
    Level.INSTANCE: Returned(
        v1=_tags(
            "SpecificCharacterSet",
            "SOPClassUID",
            "SOPInstanceUID",
            "InstanceAvailability",
            "TimezoneOffsetFromUTC",
            "InstanceNumber",
            "Rows",
            "Columns",
            "BitsAllocated",
            "NumberOfFrames",
        ),
        v2=_tags("SOPInstanceUID"),
        more=_tags(
            "SpecificCharacterSet",
            "SOPClassUID",
            "InstanceAvailability",
            "TimezoneOffsetFromUTC",
            "InstanceNumber",
            "Rows",
            "Columns",
            "BitsAllocated",
            "NumberOfFrames",
        ),
    ),
}
