"""What a FailureReason (0008,1197) of a Store Instances Response means for the file (PS3.18 Table I.2-2, PS3.4 Table B.2-1,
and what the Azure DICOM service adds)."""

from __future__ import annotations

import enum

ALREADY_STORED = 45070  # B00EH, Azure: the same three UIDs are there already
BEING_CREATED = 45071  # B00FH, Azure: another attempt has begun and not ended


class FailureClass(enum.Enum):
    HOLDS_IT = "the service says that it has these UIDs: verify"
    CREATING = "an earlier attempt has not ended: retry in minutes"
    SERVER_TROUBLE = "processing failed for no reason of the file's: retry"
    REJECTED = "a verdict about the file, or a code that nobody documents"


def classify(failure_reason: int) -> FailureClass:
    """The class of a code; one that is not known is a verdict, never success and never silence."""
    if failure_reason == ALREADY_STORED:
        return FailureClass.HOLDS_IT
    if failure_reason == BEING_CREATED:
        return FailureClass.CREATING
    if failure_reason == 0x0110 or 0xA700 <= failure_reason <= 0xA7FF:  # processing failure; out of resources
        return FailureClass.SERVER_TROUBLE
    return FailureClass.REJECTED
