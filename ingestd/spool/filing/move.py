"""One move of a file, into done/ or failed/ (outcome_folder.py) or back into the inbox (putting_back.py).

    1. Try one name after the other, and pass over those that the place does not give.
    2. Lay the paper of the file first: its reason in failed/, a person's orders about a file for the inbox, nothing in done/.
    3. Rename the file, never onto anything. Where the name is taken by now, lift the paper, and try the next name.
    4. See to what arrived.

Another file system takes a copy (copying.py). The copy is made, synced and read back under a temporary name, and gets its name by
the same steps. The source goes only if the file of that name is then the copy.

The place says what differs: the names, the paper, and how the source goes once the copy is there.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Protocol

from ingestd.core.model import Stamp
from ingestd.spool.disk import handles
from ingestd.spool.filing.copying import Copy, copy_over
from ingestd.spool.filing.entry import Entry


class Place(Protocol):
    """Where one file goes: an open folder. Each method but `names` and `unseen` raises OSError."""

    entry: Entry  # the file, where it is
    folder: int
    wanted: str  # the name that the file shall have
    links: bool  # a copy keeps its temporary name, as a second link, until the source is gone

    def names(self) -> Iterator[str]:
        """What to call it there, the best name first."""

    def gives(self, name: str, source: Entry, /) -> bool:
        """Whether `source` may have that name, if nothing has it."""

    def lay(self, name: str, stamp: Stamp, /) -> None:
        """Lay the paper of a file in this state, which gets that name."""

    def lift(self, name: str, stamp: Stamp, error: OSError, /) -> None:
        """Take the paper away, because `error` kept the name from the file."""

    def unseen(self, error: handles.UnseenMoveError, /) -> Exception:
        """What is to be raised for a file that may have got its name."""

    def arrived(self, name: str, /) -> None:
        """See to the file that was renamed to `name`."""

    def ready_for_copy(self) -> int | None:
        """The open folder where the copy grows; None where a copy of an earlier try stands there, and the source is gone now."""

    def copied(self, copy: Copy, name: str, /) -> None:
        """Have the copy durable under its name, and take the source away."""


class Move:
    """The way of one file to its place."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def run(self) -> str:
        """The name that the file has there now. Raises OSError, FileError, FilingError."""
        try:
            name = self._claim(self._place.entry)
        except handles.UnseenMoveError as error:
            raise self._place.unseen(error) from error
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return self._cross()
        self._place.arrived(name)
        return name

    def _cross(self) -> str:
        place = self._place
        if (nursery := place.ready_for_copy()) is None:
            return place.wanted
        copy = copy_over(place.entry, nursery)
        try:
            name = self._claim(copy.entry, copy)
            if not (copy.became(place.folder, name) or copy.is_there(place.folder, name)):
                raise handles.os_error(errno.EBUSY)  # the source goes only for what was verified
            place.copied(copy, name)
        finally:
            copy.discard()
        return name

    def _claim(self, source: Entry, copy: Copy | None = None) -> str:
        """Give `source` the first name that it can have, its paper before it. No paper is left where that fails."""
        place = self._place
        for name in place.names():
            if copy is not None and copy.is_there(place.folder, name):
                place.lay(name, handles.stamp_of(handles.lstat(place.folder, name)))
                return name
            if not place.gives(name, source):
                continue
            place.lay(name, source.stamp)
            try:
                if copy is not None and place.links:
                    copy.link(place.folder, name)
                else:
                    handles.move(source.folder, source.name, place.folder, name)
            except OSError as error:
                place.lift(name, source.stamp, error)
                if not isinstance(error, FileExistsError):
                    raise
            else:
                return name
        raise handles.os_error(errno.EEXIST)
