"""Which names are taken."""

from __future__ import annotations

import os

import pytest

from ingestd.spool.names import Ignored, classify, classify_path, unfinished

DCM = ("*.dcm",)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.dcm.part", Ignored.TEMPORARY),
        ("a.dcm.PARTIAL", Ignored.TEMPORARY),
        ("a.Tmp", Ignored.TEMPORARY),
        ("a.filepart", Ignored.TEMPORARY),
        ("a.dcm.crdownload", Ignored.TEMPORARY),
        ("~$a.dcm", Ignored.TEMPORARY),
        (".nfs000000000123.dcm", Ignored.TEMPORARY),
        ("a.dcm.lock", Ignored.TEMPORARY),
        (".a.dcm", Ignored.HIDDEN),
        (".a.dcm.Xy12ab", Ignored.HIDDEN),
        ("~a.dcm", None),
        ("part", None),
        ("a.part.dcm", None),
    ],
)
def test_temporary_and_hidden_names_are_never_taken(name: str, reason: Ignored | None) -> None:
    """F21: not even where the pattern takes everything."""
    assert unfinished(name) is reason
    assert classify(name, name, ("*",), ()) is reason


@pytest.mark.parametrize("name", ["a.dcm", "A.DCM", "1.2.840.dCm", "-rf.dcm", "%s.dcm", "\u202egnp.dcm", "q\"'.dcm"])
def test_include_knows_no_case_and_no_odd_names(name: str) -> None:
    """F29"""
    assert classify(name, name, DCM, ()) is None


@pytest.mark.parametrize("raw", [b"\xff\xfe.dcm", b"a\nb.dcm", b"\x1b[2J.dcm", b"x" * 251 + b".dcm"])
def test_any_byte_may_stand_in_a_name(raw: bytes) -> None:
    """F29"""
    name = os.fsdecode(raw)
    assert classify(name, name, DCM, ()) is None
    assert classify(name, name, ("*.ima",), ()) is Ignored.NO_PATTERN


def test_what_no_pattern_includes_is_told_from_what_one_excludes() -> None:
    """intake.include and intake.exclude are counted apart."""
    assert classify("IM0001", "IM0001", DCM, ()) is Ignored.NO_PATTERN
    assert classify("scout.dcm", "scout.dcm", DCM, ("SCOUT*",)) is Ignored.EXCLUDED
    assert classify("IM0001", "IM0001", ("*.dcm", "IM????"), ("scout*",)) is None
    assert classify("a.dcm", "a.dcm", (), ()) is Ignored.NO_PATTERN


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("ct/*.dcm", {"ct/a.dcm", "ct/b/a.dcm"}),
        ("/ct/a.dcm", {"ct/a.dcm"}),
        ("**/a.dcm", {"a.dcm", "ct/a.dcm", "ct/b/a.dcm"}),
        ("*.dcm", {"a.dcm", "ct/a.dcm", "ct/b/a.dcm"}),
        ("a.dcm", {"a.dcm", "ct/a.dcm", "ct/b/a.dcm"}),
    ],
)
def test_a_pattern_with_a_slash_is_matched_against_the_path(pattern: str, taken: set[str]) -> None:
    """intake.include"""
    paths = ["a.dcm", "ct/a.dcm", "ct/b/a.dcm"]
    assert {p for p in paths if classify_path(p, (pattern,), ()) is None} == taken


def test_nothing_in_a_temporary_or_hidden_folder_is_taken() -> None:
    """F21: a study copied under a temporary name is not there yet."""
    assert classify_path(".snapshot/a.dcm", DCM, ()) is Ignored.HIDDEN
    assert classify_path("study.tmp/ct/a.dcm", DCM, ()) is Ignored.TEMPORARY
    assert classify_path("study/x.dcm/a.dcm", DCM, ()) is None
