"""File events: hints that wake the scan, never a truth (I6).

watchdog's inotify is used for what it is good at and nothing else. Its emitter hands each path straight to the scanner: no
dispatcher that an exception could kill (watchdog #427) and no unbounded event queue behind it. Only created, closed and moved
are told; what we move out ourselves tells nobody (F12). Whatever it can lose is turned into a doubt, and a doubt is a scan: a
queue overflow, a new folder, whose files can arrive before its watch does, and the end of the root.

An event also tells whether a writer has come to an end. Closed after writing: yes. Moved inside the tree: yes, if the old name is
one that nobody takes (`.part`, as publishers rename); what a folder's move implies for the files in it is no event of theirs.
Created: no, for a fresh open, a hard link and a move from outside look alike.

It is off, and says so, where events can't be trusted: on network file systems, which tell only what this machine did; where
`auto` saw no event of a canary file within two seconds; and from the moment a watch is refused (F2), since watchdog would go on
with half a tree in silence. It is tried again after ten minutes, or as soon as the root is another folder (F6, F7).

On disk: `.ingestd-canary-<hex>`, empty, in the inbox, for as long as it takes to make and remove it. One that a crash leaves
behind is removed by the next scan.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import secrets
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
)
from watchdog.observers.api import EventQueue, ObservedWatch
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import CallbackId, InotifyEvent, InotifyFD, Mask, WatchCallback, WatchDescriptor
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

from ingestd.core.ports import Clock
from ingestd.spool.disk.mounts import file_system

WatchMode = Literal["auto", "events", "poll"]
Identity = tuple[int, int]  # st_dev, st_ino
Hint = Callable[[str, bool, str], None]

CANARY = ".ingestd-canary-"
_CANARY_SECONDS = 2.0  # the event of a file of our own, until events count as not working
_TRY_AGAIN_SECONDS = 600.0  # file events that do not work, until they are tried again
_JOIN_SECONDS = 2.0  # the end of a thread of the watch
_PAIRING_SECONDS = 0.02  # half of a rename, for its other half: each hint that follows waits with it
_TOLD = [FileClosedEvent, FileCreatedEvent, FileMovedEvent, DirCreatedEvent, DirMovedEvent]
_REFUSED = {errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class Watcher:
    """Keeps the root watched while that is worth something.

    `tend` and `disarm` are the scanner thread's; the rest may be called from any. `hint` gets a path relative to the root, whether
    its writer closed it, and the path that it had before, empty where that was none; it and `doubt` are called from watchdog's
    threads and must be quick.
    """

    def __init__(
        self,
        *,
        root: str,
        mode: WatchMode,
        recursive: bool,
        clock: Clock,
        hint: Hint,
        doubt: Callable[[], None],
    ) -> None:
        self._root = root
        self._mode = mode
        self._recursive = recursive
        self._clock = clock
        self._hint = hint
        self._doubt = doubt
        self._armed: _Armed | None = None
        self._proved = False
        self._gave_up: tuple[Identity, float] | None = None
        self._canary = ""
        self._canary_seen = threading.Event()
        self._doubted_at = -math.inf
        self.overflows = 0

    @property
    def doubted_at(self) -> float:
        """When, on Clock.now(), events were last lost, or had just begun to come; inf while none come."""
        return self._doubted_at if self.watching else math.inf

    @property
    def watching(self) -> bool:
        """File events arrive, as far as anybody can tell."""
        armed = self._armed
        return armed is not None and self._proved and not armed.worthless

    @property
    def crashed(self) -> bool:
        """One of watchdog's threads died of an exception."""
        armed = self._armed
        return armed is not None and armed.crashed

    def tend(self, root: int, identity: Identity) -> None:
        """Arm, re-arm or leave alone, as the root's folder handle and identity and the threads' health want it."""
        armed = self._armed
        if armed is not None:
            if armed.identity == identity and not armed.worthless:
                return
            refused = armed.fd.refused
            self.disarm()
            if refused:
                self._give_up(identity)
        if self._may_try(identity) and not self._arm(root, identity):
            self.disarm()
            self._give_up(identity)

    def disarm(self) -> None:
        armed, self._armed, self._proved = self._armed, None, False
        if armed is not None:
            armed.stop()

    def _may_try(self, identity: Identity) -> bool:
        if self._mode == "poll":
            return False
        return self._gave_up is None or self._gave_up[0] != identity or self._clock.monotonic() >= self._gave_up[1]

    def _give_up(self, identity: Identity) -> None:
        self._gave_up = (identity, self._clock.monotonic() + _TRY_AGAIN_SECONDS)

    def _arm(self, root: int, identity: Identity) -> bool:
        if self._mode == "auto" and not file_system(root).is_local:
            return False
        try:
            self._armed = _Armed(
                root=self._root,
                identity=identity,
                recursive=self._recursive,
                told=self._told,
                doubt=self._doubt,
                overflowed=self._overflowed,
            )
        except (OSError, RuntimeError):  # no watch or instance left (F2), the root gone again, or no thread left (F46)
            return False
        self._doubted_at = self._clock.now()
        self._proved = not self._armed.fd.refused and (self._mode == "events" or self._prove(root))
        return self._proved

    def _prove(self, root: int) -> bool:
        """Whether the file system tells of a file that is made in the root."""
        self._canary_seen.clear()
        self._canary = CANARY + secrets.token_hex(8)
        try:
            os.close(os.open(self._canary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=root))
            with suppress(FileNotFoundError):  # another ingestd may have swept it away
                os.unlink(self._canary, dir_fd=root)
        except OSError:  # a read-only or full folder proves nothing: polling finds every file there too
            return False
        return self._canary_seen.wait(_CANARY_SECONDS)

    def _told(self, path: str, closed: bool, before: str) -> None:
        if path == self._canary:
            self._canary_seen.set()
        else:
            self._hint(path, closed, before)

    def _overflowed(self) -> None:
        self.overflows += 1
        self._doubted_at = self._clock.now()
        self._doubt()


class _Armed:
    """watchdog's two threads on one root. Raises OSError where the root can't be watched."""

    def __init__(
        self,
        *,
        root: str,
        identity: Identity,
        recursive: bool,
        told: Hint,
        doubt: Callable[[], None],
        overflowed: Callable[[], None],
    ) -> None:
        self.identity = identity
        _tame()
        watch = ObservedWatch(root, recursive=recursive, event_filter=list(_TOLD))
        self.fd = _Inotify(overflowed)
        self.emitter = _Emitter(watch, self.fd, told, doubt)
        try:
            self.emitter.start()
            self.fd.start()
        except (OSError, RuntimeError):
            self.emitter.stop()
            self.fd.abandon()
            raise

    @property
    def crashed(self) -> bool:
        return any(not t.is_alive() and t.should_keep_running() for t in (self.fd, self.emitter))

    @property
    def worthless(self) -> bool:
        """Dead, or ended with its root, or refused a watch on the way."""
        return self.fd.refused or not (self.fd.is_alive() and self.emitter.is_alive())

    def stop(self) -> None:
        for thread in (self.emitter, self.fd):
            if thread.should_keep_running():
                thread.stop()
            thread.join(_JOIN_SECONDS)


def _tame() -> None:
    """What of watchdog can only be set for the whole process."""
    # It logs paths, and at every `mkdir -p` warns with the path of every folder it watches (I7). What it means is seen here by
    # other means.
    logging.getLogger("watchdog").addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", message="Callback with id ", category=RuntimeWarning)
    # It holds each move out of the tree, and all that comes after it, to pair it with a move in: half a second by default, which
    # our own filing would add to every hint. The kernel queues the two together.
    InotifyMoveEventGrouper.delay = _PAIRING_SECONDS


class _Inotify(InotifyFD):
    """The inotify instance; tells of what watchdog only logs (overflow) or passes over (a refused watch on a sub-folder)."""

    def __init__(self, overflowed: Callable[[], None]) -> None:
        super().__init__()
        self._tell_overflow = overflowed
        self.refused = False

    def abandon(self) -> None:
        """Close what the constructor opened; for one that never started, whose `close` leaves that to the thread."""
        self._closed = True
        self._close_resources()

    def handle_event(self, event: InotifyEvent) -> None:
        super().handle_event(event)
        if event.is_queue_overflow:
            self._tell_overflow()

    def add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        try:
            return super().add_callback(path, mask, callback, id_)
        except OSError as error:
            self.refused |= error.errno in _REFUSED
            raise


class _Emitter(InotifyEmitter):
    """Hands paths over as they come; its event queue stays empty."""

    def __init__(self, watch: ObservedWatch, fd: InotifyFD, told: Hint, doubt: Callable[[], None]) -> None:
        super().__init__(EventQueue(), watch, event_filter=list(_TOLD), inotify_fd=fd)
        self._told = told
        self._doubt = doubt

    def on_thread_stop(self) -> None:
        """watchdog's two tables can disagree after folders were moved over each other; the watches themselves are gone by then."""
        group = self._inotify
        try:
            super().on_thread_stop()
        except KeyError:
            if group is not None:
                group._move_event_grouper.close()  # what it had still to do: its reader ends

    def queue_event(self, event: FileSystemEvent) -> None:
        try:
            self._tell(event)
        except (OSError, RuntimeError, ValueError, MemoryError):  # a hint was lost: the scan finds the file
            self._doubt()

    def _tell(self, event: FileSystemEvent) -> None:
        match event:
            case FileMovedEvent():
                self._told(self._relative(event.dest_path), not event.is_synthetic, self._relative(event.src_path))
            case FileCreatedEvent() | FileClosedEvent():
                self._told(self._relative(event.src_path), isinstance(event, FileClosedEvent), "")
            case DirCreatedEvent() | DirMovedEvent():
                self._doubt()
            case DirDeletedEvent() if event.src_path == self.watch.path:
                self._doubt()
            case _:
                pass

    def _relative(self, path: bytes | str) -> str:
        return os.fsdecode(path)[len(self.watch.path) + 1 :]
