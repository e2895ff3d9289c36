"""The journal's file: opened, checked, set aside.

Opening asks for the version and one row's worth of each column, which finds a file that is not SQLite, another
program's tables, a torn first page. Damage deeper down shows when it is read; then, too, the file is set aside and a
new one begun, for the journal is a memory and the folders are the truth (I5). A file of a newer version is set aside as
well, whole, for the version that can read it.

A set-aside journal keeps its write-ahead log beside it, as SQLite names it. The log moves first: a log must never meet
another file.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from itertools import count
from pathlib import Path

from ingestd.core.errors import JournalError
from ingestd.spool import fsutil

NAME = "journal.sqlite"
VERSION = 1

_SCHEMA = """
CREATE TABLE receipts (
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
);
CREATE INDEX receipts_by_instance ON receipts (sop_instance_uid);
CREATE TABLE deferrals (
    path BLOB PRIMARY KEY,
    stamp TEXT NOT NULL,
    wait TEXT NOT NULL,
    due_at REAL NOT NULL,
    first_seen REAL NOT NULL,
    since REAL NOT NULL,
    attempts INTEGER NOT NULL,
    counted INTEGER NOT NULL,
    mark INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX deferrals_by_due ON deferrals (due_at);
CREATE INDEX deferrals_by_wait ON deferrals (wait);
"""
RECEIPT = (
    "stored_at, study_uid, series_uid, sop_instance_uid, size, sha256, path, outcome, http_status, reason, retrieve_url"
)
DEFERRAL = "path, stamp, wait, due_at, first_seen, since, attempts, counted, mark"

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class _UnknownSchemaError(Exception):
    """A version or tables that are not ours."""


class UnreadableRowError(sqlite3.DatabaseError):
    """A row that no version of ours wrote."""


def is_damage(error: sqlite3.Error) -> bool:
    return _code(error) in _DAMAGED


def _code(error: sqlite3.Error) -> int:
    """The primary result code (sqlite.org/rescode.html)."""
    if isinstance(error, UnreadableRowError):
        return sqlite3.SQLITE_CORRUPT
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF
    # Of its own accord, the module calls it operational that a text is not UTF-8, and programming what is our mistake.
    return sqlite3.SQLITE_CORRUPT if isinstance(error, sqlite3.OperationalError) else sqlite3.SQLITE_ERROR


def journal_error(error: sqlite3.Error) -> JournalError:
    """What SQLite's code means, and how to mend it."""
    match _code(error):
        case sqlite3.SQLITE_FULL:
            text = "its disk is full: free some space, it goes on by itself"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            text = "the service's user must be able to write in folders.state, and its disk must not be read-only"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            text = "another program has it locked: close that program"
        case code if code in _DAMAGED:
            text = "it is damaged and can't be set aside: see to the disk, then move journal.sqlite away"
        case _:
            text = f"SQLite says {getattr(error, 'sqlite_errorname', type(error).__name__)}: see to the disk of folders.state"
    return JournalError(f"the journal can't be used; {text}")


def open_journal(state: Path) -> tuple[sqlite3.Connection, bool]:
    """The journal, and whether one that could not be read was set aside for it. Raises sqlite3.Error, JournalError."""
    try:
        return _open(state), False
    except _UnknownSchemaError:
        pass
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
    set_aside(state)
    return _open(state), True


def set_aside(state: Path) -> None:
    """`journal.sqlite` and its log become `journal.sqlite.damaged-<n>`. Raises JournalError."""
    try:
        folder = fsutil.open_root(state)
        try:
            new = next(n for n in map(f"{NAME}.damaged-{{}}".format, count(1)) if not _any_there(folder, n))
            with suppress(FileNotFoundError):
                os.unlink(f"{NAME}-shm", dir_fd=folder)
            for suffix in ("-wal", ""):
                with suppress(FileNotFoundError):
                    fsutil.move(folder, NAME + suffix, folder, new + suffix)
            fsutil.sync_folder(folder)
        finally:
            os.close(folder)
    except OSError as error:
        words = os.strerror(error.errno) if error.errno else "I/O error"
        raise JournalError(f"a damaged journal can't be set aside ({words}): move journal.sqlite away") from error


def _any_there(folder: int, name: str) -> bool:
    for suffix in ("", "-wal"):
        with suppress(FileNotFoundError):
            fsutil.lstat(folder, name + suffix)
            return True
    return False


def _open(state: Path) -> sqlite3.Connection:
    path = state / NAME
    _touch(path)
    # autocommit: transactions are begun by hand. The thread that owns the journal need not be the one that opened it.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection)
    except (sqlite3.Error, _UnknownSchemaError):
        connection.close()
        raise
    return connection


def _touch(path: Path) -> None:
    """It names patients' files: for its owner alone. SQLite gives its log the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        words = os.strerror(error.errno) if error.errno else "I/O error"
        raise JournalError(
            f"the journal can't be begun ({words}): the service's user must be able to write there"
        ) from error


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA busy_timeout = 5000")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version != VERSION and (version or tables):
        raise _UnknownSchemaError
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    if not tables:
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    try:
        connection.execute(f"SELECT id, {RECEIPT} FROM receipts LIMIT 1").fetchone()  # noqa: S608 - constants
        connection.execute(f"SELECT {DEFERRAL} FROM deferrals LIMIT 1").fetchone()  # noqa: S608 - constants
    except sqlite3.OperationalError as error:
        if _code(error) == sqlite3.SQLITE_ERROR:
            raise _UnknownSchemaError from error
        raise
