"""A writer, a service, a clock, a disk and a killer against a plain model: nothing is ever lost (I1 to I5, F37, F42).

The model is two tables: what the writer left in the inbox, by digest, and what each whole file may come to. Whatever the
machine does, in whatever order, each file is on the disk exactly once, byte for byte; done/ holds only what the service
holds; failed/ only what deserves it. At the end all faults end, and everything must have come to its end.

INGESTD_TEST_MACHINE=2000 is the long run: so many examples of 50 steps.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.house import digest
from fakes.mortal import MortalHouse, names
from fakes.studies import made
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

EXAMPLES = int(os.environ.get("INGESTD_TEST_MACHINE", "100"))
SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # memory: the machine is about order, not about disks

NUMBERS = st.integers(1, 6)
SERVERS = st.sampled_from(["well", "well", "unreachable", "busy", "forbidden", "lost", "silent", "partly", "broken"])


@pytest.fixture(autouse=True)
def sigio_ignored() -> Iterator[None]:
    """The writer of this very process breaks the daemon's leases."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGIO, before)


class Ingest(RuleBasedStateMachine):
    """One house. `left` is the model: what the writer left, by digest."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="machine-", dir=SCRATCH))
        self.house = MortalHouse(self.root)
        self.left: Counter[str] = Counter()
        self.bodies: dict[str, str] = {}  # digest -> digest of what follows the preamble
        self.whole: dict[str, tuple[str, str, str]] = {}  # digest -> what instance it is
        self.begun: set[str] = set()  # what was written in place, and may have been judged half and finished later
        self.rejected: set[str] = set()  # SOP Instance UIDs that the service ever refused
        self.modes: set[str] = set()
        self.variants: dict[tuple[str, str, str], set[str]] = {}  # instance -> its different bytes
        self.open: dict[str, tuple[Any, bytes]] = {}  # name -> open file and what is still to come

    @initialize(deletes=st.booleans())
    def configure(self, *, deletes: bool) -> None:
        self.house.die()
        self.house.deletes = deletes
        self.house.boot()

    # The writer

    def _content(self, number: int, patient: int, *, size: int = 4096) -> bytes:
        one = made(number, study=1 + number % 2, size=size, patient_id=f"ID{patient}")
        self.whole[digest(one.content)] = one.ids
        self.bodies[digest(one.content)] = digest(one.content[128:])
        self.variants.setdefault(one.ids, set()).add(digest(one.content))
        return one.content

    def _name(self, number: int) -> str:
        """A name that is free in the inbox, and often was taken before."""
        taken = names(self.root / "inbox")
        candidates = (f"{'sub/' if n % 3 == 0 else ''}file{n}.dcm" for n in itertools.count(number))
        return next(name for name in candidates if name not in taken and name not in self.open)

    def _path(self, name: str) -> Path:
        path = self.root / "inbox" / name
        path.parent.mkdir(exist_ok=True)
        return path

    def _renamed_in(self, name: str, content: bytes) -> None:
        part = self._path(name).with_name(".tmp.part")
        part.write_bytes(content)
        os.rename(part, self._path(name))
        self.left[digest(content)] += 1
        note(f"wrote {name} {digest(content)[:8]}")

    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=4), patient=st.integers(1, 2), hinted=st.booleans())
    def drop(self, numbers: list[int], patient: int, *, hinted: bool) -> None:
        """Files are renamed in; perhaps the same instance as before, perhaps with other bytes."""
        for number in numbers:
            name = self._name(number)
            self._renamed_in(name, self._content(number, patient))
            if hinted:
                self.house.bench.scanner.hint(name)

    @rule(number=NUMBERS, cut=st.integers(1, 4000))
    def begin(self, number: int, cut: int) -> None:
        """A writer opens a file in place, writes a part and keeps it open."""
        name, content = self._name(number), self._content(number, 1)
        handle = open(self._path(name), "wb", buffering=0)  # noqa: SIM115 - closed by finish or teardown
        handle.write(content[:cut])
        self.open[name] = (handle, content)
        self.begun.add(digest(content))
        self.left[digest(content[:cut])] += 1
        self.house.bench.scanner.hint(name)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), gives_up=st.booleans())
    def finish(self, data: st.DataObject, *, gives_up: bool) -> None:
        """It writes the rest, or leaves its half; either way it closes. The file may have been moved to failed/ by then."""
        name = data.draw(st.sampled_from(sorted(self.open)))
        handle, content = self.open.pop(name)
        written = os.fstat(handle.fileno()).st_size
        if not gives_up:
            self.left -= Counter([digest(content[:written])])
            handle.write(content[written:])
            self.left[digest(content)] += 1
        handle.close()

    @precondition(lambda self: names(self.root / "inbox"))
    @rule(data=st.data(), number=NUMBERS)
    def replace(self, data: st.DataObject, number: int) -> None:
        """The writer renames a new version over what lies in the inbox; the old one was its own to lose (F19)."""
        name = data.draw(st.sampled_from(names(self.root / "inbox")))
        self._replaced_if_there(name, self._content(number, 1))

    @rule(number=NUMBERS, calls=st.integers(0, 6))
    def replace_meanwhile(self, number: int, calls: int) -> None:
        """The same to all that is there, at a call of a port to come: while it is sent, remembered or moved (F19)."""
        content = self._content(number, 2)

        def act() -> None:
            for name in names(self.root / "inbox"):
                self._replaced_if_there(name, content)

        self.house.trouble.meanwhile(calls, act)

    def _replaced_if_there(self, name: str, content: bytes) -> None:
        if self._path(name).exists() and name not in self.open:
            self.left -= Counter([digest(self._path(name).read_bytes())])
            self._renamed_in(name, content)

    @precondition(lambda self: names(self.root / "inbox"))
    @rule(data=st.data(), number=NUMBERS, keeps_open=st.booleans())
    def rewrite(self, data: st.DataObject, number: int, *, keeps_open: bool) -> None:
        """The writer writes another whole instance into the very file."""
        name = data.draw(st.sampled_from(names(self.root / "inbox")))
        if name in self.open:
            return
        self.left -= Counter([digest(self._path(name).read_bytes())])
        content = self._content(number, 1, size=6000)
        handle = open(self._path(name), "r+b", buffering=0)  # noqa: SIM115 - closed below, by finish or teardown
        handle.truncate(0)
        handle.write(content)
        self.left[digest(content)] += 1
        if keeps_open:
            self.open[name] = (handle, content)
        else:
            handle.close()

    # The service, the clock, the disk, the killer

    @rule(mode=SERVERS)
    def serve(self, mode: str) -> None:
        self.house.trouble.server = mode
        self.modes.add(mode)

    @rule(number=NUMBERS, reason=st.sampled_from([43264, 43265, 272]))
    def refuse(self, number: int, reason: int) -> None:
        """The service has a verdict about one instance."""
        uid = made(number, study=1 + number % 2).ids[2]
        self.house.service.rejects[uid] = reason
        self.rejected.add(uid)

    @rule(filing=st.booleans(), journal=st.booleans())
    def fill(self, *, filing: bool, journal: bool) -> None:
        """Disks fill and are emptied."""
        self.house.trouble.filing, self.house.trouble.journal = filing, journal

    @rule(looks=st.booleans(), moves=st.booleans())
    def slow(self, *, looks: bool, moves: bool) -> None:
        """A share takes its time (F67); what other threads are at, the loop learns later."""
        self.house.slow(looks=looks, moves=moves)

    @rule()
    def answers(self) -> None:
        self.house.answers()

    @rule(calls=st.integers(1, 12), after=st.booleans())
    def doom(self, calls: int, *, after: bool) -> None:
        """The process ends at a call of a port to come, before its work or after it."""
        self.house.trouble.kill_in, self.house.trouble.kill_after = calls, after

    @rule(ticks=st.integers(1, 12))
    def tick(self, ticks: int) -> None:
        self.house.lives_through(lambda: self.house.bench.tick(ticks))

    @rule(seconds=st.sampled_from([0.3, 1.0, 3.0, 20.0, 100.0, 1000.0]))
    def wait(self, seconds: float) -> None:
        self.house.lives_through(lambda: self.house.bench.after(seconds, steps=2))

    @rule(seconds=st.sampled_from([1.0, 5.0]))
    def go_on(self, seconds: float) -> None:
        """What is mostly the case: time passes, and the loop ticks."""
        self.house.lives_through(lambda: self.house.bench.after(seconds, steps=5))

    @rule(answers=st.booleans())
    def stop(self, *, answers: bool) -> None:
        """An orderly end, and a new start; perhaps nobody waits for what other threads are at."""
        house = self.house
        house.bench.daemon.signal()
        if answers:
            house.answers()
        if house.lives_through(house.bench.daemon.stop):
            house.service._aborted = False
            house.die()
            house.boot()
        house.service._aborted = False

    @rule()
    def lose_journal(self) -> None:
        """I5: something is sent again, and nothing else happens."""
        self.house.forget()

    # What must hold

    @invariant()
    def nothing_is_lost(self) -> None:
        """I1: each file is in exactly one folder, byte for byte, or was removed as `done.action = delete` and is held."""
        there = Counter(d for folder in ("inbox", "done", "failed") for d in self._digests(folder))
        assert there - self.left == Counter()
        gone = self.left - there
        if self.house.deletes:
            held = {kept.sha256 for kept in self.house.service.kept.values()}
            assert {self.bodies.get(one) for one in gone} <= held
        else:
            assert gone == Counter()

    @invariant()
    def done_means_held(self) -> None:
        """I2: the service holds these very bytes."""
        held = {kept.sha256 for kept in self.house.service.kept.values()}
        for content in self._contents("done").values():
            assert digest(content[128:]) in held

    @invariant()
    def failed_means_judged(self) -> None:
        """I3: a reason beside each, and one that is true of it."""
        for name, content in self._contents("failed").items():
            reason = json.loads((self.root / "failed" / f"{name}.reason.json").read_bytes())["reason"]
            if reason in {"truncated", "not_dicom", "no_uid", "no_pixel_data"}:
                assert digest(content) not in self.whole or digest(content) in self.begun
            elif reason == "poison":  # three times alone, with a control that passed
                assert self.modes & {"silent", "partly", "lost", "broken"}
            elif reason == "conflict":
                assert len(self.variants[self.whole[digest(content)]]) > 1
            else:
                assert (reason, self.whole[digest(content)][2] in self.rejected) == ("rejected", True)

    def teardown(self) -> None:
        """Faults end, and so does the work."""
        try:
            self._all_ends()
        finally:
            self.house.die()
            for handle, _ in self.open.values():
                handle.close()
            shutil.rmtree(self.root)

    def _all_ends(self) -> None:
        house = self.house
        for name in sorted(self.open):
            handle, content = self.open.pop(name)
            written = os.fstat(handle.fileno()).st_size
            self.left -= Counter([digest(content[:written])])
            handle.write(content[written:])
            handle.close()
            self.left[digest(content)] += 1
        house.trouble.all_well()
        house.answers()
        house.service.rejects.clear()
        house.orders.why = None
        for _ in range(60):
            house.bench.after(2000, steps=4)
            if not names(self.root / "inbox"):
                break
        assert names(self.root / "inbox") == []
        self.nothing_is_lost()
        self.done_means_held()
        self.failed_means_judged()
        assert not [name for name in names(self.root) if ".tmp" in name]

    def _contents(self, folder: str) -> dict[str, bytes]:
        root = self.root / folder
        return {name: (root / name).read_bytes() for name in names(root) if not name.endswith(".reason.json")}

    def _digests(self, folder: str) -> list[str]:
        return [digest(content) for content in self._contents(folder).values()]


@pytest.mark.timeout(24 * 3600 if EXAMPLES > 100 else 180)
def test_nothing_is_lost_whatever_happens_in_whatever_order() -> None:
    """I1, I2, I3, I5; F19, F37, F39, F42, F49, F66."""
    run_state_machine_as_test(
        Ingest,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=50,
            deadline=None,
            derandomize=EXAMPLES <= 100,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
