"""Files that wait by themselves while the others go on: what becomes of them, said in a few lines a minute (I8)."""

from __future__ import annotations

from collections.abc import Sequence

from ingestd.core.answers.outcome import AlreadyStored, Disposition, Retry, SendAgain, Stored, StoredWithWarning
from ingestd.core.answers.proof import Proof
from ingestd.core.events import Event
from ingestd.core.model import Wait
from ingestd.core.ports import Recorder
from ingestd.daemon.saying.rate_limit import RateLimit
from ingestd.threads.handover import NoThreadError

HINT = "other requests pass: look for a limit on large uploads, or on uploads with a token, in what stands before the service"
UNANSWERED_HINT = (
    "these files wait and are not sent again: let our identity read as well (Azure: DICOM Data Owner, or Reader beside it), "
    "and see that service.url is the whole DICOMweb root; or set duplicates.policy = accept"
)

ON_ITS_WORD = (
    "the service lets us read nothing, so its word alone files: let our identity read as well (Azure: DICOM Data Owner, or "
    "Reader beside it); what was filed so is then asked for"
)


class Apart:
    """Owner thread only. `now` on Clock.now()."""

    def __init__(self, *, recorder: Recorder) -> None:
        self._died = RateLimit(Event.JOB_DIED, recorder=recorder)
        self._answered = RateLimit(Event.SET_APART, recorder=recorder, lines=1)
        self._unanswered = RateLimit(Event.UNANSWERED, recorder=recorder, lines=1)
        self._on_word = RateLimit(Event.ON_ITS_WORD, recorder=recorder, lines=1)

    def answered(self, dispositions: Sequence[Disposition], status: str, now: float) -> None:
        """A request was answered; `status` as the metric has it. Says it if its files wait because the control passed."""
        if files := sum(isinstance(d, Retry) and d.wait is Wait.APART for d in dispositions):
            self._answered.log(now, files=files, status=status, hint=HINT)

    def asked(self, dispositions: Sequence[Disposition], now: float) -> None:
        """It was asked what it holds. Says it if files wait because that was not answered."""
        if files := sum(isinstance(d, Retry) and d.wait is Wait.UNANSWERED for d in dispositions):
            self._unanswered.log(now, files=files, hint=UNANSWERED_HINT)

    def on_word(self, dispositions: Sequence[Disposition], now: float) -> bool:
        """Whether files are filed on the service's word alone; says it."""
        files = sum(_proof(d) is Proof.WORD for d in dispositions)
        if files:
            self._on_word.log(now, files=files, hint=ON_ITS_WORD)
        return files > 0

    def died(self, error: BaseException, now: float, *, files: int) -> Retry | SendAgain:
        """A job of `files` instances ended in `error`; what becomes of them (F10, F46).

        Without memory or a thread nobody gets on, so they go again with all the rest. After a bug, which may come of these very
        files, they wait.
        """
        self._died.log(now, files=files, problem=type(error).__name__)
        return SendAgain() if isinstance(error, MemoryError | NoThreadError) else Retry(wait=Wait.DIED)


def _proof(disposition: Disposition) -> Proof | None:
    return disposition.proof if isinstance(disposition, Stored | StoredWithWarning | AlreadyStored) else None
