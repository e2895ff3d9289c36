"""The loop: one tick after another, until a signal or until the work is done.

A tick runs the stages tail first: file away, reap answers, probe, dispatch, batch, examine, commit, admit. When a tick moved
nothing the loop sleeps until something wakes it (a sighting, an answer, a signal) or something is due.

Stopping. The first SIGTERM stops intake, gives no more work to slots, lets what is in flight end and files it, all inside
`shutdown.deadline_seconds`; then requests are aborted (their files stay in the inbox, the service is idempotent by UID). A second
signal aborts at once. What the service stored is moved as soon as its receipt is on disk; what the end cuts off is sent again and
found stored.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ingestd.core.events import Event
from ingestd.core.ports import Clock, Notifier, Origin, Recorder, Scanner, Supervised
from ingestd.core.scan import Passed
from ingestd.daemon.arriving.intake import Intake
from ingestd.daemon.beat import Beat
from ingestd.daemon.ending.endings import Endings
from ingestd.daemon.ending.ledger import Ledger
from ingestd.daemon.pulse import Pulse
from ingestd.daemon.remaining import Remaining
from ingestd.daemon.sending.sending import Sending

LONGEST_SLEEP_SECONDS = 1.0  # the loop, when nothing wakes it
SHORTEST_SLEEP_SECONDS = 0.01  # the loop between two ticks, at least
STOP_SLEEP_SECONDS = 0.02  # the loop between two ticks while it stops
JOIN_SECONDS = 1.0  # the end of all threads together: none of them has anything to lose
STUCK_SECONDS = 60.0  # a loop that does not tick, until /livez is red


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopRules:
    """How it stops. `drain_inbox`: SIGTERM goes on until the inbox is empty or the deadline comes."""

    deadline_seconds: float
    drain_inbox: bool


class End(enum.Enum):
    """Why `run` returned."""

    DRAINED = "everything that was there has ended"
    STOPPED = "stopped by a signal"
    TIME_UP = "the time was up"
    GAVE_UP = "nothing moved for too long"


class Daemon:
    """Owns the tick. Made by ingestd.app, which hands it every stage."""

    def __init__(
        self,
        *,
        clock: Clock,
        scanner: Scanner,
        threads: Sequence[Supervised],
        origin: Origin,
        intake: Intake,
        sending: Sending,
        ledger: Ledger,
        endings: Endings,
        remaining: Remaining,
        pulse: Pulse,
        beat: Beat,
        recorder: Recorder,
        notifier: Notifier,
        wake: threading.Event,
        rules: LoopRules,
    ) -> None:
        self._clock = clock
        self._scanner = scanner
        self._others = threads
        self._origin = origin
        self._intake = intake
        self._sending = sending
        self._ledger = ledger
        self._endings = endings
        self._remaining = remaining
        self._pulse = pulse
        self._beat = beat
        self._recorder = recorder
        self._notifier = notifier
        self._wake = wake
        self._rules = rules
        self._signals = 0
        self._ticked_at = clock.monotonic()
        self._stopping = False

    # What others may ask, from any thread

    def signal(self) -> None:
        """A SIGTERM or SIGINT came. Only counts: an Event's lock may be held by the very code that the handler interrupts."""
        self._signals += 1

    def live_problem(self) -> str | None:
        """Why /livez is red: the loop does not tick. Never the service, never a stuck share."""
        age = self._clock.monotonic() - self._ticked_at
        return f"the loop has not ticked for {age:.0f} s" if age > STUCK_SECONDS else None

    def ready_problem(self) -> str | None:
        """Why /readyz is red, a line each cause. Never the service."""
        return self._pulse.unready()

    def details(self) -> Sequence[str]:
        """What is wrong and turns neither /livez nor /readyz red, a line each."""
        return self._pulse.details

    def held(self) -> Sequence[str]:
        """What keeps files from going out, a line each."""
        return self._pulse.held()

    @property
    def left(self) -> int:
        """Files that are not in done/ or failed/ yet, as far as they are known: offered, in the window, or passed over for now."""
        return self._remaining.count()

    @property
    def passed(self) -> Passed:
        """What the newest full scan did not offer. In `left` are only the files in folders that nothing can be moved out of."""
        return self._scanner.status().passed

    @property
    def filed(self) -> int:
        """Files that went to done/ or failed/ since the start."""
        return self._endings.filed

    @property
    def quarantined(self) -> int:
        """Files that went to failed/ since the start."""
        return self._endings.quarantined

    @property
    def in_flight(self) -> int:
        """What other threads are at for files: requests, copies and, on a network share, looks and moves."""
        return self._sending.in_flight + self._endings.copying + self._intake.looking

    @property
    def _threads(self) -> tuple[Supervised, ...]:
        return (self._scanner, *self._others)

    # The loop

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            if not thread.alive():
                thread.start()

    def run(
        self,
        *,
        until: Callable[[], bool] | None = None,
        timeout: float | None = None,
        patience: float | None = None,
        each: Callable[[], None] | None = None,
    ) -> End:
        """Tick until a signal, or until `until` says so; `each` is called after every tick.

        `timeout` and `patience` in seconds: the whole time, and the time in which nothing was filed.
        """
        started = moved_at = self._clock.monotonic()
        filed = self.filed
        while not self._signals:
            if self.tick():
                self._wake.clear()
            else:
                self._sleep()
            if each is not None:
                each()
            now = self._clock.monotonic()
            if self.filed != filed:
                filed, moved_at = self.filed, now
            if until is not None and until():
                return End.DRAINED
            if timeout is not None and now - started > timeout:
                return End.TIME_UP
            if patience is not None and now - moved_at > patience:
                return End.GAVE_UP
        return End.STOPPED

    def tick(self, *, intake: bool = True, dispatch: bool = True) -> bool:
        """Run every stage once, tail first; whether anything moved."""
        now = self._clock.now()
        moved = self._endings.file_away()
        moved += self._sending.reap(now)
        if dispatch and self._ledger.problem is None:  # what is stored now could not be remembered
            moved += self._sending.holding.probe(now)
            moved += self._sending.dispatch(now)
            moved += self._sending.batch(now)
        if intake:
            moved += self._intake.examine(now)
        self._endings.commit()
        if intake:
            moved += self._intake.admit(now)
        self._ticked_at = self._clock.monotonic()
        self._beat.after_tick(now, threads=() if self._stopping else self._threads)
        return moved > 0

    def empty(self) -> bool:
        """A full scan has ended and nothing it found is left."""
        return self._remaining.none() and not self._sending.in_flight

    def _sleep(self) -> None:
        """Until something wakes it, a second look, a probe or a batch is due, or a second has passed."""
        wait = LONGEST_SLEEP_SECONDS
        now = self._clock.now()
        for due in (self._intake.due_at(), self._sending.due_at()):
            if due is not None:
                wait = min(wait, due - now)
        self._wake.wait(max(wait, SHORTEST_SLEEP_SECONDS))
        self._wake.clear()

    # Stopping

    def stop(self) -> int:
        """Let what is in flight end inside the deadline, file it, stop the threads in order; how many files are left."""
        deadline = self._clock.monotonic() + self._rules.deadline_seconds
        self._stopping = True
        drained = False
        self._notifier.stopping(self._rules.deadline_seconds)
        self._recorder.log(
            Event.STOPPING, in_flight=self._sending.in_flight, left=self.left, hint=self._why_it_takes_time()
        )
        whole = self._rules.drain_inbox and self._signals > 0
        if not whole:
            drained = self.empty()
            self._scanner.stop()
        while self._clock.monotonic() < deadline and self._signals < 2:
            if not (self.tick(intake=whole, dispatch=whole) or self._busy(whole)):
                break
            self._wake.wait(STOP_SLEEP_SECONDS)
            self._wake.clear()
        drained = drained or (whole and self.empty())
        self._origin.abort()
        self.tick(intake=False, dispatch=False)
        self.tick(intake=False, dispatch=False)  # receipts are committed by the first, moved by the second
        self._scanner.stop()
        left = self._remaining.at_the_end()
        self._pulse.say_what_is_left_lying(self._clock.now())
        self._recorder.log(Event.STOPPED, left=left, drained=drained and left == 0)
        for thread in (*self._others, self._scanner):  # the log's is the first: what else ends has nothing more to say
            thread.stop()
        enough = self._clock.monotonic() + JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(enough - self._clock.monotonic(), 0.0))
        return left

    def _why_it_takes_time(self) -> str | None:
        requests, files = self._sending.in_flight, len(self._endings)
        if not requests and not files:
            return None
        doing, count, what = ("finishing", requests, "request") if requests else ("filing", files, "file")
        many = what if count == 1 else f"{what}s"
        return f"{doing} {count} {many}, at most {self._rules.deadline_seconds:g} s; Ctrl-C again stops now"

    def _busy(self, whole: bool) -> bool:
        return bool(self._sending.carrying or len(self._endings)) or (whole and not self.empty())
