"""What becomes of a file: why it can fail, how it can end, and the dispositions that an answer leads to."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from ingestd.core.model import Wait


class Reason(enum.Enum):
    """Why a file stands in failed/. The words are the contract's codes, in metrics and reason files."""

    NOT_DICOM = "not_dicom"
    TRUNCATED = "truncated"
    UNFILLED = "unfilled"
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


class DuplicatePolicy(enum.Enum):
    """What proves that an instance of which the service says "already there" is the same: `duplicates.policy`."""

    VERIFY = "verify"  # its metadata, or a receipt and its metadata
    COMPARE = "compare"  # its bytes
    ACCEPT = "accept"  # the service's word


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
    """The service holds it. `same_bytes`: it was shown to hold these very bytes, and not only their name, or like elements."""

    same_bytes: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """The service says it holds this SOP Instance UID: ask it, and compare.

    `by_bytes`: retrieve it and compare digests. `named`: this request named it as stored, and a receipt shows other bytes.
    """

    by_bytes: bool = False
    named: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The instance leaves the window and comes back by the journal; core.backoff says when, and when patience ends."""

    wait: Wait
    http_status: int | None = None
    failure_reason: int | None = None
    comment: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Never the file's fault: it stays, the breaker opens. `retry_after` is the service's own floor in seconds.

    `counts`: as one of the three after which a batch is isolated (not 401, 429, or no answer at all). `problem`: our own words.
    """

    cause: HoldCause
    retry_after: float | None = None
    counts: bool = False
    problem: str | None = None


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
