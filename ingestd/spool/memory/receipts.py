"""The journal's receipts, read beside the daemon by a connection of their own. Nothing is ever written here."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from ingestd.core.answers.outcome import Outcome
from ingestd.core.errors import JournalError
from ingestd.core.model import Identifiers
from ingestd.core.record import Receipt
from ingestd.spool.memory.journal_file import NAME, TROUBLE, journal_error
from ingestd.spool.memory.journal_rows import NEWEST_AT, NEWEST_RECEIPT, OF_OUTCOME, receipt_of

_MOST = 500  # receipts that are read at once: a reader that pauses must not keep the journal's log from ending


class Receipts:
    """One thread's own, opened when it is first asked. Raises JournalError."""

    def __init__(self, state: Path) -> None:
        self._file = state / NAME
        self._connection: sqlite3.Connection | None = None

    def newest(self, ids: Identifiers) -> Receipt | None:
        """The newest receipt for these three UIDs: what the service holds of them, as far as is known."""
        try:
            key = (ids.sop_instance_uid, ids.study_uid, ids.series_uid)
            row = self._opened().execute(NEWEST_RECEIPT, key).fetchone()
            return receipt_of(row) if row else None
        except TROUBLE as error:
            raise journal_error(error) from error

    def of(self, outcome: Outcome, *, since: float) -> Iterator[Receipt]:
        """All with this outcome, from `since` on (seconds since the epoch), the oldest first; bounded in memory."""
        after = 0
        while True:
            try:
                rows = self._opened().execute(OF_OUTCOME, (after, outcome.value, since, _MOST)).fetchall()
                found = [receipt_of(row[1:]) for row in rows]
            except TROUBLE as error:
                raise journal_error(error) from error
            yield from found
            if len(rows) < _MOST:
                return
            after = rows[-1][0]

    def newest_at(self) -> float | None:
        """When the newest receipt of all was written, by the clock of then; None where there is none."""
        try:
            row = self._opened().execute(NEWEST_AT).fetchone()
            return float(row[0]) if row else None
        except (*TROUBLE, ValueError, TypeError) as error:
            raise JournalError("the journal's newest receipt can't be read") from error

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(f"file:{quote(str(self._file))}?mode=ro", uri=True)
        return self._connection

    def close(self) -> None:
        with suppress(sqlite3.Error):
            if self._connection is not None:
                self._connection.close()
