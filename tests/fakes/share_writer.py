"""A program that writes one file, in its own way and to its own end.

    python share_writer.py TARGET SOURCE HOW PAUSE

writes the bytes of SOURCE to TARGET, a path or, through libsmbclient, an smb:// URL, as an SMB client does it. HOW is a list of
words: `claims` sets the end of the file first, `reopens` opens the file anew for each block, `pauses` stops half way for PAUSE
seconds, `dies` ends half way by SIGKILL, with all that it has open.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable

BLOCK = 64 << 10


class Local:
    def __init__(self, path: str) -> None:
        self._path = path

    def open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)

    def truncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)

    def write(self, handle: int, data: bytes, at: int) -> None:
        assert os.pwrite(handle, data, at) == len(data)

    def close(self, handle: int) -> None:
        os.close(handle)


class Smb:
    """A guest: its name is one that the server does not know."""

    def __init__(self, url: str) -> None:
        self._url = url.encode()
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

    @staticmethod
    def _who(_: bytes, __: bytes, group: int, ___: int, user: int, size: int, password: int, ____: int) -> None:
        ctypes.memmove(user, b"visitor\0"[:size], min(size, 8))
        ctypes.memmove(password, b"\0", 1)

    def _did(self, answer: int) -> int:
        if answer < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return answer

    def open(self) -> int:
        return self._did(self._library.smbc_open(self._url, os.O_RDWR | os.O_CREAT, 0o644))

    def truncate(self, handle: int, size: int) -> None:
        self._did(self._library.smbc_ftruncate(handle, size))

    def write(self, handle: int, data: bytes, at: int) -> None:
        self._did(self._library.smbc_lseek(handle, at, os.SEEK_SET))
        assert self._did(self._library.smbc_write(handle, data, len(data))) == len(data)

    def close(self, handle: int) -> None:
        self._did(self._library.smbc_close(handle))


def write(door: Local | Smb, content: bytes, how: set[str], half_way: Callable[[], None]) -> None:
    reopens = "reopens" in how
    handle = door.open()
    if "claims" in how:
        door.truncate(handle, len(content))
    if reopens:
        door.close(handle)
    blocks = range(0, len(content), BLOCK)
    for at in blocks:
        if at == blocks[len(blocks) // 2]:
            half_way()
        if reopens:
            handle = door.open()
        door.write(handle, content[at : at + BLOCK], at)
        if reopens:
            door.close(handle)
    if not reopens:
        door.close(handle)


def main() -> None:
    target, source, words, pause = sys.argv[1:]
    how = set(words.split())

    def half_way() -> None:
        if "dies" in how:
            os.kill(os.getpid(), signal.SIGKILL)
        if "pauses" in how:
            time.sleep(float(pause))

    with open(source, "rb") as file:
        content = file.read()
    write(Smb(target) if target.startswith("smb:") else Local(target), content, how, half_way)


if __name__ == "__main__":
    main()
