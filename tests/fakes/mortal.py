"""The daemon over a real disk and a real journal, with a service in memory, that can be killed at every call of a port.

A kill is an exception that nothing catches, before or after the call does its work; what the daemon held in memory is
then gone, as after SIGKILL, and `boot` makes a new one over what the disk holds. Time stands still but for `advance`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fakes.daemon_bench import Bench
from fakes.ops_fakes import FakeClock
from fakes.origin_fake import FakeOrigin
from fakes.scanner_fake import FakeScanner
from fakes.spool_fakes import FakeOrders

from ingestd.core.answer import Answer, Loss, StoreResponse
from ingestd.core.errors import FilingError, JournalError
from ingestd.core.model import Instance
from ingestd.spool.comparable import comparable_elements
from ingestd.spool.filing import Filing
from ingestd.spool.inbox import InboxFolder
from ingestd.spool.journal import SqliteJournal


class Killed(BaseException):
    """The process is no more."""


class Trouble:
    """What goes wrong, set by a test. `kill_in` counts calls of ports until the process ends."""

    def __init__(self) -> None:
        self.all_well()

    def all_well(self) -> None:
        """Every fault ends."""
        self.filing = False
        self.journal = False
        self.server = "well"
        self.kill_in: int | None = None
        self.kill_after = False
        self._meanwhile: list[tuple[int, Callable[[], None]]] = []

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
            if self.kill_in <= 0:
                self.kill_in, ends = None, True
        if ends and not self.kill_after:
            raise Killed
        result = work()
        if ends:
            raise Killed
        return result


class MortalFiling:
    """The real Filing, on a disk that may be full."""

    def __init__(self, filing: Filing, trouble: Trouble) -> None:
        self._filing = filing
        self._trouble = trouble

    def __getattr__(self, name: str) -> Any:  # every method of the port
        method = getattr(self._filing, name)
        if name in ("place", "stamp"):  # they move nothing, and never raise
            return method

        def called(*arguments: Any, **named: Any) -> Any:
            if self._trouble.filing:
                raise FilingError("no space left")
            return self._trouble.around(lambda: method(*arguments, **named))

        return called


class MortalJournal:
    """The real journal, on a disk that may be full."""

    def __init__(self, state: Path, trouble: Trouble) -> None:
        self._journal = SqliteJournal(state)
        self._trouble = trouble

    def __getattr__(self, name: str) -> Any:  # what only reads
        return getattr(self._journal, name)

    def commit(self, changes: Any) -> None:
        if changes and self._trouble.journal:
            raise JournalError("no space left")
        self._trouble.around(lambda: self._journal.commit(changes))


class Service(FakeOrigin):
    """Holds what it is given, with its elements, and misbehaves as `trouble.server` says. It outlives the daemon."""

    def __init__(self, inbox: InboxFolder, trouble: Trouble) -> None:
        super().__init__(inbox)
        self._inbox = inbox
        self._trouble = trouble

    def keep(self, instance: Instance, *, sha256: str | None = None, elements: Any = None) -> None:
        handle = os.memfd_create("elements")
        try:
            os.write(handle, b"".join(self._inbox.read(instance)))
            super().keep(instance, sha256=sha256, elements=comparable_elements(handle))
        finally:
            os.close(handle)

    def store(self, instances: Sequence[Instance]) -> Answer:
        self.stores.append(tuple(instances))
        match self._trouble.server:
            case "unreachable":
                return Answer(loss=Loss.NOT_SENT)
            case "busy":
                return Answer(status=503, retry_after=5.0)
            case "forbidden":
                return Answer(status=403)
            case "lost":  # it took them, and the answer never came
                self.take(instances)
                return Answer(loss=Loss.LOST)
            case "silent":  # 200, and names nothing
                return Answer(status=200, response=StoreResponse(referenced=(), failed=()))
            case "partly":  # takes the first, and the connection ends
                self.take(instances[:1])
                return Answer(loss=Loss.TIMEOUT)
            case "broken":
                return Answer(status=500)
            case _:
                return self._trouble.around(lambda: self.take(instances))  # type: ignore[no-any-return]

    def control(self) -> Answer:
        match self._trouble.server:
            case "unreachable":
                return Answer(loss=Loss.NOT_SENT)
            case "busy":
                return Answer(status=503)
            case "forbidden":
                return Answer(status=403)
            case "broken":
                return Answer(status=500)
            case _:
                return Answer(status=204)


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
        self.journal = MortalJournal(root / "state", house.trouble)
        filing = Filing(root / "inbox", root / "done", root / "failed", delete=house.deletes)
        self.filer = MortalFiling(filing, house.trouble)


class MortalHouse:
    """Four folders below `root`, a service, and a daemon that dies and is started again. `deletes`: done.action = delete."""

    def __init__(self, root: Path, *, deletes: bool = False) -> None:
        self.root = root
        self.deletes = deletes
        for folder in ("inbox", "done", "failed", "state"):
            (root / folder).mkdir()
        self.clock = FakeClock()
        self.trouble = Trouble()
        self.reader = InboxFolder(root / "inbox")
        self.service = Service(self.reader, self.trouble)
        self.orders = FakeOrders()
        self.lives = 0
        self.boot()

    def boot(self) -> None:
        """A new process over what the disk holds."""
        self.lives += 1
        self.bench = Bench(ports=_Ports(self), attempts=3, timeout=60.0, in_a_row=10_000)

    def slow(self, *, looks: bool, moves: bool) -> None:
        """The disk takes its time: other threads look and move, and come to no end until `answers`."""
        bench = self.bench
        bench.lookers.at_once, bench.copier.at_once = not looks, not moves
        bench.intake._looking._slow = looks
        bench.endings._far.update({False, True} if moves else set())

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
