"""The metrics: the rows of metric_table in one registry of our own, and the log beside them.

A new metric is a row of the table and the call that counts it. Each value there can be of a closed label is written as 0 from the
start, so that a rate begins with the first event and not with the second.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ingestd.core.answers.outcome import Outcome
from ingestd.core.answers.reasons import Reason
from ingestd.core.events import Event
from ingestd.core.ports import LogValue, Snapshot
from ingestd.core.scan import ScanStatus
from ingestd.ops import metric_table as table
from ingestd.ops.logs import Log
from ingestd.ops.metric_table import FOLDER_FREE_BYTES, LOSSES, METRICS, OTHER, Kind, MetricSpec

Made = TypeVar("Made", Counter, Gauge)


class Metrics:
    """ports.Recorder: what the daemon reports to. Any thread; never blocks, never raises.

    `free_space` gives folder -> free bytes at each scrape, without those that don't answer; it must come back soon. `token_expiry`
    gives a time since the epoch, at once.
    """

    def __init__(
        self,
        *,
        log: Log,
        version: str,
        free_space: Callable[[], Mapping[str, int]] = dict,
        token_expiry: Callable[[], float] = float,
    ) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped
        # That is its one global switch: without it each counter has a `_created` twin.
        self._log = log
        self._registry = CollectorRegistry()
        self._overflows_seen = 0
        self._counters = {row.name: self._made(Counter, row) for row in METRICS if row.kind is Kind.COUNTER}
        self._gauges = {
            row.name: self._made(Gauge, row)
            for row in METRICS
            if row.kind is Kind.GAUGE and row is not FOLDER_FREE_BYTES
        }
        self._histograms = {
            row.name: Histogram(row.name, row.help, tuple(row.labels), registry=self._registry, buckets=row.buckets)
            for row in METRICS
            if row.kind is Kind.HISTOGRAM
        }
        for row in METRICS:
            for labels in _closed(row) if row is not FOLDER_FREE_BYTES else ():
                (self._counters.get(row.name) or self._gauges[row.name]).labels(*labels)
        self._registry.register(_FreeSpace(free_space))
        self._gauges[table.TOKEN_EXPIRY.name].set_function(token_expiry)
        self._set(table.BUILD_INFO, 1, version, platform.python_version())

    def log(self, event: Event, **fields: LogValue) -> None:
        self._log.log(event, **fields)

    def filed(self, outcome: Outcome, reason: Reason | None, seconds: float) -> None:
        """One file has ended, `seconds` after first sight."""
        self._count(table.INSTANCES, outcome.value, reason.value if reason else "")
        if outcome is not Outcome.QUARANTINED:
            self._observe(table.DROP_TO_STORED_SECONDS, seconds)

    def request(self, status: str, seconds: float, sent_bytes: int) -> None:
        """One Store transaction; status is the HTTP code, connect_error, timeout or lost."""
        known = status in LOSSES or (len(status) == 3 and status.isascii() and status.isdigit())
        self._count(table.STORE_REQUESTS, status if known else OTHER)
        self._observe(table.STORE_REQUEST_SECONDS, seconds)
        self._count(table.SENT_BYTES, by=max(0, sent_bytes))

    def restarted(self, thread: str) -> None:
        self._count(table.THREADS_RESTARTED, thread if thread in table.THREADS else OTHER)

    def gauges(self, snapshot: Snapshot) -> None:
        for stage in table.STAGES:
            self._set(table.PENDING_FILES, snapshot.pending.get(stage, 0), stage)
        self._set(table.OLDEST_PENDING_SECONDS, snapshot.oldest_pending_seconds)
        self._set(table.BREAKER_STATE, snapshot.breaker)
        self._set(table.BRAKE, snapshot.braked)
        self._set(table.CONCURRENCY_LIMIT, snapshot.concurrency_limit)
        self._scanned(snapshot.scan)

    def render(self) -> bytes:
        """Everything in the text format 0.0.4."""
        return prometheus_client.generate_latest(self._registry)

    def samples(self) -> dict[str, float]:
        """Every value by its name and labels as the text format writes them, for whoever wants to see what moved."""
        return {
            _series(sample.name, sample.labels): sample.value
            for metric in self._registry.collect()
            for sample in metric.samples
            if not math.isnan(sample.value)
        }

    def _scanned(self, scan: ScanStatus) -> None:
        self._set(table.SCAN_SECONDS, scan.last_scan_seconds)
        self._set(table.LAST_SCAN, scan.last_scan_at or 0.0)
        # A scanner that was started anew counts from 0.
        seen = self._overflows_seen if scan.overflows >= self._overflows_seen else 0
        self._count(table.WATCH_OVERFLOWS, by=scan.overflows - seen)
        self._overflows_seen = scan.overflows
        counts = scan.passed.counts
        for reason in table.IGNORED_REASONS:
            self._set(table.IGNORED_FILES, counts.get(reason, 0), reason)
        others = sum(count for reason, count in counts.items() if reason not in table.IGNORED_REASONS)
        self._set(table.IGNORED_FILES, others, OTHER)

    def _count(self, row: MetricSpec, *labels: str, by: int = 1) -> None:
        counter = self._counters[row.name]
        (counter.labels(*labels) if labels else counter).inc(by)

    def _set(self, row: MetricSpec, value: float, *labels: str) -> None:
        gauge = self._gauges[row.name]
        (gauge.labels(*labels) if labels else gauge).set(value)

    def _observe(self, row: MetricSpec, value: float) -> None:
        self._histograms[row.name].observe(value)

    def _made(self, kind: Callable[..., Made], row: MetricSpec) -> Made:
        return kind(row.name, row.help, tuple(row.labels), registry=self._registry)


def _closed(row: MetricSpec) -> Iterator[tuple[str, ...]]:
    """Every value there can be of a row's labels, but for OTHER, which may never come. Only what is in failed/ has a reason."""
    for labels in product(*row.labels.values()) if row.labels else ():
        reasoned = row is not table.INSTANCES or (labels[0] == Outcome.QUARANTINED.value) == bool(labels[1])
        if reasoned and (OTHER not in labels or row is table.IGNORED_FILES):
            yield labels


class _FreeSpace(Collector):
    """Free space is asked for when somebody looks."""

    def __init__(self, free_space: Callable[[], Mapping[str, int]]) -> None:
        self._free_space = free_space

    def describe(self) -> Iterable[Metric]:
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        family = self._family()
        for folder, free in self._free_space().items():
            family.add_metric([folder], free)
        return [family]

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(FOLDER_FREE_BYTES.name, FOLDER_FREE_BYTES.help, labels=tuple(FOLDER_FREE_BYTES.labels))


def _series(name: str, labels: Mapping[str, str]) -> str:
    if not labels:
        return name
    pairs = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{pairs}}}"
