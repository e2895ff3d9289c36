"""What becomes of a file: how it can end, and the dispositions that an answer leads to."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace

from ingestd.core.answers.answer import Loss
from ingestd.core.answers.proof import Proof
from ingestd.core.answers.reasons import Reason
from ingestd.core.model import Asked, Wait


class Outcome(enum.Enum):
    """The four ends of a file, as `ingestd_instances_total` counts them."""

    STORED = "stored"
    STORED_WITH_WARNING = "stored_with_warning"
    ALREADY_STORED = "already_stored"
    QUARANTINED = "quarantined"


class DuplicatePolicy(enum.Enum):
    """What proves that an instance of which the service says "already there" is the same: `duplicates.policy`."""

    VERIFY = "verify"  # our receipt of its bytes and its metadata, else its bytes
    COMPARE = "compare"  # its bytes
    METADATA = "metadata"  # its metadata: they show neither other pixels nor half an image
    ACCEPT = "accept"  # the service's word


class HoldCause(enum.Enum):
    """Whose fault a Hold is."""

    UNREACHABLE = "unreachable"
    BUSY = "busy"  # 408, 429, 503, 504
    IDENTITY = "identity"  # 401
    ROLE = "role"  # 403
    ROUTE = "route"  # 404, 406, 3xx
    PROXY = "proxy"  # 407
    DEPENDENCY = "dependency"  # 424
    CONTROL = "control"  # the control itself was refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    proof: Proof
    retrieve_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWithWarning:
    proof: Proof
    warning_reason: int
    retrieve_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyStored:
    """The service held it before."""

    proof: Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """What was answered proves nothing: ask the service what it holds. `asked` says why; the rest as in Referenced.

    `comment`: the words of a lone 409, for the verdict that may follow.
    """

    asked: Asked
    warning_reason: int | None = None
    retrieve_url: str | None = None
    comment: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The instance leaves the window and comes back by the journal; core.pace.backoff says when, and when patience ends.

    `asked`: it comes back to be asked about, and is not sent.
    """

    wait: Wait
    asked: Asked | None = None
    http_status: int | None = None
    failure_reason: int | None = None
    comment: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Never the file's fault: it stays, the breaker opens. `retry_after` is the service's own floor in seconds.

    `counts`: as one of the three after which a batch is isolated (not 401, 429, or no answer at all). What it rests on is for
    the words about it: `status` or `loss`, `problem` and `page` as in Answer; neither where no request could be made.
    """

    cause: HoldCause
    retry_after: float | None = None
    counts: bool = False
    status: int | None = field(default=None, compare=False)
    loss: Loss | None = field(default=None, compare=False)
    problem: str | None = field(default=None, compare=False)
    page: str | None = field(default=None, compare=False)


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
    differs: tuple[str, ...] | None = None  # of a conflict: the tags whose values differ, None where that is not known

    def after_delete(self) -> Quarantine:
        """The same about a file for which the service's own was deleted, however long ago: the operator must know."""
        now = "" if self.reason is Reason.CONFLICT else ", so it holds neither now"
        return replace(self, text=f"{self.text}; what the service held under these UIDs was deleted to make room{now}")


TOO_LARGE = Quarantine(
    reason=Reason.TOO_LARGE,
    text="the file is larger than service.max_request_bytes",
    what_to_do="raise service.max_request_bytes if the service takes such requests, and drop the file again",
)

Disposition = (
    Stored | StoredWithWarning | AlreadyStored | Verify | Retry | Hold | Isolate | SendAgain | Resettle | Quarantine
)
