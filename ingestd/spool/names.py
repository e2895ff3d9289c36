"""Which names are taken. Pure.

Temporary names are how writers say "not yet": whatever the patterns include, they are never taken, and neither is anything in a
folder of such a name (rsync's `.~tmp~`, a share's `.snapshot`, a study copied as `study.tmp` and renamed). Names are what
os.fsdecode gives: any byte but `/` and NUL can stand in them, as a surrogate if it is not UTF-8.
"""

from __future__ import annotations

import enum
import fnmatch
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from ingestd.config.sections import Intake

_TEMPORARY_ENDS = (
    ".part",
    ".partial",
    ".tmp",
    ".temp",
    ".filepart",
    ".crdownload",
    ".download",
    ".lock",
    ".lck",
    ".swp",
)
_TEMPORARY_STARTS = ("~$", ".nfs", ".fuse_hidden", ".smbdelete")


class Ignored(enum.Enum):
    """Why the scan passes something over; the words are the reasons of `ingestd_ignored_files`."""

    TEMPORARY = "temporary"  # a name that says it is still being written, or a lock
    HIDDEN = "hidden"  # begins with a dot
    NO_PATTERN = "no_pattern"  # no intake.include pattern matches
    EXCLUDED = "excluded"  # an intake.exclude pattern matches
    NOT_A_FILE = "not_a_file"  # FIFO, socket, device; a sub-folder where intake.recursive is off
    SYMLINK = "symlink"  # never followed, whatever it points to
    UNREADABLE = "unreadable"  # a folder that can't be listed just now, or lies too deep


def unfinished(name: str) -> Ignored | None:
    """TEMPORARY or HIDDEN where the name of a file or folder says so."""
    lower = name.lower()
    if lower.startswith(_TEMPORARY_STARTS) or lower.endswith(_TEMPORARY_ENDS):
        return Ignored.TEMPORARY
    return Ignored.HIDDEN if name.startswith(".") else None


def classify(name: str, path: str, include: Sequence[str], exclude: Sequence[str]) -> Ignored | None:
    """Why the file `name` at `path` (relative to the inbox) is passed over; None where it is taken.

    Patterns are fnmatch's and know no case. One with a `/` is matched against the path, where `*` crosses folders and a
    leading `**/` also stands for no folder at all; any other is matched against the name.
    """
    if (reason := unfinished(name)) is not None:
        return reason
    if not _matches(name, path, tuple(include)):
        return Ignored.NO_PATTERN
    return Ignored.EXCLUDED if exclude and _matches(name, path, tuple(exclude)) else None


def classify_path(path: str, include: Sequence[str], exclude: Sequence[str]) -> Ignored | None:
    """The same for a path whose folders have not been judged on the way."""
    *folders, name = path.split("/")
    for folder in folders:
        if (reason := unfinished(folder)) is not None:
            return reason
    return classify(name, path, include, exclude)


def taken_by(intake: Intake) -> Callable[[str], bool]:
    """Whether a file with this path, relative to the inbox, is taken."""
    return lambda path: (
        classify_path(path, intake.include, intake.exclude) is None and (intake.recursive or "/" not in path)
    )


def _matches(name: str, path: str, patterns: tuple[str, ...]) -> bool:
    names, paths = _compiled(patterns)
    return bool((names and names.match(name)) or (paths and paths.match(path)))


@lru_cache(maxsize=8)
def _compiled(patterns: tuple[str, ...]) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    return (
        _any_of([fnmatch.translate(p) for p in patterns if "/" not in p]),
        _any_of([_path_expression(p) for p in patterns if "/" in p]),
    )


def _path_expression(pattern: str) -> str:
    if pattern.startswith("**/"):
        return "(?s:.*/)?" + fnmatch.translate(pattern[3:])
    return fnmatch.translate(pattern.removeprefix("/"))


def _any_of(expressions: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(f"(?:{e})" for e in expressions), re.IGNORECASE) if expressions else None
