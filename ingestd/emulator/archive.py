"""What the service holds: an index in SQLite and the instances as files beside it.

    <data>/index.sqlite3       instances, their metadata, the change feed (WAL)
    <data>/incoming/<key>      a part being received; after a crash nobody's, deleted at the next start
    <data>/blobs/<kk>/<key>    a stored instance, or, for the moment between move and commit, one about to be; what no row
                               names is deleted at the next start
    <data>/lock                held while the service runs, so that no second one takes its parts for leftovers

An instance is there when its row is committed, and its file is in place before that. Keys are random: no UID becomes a path.
A commit survives the death of the process at once, a power cut after the next checkpoint (WAL, synchronous=NORMAL).
"""

import contextlib
import fcntl
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ingestd.emulator import EmulatorError
from ingestd.emulator.uids import Uids

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS instance (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    study TEXT NOT NULL, series TEXT NOT NULL, sop TEXT NOT NULL,
    transfer_syntax TEXT NOT NULL, key TEXT NOT NULL UNIQUE,
    UNIQUE (study, series, sop)
);
CREATE TABLE IF NOT EXISTS metadata (instance_id INTEGER PRIMARY KEY REFERENCES instance (id), json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS change (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL DEFAULT (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    action TEXT NOT NULL, study TEXT NOT NULL, series TEXT NOT NULL, sop TEXT NOT NULL, instance_id INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS change_by_time ON change (at_ms, sequence);
"""

_CHANGES: Final = """
SELECT c.sequence, c.at_ms, c.action, c.study, c.series, c.sop,
    CASE WHEN i.id IS NULL THEN 'deleted' WHEN i.id = c.instance_id THEN 'current' ELSE 'replaced' END,
    CASE WHEN ? THEN m.json END
FROM change c
LEFT JOIN instance i ON i.study = c.study AND i.series = c.series AND i.sop = c.sop
LEFT JOIN metadata m ON m.instance_id = i.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInstance:
    """A received part, `key` in incoming/, that may be stored."""

    key: str
    uids: Uids
    transfer_syntax: str
    metadata: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """One that is there. `version` never comes again, not even for the same UIDs."""

    version: int
    path: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A row of the change feed; `at_ms` in milliseconds since 1970, `metadata` is JSON or None."""

    sequence: int
    at_ms: int
    action: str
    uids: Uids
    state: str
    metadata: str | None


class Archive:
    """Opened by one process at a time, used by any of its threads."""

    def __init__(self, data: Path) -> None:
        """Makes the folder when it is missing and clears what a crash left.

        Raises:
            EmulatorError: another process has it, or it cannot be used.
        """
        self._incoming = os.path.join(data, "incoming")
        self._blobs = os.path.join(data, "blobs")
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        with contextlib.ExitStack() as undo:
            self._open(data, undo)
            undo.pop_all()

    def _open(self, data: Path, undo: contextlib.ExitStack) -> None:
        try:
            for shelf in range(256):
                os.makedirs(os.path.join(self._blobs, f"{shelf:02x}"), exist_ok=True)
            os.makedirs(self._incoming, exist_ok=True)
            self._lock_fd = os.open(os.path.join(data, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EmulatorError(f"data folder {data}: {error.strerror}; choose one you can write to") from error
        try:
            undo.callback(os.close, self._lock_fd)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._writer = undo.enter_context(contextlib.closing(_connect(data)))
            self._writer.executescript(_SCHEMA)
            self._reader = undo.enter_context(contextlib.closing(_connect(data)))
            self._sweep()
        except BlockingIOError as error:
            raise EmulatorError(f"data folder {data}: another emulator uses it; stop that or choose another") from error
        except sqlite3.Error as error:
            raise EmulatorError(f"data folder {data}: its index is unusable; choose an empty folder") from error

    def close(self) -> None:
        """Ends it; stored instances stay."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()
            os.close(self._lock_fd)

    def new_part(self) -> tuple[str, str]:
        """A fresh key and the path in incoming/ that goes with it; the caller makes the file."""
        key = secrets.token_hex(16)
        return key, os.path.join(self._incoming, key)

    def incoming_path(self, key: str) -> str:
        """Where the part of this key lies until it is stored."""
        return os.path.join(self._incoming, key)

    def discard(self, keys: Iterable[str]) -> None:
        """Deletes those of these parts that were not stored."""
        for key in keys:
            try:
                os.unlink(self.incoming_path(key))
            except FileNotFoundError:
                pass

    def add(self, instances: Sequence[NewInstance], *, replace: bool = False) -> list[bool]:
        """Stores them in this order and in one transaction; False for each whose UIDs are there already.

        With `replace` the new one takes the place of the old one.

        Raises:
            OSError, sqlite3.Error: none of them is stored.
        """
        moved: list[str] = []
        outdated: list[str] = []
        added: list[bool] = []
        try:
            with self._write_lock, self._writer:
                self._writer.execute("BEGIN IMMEDIATE")
                for instance in instances:
                    old = self._remove(instance.uids) if replace else None
                    added.append(self._add(instance, moved, action="create" if old is None else "update"))
                    outdated += [] if old is None else [old]
        except (OSError, sqlite3.Error):
            for path in moved:
                os.unlink(path)
            raise
        for path in outdated:
            os.unlink(path)
        return added

    def delete(self, uids: Uids) -> bool:
        """Deletes the instance of these UIDs; False when there is none.

        Raises:
            sqlite3.Error: it is still there.
        """
        with self._write_lock, self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            path = self._remove(uids)
            if path is not None:
                self._record("delete", uids, 0)
        if path is not None:
            os.unlink(path)
        return path is not None

    def find(self, uids: Uids) -> StoredInstance | None:
        """The instance of these UIDs."""
        sql = "SELECT id, key, transfer_syntax FROM instance WHERE study = ? AND series = ? AND sop = ?"
        for version, key, syntax in self._rows(sql, (uids.study, uids.series, uids.sop_instance)):
            return StoredInstance(version=version, path=self._blob_path(key), transfer_syntax=syntax)
        return None

    def metadata(self, uids: Uids) -> tuple[int, str] | None:
        """Version and DICOM JSON of the instance of these UIDs."""
        sql = (
            "SELECT id, json FROM instance JOIN metadata ON instance_id = id WHERE study = ? AND series = ? AND sop = ?"
        )
        for version, model in self._rows(sql, (uids.study, uids.series, uids.sop_instance)):
            return version, model
        return None

    def changes(self, *, from_ms: int, to_ms: int, offset: int, limit: int, with_metadata: bool) -> list[Change]:
        """The change feed in [from_ms, to_ms), oldest first."""
        sql = _CHANGES + "WHERE c.at_ms >= ? AND c.at_ms < ? ORDER BY c.at_ms, c.sequence LIMIT ? OFFSET ?"
        return self._changes(sql, (with_metadata, from_ms, to_ms, limit, offset))

    def latest_change(self, *, with_metadata: bool) -> Change | None:
        """The newest row of the change feed; None when nothing ever happened."""
        sql = _CHANGES + "ORDER BY c.at_ms DESC, c.sequence DESC LIMIT 1"
        return next(iter(self._changes(sql, (with_metadata,))), None)

    def _changes(self, sql: str, parameters: tuple[int, ...]) -> list[Change]:
        return [
            Change(
                sequence=sequence,
                at_ms=at_ms,
                action=action,
                uids=Uids(study=study, series=series, sop_instance=sop),
                state=state,
                metadata=metadata,
            )
            for sequence, at_ms, action, study, series, sop, state, metadata in self._rows(sql, parameters)
        ]

    def _remove(self, uids: Uids) -> str | None:
        """Takes the rows away; the path of the file, for the caller to delete once that is committed."""
        where = (uids.study, uids.series, uids.sop_instance)
        row = self._writer.execute(
            "SELECT id, key FROM instance WHERE study = ? AND series = ? AND sop = ?", where
        ).fetchone()
        if row is None:
            return None
        self._writer.execute("DELETE FROM metadata WHERE instance_id = ?", (row[0],))
        self._writer.execute("DELETE FROM instance WHERE id = ?", (row[0],))
        return self._blob_path(row[1])

    def _record(self, action: str, uids: Uids, version: int | None) -> None:
        self._writer.execute(
            "INSERT INTO change (action, study, series, sop, instance_id) VALUES (?, ?, ?, ?, ?)",
            (action, uids.study, uids.series, uids.sop_instance, version),
        )

    def _add(self, instance: NewInstance, moved: list[str], *, action: str) -> bool:
        uids = (instance.uids.study, instance.uids.series, instance.uids.sop_instance)
        cursor = self._writer.execute(
            "INSERT INTO instance (study, series, sop, transfer_syntax, key) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (study, series, sop) DO NOTHING",
            (*uids, instance.transfer_syntax, instance.key),
        )
        if cursor.rowcount == 0:
            return False
        version = cursor.lastrowid
        self._writer.execute("INSERT INTO metadata VALUES (?, ?)", (version, instance.metadata))
        self._record(action, instance.uids, version)
        path = self._blob_path(instance.key)
        os.rename(self.incoming_path(instance.key), path)
        moved.append(path)
        return True

    def _rows(self, sql: str, parameters: tuple[int | str, ...]) -> list[Any]:  # Any: sqlite3 types no columns
        with self._read_lock:
            return self._reader.execute(sql, parameters).fetchall()

    def _blob_path(self, key: str) -> str:
        return os.path.join(self._blobs, key[:2], key)

    def _sweep(self) -> None:
        for entry in os.scandir(self._incoming):
            os.unlink(entry.path)
        for shelf in os.scandir(self._blobs):
            rows = self._writer.execute(
                "SELECT key FROM instance WHERE key >= ? AND key < ?", (shelf.name, shelf.name + "g")
            )
            known = {key for (key,) in rows}
            for entry in os.scandir(shelf.path):
                if entry.name not in known:
                    os.unlink(entry.path)


def _connect(data: Path) -> sqlite3.Connection:
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
