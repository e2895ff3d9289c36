"""Every key, its default and its meaning; `docs/configuration.md` is printed from here."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from ingestd.config.section import Days, Include, Patterns, Positive, Seconds, Section, Size
from ingestd.config.service import Auth, Service


class Folders(Section):
    """Where files come from and where they end. All four are required; `--root DIR` gives DIR/inbox and so on."""

    inbox: Path
    """The drop folder; must be there."""
    done: Path
    """Files that the service is proved to hold (answers.md)."""
    failed: Path
    """Quarantined files, each with its reason beside it."""
    state: Path
    """Journal, lock, brake and orders; on a local disk."""

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
                    where = "is the same folder as" if folder == outer else "lies in"
                    raise ValueError(f"folders.{name} = {folder} {where} folders.{other} = {outer}: keep them apart")
        return self


class Intake(Section):
    """Which files are taken, and when one is complete."""

    include: Include = ("*.dcm",)
    """Names to take, case-insensitive; a pattern with / is matched against the whole relative path. Or "dicom": whatever begins
    like DICOM (`DICM` at byte 128, or a data set without that header), whatever its name. Files that begin so and that no name fits
    are counted and said."""
    exclude: Patterns = ()
    """Names to leave alone although `include` takes them."""
    recursive: bool = True
    """Also take files in sub-folders."""
    watch: Literal["auto", "events", "poll"] = "auto"
    """File events as hints: where they are proved to work, always, or never. The scan finds every file in any case."""
    rescan_seconds: Positive = 10.0
    """Between the end of a scan and the next."""
    quiet_seconds: Seconds = 2.0
    """Where no read lease proves that nobody writes a file: how long after its close or its rename into place it is sent."""
    network_quiet_seconds: Seconds = 60.0
    """Where no close was seen either, as on network file systems: how long a file must be left alone before it is sent."""
    incomplete_timeout_seconds: Positive = 900.0
    """A file that is truncated, not DICOM or partly unwritten goes to failed/ after it has been unchanged this long; one that is
    kept open for writing, has a second name or may be unfilled is sent then."""
    headerless: Literal["quarantine", "send"] = "quarantine"
    """DICOM data sets without a Part 10 header, or without a transfer syntax in it. quarantine: to failed/, as no_header. send: as
    they are, where the service takes such files (Orthanc does)."""
    holes: Literal["wait", "zeros"] = "wait"
    """Parts of a file that were never written. wait: for a writer to fill them. zeros: send them as zeros after
    network_quiet_seconds (ZFS with compression, sparse copies)."""
    window: Annotated[int, Field(ge=16)] = 5000
    """Files held in memory at once; as many again may wait there for a second look."""
    remove_empty_dirs_after_seconds: Positive | None = None
    """Remove folders below the inbox that have been empty this long; a writer must fill a folder that it makes sooner."""


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

    policy: Literal["verify", "compare", "metadata", "accept"] = "verify"
    """What proves it. verify: our receipt and its metadata, else its bytes. compare: always its bytes. metadata: its metadata
    alone, which show neither other pixels nor half an image. accept: its word alone, which proves nothing."""
    conflict: Literal["quarantine", "replace"] = "quarantine"
    """When it holds other bytes under the same UIDs. quarantine: the file goes to failed/. replace: it takes their place."""


class Brake(Section):
    """When the service refuses nearly everything, sending stops until `ingestd resume`. At most ten of one study count."""

    in_a_row: Annotated[int, Field(ge=1)] = 50
    """So many instances refused in a row."""
    last: Annotated[int, Field(ge=1)] = 200
    """How many of the newest instances `share` looks at."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.95
    """The share of them that the service refused."""


class Done(Section):
    """What happens to a stored file."""

    action: Literal["move", "delete"] = "move"
    """move: to done/. delete: remove it, once its receipt is on the disk and says `new` or `fetched`; on a lesser proof it is
    moved (answers.md). Where no read lease proves that nobody writes it, it is moved, and removed
    intake.incomplete_timeout_seconds later if it is still the same."""
    retention_days: Days | None = None
    """Remove files from done/ this long after they were stored, if the service is proved to hold these bytes; not set: never."""
    layout: str = "{date}/{path}"
    """Its path in done/; date is the UTC day of filing."""

    @property
    def removes(self) -> bool:
        """Stored files go for good."""
        return self.action == "delete"

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


class Journal(Section):
    """What the daemon remembers."""

    receipts_days: Days | None = None
    """How long receipts are kept, at least as long as `done.retention_days`; not set: for ever."""


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
    journal: Journal = Journal()
    shutdown: Shutdown = Shutdown()
    admin: Admin = Admin()
    log: Log = Log()

    @model_validator(mode="after")
    def _receipts_outlive_files(self) -> Self:
        files, receipts = self.done.retention_days, self.journal.receipts_days
        if files is not None and receipts is not None and receipts < files:
            raise ValueError(
                f"journal.receipts_days = {receipts:g} is shorter than done.retention_days = {files:g}: "
                "only its receipt proves that a file may be removed, so keep receipts at least as long"
            )
        return self

    @model_validator(mode="after")
    def _trust_is_used(self) -> Self:
        service = self.service
        if service.ca_bundle is not None and not service.url.startswith("https:") and not self.auth.from_entra:
            raise ValueError(f"service.ca_bundle has no effect while service.url = {service.url} is not https")
        return self
