"""What an answer means for each instance of its batch: the one place where a response becomes an outcome (I2, I3).

A readable Store Instances Response is read instance by instance whatever the status, because services answer a mixed batch with
200, 202, 400, 409 or 500. What it leaves unnamed, and every instance where nothing readable came, is judged by the status; and
since a status alone can't say whose fault a refusal is, the *control* decides: an empty Store transaction that runs through
routing, identity, role and parser. It fails: the service, the role or the URL is wrong, so hold. It passes: the request was
refused for what was in it, so isolate the culprit by halves. A 2xx refuses nothing: what it leaves unnamed is asked for
(verification.py). docs/answers.md has the table, row by row; it is generated from here.
"""

from __future__ import annotations

from typing import assert_never

from ingestd.core.answers.answer import Answer, Failed, Loss, Referenced
from ingestd.core.answers.failure_reasons import FailureClass, classify, meaning
from ingestd.core.answers.fault import control_passed, hold_for, hold_for_control, in_trouble
from ingestd.core.answers.outcome import (
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
from ingestd.core.answers.reasons import Reason
from ingestd.core.model import Asked, Batch, Instance, Wait

UNNAMED_LIMIT = 3  # times that a 2xx may leave an instance unnamed before the control is asked, and its batch isolated
HOLDS_LIMIT = 3  # Hold answers that a batch may draw while the control passes in between
_ABOUT_CONTENT = frozenset({400, 409, 415, 422})  # the refusals that can be about what is in a request (RFC 9110 15.5)

_IRREPLACEABLE = Quarantine(
    reason=Reason.CONFLICT,
    text="the service holds another file under the same UIDs, and can't replace it: it has neither PUT nor DELETE",
    what_to_do="delete the instance by the service's own means, then `ingestd failed retry` this file",
    http_status=405,
    by_service=True,
)


def wants_control(batch: Batch, answer: Answer) -> bool:
    """Whether `dispose` needs the control's answer to judge this one."""
    if (hold := hold_for(answer)) is not None:
        return _perhaps_apart(batch, hold) and bool(_unnamed(batch, answer))
    if answer.loss is Loss.FILE_CHANGED or answer.status == 413 or _irreplaceable(batch, answer):
        return False
    if in_trouble(answer):
        return len(batch.instances) > 1 and _troubled_before(batch) and bool(_unnamed(batch, answer))
    if _taken(answer) and not _unnamed_too_often(batch):
        return False
    return bool(_unnamed(batch, answer))


def dispose(
    batch: Batch,
    answer: Answer,
    *,
    control: Answer | None = None,
    normal: int | None = None,
    profile: Profile,
) -> tuple[Disposition, ...]:
    """One disposition for each instance, in the batch's order.

    `control` is the control's answer where `wants_control` asked for it, `normal` as in control_passed.
    """
    named, twice = _named(batch, answer), answer.said_twice
    well = control is not None and control_passed(control, normal)
    whole_request = _whole_request(batch, answer, control, well=well)
    out: list[Disposition] = []
    for i, instance in enumerate(batch.instances):
        item = named.get(instance.sop_instance_uid)
        if i in answer.changed:
            out.append(Resettle())
        elif isinstance(item, Referenced):
            doubtful = (instance.replacing and not answer.deleted) or instance.sop_instance_uid in twice
            out.append(_stored(item, _digest(instance, answer, i), profile, doubtful=doubtful))
        elif isinstance(item, Failed) and item.failure_reason is not None:
            out.append(_failed(item, item.failure_reason, answer.status))
        else:
            out.append(whole_request)
    return tuple(out)


def _named(batch: Batch, answer: Answer) -> dict[str, Referenced | Failed]:
    """The response's item for each SOPInstanceUID. Stored wins, and of two of these the one with a warning."""
    if answer.response is None:
        return {}
    stored, failed = answer.response.referenced, answer.response.failed
    items: dict[str, Referenced | Failed] = {f.sop_instance_uid: f for f in failed if f.sop_instance_uid is not None}
    if len(batch.instances) == len(failed) == 1 and failed[0].sop_instance_uid is None and not stored:
        # It could not be parsed, and there is only one that it can be.
        items[batch.instances[0].sop_instance_uid] = failed[0]
    items.update({r.sop_instance_uid: r for r in sorted(stored, key=lambda r: r.warning_reason is not None)})
    return items


def _unnamed(batch: Batch, answer: Answer) -> list[Instance]:
    named = _named(batch, answer)
    left = []
    for i, instance in enumerate(batch.instances):
        item = named.get(instance.sop_instance_uid)
        said = isinstance(item, Referenced) or (isinstance(item, Failed) and item.failure_reason is not None)
        if not said and i not in answer.changed:
            left.append(instance)
    return left


def _digest(instance: Instance, answer: Answer, index: int) -> str | None:
    return answer.digests[index] if answer.digests else instance.sha256


def _stored(item: Referenced, sha256: str | None, profile: Profile, *, doubtful: bool) -> Disposition:
    """Named: stored, where the service names only what it did not have; another may have kept what was there.

    One that names it before it has read it to the end (no digest then) has proved nothing. `doubtful`: it was to overwrite what was
    there, so its name is no news; or it says two things of it.
    """
    if sha256 is None:
        return Retry(wait=Wait.UNVERIFIED)
    warning = item.warning_reason
    if doubtful or not profile.names_only_new or not (warning is None or warning in profile.harmless_warnings):
        return Verify(asked=Asked.NAMED, warning_reason=warning, retrieve_url=item.retrieve_url)
    if warning is not None:
        return StoredWithWarning(proof=Proof.NEW, warning_reason=warning, retrieve_url=item.retrieve_url)
    return Stored(proof=Proof.NEW, retrieve_url=item.retrieve_url)


def _failed(item: Failed, failure_reason: int, status: int | None) -> Disposition:
    match classify(failure_reason):
        case FailureClass.HOLDS_IT:
            return Verify(asked=Asked.HELD)
        case FailureClass.CREATING:
            return Retry(wait=Wait.CREATING, http_status=status, failure_reason=failure_reason, comment=item.comment)
        case FailureClass.SERVER_TROUBLE:
            return Retry(
                wait=Wait.SERVER_TROUBLE, http_status=status, failure_reason=failure_reason, comment=item.comment
            )
        case FailureClass.REJECTED:
            return Quarantine(
                reason=Reason.REJECTED,
                text=f"the service rejected this instance: {meaning(failure_reason)} (FailureReason {failure_reason})",
                what_to_do=Reason.REJECTED.advice,
                http_status=status,
                failure_reason=failure_reason,
                comment=item.comment,
                by_service=True,
            )
        case unknown:
            assert_never(unknown)


def _whole_request(batch: Batch, answer: Answer, control: Answer | None, *, well: bool) -> Disposition:
    """What becomes of each instance that the answer does not name; `well`: the control passed."""
    alone = len(batch.instances) == 1
    if hold := hold_for(answer):
        return _apart(batch, answer, hold) if well and _perhaps_apart(batch, hold) else hold
    if answer.loss is Loss.FILE_CHANGED:
        # Where nobody is named it may be any of them: sent again unseen, they would go round for ever.
        return SendAgain() if answer.changed else Resettle()
    if answer.status == 413:
        return _too_large(answer) if alone else Isolate()
    if _irreplaceable(batch, answer):
        return _IRREPLACEABLE
    if in_trouble(answer):
        if well and not alone:
            return Isolate()
        return Retry(wait=Wait.REQUEST_TROUBLE, http_status=answer.status, comment=answer.comment)
    if _taken(answer) and not _unnamed_too_often(batch):
        return Verify(asked=Asked.UNNAMED, comment=answer.comment)
    if not well:
        return hold_for_control(control) if control is not None else Hold(cause=HoldCause.CONTROL)
    return _alone(batch.instances[0], answer) if alone else Isolate()


def _alone(instance: Instance, answer: Answer) -> Disposition:
    """The control passed. A 2xx refuses nothing, and a 409 is what a service says of an instance that it has: it is asked first."""
    if _taken(answer):
        return Verify(asked=Asked.UNNAMED, comment=answer.comment)
    if not _perhaps_about(instance, answer):
        return Retry(wait=Wait.APART, http_status=answer.status, comment=answer.comment)
    if answer.status == 409:
        return Verify(asked=Asked.REFUSED, comment=answer.comment)
    return Retry(wait=Wait.REFUSED_ALONE, http_status=answer.status, comment=answer.comment)


def _apart(batch: Batch, answer: Answer, hold: Hold) -> Disposition:
    """A Hold answer that this batch drew and the control did not: a 401 makes all of it wait (F86), others are isolated first.

    Only a 5xx is trouble with what was sent; 401, 403 and the like speak of no file, however often they come (I3).
    """
    if len(batch.instances) > 1 and hold.cause is not HoldCause.IDENTITY:
        return Isolate()
    return Retry(wait=Wait.REQUEST_TROUBLE if in_trouble(answer) else Wait.APART, http_status=answer.status)


def _too_large(answer: Answer) -> Quarantine:
    return Quarantine(
        reason=Reason.TOO_LARGE,
        text="the service takes no request as large as this file alone",
        what_to_do=Reason.TOO_LARGE.advice,
        http_status=answer.status,
        comment=answer.comment,
        by_service=True,
    )


def _irreplaceable(batch: Batch, answer: Answer) -> bool:
    """It was to replace what the service holds, and the service has neither PUT nor DELETE."""
    return answer.status in (405, 501) and all(i.replacing for i in batch.instances)


def _perhaps_about(instance: Instance, answer: Answer) -> bool:
    """Whether an answer that met this instance alone can be about it: a refusal must speak of content, and of nobody else."""
    if (answer.status or 0) < 400:
        return True
    said = answer.response
    items: tuple[Referenced | Failed, ...] = (*said.referenced, *said.failed) if said is not None else ()
    of_others = any(item.sop_instance_uid not in (None, instance.sop_instance_uid) for item in items)
    return answer.status in _ABOUT_CONTENT and not of_others


def _perhaps_apart(batch: Batch, hold: Hold) -> bool:
    """Whether the control must say if it is this batch alone: a gateway that refuses one file must not stop the rest.

    At once for 401, which a large upload draws by itself (F86), and where one has waited apart before; else the third time.
    """
    if hold.cause is HoldCause.IDENTITY:
        return True
    before = any(i.holds >= HOLDS_LIMIT - 1 or (i.history and i.history.wait is Wait.APART) for i in batch.instances)
    return hold.counts and before


def _taken(answer: Answer) -> bool:
    """A 2xx: whatever else it says, nothing was refused."""
    return answer.status is not None and 200 <= answer.status < 300


def _unnamed_too_often(batch: Batch) -> bool:
    """It was left unnamed before, asked for, and not there: the others may be why, or the service itself."""
    histories = [i.history for i in batch.instances if i.history is not None and i.history.wait is Wait.UNNAMED]
    return any(h.attempts >= UNNAMED_LIMIT - 1 for h in histories)


def _troubled_before(batch: Batch) -> bool:
    return any(i.history is not None and i.history.wait is Wait.REQUEST_TROUBLE for i in batch.instances)
