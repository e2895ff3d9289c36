"""What runs on the pool: one Store transaction, one round of verification, one probe. Each hands one value back.

A job touches the service and, to compare, the file; never the journal, the window or the log. What it needs of them it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace

from ingestd.core.answers.answer import Answer, Fetched, Listed, Shown
from ingestd.core.answers.disposition import wants_control
from ingestd.core.answers.outcome import Disposition, DuplicatePolicy, Resettle, Retry, Verify
from ingestd.core.answers.presence import Unknown
from ingestd.core.answers.profiles import Profile
from ingestd.core.answers.verification import Facts, Step, decide
from ingestd.core.errors import FileBusyError, FileError
from ingestd.core.model import Asked, Batch, Instance, Wait
from ingestd.core.ports import Inbox, Origin
from ingestd.core.record import Receipt
from ingestd.threads.handover import Handover


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A Store transaction, the control's answer where this one asked for it, and what a search said before it."""

    batch: Batch
    answer: Answer
    control: Answer | None
    listed: tuple[Unknown, Listed] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Does the service hold these bytes? `how` as the disposition asked; `alone`: it was the only one in its request.

    `receipt` is the newest one of these UIDs. `absent_before` as in Facts; `waited` in seconds since it was first asked.
    """

    instance: Instance
    receipt: Receipt | None
    how: Verify
    alone: bool = False
    absent_before: bool = False
    waited: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRules:
    """What decides about answers beside the facts: `for_removal`, stored files go for good; `service`: receipts of which count."""

    policy: DuplicatePolicy
    profile: Profile
    for_removal: bool
    word_after: float
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What this service has shown: whether a read of it has ever succeeded, and whether a search has shown what it stored."""

    reads: bool = False
    searches: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What the service's answers mean for each instance that was asked for, and what it has shown by them.

    `control` is the control's answer, where what a 2xx left unnamed could not be asked for.
    """

    dispositions: tuple[tuple[Question, Disposition], ...]
    known: Known
    control: Answer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """The control's answer."""

    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """The control's answer while the service is well."""

    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Rechecked:
    """What the service gave back of an instance that was filed on its word."""

    receipt: Receipt
    fetched: Fetched


Result = Sent | Verified | Probed | Learnt | Rechecked


def replace_held(origin: Origin, instance: Instance) -> Sent:
    """Send one instance to replace what the service holds under its UIDs."""
    answer = origin.replace(instance)
    deleted = instance.deleted or answer.deleted
    batch = Batch(instances=(replace(instance, replacing=True, deleted=deleted),))
    control = origin.control() if wants_control(batch, answer) else None
    return Sent(batch=batch, answer=answer, control=control)


def store(origin: Origin, batch: Batch, unknown: Unknown | None) -> Sent:
    """One Store transaction; the control follows at once where the answer can't be judged without it.

    `unknown` is asked before. An answer that does not come in time holds nothing back.
    """
    listed = origin.listed(unknown.study_uid, unknown.series_uids) if unknown is not None else None
    answer = origin.store(batch.instances)
    control = origin.control() if wants_control(batch, answer) else None
    return Sent(
        batch=batch,
        answer=answer,
        control=control,
        listed=(unknown, listed) if unknown is not None and listed is not None else None,
    )


def verify(origin: Origin, inbox: Inbox, questions: tuple[Question, ...], known: Known, rules: AskRules) -> Verified:
    """Ask about each instance until its outcome is clear. Behind a question that got no answer the rest is asked later."""
    out: list[tuple[Question, Disposition]] = []
    control: Answer | None = None
    silent = False
    for question in questions:
        if silent:
            out.append((question, Retry(wait=Wait.UNANSWERED, asked=question.how.asked)))
            continue
        try:
            facts, disposition = _settled(origin, inbox, question, known, rules)
        except FileBusyError:
            out.append((question, Retry(wait=Wait.UNANSWERED, asked=question.how.asked)))
            continue
        except FileError:
            out.append((question, Resettle()))
            continue
        known = Known(reads=facts.read, searches=known.searches or facts.shows is True)
        silent = Shown.NOTHING in (facts.held_shown, facts.fetched_shown)
        unnamed = isinstance(disposition, Retry) and disposition.asked is Asked.UNNAMED
        control = control or (origin.control() if unnamed else None)
        instance = replace(question.instance, sha256=facts.sha256)  # for its receipt
        out.append((replace(question, instance=instance), disposition))
    return Verified(dispositions=tuple(out), known=known, control=control)


def _settled(
    origin: Origin, inbox: Inbox, question: Question, known: Known, rules: AskRules
) -> tuple[Facts, Disposition]:
    """The facts, and what they lead to. Raises FileError."""
    instance = question.instance
    facts = Facts(
        ids=instance.ids,
        asked=question.how.asked,
        sha256=instance.sha256 or inbox.digest(instance),
        policy=rules.policy,
        profile=rules.profile,
        for_removal=rules.for_removal,
        warning=question.how.warning_reason,
        retrieve_url=question.how.retrieve_url,
        comment=question.how.comment,
        absent_before=question.absent_before,
        searches=known.searches,
        reads=known.reads,
        waited=question.waited,
        word_after=rules.word_after,
    )
    facts = replace(facts, remembered=_remembered(inbox, question, facts.sha256, rules))
    while isinstance(step := decide(facts), Step):
        match step:
            case Step.SEARCH:
                facts = replace(facts, searched=True, shows=origin.shows(instance.ids))
            case Step.METADATA:
                held = origin.metadata(instance.ids)
                own = inbox.elements(instance) if held.shown(instance.ids) is Shown.IT else None
                facts = replace(facts, held=held, own=own)
            case Step.FETCH:
                facts = replace(facts, fetched=origin.fetch(instance.ids))
    return facts, step


def _remembered(inbox: Inbox, question: Question, sha256: str, rules: AskRules) -> bool:
    """Whether the receipt says that this very service got, or gave back, these very bytes. Raises FileError."""
    receipt, instance = question.receipt, question.instance
    if receipt is None or not receipt.of_bytes(rules.profile) or receipt.service != rules.service:
        return False
    if receipt.transfer_syntax_uid not in (None, instance.ids.transfer_syntax_uid):
        return False
    at = receipt.digest_at(instance.data_set_at)
    return receipt.sha256 == (sha256 if at == instance.data_set_at else inbox.digest(instance, at=at))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is under way, so that a job that died can return its instances."""

    instances: tuple[Instance, ...]
    future: Future[Result]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Carried:
    instances: tuple[Instance, ...]
    asks: bool = False


class Jobs(Handover[_Carried, Result]):
    """Hands work to the pool and takes results back, on the owner thread."""

    def __init__(self, *, pool: Executor, wake: Callable[[], None]) -> None:
        super().__init__(pool=pool, wake=wake)
        self.carrying = 0  # of those under way, the ones with instances
        self.asking = 0  # of these, the ones that ask what the service holds

    def give(self, instances: tuple[Instance, ...], work: Callable[[], Result], *, asks: bool = False) -> None:
        """Have `work` done for `instances`; `asks`: it only asks what the service holds."""
        self.carrying += bool(instances)
        self.asking += asks
        self.submit(_Carried(instances=instances, asks=asks), work)

    def take_job(self) -> Job | None:
        """A job that has ended, or None."""
        if (ended := self.take()) is None:
            return None
        carried, future = ended
        self.carrying -= bool(carried.instances)
        self.asking -= carried.asks
        return Job(instances=carried.instances, future=future)
