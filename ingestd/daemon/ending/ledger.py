"""What the journal must remember of a tick, written in one transaction at its end.

A journal that can't be written keeps nobody from handing more in: all of it stays here for the next try, and `problem` says why.
"""

from __future__ import annotations

from ingestd.core.errors import JournalError
from ingestd.core.events import Event
from ingestd.core.model import Deferral
from ingestd.core.ports import Clock, Journal, Recorder
from ingestd.core.record import Changes, Receipt, SecondLook, Stray
from ingestd.daemon.rate_limit import Every

RETRY_SECONDS = 1.0  # a commit that failed, until the next try
SAID_SECONDS = 60.0  # the next line `journal_trouble`: a disk that is nearly full comes and goes


class Ledger:
    """Receipts, deferrals, strays, second looks, and which of them have ended. The owner thread's."""

    def __init__(self, *, clock: Clock, journal: Journal, recorder: Recorder) -> None:
        self._clock = clock
        self._journal = journal
        self._recorder = recorder
        self._receipts: list[Receipt] = []
        self._deferrals: dict[str, Deferral] = {}
        self._forgotten: set[str] = set()
        self._strays: dict[tuple[str, str], Stray] = {}
        self._recovered: set[tuple[str, str]] = set()
        self._second_looks: dict[str, SecondLook] = {}
        self._looked: set[str] = set()
        self._retry_at = 0.0
        self._said = False
        self._say_trouble = Every(SAID_SECONDS)
        self.problem: str | None = None  # why the journal can't be written just now

    @property
    def uncommitted(self) -> int:
        """Files that wait and that the journal does not hold yet."""
        return len(self._deferrals)

    @property
    def looks_uncommitted(self) -> bool:
        """Whether there are second looks, or ends of them, that the journal does not hold yet."""
        return bool(self._second_looks or self._looked)

    def stored(self, receipt: Receipt) -> None:
        """One more receipt; what was stored is never taken back."""
        self._receipts.append(receipt)

    def defer(self, deferral: Deferral) -> None:
        """It waits, whatever was to be remembered or forgotten about its path before."""
        self._forgotten.discard(deferral.path)
        self._deferrals[deferral.path] = deferral

    def forget(self, path: str, *, known: bool) -> None:
        """It waits no longer; `known`: the journal may hold a deferral of it."""
        self._deferrals.pop(path, None)
        if known:
            self._forgotten.add(path)

    def stray(self, stray: Stray) -> None:
        """It is to be put back into the inbox."""
        self._recovered.discard((stray.folder, stray.place))
        self._strays[stray.folder, stray.place] = stray

    def recovered(self, folder: str, place: str) -> None:
        """What strayed there is back, or there no longer."""
        self._strays.pop((folder, place), None)
        self._recovered.add((folder, place))

    def second_look(self, look: SecondLook) -> None:
        """It is to be looked at once more."""
        self._looked.discard(look.place)
        self._second_looks[look.place] = look

    def looked(self, place: str, again: SecondLook | None = None) -> None:
        """The second look there is taken, or void; `again` is the one that must follow."""
        self._second_looks.pop(place, None)
        self._looked.add(place)
        if again is not None:
            self.second_look(again)

    def commit(self) -> bool:
        """Write what is new; whether the journal holds all of it.

        One that could not be read is tried as well, with nothing to write if there is nothing: that shows whether it is `problem`.
        """
        changes = Changes(
            receipts=tuple(self._receipts),
            deferrals=tuple(self._deferrals.values()),
            forgotten=tuple(self._forgotten),
            strays=tuple(self._strays.values()),
            recovered=tuple(self._recovered),
            second_looks=tuple(self._second_looks.values()),
            looked=tuple(self._looked),
        )
        if (changes or self._journal.doubtful) and self._clock.monotonic() >= self._retry_at:
            try:
                self._journal.commit(changes)
            except JournalError as error:
                self._retry_at = self._clock.monotonic() + RETRY_SECONDS
                self.problem = str(error)
                self._say()
                return False
            self.problem = None
            self._say()
            self._receipts.clear()
            self._deferrals.clear()
            self._forgotten.clear()
            self._strays.clear()
            self._recovered.clear()
            self._second_looks.clear()
            self._looked.clear()
            return True
        return not changes and self.problem is None

    def _say(self) -> None:
        """When trouble begins and when it ends; at most once a minute, because a disk that is nearly full comes and goes."""
        if self.problem is not None and not self._said and self._say_trouble.due(self._clock.monotonic()):
            self._said = True
            self._recorder.log(Event.JOURNAL_TROUBLE, problem=self.problem)
        elif self.problem is None and self._said:
            self._said = False
            self._recorder.log(Event.JOURNAL_BACK)
