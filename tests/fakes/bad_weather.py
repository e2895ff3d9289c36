"""A proxy before a good service that misbehaves as services, gateways and networks do: now and then, and in storms.

A store meets a fault of its own with a probability; in a storm, of some seconds, one fault meets every request, the control
too, as when the service itself is in trouble. `clear` ends it for good. What was done is counted by its name.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from fakes.hostile_server import Peer, answer, hostile

EMPTY_STORE = 100  # bytes: the control is smaller, an instance larger
JSON = "application/dicom+json"
HTML = "text/html"

Fault = Callable[["_Turn"], None]


class _Turn:
    """One request whose head was read, on its connection."""

    def __init__(self, peer: Peer, line: str, headers: dict[str, str], behind: str) -> None:
        self.peer = peer
        self._line = line
        self._headers = headers
        self._behind = behind
        self.size = int(headers.get("content-length", "0"))

    def read(self) -> bytes:
        return self.peer.body(self.size)

    def answered(self) -> bytes:
        """What the good service says to it."""
        method, path, _ = self._line.split(" ")
        connection = http.client.HTTPConnection(self._behind, timeout=60)
        try:
            connection.request(method, path, body=self.read(), headers=self._headers)
            response = connection.getresponse()
            kind = response.getheader("content-type", "text/plain")
            return answer(response.status, response.read(), content_type=kind)
        finally:
            connection.close()

    def passed_on(self) -> None:
        self.peer.send(self.answered())

    @property
    def is_store(self) -> bool:
        return self._line.startswith("POST") and self.size > EMPTY_STORE


def _says(status: int, body: bytes = b"", kind: str = "text/plain", **headers: str) -> Fault:
    def fault(turn: _Turn) -> None:
        turn.read()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        turn.peer.send(answer(status, body, content_type=kind, headers=named))

    return fault


def _early(status: int) -> Fault:
    def fault(turn: _Turn) -> None:
        turn.peer.send(answer(status, headers={"Connection": "close"}))
        turn.peer.half_close()
        turn.peer.everything()
        raise ConnectionAbortedError("nothing more on this connection")

    return fault


def _reset_while_sending(turn: _Turn) -> None:
    turn.peer.body(turn.size // 2)
    turn.peer.reset()


def _reset_when_stored(turn: _Turn) -> None:
    turn.answered()
    turn.peer.reset()


def _closed_when_stored(turn: _Turn) -> None:
    turn.answered()
    turn.peer.drop()


def _cut_short(turn: _Turn) -> None:
    turn.peer.send(turn.answered()[:-20])
    turn.peer.drop()


def _slowly(turn: _Turn) -> None:
    for byte in turn.answered()[:40]:
        turn.peer.send(bytes([byte]))
        time.sleep(0.02)
    turn.peer.drop()


FAULTS: dict[str, Fault] = {
    "503": _says(503, b"busy", Retry_After="1"),
    "429": _says(429, Retry_After="1"),
    "500": _says(500, b"oops"),
    "502 html": _says(502, b"<html>bad gateway</html>", HTML),
    "504": _says(504),
    "408": _says(408),
    "403": _says(403, b"Authorization failed."),
    "404": _says(404),
    "302": _says(302, Location="http://127.0.0.1:9/"),
    "early 401": _early(401),
    "early 503": _early(503),
    "reset while sending": _reset_while_sending,
    "reset when stored": _reset_when_stored,
    "closed when stored": _closed_when_stored,
    "answer cut short": _cut_short,
    "answer slow, then cut": _slowly,
}
"""What may meet the control as well: then it tells that the service is in trouble."""

LIES: dict[str, Fault] = {
    "204": _says(204),
    "400": _says(400, b"bad request"),
    "409 empty": _says(409),
    "200 empty": _says(200, b"", JSON),
    "200 html": _says(200, b"<html>please sign in</html>", HTML),
    "200 names nobody": _says(200, b"{}", JSON),
    "202 garbage": _says(202, b'{"00081199":', JSON),
}
"""What is said to one store and no other: said three times to one file alone, it would be a verdict about that file."""


class BadWeather:
    """`share` of the stores meet a fault; a storm begins every `between` seconds on average and lasts up to `lasting`."""

    def __init__(
        self, behind: str, *, seed: int, share: float = 0.05, between: float = 20.0, lasting: float = 6.0
    ) -> None:
        self._behind = urlsplit(behind).netloc
        self._random = random.Random(seed)
        self._share = share
        self._between = between
        self._lasting = lasting
        self._storm: tuple[str, float] | None = None
        self._next_storm = time.monotonic() + between
        self._lock = threading.Lock()
        self._cleared = False
        self.met: Counter[str] = Counter()

    def clear(self) -> None:
        self._cleared = True

    def __call__(self, peer: Peer) -> None:
        while True:
            line, headers = peer.head()
            turn = _Turn(peer, line, headers, self._behind)
            name = self._fault(turn)
            if name is None:
                turn.passed_on()
            else:
                (FAULTS | LIES)[name](turn)

    def _fault(self, turn: _Turn) -> str | None:
        with self._lock:
            if self._cleared:
                return None
            now = time.monotonic()
            if now >= self._next_storm:
                self._storm = (self._random.choice(list(FAULTS)), now + self._random.uniform(0.5, self._lasting))
                self._next_storm = now + self._random.expovariate(1 / self._between)
            if self._storm is not None and now < self._storm[1]:
                name = self._storm[0]
            elif turn.is_store and self._random.random() < self._share:
                name = self._random.choice([*FAULTS, *LIES])
            else:
                return None
            self.met[name] += 1
            return name


@contextmanager
def bad_weather(behind: str, *, seed: int) -> Iterator[tuple[str, BadWeather]]:
    """The URL of a proxy before `behind`, and its weather."""
    weather = BadWeather(behind, seed=seed)
    with hostile(weather) as server:
        yield f"http://127.0.0.1:{server.port}{urlsplit(behind).path}", weather
