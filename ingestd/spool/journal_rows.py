"""Between the journal's rows and the values of the core. A row that no version of ours wrote is damage.

Paths are bytes (os.fsencode), since a dropped file's name can be any. A stamp is one text, since an inode can have 64 bits and
SQLite's integers have 63 and a sign.
"""

from __future__ import annotations

import os
import sqlite3

from ingestd.core.model import Deferral, Stamp, Wait
from ingestd.core.outcome import Outcome
from ingestd.core.record import Receipt

RECEIPT = (
    "stored_at, study_uid, series_uid, sop_instance_uid, size, sha256, path, outcome, http_status, reason, retrieve_url"
)
DEFERRAL = "path, stamp, wait, due_at, first_seen, since, attempts, counted, last_receipt, unfinished, restless, stored"

DeferralRow = tuple[bytes, str, str, float, float, float, int, int, int, int, int, int]
ReceiptRow = tuple[float, str, str, str, int, str, bytes, str, int | None, int | None, str | None]


class UnreadableRowError(sqlite3.DatabaseError):
    """A row that no version of ours wrote."""


def deferral_row(deferral: Deferral) -> DeferralRow:
    stamp = deferral.stamp
    return (
        os.fsencode(deferral.path),
        f"{stamp.device} {stamp.inode} {stamp.size} {stamp.mtime_ns} {stamp.ctime_ns}",
        deferral.wait.value,
        deferral.due_at,
        deferral.first_seen,
        deferral.since,
        deferral.attempts,
        deferral.counted,
        deferral.last_receipt,
        deferral.unfinished,
        deferral.restless,
        deferral.stored,
    )


def deferral_of(row: DeferralRow) -> Deferral:
    path, words, wait, due_at, first_seen, since, attempts, counted, last_receipt, *flags = row
    try:
        unfinished, restless, stored = (bool(int(flag)) for flag in flags)
        device, inode, size, mtime_ns, ctime_ns = map(int, words.split())
        return Deferral(
            path=os.fsdecode(path),
            stamp=Stamp(device=device, inode=inode, size=size, mtime_ns=mtime_ns, ctime_ns=ctime_ns),
            wait=Wait(wait),
            due_at=float(due_at),
            first_seen=float(first_seen),
            since=float(since),
            attempts=int(attempts),
            counted=int(counted),
            last_receipt=int(last_receipt),
            unfinished=unfinished,
            restless=restless,
            stored=stored,
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise UnreadableRowError from error


def waiting_of(row: tuple[str, int]) -> tuple[Wait, int]:
    try:
        return Wait(row[0]), row[1]
    except ValueError as error:
        raise UnreadableRowError from error


def receipt_row(receipt: Receipt) -> ReceiptRow:
    url = receipt.retrieve_url
    return (
        receipt.stored_at,
        receipt.study_uid,
        receipt.series_uid,
        receipt.sop_instance_uid,
        receipt.size,
        receipt.sha256,
        os.fsencode(receipt.path),
        receipt.outcome.value,
        receipt.http_status,
        receipt.reason,
        url.encode("utf-8", "backslashreplace").decode() if url is not None else None,  # JSON can hold lone surrogates
    )


def receipt_of(row: ReceiptRow) -> Receipt:
    stored_at, study_uid, series_uid, sop_instance_uid, size, sha256, path, outcome, http_status, reason, url = row
    try:
        return Receipt(
            stored_at=float(stored_at),
            study_uid=study_uid,
            series_uid=series_uid,
            sop_instance_uid=sop_instance_uid,
            size=int(size),
            sha256=sha256,
            path=os.fsdecode(path),
            outcome=Outcome(outcome),
            http_status=http_status,
            reason=reason,
            retrieve_url=url,
        )
    except (ValueError, TypeError) as error:
        raise UnreadableRowError from error
