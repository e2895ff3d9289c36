"""What this machine knew of the time before this process wrote anything, and whether its clock may remove files (F91).

Witnesses are the journal's files, whose mtime is that of the last commit, the newest receipt, and the root of done/, whose mtime is
that of the newest day. A process that runs under a doubted clock makes new ones of all three, so while there is a doubt the time
that was known stands in the state folder, and a restart does not end it.

    state folder             what the next start believes
    no `clock-doubt`         the witnesses
    `clock-doubt`            the time in it, where that is older; the file goes once the clock is believed
    one that can't be read   the witnesses
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ingestd.core.clock_doubt import ClockDoubt, ServiceDate
from ingestd.core.errors import JournalError
from ingestd.core.ports import Clock
from ingestd.spool.disk import handles
from ingestd.spool.memory.journal_file import NAME
from ingestd.spool.memory.receipts import Receipts

DOUBT = "clock-doubt"
_NEVER = float("-inf")


def last_written(state: Path, done: Path) -> float:
    """The newest mtime of the journal's files and of the root of done/. Ask before the journal is opened."""
    times = [_NEVER]
    for path in (state / NAME, state / f"{NAME}-wal", done):
        with suppress(OSError):
            times.append(os.stat(path).st_mtime)
    return max(times)


class SeenClock:
    """`written` is what `last_written` said; the journal is open by now. `date` asks for the service's. Any thread."""

    def __init__(self, *, state: Path, written: float, clock: Clock, date: Callable[[], ServiceDate | None]) -> None:
        self._state = state
        self._clock = clock
        self._date = date
        doubted = _doubted(state)
        seen = max(written, _newest_receipt(state)) if doubted is None else min(written, doubted)
        self._doubt = ClockDoubt(seen=seen, began=clock.monotonic())
        self._kept = doubted is not None
        if self.problem() is not None and doubted is None:
            self._keep(seen)

    def problem(self) -> str | None:
        """Why nothing may be removed just now, in one line; None where the clock is believed."""
        now = min(self._clock.now(), self._clock.wall())
        problem = self._doubt.problem(now=now, monotonic=self._clock.monotonic(), date=self._date())
        if problem is None and self._kept:
            self._kept = False
            with suppress(OSError):
                os.unlink(self._state / DOUBT)
        return problem

    def _keep(self, seen: float) -> None:
        self._kept = True
        with suppress(OSError):  # a state folder that can't be written is said elsewhere
            folder = handles.open_root(self._state)
            try:
                handles.write_durably(folder, DOUBT, f"{seen}\n".encode())
            finally:
                handles.close(folder)


def _doubted(state: Path) -> float | None:
    try:
        return float((state / DOUBT).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _newest_receipt(state: Path) -> float:
    receipts = Receipts(state)
    try:
        return receipts.newest_at() or _NEVER
    except JournalError:
        return _NEVER
    finally:
        receipts.close()
