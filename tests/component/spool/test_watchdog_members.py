"""watchdog's members that are not its interface, and are used all the same (ADR 0012). A new version must fail here first."""

from __future__ import annotations

import os
from pathlib import Path

from watchdog.events import FileClosedEvent
from watchdog.observers.api import EventQueue, ObservedWatch
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import InotifyFD
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper


def opened() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_one_that_never_started_is_closed_by_its_private_members() -> None:
    """F2, I6: `_Inotify.abandon`; its public close leaves the descriptors to a thread that never ran."""
    before = opened()
    abandoned = InotifyFD()
    assert (opened() > before, abandoned._closed) == (True, False)
    abandoned._close_resources()
    assert opened() == before


def test_a_started_emitter_has_its_group_and_that_a_grouper(tmp_path: Path) -> None:
    """F10, F28: what `_Emitter.on_thread_stop` closes where watchdog's own tables disagree."""
    watch = ObservedWatch(str(tmp_path), recursive=True)
    emitter = InotifyEmitter(EventQueue(), watch, event_filter=[FileClosedEvent], inotify_fd=InotifyFD())
    emitter.start()
    try:
        group = emitter._inotify
        assert group is not None
        assert isinstance(group._move_event_grouper, InotifyMoveEventGrouper)
        assert callable(group._move_event_grouper.close)
    finally:
        emitter.stop()
        emitter.join(5)
    assert not emitter.is_alive()


def test_the_wait_for_the_other_half_of_a_move_can_be_set() -> None:
    """I6: `delay`, in seconds, of the class; it would be half a second for each file that is renamed into place."""
    assert isinstance(InotifyMoveEventGrouper.delay, float)
