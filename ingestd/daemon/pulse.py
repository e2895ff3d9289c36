"""Once a second: the threads are alive, the gauges are true, and what has changed is said.

Nothing here decides anything about a file. A line is written when something changes. What stops files is said again while it lasts,
once a minute or every ten; of a thread that dies again and again ever more rarely, as it is started (I8).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from ingestd.core.events import Event
from ingestd.core.lifecycle import State
from ingestd.core.model import Wait
from ingestd.core.pace.backoff import growing
from ingestd.core.ports import Journal, Notifier, Origin, Recorder, Scanner, Snapshot, Supervised
from ingestd.core.scan import ScanStatus
from ingestd.core.when import lasting
from ingestd.core.window import Window
from ingestd.daemon.ending.afterwards import Afterwards
from ingestd.daemon.ending.endings import Endings
from ingestd.daemon.ending.ledger import Ledger
from ingestd.daemon.saying.left_lying import LeftLying
from ingestd.daemon.saying.rate_limit import Every
from ingestd.daemon.sending.braking import Braking
from ingestd.daemon.sending.sending import Sending
from ingestd.daemon.standing import Standing

PULSE_SECONDS = 1.0  # the next look at threads, folders, the brake; and a dead thread's first restart
RESTART_CAP_SECONDS = 60.0  # a thread that dies again and again, until its restart, at most
FOLDERS_SAID_SECONDS = (
    60.0  # the next line `folder_trouble` or `folder_back`, when it changed: a disk that is nearly full comes and goes
)
FOLDERS_AGAIN_SECONDS = 600.0  # the next line `folder_trouble`, while the same lasts
SILENT_SECONDS = 60.0  # a service that has taken a request and says nothing, until the log says so (`silent`)
SILENT_TEXT = (
    "the service has taken a request and says nothing: ask those who run it, or what stands before it; "
    "the request is given up after service.response_timeout_seconds, and sent again"
)

READY = (State.READY, State.BATCHED)
IN_FLIGHT = (State.IN_FLIGHT, State.VERIFYING, State.ENDING)


class Pulse:
    """Watches over the daemon. `ready` turns true when the inbox has been looked at. `folders_problem` must not wait for a disk;
    `unready` says why /readyz is red."""

    def __init__(
        self,
        *,
        scanner: Scanner,
        origin: Origin,
        journal: Journal,
        window: Window,
        sending: Sending,
        ledger: Ledger,
        endings: Endings,
        braking: Braking,
        afterwards: Afterwards,
        recorder: Recorder,
        notifier: Notifier,
        folders_problem: Callable[[], str | None],
        leases_problem: Callable[[], str | None],
        unready: Callable[[], str | None],
    ) -> None:
        self._scanner = scanner
        self._origin = origin
        self._journal = journal
        self._window = window
        self._sending = sending
        self._ledger = ledger
        self._endings = endings
        self._braking = braking
        self._afterwards = afterwards
        self._recorder = recorder
        self._notifier = notifier
        self._folders_problem = folders_problem
        self._leases_problem = leases_problem
        self._unready = unready
        self._second = Every(PULSE_SECONDS)
        self._restarts: dict[str, tuple[int, float]] = {}  # how often in a row, and when it may be started again
        self._folders_said: str | None = None
        self._folders_said_at = -math.inf
        self._folders_since = 0.0
        self._inbox_problem: str | None = None
        self._connection_problem: str | None = None
        self._watching: bool | None = None
        self._leases_said: str | None = None
        self._left_lying = LeftLying(recorder)
        self._say_silence = Every(SILENT_SECONDS)
        self.ready = False
        self.details: tuple[str, ...] = ()  # what is wrong and turns nothing red; any thread may read it
        self.held: tuple[str, ...] = ()  # of these, what keeps files from going out

    def left(self) -> int:
        """Files that are not in done/ or failed/ yet, as far as they are known: offered, in the window, passed over, unmovable.

        Cheap enough for every tick; a file in the window that the scan offers again counts twice until it is taken.
        """
        return self._scanner.status().offered + self._admitted()

    def left_by_name(self) -> int:
        """As `left`, and what the scan offers again counts once: while the window is full, or closed, that is not taken."""
        return sum(path not in self._window for path in self._scanner.offered()) + self._admitted()

    def _admitted(self) -> int:
        # The journal has forgotten what has an outcome.
        admitted = sum(entry.history is not None and entry.state is not State.ENDING for entry in self._window)
        waiting = sum(self._journal.waiting().values()) - admitted + self._ledger.uncommitted + self._endings.astray
        return len(self._window) + waiting + self._scanner.status().passed.locked.files

    def _unmovable(self) -> int:
        """Files in folders that nothing can be moved out of, and those that could not be moved.

        One that was stored before its folder was locked counts twice: too many are named then, never too few.
        """
        return self._scanner.status().passed.locked.files + self._journal.waiting().get(Wait.UNMOVABLE, 0)

    def left_at_the_end(self) -> int:
        """As `left`, once nothing is admitted any more: each scan offers again what is known already, and that counts once."""
        many = self._scanner.status().offered
        names = {s.path for s in (*self._scanner.take_hinted(many), *self._scanner.take(many))}
        unknown = sum(name not in self._window and self._journal.deferral(name) is None for name in names)
        return unknown + self.left()

    def beat(self, now: float, *, threads: Sequence[Supervised]) -> None:
        """At most once a second. `threads` are those that must be alive; none while the daemon stops."""
        self._sending.holding.tell(now, files=self.left_by_name)
        if not self._second.due(now):
            return
        self._supervise(threads, now)
        self._braking.look(now, files=self.left_by_name)
        scan = self._scanner.status()
        if threads:  # a scanner that was told to stop watches nothing, and that is no news
            self._say_what_changed(scan)
            self._say_folders(now)
        self._left_lying.say(scan.passed, now)
        pending = self._pending()
        any_left = any(pending.values())
        standing = Standing(
            leases=self._leases_problem(),
            late=self._afterwards.late,
            brake=self._braking.outage(now),
            outage=self._sending.holding.outage(now)
            or self._silence(now)
            or (self._sending.trouble(now) if any_left else None),
            connection=self._origin.problem,
            on_word=self._sending.on_word,
            unanswered=self._journal.waiting().get(Wait.UNANSWERED, 0),
            unmovable=self._journal.waiting().get(Wait.UNMOVABLE, 0),
            passed=scan.passed,
        )
        self.details, self.held = standing.lines(), tuple(standing.held())
        self._recorder.gauges(
            Snapshot(
                pending=pending,
                oldest_pending_seconds=self._age(now),
                breaker=int(self._sending.holding.breaker.state),
                braked=self._braking.on,
                concurrency_limit=self._sending.concurrency.limit,
                scan=scan,
            )
        )
        if not self.ready and (scan.full_scans or len(self._window) or scan.problem):
            self.ready = True
            self._notifier.ready("watching the inbox")
        self._notifier.alive()
        self._notifier.status(f"{sum(pending.values())} files pending: {self._most_wrong()}")

    def _most_wrong(self) -> str:
        """The first line of /readyz that is not its `ok`: all that `systemctl status` shows."""
        if (red := self._unready()) is not None:
            return red.splitlines()[0]
        if self.details:
            return self.details[0]
        failed = self._endings.quarantined
        return f"{failed} went to failed/ since the start, see `ingestd failed list`" if failed else "all is well"

    def _silence(self, now: float) -> str | None:
        """What to say of a service that has taken a request and says nothing, once that has lasted for long; logged, too."""
        if (seconds := self._origin.silent_seconds) < SILENT_SECONDS:
            return None
        if self._say_silence.due(now):
            lasted, files = round(seconds, 1), self.left_by_name()
            self._recorder.log(Event.SILENT, problem=SILENT_TEXT, held_seconds=lasted, files=files)
        return f"{SILENT_TEXT} (for {lasting(seconds)})"

    def say_what_is_left_lying(self, now: float) -> None:
        """At the end, however short the run was."""
        self._left_lying.say(self._scanner.status().passed, now, at_the_end=True)

    def _supervise(self, threads: Sequence[Supervised], now: float) -> None:
        """A thread that has died is started again, counted and said; never silent (F10)."""
        for thread in threads:
            tries, due_at = self._restarts.get(thread.name, (0, now))
            if thread.alive():
                if tries and now >= due_at + RESTART_CAP_SECONDS:
                    del self._restarts[thread.name]
            elif now >= due_at:
                self._restarts[thread.name] = (
                    tries + 1,
                    now + growing(base=PULSE_SECONDS, attempt=tries + 1, cap=RESTART_CAP_SECONDS),
                )
                self._restart(thread)

    def _restart(self, thread: Supervised) -> None:
        try:
            thread.start()
        except (RuntimeError, MemoryError):  # there is no thread to be had (F46): tried again when its time comes
            return
        self._recorder.restarted(thread.name)
        self._recorder.log(Event.THREAD_RESTARTED, thread=thread.name)

    def _pending(self) -> Mapping[str, int]:
        ready, in_flight = self._window.count(*READY), self._window.count(*IN_FLIGHT)
        unmovable = self._unmovable()
        waiting = self.left_by_name() - unmovable - ready - in_flight
        return {"waiting": waiting, "ready": ready, "in_flight": in_flight, "unmovable": unmovable}

    def _age(self, now: float) -> float:
        firsts = [first for first in (self._window.oldest(), self._journal.oldest()) if first is not None]
        return max(now - min(firsts), 0.0) if firsts else 0.0

    def _say_folders(self, now: float) -> None:
        """What changes at most once a minute, because a disk that is nearly full comes and goes; what lasts every ten minutes."""
        problem, said = self._folders_problem(), self._folders_said
        after = FOLDERS_AGAIN_SECONDS if problem == said else FOLDERS_SAID_SECONDS
        if (problem is None and said is None) or now < self._folders_said_at + after:
            return
        self._folders_said, self._folders_said_at = problem, now
        self._folders_since = now if said is None else self._folders_since
        lasted = round(now - self._folders_since, 1)
        event = Event.FOLDER_TROUBLE if problem else Event.FOLDER_BACK
        self._recorder.log(event, problem=problem, files=self.left_by_name(), held_seconds=lasted)

    def _say_what_changed(self, scan: ScanStatus) -> None:
        """The inbox, our side of the connection, leases, a folder without file events."""
        if scan.problem != self._inbox_problem:
            self._inbox_problem = scan.problem
            self._recorder.log(Event.INBOX_TROUBLE if scan.problem else Event.INBOX_BACK, problem=scan.problem)
        if (trouble := self._origin.problem) != self._connection_problem:
            self._connection_problem = trouble
            self._recorder.log(Event.CONNECTION_TROUBLE if trouble else Event.CONNECTION_MENDED, problem=trouble)
        if (leases := self._leases_problem()) != self._leases_said:
            self._leases_said = leases
            self._recorder.log(Event.LEASES_UNKNOWN if leases else Event.LEASES_KNOWN, problem=leases)
        if scan.watching is not None and scan.watching != self._watching:
            self._watching = scan.watching
            if not scan.watching:
                self._recorder.log(Event.WATCH_OFF)
