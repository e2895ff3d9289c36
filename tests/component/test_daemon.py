"""The daemon's tick, deterministic: the real stages over fakes of every port."""

from __future__ import annotations

import pytest
from fakes.daemon_bench import Bench
from fakes.studies import made

from ingestd.core.answer import Answer, Failed, Held, Loss, StoreResponse
from ingestd.core.errors import FileBusyError, FilingError, JournalError
from ingestd.core.events import Event
from ingestd.core.model import Wait
from ingestd.core.outcome import Outcome, Reason
from ingestd.core.record import Changes
from ingestd.daemon.loop import STUCK_SECONDS, End


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

    def refuse(changes: Changes) -> None:
        raise JournalError("the disk is full")

    monkeypatch.setattr(bench.journal, "commit", refuse)
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


def test_an_outage_while_verifying_holds() -> None:
    """I3: a metadata read that finds nobody says nothing about the file."""
    bench = Bench()
    one = made(1)
    bench.drop("first.dcm", one.content)
    bench.tick()
    bench.origin.script_held(Held(status=None, loss=Loss.NOT_SENT))
    bench.drop("again.dcm", one.content)
    bench.after(10, steps=10)
    assert bench.recorder.count(Outcome.ALREADY_STORED) == 1
    assert Event.HELD in bench.recorder.events


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


def test_a_job_that_dies_returns_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """F10, F46: contained, said, and sent again."""
    bench = Bench()

    def explode(instances: object) -> Answer:
        raise MemoryError

    bench.origin.script(explode)
    bench.drop(made(1).name, made(1).content)
    bench.after(10, steps=10)
    assert len(bench.filer.done) == 1
    assert [line.fields["problem"] for line in bench.recorder.of(Event.JOB_DIED)] == ["MemoryError"]


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


def test_sigterm_finishes_what_is_in_flight_and_files_it() -> None:
    """F66, I1: between "the service said stored" and the move nothing is cut; what was not sent stays."""
    bench = Bench(concurrency=1)
    bench.executor.at_once = False
    bench.drop(made(1).name, made(1).content)
    bench.tick()
    bench.drop(made(2).name, made(2, study=2).content)
    bench.daemon.signal()
    bench.executor.run()
    assert bench.daemon.run() is End.STOPPED
    left = bench.daemon.stop()
    assert len(bench.filer.done) == 1
    assert list(bench.inbox.files) == [made(2).name]
    assert bench.recorder.events[-1] is Event.STOPPED
    assert bench.notifier.words.count("stopping") == 1
    assert left == 0  # it was never admitted: the inbox keeps it


def test_a_second_signal_leaves_at_once() -> None:
    """F66: what is in flight is aborted and stays in the inbox."""
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
