"""What the numbers and the holds mean, for people: log lines, reason files and `check`. What they *decide* stands in core.

FailureReason (0008,1197) and WarningReason (0008,1196): PS3.18 Annex I.2.2, PS3.4 Table B.2-1, PS3.7 Annex C, and what the Azure
DICOM service adds in its conformance statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ingestd.core.outcome import HoldCause

FAILURE_REASONS: Mapping[int, str] = MappingProxyType(
    {
        0x0106: "invalid attribute value",
        0x0107: "attribute list error",
        0x0110: "processing failure: the service could not store it just now",
        0x0111: "duplicate SOP instance",
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
    (range(0xA700, 0xA800), FAILURE_REASONS[0xA700]),
    (range(0xA900, 0xAA00), "the data set does not match its SOP class"),
    (range(0xC000, 0xD000), FAILURE_REASONS[0xC000]),
)

WARNING_REASONS: Mapping[int, str] = MappingProxyType(
    {
        0x0001: "stored; attributes that fail validation were left out of the index and the metadata (Azure v2)",
        0xB000: "stored; the service changed data elements",
        0xB006: "stored; the service discarded data elements",
        0xB007: "stored; the data set does not match its SOP class (Azure: implicit VR transfer syntax)",
    }
)

HOLDS: Mapping[HoldCause, str] = MappingProxyType(
    {
        HoldCause.UNREACHABLE: (
            "no connection, or no token, or TLS refused: check service.url, DNS, the firewall, the certificate and auth; "
            "sending goes on by itself when it is mended"
        ),
        HoldCause.BUSY: "the service is busy or throttles (408, 429, 503, 504): nothing to do; sending goes on when it has room",
        HoldCause.IDENTITY: (
            "the service does not know us (401): check auth.mode, auth.scope and that the token is not expired; "
            "the clock of this machine must be right"
        ),
        HoldCause.ROLE: (
            "our identity may not write (403): give it the role DICOM Data Owner on the service "
            "(on the service principal, not the app registration); a new role takes up to five minutes"
        ),
        HoldCause.ROUTE: (
            "the URL leads to no store service (404, 406 or a redirect): check service.url, the version at its end (/v2) "
            "and what stands between"
        ),
        HoldCause.DEPENDENCY: (
            "a resource that the service needs refuses it (424): check its storage account and its customer-managed key"
        ),
        HoldCause.CONTROL: (
            "the service refuses even an empty Store transaction: check service.url and, where partitions are on, "
            "that the URL names one"
        ),
    }
)


def failure_meaning(failure_reason: int) -> str:
    """One line for any FailureReason, by code or by range."""
    if meaning := FAILURE_REASONS.get(failure_reason):
        return meaning
    return next((text for codes, text in _RANGES if failure_reason in codes), "a reason that no document names")
