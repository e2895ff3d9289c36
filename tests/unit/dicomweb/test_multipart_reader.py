"""Parts of an answer as they arrive (RFC 2046 5.1.1, RFC 2387)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.dicomweb.payload.multipart_reader import HEADERS_LIMIT, PartsSink

DICOM = frozenset({"application/dicom"})
RELATED = {"content-type": 'multipart/related; type="application/dicom"; boundary="xy"'}


class Kept:
    """Parts in memory."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, bytes]] = []
        self.restarts = 0
        self._type = ""
        self._data = bytearray()

    def restart(self) -> None:
        self.restarts += 1
        self._data.clear()

    def begin(self, content_type: str) -> None:
        self._type = content_type
        self._data.clear()

    def write(self, data: bytes) -> None:
        self._data += data

    def end(self) -> None:
        self.parts.append((self._type, bytes(self._data)))


def read(headers: dict[str, str], *pieces: bytes) -> tuple[list[tuple[str, bytes]], bool]:
    """The parts, and whether the body was complete."""
    kept = Kept()
    sink = PartsSink(kept, rate=1, alone=DICOM)
    taken = sink.begin(headers) and all(sink.take(piece) for piece in pieces)
    if taken and sink.complete:
        sink.finish()
    return kept.parts, taken and sink.complete


def body(*contents: bytes, end: bytes = b"\r\n--xy--\r\n") -> bytes:
    parts = (b"--xy\r\nContent-Type: application/dicom\r\nContent-ID: <1>\r\n\r\n" + content for content in contents)
    return b"\r\n".join(parts) + end


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.data())
def test_whatever_the_pieces_the_parts_are_the_same(contents: list[bytes], data: st.DataObject) -> None:
    """I4: bytes as they were, line ends and dashes among them."""
    contents = [c.replace(b"--xy", b"-") for c in contents]
    whole = body(*contents)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert read(RELATED, *pieces) == ([("application/dicom", c) for c in contents], True)


def test_a_body_without_its_closing_delimiter_is_not_complete() -> None:
    """The last part may be half an instance."""
    parts, complete = read(RELATED, body(b"one", b"two", end=b""))
    assert [content for _, content in parts] == [b"one"]
    assert not complete


@pytest.mark.parametrize("content", [b"no multipart at all", b"--xy\r\nno header\r\n\r\nx\r\n--xy--"])
def test_what_is_no_multipart_is_told(content: bytes) -> None:
    assert read(RELATED, content)[1] is False


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/html", "content-length": "3"},
        {"content-type": "multipart/related"},
        {"content-type": "application/dicom"},  # ends when the connection does, which may be anywhere
    ],
)
def test_a_body_of_another_kind_is_not_begun(headers: dict[str, str]) -> None:
    assert read(headers, b"abc") == ([], False)


def test_an_instance_may_come_bare() -> None:
    """Azure, for application/dicom."""
    headers = {"content-type": "application/dicom; transfer-syntax=1.2.840.10008.1.2.1", "content-length": "6"}
    parts, complete = read(headers, b"abc", b"def")
    assert complete
    assert parts == [(headers["content-type"], b"abcdef")]


def test_headers_without_end_are_given_up() -> None:
    """I8."""
    head = b"--xy\r\nX: " + b"a" * (2 * HEADERS_LIMIT)
    assert read(RELATED, head[:100], head[100:])[1] is False
