"""Makers of the core's values, so that a test names only what it is about."""

from __future__ import annotations

from dataclasses import replace

from ingestd.core.answers.answer import Answer, Failed, Referenced, StoreResponse
from ingestd.core.answers.outcome import Outcome
from ingestd.core.answers.profiles import PROFILES, Profile, ServiceKind
from ingestd.core.answers.proof import DigestKind, Proof
from ingestd.core.answers.reasons import Wholeness
from ingestd.core.batch import BatchRules
from ingestd.core.model import (
    Batch,
    Deferral,
    Ground,
    Identifiers,
    Inspection,
    Instance,
    Lease,
    Look,
    Room,
    Stamp,
    Wait,
)
from ingestd.core.pace.backoff import RetryRules
from ingestd.core.record import Receipt
from ingestd.core.settle import SettleRules

SHA = "a" * 64
OTHER_SHA = "b" * 64


def stamp(*, inode: int = 1, size: int = 1000, ctime_ns: int = 0) -> Stamp:
    return Stamp(device=1, inode=inode, size=size, mtime_ns=0, ctime_ns=ctime_ns)


def identifiers(uid: str = "1.2.3", *, study: str = "1.2") -> Identifiers:
    return Identifiers(
        study_uid=study,
        series_uid=f"{study}.1",
        sop_instance_uid=uid,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.7",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )


def instance(
    uid: str = "1.2.3",
    *,
    study: str = "1.2",
    path: str | None = None,
    size: int = 1000,
    hinted: bool = False,
    content: bytes | None = None,
    sha256: str | None = SHA,
    history: Deferral | None = None,
    holds: int = 0,
    replacing: bool = False,
    deleted: bool = False,
) -> Instance:
    return Instance(
        path=path or f"{uid}.dcm",
        stamp=stamp(size=size),
        ids=identifiers(uid, study=study),
        first_seen=0.0,
        hinted=hinted,
        content=content,
        sha256=sha256,
        history=history,
        holds=holds,
        replacing=replacing,
        deleted=deleted,
    )


def batch(*instances: Instance) -> Batch:
    return Batch(instances=instances)


def deferral(wait: Wait, *, attempts: int = 1, counted: int = 0, last_receipt: int = 0, since: float = 0.0) -> Deferral:
    return Deferral(
        path="1.2.3.dcm",
        stamp=stamp(),
        wait=wait,
        due_at=0.0,
        first_seen=0.0,
        since=since,
        attempts=attempts,
        counted=counted,
        last_receipt=last_receipt,
    )


AZURE, GENERIC = PROFILES[ServiceKind.AZURE], PROFILES[ServiceKind.GENERIC]
REWRITING = Profile(rewrites=True, coerced=frozenset({"00100010"}))
SERVICE = "http://127.0.0.1:8042/dicom-web"


def receipt(
    of: Instance, *, sha256: str = SHA, proof: Proof | None = Proof.NEW, service: str | None = SERVICE
) -> Receipt:
    return Receipt(
        stored_at=0.0,
        study_uid=of.ids.study_uid,
        series_uid=of.ids.series_uid,
        sop_instance_uid=of.sop_instance_uid,
        size=of.size,
        sha256=sha256,
        path=of.path,
        outcome=Outcome.STORED,
        http_status=200,
        reason=None,
        retrieve_url=None,
        service=service,
        proof=proof,
        digest_kind=DigestKind.DATA_SET if proof is not None else DigestKind.FROM_128,
        transfer_syntax_uid=of.ids.transfer_syntax_uid if proof is not None else None,
    )


def response(*items: Referenced | Failed) -> StoreResponse:
    """A readable Store Instances Response with these items."""
    return StoreResponse(
        referenced=tuple(i for i in items if isinstance(i, Referenced)),
        failed=tuple(i for i in items if isinstance(i, Failed)),
    )


def ref(uid: str, *, warning: int | None = None) -> Referenced:
    return Referenced(sop_instance_uid=uid, warning_reason=warning)


def fail(uid: str | None, reason: int | None, *, comment: str | None = None) -> Failed:
    return Failed(sop_instance_uid=uid, failure_reason=reason, comment=comment)


def answer(status: int, *items: Referenced | Failed, retry_after: float | None = None) -> Answer:
    """A status, with a Store Instances Response where there are items."""
    return Answer(status=status, response=response(*items) if items else None, retry_after=retry_after)


LOCAL = Ground(kind="ext4", leases=True, holes=True, unwritten=True, extents=True, ctimes=True, complete=True)
OVERLAY = replace(LOCAL, kind="overlay", leases=False)
BLIND = replace(LOCAL, kind="ext2", unwritten=False, extents=False)
NETWORK = Ground(kind="nfs4", on_network=True, refusals=False, complete=True)


def look(
    *,
    links: int = 1,
    lease: Lease = Lease.UNKNOWN,
    room: Room = Room.FILLED,
    owner_owns_folder: bool = True,
    ground: Ground = LOCAL,
    unfilled: int = 0,
    sparse: bool = False,
) -> Look:
    return Look(
        stamp=stamp(),
        links=links,
        lease=lease,
        room=room,
        owner_owns_folder=owner_owns_folder,
        ground=ground,
        unfilled=unfilled,
        sparse=sparse,
    )


def inspection(
    wholeness: Wholeness = Wholeness.WHOLE, *, text: str = "", study: str = "1.2", ends_in_zeros: bool = False
) -> Inspection:
    return Inspection(wholeness=wholeness, text=text, ids=identifiers(study=study), ends_in_zeros=ends_in_zeros)


def settle_rules(
    *, quiet: float = 2.0, network_quiet: float = 60.0, timeout: float = 900.0, zeros: bool = False
) -> SettleRules:
    return SettleRules(
        quiet_seconds=quiet,
        network_quiet_seconds=network_quiet,
        incomplete_timeout_seconds=timeout,
        holes_are_zeros=zeros,
    )


def batch_rules(
    *,
    by_study: bool = True,
    max_instances: int = 100,
    max_bytes: int = 64 << 20,
    linger: float = 0.5,
    max_request_bytes: int = 1 << 32,
) -> BatchRules:
    return BatchRules(
        by_study=by_study,
        max_instances=max_instances,
        max_bytes=max_bytes,
        linger_seconds=linger,
        max_request_bytes=max_request_bytes,
    )


def retry_rules(*, attempts: int = 8, base: float = 1.0, cap: float = 60.0, patience: float = 3600.0) -> RetryRules:
    return RetryRules(
        instance_attempts=attempts,
        base_seconds=base,
        cap_seconds=cap,
        retry_after_cap_seconds=3600.0,
        creating_hours=24.0,
        patience_seconds=patience,
    )
