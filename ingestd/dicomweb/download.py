"""Retrieve (PS3.18 10.4): instances and frames, handed on part by part as they are stored; nothing is transcoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ingestd.core.errors import ServiceError, UnavailableError
from ingestd.dicomweb.failures import Doing
from ingestd.dicomweb.multipart_reader import Parts, PartsSink
from ingestd.dicomweb.resources import Level, Resource
from ingestd.dicomweb.retrieve import ACCEPT_EITHER, ACCEPT_MULTIPART, NOT_ACCEPTED
from ingestd.dicomweb.session import Session

ACCEPT_FRAMES = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
DICOM = frozenset({"application/dicom"})
FRAME = frozenset({"application/octet-stream"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    path: str
    accepts: Sequence[str]
    alone: frozenset[str]
    doing: Doing


def download(session: Session, resource: Resource, parts: Parts) -> None:
    """Every instance of it, one part each. Raises ServiceError, and what `parts` raises.

    A broken connection makes it begin anew (`parts.restart`), so an instance can come more than once.
    """
    # One instance may come bare: Azure's documentation has it so, and several smaller services know nothing else.
    accepts = (ACCEPT_EITHER, ACCEPT_MULTIPART) if resource.level is Level.INSTANCES else (ACCEPT_MULTIPART,)
    doing = Doing(what=f"retrieve {resource.level.one} {resource.uid}", feature="no retrieval of this kind")
    _receive(session, _Wanted(path=resource.path, accepts=accepts, alone=DICOM, doing=doing), parts)


def frames(session: Session, resource: Resource, numbers: Sequence[int], parts: Parts) -> None:
    """These frames of an instance, counted from 1, one part each and in this order. Raises as `download` does."""
    listed = ",".join(map(str, numbers))
    doing = Doing(what=f"frames {listed} of instance {resource.uid}", feature="no frames to give")
    wanted = _Wanted(path=f"{resource.path}/frames/{listed}", accepts=(ACCEPT_FRAMES,), alone=FRAME, doing=doing)
    _receive(session, wanted, parts)


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


def too_few(resource: Resource, *, came: int, counted: int, url: str) -> ServiceError:
    """The error where fewer instances came than the service counts."""
    return ServiceError(
        f"retrieve {resource.level.one} {resource.uid}: {came} came and {url} counts {counted}: try again, or see its log"
    )
