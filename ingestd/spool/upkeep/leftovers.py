"""Temporary names that a crash has left in inbox, done/ and failed/ and that no later try takes up again.

While a file is on its way to another file system its copy has a temporary name there, also once it has been filed (copying.py). A
process that is killed leaves that name; the next try for the same file takes it up, but there is none where the source had just
been removed, or somebody took it. Such a name is never the only one of a file's bytes, so one that nothing has happened to for a
day (its ctime) is removed. A linked one takes no space before retention, or a person, removes the filed copy. What the start's
questions to a file system leave (ground.py) has such a name, too, and can be an empty folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ingestd.core.ports import Clock
from ingestd.spool.disk import handles

AGE_SECONDS = 86_400.0  # a temporary file that a crash has left, until it is removed; and the next look for such


class Leftovers:
    """A task of the upkeep thread: at the start, and once a day. `roots`: where copies grow and probes are made."""

    def __init__(self, roots: Sequence[Path], *, clock: Clock) -> None:
        self._roots = tuple(roots)
        self._clock = clock
        self._due_at = clock.monotonic()

    def due_at(self) -> float:
        return self._due_at

    def steps(self) -> Iterator[None]:
        """One round, a name at each step."""
        before = min(self._clock.now(), self._clock.wall()) - AGE_SECONDS
        for root in self._roots:
            with suppress(OSError):
                yield from _cleared(root, before)
        self._due_at = self._clock.monotonic() + AGE_SECONDS


def _cleared(root: Path, before: float) -> Iterator[None]:
    with os.scandir(root) as entries:
        for entry in entries:
            yield
            if not handles.is_temporary(entry.name):
                continue
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_ctime >= before:
                    continue
                if entry.is_file(follow_symlinks=False):
                    os.unlink(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    os.rmdir(entry.path)  # an empty one alone
