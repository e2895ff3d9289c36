"""What a FailureReason (0008,1197) of a Store Instances Response means for the file.

PS3.18 Table I.2-2 and PS3.4 Table B.2-1, and what the Azure DICOM service adds.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

ALREADY_STORED = 45070  # B00EH, Azure: the same three UIDs are there already
DUPLICATE = 0x0111  # PS3.7 C.5.8, duplicate SOP instance: the same, in the standard's own code
BEING_CREATED = 45071  # B00FH, Azure: another attempt has begun and not ended


class FailureClass(enum.Enum):
    HOLDS_IT = "the service says that it has these UIDs: verify"
    CREATING = "an earlier attempt has not ended: retry in minutes"
    SERVER_TROUBLE = "processing failed for no reason of the file's: retry"
    REJECTED = "a verdict about the file, or a code that nobody documents"


def classify(failure_reason: int) -> FailureClass:
    """The class of a code; one that is not known is a verdict, never success and never silence."""
    if failure_reason in (ALREADY_STORED, DUPLICATE):
        return FailureClass.HOLDS_IT
    if failure_reason == BEING_CREATED:
        return FailureClass.CREATING
    if failure_reason == 0x0110 or 0xA700 <= failure_reason <= 0xA7FF:  # processing failure; out of resources
        return FailureClass.SERVER_TROUBLE
    return FailureClass.REJECTED


MEANINGS: Mapping[int, str] = MappingProxyType(
    {
        0x0106: "invalid attribute value",
        0x0107: "attribute list error",
        0x0110: "processing failure: the service could not store it just now",
        DUPLICATE: "duplicate SOP instance",
        0x0117: "invalid SOP instance UID",
        0x0119: "class and instance conflict",
        0x0120: "a required attribute is missing (Azure: work items only)",
        0x0121: "a required attribute has no value (Azure: work items only)",
        0x0122: "SOP class not supported",
        0x0124: "not authorized to store this instance",
        0xA700: "the service is out of resources",
        0xA900: "the data set fails validation: a required attribute is missing or invalid, or it is not DICOM to the service",
        0xA901: "the study instance UID is not the one that the request named",
        0xB00E: "the service has an instance with the same study, series and SOP instance UIDs (Azure)",
        0xB00F: "the service is creating this instance, or an earlier attempt was not cleaned up (Azure)",
        0xC000: "the service cannot understand the data set",
        0xC122: "transfer syntax not supported",
    }
)
_RANGES: tuple[tuple[range, str], ...] = (
    (range(0xA700, 0xA800), MEANINGS[0xA700]),
    (range(0xA900, 0xAA00), "the data set does not match its SOP class"),
    (range(0xC000, 0xD000), MEANINGS[0xC000]),
)


def meaning(failure_reason: int) -> str:
    """One line for any FailureReason, by code or by range."""
    if known := MEANINGS.get(failure_reason):
        return known
    return next((text for codes, text in _RANGES if failure_reason in codes), "a reason that no document names")
