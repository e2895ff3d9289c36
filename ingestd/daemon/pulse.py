"""How the daemon does: the gauges are true, /readyz and the service manager know what is wrong, and what has changed is said.

Nothing here decides anything about a file. A line is written when something changes. What stops files is said again while it lasts,
once a minute or every ten (I8).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ingestd.core.events import Event
from ingestd.core.model import Wait
from ingestd.core.ports import Journal, Notifier, Origin, Recorder, Scanner, Snapshot
from ingestd.core.scan import NO_PATTERN, REASONS, Passed, ScanStatus
from ingestd.core.when import lasting
from ingestd.core.window import Window
from ingestd.daemon.ending.afterwards import Afterwards
from ingestd.daemon.ending.endings import Endings
from ingestd.daemon.ending.ledger import Ledger
from ingestd.daemon.rate_limit import Every
from ingestd.daemon.remaining import Remaining
from ingestd.daemon.sending.braking import Braking
from ingestd.daemon.sending.sending import Sending
from ingestd.daemon.standing import Standing

FOLDERS_SAID_SECONDS = (
    60.0  # the next line `folder_trouble` or `folder_back`, when it changed: a disk that is nearly full comes and goes
)
FOLDERS_AGAIN_SECONDS = 600.0  # the next line `folder_trouble`, while the same lasts
LEFT_LYING_SECONDS = 60.0  # the next line `ignored` or `locked`, when the count has changed
LEFT_LYING_AGAIN_SECONDS = 600.0  # the next line `ignored` or `locked`, while the count has not
SILENT_SECONDS = 60.0  # a service that has taken a request and says nothing, until the log says so (`silent`)
SILENT_TEXT = (
    "the service has taken a request and says nothing: ask those who run it, or what stands before it; "
    "the request is given up after service.response_timeout_seconds, and sent again"
)
_LOCKED = "locked"


class Pulse:
    """The owner thread's; any thread may ask `unready`, `details` and `held`. `folders_problem` must not wait for a disk."""

    def __init__(
        self,
        *,
        scanner: Scanner,
        origin: Origin,
        journal: Journal,
        window: Window,
        remaining: Remaining,
        sending: Sending,
        ledger: Ledger,
        endings: Endings,
        braking: Braking,
        afterwards: Afterwards,
        recorder: Recorder,
        notifier: Notifier,
        folders_problem: Callable[[], str | None],
        leases_problem: Callable[[], str | None],
    ) -> None:
        self._scanner = scanner
        self._origin = origin
        self._journal = journal
        self._window = window
        self._remaining = remaining
        self._sending = sending
        self._ledger = ledger
        self._endings = endings
        self._braking = braking
        self._afterwards = afterwards
        self._recorder = recorder
        self._notifier = notifier
        self._folders_problem = folders_problem
        self._leases_problem = leases_problem
        self._folders_said: str | None = None
        self._folders_said_at = -math.inf
        self._folders_since = 0.0
        self._inbox_problem: str | None = None
        self._connection_problem: str | None = None
        self._watching: bool | None = None
        self._leases_said: str | None = None
        self._left_lying = LeftLying(recorder)
        self._say_silence = Every(SILENT_SECONDS)
        self._ready = False  # until the inbox has been looked at
        self._holds: tuple[str, ...] = ()  # of `details`, what keeps files from going out
        self.details: tuple[str, ...] = ()  # what is wrong and turns nothing red, a line each

    def unready(self) -> str | None:
        """Why /readyz is red, a line each cause: inbox, journal, folders, no file could be moved yet. Never the service."""
        if not self._ready:
            return "starting: the inbox has not been looked at yet"
        return "\n".join(self._causes()) or None

    def held(self) -> Sequence[str]:
        """What keeps files from going out, a line each: the service, the brake, or what turns /readyz red; locked folders apart."""
        return (*(line for line in self._causes() if not line.startswith("moves: ")), *self._holds)

    def _causes(self) -> list[str]:
        scan, journal = self._scanner.status(), self._ledger.problem
        locked = scan.passed.locked
        causes = (
            f"inbox: {scan.problem}" if scan.problem is not None else None,
            f"journal: {journal}" if journal is not None else None,
            f"moves: {locked.text()}" if locked.everything and not self._endings.filed else None,
            self._folders_problem(),
        )
        return [line for cause in causes if cause is not None for line in cause.splitlines()]

    def say_what_holds(self, now: float) -> None:
        """After every tick, because a service that fails is said at once."""
        self._sending.holding.tell(now, files=self._remaining.by_name)

    def beat(self, now: float, *, stopping: bool) -> None:
        """Once a second."""
        self._braking.look(now, files=self._remaining.by_name)
        scan = self._scanner.status()
        if not stopping:  # a scanner that was told to stop watches nothing, and that is no news
            self._say_what_changed(scan)
            self._say_folders(now)
        self._left_lying.say(scan.passed, now)
        pending = self._remaining.pending()
        any_left = any(pending.values())
        standing = Standing(
            leases=self._leases_problem(),
            late=self._afterwards.late,
            brake=self._braking.outage(now),
            outage=self._sending.holding.outage(now)
            or self._silence(now)
            or (self._sending.apart.trouble(now) if any_left else None),
            connection=self._origin.problem,
            on_word=self._sending.on_word,
            unanswered=self._journal.waiting().get(Wait.UNANSWERED, 0),
            unmovable=self._journal.waiting().get(Wait.UNMOVABLE, 0),
            passed=scan.passed,
        )
        self.details, self._holds = standing.lines(), tuple(standing.held())
        self._recorder.gauges(
            Snapshot(
                pending=pending,
                oldest_pending_seconds=self._remaining.age(now),
                breaker=int(self._sending.holding.breaker.state),
                braked=self._braking.on,
                concurrency_limit=self._sending.concurrency.limit,
                scan=scan,
            )
        )
        if not self._ready and (scan.full_scans or len(self._window) or scan.problem):
            self._ready = True
            self._notifier.ready("watching the inbox")
        self._notifier.alive()
        self._notifier.status(f"{sum(pending.values())} files pending: {self._most_wrong()}")

    def _most_wrong(self) -> str:
        """The first line of /readyz that is not its `ok`: all that `systemctl status` shows."""
        if (red := self.unready()) is not None:
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
            lasted, files = round(seconds, 1), self._remaining.by_name()
            self._recorder.log(Event.SILENT, problem=SILENT_TEXT, held_seconds=lasted, files=files)
        return f"{SILENT_TEXT} (for {lasting(seconds)})"

    def say_what_is_left_lying(self, now: float) -> None:
        """At the end, however short the run was."""
        self._left_lying.say(self._scanner.status().passed, now, at_the_end=True)

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
        self._recorder.log(event, problem=problem, files=self._remaining.by_name(), held_seconds=lasted)

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


class LeftLying:
    """Says what a pass left where it lies, for as long as it lies there: what is not heard again is soon forgotten.

    A line for each reason: at once, again when the count has changed, at most once a minute, every ten minutes while it has not.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._said: dict[str, tuple[int, float]] = {}  # by reason: how many, and when

    def say(self, passed: Passed, now: float, *, at_the_end: bool = False) -> None:
        """`at_the_end`: say what was not said yet, whenever the last line was."""
        for reason in REASONS:
            files = passed.counts.get(reason, 0)
            if self._due(reason, files, now, at_the_end=at_the_end):
                path = passed.example if reason == NO_PATTERN else None
                self._recorder.log(Event.IGNORED, reason=reason, files=files, path=path, hint=passed.text(reason))
        if self._due(_LOCKED, passed.locked.files, now, at_the_end=at_the_end):
            for one in passed.locked.alike:
                self._recorder.log(Event.LOCKED, path=one.example or ".", files=one.files, hint=one.text())

    def _due(self, reason: str, files: int, now: float, *, at_the_end: bool) -> bool:
        """Whether a line is due, which is then written down as said."""
        if not files:
            return False
        said, at = self._said.get(reason, (0, -math.inf))
        after = LEFT_LYING_AGAIN_SECONDS if files == said else 0.0 if at_the_end else LEFT_LYING_SECONDS
        if now < at + after:
            return False
        self._said[reason] = (files, now)
        return True
