"""A program that writes files into a folder or a share, each in its own way and to its own end.

    python writers.py DOOR BESIDE SOURCES <GROUPS

DOOR is a folder or, through libsmbclient, an smb:// URL; SOURCES holds the whole files, BESIDE the other names of what is linked
in. GROUPS is a list in JSON. The files of a group are written by one process: all of them half way, then it pauses (seconds) or
`dies`, by SIGKILL with all that it has open, then the rest; without a pause one file after the other. For each file there is a
line in JSON on standard output: the longest time that it can have been left alone between two changes (`stalled`, seconds); for
each group one of the `status` of its process (wait(2)).

A way is a few words with commas between. `reopens` opens the file anew for each block, `backwards` likewise from the last one;
`mapped` closes it and writes through a mapping; `renamed in` has another name until the file is whole; `linked in` gets its name
half way. Room is claimed by `ftruncate`, `fallocate`, `zeros` written over all of it, or the `last byte`.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypedDict

BLOCK = 80 << 10  # whole pages, and more than the 64 KiB of zeros at an end that make it suspect


class Group(TypedDict):
    """`files`: the way of each, by name."""

    pause: float
    dies: bool
    files: Mapping[str, str]


class Local:
    def open(self, place: str) -> int:
        flags = os.O_RDWR | os.O_CREAT
        try:
            return os.open(place, flags, 0o644)
        except FileNotFoundError:  # FUSE still knew the name of a file that was just moved away below it
            return os.open(place, flags, 0o644)

    def truncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)

    def allocate(self, handle: int, size: int) -> None:
        """Where the file system has no fallocate(2), glibc writes a byte into each block."""
        os.posix_fallocate(handle, 0, size)

    def write(self, handle: int, data: bytes, at: int) -> None:
        assert os.pwrite(handle, data, at) == len(data)

    def close(self, handle: int) -> None:
        os.close(handle)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)


class Smb:
    """A guest: its name is one that the server does not know."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libsmbclient.so.0", use_errno=True)
        text, size = ctypes.c_char_p, ctypes.c_int
        buffers = (ctypes.c_void_p, size) * 3
        self._ask = ctypes.CFUNCTYPE(None, text, text, *buffers)(self._who)
        self._library.smbc_lseek.argtypes = (size, ctypes.c_int64, size)
        self._library.smbc_lseek.restype = ctypes.c_int64
        self._library.smbc_write.argtypes = (size, text, ctypes.c_size_t)
        self._library.smbc_write.restype = ctypes.c_ssize_t
        self._library.smbc_ftruncate.argtypes = (size, ctypes.c_int64)
        self._did(self._library.smbc_init(self._ask, 0))
        self._library.smbc_set_context.restype = ctypes.c_void_p
        self._library.smbc_setTimeout.argtypes = (ctypes.c_void_p, size)
        self._library.smbc_setTimeout(self._library.smbc_set_context(None), 120_000)  # ms: the machine may be busy

    @staticmethod
    def _who(_: bytes, __: bytes, group: int, ___: int, user: int, size: int, password: int, ____: int) -> None:
        ctypes.memmove(user, b"visitor\0"[:size], min(size, 8))
        ctypes.memmove(password, b"\0", 1)

    def _did(self, answer: int) -> int:
        if answer < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return answer

    def open(self, place: str) -> int:
        return self._did(self._library.smbc_open(place.encode(), os.O_RDWR | os.O_CREAT, 0o644))

    def truncate(self, handle: int, size: int) -> None:
        self._did(self._library.smbc_ftruncate(handle, size))

    def allocate(self, handle: int, size: int) -> None:
        raise ValueError("libsmbclient can't")

    def write(self, handle: int, data: bytes, at: int) -> None:
        self._did(self._library.smbc_lseek(handle, at, os.SEEK_SET))
        assert self._did(self._library.smbc_write(handle, data, len(data))) == len(data)

    def close(self, handle: int) -> None:
        self._did(self._library.smbc_close(handle))

    def rename(self, old: str, new: str) -> None:
        self._did(self._library.smbc_rename(old.encode(), new.encode()))


Door = Local | Smb


class Stopwatch:
    """How long a file may have been left alone between two changes: from before the one to after the next, never less."""

    def __init__(self) -> None:
        self._before: float | None = None
        self.longest = 0.0

    @contextmanager
    def change(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        if self._before is not None:
            self.longest = max(self.longest, time.monotonic() - self._before)
        self._before = began


def write(door: Door, place: str, other: str, content: bytes, way: str, watch: Stopwatch) -> Iterator[None]:
    """Comes back half way, once. `other`: the name before it is renamed or linked in."""
    words = set(way.split(", "))
    written = other if words & {"renamed in", "linked in"} else place
    handle = door.open(written)
    _claim(door, handle, content, words)
    if "mapped" in words:
        yield from _map(door, handle, content, watch)
        return
    blocks = range(0, len(content), BLOCK)
    anew = bool(words & {"reopens", "backwards"})
    if anew:
        door.close(handle)
    for count, at in enumerate(reversed(blocks) if "backwards" in words else blocks):
        if count == len(blocks) // 2:
            if "linked in" in words:
                os.link(written, place)
            yield
        with watch.change():
            if anew:
                handle = door.open(written)
            door.write(handle, content[at : at + BLOCK], at)
            if anew:
                door.close(handle)
    if not anew:
        door.close(handle)
    if "renamed in" in words:
        door.rename(written, place)
    if "linked in" in words:
        os.unlink(written)


def _claim(door: Door, handle: int, content: bytes, words: set[str]) -> None:
    size = len(content)
    if "ftruncate" in words:
        door.truncate(handle, size)
    if "fallocate" in words:
        door.allocate(handle, size)
    if "zeros" in words:
        for at in range(0, size, BLOCK):
            door.write(handle, bytes(min(BLOCK, size - at)), at)
    if "last byte" in words:
        door.write(handle, content[-1:], size - 1)


def _map(door: Door, handle: int, content: bytes, watch: Stopwatch) -> Iterator[None]:
    blocks = range(0, len(content), BLOCK)
    with mmap.mmap(handle, len(content)) as shared:
        door.close(handle)
        for count, at in enumerate(blocks):
            if count == len(blocks) // 2:
                yield
            with watch.change():
                shared[at : at + BLOCK] = content[at : at + BLOCK]


def _work(group: Group, door: str, beside: str, sources: str) -> None:
    through = Smb() if door.startswith("smb:") else Local()
    watches = {name: Stopwatch() for name in group["files"]}
    begun = []
    for name, way in group["files"].items():
        with open(f"{sources}/{name}", "rb") as file:
            content = file.read()
        other = f"{beside if 'linked in' in way else door}/{name}.part"
        writer = write(through, f"{door}/{name}", other, content, way, watches[name])
        next(writer)
        begun.append(writer)
        if not (group["pause"] or group["dies"]):
            next(writer, None)
    time.sleep(group["pause"])
    for writer in () if group["dies"] else begun:
        next(writer, None)
    for name, watch in watches.items():
        _say(name=name, stalled=watch.longest)
    if group["dies"]:
        os.kill(os.getpid(), signal.SIGKILL)


def _say(**line: object) -> None:
    os.write(1, (json.dumps(line) + "\n").encode())


def _begin(group: Group, *places: str) -> int:
    """Its process."""
    if process := os.fork():
        return process
    try:
        _work(group, *places)
    except BaseException:  # noqa: BLE001 - the end of this process: the parent's code must not run in it
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def main() -> None:
    groups: list[Group] = json.load(sys.stdin)
    processes = [_begin(group, *sys.argv[1:]) for group in groups]
    for number, process in enumerate(processes):
        _say(group=number, status=os.waitpid(process, 0)[1])


if __name__ == "__main__":
    main()
