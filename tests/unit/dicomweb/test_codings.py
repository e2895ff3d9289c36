"""Content codings that were not asked for: taken away in bounded pieces, or no answer (RFC 9110 8.4.1)."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.dicomweb.payload.answer_headers import PIECE, SLACK, CodingError, plain

BODY = b'{"00081199":{}}' * 500


def raw_deflate(content: bytes) -> bytes:
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(content) + made.flush()


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "X-GZip": gzip.compress,
    "GZIP ,": gzip.compress,
    "identity, gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate ": raw_deflate,
    "": bytes,
    "Identity": bytes,
}


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [1, 2, 3, 1000, 1 << 20])
def test_a_coding_is_taken_away_however_it_comes(coding: str, size: int) -> None:
    """F84."""
    for content in (BODY, b"", b"x", bytes(5 * PIECE), b"\x78\x9c" * 10):
        assert b"".join(plain(coding, pieces(CODINGS[coding](content), size))) == content


@pytest.mark.parametrize("coding", [*CODINGS, "br", "gzip, gzip"])
def test_nothing_is_nothing_in_any_coding(coding: str) -> None:
    """A 204 says what its proxy always says."""
    assert list(plain(coding, [])) == []


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "deflate, gzip", "gzip;q=1", "x"])
def test_other_codings_can_not_be_read(coding: str) -> None:
    """F84."""
    with pytest.raises(CodingError):
        list(plain(coding, [gzip.compress(BODY)]))


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize(("coding", "code"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_what_is_not_one_whole_stream_can_not_be_read(coding: str, code: Callable[[bytes], bytes], size: int) -> None:
    """F84, F83: cut, broken, not what it says, or with something behind it."""
    good = code(BODY)
    for bad in (
        *(good[:cut] for cut in (1, 2, 11, len(good) - 1)),
        good[:-1] + bytes([good[-1] ^ 1]),
        good[: len(good) // 2] + b"\0\0\0\0" + good[len(good) // 2 :],
        good + b"\0",
        good + good,
        BODY,
    ):
        with pytest.raises(CodingError):
            list(plain(coding, pieces(bad, size)))


@given(st.binary(), st.sampled_from(["gzip", "deflate"]), st.integers(1, 9))
def test_no_bytes_raise_anything_else(content: bytes, coding: str, size: int) -> None:
    """F84."""
    try:
        list(plain(coding, pieces(content, size)))
    except CodingError:
        return


@pytest.mark.parametrize(("coding", "code"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_bomb_costs_no_more_than_what_is_taken_of_it(coding: str, code: Callable[[bytes], bytes]) -> None:
    """F55, F84: 256 MiB in 256 KiB, of which somebody takes the first four pieces."""
    bomb = code(bytes(256 << 20))
    tracemalloc.start()
    started = time.process_time()
    out = plain(coding, [bomb])
    taken = [len(next(out)) for _ in range(4)]
    spent = time.process_time() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken == [PIECE] * 4
    assert peak < len(bomb) * 2 + 8 * PIECE
    assert spent < 0.5


def test_input_without_output_comes_to_an_end() -> None:
    """F55, F84: five bytes that inflate to nothing, for ever."""
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        yield b"\x78\x9c"
        while True:
            taken += 5000
            yield b"\0\0\0\xff\xff" * 1000

    with pytest.raises(CodingError):
        list(plain("deflate", endless()))
    assert taken < SLACK + 10_000
