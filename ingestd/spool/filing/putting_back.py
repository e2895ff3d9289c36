"""Putting a file back into the inbox, at the path it came from, to be judged anew: a quarantined one, or a stray.

It moves as filing does: a rename that lands on nothing, and across file systems copy, verify, sync, rename, and only then away with
the source. The daemon may take the file the moment it is there, and may bring it back with a new verdict before this is through.

    state on disk                                    after a crash
    in failed/ with its reason file                  as it was
    the same, and an order about it in state/        void; a later `failed retry` with an order clears it
    the same, and `.ingestd-*.tmp` in the inbox      never taken; overwritten when the file is put back again
    the same and, across file systems, in the inbox  sent; put back again, it is found to be there, or found stored
    in the inbox, orphan `.reason.json` in failed/   finished; `failed list` says it, a verdict under that name overwrites it
    the same, as `.ingestd-*.tmp`                    finished; overwritten when a file of that name is put back again

Both folders are synced before the reason file goes, so a power failure leaves the file with its reason, or in the inbox. The
order is durable before the file has its name in the inbox, so the daemon never judges it without.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ingestd.core.errors import FileError, FileGoneError, FilingError
from ingestd.core.model import Stamp
from ingestd.core.record import UNSEEN, Stray
from ingestd.part10.views import FileSource
from ingestd.part10.walk import walk
from ingestd.spool.disk import errors, handles
from ingestd.spool.disk.free_names import free_names
from ingestd.spool.filing.copying import Copy
from ingestd.spool.filing.entry import Entry
from ingestd.spool.filing.move import Move
from ingestd.spool.filing.quarantined import Quarantined
from ingestd.spool.filing.reason_file import REASON_SUFFIX
from ingestd.spool.filing.removal import remove
from ingestd.spool.memory.orders import FileOrders, Order


@dataclass(slots=True, kw_only=True)
class _WayBack:
    """The inbox as the place of a move: the folder that the file came from, and what a person has ordered about the file."""

    entry: Entry
    folder: int
    parents: Sequence[str]
    wanted: str
    takes: Callable[[str], bool]
    orders: FileOrders | None
    give: Collection[Order]
    links: bool = False  # a file with a second name waits in the inbox

    def path(self, name: str) -> str:
        """Of a name in the folder, relative to the inbox."""
        return "/".join((*self.parents, name))

    def names(self) -> Iterator[str]:
        limit = os.fpathconf(self.folder, "PC_NAME_MAX")
        seed = f"{self.entry.stamp.inode} {self.path(self.wanted)}"
        return free_names(self.wanted, seed=seed, limit=limit, extended=True)

    def gives(self, name: str, _: Entry) -> bool:
        return self.takes(self.path(name))

    def lay(self, name: str, stamp: Stamp) -> None:
        if self.orders is not None:
            self.orders.order(self.path(name), stamp, self.give)

    def lift(self, name: str, stamp: Stamp, _: OSError) -> None:
        if self.orders is not None:
            self.orders.replaced(self.path(name), stamp)

    def unseen(self, error: handles.UnseenMoveError) -> FileError | FilingError:
        return errors.put_back_error(error)

    def arrived(self, _: str) -> None:
        handles.sync_folder(self.folder)
        handles.sync_folder(self.entry.folder)

    def ready_for_copy(self) -> int:
        return self.folder

    def copied(self, copy: Copy, _: str) -> None:
        """The copy may be on its way to the service already: it stays, whatever becomes of the source."""
        copy.discard()
        handles.sync_folder(self.folder)
        try:
            remove(self.entry)
            handles.sync_folder(self.entry.folder)
        except (OSError, FileError) as error:
            text = "it was copied into the inbox and could not be taken out of failed/: do that by hand"
            raise FilingError(text) from error


class PuttingBack:
    """From failed/ into the inbox. `takes`: whether the inbox takes a path.

    `give`: what is ordered about each file. Others are void, whatever a command that was killed had ordered.
    Without `orders` it is no person's command, and what was ordered stays.
    """

    def __init__(
        self,
        failed: Path,
        inbox: Path,
        *,
        takes: Callable[[str], bool],
        orders: FileOrders | None = None,
        give: Collection[Order] = (),
    ) -> None:
        self._failed = failed
        self._inbox = inbox
        self._takes = takes
        self._orders = orders
        self._give = give

    def put_back(self, found: Quarantined) -> str:
        """Where it is in the inbox now. Raises FileError, FilingError, JournalError: it is still in failed/ then."""
        entry = self._find(found)
        try:
            reason = _identity(entry.folder, entry.name + REASON_SUFFIX)
            landed = self._land(entry, found.origin)
            if reason is not None:
                _unexplain(entry.folder, entry.name + REASON_SUFFIX, reason)
        except OSError as error:
            raise errors.put_back_error(error) from error
        finally:
            handles.close(entry.folder)
        return landed

    def check(self, found: Quarantined) -> None:
        """Raises what `put_back` would raise before it does anything."""
        handles.close(self._find(found).folder)

    def _find(self, found: Quarantined) -> Entry:
        """It, as it is now, where it may be put back; its folder's handle is the caller's. Raises FileError, FilingError."""
        if found.flaw is not None and not found.is_file:
            raise FilingError(found.flaw.value)
        if not self._takes(found.origin):
            raise FilingError(
                "the inbox takes no such name now: see intake.include, intake.exclude and intake.recursive"
            )
        *folders, name = handles.split(found.path)
        try:
            source = handles.open_below(handles.open_root(self._failed), folders)
        except OSError as error:
            raise errors.put_back_error(error) from error
        try:
            status = handles.lstat(source, name)
            if not stat.S_ISREG(status.st_mode):
                raise FileGoneError("it is no longer a file in failed/")
            if Order.AS_IS in self._give:
                _refuse_nameless(source, name)
        except OSError as error:
            handles.close(source)
            raise errors.put_back_error(error) from error
        except (FileError, FilingError):
            handles.close(source)
            raise
        return Entry(folder=source, name=name, path=found.path, stamp=handles.stamp_of(status))

    def recover(self, stray: Stray) -> str | None:
        """A new version that a move carried away: where it is in the inbox now. None: it does not stand there.

        Raises FileError, FilingError: it stands where it stood. Its number, size and mtime say which it is; after a restart of the
        machine its device may have another number.
        """
        *folders, name = handles.split(stray.place)
        try:
            source = handles.open_root(self._failed)
        except OSError as error:
            raise errors.filing_error(error) from error
        try:
            try:
                source = handles.open_below(source, folders)
            except FileNotFoundError:
                return None
            try:
                return self._recover(source, name, stray)
            finally:
                handles.close(source)
        except OSError as error:
            raise errors.put_back_error(error) from error

    def _recover(self, source: int, name: str, stray: Stray) -> str | None:
        try:
            status = handles.lstat(source, name)
        except FileNotFoundError:
            return None
        stamp = handles.stamp_of(status)
        is_it = stray.stamp == UNSEEN or handles.is_moved(replace(stray.stamp, device=stamp.device), status)
        if not (is_it and stat.S_ISREG(status.st_mode)):
            return None
        reason = _identity(source, name + REASON_SUFFIX) if stray.folder == "failed" else None
        landed = self._land(Entry(folder=source, name=name, path=stray.place, stamp=stamp), stray.path)
        if reason is not None:
            _unexplain(source, name + REASON_SUFFIX, reason)
        return landed

    def _land(self, entry: Entry, origin: str) -> str:
        *parents, wanted = handles.split(origin)
        to = _WayBack(
            entry=entry,
            folder=_made(self._inbox, parents),
            parents=parents,
            wanted=wanted,
            takes=self._takes,
            orders=self._orders,
            give=self._give,
        )
        try:
            return to.path(Move(to).run())
        finally:
            handles.close(to.folder)


def _refuse_nameless(folder: int, name: str) -> None:
    """Raises FilingError unless all UIDs can be read that requests and receipts need; FileError, OSError."""
    handle, status = handles.open_file(folder, name)
    try:
        ids = walk(FileSource(handle), status.st_size).ids
    finally:
        handles.close(handle)
    if ids is None:
        raise FilingError("its UIDs can't be read, so it can't be sent as it is: export it again from its source")


def _made(inbox: Path, parents: Sequence[str]) -> int:
    """A handle on the folder in the inbox, made where it is missing. Raises OSError."""
    folder = handles.open_root(inbox)
    for name in parents:
        try:
            below = _made_one(folder, name)
        finally:
            handles.close(folder)
        folder = below
    return folder


def _made_one(folder: int, name: str) -> int:
    """A new one is owned as its parent is: a command run by root must not shut the service's user out."""
    try:
        return os.open(name, handles.FOLDER, dir_fd=folder)
    except FileNotFoundError:
        below = handles.open_made(folder, name, sync=True)
    parent = os.fstat(folder)
    with suppress(PermissionError):
        os.fchown(below, parent.st_uid, parent.st_gid)
        os.fchmod(below, stat.S_IMODE(parent.st_mode))
    return below


def _identity(folder: int, name: str) -> tuple[int, int] | None:
    try:
        status = handles.lstat(folder, name)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _unexplain(folder: int, name: str, identity: tuple[int, int]) -> None:
    """Removes the reason file that was read, and never the one of a new verdict. One that can't be removed is an orphan."""
    aside = handles.temporary(f"{name} put back")
    with suppress(OSError):
        with suppress(FileNotFoundError):
            os.unlink(aside, dir_fd=folder)
        handles.move(folder, name, folder, aside)
        if _identity(folder, aside) != identity:
            with suppress(FileExistsError):
                handles.move(folder, aside, folder, name)
                return
        os.unlink(aside, dir_fd=folder)
