"""Files that were filed on a service's word alone are asked for once it lets itself be read (I2).

Slowly, one at a time, beside what is to be sent. A receipt whose bytes the service gives back gets a successor that says so;
what is not there, or is another, is said out loud: the only right copy stands in done/.
"""

from __future__ import annotations

from dataclasses import replace

from ingestd.core.answers.answer import Fetched, Shown
from ingestd.core.answers.proof import Proof
from ingestd.core.events import Event
from ingestd.core.model import Identifiers
from ingestd.core.ports import Clock, Journal, Origin, Recorder
from ingestd.core.record import Receipt
from ingestd.daemon.ending.ledger import Ledger
from ingestd.daemon.rate_limit import Every
from ingestd.daemon.sending.jobs import Jobs, Rechecked

EVERY_SECONDS = 10.0  # the next file that was filed on the service's word, to be asked for: slowly, beside the work
AFTER_SILENCE_SECONDS = 300.0  # the next file that was filed on the service's word, after a question that got no answer
NOT_THERE = "it was filed on the service's word, and the service does not have it: copy it from done/ into the inbox"
ANOTHER = "it was filed on the service's word, and the service holds other bytes: compare the two, done/ has ours"


class Rechecking:
    """The owner thread's."""

    def __init__(
        self,
        *,
        clock: Clock,
        journal: Journal,
        origin: Origin,
        jobs: Jobs,
        recorder: Recorder,
        service: str,
        ledger: Ledger,
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._origin = origin
        self._jobs = jobs
        self._recorder = recorder
        self._service = service
        self._ledger = ledger
        self._after = 0  # the number of the newest receipt that was looked at
        self._ask_now = Every(EVERY_SECONDS)

    def beat(self, now: float) -> None:
        """Ask for the next one, if it is time and there is one. Called while the service can be read."""
        if not self._ask_now.due(now):
            return
        self._after, receipt = self._journal.on_word(self._service, after=self._after)
        if receipt is not None:
            ids = _ids(receipt)
            self._jobs.give((), lambda: Rechecked(receipt=receipt, fetched=self._origin.fetch(ids)))

    def asked(self, receipt: Receipt, fetched: Fetched, now: float) -> None:
        """What the service gave back for `receipt`."""
        same = (fetched.sha256, fetched.transfer_syntax_uid) == (receipt.sha256, receipt.transfer_syntax_uid)
        match fetched.shown(_ids(receipt)):
            case Shown.IT if same:
                self._ledger.stored(replace(receipt, proof=Proof.FETCHED, stored_at=self._clock.wall()))
            case Shown.IT:
                self._recorder.log(Event.NOT_HELD, path=receipt.path, problem=ANOTHER)
            case Shown.ABSENT:
                self._recorder.log(Event.NOT_HELD, path=receipt.path, problem=NOT_THERE)
            case _:  # no answer that counts; the next life of the daemon asks again
                self._ask_now.wait(now, seconds=AFTER_SILENCE_SECONDS)


def _ids(receipt: Receipt) -> Identifiers:
    return Identifiers(
        study_uid=receipt.study_uid,
        series_uid=receipt.series_uid,
        sop_instance_uid=receipt.sop_instance_uid,
        sop_class_uid="",
        transfer_syntax_uid=receipt.transfer_syntax_uid or "",
    )
