"""The scanner: offers every name in the inbox, again and again (I6).

One thread walks the tree lazily by directory handle, never follows a link, and never holds the tree: it puts names into a
bounded hand-over, pauses in place while that is full, and goes on where it was once half of it has been taken. After a full
scan it rests `rescan_seconds`, or until somebody asks for a scan; then it opens the root anew by its path, so a root that was
deleted, unmounted or mounted over is noticed (F6, F7), and nothing is ever concluded from a name that is not there any more.

File events (watch.py) put single names into a second hand-over, from which the newest is taken first. When it is full the
oldest hint gives way and a scan is asked for. A hint of a close carries what its name stood for just then: with that, and no doubt
since, a later look can tell that nothing was written after the close.

What can't be listed is counted and passed over; only the root itself is a `problem`, and a file system that does not answer: the
thread is then stuck in the kernel, where nobody can end it, and whoever asks for `status` finds that it got nowhere for a minute
(F9). Any other exception ends the thread: `alive` says so, and `start` begins anew. A pass counts what it passes over and publishes
that at its end, and before that where it stands still for long (scan_pass.py).
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from pathlib import Path

from ingestd.core.errors import FileRefusedError
from ingestd.core.model import Close, Sighting
from ingestd.core.ports import Clock
from ingestd.core.scan import ScanStatus
from ingestd.spool.disk import errors, handles
from ingestd.spool.intake.beginning import Beginnings, begins_below
from ingestd.spool.intake.names import Rules
from ingestd.spool.intake.scan_pass import Pass, Standstill
from ingestd.spool.intake.tree import PassNotes
from ingestd.spool.intake.watch import Watcher, WatchMode
from ingestd.threads.worker import Worker

_BREATH_SECONDS = 0.2  # the next scan, at least
_TROUBLE_SECONDS = 10.0  # the next try to list the inbox after it failed, at most; a paused scan's look at the watch
_HINTS = 10_000

NO_ANSWER = "the inbox has not answered for a minute: look at its disk, mount or share"


class FolderScanner(Worker):
    """The Scanner port on a real folder.

    `wake` is called, from any thread and without a lock held, when a name is there after there was none, and after each scan.
    `window` bounds the names waiting to be taken, `hints` those that events brought; `rescan_seconds` may be inf (one scan).
    Any method may be called from any thread.
    """

    name = "scanner"

    def __init__(
        self,
        *,
        root: Path,
        rules: Rules,
        watch: WatchMode,
        rescan_seconds: float,
        clock: Clock,
        wake: Callable[[], None],
        window: int = 2000,
        hints: int = _HINTS,
    ) -> None:
        self._root = os.path.abspath(root)
        self._rules = rules
        self._rescan_seconds = rescan_seconds
        self._beginnings = Beginnings(clock)
        self._mode = watch
        self._clock = clock
        self._wake = wake
        self._window = window
        self._most_hints = hints
        self._changed = threading.Condition()  # guards what follows
        self._found: deque[Sighting] = deque()
        self._hints: OrderedDict[str, Close | None] = OrderedDict()
        self._asked = False
        self._mending = False
        self._stopping = False
        self._status = ScanStatus(passed=PassNotes().passed(rules.include))
        self._watched = False
        self._pass: Pass | None = None  # while one is under way
        self._standstill = Standstill(clock)
        self._watcher = Watcher(
            root=self._root,
            mode=watch,
            recursive=rules.recursive,
            clock=clock,
            hint=self._hint,
            doubt=self.request_scan,
        )

    @property
    def watching(self) -> bool:
        """File events arrive; False where the scan alone finds files."""
        return self._watcher.watching

    def start(self) -> None:
        """Begin, or begin anew what died: the scan, or only the watch."""
        with self._changed:
            if super().alive():
                self._mending = self._asked = self._watcher.crashed
                self._changed.notify_all()
                return
            self._stopping = self._mending = False
            super().start()

    def alive(self) -> bool:
        return super().alive() and (self._mending or not self._watcher.crashed)

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def request_scan(self) -> None:
        """Ask for a full scan that begins after now."""
        with self._changed:
            self._asked = True
            self._changed.notify_all()

    def take(self, limit: int) -> Sequence[Sighting]:
        with self._changed:
            before = len(self._found)
            taken = [self._found.popleft() for _ in range(min(limit, before))]
            if before > self._window // 2 >= len(self._found):
                self._changed.notify_all()
        return taken

    def take_hinted(self, limit: int) -> Sequence[Sighting]:
        with self._changed:
            taken = [self._hints.popitem() for _ in range(min(limit, len(self._hints)))]
        return [Sighting(path=path, hinted=True, closed=closed) for path, closed in taken]

    def offered(self) -> Set[str]:
        with self._changed:
            return {sighting.path for sighting in self._found} | self._hints.keys()

    @property
    def doubted_at(self) -> float:
        return self._watcher.doubted_at

    def status(self) -> ScanStatus:
        status = self._status  # before the hand-over is looked at: a scan ends when all of it has been offered
        with self._changed:
            offered = len(self._found) + len(self._hints)
            stuck = self._standstill.lasts(self._pass)
        known = self._mode != "poll" and status.full_scans > 0
        return replace(
            status,
            problem=NO_ANSWER if stuck else status.problem,
            offered=offered,
            overflows=self._watcher.overflows,
            watching=self._watched if known else None,
        )

    # --- the scanner's own thread ------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while not self._stopping:
                seconds = self._scan()
                self._rest(seconds)
        finally:
            self._watcher.disarm()

    def _scan(self) -> float:
        """One pass; how many seconds it took."""
        began = self._clock.monotonic()
        with self._changed:
            self._asked = False
        under_way = Pass(self._rules, self._beginnings, self._clock, rescan_seconds=self._rescan_seconds)
        self._pass = under_way
        try:
            return self._scanned(under_way, began)
        finally:
            self._pass = None

    def _scanned(self, under_way: Pass, began: float) -> float:
        try:
            root = handles.open_inbox(Path(self._root))
        except OSError as error:
            self._watcher.disarm()
            with self._changed:
                self._mending = False
            self._status = replace(self._status, problem=errors.inbox_problem(error))
            return 0.0
        try:
            self._tend(root)
            for sighting in under_way.sightings(root):
                if self._status.problem is not None:
                    self._status = replace(self._status, problem=None)
                self._offer(sighting, root, under_way)
                if self._stopping:
                    return 0.0
        except OSError as error:
            self._status = replace(self._status, problem=errors.inbox_problem(error))
            return 0.0
        finally:
            handles.close(root)
        seconds = self._clock.monotonic() - began
        self._status = ScanStatus(
            full_scans=self._status.full_scans + 1,
            last_scan_at=self._clock.now(),
            last_scan_seconds=seconds,
            passed=under_way.passed,
        )
        self._wake()
        return seconds

    def _tend(self, root: int) -> None:
        if self._watcher.crashed and not self._mending:
            return  # supervision has to see it first
        stat = os.fstat(root)
        self._watcher.tend(root, (stat.st_dev, stat.st_ino))
        self._watched = self._watcher.watching  # not while it is armed anew, which is no news
        with self._changed:
            self._mending = False

    def _offer(self, sighting: Sighting, root: int, under_way: Pass) -> None:
        while not self._put(sighting):
            if (passed := under_way.count(root)) is not None:
                self._status = replace(self._status, passed=passed)
            pause = 0.0 if under_way.counting else min(self._rescan_seconds, _TROUBLE_SECONDS)
            with self._changed:
                self._changed.wait_for(self._may_go_on, timeout=pause)
            if self._stopping:
                return
            self._tend(root)

    def _put(self, sighting: Sighting) -> bool:
        with self._changed:
            waiting = len(self._found)
            if waiting >= self._window:
                return False
            self._found.append(sighting)
        if not waiting:
            self._wake()
        return True

    def _may_go_on(self) -> bool:
        return self._stopping or self._mending or len(self._found) <= self._window // 2

    def _rest(self, seconds: float) -> None:
        """Even scans that were asked for leave the disk as long a pause as the last one took."""
        longest = threading.TIMEOUT_MAX if self._status.problem is None else _TROUBLE_SECONDS
        rest = min(self._rescan_seconds, longest)
        breath = min(rest, max(_BREATH_SECONDS, seconds))
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, timeout=breath)
            self._changed.wait_for(self._may_scan, timeout=rest - breath)

    def _may_scan(self) -> bool:
        return self._stopping or self._mending or self._asked

    # --- watchdog's threads ------------------------------------------------------------------------------------------------------

    def _hint(self, path: str, closed: bool, before: str) -> None:
        if not self._takes(path):
            return
        close = self._close(path) if closed and not (before and self._rules.fits(before)) else None
        with self._changed:
            first = not self._hints
            self._hints[path] = close
            self._hints.move_to_end(path)
            if len(self._hints) > self._most_hints:
                self._hints.popitem(last=False)
                self._asked = True
                self._changed.notify_all()
        if first:
            self._wake()

    def _takes(self, path: str) -> bool:
        if not self._rules.fits(path):
            return False
        try:
            return not self._rules.dicom or begins_below(Path(self._root), path)
        except (OSError, FileRefusedError):
            return False

    def _close(self, path: str) -> Close | None:
        """What was closed: a change after this is none of its writer's that the event tells of."""
        try:
            status = os.lstat(os.path.join(self._root, path))
        except OSError:
            return None
        return Close(at=self._clock.now(), stamp=handles.stamp_of(status))
