"""The time and the ledger of one request."""

from __future__ import annotations

from ingestd.core.ports import Clock

HTTP = b"HTTP/"


class Call:
    """How long the parts of one request may take, whether a connection was made for it, what went out and what came in.

    Seconds on Clock.monotonic(); bytes as HTTP has them, headers included and before TLS. One thread but where it says otherwise.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        send_within: float,
        answer_within: float,
        connect_within: float,
        answer_rate: int | None = None,
    ) -> None:
        self._clock = clock
        self._answer_within = answer_within
        self._answer_rate = answer_rate
        self._deadline = clock.monotonic() + send_within + answer_within
        self._connect_within = connect_within
        self._connect_by: float | None = None
        self._answer_since: float | None = None
        self._heard = 0
        self._heard_at: float | None = None
        self.connected = False
        self.tunnelling = False  # a proxy was asked for a tunnel, which does not stand yet
        self.sent = 0
        self.received = 0
        self._beginning = b""

    def hear(self, data: bytes) -> None:
        """A piece of the answer came in."""
        self._beginning += data[: len(HTTP) - len(self._beginning)]
        self.received += len(data)

    @property
    def is_foreign(self) -> bool:
        """Whether what came in is no answer of HTTP/1: it begins otherwise, as SSH, TLS and HTTP/2 do."""
        return not HTTP.startswith(self._beginning)

    @property
    def silent_since(self) -> float | None:
        """Since when all has been sent and nothing has come back; any thread may ask."""
        return None if self.received else self._answer_since

    def time_to_connect(self) -> float:
        """How long the next step to a connection may wait; name lookup, TCP, a proxy's tunnel and TLS share what there is."""
        now = self._clock.monotonic()
        if self._connect_by is None:
            self._connect_by = now + self._connect_within
        return self._connect_by - now

    def time_to_send(self) -> float:
        """How long the next write may wait; a peer that takes nothing at all has no longer than for its answer."""
        if self.tunnelling:
            return self.time_to_connect()
        return min(self._answer_within, self._deadline - self._clock.monotonic())

    def time_to_answer(self) -> float:
        """How long the next read may wait: the whole answer has `answer_within` seconds from the end of the writing.

        With `answer_rate` (bytes a second) what has arrived gives more, and then nothing may stay away for `answer_within` either.
        """
        if self.tunnelling:
            return self.time_to_connect()
        now = self._clock.monotonic()
        if self._answer_since is None:
            self._answer_since = now
            self._deadline = min(self._deadline, now + self._answer_within)
        if self._answer_rate is None:
            return self._deadline - now
        if self.received > self._heard or self._heard_at is None:
            self._heard, self._heard_at = self.received, now
        return min(self._heard_at + self._answer_within, self._deadline + self.received / self._answer_rate) - now
