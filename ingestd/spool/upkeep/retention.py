"""Retention: files of done/ that are older than `done.retention_days` are removed, if a receipt proves them stored.

The proof is by content, not by name: the file's own UIDs find the newest receipt of that instance, and the file must have the
digest that the receipt has (proving.py). So it holds whatever moved the file within done/, and a file that the journal knows
nothing about (I5), that was changed, whose instance was stored with other bytes since, or whose bytes the service does not show
that it holds, is kept and counted.
The age is the receipt's; a file's times say nothing (F13), except that somebody may still write one whose ctime is young.

    killed                                   what is left
    before a file is removed                 the file; the next round removes it
    between its rename and the unlink        the file under another name, which is found by content as well
    before an emptied folder is removed      the folder; the next round removes it

While the clock is doubted (core/clock_doubt.py) nothing is old.

The first round of a process looks at every file. Later ones, one a day where days are asked for, pass over the day folders
after the cutoff: what was filed since can't be old enough, but for files that had to wait long for their move.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from ingestd.core.errors import FileError, FilingError, JournalError
from ingestd.core.layout import Layout
from ingestd.core.ports import Clock, RetentionStatus
from ingestd.core.when import utc_day
from ingestd.part10.views import FileSource
from ingestd.part10.walk import walk
from ingestd.spool.disk import errors, handles
from ingestd.spool.disk.descent import At, Descent
from ingestd.spool.disk.mounts import MountPoints
from ingestd.spool.filing.entry import Entry
from ingestd.spool.filing.removal import remove
from ingestd.spool.memory.receipts import Receipts
from ingestd.spool.upkeep.proving import Proving, Steps, tells_of

DAY_SECONDS = 86_400.0  # the next round of retention, at most
LEAST_REST_SECONDS = 1.0  # the next round of retention, at least
AFTER_TROUBLE_SECONDS = 600.0  # the next round of retention after trouble, or while the clock is doubted, at most


@dataclass(slots=True, kw_only=True)
class _Round:
    """One pass of a tree: `cutoff` in seconds since the epoch, `day` the UTC day after which folders are passed over."""

    receipts: Receipts
    proving: Proving
    cutoff: float
    day: str | None = None
    rested: float = math.inf  # seconds since the epoch: what changed after that stays
    removed: int = 0
    removed_bytes: int = 0
    unproven: int = 0
    problem: str | None = None


class DoneRetention:
    """A task of the upkeep thread, and the port Retention. `layout` is done.layout; in seconds `age` since the store, and `rest`
    since the last change of a file.

    `doubt` says why the clock is not believed, if it is not.
    """

    def __init__(
        self,
        *,
        done: Path,
        state: Path,
        layout: Layout,
        age: float,
        rest: float,
        proving: Proving,
        clock: Clock,
        doubt: Callable[[], str | None],
    ) -> None:
        self._done = done
        self._mounts = MountPoints(done)
        self._state = state
        self._proving = proving
        self._clock = clock
        self._doubt = doubt
        self._age = age
        self._still = rest
        self._rest = min(max(age / 24, LEAST_REST_SECONDS), DAY_SECONDS)
        self._layout = layout
        self._due_at = clock.monotonic()
        self._status = RetentionStatus()

    def status(self) -> RetentionStatus:
        return self._status

    def due_at(self) -> float:
        return self._due_at

    def steps(self) -> Iterator[None]:
        """One round, a bounded piece of work at each step."""
        if self._doubt() is not None:  # the daemon says so
            self._due_at = self._clock.monotonic() + min(self._rest, AFTER_TROUBLE_SECONDS)
            return
        before = self._status
        now = min(self._clock.now(), self._clock.wall())
        cutoff = now - self._age
        day = utc_day(cutoff) if before.rounds else None
        this = _Round(
            receipts=Receipts(self._state), proving=self._proving, cutoff=cutoff, day=day, rested=now - self._still
        )
        try:
            yield from self._round(this)
        except JournalError as error:
            this.problem = str(error)
        finally:
            this.receipts.close()
        self._due_at = self._clock.monotonic() + (
            min(self._rest, AFTER_TROUBLE_SECONDS) if this.problem else self._rest
        )
        self._status = RetentionStatus(
            rounds=before.rounds + (this.problem is None or before.rounds > 0),
            swept_before=cutoff if this.problem is None else before.swept_before,
            removed=before.removed + this.removed,
            removed_bytes=before.removed_bytes + this.removed_bytes,
            unproven=this.unproven,
            problem=this.problem,
        )

    def _round(self, this: _Round) -> Iterator[None]:
        try:
            self._mounts.check(self._done)  # what lies there else would pass for all of it, and receipts be pruned
            root = handles.open_root(self._done)
        except FilingError:
            this.problem = "folders.done is no longer mounted: mount it again"
            return
        except OSError as error:
            this.problem = f"folders.done can't be opened ({errors.words(error)}): mend its owner or mode, or mount it"
            return
        with Descent(root, wanted=lambda _: True) as way:
            yield from self._swept(way, this)

    def _swept(self, way: Descent, this: _Round) -> Iterator[None]:
        for at, folder in way.steps():
            if folder.problem is not None:
                _trouble(this, folder.problem)
            elif self._is_young(way.path + folder.name if at is At.LEFT else way.path, this):
                pass
            elif at is At.LEFT:
                way.remove(folder)
            else:
                yield from _listed(way, folder.handle, this)

    def _is_young(self, folder: str, this: _Round) -> bool:
        """Whether it is the folder of a day that is passed over."""
        day = self._layout.day_of(folder) if this.day is not None else None
        return day is not None and this.day is not None and day > this.day


def _listed(way: Descent, folder: int, this: _Round) -> Iterator[None]:
    below = way.path
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                yield
                if entry.is_dir(follow_symlinks=False):
                    way.put_off(entry.name)
                elif entry.is_file(follow_symlinks=False) and not handles.is_temporary(entry.name):
                    yield from _file(folder, below + entry.name, this)
    except OSError as error:
        _trouble(this, error)


def _file(folder: int, path: str, this: _Round) -> Iterator[None]:
    """Remove it, if it is proved to be old and stored."""
    name = path.rpartition("/")[2]
    try:
        handle, status = handles.open_file(folder, name)
        try:
            size = status.st_size
            found = walk(FileSource(handle), size)
            receipt = this.receipts.newest(found.ids) if found.ids is not None else None
            if receipt is None:
                this.unproven += 1
                return
            if receipt.stored_at >= this.cutoff or status.st_ctime >= this.rested:
                return
            if not (yield from this.proving.proves(receipt, handle, found)):
                this.unproven += 1
                return
        finally:
            handles.close(handle)
        remove(Entry(folder=folder, name=name, path=path, stamp=handles.stamp_of(status)))
    except FileError:  # it is another one by now: the next round sees to it
        return
    except OSError as error:
        _trouble(this, error)
        return
    this.removed += 1
    this.removed_bytes += size


def remove_proved(folder: int, path: str, receipts: Receipts, proving: Proving) -> Generator[None, None, _Round]:
    """Remove one file, whatever its age, if its newest receipt and the service prove its bytes; what came of it, counted."""
    this = _Round(receipts=receipts, proving=proving, cutoff=math.inf)
    yield from _file(folder, path, this)
    return this


def holds(folder: int, name: str, receipts: Receipts, *, since: float) -> Steps:
    """Whether a receipt from after `since` is about the bytes that a file has now. Raises OSError, FileError, JournalError."""
    handle, status = handles.open_file(folder, name)
    try:
        found = walk(FileSource(handle), status.st_size)
        receipt = receipts.newest(found.ids) if found.ids is not None else None
        return receipt is not None and receipt.stored_at >= since and (yield from tells_of(receipt, handle, found))
    finally:
        handles.close(handle)


def _trouble(this: _Round, error: OSError) -> None:
    """What vanishes on the way is no trouble (F24)."""
    if error.errno != errno.ENOENT:
        this.problem = (
            f"something in folders.done can't be read or removed ({errors.words(error)}): mend its owner or mode"
        )
