"""The `service` and `auth` sections: where files go, and who we are there."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    field_validator,
    model_validator,
)

from ingestd.config.modes import (
    FROM_ENTRA,
    SCOPE,
    Mode,
    checked_authority,
    checked_id,
    checked_scope,
    checked_username,
    complaint,
)
from ingestd.config.section import TELLING_SIGNS, Positive, Section, Size
from ingestd.config.service_url import checked_base, refuse_example
from ingestd.core.answers.profiles import ServiceKind, kind_of


class Service(Section):
    """The DICOMweb service that files are sent to."""

    url: str
    """Base URL with the version and without /studies, such as https://WORKSPACE-SERVICE.dicom.azurehealthcareapis.com/v2."""
    kind: Literal["auto", "azure", "orthanc", "generic"] = "auto"
    """What the service's answers mean. azure: it names as stored only what it did not have before. orthanc, generic: it may have
    kept an older file and say stored, so it is asked before a send and afterwards. auto: azure by the host's name, else generic."""
    partition: str | None = None
    """Azure's data partition to store to. A name that does not exist yet is created by the first store, mistyped or not."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """How many requests are sent at the same time, at most."""
    connect_timeout_seconds: Positive = 10.0
    """How long a connection may take to come about, TLS included."""
    response_timeout_seconds: Positive = 300.0
    """How long the answer may take, from the last byte sent."""
    max_request_bytes: Annotated[Size, Field(ge=65536)] = 4293918720
    """The largest request that the service takes; a larger file goes to failed/ (too_large)."""
    ca_bundle: Path | None = None
    """CA certificates (PEM) to trust instead of the system's; for Entra ID in addition to them. A file, or a folder of files."""
    client_cert: Path | None = None
    """A file that holds ingestd's certificate (PEM, with its chain) where the service or a gateway wants one; read again when it
    changes."""
    client_key: Path | None = None
    """A file that holds the key of that certificate (PEM, no passphrase), which other users may not read; not set: the key is in
    `client_cert`."""
    proxy: str | None = None
    """HTTP proxy, such as http://proxy.example:3128, without user or password; proxy settings of the environment have no effect."""
    allow_http: bool = False
    """Allow plain HTTP off loopback: patients' data travels unencrypted."""

    @property
    def profile_kind(self) -> ServiceKind:
        """`kind`, told by the host's name where it is auto."""
        return kind_of(urlsplit(self.url).hostname or "") if self.kind == "auto" else ServiceKind(self.kind)

    @field_validator("url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        if any(sign in value for sign in TELLING_SIGNS):
            raise ValueError("give the URL without user, password, query or fragment")
        refuse_example(value)
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or not value.isprintable() or " " in value:
            raise ValueError("give a URL that begins with https://, without blanks or line ends")
        if parts.port == 0:  # .port raises ValueError for what is no port at all
            raise ValueError("Port out of range 1-65535")
        return checked_base(value)

    @field_validator("partition")
    @classmethod
    def _partition_name(cls, value: str | None) -> str | None:
        if value is None or (re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value) and value.strip(".")):
            return value
        raise ValueError("give 1 to 64 of the characters A-Z a-z 0-9 . _ -")

    @field_validator("proxy")
    @classmethod
    def _plain_proxy(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if any(sign in value for sign in TELLING_SIGNS):
            raise ValueError("give the proxy without user and password: one that wants them can't be used")
        parts = urlsplit(value)
        if parts.scheme != "http" or not parts.hostname or not value.isprintable() or " " in value:
            raise ValueError("give http://HOST:PORT; what goes to the service is encrypted all the way through it")
        if parts.path.strip("/") or parts.port == 0:  # .port raises ValueError for what is no port at all
            raise ValueError("give http://HOST:PORT and nothing after it")
        return value.rstrip("/")

    @field_validator("ca_bundle", "client_cert", "client_key", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if isinstance(value, str) and (not value or "\0" in value):  # an empty one would be the working directory
            raise ValueError("give the path of a file")
        return value

    @model_validator(mode="after")
    def _certificates(self) -> Self:
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("service.client_key needs service.client_cert")
        if self.client_cert is not None and not self.url.startswith("https:"):
            raise ValueError(f"service.client_cert has no effect while service.url = {self.url} is not https")
        return self

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not self.allow_http and not _loopback(parts.hostname or ""):
            raise ValueError(
                f"service.url = {self.url} is not encrypted: use https://, or set service.allow_http = true"
            )
        return self


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


Id = Annotated[str, AfterValidator(checked_id)]


class Auth(Section):
    """How ingestd proves to the service who it is."""

    mode: Mode = "none"
    """The one credential that is used. default: the AZURE_ variables, a workload or a managed identity, whichever is there.
    azure-cli: the login of `az`, of the user that ingestd runs as."""
    scope: Annotated[str, AfterValidator(checked_scope)] = SCOPE
    """The scope of the token (Entra ID): which service it is for."""
    authority: Annotated[str, AfterValidator(checked_authority)] | None = None
    """Entra ID's host in a sovereign cloud, such as login.microsoftonline.us; not set: AZURE_AUTHORITY_HOST, or the public one."""
    tenant_id: Id | None = None
    """The directory, for client-secret and client-certificate; for workload-identity not set: AZURE_TENANT_ID."""
    client_id: Id | None = None
    """The application, or the user-assigned identity; for workload-identity not set: AZURE_CLIENT_ID."""
    client_secret_file: Path | None = None
    """A file that holds the application's secret. No file of this section may be
    readable to all users; a change is seen at once."""
    certificate_file: Path | None = None
    """A file that holds the application's certificate and its RSA key: PEM, or PKCS#12 without a password."""
    token_file: Path | None = None
    """A file that holds a bearer token; for workload-identity the pod's own token, not set: AZURE_FEDERATED_TOKEN_FILE."""
    username: Annotated[str, AfterValidator(checked_username)] | None = None
    """The user name, for basic."""
    password_file: Path | None = None
    """A file that holds the password, for basic."""

    @field_validator("client_secret_file", "certificate_file", "token_file", "password_file", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if isinstance(value, str) and (not value or "\0" in value):  # an empty one would be the working directory
            raise ValueError("give the path of a file")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        given = {name for name, value in self if value is not None and value != type(self).model_fields[name].default}
        if (wrong := complaint(self.mode, given - {"mode"})) is not None:
            raise ValueError(wrong)
        return self

    @property
    def from_entra(self) -> bool:
        """Whether tokens are fetched, from Microsoft Entra ID."""
        return self.mode in FROM_ENTRA
