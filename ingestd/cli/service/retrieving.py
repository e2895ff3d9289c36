"""`retrieve` and `frames`: from the service into a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ingestd.cli.options import Exit
from ingestd.cli.service.landing import FrameFiles, InstanceFiles, Landing, Received
from ingestd.cli.service.screen import Screen, size
from ingestd.cli.terminal import many
from ingestd.core.errors import ServiceError
from ingestd.dicomweb.asking.resources import Resource
from ingestd.dicomweb.asking.retrieve import frames, retrieve
from ingestd.dicomweb.asking.search import instances

_UNKNOWN = "; whether that is all is not known, because the service lists no instances"


class _Arrivals:
    """Says what came, and counts."""

    def __init__(self, screen: Screen, what: str) -> None:
        self._screen = screen
        self._what = what
        self.failed = 0
        self.bytes = 0

    def add(self, one: Received) -> None:
        self.failed += bool(one.problem)
        self.bytes += one.size
        if self._screen.json:
            self._screen.emit(
                {
                    "path": None if one.problem else os.path.abspath(one.path),
                    "bytes": one.size,
                    "content_type": one.content_type or None,
                    "problem": one.problem or None,
                    "note": one.note or None,
                }
            )
        elif one.problem or one.note:
            self._screen.text(f"{one.path}: {one.problem or one.note}")

    def summary(self, count: int, out: Path, *, note: str = "") -> None:
        if not self._screen.json:
            failed = f", {self.failed} of them not written" if self.failed else ""
            self._screen.text(f"{many(count, self._what)}, {size(self.bytes)}, in {out}{failed}{note}")

    @property
    def exit(self) -> Exit:
        return Exit.SOME_FAILED if self.failed else Exit.DONE


def run_retrieve(screen: Screen, resource: Resource, *, out: Path, force: bool) -> Exit:
    """Every instance of it, held against those that the service lists."""
    arrivals = _Arrivals(screen, "instance")
    what = f"retrieve {resource.level.one} {resource.uid}"
    with screen.session() as session:
        listed = instances(session, resource, what=what)
        with screen.moving(len(listed) if listed is not None else None, "instances") as move:
            landing = Landing(out, force=force, move=move)
            files = InstanceFiles(landing, arrivals.add)
            try:
                retrieve(session, resource, files)
            finally:
                landing.drop()
        arrivals.summary(files.count, out, note=_UNKNOWN if listed is None else "")
        if missing := sorted((listed or frozenset()) - files.uids):
            raise ServiceError(
                f"{what}: {len(missing)} of {len(listed or ())} instances that {session.url} lists did not come, such as "
                f"{missing[0]}: try again, or see its log"
            )
    return arrivals.exit


def run_frames(screen: Screen, resource: Resource, numbers: Sequence[int], *, out: Path, force: bool) -> Exit:
    """These frames of an instance."""
    arrivals = _Arrivals(screen, "frame")
    with screen.session() as session, screen.moving(len(numbers), "frames") as move:
        landing = Landing(out, force=force, move=move)
        files = FrameFiles(landing, arrivals.add, uid=resource.uid, numbers=numbers)
        try:
            frames(session, resource, numbers, files)
        finally:
            landing.drop()
        if files.count != len(numbers):
            raise ServiceError(
                f"frames of instance {resource.uid}: {files.count} came from {session.url}, {len(numbers)} were asked for"
            )
    arrivals.summary(files.count, out)
    return arrivals.exit
