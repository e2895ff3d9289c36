"""The log: what a line may hold, and that nothing the reader does or fails to do reaches the pipeline."""

from __future__ import annotations

import ast
import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from fakes.ops_fakes import FakeClock, FakeRecorder

from ingestd.core.events import Event
from ingestd.daemon.sending.disposing import WORDS
from ingestd.ops.foreign import capture
from ingestd.ops.logs import LOG_KEYS, LONGEST_TEXT, Format, Log, digest
from ingestd.ops.sink import Sink

SOURCE = Path(__file__).parents[3] / "ingestd"
CANARY = "DOE^JANE/19700101"
SALT = b"salt of a test"


@contextmanager
def written(
    to: Path, *, style: Format = "json", level: str = "info", names: bool = False, clock: FakeClock | None = None
) -> Iterator[Log]:
    """A log whose lines are all in the file `to` when the block has ended."""
    descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    log = Log(clock=clock or FakeClock(), salt=SALT, style=style, level=level, names=names, descriptor=descriptor)
    os.close(descriptor)  # it has its own
    log.sink.start()
    try:
        yield log
    finally:
        log.close(5)


def lines(of: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in of.read_text("ascii").splitlines()]


def test_a_line_is_one_json_object_with_time_level_and_event_first(tmp_path: Path) -> None:
    """DESIGN 4: JSON lines; ts is RFC 3339 UTC."""
    with written(tmp_path / "log") as log:
        log.log(Event.BATCH, status=200, files=3, bytes=1024, seconds=0.12345678, stored=3)
    assert (tmp_path / "log").read_text() == (
        '{"ts":"2026-01-02T03:04:05.000Z","level":"info","event":"batch",'
        '"files":3,"bytes":1024,"seconds":0.123,"status":200,"stored":3}\n'
    )


def test_the_time_is_the_clock_on_the_wall(tmp_path: Path) -> None:
    clock = FakeClock()
    with written(tmp_path / "log", clock=clock) as log:
        clock.jump(-3600)
        log.log(Event.STARTED)
    assert lines(tmp_path / "log")[0]["ts"] == "2026-01-02T02:04:05.000Z"


@pytest.mark.parametrize(
    ("level", "events"), [("info", ["batch", "quarantined", "unmovable"]), ("error", ["unmovable"])]
)
def test_only_the_asked_level_and_above_is_written(tmp_path: Path, level: str, events: list[str]) -> None:
    with written(tmp_path / "log", level=level) as log:
        log.log(Event.BATCH)
        log.log(Event.QUARANTINED)
        log.log(Event.UNMOVABLE)
    assert [line["event"] for line in lines(tmp_path / "log")] == events


def test_a_path_is_a_digest_that_stays_the_same_as_long_as_the_salt_does(tmp_path: Path) -> None:
    """I7, F71: file names hold patients' names."""
    for _ in range(2):
        with written(tmp_path / "log") as log:
            log.log(Event.WAITING, path=f"{CANARY}.dcm")
    first, second = lines(tmp_path / "log")
    assert first["path"] == second["path"] == digest(SALT, f"{CANARY}.dcm")
    assert len(str(first["path"])) == 16
    assert digest(b"another salt", f"{CANARY}.dcm") != first["path"]
    assert "DOE" not in (tmp_path / "log").read_text()


def test_uids_are_digests_too(tmp_path: Path) -> None:
    """I7: a UID leads to a patient."""
    with written(tmp_path / "log", names=True) as log:
        log.log(Event.BATCH, study="1.2.840.99", instance="1.2.840.99.1")
    assert "1.2.840" not in (tmp_path / "log").read_text()


def test_undeclared_keys_never_get_out(tmp_path: Path) -> None:
    """F65, F71: what is passed along by mistake is left out, and the line is written all the same."""
    with written(tmp_path / "log") as log:
        log.log(Event.BATCH, files=1, patient=CANARY, token="eyJ-secret", ts=CANARY, level=CANARY)
    (line,) = lines(tmp_path / "log")
    assert line == {"ts": "2026-01-02T03:04:05.000Z", "level": "info", "event": "batch", "files": 1}


@pytest.mark.slow
def test_the_daemon_uses_declared_keys_only() -> None:
    """I7: every key of every `.log(Event...)` call in the source is in the table."""
    undeclared: list[str] = []
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != "log":
                continue
            if node.args and ast.unparse(node.args[0]).startswith("Event."):
                undeclared += [
                    f"{file.name}:{node.lineno} {k.arg}" for k in node.keywords if k.arg and k.arg not in LOG_KEYS
                ]
    assert undeclared == []
    assert set(WORDS.values()) <= set(LOG_KEYS)


def test_the_fake_recorder_refuses_undeclared_keys() -> None:
    with pytest.raises(KeyError, match="patient"):
        FakeRecorder().log(Event.BATCH, patient=CANARY)


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize(
    "name",
    [
        'a\nlevel=error event="forged"',
        "a\r\x1b[2J\x1b]0;owned\x07",
        "a\u2028b\x85c\u202egnp.dcm",
        os.fsdecode(b"caf\xe9\xff.dcm"),
        "%s %(path)s {0}",
        "-rf \"quote' back\\slash",
        "x" * 5000,
    ],
)
def test_whatever_a_name_holds_it_is_one_line(tmp_path: Path, style: Format, name: str) -> None:
    """F29: newline, ESC, invalid UTF-8, RTL, %s, quotes: one line, no forged one, nothing a terminal would obey."""
    with written(tmp_path / "log", style=style, names=True) as log:
        log.log(Event.WAITING, path=name, problem=name)
    text = (tmp_path / "log").read_bytes().decode("utf-8")
    assert len(text.splitlines()) == 1
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    assert len(text) < 4 * LONGEST_TEXT + 200


def test_a_value_that_is_no_scalar_is_named_by_its_type(tmp_path: Path) -> None:
    """I7: an exception passed as a value would show a path."""
    error: object = FileNotFoundError(2, "No such file", CANARY)
    with written(tmp_path / "log") as log:
        log._logger.log(20, "batch", problem=error, seconds=float("nan"), files=True)
    (line,) = lines(tmp_path / "log")
    assert (line["problem"], line["seconds"], line["files"]) == ("<FileNotFoundError>", None, True)


def test_structlog_keeps_no_setting_of_ours(tmp_path: Path) -> None:
    with written(tmp_path / "log") as log:
        log.log(Event.STARTED)
    assert not structlog.is_configured()


# --- F69: standard output ----------------------------------------------------------------------------------------------------


def blocked_pipe() -> tuple[int, int]:
    """A pipe nobody reads, as small as can be."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    return reader, writer


def eventually(true: Callable[[], bool]) -> bool:
    pause = threading.Event()
    for _ in range(500):
        if true():
            break
        pause.wait(0.01)
    return true()


@pytest.mark.parametrize("blocking", [True, False])
def test_a_blocked_pipe_costs_lines_and_nothing_else_and_says_how_many(blocking: bool) -> None:
    """F69: the caller is never held up; memory is bounded (I8); the next line that gets through counts the lost ones."""
    reader, writer = blocked_pipe()
    os.set_blocking(writer, blocking)
    log = Log(clock=FakeClock(), salt=SALT, descriptor=writer)
    os.close(writer)
    log.sink.start()
    for number in range(20_000):
        log.log(Event.BATCH, files=number)
    lost = log.sink.dropped  # it may be said in several lines
    assert lost > 10_000

    received = bytearray()

    def read() -> None:
        while piece := os.read(reader, 65536):
            received.extend(piece)

    drain = threading.Thread(target=read)
    drain.start()
    assert eventually(lambda: log.sink.dropped == 0)
    log.close(5)
    drain.join(5)
    os.close(reader)
    found = [json.loads(line) for line in received.splitlines()]
    assert sum(line.get("dropped", 0) for line in found) + len(found) == 20_000
    assert sum(line.get("dropped", 0) for line in found) >= lost


def test_closing_a_log_that_nobody_reads_ends_at_its_deadline() -> None:
    """F69: a stuck journal does not hold up the end."""
    reader, writer = blocked_pipe()
    log = Log(clock=FakeClock(), salt=SALT, descriptor=writer)
    os.close(writer)
    log.sink.start()
    for number in range(500):
        log.log(Event.BATCH, files=number)
    log.close(0.05)
    assert log.sink.alive()
    os.close(reader)  # EPIPE: the thread finds its way out
    log.sink.join(5)
    assert not log.sink.alive()
    log.close(1)


def test_a_reader_that_has_gone_is_only_counted() -> None:
    """F69: EPIPE."""
    reader, writer = os.pipe()
    log = Log(clock=FakeClock(), salt=SALT, descriptor=writer)
    os.close(writer)
    os.close(reader)
    log.sink.start()
    for _ in range(10):
        log.log(Event.BATCH)
    log.close(5)
    assert log.sink.dropped == 10


def test_a_full_disk_is_only_counted() -> None:
    """F69: ENOSPC, from the device that always says so."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    log = Log(clock=FakeClock(), salt=SALT, descriptor=descriptor)
    os.close(descriptor)
    log.sink.start()
    for _ in range(10):
        log.log(Event.BATCH)
    log.close(5)
    assert log.sink.dropped == 10


def test_standard_output_that_was_closed_at_the_start_never_names_another_file(tmp_path: Path) -> None:
    """F69, I1: a file that is opened later gets the free number 1; no line may land in it."""
    script = f"""
import os
from fakes.ops_fakes import FakeClock
from ingestd.core.events import Event
from ingestd.ops.logs import Log
os.close(1)
log = Log(clock=FakeClock(), salt=b"s")
log.sink.start()
victim = os.open({str(tmp_path / "receipt")!r}, os.O_RDWR | os.O_CREAT)
log.log(Event.BATCH)
log.close(5)
os._exit(0 if victim == 1 and log.sink.dropped == 1 and os.fstat(victim).st_size == 0 else 9)
"""
    paths = os.pathsep.join([str(SOURCE.parent), str(SOURCE.parent / "tests")])
    ended = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": paths}, check=False, timeout=30
    )
    assert ended.returncode == 0


def test_the_interpreter_ends_although_the_writer_is_stuck() -> None:
    """F69: the process leaves with its own exit code, and without "could not acquire lock" at shutdown."""
    script = """
import threading
from fakes.ops_fakes import FakeClock
from ingestd.core.events import Event
from ingestd.ops.logs import Log
log = Log(clock=FakeClock(), salt=b"s")
log.sink.start()
for _ in range(5000): log.log(Event.BATCH, problem="x" * 200)
log.close(0.2)
raise SystemExit(75)
"""
    reader, writer = blocked_pipe()
    paths = os.pathsep.join([str(SOURCE.parent), str(SOURCE.parent / "tests")])
    ended = subprocess.run(
        [sys.executable, "-c", script],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
        check=False,
        timeout=30,
    )
    os.close(reader)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (75, b"")


def test_a_torn_line_does_not_swallow_the_next_one() -> None:
    """F69: after a write that broke off in the middle, the next line begins on its own."""
    reader, writer = blocked_pipe()
    os.set_blocking(reader, False)
    sink = Sink(descriptor=writer, render=lambda line: str(line["event"]))
    os.close(writer)
    sink._torn = True
    sink.start()
    sink.put({"event": "whole"})
    sink.close(5)
    assert os.read(reader, 100) == b"\nwhole\n"
    os.close(reader)


def test_a_stopped_writer_takes_nothing_more_and_can_be_started_again(tmp_path: Path) -> None:
    """F66: the last line is the last, whatever other threads complain of as they end."""
    with written(tmp_path / "log") as log:
        log.log(Event.STOPPED)
        log.sink.stop()
        log.log(Event.LIBRARY)
        log.sink.join(5)
        assert not log.sink.alive()
        log.sink.start()
        assert log.sink.alive()
        log.log(Event.STARTED)
    assert [line["event"] for line in lines(tmp_path / "log")] == ["stopped", "started"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_writer_can_be_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F10: it is supervised like every other thread; what came in between is written."""
    with written(tmp_path / "log") as log:
        died = threading.Event()

        def die(_: object) -> bool:
            died.set()
            sys.exit()

        with monkeypatch.context() as patch:
            patch.setattr(log.sink, "_write", die)
            log.log(Event.STARTED)
            assert died.wait(5)
            log.sink.join(5)
        assert not log.sink.alive()
        log.log(Event.STOPPING)
        log.sink.start()
    assert [line["event"] for line in lines(tmp_path / "log")] == ["stopping"]


# --- what others say ---------------------------------------------------------------------------------------------------------


def test_a_library_is_heard_and_not_quoted(tmp_path: Path) -> None:
    """F65, F71: URLs, tokens and elements are in libraries' messages; httpx logs each URL at INFO."""
    clock = FakeClock()
    with written(tmp_path / "log", clock=clock) as log, capture(log, clock):
        logging.getLogger("httpx").info("HTTP Request: GET https://example.test/%s", CANARY)
        logging.getLogger("httpcore.http11").debug("token %s", CANARY)
        logging.getLogger("azure.identity").warning("ManagedIdentityCredential failed: %s", CANARY)
        logging.getLogger("msal.application").error(f"secret {CANARY}")
    found = lines(tmp_path / "log")
    assert [(line["event"], line["level"], line["library"]) for line in found] == [
        ("library", "warning", "azure.identity"),
        ("library", "warning", "msal.application"),
    ]
    assert str(found[0]["where"]).startswith("test_ops_logs:")
    assert "DOE" not in (tmp_path / "log").read_text()


def test_a_traceback_shows_where_and_never_what(tmp_path: Path) -> None:
    """F65: no local variable, no source line, no text of the exception; dict_tracebacks showed all three."""
    token = "eyJ-secret"
    clock = FakeClock()
    with written(tmp_path / "log", clock=clock) as log, capture(log, clock):
        try:
            os.stat(f"/nowhere/{CANARY}/{token}")
        except FileNotFoundError:
            logging.getLogger("watchdog").exception("emitter failed for %s", CANARY)
    (line,) = lines(tmp_path / "log")
    assert (line["error"], line["library"]) == ("FileNotFoundError", "watchdog")
    assert [part for part in ("DOE", "eyJ", "nowhere") if part in (tmp_path / "log").read_text()] == []


def test_one_place_speaks_once_a_minute(tmp_path: Path) -> None:
    """I8: log lines are bounded whatever a library does."""
    clock = FakeClock()

    def complain() -> None:
        logging.getLogger("pydicom").warning("invalid value %s", CANARY)

    with written(tmp_path / "log", clock=clock) as log, capture(log, clock):
        for _ in range(100):
            complain()
        clock.advance(61)
        complain()
    assert [line.get("repeated") for line in lines(tmp_path / "log")] == [None, 99]


def test_a_python_warning_is_heard_and_not_quoted(tmp_path: Path) -> None:
    """F71: pydicom's warnings quote elements."""
    clock = FakeClock()
    with warnings.catch_warnings(), written(tmp_path / "log", clock=clock) as log, capture(log, clock):
        warnings.simplefilter("always")
        warnings.warn(f"Invalid value for VR PN: {CANARY}", UserWarning, stacklevel=1)
    (line,) = lines(tmp_path / "log")
    assert line["library"] == "py.warnings"
    assert "DOE" not in (tmp_path / "log").read_text()


def test_a_dying_thread_says_so_and_not_with_which_file(tmp_path: Path) -> None:
    """F10, I7: never silent; the text of an OSError is a path."""

    def fail() -> None:
        raise FileNotFoundError(2, "No such file or directory", CANARY)

    clock = FakeClock()
    with written(tmp_path / "log", clock=clock) as log, capture(log, clock):
        thread = threading.Thread(target=fail, name="scanner")
        thread.start()
        thread.join()
    (line,) = lines(tmp_path / "log")
    assert (line["event"], line["thread"], line["error"]) == ("thread_died", "scanner", "FileNotFoundError")
    assert "DOE" not in (tmp_path / "log").read_text()


def test_what_was_captured_is_given_back(tmp_path: Path) -> None:
    def state() -> tuple[object, ...]:
        root = logging.getLogger()
        return (
            list(root.handlers),
            root.level,
            logging.getLogger("httpx").level,
            threading.excepthook,
            warnings.showwarning,
        )

    before = state()
    with written(tmp_path / "log") as log, capture(log, FakeClock()):
        assert state() != before
    assert state() == before
