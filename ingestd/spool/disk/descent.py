"""The way through a folder tree of any depth and width, with a few handles and a bounded number of bytes (F90).

Depth first. A folder is yielded open, for its reader to list; the sub-folders that the reader names are put off, by name and not by
path, and entered in the order of their names once the reader asks for the next step. What is kept of all names together has a bound
in bytes: of a folder with too many the first ones in order are kept, and the folder is listed again for those behind them. So the
bound never makes a walk pass a folder over, it only has a folder listed once more for each part. A folder that is made or renamed
meanwhile, to a name in front of the place that was reached, is found by the next walk.

Open are the root, the folder that is read and the one above it. Whatever lies higher is opened again on the way back: by `..`, if
that is the very folder that was entered, else by its name from the root down, never through a link (F25, F28).
"""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from ingestd.spool.disk import handles

MOST_BYTES = 2 << 20  # of names that are kept, of one folder and of all above it; twice that while one is listed
_CLOSED = -1


class Names:
    """Names of one folder in their order: the first ones, as many as fit, and whether there are others behind them."""

    def __init__(self) -> None:
        self.bytes = 0
        self.more = False
        self._kept: list[str] = []
        self._in_order = True  # backwards, so that the next one is the last of the list
        self._reached = ""
        self._bound: str | None = None

    def add(self, name: str) -> None:
        """Keep it, unless it comes before what was given, or behind all that there is room for."""
        if not self._fits(name):
            return
        self._kept.append(name)
        self._in_order = False
        self.bytes += _bytes(name)
        if self.bytes > 2 * MOST_BYTES:
            self._cut()

    def next(self) -> str | None:
        """The next name in order; None where nothing is kept any more, and with `more` another listing is due."""
        if not self._in_order:
            self._cut()
        while self._kept:
            name = self._kept.pop()
            self.bytes -= _bytes(name)
            if name > self._reached:  # a share may list a name twice
                self._reached = name
                return name
        return None

    def forget(self) -> None:
        """Free the memory. They come again by another listing."""
        self.more = self.more or bool(self._kept)
        self._kept, self.bytes, self._in_order = [], 0, True

    def give_up(self) -> None:
        """Give no more."""
        self.forget()
        self.more = False

    def list_again(self, folder: int, wanted: Callable[[os.DirEntry[str]], bool]) -> None:
        """Find those behind the last one that was given. Raises OSError."""
        self.more, self._bound = False, None
        with os.scandir(folder) as entries:
            for entry in entries:
                if self._fits(entry.name) and wanted(entry):
                    self.add(entry.name)

    def _fits(self, name: str) -> bool:
        return name > self._reached and (self._bound is None or name <= self._bound)

    def _cut(self) -> None:
        self._kept.sort()
        while self.bytes > MOST_BYTES and len(self._kept) > 1:
            self.bytes -= _bytes(self._kept.pop())
            self.more = True
        if self.more:
            self._bound = self._kept[-1]
        self._kept.reverse()
        self._in_order = True


class At(enum.Enum):
    """What a step of the way is."""

    ENTERED = "the folder is open, to be listed by the reader"
    LEFT = "all below the folder is done"
    UNREADABLE = "a sub-folder, or without a name the present folder, can't be opened or listed: see `problem`"


@dataclass(slots=True, kw_only=True)
class Folder:
    """A folder on the way. `handle` is open from ENTERED to the next step. `identity`: device and inode; `mtime_ns`: then."""

    name: str
    handle: int = _CLOSED
    identity: tuple[int, int] = (0, 0)
    mtime_ns: int = 0
    names: Names = field(default_factory=Names)
    problem: OSError | None = None


class Descent:
    """Use once, in a `with` block, which closes `root` as well. `wanted` by name says which sub-folders are entered.

    It is asked again for each name when a folder is listed once more, and must say the same as when the reader put them off.
    """

    def __init__(self, root: int, *, wanted: Callable[[str], bool]) -> None:
        self._wanted = wanted
        self._above = 0  # bytes of names that the folders above the present one keep
        self._way = [_folder("", root)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for folder in self._way:
            _close(folder)

    @property
    def depth(self) -> int:
        """Of the present folder; the root's is 0."""
        return len(self._way) - 1

    @property
    def path(self) -> str:
        """Of the present folder, relative to the root, with a `/` at its end; the root's is empty."""
        return "".join(f"{folder.name}/" for folder in self._way[1:])

    def put_off(self, name: str) -> None:
        """Enter this sub-folder of the present folder later."""
        self._way[-1].names.add(name)

    def remove(self, left: Folder) -> bool:
        """Remove the folder that was just left, if it is empty: rmdir(2); whether it is gone."""
        with suppress(OSError):
            os.rmdir(left.name, dir_fd=self._open(self._way[-1]))
            return True
        return False

    def steps(self) -> Iterator[tuple[At, Folder]]:
        """ENTERED first for the root, LEFT for all but the root, and only where ENTERED was before."""
        yield At.ENTERED, self._way[0]
        while True:
            folder = self._way[-1]
            try:
                name = self._next(folder)
            except OSError as error:
                folder.names.give_up()
                yield At.UNREADABLE, Folder(name="", problem=error)
                continue
            if name is not None:
                yield self._down(folder, name)
            elif self.depth == 0:
                return
            else:
                self._up(folder)
                yield At.LEFT, folder

    def _next(self, folder: Folder) -> str | None:
        name = folder.names.next()
        while name is None and folder.names.more:
            folder.names.list_again(self._open(folder), self._is_wanted)
            name = folder.names.next()
        return name

    def _is_wanted(self, entry: os.DirEntry[str]) -> bool:
        try:
            return self._wanted(entry.name) and entry.is_dir(follow_symlinks=False)
        except OSError:  # where the file system doesn't tell the kind with the name; the reader was told, too
            return False

    def _down(self, above: Folder, name: str) -> tuple[At, Folder]:
        try:
            folder = _folder(name, os.open(name, handles.FOLDER, dir_fd=self._open(above)))
        except OSError as error:
            return At.UNREADABLE, Folder(name=name, problem=error)
        self._above += above.names.bytes
        self._way.append(folder)
        if self.depth > 2:
            _close(self._way[-3])
        for higher in self._way[:-1] if self._above > MOST_BYTES else ():
            if self._above > MOST_BYTES:
                self._above -= higher.names.bytes
                higher.names.forget()
        return At.ENTERED, folder

    def _up(self, folder: Folder) -> None:
        self._way.pop()
        above = self._way[-1]
        self._above -= above.names.bytes
        if _CLOSED == above.handle != folder.handle:
            with suppress(OSError):  # else it is opened by its name, if it is needed
                parent = _folder(above.name, os.open("..", handles.FOLDER, dir_fd=folder.handle))
                if parent.identity == above.identity:
                    above.handle = parent.handle
                else:
                    _close(parent)
        _close(folder)

    def _open(self, folder: Folder) -> int:
        """The handle of the present folder. Raises OSError."""
        if folder.handle == _CLOSED:
            root = os.open(".", handles.FOLDER, dir_fd=self._way[0].handle)
            folder.handle = handles.open_below(root, [one.name for one in self._way[1:]])
        return folder.handle


def in_order(folder: int, wanted: Callable[[os.DirEntry[str]], bool]) -> Iterator[str]:
    """All names in an open folder that are wanted, in their order and in bounded memory. Raises OSError."""
    names = Names()
    names.more = True
    while names.more:
        names.list_again(folder, wanted)
        while (name := names.next()) is not None:
            yield name


def _bytes(name: str) -> int:
    return sys.getsizeof(name) + 8  # its place in a list


def _folder(name: str, handle: int) -> Folder:
    """Takes the handle over. Raises OSError."""
    try:
        status = os.fstat(handle)
    except OSError:
        handles.close(handle)
        raise
    return Folder(name=name, handle=handle, identity=(status.st_dev, status.st_ino), mtime_ns=status.st_mtime_ns)


def _close(folder: Folder) -> None:
    if folder.handle != _CLOSED:
        handles.close(folder.handle)
        folder.handle = _CLOSED
