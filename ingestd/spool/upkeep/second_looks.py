"""Second looks at filed files (core/second_look.py), on the upkeep thread: slowly, and whatever the disk takes for it.

The daemon hands in what is due by the journal and takes back what was found; a look is forgotten there only then, so a crash costs
a look that is taken again. What was written after it was filed gets a note (late_notes.py) before anything else happens.

A file that is to be removed goes as retention's do: only if the newest receipt of its instance proves its very bytes, and nobody
has it open for writing. Its folders go with it when they are empty.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ingestd.core.errors import FileError, FileRefusedError, FilingError, JournalError
from ingestd.core.model import Stamp
from ingestd.core.ports import Clock
from ingestd.core.record import SecondLook
from ingestd.core.second_look import Found, Looked, compare
from ingestd.spool.disk import handles
from ingestd.spool.disk.lease import Lease, take
from ingestd.spool.disk.mounts import MountPoints, file_system
from ingestd.spool.memory.late_notes import LateNote, LateNotes
from ingestd.spool.memory.receipts import Receipts
from ingestd.spool.upkeep.proving import Proving
from ingestd.spool.upkeep.retention import holds, remove_proved

POLL_SECONDS = 1.0  # second looks, until those that have come in are taken up
SWEEP_SECONDS = 10.0  # the next look at what was written late
NOTE_SECONDS = 0.01  # the next look at what was written late, longer for each: ten thousand must not keep the disk busy

Looking = Generator[None, None, Looked]


class SecondLooks:
    """A task of the upkeep thread, and the port SecondLooker."""

    def __init__(
        self, *, done: Path, state: Path, proving: Proving, clock: Clock, doubt: Callable[[], str | None]
    ) -> None:
        """`doubt` says why the clock is not believed, if it is not."""
        self._done = done
        self._mounts = MountPoints(done)
        self._state = state
        self._proving = proving
        self._clock = clock
        self._doubt = doubt
        self._notes = LateNotes(state)
        self._given: deque[SecondLook] = deque()
        self._taken: deque[Looked] = deque()
        self._refusals: dict[int, bool] = {}  # by device: whether a refused lease tells of a writer
        self._late = 0  # notes, as far as they have been counted
        self._due_at = clock.monotonic()
        self._sweep_at = self._due_at

    # The port

    @property
    def idle(self) -> bool:
        return not (self._given or self._taken)

    @property
    def late(self) -> int:
        return self._late

    def give(self, looks: Sequence[SecondLook]) -> None:
        self._given.extend(looks)

    def take(self) -> Looked | None:
        return self._taken.popleft() if self._taken else None

    # The task

    def due_at(self) -> float:
        return self._due_at

    def steps(self) -> Iterator[None]:
        """What was given, a file a step; now and then the notes."""
        receipts = Receipts(self._state)
        try:
            while self._given:
                self._taken.append((yield from self._look(self._given[0], receipts)))
                self._given.popleft()  # in this order, so that it is never idle between the two
                yield
            if self._clock.monotonic() >= self._sweep_at:
                yield from self._sweep(receipts)
                self._sweep_at = self._clock.monotonic() + SWEEP_SECONDS + self._late * NOTE_SECONDS
        finally:
            receipts.close()
            self._due_at = self._clock.monotonic() + POLL_SECONDS

    def _look(self, look: SecondLook, receipts: Receipts) -> Looking:
        """Nothing is concluded from a folder that is not there: done/ may be a share that comes back."""
        try:
            self._mounts.check(self._done)
            root = handles.open_root(self._done)
        except (FilingError, OSError):
            return Looked(look=look, found=Found.UNKNOWN)
        try:
            *folders, name = handles.split(look.place)
            folder = handles.open_below(root, folders)
        except (FileNotFoundError, NotADirectoryError, FileRefusedError):
            return Looked(look=look, found=Found.GONE)
        except OSError:
            return Looked(look=look, found=Found.UNKNOWN)
        try:
            looked = yield from self._at(folder, name, look, receipts)
        except FileNotFoundError:
            looked = Looked(look=look, found=Found.GONE)
        except (OSError, FileError, JournalError):
            looked = Looked(look=look, found=Found.UNKNOWN)
        finally:
            handles.close(folder)
        if looked.found is Found.REMOVED:
            self._remove_empty(folders)
        if not looked.found.is_late and looked.found is not Found.UNKNOWN:
            self._late -= self._notes.drop(look.place)
        return looked

    def _at(self, folder: int, name: str, look: SecondLook, receipts: Receipts) -> Looking:
        """Raises OSError, FileError, JournalError: nothing is known then."""
        seen = handles.stamp_of(handles.lstat(folder, name))
        if (tells := self._refusals.get(seen.device)) is None:
            tells = self._refusals[seen.device] = file_system(folder).refusals_tell
        found = compare(look, seen, refused=tells and _refused(folder, name))
        if found.is_late:
            self._note(look, found, seen)
        elif found is Found.SAME and look.remove:
            found = yield from self._remove(folder, look, receipts)
        return Looked(look=look, found=found, seen=seen)

    def _note(self, look: SecondLook, found: Found, seen: Stamp) -> None:
        at = self._clock.wall()
        note = LateNote(place=look.place, path=look.path, found=found, found_at=at, stamp=seen)
        self._late += self._notes.keep(note)

    def _remove(self, folder: int, look: SecondLook, receipts: Receipts) -> Generator[None, None, Found]:
        """A clock of another year may have made it due: while it is doubted, nobody knows how long the file has rested."""
        if self._doubt() is not None:
            return Found.UNKNOWN
        this = yield from remove_proved(folder, look.place, receipts, self._proving)
        if this.removed:
            return Found.REMOVED
        return Found.KEPT if this.unproven else Found.UNKNOWN

    def _remove_empty(self, folders: Sequence[str]) -> None:
        for depth in range(len(folders), 0, -1):
            try:
                parent = handles.open_below(handles.open_root(self._done), folders[: depth - 1])
                try:
                    os.rmdir(folders[depth - 1], dir_fd=parent)
                finally:
                    handles.close(parent)
            except OSError:
                return

    def _sweep(self, receipts: Receipts) -> Iterator[None]:
        """Count the notes; those that no longer hold go."""
        late = 0
        for note in self._notes:
            gone = False
            with suppress(OSError, FileError, JournalError):
                if not note.stands(self._done) or (yield from self._is_held(note, receipts)):
                    gone = self._notes.drop(note.place)
            late += not gone
            yield
        self._late = late

    def _is_held(self, note: LateNote, receipts: Receipts) -> Generator[None, None, bool]:
        """Whether what lies there now was stored since: a person has sent it again."""
        *folders, name = handles.split(note.place)
        folder = handles.open_below(handles.open_root(self._done), folders)
        try:
            return note.found is Found.CHANGED and (yield from holds(folder, name, receipts, since=note.found_at))
        finally:
            handles.close(folder)


def _refused(folder: int, name: str) -> bool:
    """Whether somebody has it open for writing. Raises OSError where it can't be opened."""
    try:
        handle, _ = handles.open_file(folder, name)
    except OSError as error:
        if error.errno == errno.EAGAIN:  # a writer behind an oplock, which O_NONBLOCK does not wait for
            return True
        raise
    try:
        return take(handle) is Lease.REFUSED
    finally:
        handles.close(handle)
