"""The daemon's tick, deterministic: the real stages over fakes of every port."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from fakes.daemon_bench import Bench
from fakes.spool_fakes import FakeReading
from fakes.studies import made
from fakes.values import GENERIC

from ingestd.core.answers.answer import Answer, Failed, Fetched, Held, Loss, Referenced, StoreResponse
from ingestd.core.answers.failure_reasons import meaning
from ingestd.core.answers.outcome import DuplicatePolicy, Outcome
from ingestd.core.answers.proof import Proof
from ingestd.core.answers.reasons import Reason
from ingestd.core.errors import FileBusyError, FileDeniedError, FilingError, JournalError
from ingestd.core.events import Event, Level
from ingestd.core.lifecycle import State
from ingestd.core.model import Asked, Instance, Wait
from ingestd.core.record import Changes
from ingestd.core.scan import Locked, LockedAlike, Passed
from ingestd.daemon.loop import STUCK_SECONDS, End
from ingestd.spool.memory.orders import Order


class DeadThread:
    """A supervised thread that dies when it is told to."""

    name = "admin"

    def __init__(self) -> None:
        self.running = False
        self.starts = 0

    def start(self) -> None:
        self.running = True
        self.starts += 1

    def alive(self) -> bool:
        return self.running

    def stop(self) -> None:
        self.running = False

    def join(self, timeout: float) -> None: ...


def test_a_whole_file_goes_its_way() -> None:
    """I2: named, receipt written, then moved, and counted once."""
    bench = Bench()
    one = made(1)
    bench.drop(one.name, one.content)
    bench.tick()
    assert list(bench.filer.done.values()) == [one.content]
    assert [r.sop_instance_uid for r in bench.journal.receipts] == [one.ids[2]]
    assert bench.recorder.count(Outcome.STORED) == 1
    assert len(bench.window) == 0


def test_the_receipt_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """I1, F39: while the journal can't be written no file is moved; when it can again, all are, and none is sent twice."""
    bench = Bench()
    commit = bench.journal.commit
    monkeypatch.setattr(bench.journal, "commit", _refuse)
    for n in range(1, 4):
        bench.drop(made(n).name, made(n).content)
    bench.after(5, steps=5)
    assert bench.filer.done == {}
    assert (bench.daemon.ready_problem() or "").startswith("journal:")
    assert len(list(bench.recorder.of(Event.JOURNAL_TROUBLE))) == 1
    monkeypatch.setattr(bench.journal, "commit", commit)
    bench.after(2, steps=2)
    assert len(bench.filer.done) == 3
    assert len(bench.origin.stores) == 1
    assert bench.daemon.ready_problem() is None


def test_an_unleased_file_waits_its_quiet_period() -> None:
    """F14, F20: two looks, two seconds apart; a change in between begins anew."""
    bench = Bench()
    one = made(1)
    bench.drop(one.name, one.content, leased=False)
    bench.tick()
    bench.after(1.5)
    assert bench.origin.stores == []
    bench.inbox.write(one.name, made(2).content)
    bench.after(1.0)
    bench.after(1.5)
    assert bench.origin.stores == []
    bench.after(1.0)
    assert list(bench.filer.done.values()) == [made(2).content]


def test_a_truncated_file_leaves_the_window_and_fails_after_its_time() -> None:
    """I3, F17: it waits in the journal, is said once, and goes to failed/ when it has been unchanged long enough."""
    bench = Bench(timeout=900)
    half = made(1).content[:2000]
    bench.drop("half.dcm", half)
    bench.tick()
    assert len(bench.window) == 0
    assert bench.journal.deferrals["half.dcm"].wait is Wait.INCOMPLETE
    bench.after(880, steps=40)
    assert bench.filer.failed == {}
    bench.after(60, steps=4)
    assert bench.filer.failed == {"half.dcm": half}
    assert bench.filer.verdicts["half.dcm"].quarantine.reason is Reason.TRUNCATED
    assert bench.journal.deferrals == {}
    assert len(list(bench.recorder.of(Event.WAITING))) == 1
    assert bench.origin.stores == []


def test_a_truncated_file_that_grows_whole_is_sent() -> None:
    """F15, F18: the wait ends when the rest arrives; its clock begins anew with each change."""
    bench = Bench(timeout=60)
    one = made(1)
    bench.drop(one.name, one.content[:1000])
    bench.after(50, steps=5)
    bench.inbox.write(one.name, one.content[:2000])
    bench.after(50, steps=5)
    assert bench.filer.failed == {}
    bench.inbox.write(one.name, one.content)
    bench.scanner.hint(one.name)
    bench.tick()
    assert list(bench.filer.done.values()) == [one.content]


def test_a_busy_file_is_looked_at_again() -> None:
    """F9: an open that fails says nothing about the file."""
    bench = Bench()
    one = made(1)
    bench.inbox.trouble[one.name] = FileBusyError("busy")
    bench.drop(one.name, one.content)
    bench.tick()
    del bench.inbox.trouble[one.name]
    bench.after(3)
    assert len(bench.filer.done) == 1


def test_a_file_that_vanishes_is_nobodys_business() -> None:
    """F24: at every step."""
    bench = Bench()
    one = made(1)
    bench.scanner.offer("never-was.dcm")
    bench.executor.at_once = False
    bench.drop(one.name, one.content)
    bench.tick()
    bench.inbox.remove(one.name)
    bench.executor.run()
    bench.executor.at_once = True
    bench.tick()
    assert (bench.filer.done, bench.filer.failed, len(bench.window)) == ({}, {}, 0)


def test_a_file_replaced_while_it_was_sent_is_not_moved_unsent() -> None:
    """I4, F19: the new version is judged and sent in its turn."""
    bench = Bench()
    one, other = made(1), made(2)
    bench.executor.at_once = False
    bench.drop("x.dcm", one.content)
    bench.tick()
    future, work = bench.executor.waiting.pop()
    future.set_result(work())
    bench.inbox.put("x.dcm", other.content)
    bench.executor.at_once = True
    bench.tick()
    assert list(bench.filer.done.values()) == [other.content]
    assert {r.sop_instance_uid for r in bench.journal.receipts} == {one.ids[2], other.ids[2]}


def test_an_outage_holds_and_the_control_probes() -> None:
    """I3, F47: nothing is counted against a file, no file is the probe, and sending resumes by itself."""
    bench = Bench()
    bench.origin.script(Answer(loss=Loss.NOT_SENT), Answer(loss=Loss.NOT_SENT))
    bench.origin.script_control(Answer(loss=Loss.NOT_SENT), Answer(status=503, retry_after=30.0))
    for n in range(1, 3):
        bench.drop(made(n).name, made(n, study=n).content)
    bench.tick()
    assert len(bench.recorder.snapshots) >= 1
    stores = len(bench.origin.stores)
    bench.after(5, steps=10)
    assert bench.origin.controls == 2
    assert len(bench.origin.stores) == stores
    bench.after(20, steps=10)
    assert bench.origin.controls == 2  # Retry-After is a floor
    bench.after(15, steps=15)
    assert len(bench.filer.done) == 2
    assert bench.journal.deferrals == {}
    held = [line.fields["cause"] for line in bench.recorder.of(Event.HELD)]
    assert held == ["unreachable", "busy"]
    assert len(list(bench.recorder.of(Event.RESUMED))) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503, 302, 424])
def test_a_service_at_fault_never_fails_a_file(status: int) -> None:
    """I3, F53, F62: it stays in the inbox and goes out when the service is mended."""
    bench = Bench()
    bench.origin.script(*[Answer(status=status)] * 2)
    bench.origin.script_control(*[Answer(status=status), Answer(status=204)] * 2)
    bench.drop(made(1).name, made(1).content)
    bench.tick()
    assert (bench.filer.done, bench.filer.failed, bench.journal.deferrals) == ({}, {}, {})
    bench.after(30, steps=30)
    assert len(bench.filer.done) == 1


def test_a_poison_instance_is_isolated_and_the_others_are_delivered() -> None:
    """I2, F61: the service refuses every request that holds it, and says no more."""
    bench = Bench()
    files = {made(n).name: made(n) for n in range(1, 17)}
    poison = made(11)

    def refuse(instances: object) -> Answer:
        sent = bench.origin.stores[-1]
        if any(i.sop_instance_uid == poison.ids[2] for i in sent):
            return Answer(status=400, comment="bad request")
        return bench.origin.take(sent)

    bench.origin.script(*[refuse] * 100)
    for one in files.values():
        bench.drop(one.name, one.content)
    bench.tick(40)
    assert len(bench.filer.done) == 15
    bench.after(60, steps=30)
    assert list(bench.filer.failed) == [poison.name]
    verdict = bench.filer.verdicts[poison.name].quarantine
    assert (verdict.reason, verdict.http_status, verdict.comment) == (Reason.POISON, 400, "bad request")


def test_a_refusal_with_a_failing_control_holds() -> None:
    """I3, F62: 400 for everything is a wrong URL or a wrong partition, never a file."""
    bench = Bench()
    bench.origin.script(Answer(status=400))
    bench.origin.script_control(*[Answer(status=400)] * 3)
    bench.drop(made(1).name, made(1).content)
    bench.after(10, steps=20)
    assert bench.filer.failed == {}
    bench.after(120, steps=60)
    assert len(bench.filer.done) == 1


def test_already_stored_is_verified_by_receipt_or_by_metadata() -> None:
    """I2: 45070 alone is no proof."""
    bench = Bench()
    one = made(1)
    bench.drop("first.dcm", one.content)
    bench.tick()
    bench.drop("again.dcm", one.content)
    bench.tick(20)
    assert bench.recorder.count(Outcome.ALREADY_STORED) == 1
    bench.drop("changed.dcm", one.content.replace(b"Anony^Mous", b"Other^Name"))
    bench.tick(20)
    assert bench.filer.verdicts["changed.dcm"].quarantine.reason is Reason.CONFLICT


def test_already_stored_that_cannot_be_shown_is_tried_again() -> None:
    """I2: the service says it has it and shows nothing: the winner of a race may yet fail."""
    bench = Bench()
    one = made(1)
    uid = one.ids[2]
    there = Answer(
        status=409,
        response=StoreResponse(referenced=(), failed=(Failed(sop_instance_uid=uid, failure_reason=45070),)),
        digests=("a" * 64,),
    )
    bench.origin.script(there)
    bench.drop(one.name, one.content)
    bench.tick(20)
    assert bench.filer.done == {}
    assert bench.journal.deferrals[one.name].wait is Wait.UNVERIFIED
    bench.after(10, steps=10)
    assert len(bench.filer.done) == 1
    assert bench.recorder.count(Outcome.STORED) == 1


def test_an_outage_while_verifying_is_asked_again_and_nothing_is_sent() -> None:
    """I2, I3, F87: a metadata read that finds nobody says nothing about the file; what is to be sent goes on."""
    bench = Bench()
    one = made(1)
    bench.drop("first.dcm", one.content)
    bench.tick()
    bench.origin.script_held(Held(status=None, loss=Loss.NOT_SENT))
    bench.drop("again.dcm", one.content)
    bench.tick()
    sent = len(bench.origin.stores)
    assert bench.journal.deferrals["again.dcm"].asked is Asked.HELD
    bench.after(10, steps=10)
    assert bench.recorder.count(Outcome.ALREADY_STORED) == 1
    assert bench.journal.receipts[-1].proof is Proof.REMEMBERED
    assert len(bench.origin.stores) == sent
    assert Event.HELD not in bench.recorder.events
    assert len(list(bench.recorder.of(Event.UNANSWERED))) == 1


def test_server_trouble_is_counted_only_while_others_are_stored() -> None:
    """I3: 272 against one instance; with nothing else stored it is tried for ever, with others it is quarantined."""
    bench = Bench(attempts=3)
    one = made(1)
    bench.origin.rejects[one.ids[2]] = 272
    bench.drop(one.name, one.content)
    bench.after(40_000, steps=50)
    assert bench.filer.failed == {}
    assert bench.journal.deferrals[one.name].counted == 0
    for n in range(2, 12):
        bench.drop(made(n).name, made(n).content)
        bench.after(1000, steps=2)
    assert bench.filer.verdicts[one.name].quarantine.reason is Reason.REJECTED
    assert len(bench.filer.done) == 10


def test_a_stored_file_that_cannot_be_moved_is_not_sent_again() -> None:
    """F31: it stays, is said once, and is moved when the folder is mended; its receipt stands for it meanwhile."""
    bench = Bench()
    one = made(1)
    bench.filer.problem = FilingError("done/ is full")
    bench.drop(one.name, one.content)
    bench.after(3600, steps=30)
    assert bench.filer.done == {}
    assert bench.daemon.left == 1
    assert bench.recorder.snapshots[-1].pending["unmovable"] == 1
    assert len(list(bench.recorder.of(Event.UNMOVABLE))) == 1
    bench.filer.problem = None
    bench.after(1000, steps=2)
    assert list(bench.filer.done.values()) == [one.content]
    assert len(bench.origin.stores) == 1
    assert bench.recorder.count(Outcome.STORED) == 1


def test_two_files_of_one_instance_never_travel_together() -> None:
    """F36: the twin waits, and is verified in its turn."""
    bench = Bench()
    one = made(1)
    for name in ("a.dcm", "b.dcm"):
        bench.drop(name, one.content)
    bench.tick(20)
    assert [len(batch) for batch in bench.origin.stores] == [1, 1]
    assert len(bench.filer.done) == 2


def test_an_outage_is_said_when_it_changes_and_once_a_minute() -> None:
    """What, since when, how many files wait, how often and when it is tried, and that it is over; no line for each try (I8)."""
    bench = Bench()
    refused = Answer(loss=Loss.NOT_SENT, problem="no connection: Connection refused")
    bench.origin.script(refused)
    bench.origin.script_control(*[refused] * 4, *[Answer(status=401)] * 9)
    for n in (1, 2, 3):
        bench.drop(made(n).name, made(n).content)
    bench.after(200, steps=200)
    held = list(bench.recorder.of(Event.HELD))
    problems = [line.fields["problem"] for line in held]
    assert problems[0] == "no connection: Connection refused"
    assert problems == sorted(problems, reverse=True)  # the one, then the other
    assert len(set(problems)) == 2
    assert 3 <= len(held) <= 6
    assert [line.fields["files"] for line in held] == [3] * len(held)
    assert held[0].fields["held_seconds"] == 0.0
    assert float(str(held[-1].fields["held_seconds"])) >= 60
    assert all(0 <= float(str(line.fields["wait_seconds"])) <= 60 for line in held)
    assert bench.origin.controls > len(held)
    tries = [int(str(line.fields["attempts"])) for line in held]
    assert tries == sorted(tries)
    assert tries[0] == 1
    assert Event.PROBED.level is Level.DEBUG
    bench.after(600, steps=600)
    (over,) = bench.recorder.of(Event.RESUMED)
    assert over.fields["files"] == 3
    assert float(str(over.fields["held_seconds"])) > float(str(held[-1].fields["held_seconds"]))


def test_the_next_outage_is_said_although_it_is_the_same() -> None:
    """Its minute begins anew."""
    bench = Bench()
    for n in (1, 2):
        bench.origin.script(Answer(status=503))
        bench.drop(made(n).name, made(n).content)
        bench.after(10, steps=10)
    assert len(bench.filer.done) == 2
    assert [e for e in bench.recorder.events if e in (Event.HELD, Event.RESUMED)] == [Event.HELD, Event.RESUMED] * 2


def test_requests_that_come_to_nothing_are_said() -> None:
    """Files that are sent again and again must not look like work: a line a minute, until something is answered."""
    bench = Bench()
    bench.origin.script(*[Answer(loss=Loss.LOST, problem="what answers does not speak HTTP/1.1")] * 4)
    bench.origin.script_control(*[Answer(loss=Loss.LOST)] * 40)
    bench.drop(made(1).name, made(1).content)
    bench.after(5, steps=5)
    assert bench.daemon.details()[0].startswith("service: ")
    assert "(for " in bench.daemon.details()[0]
    bench.after(1000, steps=200)
    lines = list(bench.recorder.of(Event.TROUBLE))
    assert lines[0].fields == {"status": "lost", "problem": "what answers does not speak HTTP/1.1"}
    assert len(lines) <= 4
    assert len(bench.filer.done) == 1
    assert bench.daemon.details() == ()


def test_trouble_is_not_said_any_more_when_nothing_waits() -> None:
    """Nothing will be sent that could clear it: the operator must not be called for a file that is gone."""
    bench = Bench()
    bench.origin.script(Answer(status=500))
    bench.drop(made(1).name, made(1).content)
    bench.after(0.1)
    bench.after(1)
    assert bench.daemon.details()[0].startswith("service: ")
    bench.inbox.remove(made(1).name)
    bench.scanner.remove(made(1).name)
    bench.after(1000, steps=100)
    assert bench.daemon.left == 0
    assert bench.daemon.details() == ()


def test_a_job_that_dies_returns_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """F10, F46: contained, said, and sent again after a pause, for without memory nobody gets on."""
    bench = Bench()

    def explode(instances: object) -> Answer:
        raise MemoryError

    bench.origin.script(explode)
    bench.drop(made(1).name, made(1).content)
    bench.after(10, steps=10)
    assert len(bench.filer.done) == 1
    assert [line.fields["problem"] for line in bench.recorder.of(Event.JOB_DIED)] == ["MemoryError"]
    assert [line.fields["cause"] for line in bench.recorder.of(Event.HELD)] == ["unreachable"]


def test_a_batch_whose_job_dies_each_time_stops_nobody_else() -> None:
    """F10, I3, I8: a bug that one file brings out: it waits, ever longer, with no verdict, and is sent once the bug is mended."""
    bench = Bench()
    bad = made(1, study=9)
    mended = False

    def bug(instances: Sequence[Instance]) -> Answer:
        if not mended and any(i.sop_instance_uid == bad.ids[2] for i in instances):
            raise KeyError("an error nobody thought of")
        return bench.origin.take(instances)

    bench.origin.script(*[bug] * 500)
    bench.drop(bad.name, bad.content)
    bench.tick()
    assert bench.journal.deferrals[bad.name].wait is Wait.DIED
    for n in range(1, 61):
        one = made(n)
        bench.drop(one.name, one.content)
        bench.after(60, steps=6)
    assert (len(bench.filer.done), bench.filer.failed) == (60, {})
    drawn = sum(i.sop_instance_uid == bad.ids[2] for sent in bench.origin.stores for i in sent)
    assert 6 <= drawn <= 20
    assert {line.fields["problem"] for line in bench.recorder.of(Event.JOB_DIED)} == {"KeyError"}
    assert bench.recorder.events.count(Event.HELD) == 0
    mended = True
    bench.after(900, steps=90)
    assert (len(bench.filer.done), bench.daemon.left) == (61, 0)


def test_jobs_that_die_one_after_another_are_a_few_lines() -> None:
    """F10, I8: sending does not pause for them, so they could come by the thousand."""
    bench = Bench()

    def bug(instances: Sequence[Instance]) -> Answer:
        raise KeyError("an error nobody thought of")

    bench.origin.script(*[bug] * 500)
    for study in range(1, 61):
        bench.drop(made(1, study=study).name, made(1, study=study).content)
    bench.tick(80)
    assert len(bench.journal.deferrals) == 60
    assert bench.recorder.events.count(Event.JOB_DIED) == 20
    assert bench.recorder.events.count(Event.HELD) == 0


def test_a_question_whose_job_dies_is_asked_later() -> None:
    """F10, I2: it is neither filed nor judged, and nothing pauses."""
    bench = Bench()
    bench.drop(made(1).name, made(1).content)
    bench.tick()
    metadata = bench.origin.metadata

    def dies(ids: object) -> Held:
        raise KeyError("an error nobody thought of")

    bench.origin.metadata = dies  # type: ignore[method-assign]
    bench.drop("again.dcm", made(1).content)
    bench.drop(made(2, study=2).name, made(2, study=2).content)
    bench.tick(20)
    assert (len(bench.filer.done), bench.filer.failed, bench.recorder.events.count(Event.HELD)) == (2, {}, 0)
    assert bench.journal.deferrals["again.dcm"].wait is Wait.DIED
    bench.origin.metadata = metadata  # type: ignore[method-assign]
    bench.after(60, steps=60)
    assert (len(bench.filer.done), bench.daemon.left) == (3, 0)


def test_a_probe_that_dies_of_a_bug_is_tried_again() -> None:
    """F10: the breaker's own job has no file to wait, so the breaker does."""
    bench = Bench()
    bench.origin.script(Answer(loss=Loss.NOT_SENT))
    bench.drop(made(1).name, made(1).content)
    bench.tick()
    control = bench.origin.control
    deaths = iter([KeyError("an error nobody thought of")] * 3)

    def dies() -> Answer:
        if (error := next(deaths, None)) is not None:
            raise error
        return control()

    bench.origin.control = dies  # type: ignore[method-assign]
    bench.after(60, steps=60)
    assert (len(bench.filer.done), bench.recorder.events.count(Event.JOB_DIED)) == (1, 3)


def test_a_dead_thread_is_started_again_and_counted() -> None:
    """F10: never silent."""
    thread = DeadThread()
    bench = Bench(threads=(thread,))
    bench.tick(1)
    thread.running = False
    bench.after(2)
    assert (thread.starts, bench.recorder.restarts) == (2, ["admin"])


def test_the_window_refuses_and_goes_on() -> None:
    """I8, F11: more files than the window holds; all are done in the end."""
    bench = Bench(window=16)
    for n in range(1, 101):
        bench.drop(made(n).name, made(n).content)
    bench.tick(200)
    assert len(bench.filer.done) == 100


def test_a_batch_fills_while_the_service_is_asked_about_many() -> None:
    """I5: each file that an answer ends lets another one in, and a request for each of those would hold up the questions."""
    bench = Bench(window=200, concurrency=4)
    known = [made(n) for n in range(1, 71)]
    for one in known:
        bench.drop(f"first/{one.name}", one.content)
    bench.tick()
    bench.executor.at_once = False
    for one in known:
        bench.drop(f"again/{one.name}", one.content)
    bench.tick()
    bench.executor.run()
    bench.tick()  # the service has them all: two of its slots are asked about fifty, twenty wait
    bench.drop("new.dcm", made(99, study=2).content)
    bench.tick()
    assert (bench.window.count(State.VERIFYING), bench.window.count(State.READY)) == (70, 1)
    bench.after(0.5)
    assert bench.window.count(State.IN_FLIGHT) == 1


def test_files_that_each_scan_offers_again_are_counted_once() -> None:
    """F39: while the journal can't be written nothing is taken of what a scan brings, and the next one brings it again."""
    bench = Bench()
    bench.origin.script(Answer(status=503))
    for n in range(1, 11):
        bench.drop(made(n).name, made(n).content)
    bench.tick(3)
    bench.journal.problem = JournalError("the disk is full")
    bench.after(60, steps=60)
    assert sum(bench.recorder.snapshots[-1].pending.values()) == 10
    assert str(dict(bench.notifier.sent)["status"]).startswith("10 files pending: ")


def test_a_file_that_waits_and_is_not_remembered_yet_is_left() -> None:
    """I1, F39: `drain` must not end and say that all is done, because neither window nor journal knows of the file."""
    bench = Bench()
    bench.tick()
    assert bench.daemon.empty()
    bench.drop("cut.dcm", made(1).content[:-100], leased=False)
    bench.tick(1)
    bench.journal.problem = JournalError("the disk is full")
    bench.tick()
    assert (len(bench.window), dict(bench.journal.waiting())) == (0, {})
    assert not bench.daemon.empty()
    assert bench.daemon.left == 1


@pytest.mark.parametrize(("files", "what"), [(1, "1 request"), (2, "2 requests")])
def test_an_end_that_waits_for_requests_says_so(files: int, what: str) -> None:
    """F66: who has pressed Ctrl-C learns what it waits for, how long at most, and that a second one stops it."""
    bench = Bench()
    bench.executor.at_once = False
    for n in range(1, files + 1):
        bench.drop(made(n, study=n).name, made(n, study=n).content)
    bench.after(1)
    bench.daemon.signal()
    bench.daemon.signal()
    bench.daemon.stop()
    (line,) = bench.recorder.of(Event.STOPPING)
    assert line.fields["hint"] == f"finishing {what}, at most 5 s; Ctrl-C again stops now"


def test_an_end_that_waits_for_the_journal_says_so() -> None:
    """F39, F66: a full disk held it up for the whole deadline, without a word."""
    bench = Bench()
    bench.executor.at_once = False
    bench.drop(made(1).name, made(1).content)
    bench.after(1)
    bench.journal.problem = JournalError("the disk is full")
    bench.executor.at_once = True
    bench.executor.run()
    bench.after(1)
    bench.daemon.signal()
    bench.daemon.signal()
    bench.daemon.stop()
    (line,) = bench.recorder.of(Event.STOPPING)
    assert str(line.fields["hint"]).startswith("filing 1 file, at most 5 s; ")


def test_an_end_that_waits_for_nothing_says_nothing() -> None:
    bench = Bench()
    bench.after(1)
    bench.daemon.signal()
    bench.daemon.stop()
    assert [line.fields["hint"] for line in bench.recorder.of(Event.STOPPING)] == [None]


def test_sigterm_finishes_what_is_in_flight_and_files_it() -> None:
    """F66, I1: between "the service said stored" and the move nothing is cut; what was not sent stays."""
    bench = Bench(concurrency=1)
    bench.executor.at_once = False
    bench.drop(made(1).name, made(1).content)
    bench.tick()
    bench.drop(made(2).name, made(2, study=2).content)
    bench.daemon.signal()
    bench.executor.run()
    bench.executor.at_once = True
    assert bench.daemon.run() is End.STOPPED
    left = bench.daemon.stop()
    assert len(bench.filer.done) == 1
    assert list(bench.inbox.files) == [made(2).name]
    assert bench.recorder.events[-1] is Event.STOPPED
    assert bench.notifier.words.count("stopping") == 1
    assert left == 1
    (stopped,) = bench.recorder.of(Event.STOPPED)
    assert stopped.fields == {"left": 1, "drained": False}


def test_a_second_signal_leaves_at_once() -> None:
    """F66: what is in flight is aborted and stays in the inbox; the first says so, because nothing else is seen meanwhile."""
    bench = Bench(deadline=1e9)
    bench.executor.at_once = False
    bench.drop(made(1).name, made(1).content)
    bench.tick()
    bench.daemon.signal()
    bench.daemon.signal()
    bench.daemon.run()
    bench.daemon.stop()
    assert list(bench.inbox.files) == [made(1).name]
    assert bench.daemon.in_flight == 1
    (stopping,) = bench.recorder.of(Event.STOPPING)
    assert stopping.fields["hint"] == "finishing 1 request, at most 1e+09 s; Ctrl-C again stops now"


def test_a_sidecar_drains_its_inbox_on_sigterm() -> None:
    """F74: shutdown.drain = inbox goes on until the inbox is empty."""
    bench = Bench(drain_inbox=True)
    for n in range(1, 4):
        bench.drop(made(n).name, made(n).content)
    bench.daemon.signal()
    bench.daemon.run()
    assert bench.daemon.stop() == 0
    assert len(bench.filer.done) == 3


def test_health_is_about_us_and_never_about_the_service() -> None:
    """F67: an outage is no reason for a restart; an inbox that is away is a reason not to be ready; a stuck loop is dead."""
    bench = Bench()
    bench.origin.script(*[Answer(loss=Loss.NOT_SENT)] * 5)
    bench.origin.script_control(*[Answer(loss=Loss.NOT_SENT)] * 50)
    bench.drop(made(1).name, made(1).content)
    bench.after(300, steps=30)
    assert (bench.daemon.live_problem(), bench.daemon.ready_problem()) == (None, None)
    bench.scanner.problem = "the folder is not there"
    bench.after(2)
    assert bench.daemon.ready_problem() == "inbox: the folder is not there"
    bench.scanner.problem = None
    bench.after(2)
    assert [e for e in bench.recorder.events if e in (Event.INBOX_TROUBLE, Event.INBOX_BACK)] == [
        Event.INBOX_TROUBLE,
        Event.INBOX_BACK,
    ]
    bench.clock.advance(STUCK_SECONDS + 1)
    assert bench.daemon.live_problem() is not None


def test_run_ends_when_everything_has_ended_or_nothing_moves() -> None:
    """`drain`: done, out of patience, out of time."""
    bench = Bench()
    bench.drop(made(1).name, made(1).content)
    assert bench.daemon.run(until=bench.daemon.empty) is End.DRAINED
    bench.origin.script(*[Answer(loss=Loss.NOT_SENT)] * 9)
    bench.drop(made(2).name, made(2).content)

    def pass_time() -> None:
        bench.clock.advance(1.0)
        bench.wake.set()

    assert bench.daemon.run(until=bench.daemon.empty, timeout=5, each=pass_time) is End.TIME_UP
    bench.origin.script_control(*[Answer(loss=Loss.NOT_SENT)] * 999)
    bench.tick()
    bench.origin.script(*[Answer(loss=Loss.NOT_SENT)] * 999)
    bench.drop(made(3).name, made(3).content)
    assert bench.daemon.run(until=bench.daemon.empty, patience=20, each=pass_time) is End.GAVE_UP


def test_a_file_larger_than_any_request_fails_without_being_sent() -> None:
    """F60: its own limit is a verdict about the file; the rest goes on."""
    bench = Bench(largest=10_000)
    bench.drop("large.dcm", made(1, size=20_000).content)
    bench.drop("small.dcm", made(2).content)
    bench.tick()
    assert bench.filer.verdicts["large.dcm"].quarantine.reason is Reason.TOO_LARGE
    assert len(bench.filer.done) == 1


@pytest.mark.slow
def test_the_wait_grows_while_the_control_passes_and_nothing_is_stored() -> None:
    """I8: a gateway that lets the control through and no file is not asked in a hot loop."""
    bench = Bench()
    bench.origin.script(*[Answer(status=503)] * 1000)
    bench.drop(made(1).name, made(1).content)
    bench.after(600, steps=1200)
    assert len(bench.origin.stores) < 40
    assert bench.filer.failed == {}


def test_a_busy_file_is_not_verified_in_a_hot_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """F9: its elements can't be read just now; it waits."""
    bench = Bench()
    one = made(1)
    bench.drop("first.dcm", one.content)
    bench.tick()
    bench.journal.receipts.clear()

    def busy(instance: object) -> dict[str, tuple[str, ...]]:
        raise FileBusyError("busy")

    elements = bench.inbox.elements
    monkeypatch.setattr(bench.inbox, "elements", busy)
    bench.drop("again.dcm", one.content)
    bench.tick(30)
    assert len(bench.origin.stores) == 2
    monkeypatch.setattr(bench.inbox, "elements", elements)
    bench.after(10, steps=10)
    assert bench.recorder.count(Outcome.ALREADY_STORED) == 1


def test_a_verdict_that_could_not_be_moved_is_never_filed_by_an_older_receipt() -> None:
    """I2: failed/ was full when a conflict was found; the old receipt of that path is about other bytes."""
    bench = Bench()
    one = made(1, size=100_000)
    bench.drop("x.dcm", one.content)
    bench.tick(20)
    other = one.content.replace(b"Anony^Mous", b"Other^Name")
    bench.filer.problem = FilingError("failed/ is full")
    bench.drop("x.dcm", other)
    bench.tick(30)
    assert bench.journal.deferrals["x.dcm"].wait is Wait.UNMOVABLE
    bench.filer.problem = None
    bench.after(3600, steps=10)
    assert list(bench.filer.done.values()) == [one.content]
    assert bench.filer.failed == {"x.dcm": other}


def test_a_file_that_cannot_be_read_to_its_end_waits_and_its_study_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """I8, F9: a bad sector shows only while sending; no hot loop, and the others are stored."""
    bench = Bench()
    bad = made(1, size=100_000)
    read = bench.inbox.read

    def unreadable(instance: Instance) -> FakeReading:
        if instance.sop_instance_uid == bad.ids[2]:
            raise FileBusyError("input/output error")
        return read(instance)

    monkeypatch.setattr(bench.inbox, "read", unreadable)
    bench.drop(bad.name, bad.content)
    for n in range(2, 11):
        bench.drop(made(n).name, made(n).content)
    bench.tick(200)
    assert len(bench.filer.done) == 9
    assert len(bench.origin.stores) <= 3
    bench.after(3600, steps=100)
    assert len(bench.origin.stores) < 30
    assert bench.filer.failed == {}


def test_a_sleep_is_no_busy_loop_while_the_shelves_are_full() -> None:
    """I8: quiet files that are due and can't be looked at don't wake the loop."""
    bench = Bench(ready_ahead=2, window=50)
    bench.origin.script(*[Answer(loss=Loss.NOT_SENT)] * 99)
    bench.origin.script_control(*[Answer(loss=Loss.NOT_SENT)] * 99)
    for n in range(1, 20):
        bench.drop(made(n).name, made(n, study=n).content, leased=n < 3)
    bench.after(3)
    assert bench.intake.due_at() is None


def test_a_transient_busy_keeps_what_was_counted() -> None:
    """I3: a look that fails does not begin a file's patience anew."""
    bench = Bench(attempts=50)
    one = made(1)
    bench.origin.rejects[one.ids[2]] = 272
    bench.drop(one.name, one.content)
    bench.after(5000, steps=20)
    before = bench.journal.deferrals[one.name]
    bench.inbox.trouble[one.name] = FileBusyError("busy")
    bench.after(1000, steps=4)
    after = bench.journal.deferrals[one.name]
    assert (after.wait, after.since, after.attempts) == (before.wait, before.since, before.attempts)
    assert after.due_at > before.due_at


@pytest.mark.slow
def test_a_file_that_stays_unreadable_is_looked_at_ever_more_rarely() -> None:
    """I8, F31: not a commit every two seconds for ever."""
    bench = Bench()
    bench.inbox.trouble["x.dcm"] = FileBusyError("permission denied")
    bench.drop("x.dcm", b"")
    bench.after(3600, steps=3600)
    assert len(bench.journal.commits) < 100


def test_nothing_is_admitted_while_nothing_can_be_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """I8, F39: what waits would leave the window and be held in memory without bound."""
    bench = Bench(window=16)
    bench.drop("first.dcm", made(1).content[:1000])
    monkeypatch.setattr(bench.journal, "commit", _refuse)
    bench.tick()
    for n in range(200):
        bench.drop(f"{n}.dcm", made(n).content[:1000])
    bench.after(60, steps=60)
    assert not bench.daemon.empty()
    assert bench.daemon.left >= 200
    assert len(bench.window) <= 16


def _refuse(changes: Changes) -> None:
    raise JournalError("the disk is full")


def test_a_drain_that_ends_by_itself_restarts_nothing_while_it_stops() -> None:
    """F10: a thread that was told to stop is not a dead one."""
    bench = Bench()
    assert bench.daemon.run(until=bench.daemon.empty) is End.DRAINED
    bench.clock.advance(5)
    bench.daemon.stop()
    assert bench.recorder.restarts == []


def test_the_age_of_what_waits_is_seen() -> None:
    """A file that waits in the journal is the oldest one pending."""
    bench = Bench()
    bench.drop("half.dcm", made(1).content[:1500])
    bench.after(300, steps=10)
    assert bench.recorder.snapshots[-1].oldest_pending_seconds == pytest.approx(270, abs=5)


def test_names_that_are_not_taken_are_said() -> None:
    """F93: at once, after a change at most once a minute, and every ten minutes while it lasts; never that there are none."""
    bench = Bench()
    bench.scanner.passed = Passed(counts={"no_pattern": 412}, example="ct/IM1", include=("*.dcm",))
    bench.after(10, steps=10)
    (line,) = bench.recorder.of(Event.IGNORED)
    assert (line.fields["files"], line.fields["path"]) == (412, "ct/IM1")
    assert line.fields["hint"] == (
        '412 files were not taken: their names do not match intake.include = ["*.dcm"]: '
        'set intake.include = "dicom" to take every file that begins like DICOM'
    )
    bench.after(1180, steps=118)
    assert [line.fields["files"] for line in bench.recorder.of(Event.IGNORED)] == [412, 412]
    for files in (413, 414, 415, 0):
        bench.scanner.passed = Passed(counts={"no_pattern": files}, include=("*.dcm",))
        bench.after(20, steps=2)
    bench.after(1200, steps=120)
    assert [line.fields["files"] for line in bench.recorder.of(Event.IGNORED)] == [412, 412, 413]


def test_files_that_can_not_be_moved_are_not_sent_and_are_counted_once() -> None:
    """F94: by the scan, which does not offer them; and a hint that comes before it leads to no send either."""
    bench = Bench()
    for n in (1, 2):
        bench.drop(f"locked/{n}.dcm", made(n).content)
        bench.inbox.set(f"locked/{n}.dcm", movable=False)
    bench.tick(30)
    assert (bench.origin.stores, len(bench.window), dict(bench.journal.waiting())) == ([], 0, {})
    for n in (1, 2):
        bench.scanner.remove(f"locked/{n}.dcm")
    bench.scanner.passed = Passed(
        locked=Locked(alike=(LockedAlike(files=2, folders=1, example="locked", mend="run chmod FOLDER"),))
    )
    bench.after(5, steps=5)
    assert bench.daemon.left == 2
    pending = bench.recorder.snapshots[-1].pending
    assert (pending["unmovable"], pending["waiting"]) == (2, 0)
    (line,) = bench.recorder.of(Event.LOCKED)
    assert (line.fields["path"], line.fields["files"]) == ("locked", 2)
    assert str(line.fields["hint"]).endswith("run chmod FOLDER")
    assert bench.daemon.details() == (f"moves: {line.fields['hint']}",)
    assert bench.daemon.ready_problem() is None
    bench.after(1200, steps=120)
    assert len(list(bench.recorder.of(Event.LOCKED))) == 3
    assert bench.daemon.stop() == 2


def test_what_is_locked_after_the_only_scan_stays_counted() -> None:
    """F94: a drain scans once; a folder that is locked after that must not end it as if all had ended. It goes out once mended."""
    bench = Bench(once=True)
    bench.drop("locked/1.dcm", made(1).content)
    bench.inbox.set("locked/1.dcm", movable=False)
    bench.tick(30)
    assert (bench.origin.stores, bench.daemon.left, bench.daemon.empty()) == ([], 1, False)
    bench.inbox.set("locked/1.dcm", movable=True)
    bench.after(130, steps=30)
    assert (len(bench.filer.done), bench.daemon.left) == (1, 0)


def test_nothing_at_all_that_can_be_moved_turns_readiness_red() -> None:
    """F94, DESIGN 5: only then; and the line says what mends it."""
    bench = Bench()
    bench.scanner.passed = Passed(
        locked=Locked(alike=(LockedAlike(files=1, folders=1, example="", mend="run chmod FOLDER"),), everything=True)
    )
    bench.after(2)
    assert bench.daemon.ready_problem() == f"moves: {bench.scanner.passed.locked.text()}"
    assert bench.daemon.live_problem() is None
    (line,) = bench.recorder.of(Event.LOCKED)
    assert line.fields["path"] == "."
    bench.drop("free.dcm", made(1).content)
    bench.after(5, steps=5)
    assert len(bench.filer.done) == 1
    assert bench.daemon.ready_problem() is None  # one was moved


def test_a_stored_file_whose_folder_is_locked_afterwards_is_moved_once_it_can_be() -> None:
    """F94, F31: it is not sent again for that."""
    bench = Bench()
    bench.filer.problem = FilingError("the file can't be moved")
    bench.drop("s/1.dcm", made(1).content)
    bench.tick(30)
    bench.inbox.set("s/1.dcm", movable=False)
    bench.after(60, steps=10)
    assert bench.journal.deferrals["s/1.dcm"].stored
    bench.filer.problem = None
    bench.inbox.set("s/1.dcm", movable=True)
    bench.after(3600, steps=60)
    assert (len(bench.filer.done), len(bench.origin.stores)) == (1, 1)


def test_files_that_can_not_be_moved_for_both_reasons_are_counted_together() -> None:
    """F94, F31: a full done/ and a locked folder."""
    bench = Bench()
    bench.filer.problem = FilingError("done/ is full")
    bench.drop("1.dcm", made(1).content)
    bench.scanner.passed = Passed(
        locked=Locked(alike=(LockedAlike(files=2, folders=1, example="s", mend="run chmod FOLDER"),))
    )
    bench.after(5, steps=5)
    assert (bench.daemon.left, bench.recorder.snapshots[-1].pending["unmovable"]) == (3, 3)


def test_a_file_that_was_tried_before_goes_on_though_its_folder_is_locked() -> None:
    """F94: what is counted against it, or was deleted to make room for it, must not be forgotten."""
    bench = Bench()
    bench.origin.script(Answer(status=500))
    bench.drop("s/1.dcm", made(1).content)
    bench.tick()
    bench.inbox.set("s/1.dcm", movable=False)
    bench.after(600, steps=60)
    assert len(bench.origin.stores) == 2


def test_files_that_may_not_be_read_are_a_warning_a_minute_with_their_number() -> None:
    """F31: not `waiting` at info for ever. A writer has the first look to let us in."""
    bench = Bench()
    denied = FileDeniedError("the file may not be read: chmod")
    for n in (1, 2, 3):
        bench.drop(f"{n}.dcm", made(n).content)
        bench.inbox.trouble[f"{n}.dcm"] = denied
    bench.tick()
    assert list(bench.recorder.of(Event.UNREADABLE)) == []
    bench.after(600, steps=600)
    said = [line.fields["files"] for line in bench.recorder.of(Event.UNREADABLE)]
    assert 9 <= len(said) <= 11
    assert said[1:] == [3] * (len(said) - 1)
    assert bench.origin.stores == []
    bench.inbox.trouble.clear()
    bench.after(120, steps=60)
    assert len(bench.filer.done) == 3
    bench.after(600, steps=60)
    assert len(list(bench.recorder.of(Event.UNREADABLE))) <= len(said) + 1


def test_a_file_that_is_only_busy_is_no_warning() -> None:
    """F9: EBUSY, EIO: somebody writes it, or its disk is away."""
    bench = Bench()
    bench.drop("1.dcm", made(1).content)
    bench.inbox.trouble["1.dcm"] = FileBusyError("busy")
    bench.after(600, steps=60)
    assert list(bench.recorder.of(Event.UNREADABLE)) == []


def test_names_that_are_not_taken_are_said_however_short_the_run() -> None:
    """F93: a drain of a second ends before the next beat, and its log must not be silent about them."""
    bench = Bench()
    bench.after(1)
    bench.scanner.passed = Passed(counts={"no_pattern": 1}, include=("*.dcm",))
    assert list(bench.recorder.of(Event.IGNORED)) == []
    bench.daemon.stop()
    assert [line.fields["files"] for line in bench.recorder.of(Event.IGNORED)] == [1]


def test_the_brake_stops_sending_and_a_person_releases_it() -> None:
    """I3: when the service refuses everything it is more likely us; at most so many files go to failed/."""
    bench = Bench(in_a_row=5)
    for n in range(1, 41):
        bench.origin.rejects[made(n).ids[2]] = 43264
        bench.drop(made(n).name, made(n).content)
    bench.after(60, steps=20)
    assert len(bench.filer.failed) == 5
    why = (
        "the service refused 5 files in a row (at most 10 of one study count), "
        f"the last as rejected with FailureReason 43264 ({meaning(43264)})"
    )
    assert (bench.orders.braked(), bench.recorder.snapshots[-1].braked) == (why, True)
    stores = len(bench.origin.stores)
    bench.after(65, steps=20)
    assert len(bench.origin.stores) == stores
    bench.origin.rejects.clear()
    bench.orders.release()
    bench.after(5, steps=5)
    assert len(bench.filer.done) == 35
    said = [e for e in bench.recorder.events if e in (Event.BRAKED, Event.RELEASED)]
    assert said == [Event.BRAKED, Event.BRAKED, Event.RELEASED]  # once a minute, whatever stands between
    for line in bench.recorder.of(Event.BRAKED):
        assert line.fields["problem"] == why
        assert all(command in str(line.fields["hint"]) for command in ("failed list", "failed show", "ingestd resume"))
    for line in (*list(bench.recorder.of(Event.BRAKED))[1:], *bench.recorder.of(Event.RELEASED)):
        assert int(str(line.fields["files"])) >= 35
        assert float(str(line.fields["held_seconds"])) >= 60


def test_one_refused_series_stops_nobody_elses_files() -> None:
    """F85: sixty of one study are its own trouble; the others go out after them."""
    bench = Bench(in_a_row=50)
    for n in range(1, 61):
        bench.origin.rejects[made(n).ids[2]] = 43264
        bench.drop(made(n).name, made(n).content)
    bench.after(30, steps=30)
    for n in range(1, 31):
        bench.drop(made(n, study=2).name, made(n, study=2).content)
    bench.after(30, steps=30)
    assert (len(bench.filer.failed), len(bench.filer.done)) == (60, 30)
    assert (bench.orders.braked(), bench.recorder.events.count(Event.BRAKED)) == (None, 0)


def test_conflicts_put_the_brake_on_as_refusals_do() -> None:
    """F85: a service that shows other bytes for everything is more likely the wrong one than all files are."""
    bench = Bench(in_a_row=5, policy=DuplicatePolicy.COMPARE)
    for study in range(1, 21):
        one = made(1, study=study)
        bench.drop(one.name, one.content)
    bench.tick(20)
    bench.clock.advance(5)
    for study in range(1, 21):
        one = made(1, study=study)
        bench.drop(f"again-{one.name}", one.content.replace(b"Anony^Mous", b"Other^Name"))
    bench.after(60, steps=60)
    assert bench.orders.braked() == (
        "the service refused 5 files in a row (at most 10 of one study count), the last as conflict"
    )
    assert {v.quarantine.reason for v in bench.filer.verdicts.values()} == {Reason.CONFLICT}
    assert 5 <= len(bench.filer.failed) < 5 + 2 * 25  # what was asked for before the brake came on
    assert (len(bench.filer.done), bench.daemon.left) == (20, 20 - len(bench.filer.failed))


def test_a_401_that_one_upload_draws_makes_that_one_wait_and_nobody_else() -> None:
    """F86, I8: the control passes with the same token; sending is not paused or slowed, and one line a minute says why."""
    bench = Bench()
    large = [made(n, study=9) for n in (1, 2)]
    uids = {one.ids[2] for one in large}

    def gateway(instances: Sequence[Instance]) -> Answer:
        return Answer(status=401) if uids & {i.sop_instance_uid for i in instances} else bench.origin.take(instances)

    bench.origin.script(*[gateway] * 500)
    for one in large:
        bench.drop(one.name, one.content)
    bench.tick()
    assert {d.wait for d in bench.journal.deferrals.values()} == {Wait.APART}
    for n in range(1, 61):
        one = made(n)
        bench.drop(one.name, one.content)
        bench.after(60, steps=6)
    assert len(bench.filer.done) == 60
    assert (bench.filer.failed, bench.daemon.left) == ({}, 2)
    drawn = sum(bool(uids & {i.sop_instance_uid for i in sent}) for sent in bench.origin.stores)
    assert 4 <= drawn <= 16  # an hour of growing minutes
    assert bench.recorder.events.count(Event.HELD) == 0
    assert {s.concurrency_limit for s in bench.recorder.snapshots} == {2}
    lines = list(bench.recorder.of(Event.SET_APART))
    assert (lines[0].fields["status"], lines[0].fields["files"]) == ("401", 2)
    assert "uploads with a token" in str(lines[0].fields["hint"])
    assert len(lines) <= drawn
    uids.clear()
    bench.after(900, steps=90)
    assert (len(bench.filer.done), bench.daemon.left) == (62, 0)


def test_many_that_wait_apart_are_a_line_a_minute() -> None:
    """F86, I8: with how many it stands for."""
    bench = Bench(concurrency=1)
    bench.origin.script(*[Answer(status=401)] * 30)
    for study in range(1, 31):
        bench.drop(made(1, study=study).name, made(1, study=study).content)
        bench.after(1)
    assert [line.fields.get("files") for line in bench.recorder.of(Event.SET_APART)] == [None]
    bench.origin.script(Answer(status=401))
    bench.after(40)
    bench.drop(made(2).name, made(2).content)
    bench.after(1)
    assert [line.fields.get("files") for line in bench.recorder.of(Event.SET_APART)] == [None, 30]


def test_a_401_that_the_control_draws_too_pauses_sending() -> None:
    """F63: the service does not know us; no file waits in the journal for it."""
    bench = Bench()
    bench.origin.script(*[Answer(status=401)] * 9)
    bench.origin.script_control(*[Answer(status=401)] * 9)
    for study in (1, 2, 3):
        bench.drop(made(1, study=study).name, made(1, study=study).content)
    bench.after(10, steps=10)
    assert (bench.journal.deferrals, bench.filer.done) == ({}, {})
    assert [line.fields["cause"] for line in bench.recorder.of(Event.HELD)] == ["identity"]
    assert bench.recorder.events.count(Event.SET_APART) == 0


def test_a_gateway_that_refuses_one_file_does_not_stop_the_rest() -> None:
    """F61: 503 for every request with that file, while the control passes: three times, then it is isolated."""
    bench = Bench(attempts=3)
    bad = made(3)

    def refuse(instances: Sequence[Instance]) -> Answer:
        if any(i.sop_instance_uid == bad.ids[2] for i in instances):
            return Answer(status=503)
        return bench.origin.take(instances)

    bench.origin.script(*[refuse] * 500)
    for n in range(1, 9):
        bench.drop(made(n).name, made(n).content)
    bench.after(300, steps=300)
    assert len(bench.filer.done) == 7
    for n in range(20, 40):
        bench.drop(made(n).name, made(n, study=2).content)
        bench.after(1800, steps=20)
    assert bench.filer.verdicts[bad.name].quarantine.reason is Reason.POISON
    assert len(bench.filer.done) == 27


def test_concurrency_halves_in_trouble_and_grows_while_all_is_well() -> None:
    """The gauge says it."""
    bench = Bench(concurrency=8)
    bench.origin.script(Answer(status=503), Answer(status=503))
    bench.drop(made(1).name, made(1).content)
    bench.after(30, steps=60)
    assert bench.recorder.snapshots[-1].concurrency_limit < 8
    for n in range(2, 60):
        bench.drop(made(n).name, made(n, study=n).content)
        bench.after(2, steps=2)
    assert bench.recorder.snapshots[-1].concurrency_limit == 8


def test_a_service_that_answers_the_control_otherwise_is_learnt() -> None:
    """A service whose answer to an empty POST is 400 when it is well: what it stored last has shown it."""
    bench = Bench()
    bench.origin.script_control(Answer(status=400, comment="no part"))
    bench.drop(made(1).name, made(1).content)
    bench.tick()
    bench.origin.script(Answer(status=503))
    bench.origin.script_control(Answer(status=400))
    bench.drop(made(2).name, made(2).content)
    bench.after(20, steps=20)
    assert len(bench.filer.done) == 2


@pytest.mark.parametrize(("policy", "reads"), [(DuplicatePolicy.ACCEPT, 0), (DuplicatePolicy.COMPARE, 1)])
def test_duplicates_by_policy(policy: DuplicatePolicy, reads: int) -> None:
    """I2: the service's word alone, or its bytes."""
    bench = Bench(policy=policy)
    one = made(1)
    bench.drop("first.dcm", one.content)
    bench.tick()
    bench.drop("again.dcm", one.content)
    bench.tick(20)
    assert bench.recorder.count(Outcome.ALREADY_STORED) == 1
    assert len(bench.origin.fetches) == reads
    bench.drop("changed.dcm", one.content.replace(b"Anony^Mous", b"Other^Name"))
    bench.tick(20)
    assert ("changed.dcm" in bench.filer.failed) is (policy is not DuplicatePolicy.ACCEPT)
    assert bench.journal.receipts[-1].proof is (Proof.WORD if policy is DuplicatePolicy.ACCEPT else Proof.FETCHED)


@pytest.mark.parametrize("everyone", [True, False])
def test_a_conflict_is_replaced_where_that_is_wanted(everyone: bool) -> None:
    """duplicates.conflict = replace, or `failed retry --replace` for this one file."""
    bench = Bench(replace_conflicts=everyone)
    one = made(1)
    other = one.content.replace(b"Anony^Mous", b"Other^Name")
    bench.drop("first.dcm", one.content)
    bench.tick()
    bench.drop("changed.dcm", other)
    if not everyone:
        bench.orders.order("changed.dcm", bench.inbox.files["changed.dcm"].stamp, [Order.REPLACE])
    bench.tick(40)
    assert bench.filer.failed == {}
    assert other in bench.filer.done.values()
    assert bench.journal.receipts[-1].outcome is Outcome.STORED


def test_a_service_that_says_stored_and_keeps_the_old_bytes_is_caught() -> None:
    """I2, F81: Orthanc answers 200 for a changed file under the same UIDs and keeps what it had."""
    bench = Bench(profile=GENERIC)
    one = made(1)
    bench.drop("first.dcm", one.content)
    bench.tick()
    named = Answer(
        status=200,
        response=StoreResponse(referenced=(Referenced(sop_instance_uid=one.ids[2]),), failed=()),
        digests=("f" * 64,),
    )
    bench.origin.script(named)
    bench.drop("changed.dcm", one.content.replace(b"Anony^Mous", b"Other^Name"))
    bench.tick(20)
    assert bench.filer.verdicts["changed.dcm"].quarantine.reason is Reason.CONFLICT


def test_a_web_server_that_says_200_to_everything_fails_no_file() -> None:
    """I3, F50, F62: a login page, a captive portal, the wrong host: it answers the control with a page too."""
    bench = Bench()
    page = Answer(status=200, comment="<html>please log in</html>")
    bench.origin.script(*[page] * 500)
    bench.origin.script_control(*[page] * 500)
    for n in range(1, 31):
        bench.drop(made(n).name, made(n).content)
    bench.after(600, steps=300)
    assert bench.filer.failed == {}
    assert len(bench.origin.stores) < 5


def test_nothing_is_sent_while_the_journal_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """F31, F39: no re-send loop, and `drain` does not call it done."""
    bench = Bench()
    for n in range(1, 5):
        bench.origin.rejects[made(n).ids[2]] = 272
        bench.drop(made(n).name, made(n).content)
    monkeypatch.setattr(bench.journal, "commit", _refuse)
    bench.after(120, steps=120)
    assert len(bench.origin.stores) == 1
    assert not bench.daemon.empty()
    assert bench.daemon.left >= 4


def test_a_full_folder_is_one_line_and_not_one_a_file() -> None:
    """I8."""
    bench = Bench()
    bench.filer.problem = FilingError("done/ is full")
    for n in range(1, 51):
        bench.drop(made(n).name, made(n).content)
    bench.tick(30)
    assert len(list(bench.recorder.of(Event.UNMOVABLE))) == 1


def test_sigterm_does_not_wait_for_a_probe() -> None:
    """F64, F66: the control may hang as long as it likes."""
    bench = Bench(deadline=1e9)
    bench.origin.script(Answer(loss=Loss.NOT_SENT))
    bench.drop(made(1).name, made(1).content)
    bench.tick()
    bench.executor.at_once = False
    bench.after(5, steps=5)
    assert bench.daemon.in_flight == 1
    bench.daemon.signal()
    bench.daemon.run()
    bench.daemon.stop()
    assert list(bench.inbox.files) == [made(1).name]


def test_trouble_on_our_side_of_the_connection_is_said_once() -> None:
    """F64: a client certificate that was renewed badly: the old one is used, and the log says so."""
    bench = Bench()
    bench.origin.problem = "service.client_cert: the key does not fit"
    bench.after(10, steps=10)
    bench.origin.problem = None
    bench.after(10, steps=10)
    said = [e for e in bench.recorder.events if e in (Event.CONNECTION_TROUBLE, Event.CONNECTION_MENDED)]
    assert said == [Event.CONNECTION_TROUBLE, Event.CONNECTION_MENDED]


def test_a_service_that_can_not_replace_leaves_a_conflict_and_not_a_poison() -> None:
    """I3: neither PUT nor DELETE: the operator is told so."""
    bench = Bench(replace_conflicts=True)
    one = made(1)
    bench.drop("first.dcm", one.content)
    bench.tick()
    bench.origin.script_replace(*[Answer(status=405, comment="neither")] * 9)
    bench.drop("changed.dcm", one.content.replace(b"Anony^Mous", b"Other^Name"))
    bench.after(120, steps=20)
    assert bench.filer.verdicts["changed.dcm"].quarantine.reason is Reason.CONFLICT
    assert len(bench.origin.replacements) == 1


def test_a_replacement_whose_check_meets_an_outage_is_asked_for_again_and_not_sent_again() -> None:
    """I2: the new bytes are there; sent once more they would be a duplicate of an older receipt, and a conflict."""
    bench = Bench(replace_conflicts=True)
    one = made(1)
    other = one.content.replace(b"Anony^Mous", b"Other^Name")
    bench.drop("first.dcm", one.content)
    bench.tick()
    bench.origin.script_fetched(Fetched(status=None, loss=Loss.NOT_SENT))
    bench.drop("changed.dcm", other)
    bench.after(30, steps=30)
    assert bench.filer.failed == {}
    assert other in bench.filer.done.values()
    assert (len(bench.origin.replacements), len(bench.origin.stores)) == (1, 2)


def test_a_probe_that_dies_is_tried_again() -> None:
    """F46: no memory for the control: the next probe comes in its time."""
    bench = Bench()
    bench.origin.script(Answer(loss=Loss.NOT_SENT))
    bench.drop(made(1).name, made(1).content)
    bench.tick()
    control = bench.origin.control
    calls: list[int] = []

    def dies() -> Answer:
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError
        return control()

    bench.origin.control = dies  # type: ignore[method-assign]
    bench.after(60, steps=60)
    assert len(bench.filer.done) == 1


@pytest.mark.parametrize("answer", [Answer(status=503), Answer(loss=Loss.NOT_SENT), Answer(status=401)])
def test_an_outage_during_a_replacement_is_no_verdict(answer: Answer) -> None:
    """I3: it is replaced when the service is back."""
    bench = Bench(replace_conflicts=True)
    one = made(1)
    other = one.content.replace(b"Anony^Mous", b"Other^Name")
    bench.drop("first.dcm", one.content)
    bench.tick()
    bench.origin.script_replace(answer)
    bench.drop("changed.dcm", other)
    bench.after(150, steps=150)  # 401 while the control passes: that one waits minutes
    assert bench.filer.failed == {}
    assert other in bench.filer.done.values()


def test_a_service_that_answers_the_control_otherwise_after_an_upgrade_is_still_well() -> None:
    """I3: 204 was learnt, 200 is as good."""
    bench = Bench()
    bench.drop(made(1).name, made(1).content)
    bench.tick()
    bench.origin.script(Answer(status=503))
    bench.origin.script_control(*[Answer(status=200)] * 9)
    bench.drop(made(2).name, made(2).content)
    bench.after(60, steps=60)
    assert len(bench.filer.done) == 2


def test_a_start_in_an_outage_of_a_service_with_a_strange_control() -> None:
    """I3: nothing was stored yet, so nobody knows how it answers the control; a file tells, and waits grow meanwhile."""
    bench = Bench()
    bench.origin.script(Answer(status=503))
    bench.origin.script_control(*[Answer(status=400, comment="no part")] * 99)
    bench.drop(made(1).name, made(1).content)
    bench.after(60, steps=60)
    assert len(bench.filer.done) == 1


def test_what_is_asked_again_has_a_digest_in_its_receipt() -> None:
    """I2, F87: a receipt of `fetched` without one proves nothing, and what was to be removed would be moved."""
    bench = Bench(for_removal=True)
    one = made(1, size=100_000)  # no digest comes with the look at a file as large as this
    bench.drop("first.dcm", one.content)
    bench.tick()
    first = bench.journal.receipts[-1]
    bench.origin.script_fetched(Fetched(status=503))
    bench.drop("again.dcm", one.content)
    bench.tick()
    assert bench.journal.deferrals["again.dcm"].asked is Asked.HELD
    bench.after(10, steps=10)
    again = bench.journal.receipts[-1]
    assert (again.path, again.proof, again.sha256) == ("again.dcm", Proof.FETCHED, first.sha256)
    assert list(bench.filer.proved.values()) == [True, True]


@pytest.mark.parametrize("unmovable", [False, True])
@pytest.mark.parametrize("removes", [False, True])
def test_a_digest_goes_with_a_move_whatever_the_proof(unmovable: bool, removes: bool) -> None:
    """F92, I4: where edits leave no trace it is compared before the move. To remove it, what it was made of must be proved."""
    bench = Bench(profile=GENERIC, for_removal=removes)
    bench.origin.script_fetched(*[Fetched(status=403)] * removes)
    bench.origin.searchable = not removes
    one = made(1)
    bench.filer.problem = FilingError("the folder takes nothing") if unmovable else None
    bench.drop(one.name, one.content)
    bench.after(5, steps=5)
    bench.filer.problem = None
    bench.after(60, steps=10)
    (receipt,) = bench.journal.receipts
    assert receipt.proof is (Proof.WORD if removes else Proof.ASKED)
    assert list(bench.filer.proved.values()) == [not removes]


def test_a_refused_read_is_an_alarm() -> None:
    """A role that may write and not read: duplicates wait, and the log says why, once a minute."""
    bench = Bench()
    one = made(1)
    bench.drop("first.dcm", one.content)
    bench.tick()
    bench.origin.script_held(*[Held(status=403)] * 50)
    bench.origin.script_fetched(*[Fetched(status=403)] * 50)
    bench.drop("again.dcm", one.content)
    bench.after(30, steps=30)
    assert len(list(bench.recorder.of(Event.UNANSWERED))) == 1


@pytest.mark.parametrize("status", [503, 302, 401])
def test_reads_that_are_held_do_not_stop_what_is_to_be_sent(status: int) -> None:
    """F61: the service stores and the control passes, but every metadata read draws a Hold answer."""
    bench = Bench(concurrency=1)
    one = made(1)
    bench.drop("first.dcm", one.content)
    bench.tick()
    bench.origin.script_held(*[Held(status=status)] * 500)
    bench.origin.script_fetched(*[Fetched(status=status)] * 500)
    bench.drop("again.dcm", one.content)
    bench.tick()
    for n in range(2, 12):
        bench.drop(made(n).name, made(n, study=n).content)
    bench.after(120, steps=120)
    assert len(bench.filer.done) == 11
    assert bench.filer.failed == {}


def test_a_rejected_replacement_says_that_the_old_instance_is_gone() -> None:
    """DELETE went through and POST did not: the operator must know."""
    bench = Bench(replace_conflicts=True)
    one = made(1)
    bench.drop("first.dcm", one.content)
    bench.tick()
    gone = StoreResponse(referenced=(), failed=(Failed(sop_instance_uid=one.ids[2], failure_reason=43264),))
    bench.origin.script_replace(Answer(status=409, response=gone, deleted=True, digests=("e" * 64,)))
    bench.drop("changed.dcm", one.content.replace(b"Anony^Mous", b"Other^Name"))
    bench.tick(40)
    assert "deleted" in bench.filer.verdicts["changed.dcm"].quarantine.text
