"""What runs on the pool: one Store transaction, one round of verification, one probe. Each hands one value back.

A job touches the service and, to compare, the file; never the journal, the window or the log. What it needs of them it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace

from ingestd.core.answer import Answer
from ingestd.core.disposition import wants_control
from ingestd.core.errors import FileBusyError, FileError
from ingestd.core.model import Batch, Instance, Wait
from ingestd.core.outcome import AlreadyStored, Disposition, Hold, Resettle, Retry, SendAgain, Verify
from ingestd.core.ports import Inbox, Origin
from ingestd.core.record import Receipt
from ingestd.core.verification import dispose_fetched, dispose_held, receipt_speaks
from ingestd.daemon.handover import Handover


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A Store transaction, and the control's answer where this one asked for it."""

    batch: Batch
    answer: Answer
    control: Answer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Does the service hold this instance? `receipt` is the newest one of these UIDs; `how` as the disposition asked."""

    instance: Instance
    receipt: Receipt | None
    how: Verify
    holds: int = 0  # Hold answers that asking drew while the control passed in between


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What the service's answers mean for each instance that was asked for."""

    dispositions: tuple[tuple[Question, Disposition], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """The control's answer."""

    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """The control's answer while the service is well."""

    answer: Answer


Result = Sent | Verified | Probed | Learnt


def replace_held(origin: Origin, instance: Instance) -> Sent:
    """Send one instance to replace what the service holds under its UIDs."""
    batch = Batch(instances=(replace(instance, replacing=True),))
    answer = origin.replace(instance)
    control = origin.control() if wants_control(batch, answer) else None
    return Sent(batch=batch, answer=answer, control=control)


def store(origin: Origin, batch: Batch) -> Sent:
    """One Store transaction; the control follows at once where the answer can't be judged without it."""
    answer = origin.store(batch.instances)
    control = origin.control() if wants_control(batch, answer) else None
    return Sent(batch=batch, answer=answer, control=control)


def verify(origin: Origin, inbox: Inbox, questions: tuple[Question, ...], *, prove: bool) -> Verified:
    """Ask for each instance's metadata, or its bytes. After an answer that says hold, the rest is not asked.

    `prove`: files go for good once they are stored, so like elements don't suffice where no receipt speaks.
    """
    out: list[tuple[Question, Disposition]] = []
    held_up = False
    for question in questions:
        disposition = SendAgain() if held_up else _verify_one(origin, inbox, question)
        if prove and disposition == AlreadyStored(same_bytes=False):
            disposition = _proved(origin, question.instance)
        held_up = held_up or isinstance(disposition, Hold)
        out.append((question, disposition))
    return Verified(dispositions=tuple(out))


def _verify_one(origin: Origin, inbox: Inbox, question: Question) -> Disposition:
    instance, receipt = question.instance, question.receipt
    if question.how.by_bytes:
        return dispose_fetched(origin.fetch(instance.ids), sha256=instance.sha256, named=question.how.named)
    held = origin.metadata(instance.ids)
    wanted = held.status == 200 and not receipt_speaks(receipt, instance.sha256)
    try:
        own = inbox.elements(instance) if wanted else None
    except FileBusyError:
        return Retry(wait=Wait.UNVERIFIED)
    except FileError:
        return Resettle()
    return dispose_held(held, sha256=instance.sha256, receipt=receipt, own=own)


def _proved(origin: Origin, instance: Instance) -> AlreadyStored:
    """Other bytes are no conflict here: some services write each file anew. It is not removed then."""
    shown = dispose_fetched(origin.fetch(instance.ids), sha256=instance.sha256, named=False)
    return AlreadyStored(same_bytes=isinstance(shown, AlreadyStored))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is under way, so that a job that died can return its instances."""

    instances: tuple[Instance, ...]
    future: Future[Result]


class Jobs(Handover[tuple[Instance, ...], Result]):
    """Hands work to the pool and takes results back, on the owner thread."""

    def __init__(self, *, pool: Executor, wake: Callable[[], None]) -> None:
        super().__init__(pool=pool, wake=wake)
        self.carrying = 0  # of those under way, the ones with instances

    def submit(self, what: tuple[Instance, ...], work: Callable[[], Result]) -> None:
        self.carrying += bool(what)
        super().submit(what, work)

    def take_job(self) -> Job | None:
        """A job that has ended, or None."""
        if (ended := self.take()) is None:
            return None
        instances, future = ended
        self.carrying -= bool(instances)
        return Job(instances=instances, future=future)
