"""Answers that are read from the disk while they are sent; memory does not grow with them, and their length is known before."""

import contextlib
import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ingestd.emulator.http.negotiation import MULTIPART_RELATED

STEP_BYTES: Final = 256 * 1024
"""What is read, or written, at once of a body in either direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A body, or a part of one: `read` is called once, when its turn has come, and gives `length` bytes in steps."""

    media_type: str
    length: int
    read: Callable[[], Iterator[bytes]]


class Streamed(StreamingResponse):
    """The part alone. What `undo` holds is let go when the answer has ended, however it ends."""

    def __init__(self, part: Part, *, undo: contextlib.ExitStack) -> None:
        chunks = part.read()
        super().__init__(chunks, media_type=part.media_type, headers={"Content-Length": str(part.length)})
        self._undo = undo
        if isinstance(chunks, Generator):
            undo.callback(chunks.close)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._undo:
            await super().__call__(scope, receive, send)


def in_parts(parts: Sequence[Part]) -> Part:
    """multipart/related of these (RFC 2387). As at Azure, without the type parameter that PS3.18 8.7.1 asks for."""
    boundary = secrets.token_hex(16)
    heads = [f"--{boundary}\r\nContent-Type: {part.media_type}\r\n\r\n".encode() for part in parts]
    end = f"--{boundary}--\r\n".encode()

    def read() -> Iterator[bytes]:
        pending = bytearray()
        for head, part in zip(heads, parts, strict=True):
            pending += head
            for step in part.read():
                pending += step
                if len(pending) >= STEP_BYTES:
                    yield bytes(pending)
                    pending.clear()
            pending += b"\r\n"
        yield bytes(pending + end)

    length = sum(len(head) + part.length + 2 for head, part in zip(heads, parts, strict=True)) + len(end)
    return Part(media_type=f"{MULTIPART_RELATED}; boundary={boundary}", length=length, read=read)
