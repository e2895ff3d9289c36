"""What changes what is held: the Store transaction (PS3.18 10.5), its upsert, and delete, which are Azure's own.

What blocks runs on a thread of the pool, never on the event loop.
"""

import json

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from ingestd.emulator import RefusedError
from ingestd.emulator.archive.archive import Archive
from ingestd.emulator.http.endpoints import (
    base_url,
    demand_dicom_json,
    dicom_json,
    not_found,
    partition_of,
    scope_of,
    uid_of,
)
from ingestd.emulator.http.negotiation import DICOM
from ingestd.emulator.http.streaming import STEP_BYTES
from ingestd.emulator.transactions.partitions import Partitions
from ingestd.emulator.transactions.reception import Reception, reception_for
from ingestd.emulator.transactions.transaction import Answer, Terms, judge_and_store


class Store:
    """POST and PUT /studies and /studies/{study}, and DELETE of a study, a series or an instance; in a partition or without."""

    def __init__(self, archive: Archive, partitions: Partitions, *, max_request_bytes: int, version_1: bool) -> None:
        self._archive = archive
        self._partitions = partitions
        self._max_request_bytes = max_request_bytes
        self._version_1 = version_1

    async def store(self, request: Request) -> Response:
        """POST stores; PUT takes the place of what is held ("upsert", the managed service alone has it)."""
        if "partition" in request.path_params:
            # Before anything else is looked at, as at Azure: a request that is refused leaves its partition behind.
            await run_in_threadpool(self._partitions.make, partition_of(request))
        demand_dicom_json(request)
        terms = Terms(
            base_url=base_url(request),
            path_study=uid_of(request, "study"),
            partition=partition_of(request),
            replace_held=request.method == "PUT",
            version_1=self._version_1,
        )
        content_type = request.headers.get("content-type", "")
        reception = reception_for(content_type, self._archive.new_part)
        try:
            rest = await self._receive(request, reception, may_cut=content_type != DICOM)
            answer = await run_in_threadpool(self._conclude, reception, rest, terms)
        except ClientDisconnect:
            return PlainTextResponse("The request stream was aborted.", status_code=400)
        finally:
            await run_in_threadpool(self._clear, reception)
        headers = {}
        if answer.several_values:
            text = "One or more indexed Dicom tag(s) have multiple values, only first value is indexed."
            headers["Warning"] = f'299 {request.headers.get("host", "-")} "{text}"'
        if answer.body is None:
            return Response(status_code=answer.status, headers=headers)
        return dicom_json(json.dumps(answer.body, separators=(",", ":")), status=answer.status, headers=headers)

    def delete(self, request: Request) -> Response:
        """204 without a body; 404 where there was nothing of the kind."""
        scope = scope_of(request)
        return Response(status_code=204) if self._archive.delete(scope) else not_found(scope.level)

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

    def _conclude(self, reception: Reception, rest: bytes, terms: Terms) -> Answer:
        try:
            reception.feed(rest)
            return judge_and_store(self._archive, reception.finish(), terms)
        finally:
            self._clear(reception)

    def _clear(self, reception: Reception) -> None:
        reception.abort()
        self._archive.discard(reception.keys)
        reception.keys.clear()


def _too_large(limit: int) -> RefusedError:
    return RefusedError(413, f"The request exceeded the allowed limit of {limit} bytes.")
