"""What the service has of a study, asked before something is sent to it: Search (PS3.18 10.6) by the daemon.

A send waits for this no longer than `within` seconds in all. What was not answered by then, or was answered with something else
than what was asked for, is not known; a series counts only if all its pages came, the last of them empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import quote, urlencode

from ingestd.core.answers.answer import Listed
from ingestd.core.ports import Clock
from ingestd.dicomweb.payload.json_reader import Object, ObjectsSink
from ingestd.dicomweb.wire.exchange import Reply

PAGE = 200  # the most that Azure gives
_STUDY_UID = "0020000D"
_SERIES_UID = "0020000E"
_SOP_INSTANCE_UID = "00080018"
_EMPTY = 204


class Ask(Protocol):
    """GET a path with its query; the answer goes to the sink, and must be there within so many seconds."""

    def __call__(self, path: str, *, sink: ObjectsSink, within: float) -> Reply: ...


class Listing:
    """One round of questions. `within` in seconds from its construction; `rate` in bytes a second."""

    def __init__(self, ask: Ask, *, clock: Clock, within: float, rate: int) -> None:
        self._ask = ask
        self._clock = clock
        self._until = clock.monotonic() + within
        self._rate = rate

    def of(self, study: str, series: Sequence[str]) -> Listed:
        """Whether the study is known; where it is, the instances of these series of it."""
        known = self._knows(study)
        if not known:
            return Listed(answered=known is not None, absent=known is False)
        listed = {uid: names for uid in series if (names := self._series(study, uid)) is not None}
        return Listed(answered=True, series=listed)

    def shows(self, study: str, series: str, instance: str) -> bool | None:
        """Whether searches show this instance and its study; None where they were not answered.

        Both, because `of` goes by both: a search for studies that never shows any would make each file new.
        """
        found: list[str] = []
        path = f"/studies/{quote(study)}/series/{quote(series)}/instances"
        query = {"SOPInstanceUID": instance, "limit": str(PAGE)}
        if not self._each(path, query, _into(found, study, series)):
            return None
        return self._knows(study) if instance in found else False

    def _knows(self, study: str) -> bool | None:
        """Whether a search shows the study; None where it was not answered, or with something else."""
        found: list[str] = []
        query = {"StudyInstanceUID": study, "limit": "1"}
        if not self._each("/studies", query, lambda one: found.append(_uid(one, _STUDY_UID))):
            return None
        return study in found or (None if found else False)

    def _series(self, study: str, series: str) -> frozenset[str] | None:
        """All of its SOP Instance UIDs; None where they did not all come.

        Only an empty page is the end. A service that knows no paging gives the same again, and may leave out what is too much.
        """
        names: set[str] = set()
        path = f"/studies/{quote(study)}/series/{quote(series)}/instances"
        offset = 0
        while True:
            page: list[str] = []
            query = {"limit": str(PAGE), "offset": str(offset)}
            if not self._each(path, query, _into(page, study, series)):
                return None
            if not page:
                return frozenset(names)
            if "" in page or names.issuperset(page):  # an instance without its name: nobody knows which
                return None
            names.update(page)
            offset += len(page)

    def _each(self, path: str, query: dict[str, str], each: Callable[[Object], None]) -> bool:
        """Whether the whole answer was read."""
        left = self._until - self._clock.monotonic()
        if left <= 0:
            return False
        sink = ObjectsSink(each, rate=self._rate)
        reply = self._ask(f"{path}?{urlencode(query)}", sink=sink, within=left)
        return reply.status == _EMPTY or (reply.status == 200 and reply.whole and sink.finish())


def _into(names: list[str], study: str, series: str) -> Callable[[Object], None]:
    """Its SOP Instance UID; empty where it has none, or is of another series (which PS3.18 10.6.3 lets a row leave out)."""

    def into(one: Object) -> None:
        asked = _uid(one, _STUDY_UID) in ("", study) and _uid(one, _SERIES_UID) in ("", series)
        names.append(_uid(one, _SOP_INSTANCE_UID) if asked else "")

    return into


def _uid(dataset: Object, tag: str) -> str:
    """The one UID of an element; empty where there is none."""
    element = dataset.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    one = values[0] if isinstance(values, list) and len(values) == 1 else None
    return one.strip(" \0") if isinstance(one, str) else ""
