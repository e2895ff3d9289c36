"""Into the window: what the scanner and the journal offer, as far as there is room.

The window refuses what it has no room for, and the scanner pauses. What must wait has left the window for the journal. It comes
back when due, or as soon as the scan lists another file under its name, whether or not an event told of that.

Due times are on the clock of whichever process wrote them. One that no wait of ours could have set means that the clock was set
back since (F13): the file is due now.
"""

from __future__ import annotations

from dataclasses import replace

from ingestd.core.model import Deferral, Sighting
from ingestd.core.pace.backoff import LONGEST_WAIT_SECONDS
from ingestd.core.ports import Journal, Scanner
from ingestd.core.settle import SettleRules
from ingestd.core.window import Window
from ingestd.daemon.arriving.looking import NO_STAMP
from ingestd.daemon.rate_limit import Every

DUE_EVERY_SECONDS = 0.5  # the next question to the journal, for files whose time has come


class Admission:
    """The owner thread's."""

    def __init__(self, *, scanner: Scanner, journal: Journal, window: Window, rules: SettleRules) -> None:
        self._scanner = scanner
        self._journal = journal
        self._window = window
        waits = (rules.quiet_seconds, rules.network_quiet_seconds, rules.incomplete_timeout_seconds)
        self._longest_wait = max(LONGEST_WAIT_SECONDS, *waits)
        self._ask_journal = Every(DUE_EVERY_SECONDS)
        self._inodes_listed = True  # folders list the inodes that fstat says, as far as anybody knows

    def admit(self, now: float) -> int:
        """How many came in."""
        before = len(self._window)
        for sighting in self._scanner.take_hinted(self._window.room(hinted=True)):
            self._offer(sighting, now)
        for sighting in self._scanner.take(self._window.room(hinted=False)):
            self._offer(sighting, now)
        if (room := self._window.room(hinted=False)) > 0 and self._ask_journal.due(now):
            for deferral in self._journal.due(now, room):
                if deferral.path not in self._window:
                    sighting = Sighting(path=deferral.path, hinted=deferral.deleted)
                    self._window.admit(sighting, now=now, history=self._on_our_clock(deferral, now))
        return len(self._window) - before

    def same(self, inode: int | None, history: Deferral) -> None:
        """A look found the very file that waited. Where its folder listed another `inode`, no listing is believed any more.

        Otherwise every file that waits would be looked at with each scan.
        """
        self._inodes_listed &= not self._another(inode, history)

    def _offer(self, sighting: Sighting, now: float) -> None:
        if sighting.path in self._window:
            if sighting.hinted:
                self._window[sighting.path].closed = sighting.closed
            return
        history = self._journal.deferral(sighting.path)
        if history is not None:
            history = self._on_our_clock(history, now)
            if history.due_at > now and not sighting.hinted and not self._another(sighting.inode, history):
                return
        self._window.admit(sighting, now=now, history=history)

    def _on_our_clock(self, history: Deferral, now: float) -> Deferral:
        if history.due_at <= now + self._longest_wait and history.since <= now and history.first_seen <= now:
            return history
        return replace(
            history,
            due_at=history.due_at if history.due_at <= now + self._longest_wait else now,
            since=min(history.since, now),
            first_seen=min(history.first_seen, now),
        )

    def _another(self, inode: int | None, history: Deferral) -> bool:
        """Whether the listing shows another file than the one that waits."""
        known = inode is not None and history.stamp != NO_STAMP
        return known and self._inodes_listed and inode != history.stamp.inode
