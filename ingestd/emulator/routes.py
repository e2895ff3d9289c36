"""The routes of the service: each version by itself, each of its paths plain and under /partitions/{partition}.

path                                            GET       POST   PUT    DELETE
/studies                                        search    store  store
/studies/{study}                                retrieve  store  store  delete
.../series/{series}                             retrieve                delete
.../series/{series}/instances/{instance}        retrieve                delete
... of each of these three, /metadata           metadata
.../instances/{instance}/frames/{frames}        frames
/series, /instances, .../series, .../instances  search
/partitions, /changefeed, /changefeed/latest    of the whole service: not in a partition
"""

import sqlite3
from collections.abc import Callable, Iterator
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingestd.emulator import RefusedError
from ingestd.emulator.archive.archive import Archive
from ingestd.emulator.http.access import Access, BearerOnly
from ingestd.emulator.http.endpoints import Endpoint
from ingestd.emulator.transactions.changefeed import ChangeFeed
from ingestd.emulator.transactions.partitions import Partitions
from ingestd.emulator.transactions.retrieve import Retrieve
from ingestd.emulator.transactions.search import Search
from ingestd.emulator.transactions.store import Store

VERSION: Final = "v2"
"""The version that the service is announced with."""

_VERSIONS: Final = {"v1.0-prerelease": "1.0-prerelease", "v1": "1", "v2": "2"}
"""Path segment and name of each; without one there is no route, as at Azure."""

MAX_REQUEST_BYTES: Final = 4 * 1024**3
"""What Azure takes in one request."""

_STUDY: Final = "/studies/{study}"
_SERIES: Final = _STUDY + "/series/{series}"
_INSTANCE: Final = _SERIES + "/instances/{instance}"
_PARTITION: Final = "/partitions/{partition}"


def application(archive: Archive, *, access: Access | None, max_request_bytes: int) -> Starlette:
    """The whole service as an ASGI application; the archive stays the caller's to close."""
    mounts = []
    allowed: dict[str, set[str]] = {}
    for segment in _VERSIONS:
        routes = list(_routes(archive, max_request_bytes, version_1=segment != VERSION))
        for route in routes:
            # Starlette adds HEAD to every GET; the service has no HEAD route.
            (route.methods or set()).discard("HEAD")
            allowed.setdefault(route.path, set()).update(route.methods or ())
        mounts.append(Mount(f"/{segment}", app=_Versioned(Router(routes, redirect_slashes=False))))

    def not_allowed(request: Request, _error: Exception) -> Response:
        # Starlette's own names the methods of the first route of the path alone.
        methods = ", ".join(sorted(allowed[request.scope["route"].path]))
        return PlainTextResponse("Method Not Allowed", status_code=405, headers={"Allow": methods})

    app = Starlette(
        routes=mounts,
        middleware=[Middleware(BearerOnly, access=access)] if access is not None else [],
        exception_handlers={
            405: not_allowed,
            RefusedError: _refused,
            sqlite3.Error: _unavailable,
            OSError: _unavailable,
        },
    )
    app.router.redirect_slashes = False
    return app


def _routes(archive: Archive, max_request_bytes: int, *, version_1: bool) -> Iterator[Route]:
    partitions = Partitions(archive)
    store = Store(archive, partitions, max_request_bytes=max_request_bytes, version_1=version_1)
    retrieve = Retrieve(archive)
    search = Search(archive, version_1=version_1)
    changes = ChangeFeed(archive, version_1=version_1)
    yield from _studies("", store, retrieve, search, lambda endpoint: endpoint)
    yield from _studies(_PARTITION, store, retrieve, search, partitions.only_known)
    yield Route("/changefeed", changes.page)
    yield Route("/changefeed/latest", changes.latest)
    yield Route("/partitions", partitions.listing)


def _studies(
    prefix: str, store: Store, retrieve: Retrieve, search: Search, guarded: Callable[[Endpoint], Endpoint]
) -> Iterator[Route]:
    for path in ("/studies", _STUDY):
        yield Route(prefix + path, store.store, methods=["POST", "PUT"])
    for path in (_STUDY, _SERIES, _INSTANCE):
        yield Route(prefix + path, guarded(retrieve.resource), methods=["GET"])
        yield Route(prefix + path, guarded(store.delete), methods=["DELETE"])
        yield Route(f"{prefix}{path}/metadata", guarded(retrieve.metadata))
    yield Route(f"{prefix}{_INSTANCE}/frames/{{frames}}", guarded(retrieve.frames))
    yield Route(f"{prefix}/studies", guarded(search.studies))
    for path in ("/series", f"{_STUDY}/series"):
        yield Route(prefix + path, guarded(search.series))
    for path in ("/instances", f"{_STUDY}/instances", f"{_SERIES}/instances"):
        yield Route(prefix + path, guarded(search.instances))


class _Versioned:
    """ASGI: says in every answer which versions there are."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_versions(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["api-supported-versions"] = ", ".join(_VERSIONS.values())
            await send(message)

        await self._app(scope, receive, send_with_versions)


def _refused(_request: Request, error: Exception) -> Response:
    status, text = (error.status, error.text) if isinstance(error, RefusedError) else (500, "")
    return PlainTextResponse(text, status_code=status)


def _unavailable(_request: Request, _error: Exception) -> Response:
    text = "The server is currently unable to receive requests. Please retry your request."
    return PlainTextResponse(text, status_code=503)
