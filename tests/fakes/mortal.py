"""The daemon over a real disk and a real journal, with a service in memory, that can be killed at every call of a port.

A kill is an exception that nothing catches, before or after the call does its work; what the daemon held in memory is
then gone, as after SIGKILL, and `boot` makes a new one over what the disk holds. Time stands still but for `advance`.

Not between a move that carried a new version away and the journal's word of it: there a death leaves it unsent in done/, and
nothing could know. That is a race, a failure and a death at one moment.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fakes.daemon_bench import Bench
from fakes.ops_fakes import FakeClock
from fakes.origin_fake import ALREADY_THERE, FakeOrigin, Kept
from fakes.scanner_fake import FakeScanner
from fakes.spool_fakes import FakeOrders
from fakes.studies import data_set
from fakes.values import AZURE

from ingestd.core.answers.answer import Answer, Fetched, Held, Listed, Loss, Referenced, StoreResponse
from ingestd.core.answers.profiles import Profile
from ingestd.core.answers.proof import Proof
from ingestd.core.errors import FilingError, JournalError, StrayError
from ingestd.core.model import Identifiers, Instance
from ingestd.core.record import Stray
from ingestd.part10.comparable import comparable_elements
from ingestd.spool.filing.filing import Filing
from ingestd.spool.intake.inbox import InboxFolder
from ingestd.spool.memory.journal import SqliteJournal

Key = tuple[str, str, str]
REFUSALS = {
    "unreachable": Answer(loss=Loss.NOT_SENT),
    "busy": Answer(status=503, retry_after=5.0),
    "forbidden": Answer(status=403),
    "broken": Answer(status=500),
}


class Killed(BaseException):
    """The process is no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """What somebody does in the middle of a move out of the inbox: just before the file is renamed, and just after."""

    before: Callable[[], None]
    after: Callable[[], None]


class Trouble:
    """What goes wrong, set by a test. `kill_in` counts calls of ports until the process ends."""

    def __init__(self) -> None:
        self.may_die: Callable[[], bool] = lambda: True
        self.all_well()

    def all_well(self) -> None:
        """Every fault ends."""
        self.filing = False
        self.journal = False
        self.server = "well"
        self.kill_in: int | None = None
        self.kill_after = False
        self._meanwhile: list[tuple[int, Callable[[], None]]] = []
        self.races: dict[str, Race] = {}  # by the path of the file that is moved

    def meanwhile(self, calls: int, act: Callable[[], None]) -> None:
        """Somebody acts before the work of a call to come."""
        self._meanwhile.append((calls, act))

    def around(self, work: Callable[[], Any]) -> Any:
        """Do the work, and end the process before or after it when its number has come."""
        due = [act for calls, act in self._meanwhile if calls <= 0]
        self._meanwhile = [(calls - 1, act) for calls, act in self._meanwhile if calls > 0]
        for act in due:
            act()
        ends = False
        if self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in <= 0 and self.may_die():
                self.kill_in, ends = None, True
        if ends and not self.kill_after:
            raise Killed
        result = work()
        if ends:
            raise Killed
        return result


class MortalFiling:
    """The real Filing, on a disk that may be full. `unheard`: what strayed in a move whose end the loop has not taken in."""

    def __init__(self, filing: Filing, trouble: Trouble, unheard: set[tuple[str, str]]) -> None:
        self._filing = filing
        self._trouble = trouble
        self._unheard = unheard

    def __getattr__(self, name: str) -> Any:  # every method of the port
        method = getattr(self._filing, name)
        if name in ("place", "stamp"):  # they move nothing, and never raise
            return method

        def called(*arguments: Any, **named: Any) -> Any:
            if self._trouble.filing:
                raise FilingError("no space left")
            try:
                return self._trouble.around(lambda: method(*arguments, **named))
            except StrayError as stray:
                self._unheard.add((stray.folder, stray.place))
                raise

        return called

    def recover(self, stray: Stray) -> str | None:
        self._unheard.discard((stray.folder, stray.place))
        return self.__getattr__("recover")(stray)  # type: ignore[no-any-return]


class MortalJournal:
    """The real journal, on a disk that may be full. `on_word` is the model's: the bytes of which a receipt ever said no more."""

    def __init__(self, state: Path, trouble: Trouble, on_word: set[tuple[Key, str]]) -> None:
        self._journal = SqliteJournal(state)
        self._trouble = trouble
        self._on_word = on_word

    def __getattr__(self, name: str) -> Any:  # what only reads
        return getattr(self._journal, name)

    def commit(self, changes: Any) -> None:
        if changes and self._trouble.journal:
            raise JournalError("no space left")
        for one in changes.receipts:
            if one.proof is Proof.WORD:
                self._on_word.add(((one.study_uid, one.series_uid, one.sop_instance_uid), one.sha256))
        self._trouble.around(lambda: self._journal.commit(changes))


class Service(FakeOrigin):
    """Holds the bytes that it is given, and misbehaves as `trouble.server` says. It outlives the daemon.

    `names_old`: it keeps what it has and says stored, as Orthanc does; else it fails what it has with 45070, as Azure does.
    `held` is the model's: by instance, the digest of the data set that it really holds, made by a reader of its own.
    """

    def __init__(self, inbox: InboxFolder, trouble: Trouble) -> None:
        super().__init__(inbox)
        self._inbox = inbox
        self._trouble = trouble
        self._sent: dict[str, bytes] = {}  # by path
        self.names_old = False
        self.held: dict[Key, str] = {}
        self.moment = 0  # advanced whenever anybody writes a file, or changes what is held, behind our back
        self.until: dict[tuple[Key, str], int] = {}  # the last moment at which it held what it holds no more

    def _read(self, instance: Instance) -> str | None:
        reading = self._inbox.read(instance)
        self._sent[instance.path] = b"".join(reading)
        return reading.sha256

    def keep(self, instance: Instance, *, sha256: str | None = None, elements: Any = None) -> None:
        self.hold(instance.ids, self._sent[instance.path])

    def hold(self, ids: Identifiers, content: bytes) -> None:
        """It has these bytes from now on, whoever sent them."""
        self.lose(ids.key)
        handle = os.memfd_create("elements")
        try:
            os.write(handle, content)
            elements = comparable_elements(handle)
        finally:
            os.close(handle)
        self.held[ids.key] = data_set(content)
        self.kept[ids.key] = Kept(ids=ids, elements=elements, sha256=self.held[ids.key])

    def lose(self, key: Key) -> None:
        """It holds nothing of this instance any more."""
        if (before := self.held.pop(key, None)) is not None:
            self.until[key, before] = self.moment
            self.moment += 1
        self.kept.pop(key, None)

    def has_held(self, key: Key, sha256: str, *, since: int) -> bool:
        """Whether it holds that data set, or has held it at a moment since then."""
        return self.held.get(key) == sha256 or self.until.get((key, sha256), -1) >= since

    def take(self, instances: Sequence[Instance]) -> Answer:
        answer = super().take(instances)
        if not self.names_old or answer.response is None:
            return answer
        old = [one for one in answer.response.failed if one.failure_reason == ALREADY_THERE]
        failed = tuple(one for one in answer.response.failed if one not in old)
        named = (*answer.response.referenced, *(Referenced(sop_instance_uid=one.sop_instance_uid) for one in old))
        status = (202 if failed else 200) if named else 409
        return replace(answer, status=status, response=StoreResponse(referenced=named, failed=failed))

    def store(self, instances: Sequence[Instance]) -> Answer:
        self.stores.append(tuple(instances))
        match self._trouble.server:
            case "lost":  # it took them, and the answer never came
                self.take(instances)
                return Answer(loss=Loss.LOST)
            case "silent":  # 200, and names nothing
                return Answer(status=200, response=StoreResponse(referenced=(), failed=()))
            case "mute":  # it took them, and names nothing
                self.take(instances)
                return Answer(status=200, response=StoreResponse(referenced=(), failed=()))
            case "partly":  # takes the first, and the connection ends
                self.take(instances[:1])
                return Answer(loss=Loss.TIMEOUT)
            case server if server in REFUSALS:
                return REFUSALS[server]
            case _:
                return self._trouble.around(lambda: self.take(instances))  # type: ignore[no-any-return]

    def control(self) -> Answer:
        return REFUSALS.get(self._trouble.server, Answer(status=204))

    # What it is asked

    def metadata(self, ids: Identifiers) -> Held:
        if (said := self._refusal()) is not None:
            return Held(status=said.status, loss=said.loss)
        return self._trouble.around(lambda: FakeOrigin.metadata(self, ids))  # type: ignore[no-any-return]

    def fetch(self, ids: Identifiers) -> Fetched:
        if (said := self._refusal()) is not None:
            return Fetched(status=said.status, loss=said.loss)
        return self._trouble.around(lambda: FakeOrigin.fetch(self, ids))  # type: ignore[no-any-return]

    def listed(self, study_uid: str, series_uids: Sequence[str]) -> Listed:
        return Listed(answered=False) if self._refusal() else super().listed(study_uid, series_uids)

    def shows(self, ids: Identifiers) -> bool | None:
        return None if self._refusal() else super().shows(ids)

    def _refusal(self) -> Answer | None:
        """What it says to any question; "deaf" answers none, and stores."""
        return Answer(loss=Loss.TIMEOUT) if self._trouble.server == "deaf" else REFUSALS.get(self._trouble.server)


class ListingScanner(FakeScanner):
    """Finds what lies in the folder when a scan is asked for."""

    def __init__(self, inbox: Path, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self._inbox = inbox

    def request_scan(self) -> None:
        self._present = dict.fromkeys(names(self._inbox))
        super().request_scan()


class _Sleep(threading.Event):
    """Who waits for it lets time pass."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.advance(timeout or 0.0)
        return self.is_set()


class _Ports:
    """What one life of the daemon is made of."""

    def __init__(self, house: MortalHouse) -> None:
        root = house.root
        self.clock = house.clock
        self.wake = _Sleep(house.clock)
        self.inbox = house.reader
        self.origin = house.service
        self.scanner = ListingScanner(root / "inbox", house.clock)
        self.journal = MortalJournal(root / "state", house.trouble, house.on_word)
        filing = Filing(root / "inbox", root / "done", root / "failed", delete=house.deletes)
        self.filer = MortalFiling(filing, house.trouble, house.unheard)


class MortalHouse:
    """Four folders below `root`, a service, and a daemon that dies and is started again.

    `deletes`: done.action = delete. `profile`: what it takes the service for.
    """

    def __init__(self, root: Path, *, deletes: bool = False, profile: Profile = AZURE) -> None:
        self.root = root
        self.deletes = deletes
        self.profile = profile
        for folder in ("inbox", "done", "failed", "state"):
            (root / folder).mkdir()
        self.clock = FakeClock()
        self.trouble = Trouble()
        self.reader = InboxFolder(root / "inbox")
        self.service = Service(self.reader, self.trouble)
        self.orders = FakeOrders()
        self.on_word: set[tuple[Key, str]] = set()
        self.unheard: set[tuple[str, str]] = set()
        self.lives = 0
        self.boot()
        self.trouble.may_die = self.may_die

    def boot(self) -> None:
        """A new process over what the disk holds."""
        self.lives += 1
        self.service.names_old = not self.profile.names_only_new
        self.bench = Bench(
            ports=_Ports(self),
            orders=self.orders,
            attempts=3,
            timeout=60.0,
            in_a_row=10_000,
            profile=self.profile,
            for_removal=self.deletes,
        )

    def may_die(self) -> bool:
        """Whether the journal knows of every new version that a move carried away."""
        return self.unheard | set(self.bench.endings._strays._known) <= self._remembered()

    def astray(self) -> set[tuple[str, str]]:
        """Folder and place of each of them, as far as the daemon knows, or will when it is started again."""
        return self.unheard | set(self.bench.endings._strays._known) | self._remembered()

    def _remembered(self) -> set[tuple[str, str]]:
        return {(stray.folder, stray.place) for stray in self.bench.journal.strays(1000)}

    def slow(self, *, looks: bool, moves: bool) -> None:
        """The disk takes its time: other threads look and move, and come to no end until `answers`."""
        bench = self.bench
        bench.lookers.at_once, bench.copier.at_once = not looks, not moves
        bench.intake._looking._slow = looks
        bench.endings._carrying._far.update({False, True} if moves else set())

    def answers(self) -> None:
        for threads in (self.bench.lookers, self.bench.copier):
            threads.at_once = True
            threads.run()

    def die(self) -> None:
        """Everything in memory is gone; an open transaction is rolled back."""
        self.trouble.kill_in = None
        with contextlib.suppress(sqlite3.Error):
            self.bench.journal.close()

    def lives_through(self, work: Callable[[], object]) -> bool:
        """Whether the daemon survives it; it is started again if not."""
        try:
            work()
        except Killed:
            self.die()
            self.boot()
            return False
        return True

    def forget(self) -> None:
        """The journal is lost (I5)."""
        self.die()
        for name in names(self.root / "state"):
            if name.startswith("journal"):
                os.unlink(self.root / "state" / name)
        self.boot()


def names(folder: Path) -> list[str]:
    """Every file below `folder`, relative to it."""
    return sorted(os.path.relpath(os.path.join(at, name), folder) for at, _, found in os.walk(folder) for name in found)
