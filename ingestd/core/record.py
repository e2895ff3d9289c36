"""What is remembered: receipts and waits in the journal, verdicts beside the files in failed/."""

from __future__ import annotations

from dataclasses import dataclass

from ingestd.core.answers.outcome import Outcome, Quarantine
from ingestd.core.answers.profiles import Profile
from ingestd.core.answers.proof import OLD_START, DigestKind, Proof
from ingestd.core.model import Deferral, Identifiers, Stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Proof that the service named an instance, or was shown to hold it.

    `stored_at` in seconds, wall clock; `size` and `mtime_ns` of the file, `data_set_bytes` of what `sha256` was made over.
    `reason`: WarningReason or FailureReason, where there was one; 45070 where that is all the service has shown of it.
    `service`: scheme, host, port and path of service.url without Azure's version, and the partition. Receipts of the first kind
    lack it, as they lack `proof`, transfer syntax and mtime.
    """

    stored_at: float
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    size: int
    sha256: str
    path: str
    outcome: Outcome
    http_status: int | None
    reason: int | None
    retrieve_url: str | None
    service: str | None = None
    proof: Proof | None = None
    digest_kind: DigestKind = DigestKind.FROM_128
    transfer_syntax_uid: str | None = None
    data_set_bytes: int | None = None
    mtime_ns: int | None = None

    @property
    def for_removal(self) -> bool:
        """Whether the proof that it names is enough for the file to go for good."""
        return self.proof is not None and self.proof.for_removal

    def digest_at(self, data_set_at: int) -> int:
        """From which byte of a file `sha256` was made, if its data set begins at `data_set_at`."""
        return OLD_START if self.digest_kind is DigestKind.FROM_128 else data_set_at

    def of_bytes(self, profile: Profile) -> bool:
        """Whether it proves that the service held the bytes with this digest, when it was written; only then may a file go for it.

        One of the first kind names no proof: what such a service named as new it had not, and held as it was sent. One that
        another service's answer led to proves nothing but that something was there.
        """
        if not self.sha256:
            return False
        if self.proof is not None:
            return self.for_removal
        fresh = self.outcome is Outcome.STORED or self.reason in profile.harmless_warnings
        return profile.names_only_new and fresh and self.http_status in range(200, 300)


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


UNSEEN = Stamp(device=0, inode=0, size=0, mtime_ns=0, ctime_ns=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """A new version of a file that a move carried away and that could not be put back yet.

    It lies at `place` below `folder`, "done" or "failed", and belongs at `path` in the inbox. `stamp` says which file it is, as it
    was after the move, UNSEEN where that could not be told; `since` in seconds since the epoch.
    """

    place: str
    folder: str
    stamp: Stamp
    path: str
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondLook:
    """A file at `place` below done/ that was filed without a proof that nobody writes it: it is looked at once more.

    `stamp` as it was after the move, `path` what it was called in the inbox, `due_at` in seconds since the epoch. `remove`: it goes
    then, if it is still the same, because stored files are to be removed.
    """

    place: str
    stamp: Stamp
    path: str
    due_at: float
    remove: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What one tick writes to the journal, in one transaction.

    `forgotten` are paths whose deferral has ended, `recovered` strays that are none any more (folder and place), `looked` the
    places of second looks that were taken. What is ended and begun at once is begun.
    """

    receipts: tuple[Receipt, ...] = ()
    deferrals: tuple[Deferral, ...] = ()
    forgotten: tuple[str, ...] = ()
    strays: tuple[Stray, ...] = ()
    recovered: tuple[tuple[str, str], ...] = ()
    second_looks: tuple[SecondLook, ...] = ()
    looked: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(
            self.receipts
            or self.deferrals
            or self.forgotten
            or self.strays
            or self.recovered
            or self.second_looks
            or self.looked
        )
