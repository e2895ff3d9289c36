"""A Store transaction of a person's command: into a study, or of one instance alone (Azure's addition to PS3.18 10.5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ingestd.core.answer import Answer, Loss
from ingestd.core.errors import FileError, ServiceError
from ingestd.core.model import Instance
from ingestd.core.ports import Bodies, Clock
from ingestd.dicomweb.exchange import Reply
from ingestd.dicomweb.failures import Doing, words
from ingestd.dicomweb.multipart import StoreBody
from ingestd.dicomweb.retry_after import seconds_to_wait
from ingestd.dicomweb.session import Session
from ingestd.dicomweb.store_response import read_store_response


class SingleBody:
    """The bytes of one instance as the whole body. `length` is the Content-Length. Iterating raises FileError."""

    content_type = "application/dicom"  # nothing after it: Azure answers 415 to a parameter

    def __init__(self, instance: Instance, bodies: Bodies) -> None:
        self._reading = bodies.read(instance)
        self.length = instance.size
        self.failed: int | None = None

    @property
    def digests(self) -> tuple[str | None, ...]:
        return (self._reading.sha256,)

    def __iter__(self) -> Iterator[bytes]:
        """One piece late: the last goes out when the pass has ended well, so a file that changed is never stored whole (I4)."""
        held = b""
        try:
            for piece in self._reading:
                if held:
                    yield held
                held = piece
        except FileError:
            self.failed = 0
            raise
        yield held


def store(
    session: Session,
    instances: Sequence[Instance],
    bodies: Bodies,
    *,
    clock: Clock,
    study: str | None = None,
    single: bool = False,
) -> Answer:
    """One request, into `study` where one is given. `single`: one instance, without multipart.

    What the answer means is core.disposition's business. Never raises for what a service, a network or a file does.
    """
    attempts: list[SingleBody | StoreBody] = []
    started = clock.monotonic()

    def body() -> SingleBody | StoreBody:
        attempts.append(SingleBody(instances[0], bodies) if single else StoreBody(instances, bodies))
        return attempts[-1]

    try:
        reply = session.post(
            "/studies" if study is None else f"/studies/{study}", body, size=sum(one.size for one in instances)
        )
    except FileError:
        changed = attempts[-1].failed
        return Answer(
            loss=Loss.FILE_CHANGED, digests=attempts[-1].digests, changed=() if changed is None else (changed,)
        )
    response = read_store_response(reply.content_type, reply.content) if reply.whole else None
    return Answer(
        status=reply.status,
        loss=reply.loss,
        response=response,
        retry_after=seconds_to_wait(reply.retry_after, now=clock.wall()),
        comment=reply.problem or words(reply) or None,
        sent_bytes=reply.sent,
        seconds=clock.monotonic() - started,
        digests=attempts[-1].digests if attempts else (),
    )


def refusal(session: Session, answer: Answer) -> ServiceError:
    """The error for an answer that stops the command."""
    doing = Doing(what="store", feature="no store", role="DICOM Data Owner", route=True)
    comment = answer.comment or ""
    return session.error(
        doing,
        Reply(
            status=answer.status,
            loss=answer.loss,
            problem=comment or None,
            content_type="text/plain",
            content=comment.encode("utf-8"),
        ),
    )
