"""Data partitions (Azure): a POST creates the one it names, so an empty Store transaction may go only to one that exists.

GET {base}/partitions lists them, at the base URI like the change feed. There is no way to take a partition away, so what was listed
once is believed for a while; what was not listed is asked for again each time.
"""

from __future__ import annotations

import json

from ingestd.core.ports import Clock

KNOWN_SECONDS = 600.0  # a partition that was listed, until the list is asked for anew: none can be taken away
ACCEPT = "application/json"
_NO_SUCH_ROUTE = frozenset({400, 404, 405, 501})  # 400: Azure, where partitions are not enabled


def partition_path(name: str | None) -> str:
    """What stands before all that is stored and read; nothing without a partition."""
    return f"/partitions/{name}" if name is not None else ""


class Partition:
    """The partition that we store to, and whether it is known to exist. Any thread."""

    def __init__(self, name: str, *, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._listed_at: float | None = None

    def exists(self) -> bool:
        """It was listed not long ago."""
        return self._listed_at is not None and self._clock.monotonic() - self._listed_at < KNOWN_SECONDS

    def learn(self, status: int | None, content: bytes) -> str | None:
        """Take the answer to GET /partitions in. What is wrong with `service.partition`; None: listed, or nothing was said."""
        if status in _NO_SUCH_ROUTE:
            return (
                f"service.partition: the service has no data partitions ({status} for /partitions): take the key away"
            )
        if status not in (200, 204):
            return None
        names = _names(content) if status == 200 else frozenset()
        if names is None:
            return "service.partition: /partitions answers with no list of partitions: check service.url"
        if self._name not in names:
            return f"service.partition: the service has no partition {self._name}: correct it, or create it by a first store"
        self._listed_at = self._clock.monotonic()
        return None


def _names(content: bytes) -> frozenset[str] | None:
    """The names in the list; the key was written with a small and with a capital P."""
    try:
        listed = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        return None
    found = (value for one in listed for key, value in one.items() if key.lower() == "partitionname")
    return frozenset(name for name in found if isinstance(name, str))
