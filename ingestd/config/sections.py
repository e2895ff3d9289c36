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
from ingestd.core.layout import Layout


class Folders(Section):
    """Where files come from and where they end. All four are required; `--root DIR` gives DIR/inbox and so on."""

    inbox: Path
    """The drop folder; must be there."""
    done: Path
    """Files that the service has, as docs/answers.md proves it."""
    failed: Path
    """Quarantined files, each with its reason beside it."""
    state: Path
    """What ingestd remembers: its journal, its lock, the brake and orders of `failed retry`; on a local disk."""

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
    """Patterns of file names to take; upper and lower case are the same, and a pattern with / is matched against the whole path
    below the inbox. Or "dicom": every file that begins like DICOM (`DICM` at byte 128, or a data set without that header), whatever
    its name. DICOM files whose names do not match are counted, and the log and `drain` say so."""
    exclude: Patterns = ()
    """Patterns of file names to leave alone although `include` takes them."""
    recursive: bool = True
    """Also take files in sub-folders."""
    watch: Literal["auto", "events", "poll"] = "auto"
    """Use the kernel's file events to react faster. auto: where they are shown to work, such as on local disks; events: always;
    poll: never. The scan finds every file in any case."""
    rescan_seconds: Positive = 10.0
    """The time between the end of a scan of the inbox and the next."""
    quiet_seconds: Seconds = 2.0
    """How long after a file was closed or renamed into place it is sent, where no read lease shows that nobody writes it any
    more."""
    network_quiet_seconds: Seconds = 60.0
    """How long a file must not change before it is sent, where ingestd can neither have a read lease nor see the close, as on
    network file systems."""
    incomplete_timeout_seconds: Positive = 900.0
    """A file that is truncated, not DICOM or partly unwritten goes to failed/ when it has not changed for this long. One that is
    kept open for writing, has a second name, or ends in zeros that perhaps nobody wrote is sent then."""
    headerless: Literal["quarantine", "send"] = "quarantine"
    """DICOM data sets without a Part 10 header, or without a transfer syntax in it. quarantine: to failed/, as no_header. send: as
    they are, where the service takes such files (Orthanc does)."""
    holes: Literal["wait", "zeros"] = "wait"
    """What to do about parts of a file that were never written. wait: wait for a writer to fill them. zeros: send them as zeros
    after network_quiet_seconds (ZFS with compression, sparse copies)."""
    window: Annotated[int, Field(ge=16)] = 5000
    """Files held in memory at once; as many again may wait there for a second look."""
    remove_empty_dirs_after_seconds: Positive | None = None
    """Remove folders below the inbox that have been empty this long; a writer must fill a folder that it makes sooner."""


class BatchSection(Section):
    """Which instances travel in one Store transaction."""

    by: Literal["study", "any"] = "study"
    """study: the files of one study in a request; any: whatever is ready."""
    max_instances: Annotated[int, Field(ge=1, le=10000)] = 100
    """Instances in one request."""
    max_bytes: Size = 64 << 20
    """Bytes in one request; a larger file travels alone."""
    linger_seconds: Seconds = 0.5
    """How long a batch waits for more of its study."""


class Retry(Section):
    """How often a file is sent again, and how long ingestd waits."""

    instance_attempts: Annotated[int, Field(ge=1)] = 8
    """How often the service may fail on one file, while it stores others, before the file goes to failed/."""
    base_seconds: Positive = 1.0
    """The first wait before something is tried again; later waits grow."""
    cap_seconds: Positive = 60.0
    """The longest wait between two probes of a service that is down."""
    retry_after_cap_seconds: Positive = 3600.0
    """The longest Retry-After that is honoured."""
    creating_hours: Positive = 24.0
    """How long an instance may stay "being created" (FailureReason 45071)."""
    patience_seconds: Seconds = 3600.0
    """A file on which the service fails is not given up before this much time has passed. `drain` ends when nothing moved for this
    long."""


class Duplicates(Section):
    """What to do when the service says that it already has an instance."""

    policy: Literal["verify", "compare", "metadata", "accept"] = "verify"
    """What shows that it has the same bytes. verify: our receipt and the service's metadata, else its bytes, which are fetched.
    compare: always its bytes. metadata: its metadata alone, which show neither other pixels nor half an image. accept: its word
    alone, which proves nothing."""
    conflict: Literal["quarantine", "replace"] = "quarantine"
    """When it holds other bytes under the same UIDs. quarantine: the file goes to failed/. replace: it takes their place."""


class Brake(Section):
    """When the service refuses nearly everything, sending stops until `ingestd resume`. At most ten of one study count."""

    in_a_row: Annotated[int, Field(ge=1)] = 50
    """The brake goes on after so many refused instances in a row."""
    last: Annotated[int, Field(ge=1)] = 200
    """How many of the newest instances `share` is taken of."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.95
    """The brake goes on when the service refused this share of them."""


class Done(Section):
    """What happens to a stored file."""

    action: Literal["move", "delete"] = "move"
    """move: move the file to done/. delete: remove the file once the service provably has the same bytes (proof `new` or `fetched`,
    docs/answers.md) and that is recorded; with a weaker proof it is moved. Where no read lease shows that nobody writes it, it is
    moved, and removed intake.incomplete_timeout_seconds later if it is still the same."""
    retention_days: Days | None = None
    """Remove files from done/ this long after they were stored, if the service provably has the same bytes; not set: never."""
    layout: str = "{date}/{path}"
    """The path of a file in done/; date is the UTC day on which it was moved there."""

    @property
    def removes(self) -> bool:
        """Stored files go for good."""
        return self.action == "delete"

    @field_validator("layout")
    @classmethod
    def _places(cls, value: str) -> str:
        Layout(value)
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
    """in-flight: finish the requests that are under way. inbox (for sidecars): go on until the inbox is empty or the deadline
    comes."""


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
    """json: for machines; console: for people."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is written."""
    paths: Literal["digest", "name"] = "digest"
    """How a file is named: by a digest of its path, because paths often hold a patient's name, or by the path itself (name)."""


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
