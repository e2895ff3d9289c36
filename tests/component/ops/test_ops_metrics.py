"""The metrics: the contract's names, closed labels, and values that move as they should."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable

import pytest
from fakes.ops_fakes import FakeClock, FakeNotifier, FakeRecorder, silent_log
from prometheus_client.parser import text_string_to_metric_families

from ingestd.core.answers.outcome import Outcome
from ingestd.core.answers.reasons import Reason
from ingestd.core.events import Event
from ingestd.core.ports import Clock, Notifier, Recorder, Snapshot
from ingestd.core.scan import Passed, ScanStatus
from ingestd.ops.clock import SystemClock
from ingestd.ops.logs import Log
from ingestd.ops.metric_table import IGNORED_REASONS, METRICS, STAGES, Kind
from ingestd.ops.metrics import Metrics
from ingestd.ops.notify import ServiceManager
from ingestd.ops.space import ANSWER_SECONDS, Space
from ingestd.spool.intake.names import Ignored

CANARY = "DOE^JANE"


def snapshot(**changes: object) -> Snapshot:
    values: dict[str, object] = {
        "pending": {},
        "oldest_pending_seconds": 0.0,
        "breaker": 0,
        "braked": False,
        "concurrency_limit": 4,
        "scan": ScanStatus(),
    }
    return Snapshot(**(values | changes))  # type: ignore[arg-type]  # the test's own keywords


def worked() -> Metrics:
    """Metrics of a daemon that has done a little of everything."""
    metrics = Metrics(log=silent_log(), version="1.2.3", free_space=lambda: {"inbox": 10**12, "done": 10**11})
    metrics.filed(Outcome.STORED, None, 1.5)
    metrics.filed(Outcome.QUARANTINED, Reason.TRUNCATED, 900.0)
    metrics.request("200", 0.2, 4096)
    metrics.request("connect_error", 10.0, 0)
    metrics.restarted("scanner")
    scan = ScanStatus(
        full_scans=1,
        last_scan_at=1767323045.0,
        last_scan_seconds=0.5,
        overflows=2,
        passed=Passed(counts={"hidden": 3}),
    )
    metrics.gauges(snapshot(pending={"waiting": 4, "in_flight": 1}, oldest_pending_seconds=12.5, breaker=2, scan=scan))
    return metrics


def test_promtool_finds_nothing_to_complain_about(real: Callable[..., None]) -> None:
    """DESIGN 5: what Prometheus itself checks, names, types, help and units."""
    real("promtool")
    ended = subprocess.run(
        ["promtool", "check", "metrics"], input=worked().render(), capture_output=True, check=False, timeout=30
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def test_every_row_of_the_table_is_served_and_nothing_else() -> None:
    """Vocabulary once: the table is what there is."""
    served = {
        family.name + ("_total" if family.type == "counter" else ""): (family.type, family.documentation)
        for family in text_string_to_metric_families(worked().render().decode())
    }
    assert served == {spec.name: (spec.kind.value, spec.help) for spec in METRICS}


def test_a_name_ends_in_its_unit() -> None:
    for spec in METRICS:
        if spec.kind is Kind.COUNTER:
            assert spec.name.endswith("_total")
        if spec.unit in ("seconds", "bytes"):
            assert spec.name.removesuffix("_total").endswith(f"_{spec.unit}")


def test_what_happened_is_what_is_counted() -> None:
    samples = worked().samples()
    assert {
        name: value for name, value in samples.items() if value and "_bucket" not in name and "build" not in name
    } == {
        'ingestd_instances_total{outcome="stored",reason=""}': 1,
        'ingestd_instances_total{outcome="quarantined",reason="truncated"}': 1,
        'ingestd_store_requests_total{status="200"}': 1,
        'ingestd_store_requests_total{status="connect_error"}': 1,
        "ingestd_store_request_seconds_count": 2,
        "ingestd_store_request_seconds_sum": 10.2,
        "ingestd_sent_bytes_total": 4096,
        "ingestd_drop_to_stored_seconds_count": 1,
        "ingestd_drop_to_stored_seconds_sum": 1.5,
        'ingestd_pending_files{stage="waiting"}': 4,
        'ingestd_pending_files{stage="in_flight"}': 1,
        "ingestd_oldest_pending_seconds": 12.5,
        "ingestd_breaker_state": 2,
        "ingestd_concurrency_limit": 4.0,
        "ingestd_scan_seconds": 0.5,
        "ingestd_last_scan_timestamp_seconds": 1767323045,
        "ingestd_watch_overflows_total": 2,
        'ingestd_ignored_files{reason="hidden"}': 3,
        'ingestd_folder_free_bytes{folder="inbox"}': 10**12,
        'ingestd_folder_free_bytes{folder="done"}': 10**11,
        'ingestd_threads_restarted_total{thread="scanner"}': 1,
    }


def test_every_label_there_can_be_begins_at_zero() -> None:
    """A rate() of a series that begins with 1 misses the first event."""
    samples = Metrics(log=silent_log(), version="1").samples()
    for reason in Reason:
        assert samples[f'ingestd_instances_total{{outcome="quarantined",reason="{reason.value}"}}'] == 0
    for outcome in ("stored", "stored_with_warning", "already_stored"):
        assert samples[f'ingestd_instances_total{{outcome="{outcome}",reason=""}}'] == 0
    for status in ("200", "409", "503", "connect_error", "timeout", "lost"):
        assert samples[f'ingestd_store_requests_total{{status="{status}"}}'] == 0
    for stage in STAGES:
        assert samples[f'ingestd_pending_files{{stage="{stage}"}}'] == 0


def test_no_value_from_outside_becomes_a_label() -> None:
    """I7, I8, F71: labels are closed sets."""
    metrics = Metrics(log=silent_log(), version="1")
    before = set(metrics.samples())
    metrics.request(CANARY, 1.0, 1)
    metrics.restarted(CANARY)
    metrics.gauges(snapshot(pending={CANARY: 1}, scan=ScanStatus(passed=Passed(counts={CANARY: 1}))))
    assert b"DOE" not in metrics.render()
    assert len(set(metrics.samples()) - before) == 2  # status and thread "other"


def test_a_pending_stage_that_is_empty_again_goes_back_to_zero() -> None:
    metrics = worked()
    metrics.gauges(snapshot())
    assert sum(metrics.samples()[f'ingestd_pending_files{{stage="{stage}"}}'] for stage in STAGES) == 0


def test_overflows_go_on_counting_when_the_scanner_was_started_anew() -> None:
    metrics = Metrics(log=silent_log(), version="1")
    for overflows in (0, 2, 2, 5, 1, 1):
        metrics.gauges(snapshot(scan=ScanStatus(overflows=overflows)))
    assert metrics.samples()["ingestd_watch_overflows_total"] == 6


def test_the_reasons_of_ignored_names_are_those_of_the_scan() -> None:
    """ops and spool don't know each other: this holds the two lists together."""
    assert set(IGNORED_REASONS) == {reason.value for reason in Ignored}


# --- free space --------------------------------------------------------------------------------------------------------------


def test_free_space_is_what_an_ordinary_user_may_still_write(tmp_path: os.PathLike[str]) -> None:
    found = os.statvfs(tmp_path)
    (free,) = Space({"state": os.fspath(tmp_path)})().values()
    assert abs(free - found.f_bavail * found.f_frsize) < 1 << 30  # other tests write too


def test_a_stuck_share_costs_one_thread_and_only_its_own_number() -> None:
    """I8: "a scanner stuck in the kernel turns readiness red and nothing else"; a scrape comes back."""
    released = threading.Event()

    def statvfs(path: str) -> os.statvfs_result:
        if path == "/share":
            released.wait(30)
        return os.statvfs("/")

    space = Space({"inbox": "/share", "done": "/"}, statvfs=statvfs)
    clock = SystemClock()
    began, threads = clock.monotonic(), threading.active_count()
    for _ in range(5):
        assert set(space()) == {"done"}
    assert clock.monotonic() - began < 5 * ANSWER_SECONDS + 1
    assert threading.active_count() == threads + 1
    released.set()
    assert set(space()) | set(space()) == {"inbox", "done"}


def test_a_folder_that_is_gone_has_no_number(tmp_path: os.PathLike[str]) -> None:
    assert Space({"inbox": os.path.join(tmp_path, "gone")})() == {}


# --- the ports ---------------------------------------------------------------------------------------------------------------


def test_real_and_fake_fit_the_ports() -> None:
    """mypy checks the annotations; this keeps them in the source."""
    clocks: list[Clock] = [SystemClock(), FakeClock()]
    log = Log(clock=clocks[1], salt=b"", descriptor=-1)
    recorders: list[Recorder] = [Metrics(log=log, version="1"), FakeRecorder()]
    notifiers: list[Notifier] = [ServiceManager({}), FakeNotifier()]
    assert [len(clocks), len(recorders), len(notifiers)] == [2, 2, 2]
    log.close(1)


@pytest.mark.parametrize("clock", [SystemClock(), FakeClock()], ids=["system", "fake"])
def test_a_clock_runs_forwards_and_its_two_days_agree(clock: Clock) -> None:
    before = clock.monotonic()
    assert abs(clock.now() - clock.wall()) < 1
    assert clock.monotonic() >= before


def test_a_jump_of_the_wall_clock_reaches_nobody_who_waits() -> None:
    """F-class of clock faults: now() is the start plus what has passed."""
    clock = FakeClock()
    then = clock.now()
    clock.jump(-86400)
    clock.advance(5)
    assert (clock.now() - then, clock.wall() - then) == (5, 5 - 86400)


def test_the_recorder_is_the_log_and_the_metrics(tmp_path: os.PathLike[str]) -> None:
    file = os.path.join(tmp_path, "log")
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    log = Log(clock=FakeClock(), salt=b"", descriptor=descriptor)
    os.close(descriptor)
    log.sink.start()
    recorder = Metrics(log=log, version="1")
    recorder.log(Event.STARTED, version="1")
    recorder.filed(Outcome.STORED, None, 1.0)
    recorder.request("200", 0.1, 7)
    recorder.restarted("scanner")
    recorder.gauges(snapshot(breaker=1))
    log.close(5)
    samples = recorder.samples()
    with open(file) as written:
        assert '"event":"started"' in written.read()
    assert samples['ingestd_instances_total{outcome="stored",reason=""}'] == 1
    assert samples["ingestd_sent_bytes_total"] == 7
    assert samples['ingestd_threads_restarted_total{thread="scanner"}'] == 1
    assert samples["ingestd_breaker_state"] == 1
