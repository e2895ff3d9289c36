"""What a WarningReason (0008,1196) of a Store Instances Response says about a stored file, and what to do about it.

PS3.18 Table I.2-2 and PS3.4 Table B.2-1; 1 is the Azure DICOM service's own (microsoft/dicom-server, WarningReasonCodes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """In a person's words."""

    text: str
    what_to_do: str


_LOOK = "look at what the service holds (`ingestd dicomweb metadata`, `retrieve`) and read its log"
MEANINGS: Mapping[int, Remark] = MappingProxyType(
    {
        1: Remark(
            text="some attributes are not valid; they are stored and can't be searched",
            what_to_do="nothing, if nobody searches for them: the file is held as it was sent; else correct them at the source",
        ),
        0xB000: Remark(
            text="the service changed some elements, such as a name or an ID, to its own",
            what_to_do=_LOOK,
        ),
        0xB006: Remark(
            text="the service left some elements out: it holds less than was sent",
            what_to_do=f"keep the file in done/; {_LOOK}",
        ),
        0xB007: Remark(
            text="the data set does not match its SOP class; at Azure it is one in implicit VR",
            what_to_do="nothing, if it can be used: the file is held; else correct it at the source",
        ),
    }
)


def warning_of(reason: int | None) -> Remark:
    """For any WarningReason, None where the receipt has none."""
    if reason is not None and (known := MEANINGS.get(reason)):
        return known
    return Remark(text="a warning that no document names", what_to_do=_LOOK)
