"""Two writers, a service, a clock, a disk and a killer against a plain model: nothing is ever lost (I1 to I5, F37, F42).

The model knows what the writers left, by inode, and what the service really holds, byte for byte (fakes/mortal.py). Whatever the
machine does, in whatever order, each file is on the disk exactly once, byte for byte; of each in done/, and of each that was
removed, the service holds the data set; failed/ holds only what deserves it. At the end all faults end, and everything must have
come to its end.

Others use the service, too: it changes and forgets what it holds. From then on done/ may hold what the service held at some moment
after the file was written, because no proof is newer than its question. Three proofs look at less than the bytes, and may be wrong
then: `remembered` where the metadata are the same, `asked` for ten minutes, as long as a search counts, and `word`. Nothing is
removed on them.

INGESTD_TEST_MACHINE=2000 is the long run: so many examples of 50 steps.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fakes.house import digest
from fakes.mortal import Key, MortalHouse, Race, names
from fakes.studies import data_set, made
from fakes.values import AZURE, GENERIC
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

from ingestd.core.answers.presence import KNOWN_SECONDS
from ingestd.core.model import Identifiers
from ingestd.spool.disk import handles

EXAMPLES = int(os.environ.get("INGESTD_TEST_MACHINE", "100"))
SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # memory: the machine is about order, not about disks

NUMBERS = st.integers(1, 6)
SERVERS = st.sampled_from(
    ["well", "well", "unreachable", "busy", "forbidden", "lost", "silent", "mute", "deaf", "partly", "broken"]
)
CT, EXPLICIT_LITTLE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


@pytest.fixture(autouse=True)
def sigio_ignored() -> Iterator[None]:
    """The writer of this very process breaks the daemon's leases."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGIO, before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What somebody left in one file, and when: by the service's count of moments, and by the clock."""

    content: str
    moment: int
    at: float


class Ingest(RuleBasedStateMachine):
    """One house. `left` is the model: what the writers left, by inode."""

    met: ClassVar[Counter[str]] = Counter()  # what all examples came through, so that it is seen that they do

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="machine-", dir=SCRATCH))
        self.house = MortalHouse(self.root)
        self.left: dict[int, Left] = {}
        self.contents: dict[str, bytes] = {}  # by digest
        self.whole: dict[str, tuple[Key, str]] = {}  # digest -> what instance it is, and the digest of its data set
        self.begun: set[str] = set()  # what was written in place, and may have been judged half and finished later
        self.rejected: set[str] = set()  # SOP Instance UIDs that the service ever refused
        self.modes: set[str] = set()
        self.variants: dict[Key, set[str]] = {}  # instance -> its different data sets, the service's too
        self.excused: set[int] = set()  # inodes in done/ that a weaker proof brought there
        self.alike: set[Key] = set()  # others put something of equal metadata in its place
        self.changed_at: dict[Key, float] = {}  # when others last stored something under these UIDs
        self.numbers = itertools.count(1)
        self.open: dict[str, tuple[Any, bytes]] = {}  # name -> open file and what is still to come
        self._move = handles.move
        handles.move = self._raced

    @initialize(deletes=st.booleans(), azure=st.booleans())
    def configure(self, *, deletes: bool, azure: bool) -> None:
        self.house.die()
        self.house.deletes = deletes
        self.house.profile = AZURE if azure else GENERIC
        self.house.boot()

    # The writer

    def _content(self, number: int, patient: int, *, size: int = 4096, sent_on: bool = False) -> bytes:
        """`sent_on`: by another system, which has written its own file meta information."""
        one = made(number, study=1 + number % 2, size=size, patient_id=f"ID{patient}")
        content = _sent_on(one.content) if sent_on else one.content
        self._knows(one.ids, content)
        return content

    def _knows(self, key: Key, content: bytes) -> None:
        self.contents[digest(content)] = content
        self.whole[digest(content)] = key, data_set(content)
        self.variants.setdefault(key, set()).add(data_set(content))

    def _leaves(self, status: os.stat_result, content: bytes) -> None:
        self.house.service.moment += 1
        moment, at = self.house.service.moment, self.house.clock.now()
        self.left[status.st_ino] = Left(content=digest(content), moment=moment, at=at)

    def _name(self, number: int) -> str:
        """A name that is free in the inbox, and often was taken before."""
        taken = names(self.root / "inbox")
        candidates = (f"{f'sub{n % 4}/' if n % 2 else ''}file{n}.dcm" for n in itertools.count(number))
        return next(name for name in candidates if name not in taken and name not in self.open)

    def _path(self, name: str) -> Path:
        path = self.root / "inbox" / name
        path.parent.mkdir(exist_ok=True)
        return path

    def _renamed_in(self, name: str, content: bytes) -> None:
        part = self._path(name).with_name(".tmp.part")
        part.write_bytes(content)
        self._leaves(part.stat(), content)
        os.rename(part, self._path(name))
        note(f"wrote {name} {digest(content)[:8]}")

    @rule(
        numbers=st.lists(NUMBERS, min_size=1, max_size=4),
        patient=st.integers(1, 2),
        hinted=st.booleans(),
        sent_on=st.booleans(),
    )
    def drop(self, numbers: list[int], patient: int, *, hinted: bool, sent_on: bool) -> None:
        """Files are renamed in; perhaps the same instance as before, perhaps with other bytes."""
        for number in numbers:
            name = self._name(number)
            self._renamed_in(name, self._content(number, patient, sent_on=sent_on))
            if hinted:
                self.house.bench.scanner.hint(name)

    @precondition(lambda self: self.contents)
    @rule(data=st.data())
    def drop_again(self, data: st.DataObject) -> None:
        """What was dropped, or stored by others, some time before."""
        sha256 = data.draw(st.sampled_from(sorted(self.contents)))
        self._renamed_in(self._name(1), self.contents[sha256])

    @rule(number=NUMBERS, cut=st.integers(1, 4000))
    def begin(self, number: int, cut: int) -> None:
        """A writer opens a file in place, writes a part and keeps it open."""
        name, content = self._name(number), self._content(number, 1)
        handle = open(self._path(name), "wb", buffering=0)  # noqa: SIM115 - closed by finish or teardown
        handle.write(content[:cut])
        self.open[name] = (handle, content)
        self.begun.add(digest(content))
        self._leaves(os.fstat(handle.fileno()), content[:cut])
        self.house.bench.scanner.hint(name)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), gives_up=st.booleans())
    def finish(self, data: st.DataObject, *, gives_up: bool) -> None:
        """It writes the rest, or leaves its half; either way it closes. The file may have been moved to failed/ by then."""
        name = data.draw(st.sampled_from(sorted(self.open)))
        handle, content = self.open.pop(name)
        if not gives_up:
            self._write_rest(handle, content)
        handle.close()

    def _write_rest(self, handle: Any, content: bytes) -> None:
        status = os.fstat(handle.fileno())
        if status.st_size < len(content):
            handle.write(content[status.st_size :])
            self._leaves(status, content)

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

    def _replaced_if_there(self, name: str, content: bytes) -> bool:
        if not self._path(name).exists() or name in self.open:
            return False
        del self.left[self._path(name).stat().st_ino]
        self._renamed_in(name, content)
        return True

    @precondition(lambda self: names(self.root / "inbox"))
    @rule(data=st.data(), number=NUMBERS, replaces=st.booleans(), removes=st.booleans())
    def race(self, data: st.DataObject, number: int, *, replaces: bool, removes: bool) -> None:
        """Somebody else in the middle of a move to come: a new version just before it, its emptied folder gone just after (F19)."""
        name = data.draw(st.sampled_from(names(self.root / "inbox")))
        self._race(name, self._content(number, 2) if replaces else None, removes=removes)

    @rule(number=NUMBERS, old=st.integers(1, 2), new=st.integers(1, 2))
    def race_away(self, number: int, old: int, new: int) -> None:
        """Both, at a file that has a folder to itself: the new version is carried away, and can't be put back at once."""
        name = f"alone{next(self.numbers)}/file.dcm"
        self._renamed_in(name, self._content(number, old))
        self._race(name, self._content(number, new), removes=True)
        self.house.lives_through(lambda: self.house.bench.after(1.0, steps=2))

    def _race(self, name: str, content: bytes | None, *, removes: bool) -> None:
        def before() -> None:
            if content is not None:
                self.met["replaced in a move"] += self._replaced_if_there(name, content)

        def after() -> None:
            if removes:
                gone = self._rmdir(os.path.dirname(name))
                self.met["carried away"] += gone and content is not None

        self.house.trouble.races[name] = Race(before=before, after=after)

    def _raced(self, from_folder: int, name: str, to_folder: int, new_name: str) -> None:
        """In the place of handles.move, as the daemon calls it."""
        path = os.path.relpath(os.path.join(os.readlink(f"/proc/self/fd/{from_folder}"), name), self.root / "inbox")
        race = self.house.trouble.races.pop(path, None)
        if race is not None:
            race.before()
        self._move(from_folder, name, to_folder, new_name)
        if race is not None:
            race.after()

    @rule(folder=st.sampled_from(["sub1", "sub3"]))
    def tidy(self, folder: str) -> None:
        """Somebody removes an emptied folder between two steps."""
        self._rmdir(folder)

    def _rmdir(self, folder: str) -> bool:
        """The inbox itself stays."""
        if not folder:
            return False
        try:
            os.rmdir(self.root / "inbox" / folder)
        except OSError:
            return False
        return True

    @precondition(lambda self: names(self.root / "inbox"))
    @rule(data=st.data(), number=NUMBERS, keeps_open=st.booleans())
    def rewrite(self, data: st.DataObject, number: int, *, keeps_open: bool) -> None:
        """The writer writes another whole instance into the very file."""
        name = data.draw(st.sampled_from(names(self.root / "inbox")))
        if name in self.open:
            return
        content = self._content(number, 1, size=6000)
        handle = open(self._path(name), "r+b", buffering=0)  # noqa: SIM115 - closed below, by finish or teardown
        handle.truncate(0)
        handle.write(content)
        self._leaves(os.fstat(handle.fileno()), content)
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

    @precondition(lambda self: self.house.service.held)
    @rule(data=st.data())
    def forgets(self, data: st.DataObject) -> None:
        """Behind our back it loses an instance."""
        self.house.service.lose(data.draw(st.sampled_from(sorted(self.house.service.held))))
        self.met["forgot"] += 1

    @rule(number=NUMBERS, how=st.sampled_from(["patient", "pixels", "half"]))
    def changes(self, number: int, how: str) -> None:
        """Others store another patient, other pixels, or half of it, under the same UIDs."""
        study, series, instance = made(number, study=1 + number % 2).ids
        ids = Identifiers(
            study_uid=study,
            series_uid=series,
            sop_instance_uid=instance,
            sop_class_uid=CT,
            transfer_syntax_uid=EXPLICIT_LITTLE,
        )
        content = self._content(number, 3 if how == "patient" else 1)
        match how:
            case "pixels":
                content = content[:-1] + bytes([content[-1] ^ 1])
                self._knows(ids.key, content)
            case "half":
                content = content[: len(content) // 2]
        self.met["changed"] += ids.key in self.house.service.held
        self.house.service.hold(ids, content)
        self.variants[ids.key].add(data_set(content))
        self.changed_at[ids.key] = self.house.clock.now()
        if how != "patient":
            self.alike.add(ids.key)

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
        if house.trouble.journal or not house.may_die():
            return  # as in fakes/mortal.py: what strays then, nobody would know
        house.bench.daemon.signal()
        if answers:
            house.answers()
        if house.lives_through(house.bench.daemon.stop):
            house.service._aborted = False
            house.die()
            house.boot()
        house.service._aborted = False

    @precondition(lambda self: not self.house.astray())
    @rule()
    def lose_journal(self) -> None:
        """I5: something is sent again, and nothing else happens."""
        self.house.forget()

    # What must hold

    @invariant()
    def nothing_is_lost(self) -> None:
        """I1: each file is in exactly one folder, byte for byte, or was removed as `done.action = delete` and is held."""
        there = [found for folder in ("inbox", "done", "failed") for found in self._found(folder)]
        inodes = {inode: digest(content) for _, inode, content in there}
        assert len(inodes) == len(there)
        assert inodes == {inode: left.content for inode, left in self.left.items() if inode in inodes}
        for inode in self.left.keys() - inodes.keys():
            assert self.house.deletes
            left = self.left.pop(inode)
            key, sha256 = self.whole[left.content]
            assert self.house.service.has_held(key, sha256, since=left.moment)
            self.met["removed"] += 1

    @invariant()
    def done_means_held(self) -> None:
        """I2: the service holds these very bytes, or did when it was asked; but for what the daemon knows to have strayed there."""
        astray = self.house.astray()
        for name, inode, content in self._found("done"):
            if ("done", name) in astray:
                continue
            key, sha256 = self.whole[digest(content)]
            left = self.left[inode]
            if not self.house.service.has_held(key, sha256, since=left.moment) and inode not in self.excused:
                why = self._weaker(key, sha256, left)
                assert why is not None, name
                self.met[why] += 1
                self.excused.add(inode)

    def _weaker(self, key: Key, sha256: str, left: Left) -> str | None:
        """Which proof has brought a file into done/ whose bytes the service did not hold since it was written."""
        if key in self.alike and self.house.service.has_held(key, sha256, since=0):
            return "remembered"
        if (key, sha256) in self.house.on_word:
            return "word"
        asked = not self.house.profile.names_only_new
        asked &= left.at <= self.changed_at.get(key, -math.inf) + KNOWN_SECONDS
        return "asked before another stored it" if asked else None

    @invariant()
    def failed_means_judged(self) -> None:
        """I3: a reason beside each, and one that is true of it."""
        astray = self.house.astray()
        for name, _, content in self._found("failed"):
            if ("failed", name) in astray:
                continue
            reason = json.loads((self.root / "failed" / f"{name}.reason.json").read_bytes())["reason"]
            if reason in {"truncated", "not_dicom", "no_uid", "no_pixel_data"}:
                assert digest(content) not in self.whole or digest(content) in self.begun
            elif reason == "poison":  # three times alone, with a control that passed
                assert self.modes & {"silent", "mute", "partly", "lost", "broken"}
            elif reason == "conflict":
                assert len(self.variants[self.whole[digest(content)][0]]) > 1
            else:
                assert (reason, self.whole[digest(content)][0][2] in self.rejected) == ("rejected", True)

    def teardown(self) -> None:
        """Faults end, and so does the work."""
        try:
            self._all_ends()
        finally:
            handles.move = self._move
            self.house.die()
            for handle, _ in self.open.values():
                handle.close()
            shutil.rmtree(self.root)

    def _all_ends(self) -> None:
        house = self.house
        for name in sorted(self.open):
            handle, content = self.open.pop(name)
            self._write_rest(handle, content)
            handle.close()
        house.trouble.all_well()
        house.answers()
        house.lives_through(house.bench.tick)  # a death that another thread met before
        house.service.rejects.clear()
        for _ in range(60):
            house.orders.why = None  # somebody releases the brake, which many a conflict has put on
            house.bench.after(2000, steps=4)
            if not names(self.root / "inbox") and not house.astray():
                break
        assert names(self.root / "inbox") == []
        assert house.astray() == set()
        self.nothing_is_lost()
        self.done_means_held()
        self.failed_means_judged()
        assert not [name for name in names(self.root) if ".tmp" in name]

    def _found(self, folder: str) -> list[tuple[str, int, bytes]]:
        """Name, inode and content of every file, but for the papers beside them."""
        root = self.root / folder
        files = [name for name in names(root) if not name.endswith(".reason.json")]
        return [(name, (root / name).stat().st_ino, (root / name).read_bytes()) for name in files]


def _sent_on(content: bytes) -> bytes:
    """With another preamble and one element more in group 0002: the same data set behind them."""
    length = int.from_bytes(content[140:144], "little")
    element = b"\x02\x00\x16\x00AE\x04\x00ROOM"
    meta = content[144 : 144 + length] + element
    return b"sent on".ljust(128) + content[128:140] + len(meta).to_bytes(4, "little") + meta + content[144 + length :]


@pytest.mark.slow
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
    print(f"\nmet: {dict(Ingest.met)}")
    assert {"replaced in a move", "carried away", "removed", "forgot", "changed"} <= (+Ingest.met).keys()
