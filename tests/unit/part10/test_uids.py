"""Which UIDs can stand in a URL, and what is said of those that can't."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from ingestd.part10.uids import MOST, is_standard, is_uid, why_none

TAKEN = ["1.2.3", "0", "01.02", ".1", "454c62fc-2d72-44c6-9521-1183db563b06", "dccc9599", "A_b~c", "1" * 65, "1" * MOST]
STANDARD = ["1.2.3", "0", "01.02", ".1"]


@pytest.mark.parametrize("uid", TAKEN)
def test_what_can_stand_in_a_path_is_a_uid(uid: str) -> None:
    """F95: it needs no escape, and is neither `.` nor `..`; whether PS3.5 9.1 has it so is told apart."""
    assert is_uid(uid)
    assert quote(uid, safe="") == uid
    assert uid.strip(".")
    assert is_standard(uid) is (uid in STANDARD)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has neither a letter nor a digit"),
        (".", "has neither a letter nor a digit"),
        ("..", "has neither a letter nor a digit"),
        ("-._~", "has neither a letter nor a digit"),
        ("1" * (MOST + 1), f"has {MOST + 1} characters, more than {MOST}"),
        ("../../etc/passwd", "has '/' at character 3"),
        ("1.2\\1.3", r"has '\\' at character 4"),
        ("1.2 3", "has a blank at character 4"),
        ("1.2'3", 'has "\'" at character 4'),
        ("1?x=1", "has '?' at character 2"),
        ("1%2e", "has '%' at character 2"),
        ("1#", "has '#' at character 2"),
        ("1\r\nHost: a", "has the byte 0x0d at character 2"),
        ("1.2\n", "has the byte 0x0a at character 4"),
        ("\x1b[2J", "has the byte 0x1b at character 1"),
        ("1.\0.2", "has the byte 0x00 at character 3"),
        ("1\x7f", "has the byte 0x7f at character 2"),
        ("J\xc3\xbcrgen", "has the byte 0xc3 at character 2"),
        ("\xb2", "has the byte 0xb2 at character 1"),
    ],
)
def test_what_can_not_is_named_by_one_character(text: str, why: str) -> None:
    """F95, I7: the character and its place, in a line that no terminal and no log takes for another."""
    assert not is_uid(text)
    assert why_none(text) == why
    assert why.isascii()
    assert why.isprintable()
