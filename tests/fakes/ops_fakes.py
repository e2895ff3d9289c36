"""In-tree fakes of the Clock, Recorder and Notifier ports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ingestd.core.answers.outcome import Outcome
from ingestd.core.answers.reasons import Reason
from ingestd.core.events import Event
from ingestd.core.ports import LogValue, Snapshot
from ingestd.ops.logs import LOG_KEYS, Log


class FakeClock:
    """Time stands still until a test advances it. It begins at 2026-01-02 03:04:05 UTC."""

    def __init__(self, *, epoch: float = 1767323045.0) -> None:
        self._epoch = epoch
        self._elapsed = 0.0
        self._jumped = 0.0

    def monotonic(self) -> float:
        return 1000.0 + self._elapsed

    def now(self) -> float:
        return self._epoch + self._elapsed

    def wall(self) -> float:
        return self._epoch + self._elapsed + self._jumped

    def advance(self, seconds: float) -> None:
        """Time passes."""
        if seconds < 0:
            raise ValueError("time does not run backwards; jump() sets the wall clock")
        self._elapsed += seconds

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock, forwards or back; no time passes."""
        self._jumped += seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One log line as the daemon gave it, before paths become digests."""

    event: Event
    fields: dict[str, LogValue] = field(default_factory=dict)

    @property
    def path(self) -> LogValue:
        return self.fields.get("path")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    outcome: Outcome
    reason: Reason | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    status: str
    seconds: float
    sent_bytes: int


class FakeRecorder:
    """Keeps everything in lists, in order. A log key that is not declared raises here; the real one leaves it out."""

    def __init__(self) -> None:
        self.lines: list[Logged] = []
        self.outcomes: list[Filed] = []
        self.requests: list[Requested] = []
        self.restarts: list[str] = []
        self.snapshots: list[Snapshot] = []

    def log(self, event: Event, **fields: LogValue) -> None:
        if undeclared := set(fields) - set(LOG_KEYS):
            raise KeyError(f"not in ingestd.ops.logs.LOG_KEYS: {', '.join(sorted(undeclared))}")
        self.lines.append(Logged(event=event, fields=fields))

    def filed(self, outcome: Outcome, reason: Reason | None, seconds: float) -> None:
        self.outcomes.append(Filed(outcome=outcome, reason=reason, seconds=seconds))

    def request(self, status: str, seconds: float, sent_bytes: int) -> None:
        self.requests.append(Requested(status=status, seconds=seconds, sent_bytes=sent_bytes))

    def restarted(self, thread: str) -> None:
        self.restarts.append(thread)

    def gauges(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    @property
    def events(self) -> list[Event]:
        return [line.event for line in self.lines]

    def of(self, event: Event) -> Iterator[Logged]:
        """The lines of one event, oldest first."""
        return (line for line in self.lines if line.event is event)

    def count(self, outcome: Outcome, reason: Reason | None = None) -> int:
        """How many files ended so; without a reason, whatever the reason."""
        return sum(o.outcome is outcome and reason in (None, o.reason) for o in self.outcomes)


class FakeNotifier:
    """Keeps what the service manager would have been told: `sent` holds (word, value) in order."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str | float | None]] = []

    def ready(self, status: str) -> None:
        self.sent.append(("ready", status))

    def status(self, status: str) -> None:
        self.sent.append(("status", status))

    def alive(self) -> None:
        self.sent.append(("alive", None))

    def stopping(self, seconds: float) -> None:
        self.sent.append(("stopping", seconds))

    @property
    def words(self) -> list[str]:
        return [word for word, _ in self.sent]


def silent_log() -> Log:
    """One whose lines nobody writes."""
    return Log(clock=FakeClock(), salt=b"", descriptor=-1)
