"""Retrieve (PS3.18 10.4): instances and frames, handed on part by part as they are stored; and metadata, object by object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ingestd.core.errors import UnavailableError
from ingestd.dicomweb.asking.resources import Level, Resource
from ingestd.dicomweb.asking.session import Session
from ingestd.dicomweb.origin.failures import Doing
from ingestd.dicomweb.payload.json_reader import Object
from ingestd.dicomweb.payload.multipart_reader import (
    ACCEPT_EITHER,
    ACCEPT_MULTIPART,
    DICOM,
    NOT_ACCEPTED,
    Parts,
    PartsSink,
)

ACCEPT_FRAMES = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
FRAME = frozenset({"application/octet-stream"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    path: str
    accepts: Sequence[str]
    alone: frozenset[str]
    doing: Doing


def retrieve(session: Session, resource: Resource, parts: Parts) -> None:
    """Every instance of it, one part each. Raises ServiceError, and what `parts` raises.

    A broken connection makes it begin anew (`parts.restart`), so an instance can come more than once.
    """
    # One instance may come bare: Azure's documentation has it so, and several smaller services know nothing else.
    accepts = (ACCEPT_EITHER, ACCEPT_MULTIPART) if resource.level is Level.INSTANCES else (ACCEPT_MULTIPART,)
    doing = Doing(what=f"retrieve {resource.level.one} {resource.uid}", feature="no retrieval of this kind")
    _receive(session, _Wanted(path=resource.path, accepts=accepts, alone=DICOM, doing=doing), parts)


def frames(session: Session, resource: Resource, numbers: Sequence[int], parts: Parts) -> None:
    """These frames of an instance, counted from 1, one part each and in this order. Raises as `retrieve` does."""
    listed = ",".join(map(str, numbers))
    doing = Doing(what=f"frames {listed} of instance {resource.uid}", feature="no frames to give")
    wanted = _Wanted(path=f"{resource.path}/frames/{listed}", accepts=(ACCEPT_FRAMES,), alone=FRAME, doing=doing)
    _receive(session, wanted, parts)


def metadata(session: Session, resource: Resource, *, each: Callable[[Object], None]) -> int:
    """Every instance's elements but bulk data (10.4.1.1.2); how many came. Raises ServiceError."""
    doing = Doing(what=f"metadata of {resource.level.one} {resource.uid}", feature="no metadata of this kind")
    return session.objects(f"{resource.path}/metadata", doing, each=each, empty=())


def _receive(session: Session, wanted: _Wanted, parts: Parts) -> None:
    *first, last = wanted.accepts
    for accept in first:
        try:
            _receive_as(session, wanted, accept, parts, good=(200, *NOT_ACCEPTED))
        except _NotAcceptedError:
            continue
        return
    _receive_as(session, wanted, last, parts, good=(200,))


class _NotAcceptedError(Exception):
    """The service can't read such a list, or gives nothing on it."""


def _receive_as(session: Session, wanted: _Wanted, accept: str, parts: Parts, *, good: Sequence[int]) -> None:
    sink = PartsSink(parts, rate=session.rate, alone=wanted.alone)
    reply = session.get(wanted.path, wanted.doing, accept=accept, sink=sink, good=good)
    if reply.status != 200:
        raise _NotAcceptedError
    if not reply.whole:
        raise session.error(wanted.doing, reply)
    if not sink.complete:
        raise UnavailableError(
            f"{wanted.doing.what}: {session.url} ended its answer before the last part was whole: try again"
        )
    sink.finish()
