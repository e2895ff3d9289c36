"""The routes of the Studies service and the change feed. What blocks runs on a thread of the pool, never on the event loop."""

import json
import sqlite3
from collections.abc import Iterator
from typing import BinaryIO, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from ingestd.emulator.access import Access, BearerOnly
from ingestd.emulator.archive import Archive
from ingestd.emulator.changefeed import ChangeFeed
from ingestd.emulator.negotiation import DICOM, DICOM_JSON, MediaType, accepts
from ingestd.emulator.reception import STEP_BYTES, Reception, RefusedError, reception_for
from ingestd.emulator.transaction import Answer, store
from ingestd.emulator.uids import Uids
from ingestd.emulator.validation import identifier_complaint
from ingestd.emulator.values import is_uid

VERSION: Final = "v2"
"""The one version served so far; every route and every URL in an answer begins with it."""

MAX_REQUEST_BYTES: Final = 4 * 1024**3
"""What Azure takes in one request."""

_EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
_INSTANCE: Final = "/studies/{study}/series/{series}/instances/{instance}"


def application(archive: Archive, *, access: Access | None, max_request_bytes: int) -> Starlette:
    """The whole service as an ASGI application; the archive stays the caller's to close."""
    studies = Studies(archive, max_request_bytes)
    changes = ChangeFeed(archive)
    routes = [
        Route(f"/{VERSION}/studies", studies.store, methods=["POST", "PUT"]),
        Route(f"/{VERSION}/studies/{{study}}", studies.store, methods=["POST", "PUT"]),
        Route(f"/{VERSION}{_INSTANCE}", studies.instance, methods=["GET", "DELETE"]),
        Route(f"/{VERSION}{_INSTANCE}/metadata", studies.metadata),
        Route(f"/{VERSION}/changefeed", changes.window),
        Route(f"/{VERSION}/changefeed/latest", changes.latest),
    ]
    for route in routes:
        # Starlette adds HEAD to every GET; the service has no HEAD route.
        (route.methods or set()).discard("HEAD")
    app = Starlette(
        routes=routes,
        middleware=[Middleware(BearerOnly, access=access)] if access is not None else [],
        exception_handlers={RefusedError: _refused, sqlite3.Error: _unavailable, OSError: _unavailable},
    )
    app.router.redirect_slashes = False
    return app


class Studies:
    """Store and retrieve (PS3.18 10.4, 10.5)."""

    def __init__(self, archive: Archive, max_request_bytes: int) -> None:
        self._archive = archive
        self._max_request_bytes = max_request_bytes

    async def store(self, request: Request) -> Response:
        """POST /studies and /studies/{study}; PUT takes the place of what is held ("upsert", the managed service alone has it)."""
        _demand(request, DICOM_JSON)
        study = request.path_params.get("study")
        if study is not None:
            _demand_uid("StudyInstanceUid", study)
        content_type = request.headers.get("content-type", "")
        reception = reception_for(content_type, self._archive.new_part)
        try:
            rest = await self._receive(request, reception, may_cut=content_type != DICOM)
            answer = await run_in_threadpool(self._conclude, reception, rest, study, request)
        except ClientDisconnect:
            return PlainTextResponse("The request stream was aborted.", status_code=400)
        finally:
            self._clear(reception)
        headers = {}
        if answer.several_values:
            text = "One or more indexed Dicom tag(s) have multiple values, only first value is indexed."
            headers["Warning"] = f'299 {request.headers.get("host", "-")} "{text}"'
        if answer.body is None:
            return Response(status_code=answer.status, headers=headers)
        return _dicom_json(json.dumps(answer.body, separators=(",", ":")), status=answer.status, headers=headers)

    async def _receive(self, request: Request, reception: Reception, *, may_cut: bool) -> bytes:
        """Spools the body but for its last step, which is returned."""
        limit = self._max_request_bytes
        if int(request.headers.get("content-length", 0)) > limit:
            raise _too_large(limit)
        received = 0
        pending = bytearray()
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit:
                # Only a chunked body gets here. In a part Azure takes the refusal for the end of the body.
                if may_cut:
                    pending += chunk[: limit - received]
                    break
                raise _too_large(limit)
            pending += chunk
            if len(pending) >= STEP_BYTES:
                await run_in_threadpool(reception.feed, bytes(pending))
                pending.clear()
        return bytes(pending)

    def _conclude(self, reception: Reception, rest: bytes, study: str | None, request: Request) -> Answer:
        try:
            reception.feed(rest)
            keys = reception.finish()
            return store(
                self._archive,
                keys,
                path_study=study,
                base_url=_base_url(request),
                replace_held=request.method == "PUT",
            )
        finally:
            self._clear(reception)

    def _clear(self, reception: Reception) -> None:
        reception.abort()
        self._archive.discard(reception.keys)
        reception.keys.clear()

    def metadata(self, request: Request) -> Response:
        """GET .../instances/{instance}/metadata: one data set in an array."""
        _demand(request, DICOM_JSON)
        found = self._archive.metadata(_uids(request))
        if found is None:
            return _no_instance()
        version, model = found
        etag = f'"{version}"'
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={"ETag": etag})
        return _dicom_json(f"[{model}]", status=200, headers={"ETag": etag})

    def instance(self, request: Request) -> Response:
        """GET and DELETE .../instances/{instance}."""
        if request.method == "GET":
            return self._retrieve(request)
        return Response(status_code=204) if self._archive.delete(_uids(request)) else _no_instance()

    def _retrieve(self, request: Request) -> Response:
        """.../instances/{instance}: the file as it was stored, its preamble zeroed. Nothing is transcoded."""
        accepted = _demand(request, DICOM)
        found = self._archive.find(_uids(request))
        if found is None:
            return _no_instance()
        if not any(_wants(entry, found.transfer_syntax) for entry in accepted):
            return PlainTextResponse("The specified transcoding is not supported.", status_code=406)
        try:
            file = open(found.path, "rb")  # noqa: SIM115 - closed by _steps
        except FileNotFoundError:  # deleted or replaced just now
            return _no_instance()
        size = file.seek(0, 2)
        file.seek(0)
        return StreamingResponse(
            _steps(file),
            media_type=f"{DICOM}; transfer-syntax={found.transfer_syntax}",
            headers={"Content-Length": str(size)},
        )


def _demand(request: Request, offered: str) -> list[MediaType]:
    accepted = accepts(request.headers.getlist("accept"), offered)
    if not accepted:
        raise RefusedError(406, "")
    return accepted


def _demand_uid(name: str, value: str) -> None:
    if not is_uid(value):
        raise RefusedError(400, identifier_complaint(name))


def _uids(request: Request) -> Uids:
    study, series, instance = (request.path_params[name] for name in ("study", "series", "instance"))
    _demand_uid("StudyInstanceUid", study)
    _demand_uid("SeriesInstanceUid", series)
    _demand_uid("SopInstanceUid", instance)
    return Uids(study=study.rstrip(), series=series.rstrip(), sop_instance=instance.rstrip())


def _wants(entry: MediaType, stored_syntax: str) -> bool:
    wanted = entry.parameters.get("transfer-syntax", "*" if entry.name == "*/*" else _EXPLICIT_LITTLE_ENDIAN)
    return wanted in {"*", stored_syntax}


def _base_url(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}/{VERSION}"


def _dicom_json(body: str, *, status: int, headers: dict[str, str]) -> Response:
    return Response(body, status_code=status, headers=headers, media_type=f"{DICOM_JSON}; charset=utf-8")


def _no_instance() -> Response:
    return PlainTextResponse("The specified instance cannot be found.", status_code=404)


def _too_large(limit: int) -> RefusedError:
    return RefusedError(413, f"The request exceeded the allowed limit of {limit} bytes.")


def _steps(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while step := file.read(STEP_BYTES):
            yield step


def _refused(_request: Request, error: Exception) -> Response:
    status, text = (error.status, error.text) if isinstance(error, RefusedError) else (500, "")
    return PlainTextResponse(text, status_code=status)


def _unavailable(_request: Request, _error: Exception) -> Response:
    text = "The server is currently unable to receive requests. Please retry your request."
    return PlainTextResponse(text, status_code=503)
