"""What a pass left where it lies, in words: no name in them, and what mends it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingestd.core.scan import FOLDER, REASONS, UNREAD, WHO, Locked, LockedAlike, Passed

DCM = ("*.dcm",)


def test_nothing_passed_over_is_nothing() -> None:
    """F93, F94: what a scan has before its first pass."""
    passed = Passed()
    assert (passed.not_taken, passed.unknown, passed.locked.files, passed.locked.everything) == (0, 0, 0, False)


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"no_pattern": 1}, '1 file was not taken: its name does not match intake.include = ["*.dcm"]'),
        ({"no_pattern": 100}, '100 files were not taken: their names do not match intake.include = ["*.dcm"]'),
        (
            {"no_pattern": 9, UNREAD: 4},
            'at least 9 files were not taken: their names do not match intake.include = ["*.dcm"]',
        ),
    ],
)
def test_what_no_pattern_takes_is_said_with_the_setting(counts: dict[str, int], text: str) -> None:
    """F93: and where files were not read yet, the count is a lower bound."""
    passed = Passed(counts=counts, include=DCM)
    assert passed.why_not_taken() == text
    assert passed.text("no_pattern").startswith(f"{text}: set intake.include")


def test_what_could_not_be_looked_at_is_unknown() -> None:
    """F93: neither taken nor left out, so that nobody may say that all has ended."""
    assert Passed(counts={"unreadable": 2, UNREAD: 3, "not_dicom": 9}).unknown == 5


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_says_what_to_do_and_no_name(reason: str) -> None:
    """F93, I7"""
    text = Passed(counts={reason: 7}, example="Anna^Ott", include=DCM).text(reason)
    assert "7 " in text
    assert "Anna" not in text
    assert ": " in text


def test_one_locked_folder_is_mended_itself() -> None:
    """F94: with its path where a person may see it."""
    locked = LockedAlike(files=1, folders=1, example="a b", mend=f"as {WHO}, run chmod -R g+rwX {FOLDER}")
    assert locked.text() == (
        "1 file is not sent, because ingestd can't move files out of 1 folder: "
        "as the folder's owner or root, run chmod -R g+rwX FOLDER"
    )
    assert locked.text("'/in/a b'").endswith("run chmod -R g+rwX '/in/a b'")


def test_many_locked_folders_are_mended_by_one_command() -> None:
    """F94: `storescp -su` makes one for each study; of several owners each may mend but his own."""
    mend = f"as {WHO}, run chown -R :x {FOLDER} && chmod -R g+rwX {FOLDER}"
    locked = LockedAlike(files=40, folders=2, example="a", mend=mend)
    assert locked.text() == (
        "40 files are not sent, because ingestd can't move files out of 2 folders: "
        "as root, run chown -R :x INBOX && chmod -R g+rwX INBOX"
    )
    assert (locked.place, replace(locked, folders=1).place) == ("", "a")


def test_what_mends_one_folder_is_not_said_of_another() -> None:
    """F94: a sentence for each command."""
    one = LockedAlike(files=1, folders=1, example="a", mend=f"as {WHO}, run chmod {FOLDER}")
    locked = Locked(alike=(one, replace(one, files=5, folders=2, mend="mount it writable")))
    assert locked.files == 6
    assert locked.text() == (
        "1 file is not sent, because ingestd can't move files out of 1 folder: as the folder's owner or root, run chmod FOLDER; "
        "5 files are not sent, because ingestd can't move files out of 2 folders: mount it writable"
    )
