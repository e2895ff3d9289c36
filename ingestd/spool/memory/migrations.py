"""The journal's schema, as steps from each version to the next.

A step is one transaction, its version number in it: killed or out of room in its midst, SQLite takes all of it back and the
journal is of the version before. A new journal takes every step from the first, so one that is begun and one that is migrated
are the same. A step that was released is never changed: what comes later is a step of its own.

Steps write no row. A column is added with a constant default or none, which SQLite keeps in the schema alone
(sqlite.org/lang_altertable.html), so a million receipts take no longer than one; what such rows lack is filled in on reading.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

STEPS: Mapping[int, tuple[str, ...]] = {
    # Receipts, and the files that are passed over for a while.
    1: (
        """CREATE TABLE receipts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stored_at REAL NOT NULL,
    study_uid TEXT NOT NULL,
    series_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    path BLOB NOT NULL,
    outcome TEXT NOT NULL,
    http_status INTEGER,
    reason INTEGER,
    retrieve_url TEXT
)""",
        "CREATE INDEX receipts_by_instance ON receipts (sop_instance_uid)",
        """CREATE TABLE deferrals (
    path BLOB PRIMARY KEY,
    stamp TEXT NOT NULL,
    wait TEXT NOT NULL,
    due_at REAL NOT NULL,
    first_seen REAL NOT NULL,
    since REAL NOT NULL,
    attempts INTEGER NOT NULL,
    counted INTEGER NOT NULL,
    last_receipt INTEGER NOT NULL,
    unfinished INTEGER NOT NULL,
    restless INTEGER NOT NULL,
    stored INTEGER NOT NULL
) WITHOUT ROWID""",
        "CREATE INDEX deferrals_by_due ON deferrals (due_at)",
        "CREATE INDEX deferrals_by_wait ON deferrals (wait)",
        "CREATE INDEX deferrals_by_first_seen ON deferrals (first_seen)",
    ),
    # What a receipt proves, and of which service; questions that are asked again without a send; what has a way back.
    2: (
        # Receipts of version 1 have a digest from byte 128 on; their service stands in the retrieve URL, if anywhere.
        "ALTER TABLE receipts ADD COLUMN service TEXT",
        "ALTER TABLE receipts ADD COLUMN proof TEXT",
        "ALTER TABLE receipts ADD COLUMN digest_kind TEXT NOT NULL DEFAULT 'from_128'",
        "ALTER TABLE receipts ADD COLUMN transfer_syntax_uid TEXT",
        "ALTER TABLE receipts ADD COLUMN data_set_bytes INTEGER",
        "ALTER TABLE receipts ADD COLUMN mtime_ns INTEGER",
        # Why the service is being asked about a file instead of being sent it; null: it is sent again.
        "ALTER TABLE deferrals ADD COLUMN question TEXT",
        # What the service held was deleted to make room, so it holds nothing until the file has been sent.
        "ALTER TABLE deferrals ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0",
        # New versions of files that a move carried away and that could not be put back yet.
        """CREATE TABLE strays (
    place BLOB NOT NULL,
    folder TEXT NOT NULL CHECK (folder IN ('done', 'failed')),
    stamp TEXT NOT NULL,
    path BLOB NOT NULL,
    since REAL NOT NULL,
    PRIMARY KEY (folder, place)
) WITHOUT ROWID""",
        # Files in done/ that nothing proved unwritten when they were filed: they are looked at once more.
        """CREATE TABLE second_looks (
    place BLOB PRIMARY KEY,
    stamp TEXT NOT NULL,
    path BLOB NOT NULL,
    due_at REAL NOT NULL,
    remove INTEGER NOT NULL
) WITHOUT ROWID""",
        "CREATE INDEX second_looks_by_due ON second_looks (due_at)",
    ),
}
VERSION = max(STEPS)


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Take the steps that a journal of `version` lacks, 0 for a new one. Raises sqlite3.Error: those before it are taken."""
    for step, statements in STEPS.items():
        if step > version:
            with connection:  # COMMIT at its end; ROLLBACK if anything fails, COMMIT among it
                connection.execute("BEGIN IMMEDIATE")
                for statement in statements:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {step}")
