"""What one pass over the inbox passes over, gathered while it is under way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ingestd.core.scan import Locked, LockedAlike, Passed
from ingestd.spool.intake.names import Ignored


class PassNotes:
    """One thread writes; another may ask for the total at any time, because every reason is there from the start."""

    def __init__(self) -> None:
        self.counts = Counter(dict.fromkeys(Ignored, 0))
        self._example: str | None = None
        self._offered = 0
        self._locked: dict[str, LockedAlike] = {}  # by what mends them, which are a handful
        self._locked_files = 0

    @property
    def total(self) -> int:
        return self.counts.total() + self._locked_files

    def passed_over(self, reason: Ignored, path: str = "") -> None:
        """A name, for that reason."""
        self.counts[reason] += 1
        if reason is Ignored.NO_PATTERN and self._example is None:
            self._example = path

    def offered(self) -> None:
        """A file that is taken and can be moved."""
        self._offered += 1

    def locked_folder(self, path: str, files: int, mend: str) -> None:
        """A folder that nothing can be moved out of, and how many files in it would be taken."""
        before = self._locked.get(mend, LockedAlike(files=0, folders=0, example=path, mend=mend))
        self._locked[mend] = replace(before, files=before.files + files, folders=before.folders + 1)
        self._locked_files += files

    def passed(self, include: Sequence[str]) -> Passed:
        """So far."""
        locked = Locked(alike=tuple(self._locked.values()), everything=self._locked_files > 0 and not self._offered)
        return Passed(
            counts={reason.value: self.counts[reason] for reason in Ignored},
            example=self._example,
            include=include,
            locked=locked,
        )
