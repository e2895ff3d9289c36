"""UIDs as files hold them (PS3.5 9.1), and which of them can stand in a URL.

Files hold UIDs with letters, such as UUIDs and digests that a de-identification made, and longer ones than 64 characters. What
they are worth is the service's verdict (Azure refuses them, Orthanc stores them), so they are sent and noted. But a UID is a
segment of the paths that name the instance: it is taken only where it can stand there as it is (RFC 3986 2.3).
"""

from __future__ import annotations

import re
from typing import Final

MOST: Final = 128  # characters of one; three of them, and what stands between, are a path that every server takes
_SEGMENT: Final = re.compile(r"[._~-]*[0-9A-Za-z][0-9A-Za-z._~-]*")
_STANDARD: Final = re.compile(r"[0-9.]{1,64}")
_STRANGE: Final = re.compile(r"[^0-9A-Za-z._~-]")


def is_uid(text: str) -> bool:
    """Letters, digits, `.`, `-`, `_` and `~`, one letter or digit at least: nothing in it can climb or end a path."""
    return len(text) <= MOST and _SEGMENT.fullmatch(text) is not None


def is_standard(uid: str) -> bool:
    """Digits and dots, at most 64."""
    return _STANDARD.fullmatch(uid) is not None


def why_none(text: str) -> str:
    """What keeps a text that `is_uid` refuses from being one, with no more of it than one character (I7)."""
    strange = _STRANGE.search(text)
    if strange is None:
        return (
            f"has {len(text)} characters, more than {MOST}" if len(text) > MOST else "has neither a letter nor a digit"
        )
    character, place = strange[0], strange.start() + 1
    if character == " ":
        return f"has a blank at character {place}"
    if character.isascii() and character.isprintable():
        return f"has {character!r} at character {place}"
    return f"has the byte {ord(character):#04x} at character {place}"
