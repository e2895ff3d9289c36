"""The metrics: the rows of metric_table in one registry of our own.

Each label value there can be is written as 0 from the start, so that a rate begins with the first event and not with the second.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Mapping

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ingestd.core.answers.outcome import Outcome
from ingestd.core.answers.reasons import Reason
from ingestd.core.ports import Snapshot
from ingestd.core.scan import ScanStatus
from ingestd.ops.metric_table import (
    BRAKE,
    BREAKER_STATE,
    BUILD_INFO,
    CONCURRENCY_LIMIT,
    DROP_TO_STORED_SECONDS,
    EXPECTED_STATUSES,
    FOLDER_FREE_BYTES,
    IGNORED_FILES,
    IGNORED_REASONS,
    INSTANCES,
    LAST_SCAN,
    LOSSES,
    OLDEST_PENDING_SECONDS,
    OTHER,
    PENDING_FILES,
    SCAN_SECONDS,
    SENT_BYTES,
    STAGES,
    STORE_REQUEST_SECONDS,
    STORE_REQUESTS,
    THREADS,
    THREADS_RESTARTED,
    TOKEN_EXPIRY,
    WATCH_OVERFLOWS,
    MetricSpec,
)


class Metrics:
    """The registry and everything that changes it. Any thread; never raises.

    `free_space` gives folder -> free bytes at each scrape, without those that don't answer; it must come back soon. `token_expiry`
    gives a time since the epoch, at once.
    """

    def __init__(
        self,
        *,
        version: str,
        free_space: Callable[[], Mapping[str, int]] = dict,
        token_expiry: Callable[[], float] = float,
        threads: Iterable[str] = THREADS,
    ) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped
        # That is its one global switch: without it each counter has a `_created` twin.
        self._registry = CollectorRegistry()
        self._threads = frozenset(threads)
        self._overflows_seen = 0

        self._instances = self._counter(INSTANCES)
        self._requests = self._counter(STORE_REQUESTS)
        self._request_seconds = self._histogram(STORE_REQUEST_SECONDS)
        self._sent_bytes = self._counter(SENT_BYTES)
        self._drop_to_stored = self._histogram(DROP_TO_STORED_SECONDS)
        self._pending = self._gauge(PENDING_FILES)
        self._oldest = self._gauge(OLDEST_PENDING_SECONDS)
        self._breaker = self._gauge(BREAKER_STATE)
        self._brake = self._gauge(BRAKE)
        self._concurrency = self._gauge(CONCURRENCY_LIMIT)
        self._scan_seconds = self._gauge(SCAN_SECONDS)
        self._last_scan = self._gauge(LAST_SCAN)
        self._overflows = self._counter(WATCH_OVERFLOWS)
        self._ignored = self._gauge(IGNORED_FILES)
        self._registry.register(_FreeSpace(free_space))
        self._gauge(TOKEN_EXPIRY).set_function(token_expiry)
        self._restarts = self._counter(THREADS_RESTARTED)
        self._gauge(BUILD_INFO).labels(version, platform.python_version()).set(1)
        self._begin_at_zero()

    def filed(self, outcome: Outcome, reason: Reason | None, seconds: float) -> None:
        """One file has ended, `seconds` after first sight."""
        self._instances.labels(outcome.value, reason.value if reason else "").inc()
        if outcome is not Outcome.QUARANTINED:
            self._drop_to_stored.observe(seconds)

    def request(self, status: str, seconds: float, sent_bytes: int) -> None:
        """One Store transaction; status is the HTTP code, connect_error, timeout or lost."""
        known = status in LOSSES or (len(status) == 3 and status.isascii() and status.isdigit())
        self._requests.labels(status if known else OTHER).inc()
        self._request_seconds.observe(seconds)
        self._sent_bytes.inc(max(0, sent_bytes))

    def restarted(self, thread: str) -> None:
        self._restarts.labels(thread if thread in self._threads else OTHER).inc()

    def gauges(self, snapshot: Snapshot) -> None:
        for stage in STAGES:
            self._pending.labels(stage).set(snapshot.pending.get(stage, 0))
        self._oldest.set(snapshot.oldest_pending_seconds)
        self._breaker.set(snapshot.breaker)
        self._brake.set(snapshot.braked)
        self._concurrency.set(snapshot.concurrency_limit)
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
        self._scan_seconds.set(scan.last_scan_seconds)
        self._last_scan.set(scan.last_scan_at or 0.0)
        # A scanner that was started anew counts from 0.
        seen = self._overflows_seen if scan.overflows >= self._overflows_seen else 0
        self._overflows.inc(scan.overflows - seen)
        self._overflows_seen = scan.overflows
        others = sum(count for reason, count in scan.passed.counts.items() if reason not in IGNORED_REASONS)
        for reason in IGNORED_REASONS:
            self._ignored.labels(reason).set(scan.passed.counts.get(reason, 0))
        self._ignored.labels(OTHER).set(others)

    def _begin_at_zero(self) -> None:
        for outcome in Outcome:
            reasons = [r.value for r in Reason] if outcome is Outcome.QUARANTINED else [""]
            for reason in reasons:
                self._instances.labels(outcome.value, reason)
        for status in (*map(str, EXPECTED_STATUSES), *LOSSES):
            self._requests.labels(status)
        for stage in STAGES:
            self._pending.labels(stage)
        for reason in (*IGNORED_REASONS, OTHER):
            self._ignored.labels(reason)
        for thread in self._threads:
            self._restarts.labels(thread)

    def _counter(self, spec: MetricSpec) -> Counter:
        return Counter(spec.name, spec.help, tuple(spec.labels), registry=self._registry)

    def _gauge(self, spec: MetricSpec) -> Gauge:
        return Gauge(spec.name, spec.help, tuple(spec.labels), registry=self._registry)

    def _histogram(self, spec: MetricSpec) -> Histogram:
        return Histogram(spec.name, spec.help, tuple(spec.labels), registry=self._registry, buckets=spec.buckets)


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
