"""Azure's change feed: what was created, updated and deleted, in order. At the base URL, like the partitions."""

from __future__ import annotations

from collections.abc import Callable

from ingestd.dicomweb.asking.session import Session
from ingestd.dicomweb.origin.failures import Doing
from ingestd.dicomweb.payload.dicom_json import one_dataset
from ingestd.dicomweb.payload.json_reader import Object

ANY = "*/*"  # it is application/json; Microsoft's own examples ask for nothing
_WITHOUT_METADATA = ("includeMetadata", "false")
_DOING = Doing(what="changefeed", feature="no change feed", route=True)


def changes(
    session: Session,
    *,
    each: Callable[[Object], None],
    limit: int | None = None,
    offset: int = 0,
    start: str | None = None,
    end: str | None = None,
) -> int:
    """One page of the feed, oldest change first; how many came. `start` (inclusive) and `end` are RFC 3339, for /v2.

    Raises ServiceError.
    """
    given = {
        "limit": str(limit) if limit is not None else None,
        "offset": str(offset) if offset else None,
        "startTime": start,
        "endTime": end,
    }
    query = [*((name, value) for name, value in given.items() if value is not None), _WITHOUT_METADATA]
    return session.objects("/changefeed", _DOING, each=each, accept=ANY, query=query, at_base=True)


def latest(session: Session) -> Object | None:
    """The newest change; None while there is none. Raises ServiceError."""
    reply = session.get(
        "/changefeed/latest", _DOING, accept=ANY, query=[_WITHOUT_METADATA], good=(200, 204), at_base=True
    )
    if reply.status == 204:
        return None
    found = one_dataset(reply.content_type, reply.content) if reply.whole else None
    if found is None:
        raise session.error(_DOING, reply)
    return found
