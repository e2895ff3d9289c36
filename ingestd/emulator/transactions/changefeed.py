"""The change feed, of all partitions: version 2 serves a window of time, oldest change first, a page of it by offset and limit;
version 1 the changes numbered offset + 1 to offset + limit, of which some may be missing, so that an empty page ends nothing.
"""

import json
from datetime import datetime, timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ingestd.emulator import RefusedError
from ingestd.emulator.archive.archive import Archive
from ingestd.emulator.http.endpoints import EPOCH, Endpoint, timestamp

_ROWS: Final = """
SELECT c.sequence, c.at_ms, c.action, c.partition, c.study, c.series, c.sop,
    CASE WHEN i.id IS NULL THEN 'deleted' WHEN i.id = c.instance_id THEN 'current' ELSE 'replaced' END,
    CASE WHEN ? THEN m.json END
FROM change c
LEFT JOIN instance i ON i.partition = c.partition AND i.study = c.study AND i.series = c.series AND i.sop = c.sop
LEFT JOIN metadata m ON m.instance_id = i.id
"""
_WINDOW: Final = _ROWS + "WHERE c.at_ms >= ? AND c.at_ms < ? ORDER BY c.at_ms, c.sequence LIMIT ? OFFSET ?"
_AFTER: Final = _ROWS + "WHERE c.sequence > ? AND c.sequence <= ? ORDER BY c.sequence"
_LATEST_BY_TIME: Final = _ROWS + "ORDER BY c.at_ms DESC, c.sequence DESC LIMIT 1"
_LATEST_BY_SEQUENCE: Final = _ROWS + "ORDER BY c.sequence DESC LIMIT 1"

_BEGINNING: Final = "0001-01-01T00:00:00Z"
_END: Final = "9999-12-31T23:59:59Z"
_LARGEST: Final = 2**63 - 1

Row = tuple[int, int, str, str, str, str, str, str, str | None]
Entry = dict[str, Any]  # Any: a JSON object


class ChangeFeed:
    """GET /changefeed and /changefeed/latest, of the version of the service that is asked."""

    def __init__(self, archive: Archive, *, version_1: bool) -> None:
        self._archive = archive
        self._version_1 = version_1

    @property
    def page(self) -> Endpoint:
        """GET /changefeed; 400 for whatever cannot be understood."""
        return self._after if self._version_1 else self._in_window

    def latest(self, request: Request) -> Response:
        """The newest change; 204 while there is none."""
        sql = _LATEST_BY_SEQUENCE if self._version_1 else _LATEST_BY_TIME
        found = self._entries(sql, _flag(_query(request), "includeMetadata"))
        return JSONResponse(found[0]) if found else Response(status_code=204)

    def _in_window(self, request: Request) -> Response:
        query = _query(request)
        start, end = _moment(query, "startTime", _BEGINNING), _moment(query, "endTime", _END)
        if end <= start:
            raise RefusedError(400, "The start time must occur strictly before the end time.")
        offset = _number(query, "offset", default=0, least=0, most=_LARGEST)
        limit = _number(query, "limit", default=100, least=1, most=200)
        return JSONResponse(self._entries(_WINDOW, _flag(query, "includeMetadata"), start, end, limit, offset))

    def _after(self, request: Request) -> Response:
        query = _query(request)
        offset = _number(query, "offset", default=0, least=0, most=_LARGEST)
        limit = _number(query, "limit", default=10, least=1, most=100)
        last = min(offset + limit, _LARGEST)
        return JSONResponse(self._entries(_AFTER, _flag(query, "includeMetadata"), offset, last))

    def _entries(self, sql: str, with_metadata: bool, *parameters: int) -> list[Entry]:
        with self._archive.reading() as connection:
            rows = connection.execute(sql, (with_metadata, *parameters)).fetchall()
        return [_entry(row) for row in rows]


def _entry(row: Row) -> Entry:
    sequence, at_ms, action, partition, study, series, sop, state, metadata = row
    entry: Entry = {
        "Sequence": sequence,
        "PartitionName": partition,
        "StudyInstanceUid": study,
        "SeriesInstanceUid": series,
        "SopInstanceUid": sop,
        "Action": action,
        "Timestamp": timestamp(at_ms),
        "State": state,
    }
    if metadata is not None:
        entry["Metadata"] = json.loads(metadata)
    return entry


def _query(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.query_params.items()}


def _moment(query: dict[str, str], name: str, default: str) -> int:
    """Milliseconds since 1970, rounded up: the feed's own times are whole ones."""
    try:
        moment = datetime.fromisoformat(query.get(name.lower(), default))
        if moment.tzinfo is None:
            raise RefusedError(400, "Date and time value must specify a time zone.")
        return -((EPOCH - moment) // timedelta(milliseconds=1))
    except (ValueError, OverflowError) as error:
        raise _bad(name) from error


def _number(query: dict[str, str], name: str, *, default: int, least: int, most: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise _bad(name)
    return int(text)


def _flag(query: dict[str, str], name: str) -> bool:
    text = query.get(name.lower(), "true").lower()
    if text not in {"true", "false"}:
        raise _bad(name)
    return text == "true"


def _bad(name: str) -> RefusedError:
    return RefusedError(400, f"The following query parameter is invalid: {name}.")
