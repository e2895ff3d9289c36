"""The end of the way: first the journal remembers (ledger.py), then the file moves.

Stages hand their findings in during a tick; `commit` writes all of them in one transaction at its end; only what was committed is
moved, by a later tick. A crash between the two leaves a receipt and a file in the inbox, which is sent again, answered "already
there" and filed by that receipt. While the journal can't be written nothing is moved, and nothing is forgotten.

How a move is made, on the spot or on another thread, stands in carrying.py.

That a file without a lease's proof is to be looked at once more is remembered with its receipt, for the place it will likely get.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace

from ingestd.core.answers.outcome import Outcome, Quarantine
from ingestd.core.errors import (
    FileChangedError,
    FileError,
    FileGoneError,
    FilingError,
    StrayError,
    YoungFileError,
)
from ingestd.core.events import Event
from ingestd.core.lifecycle import Step
from ingestd.core.model import Deferral, Instance, Stamp, Wait
from ingestd.core.pace.backoff import growing
from ingestd.core.ports import Clock, Filer, Journal, Recorder
from ingestd.core.record import Receipt, SecondLook, Verdict
from ingestd.core.second_look import SecondLookRules, planned
from ingestd.core.window import Entry, Window
from ingestd.daemon.ending.carrying import Carrying, Ending
from ingestd.daemon.ending.ledger import Ledger
from ingestd.daemon.ending.strays import Strays
from ingestd.daemon.rate_limit import RateLimit
from ingestd.threads.handover import NoThreadError

SLICE = 256  # files moved a tick
SLICE_SECONDS = 0.05  # moves of one tick, together: the loop has other stages, too
UNMOVABLE_BASE_SECONDS = 15.0  # a file that could not be moved, the first time; then twice as long each time
KEPT_TEXT = "nothing shows that nobody writes it, or that the service holds its bytes: it stays in done/"
_NO_MEANS = "the file can't be moved (no memory or no thread): raise the service's limits, the move is tried again"


class Endings:
    """Collects what a tick found out, commits it, then files away: into done/, out of the world (done.action), into failed/.

    `copier` is one thread; `wake` is called from it.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        window: Window,
        journal: Journal,
        ledger: Ledger,
        filer: Filer,
        recorder: Recorder,
        copier: Executor,
        wake: Callable[[], None],
        rules: SecondLookRules,
    ) -> None:
        self._clock = clock
        self._window = window
        self._filer = filer
        self._recorder = recorder
        self._ledger = ledger
        self._strays = Strays(
            clock=clock,
            journal=journal,
            ledger=ledger,
            filer=filer,
            recorder=recorder,
            copier=copier,
            wake=wake,
        )
        self._found: list[Ending] = []
        self._committed: deque[Ending] = deque()
        self._rules = rules
        self._kept = RateLimit(Event.KEPT, recorder=recorder)
        self._resting = RateLimit(Event.RESTING, recorder=recorder)
        self._stuck = RateLimit(Event.UNMOVABLE, recorder=recorder, lines=1)
        self._carrying = Carrying(clock=clock, filer=filer, copier=copier, wake=wake, rules=rules)
        self.filed = 0  # files moved since the start
        self.quarantined = 0  # of these, into failed/

    def __len__(self) -> int:
        """Files whose outcome is known and that are not filed yet."""
        return len(self._found) + len(self._committed) + len(self._carrying)

    @property
    def copying(self) -> int:
        """Files that the copier is at, or that wait for it."""
        return len(self._carrying) + self._strays.under_way

    @property
    def astray(self) -> int:
        """New versions that a move carried away and that are not back in the inbox yet."""
        return len(self._strays)

    def copies(self, stamp: Stamp) -> bool:
        """Whether the copier is at this very file: its source gets another name before it goes, and that is no file of its own."""
        return self._carrying.copies(stamp)

    def stored(self, entry: Entry, instance: Instance, outcome: Outcome, receipt: Receipt | None) -> None:
        """The service named it, or was shown to hold it. No receipt: there is one already."""
        self._window.step(entry, Step.ENDED)
        if receipt is not None:
            self._ledger.stored(receipt)
        self._forget(entry)
        foreseen = self._foresee(instance)
        self._found.append(Ending(entry=entry, outcome=outcome, what=instance, foreseen=foreseen))

    def _foresee(self, instance: Instance) -> SecondLook | None:
        """Remember the second look before the move: a crash may follow that."""
        place = self._filer.place(instance, at=self._clock.wall())
        look = planned(instance, place, instance.stamp, now=self._clock.now(), rules=self._rules)
        if look is not None:
            self._ledger.second_look(look)
        return look

    def quarantine(
        self, entry: Entry, quarantine: Quarantine, *, stamp: Stamp, instance: Instance | None, attempts: int
    ) -> None:
        """A verdict about this file."""
        ids = instance.ids if instance is not None else entry.inspection.ids if entry.inspection is not None else None
        verdict = Verdict(
            path=entry.path,
            stamp=stamp,
            quarantine=quarantine,
            attempts=attempts,
            first_seen=entry.first_seen,
            failed_at=self._clock.wall(),
            ids=ids,
            sha256=instance.sha256 if instance is not None else None,
        )
        self._window.step(entry, Step.ENDED)
        self._forget(entry)
        deleted = instance is not None and instance.deleted
        self._found.append(Ending(entry=entry, outcome=Outcome.QUARANTINED, what=verdict, deleted=deleted))

    def defer(self, entry: Entry, deferral: Deferral) -> None:
        """It must wait: it leaves the window, and the journal remembers it."""
        self._window.step(entry, Step.SET_ASIDE)
        self._ledger.defer(deferral)

    def vanished(self, entry: Entry) -> None:
        """Somebody else took it."""
        self._window.step(entry, Step.VANISHED)
        self._forget(entry)

    def forget(self, entry: Entry) -> None:
        """What was remembered about it is about another state of the file."""
        self._forget(entry)
        entry.history = None

    def commit(self) -> None:
        """Write what the tick found; what the journal then holds may be moved."""
        if self._ledger.commit():
            self._committed.extend(self._found)
            self._found.clear()

    def file_away(self) -> int:
        """Move files whose receipts are on disk, in a bounded slice; how many were handled."""
        deadline = self._clock.monotonic() + SLICE_SECONDS
        handled = 0
        while (carried := self._carrying.take()) is not None:
            self._ended(*carried)
            handled += 1
        handled += self._strays.tend(self._clock.now())
        while self._committed and handled < SLICE and (not handled or self._clock.monotonic() < deadline):
            if (carried := self._carrying.carry(self._committed.popleft())) is not None:
                self._ended(*carried)
            handled += 1
        return handled

    def _ended(self, ending: Ending, error: BaseException | None, look: SecondLook | None) -> None:
        if ending.foreseen is not None and (look is None or look.place != ending.foreseen.place):
            self._ledger.looked(ending.foreseen.place)
        match error:
            case None:
                self._moved(ending, look)
            case StrayError() as stray:
                self._strays.add(ending.entry.path, stray)
                self._window.step(ending.entry, Step.VANISHED)
            case FileGoneError():
                self._window.step(ending.entry, Step.VANISHED)
            case FileChangedError():  # what somebody touches all the time would be sent all the time
                ending.entry.restless = True
                self._window.step(ending.entry, Step.CHANGED)
            case YoungFileError():
                self._rest(ending)
            case FilingError():
                self._unmovable(ending, str(error), error.stamp)
            case FileError():
                self._unmovable(ending, str(error), None)
            case MemoryError() | NoThreadError():
                self._unmovable(ending, _NO_MEANS, None)
            case _:
                raise error

    def _moved(self, ending: Ending, look: SecondLook | None) -> None:
        entry = ending.entry
        self._window.step(entry, Step.MOVED)
        self.filed += 1
        if look is not None:
            if look is not ending.foreseen:
                self._ledger.second_look(look)
            if self._rules.remove and not look.remove:
                self._kept.log(self._clock.now(), path=entry.path, problem=KEPT_TEXT)
        verdict = ending.what.quarantine if isinstance(ending.what, Verdict) else None
        seconds = self._clock.now() - entry.first_seen
        self._recorder.filed(ending.outcome, verdict.reason if verdict else None, seconds)
        if verdict is not None:
            self.quarantined += 1
            self._recorder.log(
                Event.QUARANTINED,
                path=entry.path,
                reason=verdict.reason.value,
                status=verdict.http_status,
                failure_reason=verdict.failure_reason,
            )

    def _unmovable(self, ending: Ending, problem: str, stamp: Stamp | None) -> None:
        """It stays in the inbox and is tried again, ever more rarely; a stored one is not sent again for that."""
        entry = ending.entry
        now = self._clock.now()
        before = entry.history if entry.history is not None and entry.history.wait is Wait.UNMOVABLE else None
        attempts = before.attempts + 1 if before is not None else 1
        due_at = now + growing(base=UNMOVABLE_BASE_SECONDS, attempt=attempts)
        deferral = ending.waits(Wait.UNMOVABLE, due_at=due_at, since=before.since if before is not None else now)
        if before is None:
            self._stuck.log(now, path=entry.path, problem=problem)
        self.defer(entry, replace(deferral, stamp=stamp or deferral.stamp, attempts=attempts))

    def _rest(self, ending: Ending) -> None:
        """Written on while it rests, it is another file for us, and is judged anew."""
        entry, now = ending.entry, self._clock.now()
        self._resting.log(now, path=entry.path, wait_seconds=round(max(0.0, entry.rests_until - now), 3))
        self.defer(entry, ending.waits(Wait.RESTING, due_at=entry.rests_until, since=entry.seen_since))

    def _forget(self, entry: Entry) -> None:
        self._ledger.forget(entry.path, known=entry.history is not None)
