"""Who we are and whom we trust, made of the settings: the same for the daemon and for a command."""

from __future__ import annotations

from pathlib import Path

from ingestd.config import Auth, Service
from ingestd.core.ports import Clock
from ingestd.dicomweb.identity.entra import EntraToken
from ingestd.dicomweb.identity.headers import BasicPassword, TokenFile, TokenSource
from ingestd.dicomweb.identity.tls import Certificates
from ingestd.dicomweb.identity.token_cell import TokenCell

PATIENCE_SECONDS = 5.0  # a request without a token, for the fetch that is under way: an identity provider can hang


def token_source(
    auth: Auth, service: Service, *, clock: Clock, patience_seconds: float = PATIENCE_SECONDS
) -> TokenSource | None:
    """None where nobody asks who we are. A TokenCell is still to be started. Raises ConfigurationError."""
    match auth:
        case Auth(mode="none"):
            return None
        case Auth(mode="token-file", token_file=Path() as file):
            return TokenFile(file)
        case Auth(mode="basic", username=str() as username, password_file=Path() as file):
            return BasicPassword(username, file)
        case _:
            fetch = EntraToken(auth, clock=clock, ca_bundle=service.ca_bundle, proxy=service.proxy)
            return TokenCell(fetch, clock=clock, patience_seconds=patience_seconds)


def certificates(service: Service, *, clock: Clock) -> Certificates | None:
    """None where the service is not reached over TLS. Raises ConfigurationError."""
    if not service.url.startswith("https:"):
        return None
    return Certificates(
        clock=clock,
        ca_bundle=service.ca_bundle,
        client_cert=service.client_cert,
        client_key=service.client_key,
    )
