"""Which names are taken."""

from __future__ import annotations

import os

import pytest

from ingestd.config.sections import Intake
from ingestd.spool.intake.names import Ignored, Rules, classify, classify_path, is_index, passed_by, unfinished

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
    assert classify("scout.txt", "scout.txt", DCM, ("SCOUT*",)) is Ignored.EXCLUDED
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


@pytest.mark.parametrize("name", ["#recycle", "@Recycle", "$RECYCLE.BIN", "$Recycle.Bin", ".Trash-1000", "lost+found"])
def test_bins_are_not_entered(name: str) -> None:
    """F93: what somebody deleted is not shipped, wherever the bin lies, whatever the pattern."""
    assert passed_by(name) is Ignored.BIN
    assert classify_path(f"share/{name}/a.dcm", ("*",), ()) is Ignored.BIN


@pytest.mark.parametrize("name", ["recycle", "#recycle.dcm", "Recycle Bin", "lost", "trash"])
def test_folders_that_only_sound_like_bins_are_entered(name: str) -> None:
    """F93"""
    assert passed_by(name) is None


def test_folders_of_unfinished_names_are_not_entered() -> None:
    """F21"""
    assert (passed_by(".snapshot"), passed_by("study.tmp")) == (Ignored.HIDDEN, Ignored.TEMPORARY)


@pytest.mark.parametrize(
    ("name", "is_it"),
    [("DICOMDIR", True), ("dicomdir", True), ("DICOMDIR.;1", True), ("DICOMDIR;1", True), ("DICOMDIR.dcm", False)],
)
def test_the_index_of_a_medium_is_known_by_its_name(name: str, is_it: bool) -> None:
    """F93: PS3.10 8.6; it begins like DICOM and is no instance."""
    assert is_index(name) is is_it


def test_dicom_takes_any_name_that_is_not_excluded() -> None:
    """F93: how the file begins is looked at where it lies."""
    rules = Rules.of(Intake(include="dicom", exclude=("*.txt",), recursive=False))
    assert rules.dicom
    names = ["IM1", "a.dcm", "a.txt", "a.part", "s/IM1"]
    assert [name for name in names if rules.fits(name)] == ["IM1", "a.dcm"]


def test_patterns_are_not_the_word_dicom() -> None:
    """A list with the word in it is a list of names."""
    rules = Rules.of(Intake(include=("dicom",)))
    assert (rules.dicom, rules.fits("dicom"), rules.fits("IM1")) == (False, True, False)
