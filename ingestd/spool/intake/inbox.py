"""The drop folder, by directory handle: looking, examining, reading.

One look, on one descriptor, is made so that its answers are about one moment. A read lease (lease.py) is granted only while nobody
has the file open for writing, and from then on a writer's open waits until the lease is given back. So: open, lease, and while it
is held fstat, and what was never written (extents.py); then the lease goes back. That fstat is what must hold from then on: the
walk comes afterwards, nothing held, and ends with the same stamp or is worth nothing. Nothing is read before the look, because a
read hides what was never written. A refused lease is asked for everywhere, a granted one believed where it is a proof (canary.py).

The extent map calls what is not written back yet unwritten as well. Where it says so of a file that nobody writes, the file is
synced with nothing held, and looked at once more; what is unwritten then was never written.

A small file is read once, when it is examined: its bytes and their digest travel with the inspection. What is read
later is compared with the stamp before its first byte and after its last, and must end where the stamp says (F19, F58).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ingestd.core.answers.reasons import SENDABLE
from ingestd.core.errors import FileBusyError, FileChangedError, FileLargeError
from ingestd.core.model import Ground, Inspection, Instance, Lease, Look, Room, Stamp
from ingestd.core.ports import Clock, Reading
from ingestd.part10.digests import digest_from, digest_of_bytes
from ingestd.part10.views import BytesSource, FileSource
from ingestd.part10.walk import walk
from ingestd.spool.disk import errors, handles
from ingestd.spool.disk.extents import has_hole, unfilled, unwritten
from ingestd.spool.disk.lease import give_back, take
from ingestd.spool.disk.rights import may_write
from ingestd.spool.intake.canary import Grounds

SMALL = 64 << 10
_END = 64 << 10  # bytes: so many zeros seldom end an image, and a copy dies at a multiple of what it writes at once

LEASES_DENIED = (
    "read leases can't be had on files of another user (no CAP_LEASE): such a file waits quiet_seconds after its close, or "
    "network_quiet_seconds where none was seen; run ingestd as the same user, give it CAP_LEASE, or write NAME.part and rename"
)
LEASES_WORTHLESS = (
    "read leases prove nothing on this file system ({kind}): each file waits quiet_seconds after its close, or "
    "network_quiet_seconds where none was seen; put the inbox on ext4, xfs, btrfs or tmpfs that no NFS server exports"
)
_CHANGED = "the file is no longer the one that was judged: it is judged again"


class InboxFolder:
    """The ports Inbox and Bodies on a real folder. Any thread. Without a clock nothing is asked of a file system twice.

    `headerless`: files without a Part 10 header are whole if they are otherwise (`intake.headerless`).
    """

    def __init__(self, root: Path, clock: Clock | None = None, *, headerless: bool = False) -> None:
        self._root = root
        self._headerless = headerless
        self._grounds = Grounds(root, clock.monotonic if clock is not None else lambda: 0.0)
        self._ground = Ground()
        self._denied = False

    def ground(self) -> Ground:
        """What the inbox's own file system can tell, now; nothing where the inbox can't be opened."""
        try:
            root = handles.open_inbox(self._root)
        except OSError:
            return Ground()
        try:
            self._ground = self._grounds.of(root, os.fstat(root).st_dev)
        except OSError:
            return Ground()
        finally:
            handles.close(root)
        return self._ground

    def on_network(self) -> bool:
        """Whether the folder itself lies on a network share, now, or may: nobody waits for one that does not answer."""
        ground = self.ground()
        return ground.on_network or not ground.kind

    @property
    def leases_problem(self) -> str | None:
        """Why leases prove nothing here, what follows and how to mend it, as far as `ground` and the looks have found it."""
        if self._denied:
            return LEASES_DENIED
        if self._ground.complete and not self._ground.leases:
            return LEASES_WORTHLESS.format(kind=self._ground.kind or "unknown")
        return None

    def look(self, path: str) -> Look:
        with _Opened(self._root, path) as opened:
            return self._look(opened)

    def examine(self, path: str, *, most: int | None = None) -> tuple[Look, Inspection]:
        with _Opened(self._root, path) as opened:
            look = self._look(opened)
            size = look.stamp.size
            if most is not None and size > most:
                raise FileLargeError("the file takes long to look at: another thread does it")
            inspection = _inspect(opened.handle, size, headerless=self._headerless)
            if look.room is Room.UNKNOWN and size >= _END and not any(os.pread(opened.handle, _END, size - _END)):
                inspection = replace(inspection, ends_in_zeros=True)
            _unchanged(opened.handle, look.stamp)
            return look, inspection

    def _look(self, opened: _Opened) -> Look:
        folder = os.fstat(opened.folder)
        ground = self._ground = self._grounds.of(opened.folder, folder.st_dev)
        movable = may_write(opened.folder)
        look, mapped = _asked(opened.handle, folder, ground, movable=movable)
        if mapped and look.lease is not Lease.REFUSED:
            unwritten(opened.handle, look.stamp.size, sync=True)
            look, _ = _asked(opened.handle, folder, ground, movable=movable)
        if look.lease is Lease.UNKNOWN and ground.leases:
            self._denied = True  # ours are granted there: it is somebody else's
        if look.room is Room.UNFILLED:
            return replace(look, unfilled=unfilled(opened.handle, look.stamp.size))
        return look

    def read(self, instance: Instance) -> Reading:
        if instance.content is not None:
            return _Content(instance)
        return _Pass(self._root, instance)

    def elements(self, instance: Instance) -> dict[str, tuple[str, ...]]:
        """Empty where pydicom can't read the file: no evidence, neither for nor against."""
        from ingestd.part10.comparable import comparable_elements  # noqa: PLC0415 - pydicom is heavy and seldom needed

        with _Opened(self._root, instance.path) as opened:
            _unchanged(opened.handle, instance.stamp)
            found = comparable_elements(opened.handle)
            _unchanged(opened.handle, instance.stamp)
            return found

    def digest(self, instance: Instance, *, at: int | None = None) -> str:
        with _Opened(self._root, instance.path) as opened:
            _unchanged(opened.handle, instance.stamp)
            found = digest_from(opened.handle, instance.data_set_at if at is None else at)
            _unchanged(opened.handle, instance.stamp)
            return found


class _Opened:
    """A file and its folder, open. OSErrors in its block become the errors of the port."""

    __slots__ = ("_path", "_root", "folder", "handle", "status")

    def __init__(self, root: Path, path: str) -> None:
        self._root = root
        self._path = path

    def __enter__(self) -> _Opened:
        *folders, name = handles.split(self._path)
        try:
            root = handles.open_inbox(self._root)
        except OSError as error:  # unmounted or being replaced (F6, F7): that says nothing about a file
            raise FileBusyError("the inbox itself can't be opened just now: it is looked at again") from error
        try:
            self.folder = handles.open_below(root, folders)
            try:
                self.handle, self.status = handles.open_file(self.folder, name)
            except OSError:
                handles.close(self.folder)
                raise
        except OSError as error:
            raise errors.file_error(error) from error
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        handles.close(self.handle)
        handles.close(self.folder)
        if isinstance(error, OSError):
            raise errors.file_error(error) from error


def _asked(handle: int, folder: os.stat_result, ground: Ground, *, movable: bool) -> tuple[Look, bool]:
    """One look; and whether the extent map alone calls a part of the file unwritten, which may only be on its way to the disk."""
    lease = take(handle) if ground.refusals else Lease.UNKNOWN
    status = os.fstat(handle)
    hole = has_hole(handle, status.st_size)
    extents = unwritten(handle, status.st_size)
    if lease is Lease.GRANTED:
        lease = give_back(handle)
    if hole or extents:
        room = Room.UNFILLED
    elif hole is None or (ground.extents and extents is None) or not (ground.holes and ground.unwritten):
        room = Room.UNKNOWN
    else:
        room = Room.FILLED
    look = Look(
        stamp=handles.stamp_of(status),
        links=status.st_nlink,
        owner_owns_folder=status.st_uid == folder.st_uid,
        lease=lease,
        room=room,
        ground=ground,
        sparse=ground.blocks and status.st_blocks * 512 <= status.st_size - _END,
        movable=movable,
    )
    return look, bool(extents) and not hole


def _unchanged(handle: int, stamp: Stamp) -> None:
    if handles.stamp_of(os.fstat(handle)) != stamp:
        raise FileChangedError(_CHANGED)


def _inspect(handle: int, size: int, *, headerless: bool) -> Inspection:
    if size > SMALL:
        return walk(FileSource(handle), size, headerless=headerless)
    content = os.read(handle, size + 1)
    while len(content) < size and (more := os.read(handle, size + 1 - len(content))):
        content += more
    if len(content) != size:
        raise FileChangedError(_CHANGED)
    found = walk(BytesSource(content), size, headerless=headerless)
    if found.wholeness not in SENDABLE:
        return found
    return replace(found, content=content, sha256=digest_of_bytes(content, found.data_set_at))


class _Content:
    """A pass over bytes that were read, judged and digested when the file was examined; filing checks the file they came from."""

    __slots__ = ("_instance", "sha256")

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self.sha256: str | None = None

    def __iter__(self) -> Iterator[bytes]:
        content = self._instance.content or b""
        yield content
        self.sha256 = self._instance.sha256 or digest_of_bytes(content, self._instance.data_set_at)


class _Pass:
    """A pass over an opened file."""

    __slots__ = ("_instance", "_root", "sha256")

    def __init__(self, root: Path, instance: Instance) -> None:
        self._root = root
        self._instance = instance
        self.sha256: str | None = None

    def __iter__(self) -> Iterator[bytes]:
        instance = self._instance
        digest = hashlib.sha256()
        with _Opened(self._root, instance.path) as opened:
            _unchanged(opened.handle, instance.stamp)
            at = 0
            while at < instance.size:
                piece = os.read(opened.handle, min(handles.PIECE, instance.size - at))
                if not piece:
                    raise FileChangedError(_CHANGED)
                digest.update(memoryview(piece)[max(instance.data_set_at - at, 0) :])
                at += len(piece)
                yield piece
            if os.read(opened.handle, 1):
                raise FileChangedError(_CHANGED)
            _unchanged(opened.handle, instance.stamp)
        self.sha256 = digest.hexdigest()
