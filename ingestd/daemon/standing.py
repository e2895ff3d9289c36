"""What stands below the `ok` of /livez and /readyz: what is wrong, and turns neither of them red (DESIGN 5).

A line each, without a path: what, where, how to mend it. The service's own words never stand here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ingestd.core.scan import REASONS, Passed


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How things stand, once a second. `late`: files written after they were filed; `passed`: what the scan did not offer.

    `brake`, `outage`: what keeps us, or the service, from storing anything just now, for how long so far, and how to mend it.
    """

    leases: str | None = None
    late: int = 0
    brake: str | None = None
    outage: str | None = None
    connection: str | None = None
    on_word: bool = False
    unanswered: int = 0
    unmovable: int = 0
    passed: Passed = field(default_factory=Passed)

    def lines(self) -> tuple[str, ...]:
        return tuple(self._lines())

    def held(self) -> Iterator[str]:
        """What keeps files from going out."""
        if self.brake is not None:
            yield f"brake: {self.brake}"
        if self.outage is not None:
            yield f"service: {self.outage}"
        if self.connection is not None and not self._said_already(self.connection):
            yield f"connection: {self.connection}"

    def _lines(self) -> Iterator[str]:
        """What stops most comes first: the first line is all that `systemctl status` shows."""
        yield from self.held()
        if self.unmovable:
            yield f"moves: {self.unmovable} files can't be moved: let the service's user write in inbox, done and failed"
        for locked in self.passed.locked.alike:
            yield f"moves: {locked.text()}"
        for reason in REASONS:
            if self.passed.counts.get(reason, 0):
                yield f"inbox: {self.passed.text(reason)}"
        if self.on_word:
            yield "proof: files are filed on the service's word alone: let our identity read what it holds"
        if self.unanswered:
            yield f"proof: {self.unanswered} files wait: the service does not say what it holds, see `unanswered` in the log"
        if self.leases is not None:
            yield f"leases: {self.leases}"
        if self.late:
            yield f"done: {self.late} files were written after they were filed: see `ingestd failed list`"

    def _said_already(self, connection: str) -> bool:
        """Whether the outage is that very trouble: what no token can be had for is the last part of both."""
        why = connection.partition(": ")[2]
        return bool(why) and self.outage is not None and why in self.outage
