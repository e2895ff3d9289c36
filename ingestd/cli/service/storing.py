"""`store`: files to the service, and what it said about each (PS3.18 10.5).

An answer is read as the daemon reads it (core.answers.disposition), instance by instance. Where it says nothing about them, a
person wants to know which file it is: a batch is halved, down to one, and the words about the one are printed. "Already there" is
the service's word: Azure compares nothing but UIDs.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import assert_never

from rich.text import Text

from ingestd.cli.options import Exit
from ingestd.cli.service.files import Named, NamedFiles, Unfit, batches, judged, named
from ingestd.cli.service.screen import Screen
from ingestd.cli.terminal import many
from ingestd.core.answers.answer import Answer
from ingestd.core.answers.disposition import dispose
from ingestd.core.answers.fault import hold_for
from ingestd.core.answers.outcome import (
    AlreadyStored,
    Disposition,
    Hold,
    HoldCause,
    Isolate,
    Quarantine,
    Resettle,
    Retry,
    SendAgain,
    Stored,
    StoredWithWarning,
    Verify,
)
from ingestd.core.answers.profiles import Profile
from ingestd.core.answers.proof import Proof
from ingestd.core.answers.warning_reasons import warning_of
from ingestd.core.batch import BatchRules, halves
from ingestd.core.errors import ServiceError
from ingestd.core.model import Asked, Batch, Instance, Wait
from ingestd.dicomweb.asking.session import Session
from ingestd.dicomweb.asking.store import refusal, store
from ingestd.ops.clock import SystemClock
from ingestd.spool.disk.lease import ignore_sigio

STORED, WARNED, THERE, FAILED, LEFT = "stored", "with warning", "already there", "failed", "not stored"
_COLOURS = {STORED: "green", WARNED: "yellow", THERE: "green", FAILED: "red", LEFT: "yellow"}
_THERE = "the service has an instance with these UIDs; whether its bytes are the same it does not say"
OUTCOME_WIDTH = 15
_ITS_WORD = Profile()  # of no kind of service that is known: nothing that it says proves more than that it says so
_PASSED = Answer(status=204)  # no control is sent: a refusal of ours is halved at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of a file. `comment`: the service's own words."""

    file: str
    outcome: str
    text: str = ""
    comment: str | None = None
    http_status: int | None = None
    failure_reason: int | None = None
    sop_instance_uid: str | None = None


class Storing:
    """One run of the command."""

    def __init__(self, screen: Screen, session: Session, *, study: str | None, single: bool) -> None:
        self._screen = screen
        self._session = session
        self._study = study
        self._single = single
        settings = screen.settings
        self._rules = BatchRules(
            by_study=False,
            max_instances=1 if single else settings.batch.max_instances,
            max_bytes=settings.batch.max_bytes,
            linger_seconds=0.0,
            max_request_bytes=settings.service.max_request_bytes,
        )
        self.counts: Counter[str] = Counter()
        self.passed_over = 0

    def run(self, paths: Sequence[Path]) -> None:
        """Raises ServiceError where the service takes nothing from us just now."""
        with self._screen.moving(None, "files") as move:
            bodies = NamedFiles(lambda more: move(sum(self.counts.values()), more))
            for batch in batches(self._instances(paths), self._rules):
                self._send(batch, bodies)
                move(sum(self.counts.values()), 0)

    def _instances(self, paths: Sequence[Path]) -> Iterator[Instance]:
        for one in named(paths):
            match judged(one) if isinstance(one, Named) else one:
                case Instance() as instance:
                    yield instance
                case Unfit(passed_over=True):
                    self.passed_over += 1
                case Unfit(path=path, text=text):
                    self._add(Row(file=path, outcome=FAILED, text=text))

    def _send(self, instances: Sequence[Instance], bodies: NamedFiles) -> None:
        """A batch to its end, with whatever it falls into."""
        waiting = deque([(tuple(instances), 1)])
        while waiting:
            batch, tries = waiting.popleft()
            answer = store(self._session, batch, bodies, clock=SystemClock(), study=self._study, single=self._single)
            control = _PASSED if hold_for(answer) is None else None
            found = dispose(Batch(instances=batch), answer, control=control, profile=_ITS_WORD)
            again: list[Instance] = []
            apart: list[Instance] = []
            for instance, disposition in zip(batch, found, strict=True):
                if isinstance(disposition, Hold):
                    self._hold(disposition, answer, tries)
                if isinstance(disposition, Isolate):
                    apart.append(instance)
                elif self._passes(disposition, tries):
                    again.append(instance)
                else:
                    self._add(_row(instance, disposition, answer, single=self._single))
            if again:
                self._rest(found, answer, tries)
                waiting.appendleft((tuple(again), tries + 1))
            waiting.extendleft((part.instances, 1) for part in reversed(halves(tuple(apart), whole=len(batch))))

    def _passes(self, disposition: Disposition, tries: int) -> bool:
        match disposition:
            case SendAgain() | Hold():
                return True
            case Retry(wait=Wait.SERVER_TROUBLE | Wait.REQUEST_TROUBLE | Wait.UNVERIFIED):
                return tries < self._session.tries
            case _:
                return False

    def _hold(self, hold: Hold, answer: Answer, tries: int) -> None:
        """Only a busy service is worth a wait; of all else a person wants to know at once."""
        if hold.cause is not HoldCause.BUSY or tries >= self._session.tries:
            raise refusal(self._session, answer)

    def _rest(self, found: Sequence[Disposition], answer: Answer, tries: int) -> None:
        if all(isinstance(disposition, SendAgain) for disposition in found):
            return
        why = f"it answers {answer.status}" if answer.status is not None else "no answer came"
        self._session.rest(answer.retry_after, why, tries)

    def _add(self, row: Row) -> None:
        self.counts[row.outcome] += 1
        if self._screen.json:
            self._screen.emit(asdict(row))
            return
        said = (row.text, f"the service: {row.comment}" if row.comment else "")
        self._screen.record(
            [
                (Text(row.outcome, style=_COLOURS[row.outcome]), row.file),
                *((Text(""), line) for line in said if line),
            ],
            width=OUTCOME_WIDTH,
        )


def run_store(screen: Screen, paths: Sequence[Path], *, study: str | None, single: bool) -> Exit:
    """Exit 0: all of them are there; 1: some failed; 75: some could not be sent just now."""
    ignore_sigio()  # judging a file takes a lease
    trouble: ServiceError | None = None
    with screen.session() as session:
        storing = Storing(screen, session, study=study, single=single)
        try:
            storing.run(paths)
        except ServiceError as error:
            trouble = error
    counts = storing.counts
    if not screen.json and (counts or trouble is None):
        said = ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in _COLOURS if counts[outcome])
        over = f"; {many(storing.passed_over, 'file')} passed over, not DICOM" if storing.passed_over else ""
        screen.text(f"{said or 'no files'}{over}")
    if trouble is not None:
        raise trouble
    if counts[LEFT]:
        return Exit.SOME_LEFT
    return Exit.SOME_FAILED if counts[FAILED] else Exit.DONE


def _by_its_word(disposition: Disposition) -> Disposition:
    """A command takes the service's word, and says that it is that."""
    match disposition:
        case Verify(asked=Asked.NAMED, warning_reason=int() as code):
            return StoredWithWarning(proof=Proof.WORD, warning_reason=code)
        case Verify(asked=Asked.NAMED):
            return Stored(proof=Proof.WORD)
        case Verify(asked=Asked.HELD):
            return AlreadyStored(proof=Proof.WORD)
        case Verify(asked=Asked.REFUSED):
            return Retry(wait=Wait.REFUSED_ALONE)
        case _:
            return disposition


def _code(instance: Instance, answer: Answer) -> int | None:
    """The FailureReason with which the service said that it holds this instance: Azure's own, or the standard's."""
    failed = answer.response.failed if answer.response is not None else ()
    uids = (instance.sop_instance_uid, None)
    return next((f.failure_reason for f in failed if f.sop_instance_uid in uids), None)


def _row(instance: Instance, disposition: Disposition, answer: Answer, *, single: bool) -> Row:
    """What is said of a file whose disposition will not change."""
    outcome, text, comment, reason = LEFT, "", None, None
    disposition = _by_its_word(disposition)
    match disposition:
        case Stored():
            outcome = STORED
        case StoredWithWarning(warning_reason=code):
            outcome, reason = WARNED, code
            text = f"stored; {warning_of(code).text} (WarningReason {code})"
        case Verify():
            text, comment = f"the service answers {answer.status} and names nothing: is it there?", answer.comment
        case AlreadyStored():
            outcome, reason = THERE, _code(instance, answer)
            text = f"FailureReason {reason}: {_THERE}"
        case Quarantine():
            outcome, text, comment = FAILED, disposition.text, disposition.comment
            reason = disposition.failure_reason
        case Retry(wait=Wait.REFUSED_ALONE) if single and answer.status == 415:
            outcome, text = FAILED, "this service takes no store without multipart (415): leave --single away"
        case Retry(wait=Wait.REFUSED_ALONE | Wait.APART):
            outcome, text, comment = FAILED, f"the service refuses it ({answer.status})", answer.comment
        case Retry(wait=Wait.CREATING):
            text, comment, reason = (
                "the service is creating it: again in minutes",
                disposition.comment,
                disposition.failure_reason,
            )
        case Retry():
            text, comment = f"the service is in trouble ({answer.status or 'no answer'}): try again", answer.comment
        case Resettle():
            text = "the file changed while it was sent: try again"
        case Hold() | Isolate() | SendAgain():
            text = "it was not sent"
        case _:
            assert_never(disposition)
    return Row(
        file=instance.path,
        outcome=outcome,
        text=text,
        comment=comment,
        http_status=answer.status,
        failure_reason=reason,
        sop_instance_uid=instance.sop_instance_uid,
    )
