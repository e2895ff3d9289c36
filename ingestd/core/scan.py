"""What the scanner has seen: how far it has come, and what the newest pass over the inbox left where it lies.

One value travels from the scanner to all that tell of it: the log, /readyz, the metrics, `drain`. Its sentences stand here once.
None of them holds a name: who may show one puts it behind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

NO_PATTERN = "no_pattern"
SYMLINK = "symlink"
UNREADABLE = "unreadable"
UNWRITTEN = "unwritten"
UNREAD = "unread"

TAKE_DICOM = 'set intake.include = "dicom" to take every file that begins like DICOM'

FOLDER = "FOLDER"  # where a command has the path
WHO = "{who}"  # where it says who may run it

_HINTS = {
    SYMLINK: "links are never followed: copy the files into the inbox, or mount the folder there",
    UNWRITTEN: "such a file begins with nothing but zeros, because its copy was broken off: copy it again, or remove it",
    UNREADABLE: "folders that can't be listed, or files that can't be read: let the service's user read and enter them",
}
REASONS = (NO_PATTERN, SYMLINK, UNWRITTEN, UNREADABLE)  # of what is perhaps meant to be sent


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedAlike:
    """Folders that nothing can be moved out of and that the same mends, and how many files wait in them: these are not sent.

    `example` is the path of one such folder in the inbox, empty for the inbox itself; `mend` is what mends it, with FOLDER in the
    place of its path, and WHO.
    """

    files: int
    folders: int
    example: str
    mend: str

    @property
    def place(self) -> str:
        """Where in the inbox `mend` is for: the one folder, or the inbox itself where there are several."""
        return self.example if self.folders == 1 else ""

    def text(self, place: str = "") -> str:
        """What is wrong, and what mends it. `place` is the path as a shell takes it; without it a command says FOLDER or INBOX."""
        files = "1 file is" if self.files == 1 else f"{self.files} files are"
        folders = "1 folder" if self.folders == 1 else f"{self.folders} folders"
        # Several folders may have several owners.
        who, where = ("the folder's owner or root", FOLDER) if self.folders == 1 else ("root", "INBOX")
        mend = self.mend.replace(WHO, who).replace(FOLDER, place or where)
        return f"{files} not sent, because ingestd can't move files out of {folders}: {mend}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """All folders that nothing can be moved out of. `everything`: there was no other file to take."""

    alike: tuple[LockedAlike, ...] = ()
    everything: bool = False

    @property
    def files(self) -> int:
        return sum(one.files for one in self.alike)

    def text(self) -> str:
        """A sentence for each thing that mends some of them."""
        return "; ".join(one.text() for one in self.alike)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What a pass did not offer. `counts` are names by reason, as the metric ingestd_ignored_files has them.

    `example` is the path of one file that begins like DICOM and that no name of `include` takes.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    example: str | None = None
    include: Sequence[str] = ()
    locked: Locked = Locked()

    @property
    def not_taken(self) -> int:
        """Files that begin like DICOM, and that no pattern takes."""
        return self.counts.get(NO_PATTERN, 0)

    @property
    def unknown(self) -> int:
        """Folders that could not be listed, and files of which it is not known whether they should be taken."""
        return self.unreadable + self.unread

    @property
    def unreadable(self) -> int:
        """Folders that can't be listed, and files that can't be read."""
        return self.counts.get(UNREADABLE, 0)

    @property
    def unread(self) -> int:
        """Files whose beginning is not known yet."""
        return self.counts.get(UNREAD, 0)

    def why_not_taken(self) -> str:
        least = "at least " if self.unread else ""
        were, names = ("file was", "its name does") if self.not_taken == 1 else ("files were", "their names do")
        include = json.dumps(list(self.include))
        return f"{least}{self.not_taken} {were} not taken: {names} not match intake.include = {include}"

    def text(self, reason: str) -> str:
        """What is passed over for one of REASONS, and what to do about it."""
        if reason == NO_PATTERN:
            return f"{self.why_not_taken()}: {TAKE_DICOM}"
        count = self.counts.get(reason, 0)
        return f"{count} {'name is' if count == 1 else 'names are'} not taken ({reason}): {_HINTS[reason]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanStatus:
    """What the scanner has seen. `last_scan_at` on Clock.now(), None before the first full scan."""

    full_scans: int = 0
    offered: int = 0  # sightings that wait to be taken
    last_scan_at: float | None = None
    last_scan_seconds: float = 0.0
    overflows: int = 0
    watching: bool | None = None  # whether file events come; None before that is known
    passed: Passed = Passed()
    problem: str | None = None  # why the inbox can't be read just now; one line without a path
