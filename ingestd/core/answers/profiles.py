"""What is known of a kind of service: the one literal table of `service.kind`.

A row without a source gets no entry. Azure: microsoft/dicom-server, StoreService and WarningReasonCodes: an instance that is there
already fails with 45070, so what it names it did not have; WarningReason 1 (attributes left out of its index) and B007H (implicit
VR) leave the file as it was sent. Orthanc: OverwriteInstances is false by default, and then it keeps the old file and names it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

ELEMENTS_DISCARDED = 0xB006  # WarningReason, PS3.4 Table B.2-1: what it holds is less than what was sent
_AZURE_HOSTS = (".dicom.azurehealthcareapis.com", ".dicom.azurehealthcareapis.us", ".dicom.azurehealthcareapis.cn")


class ServiceKind(enum.Enum):
    """The values of `service.kind` but for auto."""

    AZURE = "azure"
    ORTHANC = "orthanc"
    GENERIC = "generic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """`names_only_new`: what it names as stored it did not have, and holds as it was sent. `harmless_warnings`: WarningReasons that
    leave the bytes alone. `readable`: it has the routes by which an instance is read, so its 404 says that there is none.
    `rewrites`: what comes back never equals what was sent; `coerced` are the tags that it changes."""

    names_only_new: bool = False
    harmless_warnings: frozenset[int] = frozenset()
    readable: bool = False
    rewrites: bool = False
    coerced: frozenset[str] = frozenset()


PROFILES: Mapping[ServiceKind, Profile] = MappingProxyType(
    {
        ServiceKind.AZURE: Profile(names_only_new=True, harmless_warnings=frozenset({1, 0xB007}), readable=True),
        ServiceKind.ORTHANC: Profile(readable=True),
        ServiceKind.GENERIC: Profile(),
    }
)


def kind_of(host: str) -> ServiceKind:
    """What `service.kind = auto` means for this host name."""
    return ServiceKind.AZURE if host.lower().rstrip(".").endswith(_AZURE_HOSTS) else ServiceKind.GENERIC
