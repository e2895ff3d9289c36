"""ports.Recorder: the log and the metrics behind one name."""

from __future__ import annotations

from ingestd.core.answers.outcome import Outcome
from ingestd.core.answers.reasons import Reason
from ingestd.core.events import Event
from ingestd.core.ports import LogValue, Snapshot
from ingestd.ops.logs import Log
from ingestd.ops.metrics import Metrics


class LogAndMetrics:
    """What the daemon reports to. Any thread; never blocks, never raises."""

    def __init__(self, log: Log, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics

    def log(self, event: Event, **fields: LogValue) -> None:
        self._log.log(event, **fields)

    def filed(self, outcome: Outcome, reason: Reason | None, seconds: float) -> None:
        self._metrics.filed(outcome, reason, seconds)

    def request(self, status: str, seconds: float, sent_bytes: int) -> None:
        self._metrics.request(status, seconds, sent_bytes)

    def restarted(self, thread: str) -> None:
        self._metrics.restarted(thread)

    def gauges(self, snapshot: Snapshot) -> None:
        self._metrics.gauges(snapshot)
