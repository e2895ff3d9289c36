"""What a service said, as values: one request has a status or a loss, and perhaps a readable Store Instances Response."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field

from ingestd.core.model import Identifiers


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
    not a Store Instances Response (bounded, for the reason file only). `problem`: what we know of it, in our own words, fit for a
    log. `page`: the media type of a body that is nothing a DICOMweb service answers, such as a login page's. `digests` are the
    SHA-256 of the data sets, computed while sending, one an instance, None where it was not read to its end.
    """

    status: int | None = None
    loss: Loss | None = None
    response: StoreResponse | None = None
    retry_after: float | None = None
    comment: str | None = field(default=None, repr=False)
    problem: str | None = None
    page: str | None = None
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

    @property
    def said_twice(self) -> frozenset[str | None]:
        """The UIDs that its response has more than one item for. Each is sent once in a request, so it contradicts itself there."""
        if self.response is None:
            return frozenset()
        times = Counter[str | None](item.sop_instance_uid for item in self.response.referenced)
        times.update(item.sop_instance_uid for item in self.response.failed)
        return frozenset(uid for uid, number in times.items() if number > 1)


class Shown(enum.Enum):
    """What one read of an instance came to. An answer counts only if it names what was asked."""

    IT = "the instance that was asked for, by all three UIDs"
    ANOTHER = "an answer that names another instance, or none"
    UNREADABLE = "an answer that is too large or malformed"
    ABSENT = "that there is no such instance"
    REFUSED = "that reading is not allowed, or that there is no such route"
    NOTHING = "no answer"


_REFUSED = frozenset({401, 403, 405, 406, 501})
_ABSENT = frozenset({404, 410})


def _shown(status: int | None) -> Shown | None:
    """What a status says by itself; None for 200, whose body decides."""
    if status is None:
        return Shown.NOTHING
    if status in _ABSENT:
        return Shown.ABSENT
    if status in _REFUSED or 300 <= status < 400:
        return Shown.REFUSED
    if status == 200:
        return None
    return Shown.UNREADABLE if 200 < status < 300 else Shown.NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a metadata read says about one SOP Instance UID. `elements` maps 8-hex-digit tags to normalised values.

    They are None where nothing readable came.
    """

    status: int | None
    loss: Loss | None = None
    elements: dict[str, tuple[str, ...]] | None = field(default=None, repr=False)

    def shown(self, ids: Identifiers) -> Shown:
        """What it says about `ids`."""
        if (shown := _shown(self.status)) is not None:
            return shown
        if self.elements is None:
            return Shown.UNREADABLE
        found = tuple(self.elements.get(tag) for tag in ("0020000D", "0020000E", "00080018"))
        return Shown.IT if found == tuple((uid,) for uid in ids.key) else Shown.ANOTHER


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What came of retrieving one instance to compare it: the SHA-256 (hex) of the data set that the service holds.

    `sha256` is there only with a status of 200 and a body that was whole; `key` are its study, series and SOP Instance UID.
    """

    status: int | None
    loss: Loss | None = None
    sha256: str | None = None
    transfer_syntax_uid: str | None = None
    key: tuple[str, str, str] | None = None

    def shown(self, ids: Identifiers) -> Shown:
        """What it says about `ids`."""
        if (shown := _shown(self.status)) is not None:
            return shown
        if self.sha256 is None or self.key is None:
            return Shown.UNREADABLE
        return Shown.IT if self.key == ids.key else Shown.ANOTHER


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What a search said of a study before something was sent: nothing (`answered` is false), or which instances are there.

    `absent`: the study is not known at all. Else `series` holds the SOP Instance UIDs of each series that was listed to its end.
    """

    answered: bool
    absent: bool = False
    series: dict[str, frozenset[str]] = field(default_factory=dict)
