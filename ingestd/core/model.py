"""The values that travel from a dropped file to its outcome.

A *sighting* is a name. A *look* is what open and fstat said about it. An *inspection* is what the Part 10 walk said about its
bytes. What passed all three is an *instance*; instances travel in *batches*, and each ends in an outcome.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A name that the scanner or a file event offers.

    `path` is relative to the inbox, with `/`, as os.fsdecode gives it (surrogateescape). `hinted` says a file event brought it.
    """

    path: str
    hinted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Which file it is and which state of it, as fstat on the opened file says. Times in nanoseconds, size in bytes."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look by open and fstat. `leased`: the kernel granted a read lease, so nobody had it open for writing."""

    stamp: Stamp
    links: int
    leased: bool
    owner_owns_folder: bool
    on_network: bool


class Wholeness(enum.Enum):
    """What the walk to the very end says. Only WHOLE and WHOLE_ZERO_TAIL may be sent."""

    WHOLE = "whole"
    WHOLE_ZERO_TAIL = "whole_zero_tail"  # zeros after the last whole element: the full quiet rule only, never the lease
    TRUNCATED = "truncated"
    NOT_DICOM = "not_dicom"
    NO_PIXEL_DATA = "no_pixel_data"
    DICOMDIR = "dicomdir"
    NO_UID = "no_uid"
    OUT_OF_BOUNDS = "bounds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifiers:
    """The UIDs that name an instance (PS3.3 C.7) and how it is encoded."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.study_uid, self.series_uid, self.sop_instance_uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What the Part 10 walk found. `ids` is there whenever all UIDs could be read, whatever the wholeness.

    `text` says in one line, without a value out of the data set, why it is not whole. `notes` are remarks that never decide.
    `content` and `sha256` (hex, of the bytes from 128 on: services replace the preamble) are there for small whole files, which are
    read once.
    """

    wholeness: Wholeness
    text: str = ""
    ids: Identifiers | None = None
    notes: tuple[str, ...] = ()
    content: bytes | None = field(default=None, repr=False)
    sha256: str | None = None


class Wait(enum.Enum):
    """Why a file is passed over for a while; the words stand in the journal."""

    INCOMPLETE = "incomplete"  # truncated, not DICOM, out of bounds, linked twice: perhaps still being written
    UNMOVABLE = "unmovable"  # its outcome is known, the move did not happen
    SERVER_TROUBLE = "server_trouble"  # FailureReason 272 or A7xx: reported against the instance
    REQUEST_TROUBLE = "request_trouble"  # 500, 502, timeout, lost: reported against the request
    REFUSED_ALONE = "refused_alone"  # a whole-request refusal met it alone, and the control passed
    CREATING = "creating"  # FailureReason 45071
    UNVERIFIED = "unverified"  # FailureReason 45070, and the service could not show that it holds it


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferral:
    """A file that is passed over until `due_at`. Kept in the journal by path and identity; times in seconds since the epoch.

    `attempts` counts the answers of the service that made it wait (of other waits, this kind of wait), `counted` those of this kind
    that count against the file. `mark` is the number of the newest receipt at the last attempt: only when another instance was
    stored since then does the next one count ("one alone").
    """

    path: str
    stamp: Stamp
    wait: Wait
    due_at: float
    first_seen: float
    since: float
    attempts: int = 1
    counted: int = 0
    mark: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A whole, settled file that may be sent: what was judged (`stamp`) is what must be opened.

    `content` and `sha256` as in Inspection. `history` is its last wait for the service, if it had one.
    """

    path: str
    stamp: Stamp
    ids: Identifiers
    first_seen: float
    hinted: bool = False
    content: bytes | None = field(default=None, repr=False)
    sha256: str | None = None
    history: Deferral | None = None

    @property
    def size(self) -> int:
        return self.stamp.size

    @property
    def sop_instance_uid(self) -> str:
        return self.ids.sop_instance_uid


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Instances for one Store transaction; never two of one SOP Instance UID. `isolating`: it is a half of a refused one."""

    instances: tuple[Instance, ...]
    isolating: bool = False

    @property
    def size(self) -> int:
        return sum(i.size for i in self.instances)


# --- what the service said -------------------------------------------------------------------------------------------------------


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
    changed: tuple[int, ...] = ()  # indices of the instances whose file changed under us (FILE_CHANGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a metadata read says about one SOP Instance UID. `elements` maps 8-hex-digit tags to normalised values."""

    status: int | None
    loss: Loss | None = None
    elements: dict[str, tuple[str, ...]] | None = field(default=None, repr=False)
    retry_after: float | None = None


# --- what becomes of an instance -------------------------------------------------------------------------------------------------


class Reason(enum.Enum):
    """Why a file stands in failed/. The words are the contract's codes, in metrics and reason files."""

    NOT_DICOM = "not_dicom"
    TRUNCATED = "truncated"
    NO_PIXEL_DATA = "no_pixel_data"
    DICOMDIR = "dicomdir"
    NO_UID = "no_uid"
    BOUNDS = "bounds"
    HARD_LINK = "hard_link"
    TOO_LARGE = "too_large"
    REJECTED = "rejected"
    CONFLICT = "conflict"
    CREATING = "creating"
    POISON = "poison"


class Outcome(enum.Enum):
    """The four ends of a file, as `ingestd_instances_total` counts them."""

    STORED = "stored"
    STORED_WITH_WARNING = "stored_with_warning"
    ALREADY_STORED = "already_stored"
    QUARANTINED = "quarantined"


class HoldCause(enum.Enum):
    """Whose fault a Hold is; each has its line in codes that says how to mend it."""

    UNREACHABLE = "unreachable"
    BUSY = "busy"  # 408, 429, 503, 504
    IDENTITY = "identity"  # 401
    ROLE = "role"  # 403
    ROUTE = "route"  # 404, 406, 3xx
    DEPENDENCY = "dependency"  # 424
    CONTROL = "control"  # the control itself was refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    retrieve_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWithWarning:
    warning_reason: int
    retrieve_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyStored:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """The service says it holds this SOP Instance UID: ask it, and compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The instance leaves the window and comes back by the journal; core.backoff says when, and when patience ends."""

    wait: Wait
    http_status: int | None = None
    failure_reason: int | None = None
    comment: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Never the file's fault: it stays, the breaker opens. `retry_after` is the service's own floor in seconds."""

    cause: HoldCause
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolate:
    """The request is refused and the service is well: halve it, down to one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendAgain:
    """Its request ended for another's sake before anything was said about it: back to ready, nothing counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resettle:
    """The file changed while it was sent, whatever the service said: look at it anew (I4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """A verdict about this very file (I3). `comment` holds the server's own words."""

    reason: Reason
    text: str
    what_to_do: str
    http_status: int | None = None
    failure_reason: int | None = None
    comment: str | None = field(default=None, repr=False)
    by_service: bool = False  # the service's verdict, not ours: the brake counts these


Disposition = (
    Stored | StoredWithWarning | AlreadyStored | Verify | Retry | Hold | Isolate | SendAgain | Resettle | Quarantine
)


# --- what is remembered ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Proof that the service named an instance. `stored_at` in seconds, wall clock; `sha256` of the bytes from 128 on."""

    stored_at: float
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    size: int
    sha256: str
    path: str
    outcome: Outcome
    http_status: int | None
    reason: int | None  # WarningReason or FailureReason, where there was one
    retrieve_url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All that failed/'s reason file says about a quarantined file, and which file it is (`stamp`)."""

    path: str
    stamp: Stamp
    quarantine: Quarantine
    attempts: int
    first_seen: float
    failed_at: float
    ids: Identifiers | None
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What one tick writes to the journal, in one transaction. `forgotten` are paths whose deferral has ended."""

    receipts: tuple[Receipt, ...] = ()
    deferrals: tuple[Deferral, ...] = ()
    forgotten: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.receipts or self.deferrals or self.forgotten)
