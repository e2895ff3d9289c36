"""What an answer says of the service, the way to it and our identity, whatever was sent: whether they are at fault (I3)."""

from __future__ import annotations

from dataclasses import replace

from ingestd.core.answers.answer import Answer, Loss
from ingestd.core.answers.outcome import Hold, HoldCause

_HOLD_STATUSES = {
    401: HoldCause.IDENTITY,
    403: HoldCause.ROLE,
    404: HoldCause.ROUTE,
    406: HoldCause.ROUTE,
    407: HoldCause.PROXY,
    408: HoldCause.BUSY,
    424: HoldCause.DEPENDENCY,
    429: HoldCause.BUSY,
    503: HoldCause.BUSY,
    504: HoldCause.BUSY,
}
_NEVER_ABOUT_A_BATCH = frozenset({401, 429})


def hold_for(answer: Answer) -> Hold | None:
    """The hold that an answer to any request asks for, or None where it is no reason to hold."""
    if answer.loss is Loss.NOT_SENT:
        return _hold(HoldCause.UNREACHABLE, answer)
    if answer.status is None:
        return None
    cause = HoldCause.ROUTE if 300 <= answer.status < 400 else _HOLD_STATUSES.get(answer.status)
    if cause is None:
        return None
    return replace(_hold(cause, answer), counts=answer.status not in _NEVER_ABOUT_A_BATCH)


def hold_for_control(control: Answer) -> Hold:
    """The hold that the control's answer asks for, where it does not pass. No batch is to blame."""
    cause = HoldCause.UNREACHABLE if control.loss is not None else HoldCause.CONTROL
    return replace(hold_for(control) or _hold(cause, control), counts=False)


def _hold(cause: HoldCause, answer: Answer) -> Hold:
    return Hold(
        cause=cause,
        retry_after=answer.retry_after,
        status=answer.status,
        loss=answer.loss,
        problem=answer.problem,
        page=answer.page,
    )


def trouble_with(answer: Answer) -> Hold | None:
    """What to say of a request that came to nothing and is no reason to hold; None where it is neither."""
    if not in_trouble(answer) or answer.loss is Loss.FILE_CHANGED or hold_for(answer) is not None:
        return None
    return _hold(HoldCause.UNREACHABLE if answer.status is None else HoldCause.BUSY, answer)


def in_trouble(answer: Answer) -> bool:
    """The request ended in trouble of the server's or the network's: 5xx (507, a full disk of theirs, too), timeout, lost."""
    return answer.loss is not None or (answer.status is not None and answer.status >= 500)


def control_passed(control: Answer, normal: int | None = None) -> bool:
    """Azure answers the control with 204, Orthanc with 200. `normal`: how it was answered when the service was last seen well,
    which need not be a 2xx.

    A 2xx whose body is neither empty nor a Store Instances Response is a login page or some other web server, not the service.
    """
    if control.status is None:
        return False
    if 200 <= control.status < 300:
        return control.response is not None or not control.comment
    return control.status == normal
