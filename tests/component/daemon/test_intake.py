"""What waits, and when it is looked at again: the real stages over fakes of every port, by the clock of the test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes.daemon_bench import Bench
from fakes.spool_fakes import part10
from fakes.studies import made

from ingestd.core.answers.reasons import Reason
from ingestd.core.events import Event
from ingestd.core.model import Close, Evidence, Lease, Room, Stamp, Wait
from ingestd.spool.memory.orders import Order

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


@pytest.mark.parametrize("how", ["truncated", "open", "linked"])
def test_a_file_that_waits_is_looked_at_and_not_walked_until_it_changes_or_its_time_is_up(how: str) -> None:
    """I8, F32: a bomb costs its half second twice and not with each of sixty looks; ten thousand half copies cost a look each."""
    bench = Bench(timeout=900)
    content = made(1).content if how != "truncated" else made(1).content[:2000]
    bench.inbox.put("a.dcm", content, links=2 if how == "linked" else 1, open_elsewhere=how == "open")
    bench.scanner.offer("a.dcm")
    bench.tick()
    for _ in range(59):
        bench.after(15)
        bench.scanner.hint("a.dcm")  # an event tells of nothing new
        bench.tick()
    assert bench.inbox.examined == ["a.dcm"]
    assert bench.filer.done | bench.filer.failed == {}
    bench.after(30, steps=3)
    assert bench.inbox.examined == ["a.dcm"] * 2
    assert list((bench.filer.failed if how == "truncated" else bench.filer.done).values()) == [content]


@pytest.mark.parametrize("how", ["written", "closed", "unlinked"])
def test_a_file_that_waits_is_walked_as_soon_as_a_look_shows_why(how: str) -> None:
    """F14 to F18, F4: its stamp is another, nobody has it open any more, its other name is gone."""
    bench = Bench()
    one = made(1).content
    first = one[:2000] if how == "written" else one
    bench.inbox.put("a.dcm", first, open_elsewhere=how == "closed", links=1 + (how == "unlinked"))
    bench.scanner.offer("a.dcm")
    bench.after(30, steps=2)
    assert bench.filer.done == {}
    if how == "written":
        bench.inbox.write("a.dcm", one)
    else:
        bench.inbox.set("a.dcm", lease=Lease.GRANTED, links=1)
    bench.after(16)
    assert list(bench.filer.done.values()) == [one]


def test_half_a_file_that_was_open_is_walked_when_it_is_closed_though_its_stamp_is_the_same() -> None:
    """F16: what is written through a mapping moves no time stamp while the page is dirty."""
    bench = Bench()
    one = made(1).content
    bench.inbox.put("a.dcm", one[:2000] + bytes(len(one) - 2000), open_elsewhere=True)
    bench.scanner.offer("a.dcm")
    bench.after(15)
    bench.inbox.set("a.dcm", content=one, lease=Lease.GRANTED)
    bench.after(16)
    assert list(bench.filer.done.values()) == [one]


def test_a_hundred_thousand_files_that_wait_are_a_few_lines() -> None:
    """I8: a line each for the first of a minute; the next minute's first line counts the others."""
    bench = Bench(window=1000)
    for number in range(500):
        bench.drop(f"{number}.dcm", b"half")
    bench.tick(30)
    lines = list(bench.recorder.of(Event.WAITING))
    assert (len(lines), [line.fields.get("files") for line in lines]) == (20, [None] * 20)
    bench.clock.advance(61)
    bench.drop("last.dcm", b"half")
    bench.tick()
    assert [line.fields.get("files") for line in bench.recorder.of(Event.WAITING)][20:] == [481]


def test_a_file_that_is_appended_to_again_and_again_is_one_line() -> None:
    """I8, F18: each append is another state of it, and no news."""
    bench = Bench()
    one = made(1).content
    for at in range(100, 3000, 100):
        if at == 100:
            bench.inbox.put("a.dcm", one[:at])
        else:
            bench.inbox.write("a.dcm", one[:at])
        bench.scanner.hint("a.dcm")
        bench.tick()
        bench.clock.advance(10)
    assert len(list(bench.recorder.of(Event.WAITING))) == 1


def test_a_file_that_somebody_touches_all_the_time_is_sent_once_until_it_rests() -> None:
    """I8, F19: an indexer or a backup sets its times between each store and its move; that is no reason for a POST each time."""
    bench = Bench()
    bench.drop("a.dcm", made(1).content)
    bench.executor.at_once = False
    for _ in range(40):
        bench.tick()
        bench.inbox.write("a.dcm", made(1).content)
        bench.executor.run()
        bench.after(0.5)
    assert len(bench.origin.stores) == 1
    bench.executor.at_once = True
    bench.after(10, steps=10)
    assert list(bench.filer.done.values()) == [made(1).content]
    assert len(bench.origin.stores) == 2


@pytest.mark.parametrize("grain_ns", [4_000_000, 1_000_000_000, 2_000_000_000])
def test_a_second_version_with_the_stamp_of_the_first_is_what_is_sent(grain_ns: int) -> None:
    """I1, I4, F19: closed, opened again and written within one tick of the file system's clock; the stamp can't tell."""
    bench = Bench()
    first, second = made(1).content, made(2).content
    stamp = bench.inbox.put("a.dcm", first)
    now = int(bench.clock.wall() * 1e9)
    same = replace(stamp, ctime_ns=now - now % grain_ns + (grain_ns < 1_000_000_000))
    bench.inbox.files["a.dcm"] = replace(bench.inbox.files["a.dcm"], stamp=same)
    bench.scanner.offer("a.dcm")
    bench.tick()
    bench.inbox.files["a.dcm"] = replace(bench.inbox.files["a.dcm"], content=second)
    bench.after(3, steps=30)
    assert list(bench.filer.done.values()) == [second]
    assert [i.ids.sop_instance_uid for batch in bench.origin.stores for i in batch] == [made(2).ids[2]]


def test_files_that_change_with_each_look_leave_the_window_to_others() -> None:
    """I1, I8: an indexer sets times in files on whose leases nobody can rely, more of them than the window holds."""
    bench = Bench(window=16)
    restless = [f"{number}.dcm" for number in range(40)]
    for number, path in enumerate(restless):
        bench.drop(path, made(number).content, leased=False)
    bench.drop("late.dcm", made(99).content)
    for _ in range(30):
        for number, path in enumerate(restless):
            bench.inbox.write(path, made(number).content)
        bench.clock.advance(2.5)  # one scan is still under way
        bench.tick()
    assert list(bench.filer.done.values()) == [made(99).content]
    bench.after(120, steps=60)
    assert len(bench.filer.done) == 41


def test_files_whose_stamps_are_young_are_batched_with_those_that_come() -> None:
    """I8: a study that arrives file by file is not a request a file."""
    bench = Bench()
    for number in range(20):
        stamp = bench.inbox.put(f"{number}.dcm", made(number).content)
        young = replace(stamp, ctime_ns=int(bench.clock.wall() * 1e9) + 1 - 5_000_000)
        bench.inbox.files[f"{number}.dcm"] = replace(bench.inbox.files[f"{number}.dcm"], stamp=young)
        bench.scanner.offer(f"{number}.dcm")
        bench.clock.advance(0.01)
        bench.tick(3)
    bench.after(2, steps=20)
    assert len(bench.filer.done) == 20
    assert len(bench.origin.stores) <= 2


# --- who has finished writing, and how that is known -----------------------------------------------------------------------------


def foreign(bench: Bench, *, ctime: float = 0.0, **facts: Any) -> Stamp:
    """`a.dcm` is another user's, changed `ctime` seconds ago: no lease on it can be had."""
    stamp = bench.inbox.put("a.dcm", made(1).content, leased=False, **facts)
    stamp = replace(stamp, ctime_ns=int((bench.clock.wall() - ctime) * 1e9) + 1)
    bench.inbox.set("a.dcm", stamp=stamp)
    return stamp


def closed(bench: Bench, stamp: Stamp) -> None:
    """The watch hears of a close."""
    bench.scanner.hint("a.dcm", closed=Close(at=bench.clock.now(), stamp=stamp))


def sent_by(bench: Bench) -> list[Evidence]:
    return [instance.evidence for batch in bench.origin.stores for instance in batch]


def test_a_lease_sends_a_file_at_once() -> None:
    """F14, F18: and says by what it was known."""
    bench = Bench()
    bench.drop("a.dcm", made(1).content)
    bench.tick()
    assert sent_by(bench) == [Evidence.LEASE]


@pytest.mark.parametrize("when", ["found", "looked at", "waiting"])
def test_a_close_that_was_heard_of_sends_a_file_after_the_quiet_time(when: str) -> None:
    """F14, I6: wherever the file is when the event comes; the quiet time begins with the close."""
    bench = Bench()
    stamp = foreign(bench, ctime=50 if when == "waiting" else 59)
    if when != "found":
        bench.scanner.offer("a.dcm")
        bench.tick()  # it waits in the window, or for ten seconds in the journal
        assert (len(bench.window), len(bench.journal.deferrals)) == ((1, 0) if when == "looked at" else (0, 1))
        stamp = replace(stamp, mtime_ns=7, ctime_ns=int(bench.clock.wall() * 1e9) + 1)
        bench.inbox.set("a.dcm", stamp=stamp)
    closed(bench, stamp)
    bench.tick()
    bench.after(1.9, steps=19)
    assert bench.origin.stores == []
    bench.after(0.2, steps=2)
    assert sent_by(bench) == [Evidence.CLOSED]
    assert list(bench.filer.done.values()) == [made(1).content]


def test_what_moves_the_ctime_alone_begins_no_new_wait() -> None:
    """F20: rsync, install and unzip set owner, mode and times after they have closed the file."""
    bench = Bench()
    stamp = foreign(bench)
    closed(bench, stamp)
    bench.tick()
    bench.after(1.5)
    bench.inbox.set("a.dcm", stamp=replace(stamp, ctime_ns=stamp.ctime_ns + 1_500_000_000))
    bench.after(0.6, steps=6)
    assert sent_by(bench) == [Evidence.CLOSED]


@pytest.mark.parametrize("what", ["a doubt", "another event", "a write", "another file", "no watch"])
def test_a_close_is_worth_nothing_once_it_may_be_about_something_else(what: str) -> None:
    """F1, F18, F19: events were lost; a link or a move from outside came under the name; a second writer; polled."""
    bench = Bench()
    stamp = foreign(bench)
    if what == "no watch":
        bench.scanner.doubted_at = float("inf")
    closed(bench, stamp)
    bench.tick()
    bench.clock.advance(1)
    match what:
        case "a doubt":
            bench.scanner.doubted_at = bench.clock.now()
        case "another event":
            bench.scanner.hint("a.dcm")
        case "a write":
            bench.inbox.set("a.dcm", stamp=replace(stamp, mtime_ns=stamp.mtime_ns + 1, ctime_ns=stamp.ctime_ns + 1))
        case "another file":
            bench.inbox.set("a.dcm", stamp=replace(stamp, inode=4711))
    bench.tick()
    bench.after(55, steps=55)
    assert bench.origin.stores == []
    bench.after(8, steps=8)
    assert sent_by(bench) == [Evidence.QUIET]


def test_a_close_is_never_heard_of_on_a_share() -> None:
    """F8: its other clients write without an event here."""
    bench = Bench(slow=True)
    closed(bench, foreign(bench, on_network=True))
    bench.after(59, steps=59)
    assert bench.origin.stores == []
    bench.after(3, steps=3)
    assert sent_by(bench) == [Evidence.QUIET]


def test_a_backlog_that_nobody_has_touched_for_long_does_not_crawl() -> None:
    """F3, F20: an old ctime stands for the first look; the second needs no walk."""
    bench = Bench()
    foreign(bench, ctime=3600)
    bench.scanner.offer("a.dcm")
    bench.tick()
    assert bench.journal.deferrals == {}
    bench.after(2, steps=2)
    assert sent_by(bench) == [Evidence.QUIET]
    assert bench.inbox.examined == ["a.dcm"]


def test_a_longer_wait_is_the_journals() -> None:
    """DESIGN 2: the window holds only what can move now; two looks all the same, and the second comes when it is due."""
    bench = Bench()
    foreign(bench, ctime=20)
    bench.scanner.offer("a.dcm")
    bench.tick()
    assert (len(bench.window), bench.journal.deferrals["a.dcm"].wait) == (0, Wait.INCOMPLETE)
    bench.after(39, steps=39)
    assert bench.origin.stores == []
    bench.after(2, steps=4)
    assert sent_by(bench) == [Evidence.QUIET]


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_clock_that_stepped_tells_the_age_of_no_older_file(jump: float) -> None:
    """F13: a ctime of just now looks old after the clock was set; what it says is believed again from the step on."""
    bench = Bench()
    foreign(bench, ctime=1)
    bench.tick()
    bench.clock.jump(jump)
    bench.tick()
    bench.scanner.offer("a.dcm")
    bench.tick()
    bench.after(55, steps=55)
    assert bench.origin.stores == []
    bench.after(10, steps=10)
    assert sent_by(bench) == [Evidence.QUIET]


def test_what_was_never_written_fails_after_its_time_and_says_what_to_do() -> None:
    """F16: its writer claimed all of it and died; nothing of it is ever sent."""
    bench = Bench(timeout=900)
    bench.inbox.put("a.dcm", made(1).content, room=Room.UNFILLED)
    bench.scanner.offer("a.dcm")
    bench.after(890, steps=89)
    assert bench.filer.failed == {}
    bench.after(30, steps=6)
    verdict = bench.filer.verdicts["a.dcm"].quarantine
    assert verdict.reason is Reason.UNFILLED
    assert "intake.holes" in verdict.what_to_do
    assert (bench.origin.stores, bench.inbox.examined) == ([], ["a.dcm"] * 2)


def test_what_is_open_and_unfilled_is_never_touched_and_goes_when_it_is_filled() -> None:
    """F16: a client of a share that sleeps for a night."""
    bench = Bench(timeout=100)
    bench.inbox.put("a.dcm", made(1).content, open_elsewhere=True, room=Room.UNFILLED)
    bench.scanner.offer("a.dcm")
    bench.after(36_000, steps=600)
    assert (bench.filer.done, bench.filer.failed) == ({}, {})
    assert bench.inbox.examined == ["a.dcm"]
    bench.inbox.set("a.dcm", lease=Lease.GRANTED, room=Room.FILLED)
    bench.after(16, steps=2)
    assert sent_by(bench) == [Evidence.LEASE]


@pytest.mark.parametrize("how", ["open", "linked", "black"])
def test_what_is_sent_without_a_proof_is_said(how: str) -> None:
    """I7, F4, F16: after its longest wait, in the log, so that somebody can compare it with its source."""
    bench = Bench(timeout=900)
    black = {"room": Room.UNKNOWN, "ends_in_zeros": True} if how == "black" else {}
    bench.inbox.put("a.dcm", made(1).content, open_elsewhere=how == "open", links=1 + (how == "linked"), **black)
    bench.scanner.offer("a.dcm")
    bench.after(890, steps=89)
    assert bench.origin.stores == []
    assert bench.inbox.examined == ["a.dcm"]
    bench.after(30, steps=6)
    assert sent_by(bench) == [Evidence.OVERDUE]
    assert len(list(bench.recorder.of(Event.UNPROVED))) == 1


# --- failed retry --as-is ---------------------------------------------------------------------------------------------------------


def pixelless() -> bytes:
    content = part10()
    return content[: content.rindex(b"\xe0\x7f\x10\x00")]


@pytest.mark.parametrize(
    ("reason", "content", "links"),
    [
        (Reason.TRUNCATED, part10()[:-100], 1),
        (Reason.NO_PIXEL_DATA, pixelless(), 1),
        (Reason.HARD_LINK, part10(), 2),
    ],
)
def test_what_we_refuse_is_sent_on_a_persons_word(reason: Reason, content: bytes, links: int) -> None:
    """`failed retry --as-is`: the very bytes, once nobody writes them; without the order it is judged as ever."""
    for ordered in (False, True):
        bench = Bench(timeout=5.0)
        stamp = bench.inbox.put("a.dcm", content, links=links, owner_owns_folder=False)
        if ordered:
            bench.orders.order("a.dcm", stamp, [Order.AS_IS])
        bench.scanner.offer("a.dcm")
        bench.after(60.0, steps=60)
        filed, refused = list(bench.filer.done.values()), list(bench.filer.verdicts.values())
        assert (filed, [one.quarantine.reason for one in refused]) == (([content], []) if ordered else ([], [reason]))
        assert bench.orders.ordered_as_is == set()


def test_an_as_is_order_is_for_the_state_that_the_person_saw() -> None:
    """I4: a new version under that name is judged as any file."""
    bench = Bench(timeout=5.0)
    old = bench.inbox.put("a.dcm", part10()[:-100])
    bench.orders.order("a.dcm", old, [Order.AS_IS])
    bench.inbox.write("a.dcm", part10()[:-50])
    bench.scanner.offer("a.dcm")
    bench.after(60.0, steps=60)
    assert [one.quarantine.reason for one in bench.filer.verdicts.values()] == [Reason.TRUNCATED]
    assert bench.origin.stores == []


def test_a_file_without_uids_is_judged_whatever_was_ordered() -> None:
    """Requests and receipts name an instance by its UIDs."""
    bench = Bench(timeout=5.0)
    bench.orders.order("a.dcm", bench.inbox.put("a.dcm", b"no DICOM" * 100), [Order.AS_IS])
    bench.scanner.offer("a.dcm")
    bench.after(60.0, steps=60)
    assert [one.quarantine.reason for one in bench.filer.verdicts.values()] == [Reason.NOT_DICOM]


def test_an_as_is_file_that_somebody_writes_waits_for_the_close() -> None:
    """F14: the order says nothing about who writes; after the close it goes."""
    bench = Bench(timeout=900.0)
    stamp = bench.inbox.put("a.dcm", part10()[:-100], open_elsewhere=True)
    bench.orders.order("a.dcm", stamp, [Order.AS_IS])
    bench.scanner.offer("a.dcm")
    bench.after(60.0, steps=60)
    assert bench.origin.stores == []
    bench.inbox.set("a.dcm", lease=Lease.GRANTED)
    bench.after(60.0, steps=60)
    assert list(bench.filer.done.values()) == [part10()[:-100]]


def test_the_services_verdict_about_an_as_is_file_stands() -> None:
    """I3: a person's word sends it; what becomes of it the service says, and the order is spent."""
    bench = Bench(timeout=5.0)
    bench.origin.rejects["1.2.3.4.5"] = 43264
    bench.orders.order("a.dcm", bench.inbox.put("a.dcm", part10()[:-100]), [Order.AS_IS])
    bench.scanner.offer("a.dcm")
    bench.after(60.0, steps=60)
    assert [one.quarantine.reason for one in bench.filer.verdicts.values()] == [Reason.REJECTED]
    assert bench.orders.ordered_as_is == set()
