"""The walk against whatever comes: trees that are generated, encoded, mutated and cut; and every failure that fuzzing ever found.

`tests/fuzz/walk_fuzz.py` is the coverage-guided counterpart for a long run; what it finds is kept in tests/fuzz/corpus.
"""

from __future__ import annotations

import random
import time
import tracemalloc
from itertools import accumulate
from pathlib import Path

import pytest
from fakes.part10_files import MADE, Made, image_in
from fakes.part10_mutator import Part10Mutator
from fakes.part10_verdicts import SENDABLE, judge, verdict, wrong
from fakes.part10_writer import BIG, DEFLATED, EXPLICIT, IMPLICIT, JPEG, SR, Writer, head, identity, part10
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestd.core.answers.reasons import Wholeness

CORPUS = sorted((Path(__file__).parents[2] / "fuzz" / "corpus").iterdir())
SYNTAXES = [EXPLICIT, IMPLICIT, BIG, JPEG, DEFLATED]
MEGABYTE = 1 << 20


def hold(content: bytes) -> None:
    """No error, no second of CPU, and nothing that a verdict must never be."""
    start = time.process_time()
    found = judge(content)
    assert time.process_time() - start < 1
    assert wrong(content, found) == ""


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_fuzzing_found_stays_mended(path: Path) -> None:
    """F33, F46."""
    hold(path.read_bytes())


quick = settings(max_examples=300, deadline=None)


@quick
@given(syntax=st.sampled_from(SYNTAXES), noise=st.binary(max_size=300))
def test_noise_behind_a_head_is_judged(syntax: str, noise: bytes) -> None:
    """F33, F46: a verdict, never an error, and never one to send."""
    found = judge(head(syntax) + noise)
    assert found.wholeness not in SENDABLE
    assert "\n" not in found.text


@quick
@given(
    syntax=st.sampled_from(SYNTAXES),
    changes=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=8),
    tail=st.binary(max_size=30),
)
def test_a_damaged_file_is_judged(syntax: str, changes: list[tuple[int, int]], tail: bytes) -> None:
    """F33, F46: damage ends in a verdict; what is sent has all its UIDs."""
    content = bytearray(image_in(syntax).content + tail)
    for at, byte in changes:
        content[at % len(content)] = byte
    found = judge(bytes(content))
    assert found.ids is not None or found.wholeness not in SENDABLE


def elements_of(w: Writer) -> st.SearchStrategy[bytes]:
    """Any element: plain, private, long, a sequence of either kind, encapsulated."""
    tags = st.integers(0x00290000, 0x0029FFFF)
    plain = st.builds(
        w.element, tags, st.sampled_from([b"LO", b"PN", b"UI", b"OB", b"UN", b"UT"]), st.binary(max_size=20)
    )

    def inside(children: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
        content = st.lists(children, max_size=3).map(b"".join)
        items = st.lists(st.builds(w.item, content, undefined=st.booleans()), max_size=3)
        return st.builds(
            lambda tag, parts, undefined: w.sequence(tag, *parts, undefined=undefined), tags, items, st.booleans()
        )

    fragments = st.lists(st.builds(w.item, st.binary(max_size=9)), max_size=3)
    wrapped = st.builds(lambda tag, parts: w.sequence(tag, *parts, undefined=True, vr=b"OB"), tags, fragments)
    return st.recursive(plain if w.syntax == IMPLICIT else plain | wrapped, inside, max_leaves=12)


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    w = Writer(draw(st.sampled_from([EXPLICIT, IMPLICIT, BIG])))
    return w.syntax, [*identity(w, sop_class=SR), *draw(st.lists(elements_of(w), max_size=6))]


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=objects(), share=st.floats(0, 1, exclude_max=True))
def test_any_object_is_whole_and_no_cut_of_it_but_between_elements(made: tuple[str, list[bytes]], share: float) -> None:
    """F17: for any nesting in any encoding."""
    syntax, elements = made
    content = part10(elements, syntax, sop_class=SR)
    assert verdict(content) is Wholeness.WHOLE
    cut = int(share * len(content))
    ends = list(accumulate((len(e) for e in elements), initial=len(head(syntax, sop_class=SR))))[1:]
    assert verdict(content[:cut]) not in SENDABLE or cut in ends[5:]


MUTATIONS = st.lists(st.integers(0, 1 << 60), min_size=1, max_size=6)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(made=st.sampled_from(MADE), seeds=MUTATIONS, share=st.floats(0, 1))
def test_a_mutated_file_is_judged(made: Made, seeds: list[int], share: float) -> None:
    """F32, F33, F46: elements moved, doubled, nested, given other lengths, VRs and tags; then cut."""
    mutator, content = Part10Mutator(), made.content
    for seed in seeds:
        content = mutator.mutate(content, seed) or content
    hold(content)
    hold(content[: int(share * len(content))])


@pytest.mark.slow
def test_no_file_takes_memory() -> None:
    """F32, I8: 2,000 mutated files, one after another; none makes the walk hold a megabyte, far below the 64 that are allowed."""
    mutator, chosen, content, largest = Part10Mutator(), random.Random(1), b"", 0
    tracemalloc.start()
    try:
        for number in range(2000):
            if number % 8 == 0:
                content = chosen.choice(MADE).content
            content = mutator.mutate(content, chosen.randrange(1 << 60)) or content
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            judge(content)
            _, peak = tracemalloc.get_traced_memory()
            largest = max(largest, peak - before)
    finally:
        tracemalloc.stop()
    assert largest < 2 * MEGABYTE
