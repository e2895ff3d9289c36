"""What the endpoints share: what a path names, which answers a request would take, and how an answer is written."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ingestd.emulator import RefusedError
from ingestd.emulator.dicom.uids import DEFAULT_PARTITION, Scope
from ingestd.emulator.dicom.validation import identifier_complaint
from ingestd.emulator.dicom.value_rules import is_uid
from ingestd.emulator.http.negotiation import DICOM_JSON, accepts

Endpoint = Callable[[Request], Response]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAMES: Final = {"study": "StudyInstanceUid", "series": "SeriesInstanceUid", "instance": "SopInstanceUid"}
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


def demand_dicom_json(request: Request) -> None:
    """Raises RefusedError (406) unless the answer may be application/dicom+json; without an Accept header it may not."""
    if not accepts(request.headers.getlist("accept"), DICOM_JSON):
        raise RefusedError(406, "")


def partition_of(request: Request) -> str:
    """The partition that the path names, or the one without a name."""
    return str(request.path_params.get("partition", DEFAULT_PARTITION))


def uid_of(request: Request, level: str) -> str | None:
    """The UID that the path has for study, series or instance, without padding; None when it has none.

    Raises:
        RefusedError: 400, it breaks the service's rule for UIDs.
    """
    value = request.path_params.get(level)
    if value is None:
        return None
    if not is_uid(value):
        raise RefusedError(400, identifier_complaint(_NAMES[level]))
    return str(value).rstrip()


def scope_of(request: Request) -> Scope:
    """The study, series or instance of the path. Raises RefusedError (400) for a UID that is none."""
    return Scope(
        study=uid_of(request, "study") or "",
        series=uid_of(request, "series"),
        sop_instance=uid_of(request, "instance"),
        partition=partition_of(request),
    )


def base_url(request: Request) -> str:
    """What URLs in an answer begin with: the service as the client called it, with version and partition."""
    host = request.headers.get("host", "")
    if _HOST.fullmatch(host) is None:
        name, port = request.scope.get("server") or ("localhost", None)
        host = name if port is None else f"{name}:{port}"
    partition = request.path_params.get("partition")
    inside = "" if partition is None else f"/partitions/{partition}"
    return f"{request.scope['scheme']}://{host}{request.scope['root_path']}{inside}"


def timestamp(at_ms: int) -> str:
    """Milliseconds since 1970 as the service writes a time."""
    return (EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds")


def dicom_json(body: str, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in the DICOM JSON Model."""
    return Response(body, status_code=status, headers=headers, media_type=f"{DICOM_JSON}; charset=utf-8")


def not_found(level: str) -> Response:
    """404 in the service's words; `level` is study, series, instance or frame."""
    return PlainTextResponse(f"The specified {level} cannot be found.", status_code=404)
