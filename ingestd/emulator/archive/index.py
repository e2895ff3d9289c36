"""The index in SQLite: its tables, how an older one is brought up to them, and the connections to it.

One connection writes and a few read, so that a long read keeps no other waiting. In WAL mode a reader sees the index as it was
when its statement began, whatever is written meanwhile.
"""

import contextlib
import os
import queue
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ingestd.emulator.archive import catalog

_READERS: Final = 8

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS instance (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    partition TEXT NOT NULL, study TEXT NOT NULL, series TEXT NOT NULL, sop TEXT NOT NULL,
    transfer_syntax TEXT NOT NULL, key TEXT NOT NULL UNIQUE,
    UNIQUE (partition, study, series, sop)
);
CREATE TABLE IF NOT EXISTS partition (
    key INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    at_ms INTEGER NOT NULL DEFAULT (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER))
);
INSERT INTO partition (name) SELECT 'Microsoft.Default' WHERE NOT EXISTS (SELECT 1 FROM partition);
CREATE TABLE IF NOT EXISTS metadata (instance_id INTEGER PRIMARY KEY REFERENCES instance (id), json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS change (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL DEFAULT (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    action TEXT NOT NULL, study TEXT NOT NULL, series TEXT NOT NULL, sop TEXT NOT NULL, instance_id INTEGER NOT NULL,
    partition TEXT NOT NULL DEFAULT 'Microsoft.Default'
);
CREATE INDEX IF NOT EXISTS change_by_time ON change (at_ms, sequence);
"""

# SQLite cannot change a UNIQUE constraint: a new table, which keeps the ids and goes on counting where the old one was.
_ADD_PARTITIONS: Final = """
BEGIN;
CREATE TABLE instance_new (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    partition TEXT NOT NULL, study TEXT NOT NULL, series TEXT NOT NULL, sop TEXT NOT NULL,
    transfer_syntax TEXT NOT NULL, key TEXT NOT NULL UNIQUE,
    UNIQUE (partition, study, series, sop)
);
INSERT INTO instance_new SELECT id, 'Microsoft.Default', study, series, sop, transfer_syntax, key FROM instance;
DELETE FROM sqlite_sequence WHERE name = 'instance_new';
INSERT INTO sqlite_sequence SELECT 'instance_new', seq FROM sqlite_sequence WHERE name = 'instance';
DROP TABLE instance;
ALTER TABLE instance_new RENAME TO instance;
ALTER TABLE change ADD COLUMN partition TEXT NOT NULL DEFAULT 'Microsoft.Default';
COMMIT;
"""


def connect(data: Path) -> sqlite3.Connection:
    """A connection to the index in this folder, used by one thread at a time. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        os.path.join(data, "index.sqlite3"), isolation_level=None, check_same_thread=False, timeout=30
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def prepare(connection: sqlite3.Connection) -> None:
    """Makes the tables, or brings those of an earlier version up to date; a crash in between is made good by the next call.

    Raises:
        sqlite3.Error: it is no index.
    """
    columns = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info('instance')")}
    if columns and "partition" not in columns:
        connection.executescript(_ADD_PARTITIONS)
    connection.executescript(_SCHEMA + catalog.SCHEMA)
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        catalog.rebuild(connection)


class Readers:
    """A fixed number of connections that only read. Any thread."""

    def __init__(self, data: Path) -> None:
        """Raises sqlite3.Error."""
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        with contextlib.ExitStack() as undo:
            for _ in range(_READERS):
                connection = undo.enter_context(contextlib.closing(connect(data)))
                connection.execute("PRAGMA query_only = ON")
                self._idle.put(connection)
            undo.pop_all()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for the length of the block, this caller's alone. Waits while all are taken: never ask for a second."""
        connection = self._idle.get()
        try:
            yield connection
        finally:
            self._idle.put(connection)

    def close(self) -> None:
        """Waits for whoever still reads."""
        for _ in range(_READERS):
            self._idle.get().close()
