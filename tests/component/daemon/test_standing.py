"""What /readyz says below its `ok`, and the log once: what is wrong and turns nothing red."""

from __future__ import annotations

import re

import pytest
from fakes.daemon_bench import Bench
from fakes.spool_fakes import part10

from ingestd.core.answers.answer import Answer, Loss
from ingestd.core.errors import FilingError, JournalError
from ingestd.core.events import Event
from ingestd.core.scan import Passed
from ingestd.daemon.standing import Standing

LEASES = "the kernel can't tell here whether somebody still writes a file"


def test_nothing_wrong_is_nothing_said() -> None:
    """DESIGN 5: probes read `ok` and no more."""
    bench = Bench()
    bench.drop("a.dcm", part10())
    bench.after(2.0)
    assert bench.daemon.details() == ()
    assert Standing().lines() == ()


def test_leases_that_can_not_be_had_are_said_in_the_detail_and_once_in_the_log() -> None:
    """F77: when it becomes known, and again when it changes; readiness stays green."""
    bench = Bench()
    bench.after(5.0, steps=5)
    assert bench.recorder.events.count(Event.LEASES_UNKNOWN) == 0
    bench.inbox.leases_problem = LEASES
    bench.after(5.0, steps=5)
    assert bench.daemon.details() == (f"leases: {LEASES}",)
    assert bench.daemon.ready_problem() is None
    assert [line.fields for line in bench.recorder.of(Event.LEASES_UNKNOWN)] == [{"problem": LEASES}]
    bench.inbox.leases_problem = None
    bench.after(5.0, steps=5)
    assert bench.daemon.details() == ()
    assert bench.recorder.events.count(Event.LEASES_UNKNOWN) == 1
    assert bench.recorder.events.count(Event.LEASES_KNOWN) == 1


def test_an_outage_says_whose_fault_it_is_and_how_to_mend_it() -> None:
    """DESIGN 5: never red for the service, and never silent about it."""
    bench = Bench()
    lost = Answer(loss=Loss.NOT_SENT)
    bench.origin.script(lost)
    bench.origin.script_control(lost)
    bench.drop("a.dcm", part10())
    bench.after(0.1)
    bench.after(1.0)
    (line,) = bench.daemon.details()
    assert line.startswith("service: unreachable: look at the cable (for 1 s, ")
    assert bench.daemon.held() == (line,)
    assert (bench.daemon.live_problem(), bench.daemon.ready_problem()) == (None, None)
    bench.after(120.0, steps=60)
    assert bench.daemon.details() == ()


def test_the_brake_says_why_and_how_it_comes_off() -> None:
    """DESIGN 3, the brake."""
    bench = Bench(in_a_row=2)
    for n in range(3):
        bench.origin.rejects[f"1.2.3.4.{n}"] = 43264
        bench.drop(f"{n}.dcm", part10(sop=f"1.2.3.4.{n}"))
    bench.after(5.0, steps=5)
    (line,) = [line for line in bench.daemon.details() if line.startswith("brake: ")]
    assert line.endswith("`ingestd resume`")
    assert "(for " in line
    assert bench.daemon.held() == (line,)


def test_a_service_that_takes_a_request_and_says_nothing_is_said_after_a_minute() -> None:
    """Its response timeout may be long; a line a minute, and the detail for as long as it lasts."""
    bench = Bench()
    bench.origin.silent_seconds = 59.0
    bench.after(5.0, steps=5)
    assert bench.daemon.details() == ()
    bench.origin.silent_seconds = 61.0
    bench.after(30.0, steps=30)
    (line,) = bench.daemon.details()
    assert line.startswith("service: the service has taken a request and says nothing: ask those who run it")
    assert line.endswith("(for 61 s)")
    (said,) = bench.recorder.of(Event.SILENT)
    assert (said.fields["held_seconds"], said.fields["files"]) == (61.0, 0)  # not how often it was not said
    bench.origin.silent_seconds = 0.0
    bench.after(2.0, steps=2)
    assert bench.daemon.details() == ()


def test_the_status_line_says_what_is_most_wrong() -> None:
    """`systemctl status` shows one line: never that all is well under a brake, an outage, or with everything passed over."""
    bench = Bench()
    bench.after(2.0)
    assert dict(bench.notifier.sent)["status"] == "0 files pending: all is well"
    bench.inbox.leases_problem = LEASES
    bench.origin.script(Answer(loss=Loss.NOT_SENT))
    bench.origin.script_control(*[Answer(loss=Loss.NOT_SENT)] * 9)
    bench.drop("a.dcm", part10())
    bench.after(3.0, steps=3)
    status = dict(bench.notifier.sent)["status"]
    assert status.startswith("1 files pending: service: unreachable: look at the cable (for ")
    bench.folders_problem = "disk space: folders.done is nearly full: make room"
    bench.after(1.0)
    assert dict(bench.notifier.sent)["status"] == f"1 files pending: {bench.folders_problem}"
    assert bench.daemon.held()[0] == bench.folders_problem


def test_the_status_line_is_not_well_while_files_went_to_failed() -> None:
    """I3: a person has to look at them; nothing else says so once the lines of the log have gone by."""
    bench = Bench()
    bench.origin.rejects["1.2.3.4.1"] = 43264
    bench.drop("a.dcm", part10(sop="1.2.3.4.1"))
    bench.after(5.0, steps=5)
    said = str(dict(bench.notifier.sent)["status"])
    assert said.endswith(" files pending: 1 went to failed/ since the start, see `ingestd failed list`")


def test_an_outage_says_when_it_is_tried_again() -> None:
    """DESIGN 5: /readyz says so, too, and that it is under way."""
    bench = Bench()
    lost = Answer(loss=Loss.NOT_SENT)
    bench.origin.script(lost)
    bench.origin.script_control(*[lost] * 99)
    bench.drop("a.dcm", part10())
    bench.after(300.0, steps=300)
    (line,) = bench.daemon.details()
    assert re.fullmatch(r"service: unreachable: look at the cable \(for 4 min, next try in \d+ s\)", line), line


def test_one_trouble_is_one_line() -> None:
    """Without a token nothing goes out: the outage and our side of the connection are the same then."""
    why = "auth.token_file: it can't be read (No such file or directory)"
    outage = f"no token: {why}; nothing was sent to host (for 2 min, next try in 20 s)"
    one = Standing(outage=outage, connection=f"no fresh token: {why}")
    assert one.lines() == (f"service: {outage}",)
    two = Standing(outage="host answers 503", connection=f"no fresh token: {why}")
    assert two.lines() == ("service: host answers 503", f"connection: no fresh token: {why}")


def test_files_that_can_not_be_moved_are_counted() -> None:
    """F31: the folder wants mending, and nobody has to read the log for that."""
    bench = Bench()
    bench.filer.problem = FilingError("the file can't be moved")
    bench.drop("a.dcm", part10())
    bench.after(5.0, steps=5)
    (line,) = bench.daemon.details()
    assert line.startswith("moves: 1 files can't be moved: ")


def test_names_that_are_not_taken_are_counted() -> None:
    """F93, F21, F25: with what to do about it, and without a name."""
    counts = {"no_pattern": 412, "temporary": 3, "symlink": 2, "unreadable": 0}
    passed = Passed(counts=counts, example="IM1", include=("*.dcm",))
    assert Standing(passed=passed).lines() == (
        f"inbox: {passed.text('no_pattern')}",
        f"inbox: {passed.text('symlink')}",
    )


@pytest.mark.parametrize("journal", ["its disk is full", None])
def test_readiness_names_every_cause(journal: str | None) -> None:
    """DESIGN 5: 503 and one line a cause."""
    bench = Bench()
    bench.after(2.0)
    bench.scanner.problem = "the folder is not there"
    bench.journal.problem = JournalError(journal) if journal else None
    bench.folders_problem = "disk space: folders.done is nearly full: make room"
    bench.after(2.0)
    causes = ["inbox: the folder is not there", "disk space: folders.done is nearly full: make room"]
    if journal:
        causes.insert(1, f"journal: {journal}")
    assert (bench.daemon.ready_problem() or "").split("\n") == causes
