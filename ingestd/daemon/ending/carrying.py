"""The moves of files whose outcome is known: on the spot, or on a thread of its own.

A rename is done on the spot. A copy to another file system takes as long as the file is large, and whatever is done on a network
share takes for ever when that does not answer, so a thread of its own does both, one after another; once a folder has shown to be
far, nothing else touches it (F67). A file that somebody may still write is not copied, because its copy would lack what is
written after: it stays in the inbox until it has been left alone for `incomplete_timeout_seconds`, and is judged anew if it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from ingestd.core.answers.outcome import Outcome
from ingestd.core.errors import FarFolderError, FileError, FilingError
from ingestd.core.model import Deferral, Instance, Stamp, Wait
from ingestd.core.ports import Clock, Filer
from ingestd.core.record import SecondLook, Verdict
from ingestd.core.second_look import SecondLookRules, planned
from ingestd.core.window import Entry
from ingestd.threads.handover import Handover


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A file whose outcome is known: an instance goes into done/, a verdict's file into failed/.

    `foreseen`: the second look that is remembered before the move, for the place in done/ that it will most likely get.
    """

    entry: Entry
    outcome: Outcome
    what: Instance | Verdict
    deleted: bool = False  # as Deferral has it
    foreseen: SecondLook | None = None

    @property
    def file(self) -> tuple[int, int]:
        """Device and inode."""
        return (self.what.stamp.device, self.what.stamp.inode)

    def waits(self, wait: Wait, *, due_at: float, since: float) -> Deferral:
        """It stays in the inbox."""
        return Deferral(
            path=self.entry.path,
            stamp=self.what.stamp,
            wait=wait,
            due_at=due_at,
            first_seen=self.entry.first_seen,
            since=since,
            stored=isinstance(self.what, Instance),
            deleted=self.deleted,
        )


Carried = tuple[
    Ending, BaseException | None, SecondLook | None
]  # what went wrong; else the second look that it wants now


class Carrying:
    """The owner thread's. `copier` is one thread; `wake` is called from it."""

    def __init__(
        self, *, clock: Clock, filer: Filer, copier: Executor, wake: Callable[[], None], rules: SecondLookRules
    ) -> None:
        self._clock = clock
        self._filer = filer
        self._rules = rules
        self._copies: Handover[Ending, SecondLook | None] = Handover(pool=copier, wake=wake)
        self._files_copied: set[tuple[int, int]] = set()  # device and inode of each
        self._far: set[bool] = set()  # failed/ (True) and done/ (False), when on another file system than the inbox

    def __len__(self) -> int:
        """Files that the copier is at, or that wait for it."""
        return len(self._copies)

    def copies(self, stamp: Stamp) -> bool:
        """Whether the copier is at this very file."""
        return (stamp.device, stamp.inode) in self._files_copied

    def carry(self, ending: Ending) -> Carried | None:
        """Move it. None: the copier does, and `take` tells what came of it."""
        to_failed = isinstance(ending.what, Verdict)
        if not (ending.entry.on_network or to_failed in self._far):
            try:
                return ending, None, self._move(ending, copy=False)
            except FarFolderError:
                self._far.add(to_failed)
            except (FilingError, FileError, MemoryError) as error:
                return ending, error, None
        self._files_copied.add(ending.file)
        self._copies.submit(ending, lambda: self._move(ending, copy=True))
        return None

    def take(self) -> Carried | None:
        """What the copier has done; None while there is nothing."""
        if (copied := self._copies.take()) is None:
            return None
        ending, future = copied
        self._files_copied.discard(ending.file)
        error = future.exception()
        return ending, error, None if error else future.result()

    def _move(self, ending: Ending, *, copy: bool) -> SecondLook | None:
        """The second look that it wants now, where it is in done/ without a proof that nobody writes it."""
        young = self._clock.now() < ending.entry.rests_until
        if isinstance(ending.what, Verdict):
            self._filer.to_failed(ending.what, copy=copy, young=young)
            return None
        place = self._filer.to_done(ending.what, at=self._clock.wall(), copy=copy, young=young)
        if place is None or (look := ending.foreseen) is None:
            return None
        if place == look.place and not (copy or look.remove):  # a rename leaves all that counts as it was
            return look
        stamp = self._filer.stamp(place) or ending.what.stamp
        return planned(ending.what, place, stamp, now=self._clock.now(), rules=self._rules)
