"""What a file may cost: depth, elements, header bytes, places, inflated and deflated bytes (F32, F34, I8).

No clock bounds the walk, for a busy machine must not fail a good file; the work is bounded instead. Here the worst known file for
each bound is walked in a process of its own. On two cores of a small server each takes less than a second
(`python tests/bench/walk.py --worst` prints them); the limit of the tests leaves room for a machine five times slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes.part10_bombs import BOMBS, Bomb, doubted
from fakes.part10_files import writer
from fakes.part10_verdicts import judge, verdict, walk_apart
from fakes.part10_writer import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    SR,
    UNDEFINED,
    Writer,
    head,
    identity,
    image_pixel,
    part10,
    pixels,
)

from ingestd.core.answers.reasons import Wholeness

SECONDS = 5
MEGABYTES = 8  # the issue asks for 64

W = Writer()


def sparse(folder: Path, pieces: Sequence[tuple[int, bytes]], *, size: int) -> Path:
    """A file of `size` bytes with these pieces in it, and holes between them."""
    path = folder / "sparse.dcm"
    with path.open("wb") as file:
        for at, piece in pieces:
            file.seek(at)
            file.write(piece)
        file.truncate(size)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.name)
def test_the_worst_file_for_each_bound_is_refused_with_its_name_at_a_bounded_cost(bomb: Bomb, tmp_path: Path) -> None:
    """F32, I8: bounded CPU and memory; the reason says which bound it was."""
    path = tmp_path / "bomb.dcm"
    bomb.write(path)
    cost = walk_apart(path)
    path.unlink()
    assert (cost.wholeness, cost.text) == ("bounds", bomb.says)
    assert cost.seconds < SECONDS
    assert cost.megabytes < MEGABYTES


def test_a_second_walk_into_a_private_sequence_is_bounded_too(tmp_path: Path) -> None:
    """F95, I8: what can't be shown to be longer than it declares stays truncated, with the words of the first walk."""
    path = tmp_path / "doubted.dcm"
    doubted(path)
    cost = walk_apart(path)
    assert (cost.wholeness, cost.text) == ("truncated", f"the element header at byte {path.stat().st_size - 1} is cut")
    assert cost.seconds < SECONDS
    assert cost.megabytes < MEGABYTES


def test_zeros_without_end_are_out_of_bounds(tmp_path: Path) -> None:
    """F16, I8: nobody reads a terabyte of nothing."""
    start = part10([*identity(W), *image_pixel(W), pixels(W)])
    cost = walk_apart(sparse(tmp_path, [(0, start)], size=1 << 40))
    assert (cost.wholeness, cost.seconds < SECONDS) == ("bounds", True)
    assert cost.text == f"more than 64 MiB of zeros follow from byte {len(start)} on"


def test_a_length_of_four_gigabytes_is_a_truncation() -> None:
    """F32: it is compared, never allocated."""
    content = part10([*identity(W), W.header(0x00091010, b"OB", 0xFFFFFFFE)])
    assert judge(content).text == f"the value at byte {len(content)} is longer than the 0 bytes that are there"


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_deep_nesting_is_out_of_bounds(syntax: str) -> None:
    """F32: 100,000 levels, no recursion."""
    w = Writer(syntax)
    level = w.header(0x0040A730, b"SQ", UNDEFINED) + w.mark(0xE000, UNDEFINED)
    found = judge(part10([level * 100_000], syntax))
    assert (found.wholeness, found.text) == (Wholeness.OUT_OF_BOUNDS, "sequences nest more than 64 deep")


def test_nesting_as_deep_as_reports_go_is_whole() -> None:
    """I3: 64 levels are fine."""
    tree = b""
    for _ in range(64):
        tree = W.sequence(0x0040A730, W.item(tree, undefined=True), undefined=True)
    assert verdict(part10([*identity(W, sop_class=SR), tree], sop_class=SR)) is Wholeness.WHOLE


def test_a_slide_of_a_hundred_and_fifty_thousand_tiles_is_whole(tmp_path: Path) -> None:
    """I3: a fragment a tile, each of 20 KiB; 3 GB that are holes."""
    start = head(JPEG) + b"".join([*identity(W), *image_pixel(W)]) + W.header(0x7FE00010, b"OB", UNDEFINED)
    pieces, at = [(0, start)], len(start)
    for _ in range(150_000):
        pieces.append((at, W.mark(0xE000, 20_000)))
        at += 8 + 20_000
    pieces.append((at, W.mark(0xE0DD)))
    cost = walk_apart(sparse(tmp_path, pieces, size=at + 8))
    assert (cost.wholeness, cost.seconds < SECONDS, cost.megabytes < MEGABYTES) == ("whole", True, True)


def enhanced(frames: int) -> bytes:
    """As an MR scanner writes an fMRI series: 145 headers a frame, all lengths undefined, and hardly a pixel."""
    place = W.element(0x00200032, b"DS", b"1\\2\\3 ")
    code = W.element(0x00080100, b"SH", b"121321") + W.element(0x00080102, b"SH", b"DCM ")
    reference = W.element(0x00081155, b"UI", b"1.2.3.4 ") + opened(0x0040A170, code)
    private = b"".join(W.element(0x20051400 + n, b"DS", b"1.5 ") for n in range(45))
    groups = opened(0x00209113, place) * 9 + opened(0x00081140, reference) * 3 + opened(0x2005140F, private)
    return opened(0x52009230, *[groups] * frames) + pixels(W, 32 * frames)


def opened(tag: int, *contents: bytes) -> bytes:
    return W.sequence(tag, *[W.item(content, undefined=True) for content in contents], undefined=True)


@pytest.mark.parametrize("frames", [8_000, 20_000])
def test_an_enhanced_object_of_thousands_of_frames_is_whole(frames: int, tmp_path: Path) -> None:
    """F95, I3: forty slices by two hundred volumes, by five hundred; the bound grows with the file."""
    path = tmp_path / "enhanced.dcm"
    path.write_bytes(part10([*identity(W), *image_pixel(W), enhanced(frames)]))
    cost = walk_apart(path)
    assert (cost.wholeness, cost.seconds < SECONDS, cost.megabytes < MEGABYTES) == ("whole", True, True)


def test_a_segmentation_of_tiles_that_are_nearly_empty_is_whole(tmp_path: Path) -> None:
    """F95, I3: 38,000 tiles, 67 headers and one fragment of 64 bytes for each: 11 bytes a header."""
    tile = (
        opened(0x00209111, W.element(0x00209157, b"UL", bytes(12)))
        + opened(0x0062000A, W.element(0x0062000B, b"US", 1)) * 12
    )
    front = [*identity(W), *image_pixel(W), opened(0x52009230, *[tile] * 38_000)]
    path = tmp_path / "slide.dcm"
    path.write_bytes(
        part10(
            [*front, W.sequence(0x7FE00010, W.item(b""), W.item(bytes(64)) * 38_000, undefined=True, vr=b"OB")], JPEG
        )
    )
    cost = walk_apart(path)
    assert (cost.wholeness, cost.seconds < SECONDS, cost.megabytes < MEGABYTES) == ("whole", True, True)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
def test_a_small_object_of_many_frames_is_whole_in_every_encoding(syntax: str) -> None:
    """I3: 8,000 frames of 86 headers each."""
    w = writer(syntax)
    inner = w.element(0x00189073, b"FD", bytes(8)) + w.element(0x00200032, b"DS", b"1\\2\\3 ")
    inner += w.element(0x00209057, b"UL", bytes(4))
    groups = w.sequence(0x00209111, w.item(inner, undefined=True), undefined=True) * 12
    frames = w.sequence(0x52009230, *[w.item(groups, undefined=True)] * 8_000, undefined=True)
    content = part10([*identity(w), *image_pixel(w), frames, pixels(w)], syntax)
    assert verdict(content) is Wholeness.WHOLE


def test_a_file_of_many_gigabytes_costs_nothing(tmp_path: Path) -> None:
    """F34: 10 GiB in two native elements and one encapsulated one of three fragments; cut, it is truncated."""
    before = part10([*identity(W), *image_pixel(W)], JPEG)
    large = 0xFFFFFFF0
    first = before + W.header(0x00290010, b"OB", large)
    fragments = W.header(0x7FE00010, b"OB", UNDEFINED) + W.item(b"")
    pieces, at = [(0, first)], len(first) + large
    pieces.append((at, fragments))
    at += len(fragments)
    for length in (3 << 30, 3 << 30):
        pieces.append((at, W.mark(0xE000, length)))
        at += 8 + length
    pieces.append((at, W.mark(0xE0DD)))
    cost = walk_apart(sparse(tmp_path, pieces, size=at + 8))
    assert (cost.wholeness, cost.seconds < 1, cost.megabytes < 2) == ("whole", True, True)
    assert walk_apart(sparse(tmp_path, pieces[:-1], size=at)).wholeness == "truncated"
    assert walk_apart(sparse(tmp_path, pieces[:-1], size=at - 1)).wholeness == "truncated"
