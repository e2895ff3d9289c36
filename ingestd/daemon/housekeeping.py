"""What the daemon looks after beside its files: old receipts, what retention did, and that the state folder is still its own.

Pruning takes a small batch at a time in a transaction of its own, so that it never holds a tick up. Where old files are removed
too, a receipt is pruned only when retention has been through all of done/ for files as old: a receipt that went first would leave
its file unproven for ever. While the clock is doubted (core/clock_doubt.py) nothing is pruned, and that is said once a day.
"""

from __future__ import annotations

from collections.abc import Callable

from ingestd.core.errors import JournalError, StateHeldError
from ingestd.core.events import Event
from ingestd.core.ports import Clock, Journal, Recorder, Retention, RetentionStatus
from ingestd.daemon.rate_limit import Every

PRUNED_AT_ONCE = 100  # receipts: some milliseconds, and more in a day than any site stores
PRUNE_AGAIN_SECONDS = 10.0  # the next try to forget old receipts, when none is left or the journal can't be written
SAID_SECONDS = 60.0  # the next line `retention`, while files are removed
UNPROVEN_SAID_SECONDS = 86_400.0  # the next line `retention` that says only what is kept without a proof
CLOCK_SAID_SECONDS = 86_400.0  # the next line `clock_doubted`, while it is doubted


class Housekeeping:
    """`receipts_age` in seconds, None: for ever. `state_problem` says why the state folder is no longer the one that was locked,
    `clock_problem` why the clock is doubted.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        journal: Journal,
        recorder: Recorder,
        retention: Retention | None,
        receipts_age: float | None,
        state_problem: Callable[[], str | None],
        clock_problem: Callable[[], str | None],
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._recorder = recorder
        self._retention = retention
        self._receipts_age = receipts_age
        self._state_problem = state_problem
        self._clock_problem = clock_problem
        self._prune_now = Every(PRUNE_AGAIN_SECONDS)
        self._set_aside = 0
        self._said = RetentionStatus()
        self._say_at = 0.0
        self._say_unproven_at = 0.0
        self._say_clock = Every(CLOCK_SAID_SECONDS)

    def beat(self, now: float) -> None:
        """Once a second. Raises StateHeldError when the state folder was taken away: the next start makes another."""
        self._look_at_state()
        if self._retention is not None:
            self._say(self._retention.status(), now)
        if self._retention is None and self._receipts_age is None:
            return
        if (problem := self._clock_problem()) is not None:
            if self._say_clock.due(now):
                self._recorder.log(Event.CLOCK_DOUBTED, problem=problem)
        elif self._receipts_age is not None and self._prune_now.due(now):
            self._prune(self._receipts_age, now)

    def _look_at_state(self) -> None:
        if (count := self._journal.set_aside) != self._set_aside:
            self._set_aside = count
            self._recorder.log(Event.JOURNAL_SET_ASIDE, problem=self._journal.why_set_aside)
        if (problem := self._state_problem()) is not None:
            self._recorder.log(Event.STATE_LOST, problem=problem)
            raise StateHeldError(problem)

    def _say(self, status: RetentionStatus, now: float) -> None:
        """When files were removed, when something new hinders it, and once a day what is kept for want of a proof."""
        said = self._said
        unproven = status.unproven > 0 and now >= self._say_unproven_at
        news = status.removed != said.removed or status.problem != said.problem or unproven
        if status.rounds == said.rounds and status.problem == said.problem:
            return
        if not news or now < self._say_at:
            return
        self._said, self._say_at = status, now + SAID_SECONDS
        self._say_unproven_at = now + UNPROVEN_SAID_SECONDS
        self._recorder.log(
            Event.RETENTION_TROUBLE if status.problem else Event.RETENTION,
            files=status.removed - said.removed,
            bytes=status.removed_bytes - said.removed_bytes,
            unproven=status.unproven,
            problem=status.problem,
        )

    def _prune(self, age: float, now: float) -> None:
        """Forget the oldest receipts; where there may be more of them, the next second goes on with it."""
        before = min(now, self._clock.wall()) - age
        if self._retention is not None:
            before = min(before, self._retention.status().swept_before)
        try:
            pruned = self._journal.prune(before, PRUNED_AT_ONCE)
        except JournalError:  # the ledger's next commit tries it and says what is wrong
            return
        if pruned == PRUNED_AT_ONCE:
            self._prune_now.wait(now, seconds=0.0)
