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
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
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
        except json.JSONDecodeError:
            raise ValueError('give a list as JSON, such as ["*.dcm"]') from None
    return value


TELLING_SIGNS = "@?#"  # in a URL, what stands beside one of these may be a password or a signature

Size = Annotated[int, BeforeValidator(_size), Field(gt=0)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(_list)]
SomePatterns = Annotated[Patterns, Field(min_length=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


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
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """Store transactions at once."""
    connect_timeout_seconds: Positive = 10.0
    """To connect, TLS included."""
    response_timeout_seconds: Positive = 300.0
    """From the last byte sent to the answer."""
    max_request_bytes: Size = 4293918720
    """The service's own limit on one request."""
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


class Auth(Section):
    """How the daemon proves who it is."""

    mode: Literal["none", "default", "managed-identity", "workload-identity", "token-file"] = "none"
    """The one credential that is used."""
    scope: str = "https://dicom.healthcareapis.azure.com/.default"
    """What the token is for (Azure)."""
    client_id: str | None = None
    """The user-assigned identity's client id, for managed-identity and workload-identity."""
    token_file: Path | None = None
    """A file that holds a bearer token, read again when it changes."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.mode == "token-file" and self.token_file is None:
            raise ValueError("auth.mode = token-file needs auth.token_file")
        if self.mode != "token-file" and self.token_file is not None:
            raise ValueError(f"auth.token_file has no effect while auth.mode = {self.mode}: set auth.mode = token-file")
        return self


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


class Done(Section):
    """What happens to a stored file."""

    layout: str = "{date}/{path}"
    """Its path in done/; date is the UTC day of filing."""

    @field_validator("layout")
    @classmethod
    def _known_fields(cls, value: str) -> str:
        rest = value.replace("{date}", "").replace("{path}", "")
        if not value.endswith("{path}") or value.startswith("/") or "{" in rest or "}" in rest or ".." in rest:
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
    done: Done = Done()
    shutdown: Shutdown = Shutdown()
    admin: Admin = Admin()
    log: Log = Log()
