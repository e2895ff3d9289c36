"""The control's answer while the service is well: learnt when it last stored something, and what each later one is held against."""

from __future__ import annotations

from ingestd.core.answers.answer import Answer
from ingestd.core.answers.fault import control_passed, hold_for
from ingestd.core.ports import Origin
from ingestd.daemon.sending.jobs import Jobs, Learnt, Probed


class Control:
    """Sends it, and judges what came back. The owner thread's."""

    def __init__(self, *, origin: Origin, jobs: Jobs) -> None:
        self._origin = origin
        self._jobs = jobs
        self._learning = False
        self.normal: int | None = None  # the status while the service is well

    def probe(self) -> None:
        """Ask whether the service is back."""
        self._jobs.give((), lambda: Probed(answer=self._origin.control()))

    def learn(self) -> None:
        """It stored something just now, so how it answers the control is how it does when it is well."""
        if self.normal is None and not self._learning:
            self._learning = True
            self._jobs.give((), lambda: Learnt(answer=self._origin.control()))

    def learnt(self, answer: Answer) -> None:
        self._learning = False
        if _perhaps_normal(answer):
            self.normal = answer.status

    def died(self) -> None:
        """A job of its own brought nothing back."""
        self._learning = False

    def passes(self, answer: Answer) -> bool:
        """Whether the service is well. Before anything was stored nobody knows how it answers then."""
        return control_passed(answer, self.normal) or (self.normal is None and _perhaps_normal(answer))


def _perhaps_normal(answer: Answer) -> bool:
    """Whether a service that is well may answer an empty Store transaction so."""
    strange = answer.response is None and bool(answer.comment) and answer.status in range(200, 300)
    return answer.status in range(200, 500) and hold_for(answer) is None and not strange
