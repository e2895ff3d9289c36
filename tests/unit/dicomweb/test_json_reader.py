"""Objects of a JSON array as they arrive (PS3.18 F.2.1)."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.dicomweb.payload.json_reader import OBJECT_LIMIT, Object, ObjectsSink

JSON = {"content-type": "application/dicom+json; charset=utf-8"}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def read(*pieces: bytes, headers: dict[str, str] = JSON) -> list[Object] | None:
    """What was handed on; None where the body is not an array of objects to its end."""
    found: list[Object] = []
    sink = ObjectsSink(found.append, rate=1)
    whole = sink.begin(headers) and all(sink.take(piece) for piece in pieces) and sink.finish()
    return found if whole else None


@given(st.lists(st.dictionaries(st.text(max_size=8), VALUES, max_size=4), max_size=6), st.data())
def test_whatever_the_pieces_the_objects_are_the_same(objects: list[dict[str, object]], data: st.DataObject) -> None:
    """Cut anywhere, in the middle of a character too; with blanks and without."""
    indent = data.draw(st.sampled_from([None, 1]))
    body = json.dumps(objects, ensure_ascii=data.draw(st.booleans()), indent=indent).encode("utf-8", "surrogatepass")
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:  # a lone surrogate that was not escaped is no UTF-8
        return
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert read(*pieces) == objects


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b'[{"a": 1}',
        b'[{"a": 1},]',
        b'[{"a": 1} {"b": 2}]',
        b"[,]",
        b"[1]",
        b'{"a": 1}',
        b"[]]",
        b"[] x",
        b'[{"a": NaN}]',
        b'[{"a": "\xff"}]',
        b'[{"a": ' + b"9" * 5000 + b"}]",
        b'[{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
        b"<html>",
    ],
)
def test_what_is_no_array_of_objects_is_told(body: bytes) -> None:
    """Never an exception, never silence."""
    assert read(body) is None


def test_a_byte_order_mark_and_a_missing_type_are_allowed_for() -> None:
    """RFC 8259 8.1; Orthanc sends answers without a type."""
    assert read(b"\xef\xbb\xbf[{}]", headers={}) == [{}]


@pytest.mark.parametrize(
    "kind", ["text/html", "application/dicom+json; charset=utf-16", "multipart/related; boundary=x"]
)
def test_another_type_or_charset_is_not_begun(kind: str) -> None:
    assert read(b"[]", headers={"content-type": kind}) is None


def test_what_is_raised_over_an_object_reaches_the_caller() -> None:
    """A full disk, or a reader that went away, is not bad JSON."""

    def refuse(_found: Object) -> None:
        raise ValueError("from outside")

    sink = ObjectsSink(refuse, rate=1)
    sink.begin(JSON)
    with pytest.raises(ValueError, match="from outside"):
        sink.take(b"[{}]")


def test_memory_is_that_of_an_object_not_of_the_array() -> None:
    """I8: 40 MB of metadata in pieces of 64 KiB."""
    one = json.dumps({"00080018": {"vr": "UI", "Value": ["1.2.3"]}, "x": "y" * 4000}).encode() + b","
    piece = one * (65536 // len(one))
    count = 0

    def each(_found: Object) -> None:
        nonlocal count
        count += 1

    sink = ObjectsSink(each, rate=1)
    sink.begin(JSON)
    tracemalloc.start()
    sink.take(b"[")
    for _ in range(40_000_000 // len(piece)):
        assert sink.take(piece)
    assert sink.take(b"{}]")
    assert sink.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count > 9000
    assert peak < 2_000_000


def test_one_object_without_an_end_is_given_up() -> None:
    """I8."""
    sink = ObjectsSink(lambda _: None, rate=1)
    sink.begin(JSON)
    sink.take(b'[{"a": "')
    piece = b"x" * (1 << 20)
    assert [sink.take(piece) for _ in range(OBJECT_LIMIT // len(piece))].count(False) <= 1
    assert not sink.take(piece)
