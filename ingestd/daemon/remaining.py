"""How many files have no outcome yet, and what they wait for: counted from what the scan, the window and the journal know."""

from __future__ import annotations

from collections.abc import Mapping

from ingestd.core.lifecycle import State
from ingestd.core.model import Wait
from ingestd.core.ports import Journal, Scanner
from ingestd.core.window import Window
from ingestd.daemon.ending.endings import Endings
from ingestd.daemon.ending.ledger import Ledger

READY = (State.READY, State.BATCHED)
IN_FLIGHT = (State.IN_FLIGHT, State.VERIFYING, State.ENDING)


class Remaining:
    """Files that are not in done/ or failed/ yet. The owner thread's."""

    def __init__(self, *, scanner: Scanner, journal: Journal, window: Window, ledger: Ledger, endings: Endings) -> None:
        self._scanner = scanner
        self._journal = journal
        self._window = window
        self._ledger = ledger
        self._endings = endings

    def none(self) -> bool:
        """A full scan has ended, and nothing that it found is left."""
        scan = self._scanner.status()
        known = scan.offered or self._window or self._ledger.uncommitted or self._journal.waiting()
        return scan.full_scans > 0 and not known

    def count(self) -> int:
        """Files that are not in done/ or failed/ yet, as far as they are known: offered, in the window, passed over, unmovable.

        Cheap enough for every tick; a file in the window that the scan offers again counts twice until it is taken.
        """
        return self._scanner.status().offered + self._admitted()

    def by_name(self) -> int:
        """As `count`, and what the scan offers again counts once: while the window is full, or closed, that is not taken."""
        return sum(path not in self._window for path in self._scanner.offered()) + self._admitted()

    def at_the_end(self) -> int:
        """As `count`, once nothing is admitted any more: each scan offers again what is known already, and that counts once."""
        many = self._scanner.status().offered
        names = {s.path for s in (*self._scanner.take_hinted(many), *self._scanner.take(many))}
        unknown = sum(name not in self._window and self._journal.deferral(name) is None for name in names)
        return unknown + self.count()

    def pending(self) -> Mapping[str, int]:
        """The files of `by_name` by what they wait for."""
        ready, in_flight = self._window.count(*READY), self._window.count(*IN_FLIGHT)
        unmovable = self._unmovable()
        waiting = self.by_name() - unmovable - ready - in_flight
        return {"waiting": waiting, "ready": ready, "in_flight": in_flight, "unmovable": unmovable}

    def age(self, now: float) -> float:
        """Seconds since the oldest of them was first seen."""
        firsts = [first for first in (self._window.oldest(), self._journal.oldest()) if first is not None]
        return max(now - min(firsts), 0.0) if firsts else 0.0

    def _admitted(self) -> int:
        # The journal has forgotten what has an outcome.
        admitted = sum(entry.history is not None and entry.state is not State.ENDING for entry in self._window)
        waiting = sum(self._journal.waiting().values()) - admitted + self._ledger.uncommitted + self._endings.astray
        return len(self._window) + waiting + self._scanner.status().passed.locked.files

    def _unmovable(self) -> int:
        """Files in folders that nothing can be moved out of, and those that could not be moved.

        One that was stored before its folder was locked counts twice: too many are named then, never too few.
        """
        return self._scanner.status().passed.locked.files + self._journal.waiting().get(Wait.UNMOVABLE, 0)
