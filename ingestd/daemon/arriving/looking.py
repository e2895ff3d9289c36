"""One look at a file: open it, ask for the lease, walk it if need be. On the owner thread, or on one of a few others.

In CPython a hand-over costs more than a look at a file on a local disk, so that is done on the spot. A network share takes
milliseconds for each call, and may never answer: there a few threads look, which it may hold for as long as it likes, while the
loop ticks on (F67). What the disk is like, the newest look says. They look at large files too, which may have millions of headers.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from ingestd.core.errors import FileError, FileLargeError
from ingestd.core.model import Deferral, Inspection, Look, Stamp, Wait
from ingestd.core.ports import Inbox
from ingestd.core.settle import SettleRules, still_waits
from ingestd.core.window import Entry
from ingestd.threads.handover import Handover, NoThreadError

LOOKERS = 4  # threads
_AHEAD = 2 * LOOKERS
AT_ONCE = 16 << 20  # bytes: whatever they hold, the walk takes less than a second

NO_STAMP = Stamp(device=0, inode=0, size=0, mtime_ns=0, ctime_ns=0)  # it could not even be opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A look, and what the newest walk said."""

    look: Look
    inspection: Inspection


@dataclass(frozen=True, slots=True, kw_only=True)
class StillWaits:
    """It is as it was when it was made to wait, and that it must is clear without a walk: for `after` seconds more."""

    waited: Deferral
    after: float


Found = Seen | StillWaits | FileError | MemoryError | NoThreadError


class Looking:
    """The owner thread's. `lookers` has LOOKERS threads; `wake` is called from them. `slow`: the inbox is on a network share."""

    def __init__(
        self, *, inbox: Inbox, rules: SettleRules, lookers: Executor, wake: Callable[[], None], slow: bool
    ) -> None:
        self._inbox = inbox
        self._rules = rules
        self._under_way: Handover[Entry, Seen | StillWaits] = Handover(pool=lookers, wake=wake)
        self._slow = slow

    def __len__(self) -> int:
        """Looks under way on other threads."""
        return len(self._under_way)

    def full(self) -> bool:
        """Whether nothing more can be looked at just now."""
        return len(self._under_way) >= _AHEAD

    def look(self, entry: Entry, now: float) -> Found | None:
        """What was found. None: `take` tells it later, and until then the entry is left alone."""
        if not self._slow:
            try:
                return self._learnt(self._work(entry, now, AT_ONCE)())
            except FileLargeError:
                pass
            except (FileError, MemoryError) as error:
                return error
        self._under_way.submit(entry, self._work(entry, now, None))
        return None

    def take(self) -> tuple[Entry, Found] | None:
        """What another thread has found; None while there is nothing."""
        if (ended := self._under_way.take()) is None:
            return None
        entry, future = ended
        match future.exception():
            case None:
                return entry, self._learnt(future.result())
            case FileError() | MemoryError() | NoThreadError() as error:
                return entry, error
            case error:
                raise error

    def _learnt(self, found: Seen | StillWaits) -> Seen | StillWaits:
        if isinstance(found, Seen):
            self._slow = found.look.on_network
        return found

    def _work(self, entry: Entry, now: float, most: int | None) -> Callable[[], Seen | StillWaits]:
        """What is to be done, with nothing in it that the owner thread may change meanwhile."""
        path, known, waited = entry.path, entry.inspection, entry.history
        if known is not None and not entry.walk_again:
            return lambda: Seen(look=self._inbox.look(path), inspection=known)
        if waited is not None and waited.wait is Wait.INCOMPLETE and waited.stamp != NO_STAMP:
            return lambda: self._again(path, waited, now) or self._examine(path, most)
        return lambda: self._examine(path, most)

    def _examine(self, path: str, most: int | None) -> Seen:
        look, inspection = self._inbox.examine(path, most=most)
        return Seen(look=look, inspection=inspection)

    def _again(self, path: str, waited: Deferral, now: float) -> StillWaits | None:
        """Look at a file that waited before walking it: a walk can take half a second, and thousands may wait."""
        look = self._inbox.look(path)
        if look.stamp != waited.stamp:
            return None
        after = still_waits(look, unfinished=waited.unfinished, unchanged=now - waited.since, rules=self._rules)
        return StillWaits(waited=waited, after=after) if after is not None else None
