"""New versions that a move carried away: kept in mind, in the journal too, until they are back in the inbox (I1).

A writer renames a new version over a file at the very moment of its move, and the way back is barred: its folder was removed, the
disk is full, the share broke off. What then stands in done/ was never sent. It is said once, and tried again with growing waits,
also after a restart. What is not at its place any more is forgotten after a day; until then its disk may only be away.

While the journal can't be written, it is kept here. The copier's thread does the work, because a share may not answer.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from ingestd.core.errors import FileError, FilingError, StrayError
from ingestd.core.events import Event
from ingestd.core.pace.backoff import growing
from ingestd.core.ports import Clock, Filer, Journal, Recorder
from ingestd.core.record import Stray
from ingestd.daemon.ending.ledger import Ledger
from ingestd.daemon.rate_limit import Every, RateLimit
from ingestd.threads.handover import Handover, NoThreadError

BASE_SECONDS = 5.0  # a stray that can't be put back, the first time; then twice as long each time
LOADED = 1000  # of those that the journal knows at the start
LOAD_EVERY_SECONDS = 60.0  # the next question to the journal, for strays of an earlier process
GIVEN_UP_SECONDS = 86_400.0  # a stray that is not at its place, until it is forgotten: its disk may only be away

REMEMBERED = "a new version still stands in {0}/, where a move carried it: see to the rights and disks of inbox and {0}"


@dataclass(slots=True)
class _Known:
    stray: Stray
    due_at: float
    attempts: int = 0
    under_way: bool = False


class Strays:
    """The owner thread's. `copier` is the thread that copies; `wake` is called from it."""

    def __init__(
        self,
        *,
        clock: Clock,
        journal: Journal,
        ledger: Ledger,
        filer: Filer,
        recorder: Recorder,
        copier: Executor,
        wake: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._ledger = ledger
        self._filer = filer
        self._recorder = recorder
        self._said = RateLimit(Event.STRAY, recorder=recorder)
        self._tries: Handover[_Known, str | None] = Handover(pool=copier, wake=wake)
        self._known: dict[tuple[str, str], _Known] = {}
        self._over: set[tuple[str, str]] = set()  # the journal may still hold them
        self._load_now = Every(LOAD_EVERY_SECONDS)

    def __len__(self) -> int:
        return len(self._known)

    @property
    def under_way(self) -> int:
        """Tries on the copier's thread."""
        return len(self._tries)

    def add(self, path: str, error: StrayError) -> None:
        """What belongs at `path` in the inbox was carried away."""
        now = self._clock.now()
        stray = Stray(place=error.place, folder=error.folder, stamp=error.stamp, path=path, since=now)
        self._ledger.stray(stray)
        self._over.discard((stray.folder, stray.place))
        self._know(stray, now, str(error))

    def tend(self, now: float) -> int:
        """Take in what became of tries, and try what is due; how many tries have ended."""
        ended = 0
        while (tried := self._tries.take()) is not None:
            known, future = tried
            known.under_way = False
            match future.exception():
                case None:
                    self._tried(known, future.result(), now)
                case FileError() | FilingError() | MemoryError() | NoThreadError():
                    self._later(known, now)
                case error:
                    raise error
            ended += 1
        if self._load_now.due(now):
            self._load(now)
        for known in self._known.values():
            if now >= known.due_at and not known.under_way:
                self._try(known)
        return ended

    def _try(self, known: _Known) -> None:
        known.under_way = True
        self._tries.submit(known, lambda: self._filer.recover(known.stray))

    def _tried(self, known: _Known, path: str | None, now: float) -> None:
        stray = known.stray
        if path is None and now - stray.since < GIVEN_UP_SECONDS:
            self._later(known, now)
            return
        key = (stray.folder, stray.place)
        del self._known[key]
        self._over.add(key)
        self._ledger.recovered(*key)
        if path is not None:
            self._recorder.log(Event.STRAY_BACK, path=path)

    def _later(self, known: _Known, now: float) -> None:
        known.attempts += 1
        known.due_at = now + growing(base=BASE_SECONDS, attempt=known.attempts)

    def _load(self, now: float) -> None:
        """What an earlier process remembered; nothing while the journal can't be read, so it is asked again."""
        for stray in self._journal.strays(LOADED):
            key = (stray.folder, stray.place)
            if key not in self._known and key not in self._over:
                self._know(stray, now, REMEMBERED.format(stray.folder))

    def _know(self, stray: Stray, now: float, problem: str) -> None:
        key = (stray.folder, stray.place)
        self._known[key] = _Known(stray=stray, due_at=now)
        self._said.log(now, path=stray.path, problem=problem)
