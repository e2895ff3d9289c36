"""The files that `store` is given: found, judged as the daemon judges them, and read for the service.

A file that is named is judged whatever it is called. In a folder temporary and hidden names and bins are passed over, and so is
what does not begin like DICOM. Nothing waits for a file to settle: whoever names it says that it is complete. It is still walked to
its end, because the service stores half a file without a word; and what is sent is what was judged, by stamp (I4).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ingestd.core.answers.reasons import SENDABLE
from ingestd.core.batch import BatchRules
from ingestd.core.errors import FileError, FileGoneError
from ingestd.core.model import Inspection, Instance, Look
from ingestd.core.ports import Reading
from ingestd.spool.intake.beginning import begins_below
from ingestd.spool.intake.inbox import InboxFolder
from ingestd.spool.intake.names import passed_by, unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A file as the person wrote it, or as it was found in a folder that they named."""

    path: str
    in_folder: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """A file that is not sent. `passed_over`: it was only found in a folder, and is not DICOM."""

    path: str
    text: str
    passed_over: bool = False


def named(paths: Iterable[Path]) -> Iterator[Named | Unfit]:
    """Files as they are given; folders to their ends, in the order of their names. What can't be listed is told."""
    closed: list[OSError] = []
    for path in paths:
        if not path.is_dir():
            yield Named(path=os.fspath(path), in_folder=False)
            continue
        for folder, below, names in os.walk(path, onerror=closed.append):
            below[:] = sorted(name for name in below if passed_by(name) is None)
            yield from (Named(path=os.path.join(folder, n), in_folder=True) for n in sorted(names) if not unfinished(n))
    for error in closed:
        yield Unfit(path=str(error.filename), text=f"not looked into: {error.strerror}")


def judged(one: Named) -> Instance | Unfit:
    """Whether it is a whole DICOM file, and which instance."""
    try:
        if one.in_folder and not _begins_like_dicom(one.path):
            return Unfit(path=one.path, text="not sent: it does not begin like DICOM", passed_over=True)
        look, found = _examined(one.path)
    except FileGoneError:
        return Unfit(path=one.path, text="there is no such file")
    except FileError as error:
        return Unfit(path=one.path, text=str(error).partition(":")[0])
    if found.wholeness not in SENDABLE or found.ids is None:
        return Unfit(path=one.path, text=f"not sent: {found.text}")
    return Instance(
        path=one.path, stamp=look.stamp, ids=found.ids, first_seen=0.0, content=found.content, sha256=found.sha256
    )


def _begins_like_dicom(path: str) -> bool:
    """As the scan has it. What can't be read is judged, which says why."""
    folder, name = os.path.split(os.path.realpath(path))
    try:
        return begins_below(Path(folder), name)
    except OSError:
        return True


def _examined(path: str) -> tuple[Look, Inspection]:
    folder, name = _place(path)
    return folder.examine(name)


def _place(path: str) -> tuple[InboxFolder, str]:
    """The person's own links are followed; what is opened is the file at their end."""
    folder, name = os.path.split(os.path.realpath(path))
    return InboxFolder(Path(folder)), name


class NamedFiles:
    """ports.Bodies on files anywhere. `read_more` hears of each piece that was read, in bytes."""

    def __init__(self, read_more: Callable[[int], None]) -> None:
        self._read_more = read_more

    def read(self, instance: Instance) -> Reading:
        folder, name = _place(instance.path)
        return _Watched(folder.read(replace(instance, path=name)), self._read_more)


class _Watched:
    def __init__(self, reading: Reading, read_more: Callable[[int], None]) -> None:
        self._reading = reading
        self._read_more = read_more

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._reading:
            yield piece
            self._read_more(len(piece))

    @property
    def sha256(self) -> str | None:
        return self._reading.sha256


def batches(instances: Iterable[Instance], rules: BatchRules) -> Iterator[Sequence[Instance]]:
    """As many as may travel together, in their order, never two of one SOP Instance UID."""
    waiting: list[Instance] = []
    uids: set[str] = set()
    size = 0
    for instance in instances:
        if not rules.fits(len(waiting) + 1, size + instance.size) or instance.sop_instance_uid in uids:
            yield tuple(waiting)
            waiting, uids, size = [], set(), 0
        waiting.append(instance)
        uids.add(instance.sop_instance_uid)
        size += instance.size
    if waiting:
        yield tuple(waiting)
