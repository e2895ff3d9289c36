"""What a service said, as values: one request has a status or a loss, and perhaps a readable Store Instances Response."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Loss(enum.Enum):
    """No status line was read. What it was decides whether the bytes can have been taken."""

    NOT_SENT = "not_sent"  # no connection, DNS, TLS: nothing reached the service
    TIMEOUT = "timeout"  # sent, no answer in time: unknown
    LOST = "lost"  # connection broke after sending began: unknown
    FILE_CHANGED = "file_changed"  # our file was no longer what was declared; the service is not to blame


@dataclass(frozen=True, slots=True, kw_only=True)
class Referenced:
    """An item of ReferencedSOPSequence (0008,1199)."""

    sop_instance_uid: str
    warning_reason: int | None = None
    retrieve_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An item of FailedSOPSequence (0008,1198). `comment` can hold a patient's data: reason files only, never logs (I7)."""

    sop_instance_uid: str | None
    failure_reason: int | None
    comment: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreResponse:
    """A readable Store Instances Response (PS3.18 10.5.3, I.2)."""

    referenced: tuple[Referenced, ...]
    failed: tuple[Failed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one request: a status or a loss, never both.

    `retry_after` in seconds, already parsed, None where there is none or it is garbage. `comment` is the start of a body that was
    not a Store Instances Response (bounded, for the reason file only). `digests` are the SHA-256 (from byte 128) that were computed
    while sending, one an instance, None where it was not read to its end.
    """

    status: int | None = None
    loss: Loss | None = None
    response: StoreResponse | None = None
    retry_after: float | None = None
    comment: str | None = field(default=None, repr=False)
    sent_bytes: int = 0
    seconds: float = 0.0
    digests: tuple[str | None, ...] = ()
    deleted: bool = False  # to make room, what the service held under these UIDs was deleted before this request
    changed: tuple[int, ...] = ()  # indices of the instances whose file changed under us (FILE_CHANGED)

    @property
    def outcome(self) -> str:
        """As the metric's label `status` has it: the HTTP code, connect_error, timeout or lost."""
        if self.status is not None:
            return str(self.status)
        return {Loss.NOT_SENT: "connect_error", Loss.TIMEOUT: "timeout"}.get(self.loss or Loss.LOST, "lost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a metadata read says about one SOP Instance UID. `elements` maps 8-hex-digit tags to normalised values."""

    status: int | None
    loss: Loss | None = None
    elements: dict[str, tuple[str, ...]] | None = field(default=None, repr=False)
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What came of retrieving one instance to compare it: the SHA-256 (hex, from byte 128 on) of what the service holds.

    `sha256` is there only with a status of 200 and a body that was whole.
    """

    status: int | None
    loss: Loss | None = None
    sha256: str | None = None
    retry_after: float | None = None
