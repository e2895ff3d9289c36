"""The journal's file: opened, checked, set aside.

    what lies there                         what is done
    nothing, or zero bytes                  a journal is begun
    a journal of this version               opened; its log is played back by SQLite, a torn log up to the tear
    a journal of an earlier version         the same, and brought up to date (migrations.py); left as it is if that fails (F96)
    damaged, another program's, no file     set aside as `journal.sqlite.damaged-<n>`, and one is begun
    a journal of a newer ingestd            set aside as `journal.sqlite.newer-<n>`, and one is begun (a downgrade, F73)

Opening asks for the version and one row's worth of each column, which finds a file that is not SQLite, another
program's tables, a torn first page. Damage deeper down shows when it is read; then, too, the file is set aside and a
new one begun, because the journal is a memory and the folders are the truth (I5).

A set-aside journal keeps its write-ahead log beside it, as SQLite names it. The log moves first: a log must never meet
another file. What is there in a journal's or a log's place and is no file (a folder, a FIFO, a link) goes the same way,
unopened: SQLite would wait for it, follow it or fail on it for ever.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import suppress
from itertools import count
from pathlib import Path

from ingestd.core.errors import JournalError
from ingestd.spool.disk import errors, handles
from ingestd.spool.memory.journal_rows import COLUMNS, UnreadableRowError
from ingestd.spool.memory.migrations import VERSION, migrate

NAME = "journal.sqlite"

Identity = tuple[tuple[int, int] | None, tuple[int, int] | None]

# A logic error can't be ours, for all our statements are constant: the tables are not what they were when it was opened.
_DAMAGED = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_FORMAT,
    }
)
# Read errors are damage as well: a journal that can be written and not read would have everything sent for ever.
_UNREADABLE = frozenset({sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS})
# The module decodes SQLite's own messages, and a damaged schema is quoted in them as it is.
DatabaseTrouble = sqlite3.Error | UnicodeDecodeError
TROUBLE = (sqlite3.Error, UnicodeDecodeError)
DAMAGED = "it was damaged"
NEWER = "a newer version of ingestd has written it"
NO_FILE = "something else was in its place"
TAKEN_AWAY = "its file was taken away while the daemon ran"


class _UnusableError(Exception):
    """No journal of this version; `str()` says why."""


def is_damage(error: DatabaseTrouble) -> bool:
    return _code(error) in _DAMAGED or getattr(error, "sqlite_errorcode", None) in _UNREADABLE


def _code(error: DatabaseTrouble) -> int:
    """The primary result code (sqlite.org/rescode.html)."""
    if isinstance(error, UnreadableRowError | UnicodeDecodeError):
        return sqlite3.SQLITE_CORRUPT
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF
    # Of its own accord, the module calls it operational that a text is not UTF-8, and programming what is our mistake.
    return sqlite3.SQLITE_CORRUPT if isinstance(error, sqlite3.OperationalError) else sqlite3.SQLITE_MISUSE


def journal_error(error: DatabaseTrouble) -> JournalError:
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


def open_journal(state: Path) -> tuple[sqlite3.Connection, str | None]:
    """The journal, and why one that stood there was set aside for it. Raises sqlite3.Error, JournalError."""
    try:
        _refuse_others(state)
        return _open(state), None
    except _UnusableError as error:
        why = str(error)
    except TROUBLE as error:
        if not is_damage(error):
            raise
        why = DAMAGED
    set_aside(state, "newer" if why is NEWER else "damaged")
    try:
        return _open(state), why
    except _UnusableError as error:  # somebody has put another one there since
        raise JournalError("a journal of another kind comes back each time: see who writes in folders.state") from error


def set_aside(state: Path, label: str = "damaged") -> None:
    """`journal.sqlite` and its log become `journal.sqlite.<label>-<n>`. Raises JournalError."""
    try:
        folder = handles.open_root(state)
        try:
            new = next(n for n in map(f"{NAME}.{label}-{{}}".format, count(1)) if not _any_there(folder, n))
            for suffix in ("-shm", "-wal", ""):
                with suppress(FileNotFoundError):
                    if suffix == "-shm" and stat.S_ISREG(handles.lstat(folder, NAME + suffix).st_mode):
                        os.unlink(NAME + suffix, dir_fd=folder)
                    else:
                        handles.move(folder, NAME + suffix, folder, new + suffix)
            handles.sync_folder(folder)
        finally:
            os.close(folder)
    except OSError as error:
        words = errors.words(error)
        raise JournalError(f"a damaged journal can't be set aside ({words}): move journal.sqlite away") from error


def identity(state: Path) -> Identity:
    """Which files the journal and its log are, None for one that is not there. Raises OSError."""
    return _identity(state / NAME), _identity(state / f"{NAME}-wal")


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _refuse_others(state: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        with suppress(OSError):
            if not stat.S_ISREG(os.stat(state / (NAME + suffix), follow_symlinks=False).st_mode):
                raise _UnusableError(NO_FILE)


def _any_there(folder: int, name: str) -> bool:
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            handles.lstat(folder, name + suffix)
            return True
    return False


def _open(state: Path) -> sqlite3.Connection:
    path = state / NAME
    _touch(path)
    # autocommit: transactions are begun by hand. The thread that owns the journal need not be the one that opened it.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection)
    except (*TROUBLE, _UnusableError):
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
        words = errors.words(error)
        raise JournalError(
            f"the journal can't be begun ({words}): the service's user must be able to write in folders.state"
        ) from error


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA busy_timeout = 5000")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    ours = version > 0 and _ours(connection)
    if version > VERSION or (tables and not ours):
        raise _UnusableError(NEWER if ours and version > VERSION else DAMAGED)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    try:
        migrate(connection, version if tables else 0)
        for table, columns in COLUMNS.items():
            connection.execute(f"SELECT {columns} FROM {table} LIMIT 1").fetchone()  # noqa: S608 - constants
    except sqlite3.OperationalError as error:
        if _code(error) == sqlite3.SQLITE_ERROR:
            raise _UnusableError(DAMAGED) from error
        raise


def _ours(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'receipts'").fetchone() is not None
