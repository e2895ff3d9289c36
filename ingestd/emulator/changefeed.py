"""The change feed as version 2 serves it: a window of time, oldest change first, a page of it by offset and limit."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ingestd.emulator.archive import Archive, Change
from ingestd.emulator.reception import RefusedError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BEGINNING: Final = "0001-01-01T00:00:00Z"
_END: Final = "9999-12-31T23:59:59Z"
_LARGEST: Final = 2**63 - 1
_MOST: Final = 200
_DEFAULT: Final = 100


class ChangeFeed:
    """GET /changefeed and /changefeed/latest."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def window(self, request: Request) -> Response:
        """The changes in [startTime, endTime); 400 for whatever cannot be understood."""
        query = _query(request)
        start, end = _moment(query, "startTime", _BEGINNING), _moment(query, "endTime", _END)
        if end <= start:
            raise RefusedError(400, "The start time must occur strictly before the end time.")
        changes = self._archive.changes(
            from_ms=start,
            to_ms=end,
            offset=_number(query, "offset", default=0, least=0, most=_LARGEST),
            limit=_number(query, "limit", default=_DEFAULT, least=1, most=_MOST),
            with_metadata=_flag(query, "includeMetadata"),
        )
        return JSONResponse([_entry(change) for change in changes])

    def latest(self, request: Request) -> Response:
        """The newest change; 204 while there is none."""
        change = self._archive.latest_change(with_metadata=_flag(_query(request), "includeMetadata"))
        return Response(status_code=204) if change is None else JSONResponse(_entry(change))


def _entry(change: Change) -> dict[str, Any]:  # Any: a JSON object
    entry: dict[str, Any] = {
        "Sequence": change.sequence,
        "StudyInstanceUid": change.uids.study,
        "SeriesInstanceUid": change.uids.series,
        "SopInstanceUid": change.uids.sop_instance,
        "Action": change.action,
        "Timestamp": (_EPOCH + timedelta(milliseconds=change.at_ms)).isoformat(timespec="milliseconds"),
        "State": change.state,
    }
    if change.metadata is not None:
        entry["Metadata"] = json.loads(change.metadata)
    return entry


def _query(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.query_params.items()}


def _moment(query: dict[str, str], name: str, default: str) -> int:
    """Milliseconds since 1970, rounded up: the feed's own times are whole ones."""
    try:
        moment = datetime.fromisoformat(query.get(name.lower(), default))
        if moment.tzinfo is None:
            raise RefusedError(400, "Date and time value must specify a time zone.")
        return -((_EPOCH - moment) // timedelta(milliseconds=1))
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
