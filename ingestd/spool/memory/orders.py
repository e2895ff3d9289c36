"""A person's orders and the brake, as files in the state folder: they outlive the daemon and need no connection to it.

    file                     its presence says                     who takes it away
    brake.json               sending is stopped, since its mtime   `ingestd resume` (or rm)
    replace/<digest>         that file may replace what the        the daemon when the file has ended; else the next
                             service holds                         `failed retry` with an order, once this one is void;
                                                                   the folder goes with the last one in it
    as_is/<digest>           that file is sent although it is      the same
                             not whole, or linked twice
    .ingestd-*.tmp           nothing: a write that a crash ended   the next write of the same file

A brake file that is empty or damaged is a brake all the same. An order is bound to one state of one file: path, device, inode, size
and mtime, all of which a rename keeps. Whatever comes later under that path is another file, and has no order. An order that is
lost costs a second verdict, and nothing else.
"""

from __future__ import annotations

import enum
import hashlib
import os
import stat
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ingestd.core.errors import FileRefusedError, JournalError
from ingestd.core.model import Stamp
from ingestd.spool.disk import errors, handles
from ingestd.spool.memory import documents

BRAKE_FILE = "brake.json"
VERSION = 1
SETTLED_SECONDS = 3600.0  # an order without its file, until it is void: a command may still be moving the file

_UNREADABLE = "brake.json stands in folders.state and does not say why"


class Order(enum.Enum):
    """What a person has ordered about one file; `value` is its folder in the state folder."""

    REPLACE = "replace"
    AS_IS = "as_is"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrakeFile:
    """Why the brake is on, and since when (seconds since the epoch)."""

    why: str
    since: float


class FileOrders:
    """The port Orders, and the same from the person's side."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._brake = state / BRAKE_FILE
        self._folders = {kind: state / kind.value for kind in Order}
        self._last_why: str | None = None
        self._known: set[Path] = set()  # orders that were seen and not carried out yet

    def braked(self) -> str | None:
        with suppress(OSError):
            found = self._read_brake()
            self._last_why = found.why if found is not None else None
        return self._last_why

    def brake(self, why: str) -> None:
        """A brake that is on already stays as it is."""
        document = {"version": VERSION, "why": why}
        try:
            if self._read_brake() is None:
                documents.keep(self._state, BRAKE_FILE, document)
        except OSError as error:
            raise _journal_error("the brake can't be written", error) from error
        self._last_why = why

    def replaces(self, path: str, stamp: Stamp) -> bool:
        return self._stands(Order.REPLACE, path, stamp)

    def as_is(self, path: str, stamp: Stamp) -> bool:
        return self._stands(Order.AS_IS, path, stamp)

    def _stands(self, kind: Order, path: str, stamp: Stamp) -> bool:
        order = self._file(kind, path, stamp)
        try:
            os.stat(order)
        except FileNotFoundError:
            self._known.discard(order)
        except OSError:
            pass
        else:
            self._known.add(order)
        return order in self._known

    def replaced(self, path: str, stamp: Stamp) -> None:
        self._void([kind for kind in Order if self._has_any(kind)], path, stamp)

    def _has_any(self, kind: Order) -> bool:
        """Whether there is a folder of orders: every stored file is asked about, and hardly ever is there one.

        One that can't be seen just now leaves a void order behind, which the next `failed retry` with an order clears.
        """
        return os.access(self._folders[kind], os.F_OK)

    def _void(self, kinds: Collection[Order], path: str, stamp: Stamp) -> None:
        for order in (self._file(kind, path, stamp) for kind in kinds):
            self._known.discard(order)
            with suppress(OSError):
                os.unlink(order)
                os.rmdir(order.parent)  # unless it holds others

    def _file(self, kind: Order, path: str, stamp: Stamp) -> Path:
        return self._folders[kind] / _digest(path, stamp)

    def release(self) -> BrakeFile | None:
        """Take the brake off; what it was, None where it was not on. Raises JournalError."""
        try:
            if (found := self._read_brake()) is None:
                return None
            os.unlink(self._brake)
        except OSError as error:
            raise _journal_error("the brake can't be taken off", error) from error
        return found

    def order(self, path: str, stamp: Stamp, kinds: Collection[Order]) -> None:
        """What holds for this file, once it is in the inbox at `path`; others about it are void. Durable. Raises JournalError."""
        self._void([kind for kind in Order if kind not in kinds], path, stamp)
        try:
            for file in (self._file(kind, path, stamp) for kind in kinds):
                self._give(file, {"version": VERSION, "path": path, **asdict(stamp)})
        except OSError as error:
            raise _journal_error("the order about the file can't be written", error) from error

    def _give(self, file: Path, document: dict[str, object]) -> None:
        _adopted(file.parent, self._state)
        try:
            documents.keep(file.parent, file.name, document)
        except FileNotFoundError:  # the daemon has just taken the folder away, with the last order in it
            _adopted(file.parent, self._state)
            documents.keep(file.parent, file.name, document)

    def clear_void(self, inbox: Path, *, now: float) -> int:
        """Forget the orders whose file is no longer in the inbox; how many. A young one may be about a file still on its way."""
        return sum(_clear_void(folder, inbox, now) for folder in self._folders.values())

    def _read_brake(self) -> BrakeFile | None:
        try:
            since = os.stat(self._brake, follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return None
        why = documents.loaded(self._brake).get("why")
        return BrakeFile(why=" ".join(why.split()) if isinstance(why, str) and why else _UNREADABLE, since=since)


def _clear_void(folder: Path, inbox: Path, now: float) -> int:
    void = 0
    with suppress(OSError):
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
        for file in (folder / name for name in names):
            if file.stat().st_mtime < now - SETTLED_SECONDS and file.name != _standing(inbox, file):
                file.unlink(missing_ok=True)
                void += 1
        os.rmdir(folder)  # unless it holds others
    return void


def _digest(path: str, stamp: Stamp) -> str:
    identity = f"{stamp.device} {stamp.inode} {stamp.size} {stamp.mtime_ns} "
    return hashlib.sha256(identity.encode("ascii") + os.fsencode(path)).hexdigest()[:32]


def _standing(inbox: Path, order: Path) -> str | None:
    """The name that an order for the file that is in the inbox now, at the path of `order`, would have; None where none is."""
    path = documents.loaded(order).get("path")
    if not isinstance(path, str):
        return None
    try:
        *folders, name = handles.split(path)
        folder = handles.open_below(handles.open_root(inbox), folders)
        try:
            return _digest(path, handles.stamp_of(handles.lstat(folder, name)))
        finally:
            os.close(folder)
    except (OSError, FileRefusedError):
        return None


def _adopted(folder: Path, parent: Path) -> None:
    """Makes `folder`, durably, owned as its parent is: a command of root must not shut the service's user out. Raises OSError."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        return
    owner = os.stat(parent)
    with suppress(PermissionError):
        os.chown(folder, owner.st_uid, owner.st_gid)
    os.chmod(folder, stat.S_IMODE(owner.st_mode))
    handle = handles.open_root(parent)
    try:
        handles.sync_folder(handle)
    finally:
        os.close(handle)


def _journal_error(what: str, error: OSError) -> JournalError:
    words = errors.words(error)
    return JournalError(f"{what} in folders.state ({words}): see to its room, or run this as the service's user")
