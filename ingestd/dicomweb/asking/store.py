"""The Store transaction (PS3.18 10.5) of a person's command."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ingestd.core.answers.answer import Answer
from ingestd.core.errors import ServiceError
from ingestd.core.model import Instance
from ingestd.core.ports import Bodies, Clock
from ingestd.dicomweb.asking.session import Session
from ingestd.dicomweb.origin.failures import Doing, words
from ingestd.dicomweb.origin.transaction import transaction
from ingestd.dicomweb.payload.store_body import Upload


def store(
    session: Session,
    instances: Sequence[Instance],
    bodies: Bodies,
    *,
    clock: Clock,
    study: str | None = None,
    single: bool = False,
) -> Answer:
    """A person's request, into `study` where one is given. `single`: one instance, without multipart (Azure's addition)."""
    path = "/studies" if study is None else f"/studies/{study}"
    return transaction(
        Upload(instances, bodies, single=single),
        partial(session.post, path),
        clock=clock,
        said=lambda reply: reply.problem or words(reply) or None,
    )


def refusal(session: Session, answer: Answer) -> ServiceError:
    """The error for an answer that stops the command."""
    doing = Doing(what="store", feature="no store", role="DICOM Data Owner", route=True)
    return session.failure(doing, status=answer.status, loss=answer.loss, said=answer.comment, page=answer.page)
