"""What one pass over the inbox passes over, gathered while it is under way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ingestd.core.scan import Locked, Passed
from ingestd.spool.names import Ignored


class PassNotes:
    """One thread writes; another may ask for the total at any time, because every reason is there from the start."""

    def __init__(self) -> None:
        self.counts = Counter(dict.fromkeys(Ignored, 0))
        self._example: str | None = None
        self._offered = 0
        self._locked = Locked()

    @property
    def total(self) -> int:
        return self.counts.total() + self._locked.files

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
        before = self._locked
        self._locked = Locked(
            files=before.files + files,
            folders=before.folders + 1,
            example=before.example if before.folders else path,
            mend=before.mend or mend,
        )

    def passed(self, include: Sequence[str]) -> Passed:
        """So far."""
        locked = self._locked
        return Passed(
            counts={reason.value: self.counts[reason] for reason in Ignored},
            example=self._example,
            include=include,
            locked=replace(locked, everything=locked.files > 0 and not self._offered),
        )
