"""The journal: receipts and deferrals, one transaction a tick.

A memory, never the truth (I5): lose it, and files that wait are looked at again and history begins anew. What it says
must be true, though: a commit is on the disk when it returns (WAL, synchronous=FULL), all of it or nothing. After an
error of the disk nothing of the transaction counts; the next one writes all its pages again, so a sync that failed once
is never taken for done (F40).

It is asked about every file that is sighted; while nothing is deferred, which is nearly always, that costs no query.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ingestd.core.model import Deferral, Identifiers, Stamp, Wait
from ingestd.core.outcome import Outcome
from ingestd.core.record import Changes, Receipt
from ingestd.spool.journal_file import (
    DEFERRAL,
    RECEIPT,
    UnreadableRowError,
    is_damage,
    journal_error,
    open_journal,
    set_aside,
)
from ingestd.spool.state import StateLock, refuse_network

__all__ = ["SqliteJournal", "StateLock"]

T = TypeVar("T")

# Table and column names can't be bound; these are constants of journal_file.
_ADD_RECEIPT = f"INSERT INTO receipts ({RECEIPT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_PUT_DEFERRAL = f"INSERT OR REPLACE INTO deferrals ({DEFERRAL}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_FORGET = "DELETE FROM deferrals WHERE path = ?"
_DEFERRAL = f"SELECT {DEFERRAL} FROM deferrals WHERE path = ?"  # noqa: S608
_DUE = f"SELECT {DEFERRAL} FROM deferrals WHERE due_at <= ? ORDER BY due_at LIMIT ?"  # noqa: S608
_WAITING = "SELECT wait, count(*) FROM deferrals GROUP BY wait"
_OF_INSTANCE = "sop_instance_uid = ? AND study_uid = ? AND series_uid = ?"
_RECEIPT = f"SELECT {RECEIPT} FROM receipts WHERE {_OF_INSTANCE} ORDER BY id DESC LIMIT 1"  # noqa: S608
_RECEIPTS_OF = f"SELECT {RECEIPT} FROM receipts WHERE path = ? ORDER BY id"  # noqa: S608 - constants
_LAST = "SELECT seq FROM sqlite_sequence WHERE name = 'receipts'"


class SqliteJournal:
    """The port Journal. Raises JournalError, and ConfigurationError at construction where the folder can't hold it.

    `set_aside` turns true when a file that could not be read was put away for a new one, then or at any later time.
    """

    def __init__(self, state: Path) -> None:
        refuse_network(state)
        self._state = state
        self._last_receipt = 0
        self._any_deferred = False
        self._waiting: Mapping[Wait, int] | None = None
        try:
            self._connection, self.set_aside = open_journal(state)
        except sqlite3.Error as error:
            raise journal_error(error) from error
        self._know(self._asked(self._summary))

    @property
    def last_receipt(self) -> int:
        return self._last_receipt

    def deferral(self, path: str) -> Deferral | None:
        if not self._any_deferred:
            return None
        return self._asked(lambda: self._one(_deferral, _DEFERRAL, (os.fsencode(path),)))

    def due(self, now: float, limit: int) -> Sequence[Deferral]:
        if not self._any_deferred:
            return ()
        return self._asked(lambda: tuple(map(_deferral, self._connection.execute(_DUE, (now, limit)))))

    def waiting(self) -> Mapping[Wait, int]:
        if not self._any_deferred:
            return {}
        if self._waiting is None:
            self._waiting = self._asked(lambda: dict(map(_waiting, self._connection.execute(_WAITING))))
        return self._waiting

    def oldest(self) -> float | None:
        if not self._any_deferred:
            return None
        row = self._asked(lambda: self._connection.execute("SELECT min(first_seen) FROM deferrals").fetchone())
        return row[0] if row else None

    def receipt(self, ids: Identifiers) -> Receipt | None:
        key = (ids.sop_instance_uid, ids.study_uid, ids.series_uid)
        return self._asked(lambda: self._one(_receipt, _RECEIPT, key))

    def receipts_of(self, path: str) -> Sequence[Receipt]:
        """Every receipt of a path in the inbox, oldest first; reads them all, so not for the hot path."""
        rows = self._asked(lambda: self._connection.execute(_RECEIPTS_OF, (os.fsencode(path),)).fetchall())
        return tuple(_receipt(row) for row in rows)

    def commit(self, changes: Changes) -> None:
        if changes:
            self._asked(lambda: self._write(changes))

    def close(self) -> None:
        try:
            self._connection.close()
        except sqlite3.Error as error:
            raise journal_error(error) from error

    def _asked(self, ask: Callable[[], T]) -> T:
        """The answer; damage that shows only now puts the file away, and the new one is asked."""
        try:
            return ask()
        except sqlite3.Error as error:
            if not is_damage(error):
                raise journal_error(error) from error
        try:
            with suppress(sqlite3.Error):
                self._connection.close()
            set_aside(self._state)
            self.set_aside = True
            self._connection, _ = open_journal(self._state)
            self._know(self._summary())
            return ask()
        except sqlite3.Error as error:
            raise journal_error(error) from error

    def _one(self, made: Callable[[Any], T], query: str, values: tuple[object, ...]) -> T | None:
        row = self._connection.execute(query, values).fetchone()
        return made(row) if row else None

    def _summary(self) -> tuple[int, bool]:
        """The newest receipt's number, and whether anything is deferred."""
        last = self._connection.execute(_LAST).fetchone()
        deferred = self._connection.execute("SELECT 1 FROM deferrals LIMIT 1").fetchone()
        return last[0] if last else 0, deferred is not None

    def _know(self, summary: tuple[int, bool]) -> None:
        self._last_receipt, self._any_deferred = summary
        self._waiting = None

    def _write(self, changes: Changes) -> None:
        connection = self._connection
        with connection:  # COMMIT at its end; ROLLBACK if anything fails, COMMIT among it
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_FORGET, [(os.fsencode(path),) for path in changes.forgotten])
            connection.executemany(_PUT_DEFERRAL, [_deferral_row(deferral) for deferral in changes.deferrals])
            connection.executemany(_ADD_RECEIPT, [_receipt_row(receipt) for receipt in changes.receipts])
            summary = self._summary()
        self._know(summary)


def _deferral_row(deferral: Deferral) -> tuple[object, ...]:
    stamp = deferral.stamp
    # One text, since an inode can have 64 bits and SQLite's integers have 63 and a sign.
    words = f"{stamp.device} {stamp.inode} {stamp.size} {stamp.mtime_ns} {stamp.ctime_ns}"
    return (
        os.fsencode(deferral.path),
        words,
        deferral.wait.value,
        deferral.due_at,
        deferral.first_seen,
        deferral.since,
        deferral.attempts,
        deferral.counted,
        deferral.mark,
    )


def _deferral(row: tuple[bytes, str, str, float, float, float, int, int, int]) -> Deferral:
    path, words, wait, due_at, first_seen, since, attempts, counted, mark = row
    try:
        device, inode, size, mtime_ns, ctime_ns = map(int, words.split())
        return Deferral(
            path=os.fsdecode(path),
            stamp=Stamp(device=device, inode=inode, size=size, mtime_ns=mtime_ns, ctime_ns=ctime_ns),
            wait=Wait(wait),
            due_at=due_at,
            first_seen=first_seen,
            since=since,
            attempts=attempts,
            counted=counted,
            mark=mark,
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise UnreadableRowError from error


def _waiting(row: tuple[str, int]) -> tuple[Wait, int]:
    try:
        return Wait(row[0]), row[1]
    except ValueError as error:
        raise UnreadableRowError from error


def _receipt_row(receipt: Receipt) -> tuple[object, ...]:
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


def _receipt(row: tuple[float, str, str, str, int, str, bytes, str, int | None, int | None, str | None]) -> Receipt:
    stored_at, study_uid, series_uid, sop_instance_uid, size, sha256, path, outcome, http_status, reason, url = row
    try:
        return Receipt(
            stored_at=stored_at,
            study_uid=study_uid,
            series_uid=series_uid,
            sop_instance_uid=sop_instance_uid,
            size=size,
            sha256=sha256,
            path=os.fsdecode(path),
            outcome=Outcome(outcome),
            http_status=http_status,
            reason=reason,
            retrieve_url=url,
        )
    except (ValueError, TypeError) as error:
        raise UnreadableRowError from error
