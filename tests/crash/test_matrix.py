"""Each system call that changes something is the last one, before and after, and fails once; nothing is lost (I1, F37, F41).

By default a sample that has every kind of call in it, drawn by INGESTD_TEST_SEED (0); INGESTD_TEST_CRASH=full (`make crash`) runs
all of it and prints its figures. INGESTD_TEST_CRASH_JOBS: how many daemons at a time (one more than processors).
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash import matrix, order
from crash.matrix import Point, Shown
from crash.scenario import ACROSS, MAIN, SAME, THREADS, VARIANTS, Round, Service, Stand, Variant, emulator
from crash.strace import Call, Tampering, calls

FULL = os.environ.get("INGESTD_TEST_CRASH") == "full"
SEED = int(os.environ.get("INGESTD_TEST_SEED", "0"))
JOBS = int(os.environ.get("INGESTD_TEST_CRASH_JOBS", str((os.cpu_count() or 1) + 1)))
MISSED_SHARE = 0.05

pytestmark = [
    pytest.mark.real("strace"),
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.timeout(14_400 if FULL else 600),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An undisturbed run."""

    round: Round
    calls: list[Call]
    points: list[Point]


@dataclass(frozen=True, slots=True, kw_only=True)
class Laboratory:
    """A service that nobody traces, warm stands, a folder here and one on another file system."""

    service: Service
    stands: list[Stand]
    here: Path
    there: Path

    def record(self, variant: Variant) -> Recorded:
        a_round, traced, points = matrix.record(variant, self.service, self.stands[0], self.here, self.there)
        return Recorded(round=a_round, calls=traced, points=points)

    def aim(self, point: Point, how: str, stand: Stand) -> Shown:
        return matrix.aim(point, how, self.service, stand, self.here, self.there)


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory, real: Callable[..., None]) -> Iterator[Laboratory]:
    real("strace")
    work = tmp_path_factory.mktemp("crash")
    with ExitStack() as stack:
        there = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        assert there.stat().st_dev != work.stat().st_dev, "the temporary folder must not lie on /dev/shm"
        service = stack.enter_context(emulator(work / "service"))
        stack.callback(service.client.close)
        stands = [Stand(work / f"stand{number}") for number in range(JOBS)]
        for stand in stands:
            stack.callback(stand.close)
        (here := work / "here").mkdir()
        yield Laboratory(service=service, stands=stands, here=here, there=there)


@pytest.fixture(scope="module")
def recorded(laboratory: Laboratory) -> dict[str, Recorded]:
    return {variant.name: laboratory.record(variant) for variant in VARIANTS}


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_nothing_is_lost_wherever_it_is_killed_or_fails(
    laboratory: Laboratory, recorded: dict[str, Recorded], variant: Variant
) -> None:
    """I1, I2, I3; F37, F39, F40, F41, F45, F46: each file in one folder, what is in done/ stored, an error ends nobody."""
    points = recorded[variant.name].points
    others = recorded[SAME.name].points if variant is ACROSS else []
    chosen = matrix.every(points) if FULL else matrix.sample(points, random.Random(SEED), besides=others)
    began = time.monotonic()
    shown = matrix.run(chosen, laboratory.stands, laboratory.aim)
    missed = [one for one in shown if not one.hit]
    by_itself = Counter(one.how for one in shown if one.by_itself and one.how not in matrix.KILLS)
    print(
        f"\n{variant.name}: {len(points)} points of {len({point.kind for point in points})} kinds, {len(shown)} rounds in"
        f" {time.monotonic() - began:.0f} s, {len(missed)} missed their point; after an error it went on by itself:"
        f" {dict(by_itself)} of {dict(Counter(one.how for one in shown if one.how not in matrix.KILLS))}"
    )
    wrong = [f"{one}\n{one.output[-3000:]}" for one in shown if one.problems]
    assert not wrong, "\n".join(wrong)
    assert len(missed) <= MISSED_SHARE * len(shown), list(map(str, missed))


def test_the_scenario_has_every_kind_of_call_in_it(recorded: dict[str, Recorded]) -> None:
    """F37, F41: open for writing, write, sync, link, rename, unlink, send and commit, in each of the four folders."""
    assert {point.thread for one in recorded.values() for point in one.points} == set(THREADS)
    seen = {
        (call.call.name, place.partition("/")[0])
        for one in recorded.values()
        for call in one.points
        if call.call.writes and call.call.succeeded
        for place in call.where
    }
    for name in ("openat", "write", "fsync", "fchown", "fchmod", "utimensat"):
        assert {(name, "done"), (name, "failed")} <= seen
    assert {("renameat2", "inbox"), ("renameat2", "done"), ("linkat", "inbox"), ("linkat", "done")} <= seen
    assert {("unlinkat", "inbox"), ("unlinkat", "done"), ("unlinkat", "failed"), ("mkdirat", "done")} <= seen
    assert {("pwrite64", "state"), ("fdatasync", "state"), ("ftruncate", "state"), ("sendto", "service")} <= seen


@pytest.mark.parametrize("variant", [SAME, ACROSS], ids=lambda variant: variant.name)
def test_a_power_failure_finds_every_file(
    laboratory: Laboratory, recorded: dict[str, Recorded], variant: Variant
) -> None:
    """I1, F38: receipt before move, reason before failed/, and across file systems data and folders before the source goes.

    While the copier moves a file, the owner's thread may be writing the next transaction: no call tells that from a receipt that is
    not synced. Such a run says nothing and is made again; where the sync is missing, each run says so.
    """
    one = recorded[variant.name]
    for _ in range(3):
        found = order.broken(one.calls, one.round.folders, across=variant.across)
        if not (variant.across and found and all(line.endswith(order.UNSYNCED) for line in found)):
            break
        one = laboratory.record(variant)
    assert found == []


@pytest.mark.parametrize(
    ("skipped", "says"),
    [
        ("fsync done/.ingestd-*.tmp", "before its copy is durable"),
        ("fsync done/{date}", "before its copy is durable"),
        ("fsync done/.", "before its copy is durable"),
        ("fsync failed/.", "before its reason is durable"),
        ("fdatasync state/journal.sqlite-wal", "before the journal is synced"),
    ],
)
def test_a_sync_that_is_left_out_is_seen(recorded: dict[str, Recorded], skipped: str, says: str) -> None:
    """F38: the check of the order can fail."""
    one = recorded[ACROSS.name]
    left = [call for call in one.calls if f"{call.name} {'/'.join(matrix.places(one.round, call))}" != skipped]
    assert len(left) < len(one.calls)
    assert any(says in line for line in order.broken(left, one.round.folders, across=True))


@pytest.mark.parametrize(
    ("how", "code", "made"), [("before", -signal.SIGKILL, 2), ("after", -signal.SIGKILL, 3), ("ENOSPC", 1, 2)]
)
def test_strace_does_what_the_matrix_believes(laboratory: Laboratory, how: str, code: int, made: int) -> None:
    """F37: killed on the way in, the call was not carried out; on the way out it was; one that is made to fail does nothing."""
    names = [str(laboratory.here / f"{how}{number}") for number in range(4)]
    script = f"import os\nfor name in {names!r}:\n    os.mkdir(name)\n"
    end = laboratory.stands[0].run(
        ["-c", script], {}, traced=MAIN, tampering=Tampering(name="mkdir", count=3, how=how), program=True
    )
    assert (end.code, sum(map(os.path.isdir, names))) == (code, made)
    assert [call.count for call in end.calls if call.name == "mkdir" and call.tampered] == [3]


def test_lines_of_strace_are_read() -> None:
    """Paths relative to a folder's handle, calls that were interrupted by another thread's, sockets, names that are no ASCII."""
    trace = (
        '7 renameat2(3</in>, "a.dcm", 4</done/x>, "\\303\\244.dcm", RENAME_NOREPLACE <unfinished ...>\n'
        '8 sendto(5<TCP:[127.0.0.1:1->127.0.0.1:2]>, ""..., 9, 0, NULL, 0) = 9\n'
        "7 <... renameat2 resumed>) = -1 EIO (Input/output error) (INJECTED)\n"
        "7 utimensat(6</done/.t>, NULL, [], 0) = 0 (DELAYED)\n"
        '7 openat(AT_FDCWD</work>, "/state/lock", O_RDONLY) = 9</state/lock>\n'
    )
    found = calls(trace)
    assert [call.paths for call in found] == [
        ("/in/a.dcm", "/done/x/ä.dcm"),
        ("TCP:[127.0.0.1:1->127.0.0.1:2]",),
        ("/done/.t",),
        ("/state/lock",),
    ]
    assert [call.tampered for call in found] == [True, False, True, False]
    assert [call.writes for call in found] == [True, True, True, False]
    assert [call.thread for call in found] == [7, 8, 7, 7]
