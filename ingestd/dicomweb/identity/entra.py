"""Tokens of Microsoft Entra ID: azure-identity with the one credential that auth.mode names.

A credential is made for each fetch (token_cell.py says why) and closed after it. It gets our network: a private CA beside the
public ones, a proxy only where one is configured, no word of the environment about either (F59), short timeouts, no retries of its
own. Instance discovery is off: it would ask login.microsoftonline.com whether the authority is a real one, which a sovereign or
private cloud can't reach; and the authority is Microsoft's own or the one that the operator wrote down.

What identifies a machine or a pod does come from its environment, since the platform puts it there: IDENTITY_ENDPOINT and the like
for managed identity, AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_AUTHORITY_HOST and AZURE_FEDERATED_TOKEN_FILE for workload identity.
`default` tries environment, workload identity and managed identity; developers' logins, which run programs from PATH, only where
AZURE_TOKEN_CREDENTIALS asks for them. `azure-cli` is one such login, chosen by name: it runs `az`, which has a network of its own.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ingestd.config import Auth
from ingestd.config.modes import Mode
from ingestd.core.errors import ConfigurationError
from ingestd.core.ports import Clock
from ingestd.dicomweb.identity.entra_failures import kind_of, mend
from ingestd.dicomweb.identity.headers import TokenError
from ingestd.dicomweb.identity.secret_file import SecretError, SecretFile
from ingestd.dicomweb.identity.tls import Certificates
from ingestd.dicomweb.identity.token_cell import Token, TokenTroubleError

if TYPE_CHECKING:
    from azure.core.credentials import AccessTokenInfo

CONNECT_SECONDS = 5.0  # a connection to the identity provider
READ_SECONDS = 10.0  # the identity provider's answer
PUBLIC_CLOUD = "login.microsoftonline.com"
_DEVELOPERS = (
    "shared_token_cache",
    "visual_studio_code",
    "cli",
    "developer_cli",
    "powershell",
    "broker",
)

Network = dict[str, Any]  # keywords that every credential passes down to its transport


class Credential(Protocol):
    """What all of azure-identity's credentials can do."""

    def get_token_info(self, *scopes: str) -> AccessTokenInfo: ...
    def __enter__(self) -> object: ...
    def __exit__(self, *args: object) -> None: ...


class EntraToken:
    """Calling it fetches a token. Raises TokenError; blocks."""

    def __init__(self, auth: Auth, *, clock: Clock, ca_bundle: Path | None = None, proxy: str | None = None) -> None:
        """Raises ConfigurationError where the credential can't be made. Nothing is sent."""
        self._mode = auth.mode
        self._scope = auth.scope
        self._clock = clock
        self._ca_bundle = ca_bundle
        self._proxy = proxy if auth.mode != "managed-identity" else None  # its endpoint is on this machine
        self._secret = _secret_file(auth)
        self._make = _maker(auth, self._secret)
        try:
            self._credential().__exit__(None, None, None)
        except SecretError as error:
            raise (self._secret.refusal(error) if self._secret else error) from None

    def __call__(self) -> Token:
        from azure.core.exceptions import AzureError  # noqa: PLC0415 - heavy; only these modes need it

        try:
            credential = self._credential()
        except (SecretError, ConfigurationError) as error:  # a file that can't be used any more
            raise TokenError(str(error)) from None
        try:
            with credential:
                found = credential.get_token_info(self._scope)
        except (AzureError, ValueError, OSError) as error:
            raise TokenTroubleError(
                f"the identity provider gave none ({kind_of(error)}): {mend(self._mode, error)}"
            ) from None
        return Token(value=found.token, expires_at=found.expires_on)

    def _credential(self) -> Credential:
        """Raises SecretError, ConfigurationError."""
        network = _network(_trust(self._clock, self._ca_bundle), self._proxy)
        try:
            return self._make(network)
        except ValueError as error:
            raise ConfigurationError(f"auth.mode = {self._mode}: {_lack(self._mode, error)}") from None


def _secret_file(auth: Auth) -> SecretFile | None:
    if auth.client_secret_file is not None:
        return SecretFile("auth.client_secret_file", auth.client_secret_file)
    if auth.certificate_file is not None:
        return SecretFile("auth.certificate_file", auth.certificate_file)
    if auth.token_file is not None:
        return SecretFile("auth.token_file", auth.token_file)
    return None


def _maker(auth: Auth, secret: SecretFile | None) -> Callable[[Network], Credential]:
    from azure import identity  # noqa: PLC0415 - half a second that only these modes pay

    tenant, client = auth.tenant_id or "", auth.client_id or ""
    application: Network = {"authority": auth.authority or PUBLIC_CLOUD, "disable_instance_discovery": True}

    def default(network: Network) -> Credential:
        asked_for = os.environ.get("AZURE_TOKEN_CREDENTIALS", "").strip()
        without = {} if asked_for else {f"exclude_{name}_credential": True for name in _DEVELOPERS}
        ids = {"managed_identity_client_id": client, "workload_identity_client_id": client} if client else {}
        return identity.DefaultAzureCredential(
            authority=auth.authority, disable_instance_discovery=True, **ids, **without, **network
        )

    def managed(network: Network) -> Credential:
        return identity.ManagedIdentityCredential(client_id=auth.client_id, **network)

    def workload(network: Network) -> Credential:
        if secret is not None:
            secret.content()
        return identity.WorkloadIdentityCredential(
            tenant_id=auth.tenant_id,
            client_id=auth.client_id,
            token_file_path=str(auth.token_file) if auth.token_file is not None else None,
            authority=auth.authority,
            **network,
        )

    def by_secret(network: Network) -> Credential:
        text = secret.text() if secret is not None else ""
        return identity.ClientSecretCredential(tenant, client, text, **application, **network)

    def by_certificate(network: Network) -> Credential:
        pem = secret.content() if secret is not None else b""
        return identity.CertificateCredential(tenant, client, certificate_data=pem, **application, **network)

    def by_cli(_network: Network) -> Credential:
        return identity.AzureCliCredential(tenant_id=tenant)

    makers: dict[str, Callable[[Network], Credential]] = {
        "default": default,
        "managed-identity": managed,
        "workload-identity": workload,
        "client-secret": by_secret,
        "client-certificate": by_certificate,
        "azure-cli": by_cli,
    }
    return makers[auth.mode]


def _trust(clock: Clock, ca_bundle: Path | None) -> ssl.SSLContext:
    """The system's CAs and those of service.ca_bundle: the service's CA may be private while Entra's is public, or both are."""
    context = Certificates(clock=clock).context()
    if ca_bundle is not None:
        private = Certificates(clock=clock, ca_bundle=ca_bundle).context().get_ca_certs(binary_form=True)
        if private:
            context.load_verify_locations(cadata=b"".join(private))
    return context


def _network(trust: ssl.SSLContext, proxy: str | None) -> Network:
    from requests import Session  # noqa: PLC0415 - what azure-identity brings

    from ingestd.dicomweb.identity.entra_transport import Trusting  # noqa: PLC0415

    session = Session()
    session.trust_env = False
    session.mount("https://", Trusting(trust))
    return {
        "session": session,
        "connection_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "retry_total": 0,
        **({"proxies": {"https": proxy}} if proxy is not None else {}),
    }


def _lack(mode: Mode, error: ValueError) -> str:
    """Why a credential can't be made, in our words: azure-identity's can quote what it was given."""
    match mode:
        case "workload-identity":
            missing = [word for word in ("tenant_id", "client_id", "token_file") if f"'{word}" in str(error)]
            return f"set {', '.join(f'auth.{word}' for word in missing)}, or let the pod have its AZURE_ variables"
        case "client-certificate":
            return (
                "auth.certificate_file holds no certificate with its RSA key, in PEM, or in PKCS#12 without a password"
            )
        case _:
            return "the credential can't be made of what is set in [auth] and in the AZURE_ variables"
