"""Looks and moves on a share that takes its time: other threads do them, and the loop goes on; over fakes of every port."""

from __future__ import annotations

import pytest
from fakes.daemon_bench import Bench
from fakes.studies import made

from ingestd.core.errors import FileBusyError, FileGoneError
from ingestd.daemon.arriving import looking
from ingestd.daemon.arriving.looking import LOOKERS
from ingestd.threads.handover import NoThreadError


def share(*, network_quiet: float = 60.0) -> Bench:
    """A daemon whose inbox is on a share; what its lookers are given they keep until `bench.lookers.run()`."""
    bench = Bench(slow=True, network_quiet=network_quiet)
    bench.lookers.at_once = False
    return bench


def drop(bench: Bench, *numbers: int) -> None:
    for number in numbers:
        bench.inbox.put(made(number).name, made(number).content, on_network=True)
        bench.scanner.offer(made(number).name)


def looked(bench: Bench) -> None:
    """What is under way comes back, and the loop hears of it."""
    bench.lookers.run()
    bench.tick()


def test_a_look_that_does_not_come_back_stops_no_tick() -> None:
    """F9, F67: nothing is opened on the owner thread; the file is left, and an end by a signal does not wait for it."""
    bench = share()
    drop(bench, 1)
    bench.after(5)
    assert bench.inbox.examined == []
    assert (bench.daemon.in_flight, bench.daemon.left, bench.daemon.live_problem()) == (1, 1, None)
    began = bench.clock.monotonic()
    bench.daemon.signal()
    assert bench.daemon.stop() == 1
    assert bench.clock.monotonic() - began < 1


def test_what_was_seen_is_judged_when_it_comes_back() -> None:
    """I1, F20: two looks, then it is sent, and moved by another thread as well."""
    bench = share()
    bench.copier.at_once = False
    drop(bench, 1)
    bench.tick()
    looked(bench)
    assert bench.origin.stores == []
    bench.after(100)  # the second look is under way
    looked(bench)
    bench.after(5)
    assert (len(bench.origin.stores), bench.filer.done, bench.daemon.in_flight) == (1, {}, 1)
    bench.copier.run()
    bench.tick()
    assert list(bench.filer.done.values()) == [made(1).content]
    assert (bench.daemon.in_flight, bench.daemon.left) == (0, 0)


def test_a_file_under_a_look_is_not_given_to_a_second() -> None:
    """I6: however often its name is offered meanwhile."""
    bench = share()
    drop(bench, 1)
    for _ in range(3):
        bench.scanner.offer(made(1).name)
        bench.tick()
    assert len(bench.lookers.waiting) == 1


def test_only_so_many_wait_for_the_lookers() -> None:
    """F46: the newest is looked at first, so the others are not given away yet."""
    bench = share()
    drop(bench, *range(1, 30))
    bench.tick(3)
    assert len(bench.lookers.waiting) == bench.daemon.in_flight == 2 * LOOKERS
    looked(bench)
    assert len(bench.inbox.examined) == 2 * LOOKERS
    assert len(bench.lookers.waiting) == 2 * LOOKERS


@pytest.mark.parametrize("error", [FileBusyError("busy"), MemoryError(), NoThreadError("can't start new thread")])
def test_a_look_that_fails_is_tried_again(error: Exception) -> None:
    """I1, F46: by its own file alone."""
    bench = share()
    drop(bench, 1)
    bench.inbox.trouble[made(1).name] = error
    bench.tick()
    looked(bench)
    assert list(bench.journal.deferrals) == [made(1).name]
    bench.inbox.trouble.clear()
    bench.lookers.at_once = True
    bench.after(300, steps=3)
    assert list(bench.filer.done.values()) == [made(1).content]


def test_a_file_that_goes_while_it_is_looked_at_is_forgotten() -> None:
    """F19: somebody else took it."""
    bench = share()
    drop(bench, 1)
    bench.tick()
    bench.inbox.trouble[made(1).name] = FileGoneError("gone")
    looked(bench)
    assert (bench.daemon.left, bench.journal.deferrals) == (0, {})


@pytest.mark.parametrize("error", [KeyError("a bug"), RuntimeError("a bug"), RecursionError("a bug")])
def test_an_error_that_nobody_thought_of_is_not_swallowed(error: Exception) -> None:
    """I8: it ends the process as it does on a local disk."""
    bench = share()
    drop(bench, 1)
    bench.inbox.trouble[made(1).name] = error
    bench.tick()
    with pytest.raises(type(error)):
        looked(bench)


def test_while_the_lookers_are_busy_the_loop_sleeps() -> None:
    """I8: quiet files that are due and can't be looked at don't wake it."""
    bench = share(network_quiet=2.0)
    bench.lookers.at_once = True
    drop(bench, *range(1, 30))
    bench.tick()
    assert bench.intake.due_at() is not None
    bench.lookers.at_once = False
    bench.after(100)
    assert (bench.daemon.in_flight, bench.intake.due_at()) == (2 * LOOKERS, None)


def test_where_the_disk_turns_out_to_be_local_looks_are_made_on_the_spot() -> None:
    """A share was mounted over the folder and is gone: the newest look tells."""
    bench = share()
    bench.drop("a.dcm", made(1).content)
    bench.tick()
    looked(bench)
    bench.drop("b.dcm", made(2).content)
    bench.after(5)
    assert sorted(bench.filer.done.values()) == sorted(made(number).content for number in (1, 2))
    assert bench.lookers.waiting == []


def test_a_large_file_is_walked_by_another_thread_on_a_local_disk_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """F95, I8: it may have millions of headers, and the loop ticks on; a small one beside it is looked at on the spot."""
    small, large = made(1).content, made(2, size=100_000).content
    monkeypatch.setattr(looking, "AT_ONCE", len(small))
    bench = Bench()
    bench.lookers.at_once = False
    for number, content in ((1, small), (2, large)):
        bench.inbox.put(made(number).name, content)
        bench.scanner.offer(made(number).name)
    bench.after(5)
    assert bench.inbox.examined == [made(1).name]
    assert (bench.daemon.in_flight, bench.daemon.left, bench.daemon.live_problem()) == (1, 2, None)
    looked(bench)
    bench.after(5)
    assert bench.inbox.examined == [made(1).name, made(2).name]
    assert list(bench.filer.done.values()) == [small, large]
