"""Which names are tried for a file whose name is taken or too long (F29, F30)."""

from __future__ import annotations

import os
import re
from itertools import islice

import pytest

from ingestd.spool.disk.free_names import free_names


def first(count: int, name: str, *, limit: int = 255, extended: bool = False) -> list[str]:
    return list(islice(free_names(name, seed="s", limit=limit, extended=extended), count))


def test_numbers_come_first() -> None:
    """DESIGN 5: a taken name becomes name~1.dcm."""
    assert first(3, "a.b.dcm") == ["a.b.dcm", "a.b~1.dcm", "a.b~2.dcm"]
    assert first(2, "README") == ["README", "README~1"]


def test_then_digits_that_hardly_ever_collide() -> None:
    names = list(free_names("a.dcm", seed="s", limit=255))
    assert len(names) == len(set(names)) == 42
    assert all(re.fullmatch(r"a~[0-9a-f]{8}\.dcm", name) for name in names[10:])


def test_the_same_file_is_offered_the_same_names() -> None:
    """F37: after a crash."""
    assert list(free_names("x" * 300, seed="s", limit=255)) == list(free_names("x" * 300, seed="s", limit=255))
    assert first(1, "x" * 300) != list(islice(free_names("x" * 300, seed="t", limit=255), 1))


@pytest.mark.parametrize("name", ["x" * 300 + ".dcm", "\u00e4" * 200, os.fsdecode(b"\xff" * 300), "a." + "b" * 300])
def test_a_name_too_long_is_cut_at_a_character(name: str) -> None:
    """DESIGN 5: it ends in ~ and 8 hex digits."""
    for made in free_names(name, seed="s", limit=243):
        assert len(os.fsencode(made)) <= 243
        assert re.fullmatch(r".*~[0-9a-f]{8}", made, re.DOTALL)
        assert name.startswith(made[:-9])


def test_in_the_inbox_a_cut_name_keeps_its_extension() -> None:
    """It must still match intake.include."""
    (made,) = first(1, "x" * 300 + ".dcm", extended=True)
    assert re.fullmatch(r"x+~[0-9a-f]{8}\.dcm", made)
    assert len(made) == 255
