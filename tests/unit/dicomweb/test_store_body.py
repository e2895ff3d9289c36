"""The multipart body: exact length, fresh boundary, whole again for each attempt."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes.bodies_fake import FakeBodies, digest, parts
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.errors import FileBusyError, FileChangedError, FileError, FileGoneError
from ingestd.core.model import Instance
from ingestd.dicomweb.payload.store_body import PIECE, StoreBody, Upload


@given(st.lists(st.binary(max_size=600), max_size=8))
def test_a_server_finds_every_instance_byte_for_byte(contents: list[bytes]) -> None:
    """I4: and Content-Length is what is sent."""
    bodies = FakeBodies()
    body = StoreBody([bodies.add(content) for content in contents], bodies)
    sent = b"".join(body)
    assert len(sent) == body.length
    assert list(parts(body.content_type, sent)) == contents


def test_the_control_is_a_closing_delimiter_alone() -> None:
    body = StoreBody((), FakeBodies())
    boundary = body.content_type.partition("boundary=")[2]
    assert b"".join(body) == f"--{boundary}--\r\n".encode()
    assert body.length == len(boundary) + 6


def test_the_type_is_quoted_and_the_boundary_is_128_random_bits() -> None:
    """F35: Azure refuses an unquoted type; nobody can write the boundary into a file beforehand."""
    bodies = FakeBodies()
    types = {StoreBody((), bodies).content_type for _ in range(100)}
    assert len(types) == 100
    prefix = 'multipart/related; type="application/dicom"; boundary='
    assert {t.removeprefix(prefix).strip("0123456789abcdef") for t in types} == {""}
    assert {len(t) for t in types} == {len(prefix) + 32}


def test_a_second_attempt_sends_the_same_bytes_between_other_boundaries() -> None:
    """F57."""
    bodies = FakeBodies()
    instances = [bodies.add(b"x" * 1000), bodies.add(b"y" * 3_000_000)]
    first, second = StoreBody(instances, bodies), StoreBody(instances, bodies)
    sent, again = b"".join(first), b"".join(second)
    assert first.content_type != second.content_type
    assert len(sent) == len(again) == first.length
    assert parts(first.content_type, sent) == parts(second.content_type, again)


@pytest.mark.parametrize("single", [False, True])
def test_an_upload_has_a_whole_body_for_each_try_however_much_of_the_last_was_used(*, single: bool) -> None:
    """F57: a body that was used up would be sent empty, and reported as sent."""
    bodies = FakeBodies()
    content = b"x" * 3_000_000
    upload = Upload([bodies.add(content)], bodies, single=single)
    assert upload.size == len(content)
    for pieces in (1, None, 0, None):
        body = upload.fresh()
        assert upload.last is body
        if pieces is None:
            sent = b"".join(body)
            assert len(sent) == body.length
            assert content in sent
            assert body.digests == (digest(content),)
        else:
            assert len([piece for piece, _ in zip(body, range(pieces), strict=False)]) == pieces
            assert body.digests == (None,)


def test_small_instances_travel_together_and_large_ones_in_pieces() -> None:
    """speed.md: a piece costs a system call."""
    bodies = FakeBodies()
    small = list(StoreBody([bodies.add(b"x" * 32_768) for _ in range(100)], bodies))
    large = list(StoreBody([bodies.add(b"x" * 10_000_000)], bodies))
    assert len(small) == 13
    assert max(map(len, large)) < 2 * PIECE


def test_digests_are_there_for_what_was_read_to_its_end() -> None:
    bodies = FakeBodies()
    body = StoreBody([bodies.add(b"a" * 1000), bodies.add(b"b" * 1000)], bodies)
    assert body.digests == (None, None)
    assert b"".join(body)
    assert body.digests == (digest(b"a" * 1000), digest(b"b" * 1000))


@pytest.mark.parametrize("error", [FileChangedError("changed"), FileGoneError("gone"), FileBusyError("busy")])
def test_a_file_that_fails_is_named_and_its_part_is_never_completed(error: FileError) -> None:
    """F58, I4: the last pieces of the other file may wait, the delimiter after the changed one is not there."""
    bodies = FakeBodies()
    good, bad = bodies.add(b"g" * 700_000), bodies.add(b"b" * 700_000)
    bodies.failures[bad.path] = error
    body = StoreBody([good, bad], bodies)
    pieces: list[bytes] = []
    with pytest.raises(type(error)):
        pieces.extend(body)
    sent = b"".join(pieces)
    assert body.failed == 1
    assert body.digests == (digest(b"g" * 700_000), None)
    assert sent.count(b"--") <= 2
    assert len(sent) < body.length


class Careless:
    """A reading that checks nothing."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.sha256 = None

    def __iter__(self) -> Iterator[bytes]:
        yield self._content

    def read(self, instance: Instance) -> Careless:
        return self


@pytest.mark.parametrize("content", [b"x" * 999, b"x" * 1001, b""])
def test_bytes_sent_are_held_against_bytes_declared(content: bytes) -> None:
    """F58: whatever a reading gives."""
    with pytest.raises(FileChangedError):
        list(StoreBody([FakeBodies().add(b"x" * 1000)], Careless(content)))
