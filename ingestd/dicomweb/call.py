"""The time and the ledger of one request."""

from __future__ import annotations

from ingestd.core.ports import Clock


class Call:
    """How long the parts of one request may take, whether a connection was made for it, what went out and what came in.

    Seconds on Clock.monotonic(); bytes as HTTP has them, headers included and before TLS. One thread.
    """

    def __init__(self, clock: Clock, *, send_within: float, answer_within: float, connect_within: float) -> None:
        self._clock = clock
        self._answer_within = answer_within
        self._deadline = clock.monotonic() + send_within + answer_within
        self._connect_within = connect_within
        self._connect_by: float | None = None
        self._answering = False
        self.connected = False
        self.sent = 0
        self.received = 0

    def time_to_connect(self) -> float:
        """How long the next step to a connection may wait; TCP and TLS share what there is."""
        now = self._clock.monotonic()
        if self._connect_by is None:
            self._connect_by = now + self._connect_within
        return max(self._connect_by - now, 0.001)

    def time_to_send(self) -> float:
        """How long the next write may wait; a peer that takes nothing at all has no longer than for its answer."""
        return min(self._answer_within, self._deadline - self._clock.monotonic())

    def time_to_answer(self) -> float:
        """How long the next read may wait: the whole answer has `answer_within` seconds from the end of the writing."""
        now = self._clock.monotonic()
        if not self._answering:
            self._answering = True
            self._deadline = min(self._deadline, now + self._answer_within)
        return self._deadline - now
