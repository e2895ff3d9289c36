"""What stands below the `ok` of /livez and /readyz: what is wrong, and turns neither of them red (DESIGN 5).

A line each, without a path: what, where, how to mend it. The service's own words never stand here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ingestd.daemon.braking import MEND

IGNORED = {  # what is passed over and is perhaps meant to be sent, with what to do about it
    "no_pattern": "such as no extension: set intake.include",
    "symlink": "links are never followed: copy the files into the inbox, or mount the folder there",
    "unreadable": "folders that can't be listed: let the service's user read and enter them",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How things stand, once a second. `late`: files written after they were filed; `ignored` counts names by reason."""

    leases: str | None = None
    late: int = 0
    brake: str | None = None
    outage: str | None = None
    connection: str | None = None
    on_word: bool = False
    unanswered: int = 0
    unmovable: int = 0
    ignored: Mapping[str, int] = field(default_factory=dict)

    def lines(self) -> tuple[str, ...]:
        return tuple(self._lines())

    def _lines(self) -> Iterator[str]:
        if self.leases is not None:
            yield f"leases: {self.leases}"
        if self.late:
            yield f"done: {self.late} files were written after they were filed: see `ingestd failed list`"
        if self.brake is not None:
            yield f"brake: {self.brake}: {MEND}"
        if self.outage is not None:
            yield f"service: {self.outage}"
        if self.connection is not None:
            yield f"connection: {self.connection}"
        if self.on_word:
            yield "proof: files are filed on the service's word alone: let our identity read what it holds"
        if self.unanswered:
            yield f"proof: {self.unanswered} files wait: the service does not say what it holds, see `unanswered` in the log"
        if self.unmovable:
            yield f"moves: {self.unmovable} files can't be moved: let the service's user write in inbox, done and failed"
        for reason, hint in IGNORED.items():
            if count := self.ignored.get(reason, 0):
                yield f"inbox: {count} names are not taken ({reason}): {hint}"
