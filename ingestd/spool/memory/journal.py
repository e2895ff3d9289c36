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

from ingestd.core.errors import JournalError
from ingestd.core.model import Deferral, Identifiers, Wait
from ingestd.core.record import Changes, Receipt, SecondLook, Stray
from ingestd.spool.memory import journal_rows as rows
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
from ingestd.spool.memory.lock import refuse_network

T = TypeVar("T")

ON_WORD_STEP = 5000  # receipts that one call looks at


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
        return self._known(None, lambda c: _one(rows.deferral_of, c.execute(rows.DEFERRAL_OF, key)))

    def due(self, now: float, limit: int) -> Sequence[Deferral]:
        if not self._any_deferred:
            return ()
        return self._known((), lambda c: tuple(map(rows.deferral_of, c.execute(rows.DUE, (now, limit)).fetchall())))

    def strays(self, limit: int) -> Sequence[Stray]:
        if not self._any_stray:
            return ()
        return self._known((), lambda c: tuple(map(rows.stray_of, c.execute(rows.STRAYS, (limit,)).fetchall())))

    def second_looks(self, now: float, limit: int, *, latest: float = math.inf) -> Sequence[SecondLook]:
        if not self._any_second_look:
            return ()
        which = (now, latest, limit)
        return self._known(
            (), lambda c: tuple(map(rows.second_look_of, c.execute(rows.SECOND_LOOKS, which).fetchall()))
        )

    def waiting(self) -> Mapping[Wait, int]:
        if not self._any_deferred:
            return {}
        if not self._counted:
            found = self._known(None, lambda c: dict(map(rows.waiting_of, c.execute(rows.WAITING).fetchall())))
            self._waiting, self._counted = (found, True) if found is not None else (self._waiting, False)
        return self._waiting

    def oldest(self) -> float | None:
        if not self._any_deferred:
            return None
        row = self._known((self._oldest,), lambda c: c.execute(rows.OLDEST_DEFERRAL).fetchone())
        self._oldest = row[0]
        return self._oldest

    def receipt(self, ids: Identifiers) -> Receipt | None:
        key = (ids.sop_instance_uid, ids.study_uid, ids.series_uid)
        receipt = self._asked(lambda c: _one(rows.receipt_of, c.execute(rows.NEWEST_RECEIPT, key)))
        if self._failed:  # it can be read; what was stored last is not in it yet
            raise JournalError("the journal lacks what was stored last: it is asked again once it can be written")
        return receipt

    def has_read(self, service: str) -> bool:
        key = (service, *rows.READ)
        return self._known(None, lambda c: c.execute(rows.HAS_READ, key).fetchone()) is not None

    def on_word(self, service: str, *, after: int) -> tuple[int, Receipt | None]:
        until = min(after + ON_WORD_STEP, self._last_receipt)
        key = (after, until, service, rows.ON_WORD)
        row = self._known(None, lambda c: c.execute(rows.NEXT_ON_WORD, key).fetchone())
        return (row[-1], rows.receipt_of(row[:-1])) if row else (max(after, until), None)

    def receipts_of(self, path: str) -> Sequence[Receipt]:
        """Every receipt of a path in the inbox, oldest first; reads them all, so not for the hot path."""
        return self._asked(
            lambda c: tuple(map(rows.receipt_of, c.execute(rows.RECEIPTS_OF, (os.fsencode(path),)).fetchall()))
        )

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
        last = connection.execute(rows.LAST).fetchone()
        self._last_receipt = last[0] if last else 0
        found = connection.execute(rows.ANY).fetchone()
        self._any_deferred, self._any_stray, self._any_second_look = map(bool, found)
        self._counted = False

    def _write(self, connection: sqlite3.Connection, changes: Changes, *, touch: bool) -> None:
        with connection:  # COMMIT at its end; ROLLBACK if anything fails, COMMIT among it
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(rows.FORGET, [(os.fsencode(path),) for path in changes.forgotten])
            connection.executemany(rows.PUT_DEFERRAL, [rows.deferral_row(deferral) for deferral in changes.deferrals])
            connection.executemany(
                rows.RECOVERED, [(folder, os.fsencode(place)) for folder, place in changes.recovered]
            )
            connection.executemany(rows.PUT_STRAY, [rows.stray_row(stray) for stray in changes.strays])
            connection.executemany(rows.LOOKED, [(os.fsencode(place),) for place in changes.looked])
            connection.executemany(rows.PUT_SECOND_LOOK, [rows.second_look_row(look) for look in changes.second_looks])
            connection.executemany(rows.ADD_RECEIPT, [rows.receipt_row(receipt) for receipt in changes.receipts])
            if touch:
                connection.execute(rows.TOUCH)
            self._summary(connection)

    @staticmethod
    def _prune(connection: sqlite3.Connection, before: float, limit: int) -> int:
        old = []
        for number, stored_at in connection.execute(rows.OLDEST_RECEIPTS, (limit,)).fetchall():
            if stored_at >= before:
                break
            old.append(number)
        if old:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(rows.PRUNE, (old[-1],))
        return len(old)


def _one(made: Callable[[Any], T], found: sqlite3.Cursor) -> T | None:
    row = found.fetchone()
    return made(row) if row else None
