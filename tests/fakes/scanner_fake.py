"""In-tree fake of the Scanner port: an inbox of names in memory, scanned when a test says so."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence, Set
from dataclasses import replace

from ingestd.core.model import Close, Sighting
from ingestd.core.ports import Clock
from ingestd.core.scan import Passed, ScanStatus


def _nothing() -> None: ...


class FakeScanner:
    """Offers each name once when it is put there, and all names that are still there at each `request_scan`.

    `start` makes the first full scan. `problem` is what status says; `die` is what a crashed thread looks like.
    """

    def __init__(self, *, clock: Clock | None = None, wake: Callable[[], None] = _nothing) -> None:
        self._clock = clock
        self._wake = wake
        self._present: dict[str, None] = {}
        self._found: deque[str] = deque()
        self._hints: OrderedDict[str, Close | None] = OrderedDict()
        self.doubted_at = float("-inf")
        self._status = ScanStatus()
        self._running = False
        self.starts = 0
        self.problem: str | None = None
        self.overflows = 0
        self.passed = Passed()
        self.inodes: dict[str, int] = {}  # by path, where the folder lists them

    @property
    def name(self) -> str:
        return "scanner"

    def start(self) -> None:
        if self._running:
            return
        self._running = True
        self.starts += 1
        self.request_scan()

    def alive(self) -> bool:
        return self._running

    def stop(self) -> None:
        self._running = False

    def join(self, timeout: float) -> None: ...

    def take(self, limit: int) -> Sequence[Sighting]:
        taken = [self._found.popleft() for _ in range(min(limit, len(self._found)))]
        return [Sighting(path=path, inode=self.inodes.get(path)) for path in taken]

    def take_hinted(self, limit: int) -> Sequence[Sighting]:
        taken = [self._hints.popitem() for _ in range(min(limit, len(self._hints)))]
        return [Sighting(path=path, hinted=True, closed=closed) for path, closed in taken]

    def offered(self) -> Set[str]:
        return {*self._found, *self._hints}

    def status(self) -> ScanStatus:
        return replace(
            self._status,
            offered=len(self._found) + len(self._hints),
            problem=self.problem,
            overflows=self.overflows,
            passed=self.passed,
        )

    def request_scan(self) -> None:
        """A full scan happens now, unless the inbox has a problem or nobody runs."""
        if not self._running or self.problem is not None:
            return
        self._found = deque(self._present)
        self._status = ScanStatus(
            full_scans=self._status.full_scans + 1, last_scan_at=self._clock.now() if self._clock else 0.0
        )
        self._wake()

    # --- what only a test does ---------------------------------------------------------------------------------------------------

    def offer(self, *paths: str) -> None:
        """Names the scan comes upon; they stay until `remove`."""
        for path in paths:
            self._present[path] = None
            if self._running:
                self._found.append(path)
        self._wake()

    def hint(self, *paths: str, closed: Close | None = None) -> None:
        """Names a file event brings; they are there for the scan as well."""
        for path in paths:
            self._present[path] = None
            self._hints[path] = closed
            self._hints.move_to_end(path)
        self._wake()

    def remove(self, path: str) -> None:
        """It is no longer in the inbox; what was offered already stays offered, as with the real one."""
        self._present.pop(path, None)

    def die(self) -> None:
        self._running = False
