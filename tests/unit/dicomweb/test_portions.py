"""One answer and no byte more for the HTTP parser, whatever is behind it (RFC 9112 6, 7.1)."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.dicomweb.wire.portions import Portions

HEAD = b"HTTP/1.1 200 OK\r\nX: y\r\n"
LENGTHS = {"length": HEAD + b"Content-Length: 11\r\n\r\nhello\nworld", "nothing": HEAD + b"Content-Length: 0\r\n\r\n"}
CHUNKS = {
    "chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n\nworld\r\n0\r\n\r\n",
    "trailers": HEAD + b"Transfer-Encoding: chunked\r\n\r\n00B\r\nhello\nworld\r\n000\r\nA: b\r\nC: d\r\n\r\n",
    "none": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "interim": b"HTTP/1.1 102 Wait\r\nA: b\r\n\r\n"
    + HEAD
    + b"Transfer-Encoding: chunked\r\n\r\nb\r\nhello\nworld\r\n0\r\n\r\n",
}
ANSWERS = LENGTHS | CHUNKS


def read(stream: bytes, size: int, most: int) -> tuple[bytes, bytes, bytes]:
    """The body, what the parser was given too much, and what it was not given, of a stream that comes in pieces."""
    parser = h11.Connection(our_role=h11.CLIENT)
    parser.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    parser.send(h11.EndOfMessage())
    portions, held, at, body = Portions(), bytearray(), 0, b""
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            if not held:
                assert at < len(stream)
                held += stream[at : at + size]
                at += size
            portion = portions.take(held, most)
            assert portion
            parser.receive_data(portion)
        elif isinstance(event, h11.Response):
            headers = dict(event.headers)
            length = headers.get(b"content-length")
            portions.body_follows(chunked=length is None, length=int(length) if length is not None else None)
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return body, parser.trailing_data[0], bytes(held) + stream[at:]


@given(
    st.sampled_from(sorted(ANSWERS)),
    st.sampled_from([*ANSWERS.values(), b"\n", b"x"]),
    st.integers(1, 99),
    st.integers(1, 99),
)
def test_what_is_behind_an_answer_never_reaches_the_parser(name: str, behind: bytes, size: int, most: int) -> None:
    """F83: h11 itself says that it was handed nothing that was not the answer's."""
    body = b"" if name in ("nothing", "none") else b"hello\nworld"
    assert read(ANSWERS[name] + behind, size, most) == (body, b"", behind)


def test_where_the_answer_is_over_there_is_nothing_to_take() -> None:
    """F83: a parser that wants more than the head said is at odds with us."""
    portions = Portions()
    portions.body_follows(chunked=False, length=3)
    held = bytearray(b"abcd")
    assert [portions.take(held, 100), portions.take(held, 100), bytes(held)] == [b"abc", b"", b"d"]


def test_without_a_length_all_belongs_to_it() -> None:
    """RFC 9112 6.3: it ends with the connection, which is not used again."""
    portions = Portions()
    portions.body_follows(chunked=False, length=None)
    held = bytearray(b"a\nb\n" * 10)
    assert portions.take(held, 1000) == b"a\nb\n" * 10


@pytest.mark.parametrize("line", [b"zz\r\n", b"-5\r\n", b"\r\n", b"ffffffffffffffffffffffff\r\n"])
def test_a_line_that_is_no_size_is_left_to_the_parser(line: bytes) -> None:
    """F83: it refuses the answer."""
    portions = Portions()
    portions.body_follows(chunked=True, length=None)
    assert portions.take(bytearray(line + b"more"), 100) == line
