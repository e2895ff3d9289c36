"""The beat: once a second, after a tick, each part that looks after the daemon has its turn, and dead threads are started again.

What must not wait for the second is done after every tick: a service that fails is said at once, what second looks found is taken
in, and the next ones are handed out as soon as that is on the disk.
"""

from __future__ import annotations

from collections.abc import Sequence

from ingestd.core.events import Event
from ingestd.core.pace.backoff import growing
from ingestd.core.ports import Recorder, Supervised
from ingestd.daemon.ending.afterwards import Afterwards
from ingestd.daemon.housekeeping import Housekeeping
from ingestd.daemon.pulse import Pulse
from ingestd.daemon.rate_limit import Every

BEAT_SECONDS = 1.0  # the next look at threads, folders, the brake and the state folder
RESTART_SECONDS = 1.0  # a dead thread, until its first restart; then twice as long each time
RESTART_CAP_SECONDS = 60.0  # a thread that dies again and again, until its restart, at most


class Beat:
    """The owner thread's."""

    def __init__(self, *, pulse: Pulse, housekeeping: Housekeeping, afterwards: Afterwards, recorder: Recorder) -> None:
        self._pulse = pulse
        self._housekeeping = housekeeping
        self._afterwards = afterwards
        self._recorder = recorder
        self._second = Every(BEAT_SECONDS)
        self._restarts: dict[str, tuple[int, float]] = {}  # how often in a row, and when it may be started again

    def after_tick(self, now: float, *, threads: Sequence[Supervised]) -> None:
        """`threads` are those that must be alive; none while the daemon stops. Raises StateHeldError as Housekeeping does."""
        self._pulse.say_what_holds(now)
        if self._second.due(now):
            self._supervise(threads, now)
            self._pulse.beat(now, stopping=not threads)
            self._housekeeping.beat(now)
        self._afterwards.after_tick(now)

    def _supervise(self, threads: Sequence[Supervised], now: float) -> None:
        """A thread that has died is started again, counted and said; never silent (F10)."""
        for thread in threads:
            tries, due_at = self._restarts.get(thread.name, (0, now))
            if thread.alive():
                if tries and now >= due_at + RESTART_CAP_SECONDS:
                    del self._restarts[thread.name]
            elif now >= due_at:
                after = growing(base=RESTART_SECONDS, attempt=tries + 1, cap=RESTART_CAP_SECONDS)
                self._restarts[thread.name] = (tries + 1, now + after)
                self._restart(thread)

    def _restart(self, thread: Supervised) -> None:
        try:
            thread.start()
        except (RuntimeError, MemoryError):  # there is no thread to be had (F46): tried again when its time comes
            return
        self._recorder.restarted(thread.name)
        self._recorder.log(Event.THREAD_RESTARTED, thread=thread.name)
