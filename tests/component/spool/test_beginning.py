"""How a file begins: read once, remembered by stamp, and counted by the scan."""

from __future__ import annotations

import errno
import os
from math import inf
from pathlib import Path

import pytest
from fakes.ops_fakes import FakeClock

from ingestd.core.scan import Passed
from ingestd.spool.disk import handles
from ingestd.spool.intake import beginning
from ingestd.spool.intake.beginning import Beginnings, Reading, begins, begins_below
from ingestd.spool.intake.names import Rules
from ingestd.spool.intake.tree import Tree

DICOM = bytes(128) + b"DICM"
PATTERNS = Rules(include=("*.dcm",))
ANY = Rules(include=("*",), dicom=True)


class Scans:
    """Passes over a folder, one after another; `read` has the names that were opened."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.clock = FakeClock()
        self.beginnings = Beginnings(self.clock)
        self.read: list[str] = []
        self.taken: list[str] = []

        def noted(folder: int, name: str) -> bool | None:
            self.read.append(name)
            return begins(folder, name)

        monkeypatch.setattr(beginning, "begins", noted)

    def put(self, name: str, content: bytes = DICOM, *, age: float = 3600.0) -> None:
        """`age` of its ctime by the clock, which is set for that."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.clock.jump(path.stat().st_ctime + age - self.clock.wall())

    def scan(self, rules: Rules = PATTERNS, *, reads: float = inf) -> Passed:
        folder = handles.open_inbox(self.root)
        tree = Tree(rules, reading=Reading(self.beginnings, reads))
        try:
            self.taken = sorted(sighting.path for sighting in tree.sightings(folder))
        finally:
            os.close(folder)
        return tree.passed


@pytest.fixture
def s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scans:
    return Scans(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("content", "like"),
    [(DICOM, True), (DICOM + b"more", True), (b"", False), (DICOM[:131], False), (b"DICM" + bytes(200), False)],
)
def test_128_bytes_and_then_dicm(tmp_path: Path, content: bytes, like: bool) -> None:
    """F93: PS3.10 7.1."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s/f").write_bytes(content)
    assert begins_below(tmp_path, "s/f") is like


def test_no_link_is_followed_and_nothing_blocks(tmp_path: Path) -> None:
    """F25, F27"""
    (tmp_path / "f").write_bytes(DICOM)
    (tmp_path / "link").symlink_to("f")
    (tmp_path / "folder").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    for path in ("link", "folder/f", "fifo", "nowhere"):
        with pytest.raises(OSError, match=r"."):
            begins_below(tmp_path, path)


def test_names_that_no_pattern_takes_are_counted_where_they_begin_like_dicom(s: Scans) -> None:
    """F93: Thumbs.db, a medium's index, temporary and excluded names do not count; one of those that do is named."""
    s.put("a.dcm")
    s.put("ct/IM000001")
    s.put("Thumbs.db", b"\xd0\xcf" * 500)
    s.put("DICOMDIR")
    s.put("IM2.part")
    s.put("scout")
    passed = s.scan(Rules(include=("*.dcm",), exclude=("scout",)))
    assert s.taken == ["a.dcm"]
    assert (passed.not_taken, passed.example) == (1, "ct/IM000001")
    counts = {reason: count for reason, count in passed.counts.items() if count}
    assert counts == {"no_pattern": 1, "not_dicom": 2, "temporary": 1, "excluded": 1}


def test_a_file_is_read_once_and_again_when_it_has_changed(s: Scans) -> None:
    """F93: 100,000 names every ten seconds must not be 100,000 reads."""
    s.put("IM1")
    s.put("notes", b"text")
    assert [s.scan().not_taken for _ in range(3)] == [1, 1, 1]
    assert sorted(s.read) == ["IM1", "notes"]
    s.put("notes", DICOM)
    assert s.scan().not_taken == 2
    assert sorted(s.read) == ["IM1", "notes", "notes"]


def test_a_young_file_is_read_again(s: Scans) -> None:
    """F93, I6: what is written through a mapped page may leave the stamp as it was."""
    s.put("IM1", b"x" * 200, age=5.0)
    s.scan()
    s.scan()
    assert s.read == ["IM1", "IM1"]


def test_all_is_forgotten_once_an_hour(s: Scans) -> None:
    """I6: no stamp hides a file for ever."""
    s.put("IM1")
    s.scan()
    s.clock.advance(3601)
    s.scan()
    assert s.read == ["IM1", "IM1"]


def test_a_pass_reads_so_many_and_the_next_goes_on(s: Scans) -> None:
    """F93, I8: until then they are neither one nor the other, and the count is a lower bound."""
    for number in range(5):
        s.put(f"IM{number}")
    passed = s.scan(reads=2)
    assert (passed.not_taken, passed.counts["unread"]) == (2, 3)
    assert passed.why_not_taken().startswith("at least 2 files")
    assert [s.scan(reads=2).not_taken for _ in range(2)] == [4, 5]
    assert len(s.read) == 5


@pytest.mark.parametrize("rules", [PATTERNS, ANY], ids=["patterns", "dicom"])
@pytest.mark.parametrize(
    ("content", "then"), [(b"", "not_dicom"), (bytes(500_000), "unwritten")], ids=["empty", "zeros"]
)
def test_a_file_whose_beginning_is_not_written_yet_is_unknown(
    s: Scans, rules: Rules, content: bytes, then: str
) -> None:
    """F93, F14: programs set the end of a file first, so that is no `no` for a quarter of an hour; then it is, and remembered.

    Zeros are a copy that was broken off, which a person can mend; an empty file is often no more than a mark.
    """
    s.put("IM1", content, age=800.0)
    for _ in range(2):
        passed = s.scan(rules)
        assert (s.taken, passed.unknown, passed.counts[then]) == ([], 1, 0)
    s.clock.advance(200)
    passed = s.scan(rules)
    assert (s.taken, passed.unknown, passed.counts[then]) == ([], 0, 1)
    assert "copy it again" in passed.text("unwritten")
    s.scan(rules)
    assert s.read == ["IM1"] * 3


def test_a_mediums_index_is_no_instance_for_dicom_either(s: Scans) -> None:
    """F93: a drain of a CD must not end with a file in failed/."""
    s.put("DICOMDIR")
    s.put("IM1")
    passed = s.scan(ANY)
    assert (s.taken, passed.counts["not_dicom"], passed.unknown) == (["IM1"], 1, 0)


def test_only_so_many_are_remembered(s: Scans, monkeypatch: pytest.MonkeyPatch) -> None:
    """I8"""
    monkeypatch.setattr(beginning, "_MOST_KNOWN", 2)
    for number in range(5):
        s.put(f"IM{number}")
    assert [s.scan().not_taken for _ in range(2)] == [5, 5]
    assert len(s.read) == 5 + 3


def test_dicom_takes_whatever_begins_like_it(s: Scans) -> None:
    """F93: and passes over the rest in silence, until that begins so too."""
    s.put("IM1")
    s.put("a.dcm", b"not yet")
    s.put("#recycle/IM2")
    passed = s.scan(ANY)
    assert (s.taken, passed.not_taken, passed.counts["not_dicom"]) == (["IM1"], 0, 1)
    s.put("a.dcm", DICOM)
    s.scan(ANY)
    assert s.taken == ["IM1", "a.dcm"]


def test_what_can_not_be_read_is_neither(s: Scans, monkeypatch: pytest.MonkeyPatch) -> None:
    """F93: unknown is not no, so it is counted as unreadable; what has just gone is nothing."""
    s.put("IM1")
    s.put("IM2")

    def refused(_: int, name: str) -> bool:
        raise PermissionError if name == "IM1" else FileNotFoundError

    monkeypatch.setattr(beginning, "begins", refused)
    for rules in (PATTERNS, ANY):
        passed = s.scan(rules)
        assert (passed.not_taken, passed.counts["unreadable"], s.taken) == (0, 1, [])


def test_what_somebody_writes_is_not_read_yet(s: Scans, monkeypatch: pytest.MonkeyPatch) -> None:
    """F93: a lease that is being broken is nothing to mend; the next pass asks again."""
    s.put("IM1")

    def refused(*_: object) -> bool:
        raise BlockingIOError(errno.EAGAIN, "")

    with monkeypatch.context() as busy:
        busy.setattr(beginning, "begins", refused)
        passed = s.scan(ANY)
    assert (s.taken, passed.unknown, passed.counts["unreadable"]) == ([], 1, 0)
    s.scan(ANY)
    assert s.taken == ["IM1"]
