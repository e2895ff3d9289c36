"""The brake in the daemon: counts the service's verdicts, puts it on, and notices that a person took it off.

It is on for as long as its file stands in the state folder (ports.Orders); `ingestd resume` removes that. A file that can't be
written leaves the brake on in memory, so that sending stops all the same.
"""

from __future__ import annotations

from ingestd.core.brake import Brake
from ingestd.core.errors import JournalError
from ingestd.core.events import Event
from ingestd.core.failure_reasons import meaning
from ingestd.core.outcome import Quarantine
from ingestd.core.ports import Orders, Recorder

MEND = "`ingestd failed list` shows the files, `ingestd failed show` the service's words; mend the cause, then `ingestd resume`"


class Braking:
    """Whether sending is stopped, and why."""

    def __init__(self, *, brake: Brake, orders: Orders, recorder: Recorder) -> None:
        self._brake = brake
        self._orders = orders
        self._recorder = recorder
        self._written = True
        self.why = orders.braked()
        if self.why is not None:
            recorder.log(Event.BRAKED, problem=self.why, hint=MEND)

    @property
    def on(self) -> bool:
        return self.why is not None

    def stored(self) -> None:
        self._brake.stored()

    def refused(self, study_uid: str, verdict: Quarantine) -> None:
        """A verdict of the service quarantined an instance of this study; the brake goes on when it is one too many."""
        if self.on or (why := self._brake.refused(study_uid)) is None:
            return
        self.why = f"{why}, the last as {_named(verdict)}"
        self._recorder.log(Event.BRAKED, problem=self.why, hint=MEND)
        self._write(self.why)

    def look(self) -> None:
        """Once a second: write what could not be written, or see whether a person took the brake off."""
        if self.why is None:
            return
        if not self._written:
            self._write(self.why)
        elif self._orders.braked() is None:
            self.why = None
            self._brake.released()
            self._recorder.log(Event.RELEASED)

    def _write(self, why: str) -> None:
        try:
            self._orders.brake(why)
        except JournalError as error:
            if self._written:
                self._recorder.log(Event.JOURNAL_TROUBLE, problem=str(error))
            self._written = False
        else:
            self._written = True


def _named(verdict: Quarantine) -> str:
    number = verdict.failure_reason
    more = "" if number is None else f" with FailureReason {number} ({meaning(number)})"
    return f"{verdict.reason.value}{more}"
