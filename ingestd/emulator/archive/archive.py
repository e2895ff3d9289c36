"""What the service holds: an index in SQLite and the instances as files beside it.

    <data>/index.sqlite3       partitions, instances, their metadata, the search, the change feed (WAL; index.py)
    <data>/incoming/<key>      a part being received; after a crash nobody's, deleted at the next start
    <data>/blobs/<kk>/<key>    a stored instance, or, for the moment between move and commit, one about to be, or one deleted
                               while somebody still retrieves it; what no row names is deleted at the next start
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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingestd.emulator import EmulatorError
from ingestd.emulator.archive import catalog
from ingestd.emulator.archive.blobs import Blobs
from ingestd.emulator.archive.index import Readers, connect, prepare
from ingestd.emulator.dicom.uids import Scope, Uids

_METADATA_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInstance:
    """A received part, `key` in incoming/, that may be stored."""

    key: str
    uids: Uids
    transfer_syntax: str
    metadata: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """One that is there. `version` never comes again, not even for the same UIDs; `key` is that of its file."""

    version: int
    key: str
    transfer_syntax: str


class Archive:
    """Opened by one process at a time, used by any of its threads."""

    blobs: Blobs

    def __init__(self, data: Path) -> None:
        """Makes the folder when it is missing, brings an older index up to date and clears what a crash left.

        Raises:
            EmulatorError: another process has it, or it cannot be used.
        """
        self._incoming = os.path.join(data, "incoming")
        self._write_lock = threading.Lock()
        with contextlib.ExitStack() as undo:
            self._open(data, undo)
            undo.pop_all()

    def _open(self, data: Path, undo: contextlib.ExitStack) -> None:
        try:
            self.blobs = Blobs(os.path.join(data, "blobs"))
            os.makedirs(self._incoming, exist_ok=True)
            self._lock_fd = os.open(os.path.join(data, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EmulatorError(f"data folder {data}: {error.strerror}; choose one you can write to") from error
        try:
            undo.callback(os.close, self._lock_fd)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._writer = undo.enter_context(contextlib.closing(connect(data)))
            prepare(self._writer)
            self._readers = undo.enter_context(contextlib.closing(Readers(data)))
            self._sweep()
        except BlockingIOError as error:
            raise EmulatorError(f"data folder {data}: another emulator uses it; stop that or choose another") from error
        except OSError as error:
            stray = error.filename or data
            raise EmulatorError(
                f"data folder {data}: {error.strerror}: {stray}; take that away or choose another folder"
            ) from error
        except sqlite3.Error as error:
            raise EmulatorError(f"data folder {data}: its index is unusable; choose an empty folder") from error

    def close(self) -> None:
        """Ends it; stored instances stay."""
        with self._write_lock:
            self._readers.close()
            self._writer.close()
            os.close(self._lock_fd)

    def reading(self) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        """A connection that reads the index, this caller's alone until the block is left. Never ask for a second inside."""
        return self._readers.reading()

    def instances(self, scope: Scope) -> list[StoredInstance]:
        """Those of a study, a series, or one, in the order in which they were stored."""
        condition, parameters = _selected(scope)
        with self.reading() as connection:
            rows = connection.execute(
                f"SELECT id, key, transfer_syntax FROM instance WHERE {condition} ORDER BY id",  # noqa: S608 - columns and ?
                parameters,
            ).fetchall()
        return [StoredInstance(version=version, key=key, transfer_syntax=syntax) for version, key, syntax in rows]

    def metadata(self, versions: Sequence[int]) -> Iterator[str]:
        """The DICOM JSON of those of these instances that are still there, a bounded number in memory at a time."""
        for start in range(0, len(versions), _METADATA_AT_ONCE):
            page = versions[start : start + _METADATA_AT_ONCE]
            marks = ", ".join("?" * len(page))
            with self.reading() as connection:
                rows = connection.execute(
                    f"SELECT json FROM metadata WHERE instance_id IN ({marks}) ORDER BY instance_id",  # noqa: S608 - marks
                    page,
                ).fetchall()
            for (model,) in rows:
                yield model

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

    def add_partition(self, name: str) -> None:
        """Makes the partition unless it is there. Raises sqlite3.Error."""
        with self._write_lock, self._writer:
            self._writer.execute("INSERT INTO partition (name) VALUES (?) ON CONFLICT (name) DO NOTHING", (name,))

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
            self.blobs.delete(moved)
            raise
        self.blobs.delete(outdated)
        return added

    def delete(self, scope: Scope) -> int:
        """Deletes the instances of a study, a series, or one; how many there were.

        Raises:
            sqlite3.Error: they are all still there.
        """
        condition, parameters = _selected(scope)
        with self._write_lock, self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            rows = self._writer.execute(
                f"SELECT study, series, sop FROM instance WHERE {condition} ORDER BY id",  # noqa: S608 - columns and ?
                parameters,
            ).fetchall()
            keys = []
            for study, series, sop in rows:
                uids = Uids(study=study, series=series, sop_instance=sop, partition=scope.partition)
                keys += [key for key in (self._remove(uids),) if key is not None]
                self._record("delete", uids, 0)
        self.blobs.delete(keys)
        return len(keys)

    def _remove(self, uids: Uids) -> str | None:
        """Takes the rows away; the key of the file, for the caller to delete once that is committed."""
        row = self._writer.execute(
            "SELECT id, key FROM instance WHERE partition = ? AND study = ? AND series = ? AND sop = ?", _columns(uids)
        ).fetchone()
        if row is None:
            return None
        version, key = row
        catalog.remove(self._writer, instance_id=version, uids=uids)
        self._writer.execute("DELETE FROM metadata WHERE instance_id = ?", (version,))
        self._writer.execute("DELETE FROM instance WHERE id = ?", (version,))
        return str(key)

    def _record(self, action: str, uids: Uids, version: int) -> None:
        self._writer.execute(
            "INSERT INTO change (action, partition, study, series, sop, instance_id) VALUES (?, ?, ?, ?, ?, ?)",
            (action, *_columns(uids), version),
        )

    def _add(self, instance: NewInstance, moved: list[str], *, action: str) -> bool:
        cursor = self._writer.execute(
            "INSERT INTO instance (partition, study, series, sop, transfer_syntax, key) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (partition, study, series, sop) DO NOTHING RETURNING id",
            (*_columns(instance.uids), instance.transfer_syntax, instance.key),
        )
        row = cursor.fetchone()
        if row is None:
            return False
        (version,) = row
        self._writer.execute("INSERT INTO metadata VALUES (?, ?)", (version, instance.metadata))
        catalog.add(self._writer, instance_id=version, uids=instance.uids, metadata=instance.metadata)
        self._record(action, instance.uids, version)
        os.rename(self.incoming_path(instance.key), self.blobs.path(instance.key))
        moved.append(instance.key)
        return True

    def _sweep(self) -> None:
        with os.scandir(self._incoming) as entries:
            for entry in entries:
                os.unlink(entry.path)

        def known(shelf: str) -> set[str]:
            sql = "SELECT key FROM instance WHERE key >= ? AND key < ?"
            return {key for (key,) in self._writer.execute(sql, (shelf, shelf + "g"))}

        self.blobs.sweep(known)


def _selected(scope: Scope) -> tuple[str, list[str]]:
    """What selects it from the table of instances, and the parameters of that."""
    wanted = {"partition": scope.partition, "study": scope.study, "series": scope.series, "sop": scope.sop_instance}
    given = {column: value for column, value in wanted.items() if value is not None}
    return " AND ".join(f"{column} = ?" for column in given), list(given.values())


def _columns(uids: Uids) -> tuple[str, str, str, str]:
    return uids.partition, uids.study, uids.series, uids.sop_instance
