"""Every metric, once: its name, its kind, what it means, in which unit, and the closed sets of its labels.

A label is never a path, a UID or a patient: those would be a leak (I7) and without bound (I8).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from ingestd.core.answers.outcome import Outcome
from ingestd.core.answers.reasons import Reason

STAGES = ("waiting", "ready", "in_flight", "unmovable")
LOSSES = ("connect_error", "timeout", "lost")
EXPECTED_STATUSES = (200, 202, 204, 400, 401, 403, 404, 406, 408, 409, 413, 415, 424, 429, 500, 502, 503, 504)
IGNORED_REASONS = (
    "temporary",
    "hidden",
    "bin",
    "no_pattern",
    "not_dicom",
    "unwritten",
    "unread",
    "excluded",
    "not_a_file",
    "symlink",
    "unreadable",
)
THREADS = ("scanner", "admin", "log", "token", "upkeep")
FOLDERS = ("inbox", "done", "failed", "state")
OTHER = "other"  # what none of the sets above holds


class Kind(enum.Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec:
    """One row of the contract. `labels`: name and closed set, which is empty where any value may come.

    `buckets`, of histograms only, in the metric's unit.
    """

    name: str
    kind: Kind
    help: str
    unit: str = ""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()


INSTANCES = MetricSpec(
    name="ingestd_instances_total",
    kind=Kind.COUNTER,
    help="Files that have ended, by outcome; reason is the code in the reason file of a quarantined one, else empty.",
    unit="files",
    labels={"outcome": tuple(o.value for o in Outcome), "reason": ("", *(r.value for r in Reason))},
)
STORE_REQUESTS = MetricSpec(
    name="ingestd_store_requests_total",
    kind=Kind.COUNTER,
    help="Store transactions, by HTTP status code, or connect_error, timeout or lost where no status was read.",
    unit="requests",
    labels={"status": (*map(str, EXPECTED_STATUSES), *LOSSES, OTHER)},
)
STORE_REQUEST_SECONDS = MetricSpec(
    name="ingestd_store_request_seconds",
    kind=Kind.HISTOGRAM,
    help="How long a Store transaction took, from connecting to the last byte of its answer.",
    unit="seconds",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
SENT_BYTES = MetricSpec(
    name="ingestd_sent_bytes_total",
    kind=Kind.COUNTER,
    help="Bytes of Store transactions that were sent, repeated ones included.",
    unit="bytes",
)
DROP_TO_STORED_SECONDS = MetricSpec(
    name="ingestd_drop_to_stored_seconds",
    kind=Kind.HISTOGRAM,
    help="From first sight of a file until it was filed as stored.",
    unit="seconds",
    buckets=(0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400),
)
PENDING_FILES = MetricSpec(
    name="ingestd_pending_files",
    kind=Kind.GAUGE,
    help="Files that have not ended yet, by stage.",
    unit="files",
    labels={"stage": STAGES},
)
OLDEST_PENDING_SECONDS = MetricSpec(
    name="ingestd_oldest_pending_seconds",
    kind=Kind.GAUGE,
    help="Age of the pending file that was seen first, 0 when there is none.",
    unit="seconds",
)
BREAKER_STATE = MetricSpec(
    name="ingestd_breaker_state",
    kind=Kind.GAUGE,
    help="Whether sending goes on: 0 closed (yes), 1 probing, 2 open (no).",
)
BRAKE = MetricSpec(
    name="ingestd_brake",
    kind=Kind.GAUGE,
    help="Whether the brake is on (1): the service refused nearly everything; `ingestd resume` takes it off.",
)
CONCURRENCY_LIMIT = MetricSpec(
    name="ingestd_concurrency_limit",
    kind=Kind.GAUGE,
    help="How many Store transactions may run at once just now.",
)
SCAN_SECONDS = MetricSpec(
    name="ingestd_scan_seconds", kind=Kind.GAUGE, help="How long the last full scan of the inbox took.", unit="seconds"
)
LAST_SCAN = MetricSpec(
    name="ingestd_last_scan_timestamp_seconds",
    kind=Kind.GAUGE,
    help="When the last full scan of the inbox ended, in seconds since the epoch; 0 before the first.",
    unit="seconds",
)
WATCH_OVERFLOWS = MetricSpec(
    name="ingestd_watch_overflows_total",
    kind=Kind.COUNTER,
    help="Times that file events were lost, each answered by a scan.",
    unit="overflows",
)
IGNORED_FILES = MetricSpec(
    name="ingestd_ignored_files",
    kind=Kind.GAUGE,
    help="Names in the inbox that the last full scan passed over, by reason; no_pattern are those that begin like DICOM.",
    unit="files",
    labels={"reason": (*IGNORED_REASONS, OTHER)},
)
FOLDER_FREE_BYTES = MetricSpec(
    name="ingestd_folder_free_bytes",
    kind=Kind.GAUGE,
    help="Free space that the daemon may use where the folder lies; absent while the file system does not answer.",
    unit="bytes",
    labels={"folder": FOLDERS},
)
TOKEN_EXPIRY = MetricSpec(
    name="ingestd_token_expiry_timestamp_seconds",
    kind=Kind.GAUGE,
    help="When the token that is kept expires, in seconds since the epoch; 0 while there is none, or none is fetched.",
    unit="seconds",
)
THREADS_RESTARTED = MetricSpec(
    name="ingestd_threads_restarted_total",
    kind=Kind.COUNTER,
    help="Threads that had died and were started again.",
    unit="threads",
    labels={"thread": (*THREADS, OTHER)},
)
BUILD_INFO = MetricSpec(
    name="ingestd_build_info",
    kind=Kind.GAUGE,
    help="Always 1; the labels say what is running.",
    labels={"version": (), "python": ()},
)

METRICS = tuple(row for row in list(globals().values()) if isinstance(row, MetricSpec))
