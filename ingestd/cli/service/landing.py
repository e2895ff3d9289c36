"""Where parts become files: written under a temporary name, judged, then named for the instance that is in them. Never overwrites
unless told to. What comes a second time, because a broken connection made the answer begin anew, is dropped.
"""

from __future__ import annotations

import filecmp
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ingestd.core.answers.reasons import SENDABLE
from ingestd.core.errors import FilingError, ServiceError
from ingestd.core.model import Inspection
from ingestd.part10.views import FileSource
from ingestd.part10.walk import walk
from ingestd.spool.disk import handles

_ENDINGS = {"image/jpeg": ".jpg", "image/jp2": ".jp2", "image/jls": ".jls", "image/png": ".png", "video/mp4": ".mp4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A file that is there now, or that is not for the reason in `problem`. `note`: what is odd about one that is."""

    path: str
    size: int
    problem: str = ""
    note: str = ""
    content_type: str = ""


Landed = Callable[[Received], None]


class Landing:
    """A folder that parts arrive in, one at a time. `move` hears of bytes as they come."""

    def __init__(self, folder: Path, *, force: bool, move: Callable[[int, int], None]) -> None:
        self._folder = folder
        self._force = force
        self._move = move
        self._name = ""
        self._handle: int | None = None
        self.size = 0
        self.count = 0

    def open(self) -> None:
        self.drop()
        self._name = f".ingestd-{secrets.token_hex(8)}.part"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self._folder / self._name, flags, 0o666)
        except OSError as error:
            raise self._error(error) from error
        self.size = 0

    def write(self, data: bytes) -> None:
        if self._handle is None:
            raise AssertionError("a part is written after it has begun")
        try:
            handles.write_all(self._handle, data)
        except OSError as error:
            raise self._error(error) from error
        self.size += len(data)
        self._move(self.count, len(data))

    def judged(self) -> Inspection:
        """What has been written is walked to its end."""
        if self._handle is None:
            raise AssertionError("a part is judged after it has begun")
        return walk(FileSource(self._handle), self.size)

    def land(self, name: str, *, note: str = "", content_type: str = "") -> Received:
        """What has been written gets its name. Without `force` a file of that name stays, and is no problem if it is the same."""
        target = self._folder / name
        source = self._folder / self._name
        problem = ""
        try:
            if self._force:
                os.replace(source, target)
            else:
                self._move_to(name)
        except FileExistsError:
            if filecmp.cmp(source, target, shallow=False):
                note = note or "it was there already, the same bytes"
            else:
                problem = "another file of this name is there: --force overwrites it"
        except OSError as error:
            raise self._error(error) from error
        finally:
            self.drop()
        self.count += not problem
        self._move(self.count, 0)
        return Received(path=os.fspath(target), size=self.size, problem=problem, note=note, content_type=content_type)

    def drop(self) -> None:
        """What has been written and not named goes."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
            with suppress(OSError):
                os.unlink(self._folder / self._name)

    def _move_to(self, name: str) -> None:
        folder = handles.open_root(self._folder)
        try:
            handles.move(folder, self._name, folder, name)
        finally:
            os.close(folder)

    def _error(self, error: OSError) -> FilingError:
        self.drop()
        return FilingError(f"--out {self._folder}: {error.strerror}: what had come whole before is there")


class InstanceFiles:
    """multipart_reader.Parts: one file an instance, <SOPInstanceUID>.dcm."""

    def __init__(self, landing: Landing, landed: Landed) -> None:
        self._landing = landing
        self._landed = landed
        self._done: set[str] = set()
        self._here: set[str] = set()
        self._answer = 0

    @property
    def count(self) -> int:
        """Instances that came, each counted once."""
        return len(self._done)

    @property
    def uids(self) -> frozenset[str]:
        """Their SOP Instance UIDs."""
        return frozenset(uid.strip() for uid in self._done)

    def restart(self) -> None:
        self._landing.drop()
        self._here.clear()
        self._answer = 0

    def begin(self, content_type: str) -> None:  # noqa: ARG002 - the file itself says what it is
        self._landing.open()

    def write(self, data: bytes) -> None:
        self._landing.write(data)

    def end(self) -> None:
        self._answer += 1
        found = self._landing.judged()
        if found.ids is None:
            self._landing.drop()
            self._landed(
                Received(path=f"part {self._answer}", size=self._landing.size, problem=f"left out: {found.text}")
            )
            return
        uid = found.ids.sop_instance_uid
        if uid in self._done:
            self._landing.drop()
            if uid in self._here:  # Azure takes one SOPInstanceUID in several series
                problem = f"left out: an instance {uid} came before it: retrieve each series into a folder of its own"
                self._landed(Received(path=f"part {self._answer}", size=self._landing.size, problem=problem))
            self._here.add(uid)
            return
        self._done.add(uid)
        self._here.add(uid)
        note = "" if found.wholeness in SENDABLE else f"so the service holds it: {found.text}"
        self._landed(self._landing.land(f"{uid}.dcm", note=note))


class FrameFiles:
    """multipart_reader.Parts: one file a frame, <SOPInstanceUID>-<number>, with an ending that says what it is."""

    def __init__(self, landing: Landing, landed: Landed, *, uid: str, numbers: Sequence[int]) -> None:
        self._landing = landing
        self._landed = landed
        self._uid = uid
        self._numbers = numbers
        self._done: set[int] = set()
        self._index = 0
        self._content_type = ""

    @property
    def count(self) -> int:
        return len(self._done)

    def restart(self) -> None:
        self._landing.drop()
        self._index = 0

    def begin(self, content_type: str) -> None:
        self._content_type = content_type
        self._landing.open()

    def write(self, data: bytes) -> None:
        self._landing.write(data)

    def end(self) -> None:
        index, self._index = self._index, self._index + 1
        if index >= len(self._numbers):
            raise ServiceError(f"frames of instance {self._uid}: more came than were asked for: see the service's log")
        if index in self._done:
            self._landing.drop()
            return
        self._done.add(index)
        ending = _ENDINGS.get(self._content_type.partition(";")[0].strip().lower(), ".raw")
        name = f"{self._uid}-{self._numbers[index]}{ending}"
        self._landed(self._landing.land(name, content_type=self._content_type))
