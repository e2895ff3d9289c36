"""Which names are taken. Pure.

Temporary names are how writers say "not yet": whatever the patterns include, they are never taken, and neither is anything in a
folder of such a name (rsync's `.~tmp~`, a share's `.snapshot`, a study copied as `study.tmp` and renamed). Names are what
os.fsdecode gives: any byte but `/` and NUL can stand in them, as a surrogate if it is not UTF-8.

Bins are folders in which a share, a NAS or Windows keeps what somebody deleted, and what a file system check found: nothing in
them is taken either.
"""

from __future__ import annotations

import enum
import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ingestd.config.section import DICOM
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
_BINS = frozenset({"#recycle", "@recycle", "$recycle.bin", "lost+found"})
_BIN_START = ".trash"
_INDEX = "dicomdir"  # PS3.10 8.6: the one name that the index of a medium has; it is no instance


class Ignored(enum.Enum):
    """Why the scan passes something over; the words are the reasons of `ingestd_ignored_files`."""

    TEMPORARY = "temporary"  # a name that says it is still being written, or a lock
    HIDDEN = "hidden"  # begins with a dot
    BIN = "bin"  # a folder of what was deleted
    NO_PATTERN = "no_pattern"  # no intake.include pattern matches, and it begins like DICOM
    NOT_DICOM = "not_dicom"  # no pattern matches, and it does not; nor does it where intake.include = "dicom"
    UNWRITTEN = "unwritten"  # the same, and zeros are all that its beginning has: its copy was broken off
    UNREAD = "unread"  # how it begins matters, and was not read yet
    EXCLUDED = "excluded"  # an intake.exclude pattern matches
    NOT_A_FILE = "not_a_file"  # FIFO, socket, device; a sub-folder where intake.recursive is off
    SYMLINK = "symlink"  # never followed, whatever it points to
    UNREADABLE = "unreadable"  # can't be listed or read just now, or lies too deep


def unfinished(name: str) -> Ignored | None:
    """TEMPORARY or HIDDEN where the name of a file or folder says so."""
    lower = name.lower()
    if lower.startswith(_TEMPORARY_STARTS) or lower.endswith(_TEMPORARY_ENDS):
        return Ignored.TEMPORARY
    return Ignored.HIDDEN if name.startswith(".") else None


def passed_by(name: str) -> Ignored | None:
    """Why a folder of this name is not entered; None where it is."""
    lower = name.lower()
    return Ignored.BIN if lower in _BINS or lower.startswith(_BIN_START) else unfinished(name)


def is_index(name: str) -> bool:
    """Whether it is a DICOMDIR by its name, with or without the version that ISO 9660 adds."""
    return name.lower().partition(";")[0].rstrip(".") == _INDEX


def classify(name: str, path: str, include: Sequence[str], exclude: Sequence[str]) -> Ignored | None:
    """Why the file `name` at `path` (relative to the inbox) is passed over; None where it is taken, as far as names go.

    Patterns are fnmatch's and know no case. One with a `/` is matched against the path, where `*` crosses folders and a
    leading `**/` also stands for no folder at all; any other is matched against the name.
    """
    if (reason := unfinished(name)) is not None:
        return reason
    if exclude and _matches(name, path, tuple(exclude)):
        return Ignored.EXCLUDED
    return None if _matches(name, path, tuple(include)) else Ignored.NO_PATTERN


def classify_path(path: str, include: Sequence[str], exclude: Sequence[str]) -> Ignored | None:
    """The same for a path whose folders have not been judged on the way."""
    *folders, name = path.split("/")
    for folder in folders:
        if (reason := passed_by(folder)) is not None:
            return reason
    return classify(name, path, include, exclude)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The `intake` keys that say what is taken. `dicom`: any name, of a file that begins like DICOM."""

    include: Sequence[str]
    exclude: Sequence[str] = ()
    recursive: bool = True
    dicom: bool = False

    @classmethod
    def of(cls, intake: Intake) -> Rules:
        dicom = intake.include == DICOM
        include = ("*",) if dicom else intake.include
        return cls(include=include, exclude=intake.exclude, recursive=intake.recursive, dicom=dicom)

    def fits(self, path: str) -> bool:
        """Whether a file with this path, relative to the inbox, is taken, as far as names go."""
        return classify_path(path, self.include, self.exclude) is None and (self.recursive or "/" not in path)


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
