"""The journal: receipts and deferrals, one transaction a tick.

A memory, never the truth (I5): lose it, and files that wait are looked at again and history begins anew. What it says
must be true, though: a commit is on the disk when it returns (WAL, synchronous=FULL), all of it or nothing. After an
error of the disk nothing of the transaction counts; the next one writes all its pages again, so a sync that failed once
is never taken for done (F40).

What goes wrong while the daemon runs ends in one of two ways. Damage: the file is set aside, a new one is begun, and
what was asked or written is asked or written of that one. Anything else (the disk, a lock, a file that was taken away):
the journal is `doubtful` until a commit, of nothing if need be, has opened it anew and written to it. Until then
deferrals are unknown, which costs a look at the file, and asking for a receipt raises, since nothing may be judged
without it.

It is asked about every file that is sighted; while nothing is deferred, which is nearly always, that costs no query. Nor do
strays and second looks while there are none.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ingestd.core.answers.proof import Proof
from ingestd.core.errors import JournalError
from ingestd.core.model import Deferral, Identifiers, Wait
from ingestd.core.record import Changes, Receipt, SecondLook, Stray
from ingestd.spool.memory.journal_file import (
    DAMAGED,
    TAKEN_AWAY,
    TROUBLE,
    Identity,
    identity,
    is_damage,
    journal_error,
    open_journal,
    set_aside,
)
from ingestd.spool.memory.journal_rows import (
    DEFERRAL,
    RECEIPT,
    SECOND_LOOK,
    STRAY,
    deferral_of,
    deferral_row,
    receipt_of,
    receipt_row,
    second_look_of,
    second_look_row,
    stray_of,
    stray_row,
    waiting_of,
)
from ingestd.spool.memory.lock import refuse_network
from ingestd.spool.memory.migrations import VERSION

T = TypeVar("T")

# Table and column names can't be bound; these are constants of journal_rows.
_ADD_RECEIPT = f"INSERT INTO receipts ({RECEIPT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_PUT_DEFERRAL = f"INSERT OR REPLACE INTO deferrals ({DEFERRAL}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_PUT_STRAY = f"INSERT OR REPLACE INTO strays ({STRAY}) VALUES (?, ?, ?, ?, ?)"  # noqa: S608
_PUT_SECOND_LOOK = f"INSERT OR REPLACE INTO second_looks ({SECOND_LOOK}) VALUES (?, ?, ?, ?, ?)"  # noqa: S608
_FORGET = "DELETE FROM deferrals WHERE path = ?"
_RECOVERED = "DELETE FROM strays WHERE folder = ? AND place = ?"
_LOOKED = "DELETE FROM second_looks WHERE place = ?"
_DEFERRAL = f"SELECT {DEFERRAL} FROM deferrals WHERE path = ?"  # noqa: S608
_DUE = f"SELECT {DEFERRAL} FROM deferrals WHERE due_at <= ? ORDER BY due_at LIMIT ?"  # noqa: S608
_STRAYS = f"SELECT {STRAY} FROM strays ORDER BY since LIMIT ?"  # noqa: S608
_SECOND_LOOKS = f"SELECT {SECOND_LOOK} FROM second_looks WHERE due_at <= ? OR due_at > ? ORDER BY due_at LIMIT ?"  # noqa: S608
_WAITING = "SELECT wait, count(*) FROM deferrals GROUP BY wait"
_OF_INSTANCE = "sop_instance_uid = ? AND study_uid = ? AND series_uid = ?"
_RECEIPT = f"SELECT {RECEIPT} FROM receipts WHERE {_OF_INSTANCE} ORDER BY id DESC LIMIT 1"  # noqa: S608
_RECEIPTS_OF = f"SELECT {RECEIPT} FROM receipts WHERE path = ? ORDER BY id"  # noqa: S608 - constants
_ANY = "SELECT EXISTS (SELECT 1 FROM deferrals), EXISTS (SELECT 1 FROM strays), EXISTS (SELECT 1 FROM second_looks)"
_READ = (Proof.FETCHED, Proof.ASKED, Proof.REMEMBERED, Proof.SEEN)
_HAS_READ = (
    "SELECT 1 FROM (SELECT service, proof FROM receipts ORDER BY id DESC LIMIT 10000) "
    "WHERE service = ? AND proof IN (?, ?, ?, ?) LIMIT 1"
)
ON_WORD_STEP = 5000  # receipts that one call looks at
_ON_WORD = (
    f"SELECT {RECEIPT}, id FROM receipts AS r WHERE id > ? AND id <= ? AND service = ? AND proof = ? AND NOT EXISTS "  # noqa: S608
    "(SELECT 1 FROM receipts AS later WHERE later.sop_instance_uid = r.sop_instance_uid AND later.id > r.id) "
    "ORDER BY id LIMIT 1"
)
_LAST = "SELECT seq FROM sqlite_sequence WHERE name = 'receipts'"
# A receipt from after the newest one was stamped by a clock that was wrong then (F13): those around it say how old it is.
_OLDEST_RECEIPTS = (
    "SELECT id, stored_at FROM receipts WHERE stored_at <= (SELECT stored_at FROM receipts ORDER BY id DESC LIMIT 1) "
    "ORDER BY id LIMIT ?"
)
_PRUNE = "DELETE FROM receipts WHERE id <= ?"
_TOUCH = f"PRAGMA user_version = {VERSION}"


class SqliteJournal:
    """The port Journal. Raises JournalError, and ConfigurationError at construction where the folder can't hold it."""

    def __init__(self, state: Path) -> None:
        refuse_network(state)
        self._state = state
        self._last_receipt = 0
        self._any_deferred = self._any_stray = self._any_second_look = False
        self._waiting: Mapping[Wait, int] = {}
        self._counted = False
        self._oldest: float | None = None
        self._failed = False
        self.set_aside = 0
        self.why_set_aside: str | None = None
        self._connection: sqlite3.Connection | None = None
        self._identity: Identity = None, None
        self._asked(self._summary)

    @property
    def last_receipt(self) -> int:
        return self._last_receipt

    @property
    def doubtful(self) -> bool:
        """Two stats: a file that was taken away goes on taking what is written, and nobody would ever read it."""
        return self._failed or not self._in_place()

    def deferral(self, path: str) -> Deferral | None:
        if not self._any_deferred:
            return None
        key = (os.fsencode(path),)
        return self._known(None, lambda c: _one(deferral_of, c.execute(_DEFERRAL, key)))

    def due(self, now: float, limit: int) -> Sequence[Deferral]:
        if not self._any_deferred:
            return ()
        return self._known((), lambda c: tuple(map(deferral_of, c.execute(_DUE, (now, limit)).fetchall())))

    def strays(self, limit: int) -> Sequence[Stray]:
        if not self._any_stray:
            return ()
        return self._known((), lambda c: tuple(map(stray_of, c.execute(_STRAYS, (limit,)).fetchall())))

    def second_looks(self, now: float, limit: int, *, latest: float = math.inf) -> Sequence[SecondLook]:
        if not self._any_second_look:
            return ()
        which = (now, latest, limit)
        return self._known((), lambda c: tuple(map(second_look_of, c.execute(_SECOND_LOOKS, which).fetchall())))

    def waiting(self) -> Mapping[Wait, int]:
        if not self._any_deferred:
            return {}
        if not self._counted:
            found = self._known(None, lambda c: dict(map(waiting_of, c.execute(_WAITING).fetchall())))
            self._waiting, self._counted = (found, True) if found is not None else (self._waiting, False)
        return self._waiting

    def oldest(self) -> float | None:
        if not self._any_deferred:
            return None
        row = self._known((self._oldest,), lambda c: c.execute("SELECT min(first_seen) FROM deferrals").fetchone())
        self._oldest = row[0]
        return self._oldest

    def receipt(self, ids: Identifiers) -> Receipt | None:
        key = (ids.sop_instance_uid, ids.study_uid, ids.series_uid)
        receipt = self._asked(lambda c: _one(receipt_of, c.execute(_RECEIPT, key)))
        if self._failed:  # it can be read; what was stored last is not in it yet
            raise JournalError("the journal lacks what was stored last: it is asked again once it can be written")
        return receipt

    def has_read(self, service: str) -> bool:
        key = (service, *(proof.value for proof in _READ))
        return self._known(None, lambda c: c.execute(_HAS_READ, key).fetchone()) is not None

    def on_word(self, service: str, *, after: int) -> tuple[int, Receipt | None]:
        until = min(after + ON_WORD_STEP, self._last_receipt)
        key = (after, until, service, Proof.WORD.value)
        row = self._known(None, lambda c: c.execute(_ON_WORD, key).fetchone())
        return (row[-1], receipt_of(row[:-1])) if row else (max(after, until), None)

    def receipts_of(self, path: str) -> Sequence[Receipt]:
        """Every receipt of a path in the inbox, oldest first; reads them all, so not for the hot path."""
        return self._asked(lambda c: tuple(map(receipt_of, c.execute(_RECEIPTS_OF, (os.fsencode(path),)).fetchall())))

    def commit(self, changes: Changes) -> None:
        if doubtful := self.doubtful:
            self._reopen()
        if changes or doubtful:
            self._asked(lambda c: self._write(c, changes, touch=doubtful))
        self._failed = False

    def prune(self, before: float, limit: int) -> int:
        return self._asked(lambda c: self._prune(c, before, limit))

    def close(self) -> None:
        if self._connection is None:
            return
        try:
            self._connection.close()
        except sqlite3.Error as error:
            raise journal_error(error) from error

    # What goes wrong

    def _known(self, otherwise: T, ask: Callable[[sqlite3.Connection], T]) -> T:
        """As _asked; while the journal is doubtful, `otherwise`."""
        try:
            return self._asked(ask)
        except JournalError:
            return otherwise

    def _asked(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """The answer; damage that shows only now puts the file away, and the new one is asked. Raises JournalError."""
        try:
            try:
                return ask(self._opened())
            except TROUBLE as error:
                if not is_damage(error):
                    raise
            self._let_go()
            set_aside(self._state)
            self._note(DAMAGED)
            return ask(self._opened())
        except TROUBLE as error:
            self._failed = True
            raise journal_error(error) from error
        except JournalError:
            self._failed = True
            raise

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection, why = open_journal(self._state)
            if why is not None:
                self._note(why)
            self._summary(self._connection)
            self._identity = identity(self._state)
        return self._connection

    def _reopen(self) -> None:
        with suppress(OSError):
            if not self._failed and identity(self._state)[0] != self._identity[0]:
                self._note(TAKEN_AWAY)
        self._let_go()

    def _let_go(self) -> None:
        with suppress(sqlite3.Error):
            if self._connection is not None:
                self._connection.close()
        self._connection = None

    def _in_place(self) -> bool:
        try:
            return identity(self._state) == self._identity
        except OSError:
            return False

    def _note(self, why: str) -> None:
        self.set_aside += 1
        self.why_set_aside = why

    # Statements

    def _summary(self, connection: sqlite3.Connection) -> None:
        """Learn the newest receipt's number, and whether anything is deferred, astray or to be looked at once more."""
        last = connection.execute(_LAST).fetchone()
        self._last_receipt = last[0] if last else 0
        found = connection.execute(_ANY).fetchone()
        self._any_deferred, self._any_stray, self._any_second_look = map(bool, found)
        self._counted = False

    def _write(self, connection: sqlite3.Connection, changes: Changes, *, touch: bool) -> None:
        with connection:  # COMMIT at its end; ROLLBACK if anything fails, COMMIT among it
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_FORGET, [(os.fsencode(path),) for path in changes.forgotten])
            connection.executemany(_PUT_DEFERRAL, [deferral_row(deferral) for deferral in changes.deferrals])
            connection.executemany(_RECOVERED, [(folder, os.fsencode(place)) for folder, place in changes.recovered])
            connection.executemany(_PUT_STRAY, [stray_row(stray) for stray in changes.strays])
            connection.executemany(_LOOKED, [(os.fsencode(place),) for place in changes.looked])
            connection.executemany(_PUT_SECOND_LOOK, [second_look_row(look) for look in changes.second_looks])
            connection.executemany(_ADD_RECEIPT, [receipt_row(receipt) for receipt in changes.receipts])
            if touch:
                connection.execute(_TOUCH)
            self._summary(connection)

    @staticmethod
    def _prune(connection: sqlite3.Connection, before: float, limit: int) -> int:
        old = []
        for number, stored_at in connection.execute(_OLDEST_RECEIPTS, (limit,)).fetchall():
            if stored_at >= before:
                break
            old.append(number)
        if old:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(_PRUNE, (old[-1],))
        return len(old)


def _one(made: Callable[[Any], T], found: sqlite3.Cursor) -> T | None:
    row = found.fetchone()
    return made(row) if row else None
