"""One Store transaction (PS3.18 10.5): a request, and what came of it as an Answer.

Nothing is raised for what a service, a network or a file does; what the answer means is core.answers.disposition's business.
"""

from __future__ import annotations

from collections.abc import Callable

from ingestd.core.answers.answer import Answer, Loss
from ingestd.core.errors import FileError
from ingestd.core.ports import Clock
from ingestd.dicomweb.origin.failures import page
from ingestd.dicomweb.payload.answer_headers import seconds_to_wait
from ingestd.dicomweb.payload.store_body import Upload
from ingestd.dicomweb.payload.store_response import answer_limit, read_store_response, with_warning
from ingestd.dicomweb.wire.exchange import Reply


def transaction(
    upload: Upload, send: Callable[[Upload, int], Reply], *, clock: Clock, said: Callable[[Reply], str | None]
) -> Answer:
    """`send` makes the request, and takes so many bytes of an answer.

    `said`: the words of an answer without a Store Instances Response.
    """
    limit = answer_limit(len(upload.instances))
    started = clock.monotonic()
    try:
        reply = send(upload, limit)
    except FileError:
        return _changed(upload, clock.monotonic() - started)
    response = read_store_response(reply.content_type, reply.content, limit=limit) if reply.whole else None
    return Answer(
        status=reply.status,
        loss=reply.loss,
        response=with_warning(response, reply.warning),
        retry_after=seconds_to_wait(reply.retry_after, now=clock.wall()),
        comment=None if response else said(reply),
        problem=reply.problem,
        page=None if response else page(reply),
        sent_bytes=reply.sent,
        seconds=clock.monotonic() - started,
        digests=upload.last.digests if upload.last is not None else (),
    )


def _changed(upload: Upload, seconds: float) -> Answer:
    """A file was no longer what was judged, and the request was broken off."""
    body = upload.last
    return Answer(
        loss=Loss.FILE_CHANGED,
        seconds=seconds,
        digests=body.digests if body is not None else (),
        changed=() if body is None or body.failed is None else (body.failed,),
    )
