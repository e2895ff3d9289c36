"""The journal's rows: the statements that write and read them, and the values of the core that they stand for.

A row that no version of ours wrote is damage.

Paths are bytes (os.fsencode), since a dropped file's name can be any. A stamp is one text, since an inode can have 64 bits and
SQLite's integers have 63 and a sign.
"""

from __future__ import annotations

import os
import sqlite3

from ingestd.core.answers.outcome import Outcome
from ingestd.core.answers.proof import DigestKind, Proof
from ingestd.core.answers.service_name import service_of
from ingestd.core.model import Asked, Deferral, Stamp, Wait
from ingestd.core.record import Receipt, SecondLook, Stray
from ingestd.spool.memory.migrations import VERSION

RECEIPT = (
    "stored_at, study_uid, series_uid, sop_instance_uid, size, sha256, path, outcome, http_status, reason, retrieve_url, "
    "service, proof, digest_kind, transfer_syntax_uid, data_set_bytes, mtime_ns"
)
DEFERRAL = (
    "path, stamp, wait, due_at, first_seen, since, attempts, counted, last_receipt, unfinished, restless, stored, deleted, "
    "question"
)
STRAY = "place, folder, stamp, path, since"
SECOND_LOOK = "place, stamp, path, due_at, remove"
COLUMNS = {"receipts": RECEIPT, "deferrals": DEFERRAL, "strays": STRAY, "second_looks": SECOND_LOOK}


def _put(statement: str, table: str) -> str:
    """Names of tables and columns can't be bound; those of all statements here are constants."""
    columns = COLUMNS[table]
    return f"{statement} INTO {table} ({columns}) VALUES ({', '.join('?' for _ in columns.split(', '))})"


ADD_RECEIPT = _put("INSERT", "receipts")
PUT_DEFERRAL = _put("INSERT OR REPLACE", "deferrals")
PUT_STRAY = _put("INSERT OR REPLACE", "strays")
PUT_SECOND_LOOK = _put("INSERT OR REPLACE", "second_looks")
FORGET = "DELETE FROM deferrals WHERE path = ?"
RECOVERED = "DELETE FROM strays WHERE folder = ? AND place = ?"
LOOKED = "DELETE FROM second_looks WHERE place = ?"
TOUCH = f"PRAGMA user_version = {VERSION}"

DEFERRAL_OF = f"SELECT {DEFERRAL} FROM deferrals WHERE path = ?"  # noqa: S608
DUE = f"SELECT {DEFERRAL} FROM deferrals WHERE due_at <= ? ORDER BY due_at LIMIT ?"  # noqa: S608
OLDEST_DEFERRAL = "SELECT min(first_seen) FROM deferrals"
WAITING = "SELECT wait, count(*) FROM deferrals GROUP BY wait"
STRAYS = f"SELECT {STRAY} FROM strays ORDER BY since LIMIT ?"  # noqa: S608
SECOND_LOOKS = f"SELECT {SECOND_LOOK} FROM second_looks WHERE due_at <= ? OR due_at > ? ORDER BY due_at LIMIT ?"  # noqa: S608
ANY = "SELECT EXISTS (SELECT 1 FROM deferrals), EXISTS (SELECT 1 FROM strays), EXISTS (SELECT 1 FROM second_looks)"
LAST = "SELECT seq FROM sqlite_sequence WHERE name = 'receipts'"

_OF_INSTANCE = "sop_instance_uid = ? AND study_uid = ? AND series_uid = ?"
NEWEST_RECEIPT = f"SELECT {RECEIPT} FROM receipts WHERE {_OF_INSTANCE} ORDER BY id DESC LIMIT 1"  # noqa: S608
NEWEST_AT = "SELECT stored_at FROM receipts ORDER BY id DESC LIMIT 1"
RECEIPTS_OF = f"SELECT {RECEIPT} FROM receipts WHERE path = ? ORDER BY id"  # noqa: S608
OF_OUTCOME = f"SELECT id, {RECEIPT} FROM receipts WHERE id > ? AND outcome = ? AND stored_at >= ? ORDER BY id LIMIT ?"  # noqa: S608
READ = tuple(proof.value for proof in (Proof.FETCHED, Proof.ASKED, Proof.REMEMBERED, Proof.SEEN))
HAS_READ = (
    "SELECT 1 FROM (SELECT service, proof FROM receipts ORDER BY id DESC LIMIT 10000) "
    "WHERE service = ? AND proof IN (?, ?, ?, ?) LIMIT 1"
)
ON_WORD = Proof.WORD.value
NEXT_ON_WORD = (
    f"SELECT {RECEIPT}, id FROM receipts AS r WHERE id > ? AND id <= ? AND service = ? AND proof = ? AND NOT EXISTS "  # noqa: S608
    "(SELECT 1 FROM receipts AS later WHERE later.sop_instance_uid = r.sop_instance_uid AND later.id > r.id) "
    "ORDER BY id LIMIT 1"
)
# A receipt from after the newest one was stamped by a clock that was wrong then (F13): those around it say how old it is.
OLDEST_RECEIPTS = f"SELECT id, stored_at FROM receipts WHERE stored_at <= ({NEWEST_AT}) ORDER BY id LIMIT ?"  # noqa: S608
PRUNE = "DELETE FROM receipts WHERE id <= ?"

DeferralRow = tuple[bytes, str, str, float, float, float, int, int, int, int, int, int, int, str | None]
_Text = str | None
_Number = int | None
ReceiptRow = tuple[
    float, str, str, str, int, str, bytes, str, _Number, _Number, _Text, _Text, _Text, str, _Text, _Number, _Number
]
StrayRow = tuple[bytes, str, str, bytes, float]
SecondLookRow = tuple[bytes, str, bytes, float, int]


class UnreadableRowError(sqlite3.DatabaseError):
    """A row that no version of ours wrote."""


def deferral_row(deferral: Deferral) -> DeferralRow:
    return (
        os.fsencode(deferral.path),
        _stamp_text(deferral.stamp),
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
        deferral.deleted,
        deferral.asked.value if deferral.asked is not None else None,
    )


def deferral_of(row: DeferralRow) -> Deferral:
    path, words, wait, due_at, first_seen, since, attempts, counted, last_receipt, *flags, question = row
    try:
        unfinished, restless, stored, deleted = (bool(int(flag)) for flag in flags)
        return Deferral(
            path=os.fsdecode(path),
            stamp=_stamp_of(words),
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
            asked=Asked(question) if question is not None else None,
            deleted=deleted,
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
        receipt.service,
        receipt.proof.value if receipt.proof is not None else None,
        receipt.digest_kind.value,
        receipt.transfer_syntax_uid,
        receipt.data_set_bytes,
        receipt.mtime_ns,
    )


def receipt_of(row: ReceiptRow) -> Receipt:
    """A row without a service is of the one that its retrieve URL names: those of version 1 have nothing else."""
    stored_at, study_uid, series_uid, sop_instance_uid, size, sha256, path, outcome, http_status, reason, url = row[:11]
    service, proof, digest_kind, transfer_syntax_uid, data_set_bytes, mtime_ns = row[11:]
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
            service=service if service is not None else service_of(url),
            proof=Proof(proof) if proof is not None else None,
            digest_kind=DigestKind(digest_kind),
            transfer_syntax_uid=transfer_syntax_uid,
            data_set_bytes=data_set_bytes,
            mtime_ns=mtime_ns,
        )
    except (ValueError, TypeError) as error:
        raise UnreadableRowError from error


def stray_row(stray: Stray) -> StrayRow:
    return os.fsencode(stray.place), stray.folder, _stamp_text(stray.stamp), os.fsencode(stray.path), stray.since


def stray_of(row: StrayRow) -> Stray:
    place, folder, words, path, since = row
    try:
        return Stray(
            place=os.fsdecode(place),
            folder=folder,
            stamp=_stamp_of(words),
            path=os.fsdecode(path),
            since=float(since),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise UnreadableRowError from error


def second_look_row(look: SecondLook) -> SecondLookRow:
    return os.fsencode(look.place), _stamp_text(look.stamp), os.fsencode(look.path), look.due_at, look.remove


def second_look_of(row: SecondLookRow) -> SecondLook:
    place, words, path, due_at, remove = row
    try:
        return SecondLook(
            place=os.fsdecode(place),
            stamp=_stamp_of(words),
            path=os.fsdecode(path),
            due_at=float(due_at),
            remove=bool(int(remove)),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise UnreadableRowError from error


def _stamp_text(stamp: Stamp) -> str:
    return f"{stamp.device} {stamp.inode} {stamp.size} {stamp.mtime_ns} {stamp.ctime_ns}"


def _stamp_of(words: str) -> Stamp:
    device, inode, size, mtime_ns, ctime_ns = map(int, words.split())
    return Stamp(device=device, inode=inode, size=size, mtime_ns=mtime_ns, ctime_ns=ctime_ns)
