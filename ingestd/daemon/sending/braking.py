"""The brake in the daemon: counts the service's verdicts, puts it on, and notices that a person took it off.

It is on for as long as its file stands in the state folder (ports.Orders); `ingestd resume` removes that. A file that can't be
written leaves the brake on in memory, so that sending stops all the same.
"""

from __future__ import annotations

from collections.abc import Callable

from ingestd.core.answers.failure_reasons import meaning
from ingestd.core.answers.outcome import Quarantine
from ingestd.core.errors import JournalError
from ingestd.core.events import Event
from ingestd.core.pace.brake import Brake
from ingestd.core.ports import Orders, Recorder
from ingestd.core.when import lasting
from ingestd.daemon.rate_limit import Every

SAID_SECONDS = 60.0  # the next line `braked`, while the brake is on
MEND = "`ingestd failed list` shows the files, `ingestd failed show` the service's words; mend the cause, then `ingestd resume`"


class Braking:
    """Whether sending is stopped, and why."""

    def __init__(self, *, brake: Brake, orders: Orders, recorder: Recorder) -> None:
        self._brake = brake
        self._orders = orders
        self._recorder = recorder
        self._written = True
        self._since: float | None = None  # when it was first looked at, on Clock.now()
        self._say = Every(SAID_SECONDS)
        self.why = orders.braked()
        if self.why is not None:
            recorder.log(Event.BRAKED, problem=self.why, hint=MEND)

    @property
    def on(self) -> bool:
        return self.why is not None

    def outage(self, now: float) -> str | None:
        """Why sending is stopped, for how long so far, and what a person can do; None while it is not."""
        if self.why is None:
            return None
        lasts = lasting(now - (self._since or now))
        return f"nothing is sent until a person takes it off: {self.why} (for {lasts}): {MEND}"

    def stored(self) -> None:
        self._brake.stored()

    def refused(self, study_uid: str, verdict: Quarantine) -> None:
        """A verdict of the service quarantined an instance of this study; the brake goes on when it is one too many."""
        if self.on or (why := self._brake.refused(study_uid)) is None:
            return
        self.why = f"{why}, the last as {_named(verdict)}"
        self._recorder.log(Event.BRAKED, problem=self.why, hint=MEND)
        self._write(self.why)

    def look(self, now: float, *, files: Callable[[], int]) -> None:
        """Once a second: write what could not be written, or see whether a person took the brake off; said once a minute while it
        is on, or what it stopped would be all that is seen. `files`: how many wait."""
        if self.why is None:
            return
        if self._since is None:
            self._since = now
            self._say.wait(now)
        held = round(now - self._since, 1)
        if self._written and self._orders.braked() is None:
            self.why = self._since = None
            self._brake.released()
            self._recorder.log(Event.RELEASED, files=files(), held_seconds=held)
            return
        if not self._written:
            self._write(self.why)
        if self._say.due(now):
            self._recorder.log(Event.BRAKED, problem=self.why, hint=MEND, files=files(), held_seconds=held)

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
