"""What waits, and when it is looked at again: the real stages over fakes of every port, by the clock of the test."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.daemon_bench import Bench
from fakes.studies import made

from ingestd.core.model import Wait

YEAR = 365 * 86400.0


def waiting(bench: Bench, wait: Wait = Wait.INCOMPLETE) -> None:
    """`a.dcm` is half a copy, and the journal remembers it."""
    bench.drop("a.dcm", made(1).content[:2000])
    bench.tick()
    bench.journal.deferrals["a.dcm"] = replace(bench.journal.deferrals["a.dcm"], wait=wait)


def listed(bench: Bench, inode: int | None) -> None:
    """The scan comes upon `a.dcm`, and its folder lists this inode."""
    bench.scanner.inodes = {} if inode is None else {"a.dcm": inode}
    bench.scanner.request_scan()
    bench.tick()


@pytest.mark.parametrize("wait", [Wait.INCOMPLETE, Wait.SERVER_TROUBLE])
def test_another_file_under_the_name_of_one_that_waits_is_taken_at_once(wait: Wait) -> None:
    """F19: no event told of it; the folder lists another inode."""
    bench = Bench()
    waiting(bench, wait)
    stamp = bench.inbox.put("a.dcm", made(2).content)
    listed(bench, None)
    assert bench.filer.done == {}
    listed(bench, stamp.inode)
    assert list(bench.filer.done.values()) == [made(2).content]
    assert bench.journal.deferrals == {}


def test_a_file_that_waits_is_not_opened_for_being_listed() -> None:
    """I8: nor is one that could not even be opened, whose inode nobody knows."""
    bench = Bench()
    waiting(bench)
    looks = len(bench.inbox.examined)
    listed(bench, bench.journal.deferrals["a.dcm"].stamp.inode)
    assert len(bench.inbox.examined) == looks


def test_inodes_that_are_listed_otherwise_than_opened_are_believed_once() -> None:
    """I8: some network and overlay file systems list others; no hot loop over every file that waits."""
    bench = Bench()
    waiting(bench, Wait.SERVER_TROUBLE)
    looks, due = len(bench.inbox.examined), bench.journal.deferrals["a.dcm"].due_at
    for _ in range(5):
        listed(bench, 4711)
    assert len(bench.inbox.examined) == looks + 1
    assert bench.journal.deferrals["a.dcm"].due_at == due


@pytest.mark.parametrize("wait", [Wait.INCOMPLETE, Wait.SERVER_TROUBLE, Wait.CREATING])
def test_a_due_time_that_no_wait_can_have_set_is_now(wait: Wait) -> None:
    """F13: the journal was written by a clock that was a year ahead, and the machine has been restarted since."""
    bench = Bench()
    waiting(bench, wait)
    then = bench.journal.deferrals["a.dcm"]
    ahead = {"due_at": then.due_at + YEAR, "since": then.since + YEAR, "first_seen": then.first_seen + YEAR}
    bench.journal.deferrals["a.dcm"] = replace(then, **ahead)
    bench.inbox.write("a.dcm", made(1).content)
    bench.after(1)
    assert list(bench.filer.done.values()) == [made(1).content]
    assert 0 <= bench.recorder.outcomes[0].seconds < 60


def test_a_file_that_was_first_seen_in_the_future_is_judged_in_its_time() -> None:
    """F13, F17: or it would wait until the clock has caught up."""
    bench = Bench(timeout=100)
    waiting(bench)
    then = bench.journal.deferrals["a.dcm"]
    bench.journal.deferrals["a.dcm"] = replace(then, since=then.since + 800, first_seen=then.first_seen + 800)
    bench.after(150, steps=15)
    assert list(bench.filer.failed) == ["a.dcm"]


def test_a_clock_that_jumps_while_it_runs_is_not_noticed() -> None:
    """F13: waits go by the monotonic clock, forwards and back."""
    for jump in (YEAR, -YEAR):
        bench = Bench(timeout=100)
        waiting(bench)
        bench.clock.jump(jump)
        bench.after(80, steps=8)
        assert bench.filer.failed == {}
        bench.after(40, steps=4)
        assert list(bench.filer.failed) == ["a.dcm"]
