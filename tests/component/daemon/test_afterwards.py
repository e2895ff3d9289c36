"""After the move, in the daemon: what is looked at once more, what is said of it, and what the journal keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.daemon_bench import Bench
from fakes.origin_fake import ALREADY_THERE
from fakes.spool_fakes import part10
from fakes.values import LOCAL

from ingestd.core.answers.answer import Fetched
from ingestd.core.answers.outcome import DuplicatePolicy
from ingestd.core.errors import FilingError, JournalError
from ingestd.core.events import Event
from ingestd.core.model import Wait
from ingestd.core.record import Changes
from ingestd.core.second_look import Found
from ingestd.daemon.rate_limit import LINES

PLACE = "2026-01-02/a.dcm"
REJECTED = 43264


def filed(bench: Bench, name: str = "a.dcm", sop: str = "1.2.3.4.5") -> None:
    """Without a lease: settled by two looks."""
    bench.drop(name, part10(sop=sop), leased=False)
    bench.after(10.0, steps=10)


def test_what_a_lease_proved_is_not_looked_at_again() -> None:
    """F77: the usual file costs nothing more."""
    bench = Bench(timeout=900.0)
    bench.drop("a.dcm", part10())
    bench.after(2000.0, steps=100)
    assert len(bench.filer.done) == 1
    assert (bench.journal.to_look_at, bench.looker.given) == ({}, [])


def test_a_file_without_a_proof_is_looked_at_once_more_in_its_time() -> None:
    """DESIGN 2: `incomplete_timeout_seconds` after it was filed, once; remembered in the transaction of a tick."""
    bench = Bench(timeout=900.0)
    filed(bench)
    (look,) = bench.journal.to_look_at.values()
    assert (look.place, look.path, look.remove) == (PLACE, "a.dcm", False)
    bench.after(800.0, steps=80)
    assert bench.looker.given == []
    bench.after(200.0, steps=20)
    assert bench.looker.given == [look]
    assert bench.journal.to_look_at == {}
    bench.after(2000.0, steps=20)
    assert bench.looker.given == [look]
    assert bench.recorder.events.count(Event.WRITTEN_LATE) == 0


@pytest.mark.parametrize(("found", "word"), [(Found.CHANGED, "written after"), (Found.OPEN, "open for writing")])
def test_a_later_write_is_said_out_loud(found: Found, word: str) -> None:
    """DESIGN 2, F75: an ERROR with its name as log.paths says and what to do; /readyz counts it and stays green."""
    bench = Bench(timeout=900.0)
    filed(bench)
    bench.looker.finds["a.dcm"] = found
    bench.looker.late = 1
    bench.after(1000.0, steps=100)
    (line,) = list(bench.recorder.of(Event.WRITTEN_LATE))
    assert line.path == "a.dcm"
    assert word in str(line.fields["problem"])
    assert "failed list" in str(line.fields["hint"])
    assert bench.daemon.details() == ("done: 1 files were written after they were filed: see `ingestd failed list`",)
    assert bench.daemon.ready_problem() is None
    assert len(bench.journal.to_look_at) == (found is Found.OPEN)


def test_a_thousand_late_writes_are_no_thousand_lines() -> None:
    """I8: some lines, then a count."""
    bench = Bench(timeout=900.0)
    for n in range(60):
        bench.drop(f"{n}.dcm", part10(sop=f"1.2.3.4.{n}"), leased=False)
        bench.looker.finds[f"{n}.dcm"] = Found.CHANGED
    bench.after(10.0, steps=10)
    assert len(bench.journal.to_look_at) == 60
    bench.after(900.0)
    assert bench.recorder.events.count(Event.WRITTEN_LATE) == LINES
    assert bench.journal.to_look_at == {}


def test_unknown_is_looked_at_again() -> None:
    """Three values: what can't be looked at is neither the same nor another."""
    bench = Bench(timeout=900.0)
    filed(bench)
    bench.looker.finds["a.dcm"] = Found.UNKNOWN
    bench.after(3000.0, steps=100)
    assert len(bench.looker.given) == 3
    assert list(bench.journal.to_look_at) == [PLACE]
    del bench.looker.finds["a.dcm"]
    bench.after(1000.0, steps=100)
    assert bench.journal.to_look_at == {}


def test_nothing_is_handed_out_twice_and_nothing_while_the_journal_can_not_be_written() -> None:
    """F39: what was found and is not on the disk would be found, and said, again."""
    bench = Bench(timeout=900.0)
    filed(bench)
    bench.looker.held = True
    bench.after(1000.0, steps=100)
    assert len(bench.looker.given) == 1
    bench.looker.held = False
    bench.journal.problem = JournalError("its disk is full")
    bench.after(100.0, steps=100)
    assert len(bench.looker.given) == 1
    bench.journal.problem = None
    bench.after(100.0, steps=100)
    assert (len(bench.looker.given), bench.journal.to_look_at) == (1, {})


def test_a_crash_right_after_the_move_forgets_no_second_look() -> None:
    """I1: it is remembered in the transaction of the receipt, before the move; after it the place that the file really has."""
    bench = Bench(timeout=900.0)
    bench.filer.done[PLACE] = b"an older one"
    filed(bench)
    (receipts,) = [changes for changes in bench.journal.commits if changes.receipts]
    assert [look.place for look in receipts.second_looks] == [PLACE]
    assert list(bench.journal.to_look_at) == ["2026-01-02/a~1.dcm"]


def test_a_move_that_fails_leaves_no_second_look_behind() -> None:
    """F31: what lies at that place is another file; when it moves at last, it is looked at."""
    bench = Bench(timeout=900.0)
    bench.filer.problem = FilingError("no room")
    filed(bench)
    assert bench.journal.to_look_at == {}
    bench.filer.problem = None
    bench.after(100.0, steps=100)
    assert list(bench.journal.to_look_at) == [PLACE]


def test_what_was_found_is_on_the_disk_before_the_next_look_goes_out() -> None:
    """Ticks a second apart: the journal still shows what this one has found."""
    bench = Bench(timeout=900.0)
    filed(bench)
    bench.clock.advance(1000.0)
    for _ in range(10):
        bench.clock.advance(1.0)
        bench.daemon.tick()
    assert len(bench.looker.given) == 1


def test_second_looks_cost_no_transaction_of_their_own() -> None:
    """One transaction a tick: with the receipts of other files, and their ends together."""
    bench = Bench(timeout=900.0)
    for n in range(50):
        bench.drop(f"{n}.dcm", part10(sop=f"1.2.3.4.{n}"), leased=False)
    bench.after(10.0, steps=10)
    assert sum(bool(changes.second_looks) for changes in bench.journal.commits) == 1
    bench.after(900.0)
    assert [len(changes.looked) for changes in bench.journal.commits if changes.looked] == [50]


def test_with_delete_a_file_goes_after_its_second_look() -> None:
    """DESIGN 3a, removal: what is to be removed says so in the journal, so it outlives a restart; nothing is said of it."""
    bench = Bench(timeout=900.0, for_removal=True)
    filed(bench)
    assert [look.remove for look in bench.journal.to_look_at.values()] == [True]
    bench.looker.finds["a.dcm"] = Found.REMOVED
    bench.after(1000.0, steps=100)
    assert bench.journal.to_look_at == {}
    assert not {Event.KEPT, Event.WRITTEN_LATE} & set(bench.recorder.events)


@pytest.mark.parametrize("days", [-400.0, -1.1, 0.02, 400.0])
def test_a_look_that_a_clock_of_another_year_planned_is_planned_anew(days: float) -> None:
    """F13, F91: neither due at once, for nobody knows how long the file has rested, nor only in a year."""
    bench = Bench(timeout=900.0, for_removal=True)
    filed(bench)
    (look,) = bench.journal.to_look_at.values()
    bench.journal.commit(Changes(second_looks=(replace(look, due_at=bench.clock.now() + days * 86_400.0),)))
    now = bench.clock.now()
    bench.after(2.0, steps=4)
    (again,) = bench.journal.to_look_at.values()
    assert now + 900.0 <= again.due_at <= now + 905.0
    assert bench.looker.given == []
    bench.after(1000.0, steps=20)
    assert bench.looker.given == [again]


def test_with_delete_what_was_touched_must_rest_once_more() -> None:
    """DESIGN 3a, removal: its whole stamp must be the same for that long."""
    bench = Bench(timeout=900.0, for_removal=True)
    filed(bench)
    bench.looker.finds["a.dcm"] = Found.TOUCHED
    bench.after(1000.0, steps=100)
    (look,) = bench.journal.to_look_at.values()
    assert (look.remove, look.stamp.ctime_ns) == (True, 7)
    assert look.due_at > bench.clock.now()


def test_with_delete_what_stays_for_want_of_a_proof_is_said() -> None:
    """DESIGN 3a: nothing is removed on it, and the operator need not wonder why."""
    bench = Bench(timeout=900.0, for_removal=True)
    filed(bench)
    bench.looker.finds["a.dcm"] = Found.KEPT
    bench.after(1000.0, steps=100)
    assert [line.path for line in bench.recorder.of(Event.KEPT)] == ["a.dcm"]
    accepting = Bench(timeout=900.0, for_removal=True, policy=DuplicatePolicy.ACCEPT)
    accepting.origin.rejects["1.2.3.4.5"] = ALREADY_THERE
    accepting.origin.script_fetched(Fetched(status=403))
    filed(accepting)
    assert [line.path for line in accepting.recorder.of(Event.KEPT)] == ["a.dcm"]
    assert [look.remove for look in accepting.journal.to_look_at.values()] == [False]


def far(*, content: bytes | None = None, bench: Bench | None = None) -> Bench:
    """done/ and failed/ on another file system, and a file whose ctime tells nothing, dropped without a lease."""
    bench = bench or Bench(timeout=900.0, network_quiet=4.0)
    bench.filer.far = True
    bench.inbox.put("a.dcm", content or part10(), leased=False, ground=replace(LOCAL, ctimes=False))
    bench.scanner.offer("a.dcm")
    return bench


def test_what_somebody_may_still_write_is_not_copied_away_before_it_has_rested() -> None:
    """F75: across file systems a late write into a copied file would be nowhere; it is stored at once and sent once."""
    bench = far()
    bench.after(10.0, steps=10)
    assert (len(bench.origin.stores), bench.filer.done) == (1, {})
    (waits,) = bench.journal.deferrals.values()
    assert (waits.wait, waits.stored) == (Wait.RESTING, True)
    assert (bench.journal.to_look_at, bench.recorder.events.count(Event.RESTING)) == ({}, 1)
    bench.scanner.hint("a.dcm")
    bench.after(800.0, steps=80)
    assert bench.filer.done == {}
    bench.after(200.0, steps=20)
    assert list(bench.filer.done) == [PLACE]
    assert (len(bench.origin.stores), bench.journal.deferrals, list(bench.journal.to_look_at)) == (1, {}, [PLACE])


def test_what_is_written_while_it_rests_is_sent_anew() -> None:
    """I1: not a byte of it is lost."""
    bench = far()
    bench.after(100.0, steps=10)
    bench.inbox.write("a.dcm", part10(sop="1.2.9"))
    bench.after(850.0, steps=85)
    assert bench.filer.done == {}
    bench.after(200.0, steps=40)
    assert bench.filer.done == {}
    bench.after(800.0, steps=80)
    assert list(bench.filer.done.values()) == [part10(sop="1.2.9")]
    assert len(bench.origin.stores) == 2


def test_a_lease_or_a_long_rest_lets_a_file_cross_at_once() -> None:
    """The usual file costs nothing more, and a backlog that nobody has touched for long does not wait either."""
    bench = Bench(timeout=900.0)
    bench.filer.far = True
    bench.drop("leased.dcm", part10())
    bench.drop("old.dcm", part10(sop="1.2.9"), leased=False)
    bench.after(10.0, steps=10)
    assert len(bench.filer.done) == 2
    assert Event.RESTING not in bench.recorder.events


def test_a_verdict_waits_like_that_and_is_found_anew() -> None:
    """I1: what may still be written is in the inbox, and not in failed/ in part."""
    bench = Bench(timeout=900.0, network_quiet=4.0)
    bench.origin.rejects["1.2.3.4.5"] = REJECTED
    far(bench=bench)
    bench.after(100.0, steps=100)
    (waits,) = bench.journal.deferrals.values()
    assert (bench.filer.failed, waits.wait, waits.stored) == ({}, Wait.RESTING, False)
    bench.after(1000.0, steps=100)
    assert list(bench.filer.failed) == ["a.dcm"]
    assert len(bench.origin.stores) == 2
