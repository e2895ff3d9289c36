"""What happens to a file after it was filed: second looks are handed out when they are due, and what they found is said and kept.

The looks themselves are taken on another thread (ports.SecondLooker); the journal is the owner thread's, so what is due comes from
here and what is over is forgotten here, with the tick's other changes. Nothing is handed out twice: the next ones go out only when
all that was found is on the disk. While the journal can't be written they wait.
"""

from __future__ import annotations

from ingestd.core.events import Event
from ingestd.core.ports import Journal, Recorder, SecondLooker
from ingestd.core.second_look import Found, Looked, SecondLookRules, due, next_look
from ingestd.daemon.ending.ledger import Ledger
from ingestd.daemon.rate_limit import Every, RateLimit

ROUND_SECONDS = 1.0  # the next question to the journal, for second looks that are due
AT_ONCE = 1000  # looks

PROBLEMS = {
    Found.CHANGED: "it was written after it was filed",
    Found.OPEN: "somebody still has it open for writing",
}
HINT = "`ingestd failed list` says where it lies: once it is whole, move it from done/ back into the inbox"
UNPROVED = "no receipt proves that the service holds its bytes"


class Afterwards:
    """The owner thread's."""

    def __init__(
        self,
        *,
        journal: Journal,
        ledger: Ledger,
        looker: SecondLooker,
        recorder: Recorder,
        rules: SecondLookRules,
    ) -> None:
        self._journal = journal
        self._ledger = ledger
        self._looker = looker
        self._rules = rules
        self._late = RateLimit(Event.WRITTEN_LATE, recorder=recorder)
        self._kept = RateLimit(Event.KEPT, recorder=recorder)
        self._round = Every(ROUND_SECONDS)

    @property
    def late(self) -> int:
        """How many files of done/ are known to have been written after they were filed."""
        return self._looker.late

    def after_tick(self, now: float) -> None:
        """Say and keep what was found; once all of it is on the disk, at most once a second, hand out what is due."""
        while (looked := self._looker.take()) is not None:
            self._learnt(looked, now)
        if self._looker.idle and not self._ledger.looks_uncommitted and self._round.due(now):
            self._hand_out(now)

    def _hand_out(self, now: float) -> None:
        after = self._rules.after
        given = []
        for look in self._journal.second_looks(now, AT_ONCE, latest=now + after):
            if (again := due(look, now=now, after=after)) is None:
                given.append(look)
            else:
                self._ledger.looked(look.place, again)
        self._looker.give(given)

    def _learnt(self, looked: Looked, now: float) -> None:
        path = looked.look.path
        if looked.found.is_late:
            self._late.log(now, path=path, problem=PROBLEMS[looked.found], hint=HINT)
        elif looked.found is Found.KEPT:
            self._kept.log(now, path=path, problem=UNPROVED)
        self._ledger.looked(looked.look.place, next_look(looked, now=now, after=self._rules.after))
