"""Every key, its default and its meaning; `docs/configuration.md` is printed from here."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
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

_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB)?", re.IGNORECASE)
_UNITS = {"b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def _size(value: object) -> object:
    """Bytes, or a number with B, KiB, MiB or GiB."""
    if not isinstance(value, str):
        return value
    if (match := _SIZE.fullmatch(value.strip())) is None:
        raise ValueError("give bytes, or a whole number with KiB, MiB or GiB, such as 64MiB")
    return int(match[1]) * _UNITS[(match[2] or "B").lower()]


def _list(value: object) -> object:
    """A list, or the JSON of one (environment variables)."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (json.JSONDecodeError, RecursionError):
            raise ValueError('give a list as JSON, such as ["*.dcm"]') from None
    return value


TELLING_SIGNS = "@?#"  # in a URL, what stands beside one of these may be a password or a signature

Size = Annotated[int, BeforeValidator(_size), Field(gt=0)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(_list)]
SomePatterns = Annotated[Patterns, Field(min_length=1)]
YEAR = 31_536_000.0
Seconds = Annotated[float, Field(ge=0, le=YEAR, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=YEAR, allow_inf_nan=False)]


class Section(BaseModel):
    """A section of the file; what it does not know it refuses."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("true and false have no meaning here")
        return value


class Folders(Section):
    """Where files come from and where they end. All four are required; `--root DIR` gives DIR/inbox and so on."""

    inbox: Path
    """The drop folder; must be there."""
    done: Path
    """Files that the service named as stored, or was shown to hold."""
    failed: Path
    """Quarantined files, each with its reason beside it."""
    state: Path
    """Journal and lock; on a local disk."""

    @field_validator("*", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if isinstance(value, str) and (not value or "\0" in value):  # an empty one would be the working directory
            raise ValueError("give the path of a folder")
        return value

    @model_validator(mode="after")
    def _apart(self) -> Self:
        folders = {name: Path(os.path.realpath(value)) for name, value in self}
        for name, folder in folders.items():
            for other, outer in folders.items():
                if name != other and folder.is_relative_to(outer):
                    raise ValueError(f"folders.{name} = {folder} lies in folders.{other} = {outer}: keep them apart")
        return self


class Intake(Section):
    """Which files are taken, and when one is complete."""

    include: SomePatterns = ("*.dcm",)
    """Names to take, case-insensitive; a pattern with / is matched against the whole relative path."""
    exclude: Patterns = ()
    """Names to leave alone although `include` takes them."""
    recursive: bool = True
    """Also take files in sub-folders."""
    watch: Literal["auto", "events", "poll"] = "auto"
    """File events as hints: where they are proved to work, always, or never. The scan finds every file in any case."""
    rescan_seconds: Positive = 10.0
    """Between the end of a scan and the next."""
    quiet_seconds: Seconds = 2.0
    """A file without a read lease must be unchanged this long."""
    network_quiet_seconds: Seconds = 60.0
    """The same on a network file system, whose clients see changes late."""
    incomplete_timeout_seconds: Positive = 900.0
    """A file that is truncated or not DICOM goes to failed/ after it has been unchanged this long."""
    window: Annotated[int, Field(ge=16)] = 5000
    """Files held in memory at once."""


class Service(Section):
    """The origin server."""

    url: str
    """Base URL with the version, such as https://WORKSPACE-SERVICE.dicom.azurehealthcareapis.com/v2."""
    partition: str | None = None
    """Azure's data partition to store to. A name that does not exist yet is created by the first store, mistyped or not."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """Store transactions at once."""
    connect_timeout_seconds: Positive = 10.0
    """To connect, TLS included."""
    response_timeout_seconds: Positive = 300.0
    """From the last byte sent to the answer."""
    max_request_bytes: Annotated[Size, Field(ge=65536)] = 4293918720
    """The service's own limit on one request."""
    ca_bundle: Path | None = None
    """CA certificates (PEM) to trust instead of the system's, for Entra ID beside them: a file, or a folder of files."""
    client_cert: Path | None = None
    """Our certificate (PEM, with its chain) where the service or a gateway wants one; read again when it changes."""
    client_key: Path | None = None
    """Its key (PEM, no passphrase), which other users may not read; not set: it stands in `client_cert`."""
    proxy: str | None = None
    """HTTP proxy, such as http://proxy.example:3128, without user or password; proxy settings of the environment have no effect."""
    allow_http: bool = False
    """Allow plain HTTP off loopback: patients' data travels unencrypted."""

    @field_validator("url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if any(sign in value for sign in TELLING_SIGNS):
            raise ValueError("give the URL without user, password, query or fragment")
        if parts.scheme not in ("http", "https") or not parts.hostname or not value.isprintable() or " " in value:
            raise ValueError("give a URL that begins with https://, without blanks or line ends")
        if parts.port == 0:  # .port raises ValueError for what is no port at all
            raise ValueError("Port out of range 1-65535")
        return value.rstrip("/")

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
    """How the daemon proves who it is."""

    mode: Mode = "none"
    """The one credential that is used."""
    scope: Annotated[str, AfterValidator(checked_scope)] = SCOPE
    """What the token is for (Entra ID)."""
    authority: Annotated[str, AfterValidator(checked_authority)] | None = None
    """Entra ID's host in a sovereign cloud, such as login.microsoftonline.us; not set: AZURE_AUTHORITY_HOST, or the public one."""
    tenant_id: Id | None = None
    """The directory, for client-secret and client-certificate; for workload-identity not set: AZURE_TENANT_ID."""
    client_id: Id | None = None
    """The application, or the user-assigned identity; for workload-identity not set: AZURE_CLIENT_ID."""
    client_secret_file: Path | None = None
    """A file that holds the application's secret. All users may read neither this nor the other files; a change is seen at once."""
    certificate_file: Path | None = None
    """A file that holds the application's certificate and its RSA key: PEM, or PKCS#12 without a password."""
    token_file: Path | None = None
    """A file that holds a bearer token; for workload-identity the pod's own token, not set: AZURE_FEDERATED_TOKEN_FILE."""
    username: Annotated[str, AfterValidator(checked_username)] | None = None
    """For basic."""
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


class BatchSection(Section):
    """Which instances travel in one Store transaction."""

    by: Literal["study", "any"] = "study"
    """One study a request, or whatever is ready."""
    max_instances: Annotated[int, Field(ge=1, le=10000)] = 100
    """Instances in one request."""
    max_bytes: Size = 64 << 20
    """Bytes in one request; a larger file travels alone."""
    linger_seconds: Seconds = 0.5
    """How long a batch waits for more of its study."""


class Retry(Section):
    """How often and how long."""

    instance_attempts: Annotated[int, Field(ge=1)] = 8
    """Attempts that may count against one file before it is quarantined."""
    base_seconds: Positive = 1.0
    """The first wait."""
    cap_seconds: Positive = 60.0
    """The longest wait between two probes of a service that is down."""
    retry_after_cap_seconds: Positive = 3600.0
    """The longest Retry-After that is honoured."""
    creating_hours: Positive = 24.0
    """How long an instance may stay "being created" (FailureReason 45071)."""
    patience_seconds: Seconds = 3600.0
    """The least time over which attempts that count are spread; `drain` gives up when nothing moved for this long."""


class Duplicates(Section):
    """What to do when the service says that it has an instance already."""

    policy: Literal["verify", "compare", "accept"] = "verify"
    """What proves it: a receipt or the metadata, the bytes that the service holds, or its word alone."""
    conflict: Literal["quarantine", "replace"] = "quarantine"
    """When it holds other bytes under the same UIDs: put the file into failed/, or put it in their place."""


class Brake(Section):
    """When the service refuses nearly everything, sending stops until `ingestd resume`."""

    in_a_row: Annotated[int, Field(ge=1)] = 50
    """So many instances refused in a row."""
    last: Annotated[int, Field(ge=1)] = 200
    """How many of the newest instances `share` looks at."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.95
    """The share of them that the service refused."""


class Done(Section):
    """What happens to a stored file."""

    layout: str = "{date}/{path}"
    """Its path in done/; date is the UTC day of filing."""

    @field_validator("layout")
    @classmethod
    def _known_fields(cls, value: str) -> str:
        rest = value.replace("{date}", "").replace("{path}", "")
        parts = value.split("/")
        if (
            parts[-1] != "{path}"
            or {"", ".", ".."} & set(parts)
            or not value.isprintable()
            or "{" in rest
            or "}" in rest
        ):
            raise ValueError("use {date} and {path}, {path} last, such as {date}/{path}")
        return value


class Shutdown(Section):
    """What SIGTERM does."""

    deadline_seconds: Seconds = 25.0
    """The longest time from the first SIGTERM to the end."""
    drain: Literal["in-flight", "inbox"] = "in-flight"
    """Finish what is in flight, or (sidecars) go on until the inbox is empty or the deadline comes."""


class Admin(Section):
    """Health and metrics."""

    listen: str = "127.0.0.1:9464"
    """HOST:PORT, or off."""

    @field_validator("listen")
    @classmethod
    def _address(cls, value: str) -> str:
        match = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:\s]+):(\d{1,5})", value)
        if value == "off" or (match is not None and int(match[2]) <= 65535):
            return value
        raise ValueError("give HOST:PORT, such as 127.0.0.1:9464, or off")


class Log(Section):
    """The log on standard output."""

    format: Literal["json", "console"] = "json"
    """For machines or for people."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is written."""
    paths: Literal["digest", "name"] = "digest"
    """File names often hold a patient's name: write a digest, or the name."""


class Settings(Section):
    """All of it."""

    folders: Folders
    intake: Intake = Intake()
    service: Service
    auth: Auth = Auth()
    batch: BatchSection = BatchSection()
    retry: Retry = Retry()
    duplicates: Duplicates = Duplicates()
    brake: Brake = Brake()
    done: Done = Done()
    shutdown: Shutdown = Shutdown()
    admin: Admin = Admin()
    log: Log = Log()

    @model_validator(mode="after")
    def _trust_is_used(self) -> Self:
        service = self.service
        if service.ca_bundle is not None and not service.url.startswith("https:") and not self.auth.from_entra:
            raise ValueError(f"service.ca_bundle has no effect while service.url = {service.url} is not https")
        return self
