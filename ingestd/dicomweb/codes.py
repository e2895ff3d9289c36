"""What each hold means and how to mend it: one line for the log."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ingestd.core.outcome import HoldCause

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
            "the URL leads to no store service (404, 406 or a redirect): check service.url, the version at its end (/v2), "
            "service.partition (a partition that exists) and what stands between"
        ),
        HoldCause.DEPENDENCY: (
            "a resource that the service needs refuses it (424): check its storage account and its customer-managed key"
        ),
        HoldCause.CONTROL: (
            "the service refuses even an empty Store transaction: check service.url, service.partition where partitions are on, "
            "and service.client_cert where a certificate is wanted"
        ),
    }
)
