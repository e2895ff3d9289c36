"""The drop folder, by directory handle: looking, examining, reading.

The order that makes the lease a proof. A read lease (lease.py) is granted only while nobody has the file open for writing,
and from then on a writer's open waits until the lease is given back. So: lease, fstat, walk, ask whether the lease is
still whole (a writer in the doorway turns it), give it back, fstat. What was walked between two equal stamps under an
unbroken lease was complete and is what the stamp names. Where a lease is refused because there is a writer, quiet proves
nothing; where the kernel can't tell, two looks decide (core.settle).

A small file is read once, when it is examined: its bytes and their digest travel with the inspection. What is read
later is compared with the stamp before its first byte and after its last, and must end where the stamp says (F19, F58).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ingestd.core.errors import FileBusyError, FileChangedError
from ingestd.core.model import Inspection, Instance, Look, Stamp
from ingestd.core.ports import Reading
from ingestd.core.settle import SENDABLE
from ingestd.spool import fsutil
from ingestd.spool.digests import digest_from, digest_of_bytes
from ingestd.spool.lease import Lease, give_back, take
from ingestd.spool.mounts import on_network
from ingestd.spool.part10 import walk
from ingestd.spool.sources import BytesSource, FileSource

SMALL = 64 << 10

_CHANGED = "the file is no longer the one that was judged: it is judged again"


class InboxFolder:
    """The ports Inbox and Bodies on a real folder. Any thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._networks: dict[int, bool] = {}  # by device: a share may be mounted over the root, or below it, later

    def on_network(self) -> bool:
        """Whether the folder itself lies on a network share, now, or may: nobody waits for one that does not answer."""
        try:
            root = fsutil.open_inbox(self._root)
        except OSError:
            return True
        try:
            return on_network(root) is not False
        finally:
            fsutil.close(root)

    def look(self, path: str) -> Look:
        with _Opened(self._root, path) as opened:
            network = self._on_network(opened)
            lease = Lease.UNKNOWN if network else take(opened.handle)
            status = os.fstat(opened.handle)
            if lease is Lease.GRANTED:
                lease = give_back(opened.handle)
            return _seen(opened, status, lease=lease, network=network)

    def examine(self, path: str) -> tuple[Look, Inspection]:
        with _Opened(self._root, path) as opened:
            network = self._on_network(opened)
            lease = Lease.UNKNOWN if network else take(opened.handle)
            status = os.fstat(opened.handle)
            try:
                inspection = _inspect(opened.handle, status.st_size)
            finally:
                if lease is Lease.GRANTED:
                    lease = give_back(opened.handle)
            look = _seen(opened, status, lease=lease, network=network)
            _unchanged(opened.handle, look.stamp)
            return look, inspection

    def read(self, instance: Instance) -> Reading:
        if instance.content is not None:
            return _Content(instance)
        return _Pass(self._root, instance)

    def elements(self, instance: Instance) -> dict[str, tuple[str, ...]]:
        """Empty where pydicom can't read the file: no evidence, neither for nor against."""
        from ingestd.spool.comparable import comparable_elements  # noqa: PLC0415 - pydicom is heavy and seldom needed

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

    def _on_network(self, opened: _Opened) -> bool:
        device = opened.status.st_dev
        found = self._networks.get(device)
        if found is None:
            found = self._networks[device] = on_network(opened.handle) is not False
        return found


class _Opened:
    """A file and its folder, open. OSErrors in its block become the errors of the port."""

    __slots__ = ("_path", "_root", "folder", "handle", "status")

    def __init__(self, root: Path, path: str) -> None:
        self._root = root
        self._path = path

    def __enter__(self) -> _Opened:
        *folders, name = fsutil.split(self._path)
        try:
            root = fsutil.open_inbox(self._root)
        except OSError as error:  # unmounted or being replaced (F6, F7): that says nothing about a file
            raise FileBusyError("the inbox itself can't be opened just now: it is looked at again") from error
        try:
            self.folder = fsutil.open_below(root, folders)
            try:
                self.handle, self.status = fsutil.open_file(self.folder, name)
            except OSError:
                fsutil.close(self.folder)
                raise
        except OSError as error:
            raise fsutil.file_error(error) from error
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        fsutil.close(self.handle)
        fsutil.close(self.folder)
        if isinstance(error, OSError):
            raise fsutil.file_error(error) from error


def _seen(opened: _Opened, status: os.stat_result, *, lease: Lease, network: bool) -> Look:
    return Look(
        stamp=fsutil.stamp_of(status),
        links=status.st_nlink,
        leased=lease is Lease.GRANTED,
        open_elsewhere=lease is Lease.REFUSED,
        owner_owns_folder=status.st_uid == os.fstat(opened.folder).st_uid,
        on_network=network,
    )


def _unchanged(handle: int, stamp: Stamp) -> None:
    if fsutil.stamp_of(os.fstat(handle)) != stamp:
        raise FileChangedError(_CHANGED)


def _inspect(handle: int, size: int) -> Inspection:
    if size > SMALL:
        return walk(FileSource(handle), size)
    content = os.read(handle, size + 1)
    while len(content) < size and (more := os.read(handle, size + 1 - len(content))):
        content += more
    if len(content) != size:
        raise FileChangedError(_CHANGED)
    found = walk(BytesSource(content, hole=FileSource(handle).ends_in_hole(size)), size)
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
                piece = os.read(opened.handle, min(fsutil.PIECE, instance.size - at))
                if not piece:
                    raise FileChangedError(_CHANGED)
                digest.update(memoryview(piece)[max(instance.data_set_at - at, 0) :])
                at += len(piece)
                yield piece
            if os.read(opened.handle, 1):
                raise FileChangedError(_CHANGED)
            _unchanged(opened.handle, instance.stamp)
        self.sha256 = digest.hexdigest()
