"""The life of a file inside one process, as one table. docs/STATES.md is generated from it; an illegal step changes nothing.

Everything here is memory: after a crash each file that is still in the inbox begins again at `sighted`, and the journal gives back
what was learnt about it.
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    """Where a file stands. The value says it for people."""

    __hash__ = object.__hash__  # by identity: a file's way hashes some forty, and Enum's own is a call of Python

    SIGHTED = "a name was offered; the file has not been judged in its present state"
    QUIET = "whole, and perhaps still open: waiting for a second look"
    READY = "settled: it may be sent"
    BATCHED = "in a batch that waits for a free slot"
    IN_FLIGHT = "in a Store transaction"
    VERIFYING = "the service is asked whether it holds it"
    ENDING = "its outcome is known; the receipt is written, the move follows"
    DEFERRED = "passed over until it is due; the journal remembers it"
    FILED = "in done/ or failed/, or removed once it was stored (done.action)"
    GONE = "no longer in the inbox; somebody else took it"


class Step(enum.Enum):
    """What happens to a file."""

    __hash__ = object.__hash__

    LOOKED = "a first look found it whole"
    SETTLED = "nobody is writing it and all of it is there"
    CHANGED = "it is no longer the file that was judged"
    SET_ASIDE = "it must wait"
    ENDED = "an outcome was found: stored, already stored or quarantined"
    BATCHED = "it was put into a batch"
    SENT = "its batch got a slot, or it is sent to replace what the service holds"
    RETURNED = "its request said nothing about it"
    ISOLATED = "its request was refused as a whole: it goes into a smaller batch"
    ASKED = "the service is asked what it holds, because its answer proves nothing"
    MOVED = "it was moved, or removed on the same proof"
    VANISHED = "it is not there any more"
    DUE = "its time has come"


TABLE: dict[tuple[State, Step], State] = {
    (State.SIGHTED, Step.LOOKED): State.QUIET,
    (State.SIGHTED, Step.SETTLED): State.READY,
    (State.SIGHTED, Step.SET_ASIDE): State.DEFERRED,
    (State.SIGHTED, Step.ENDED): State.ENDING,
    (State.SIGHTED, Step.VANISHED): State.GONE,
    (State.QUIET, Step.CHANGED): State.SIGHTED,
    (State.QUIET, Step.SETTLED): State.READY,
    (State.QUIET, Step.SET_ASIDE): State.DEFERRED,
    (State.QUIET, Step.ENDED): State.ENDING,
    (State.QUIET, Step.VANISHED): State.GONE,
    (State.READY, Step.BATCHED): State.BATCHED,
    (State.READY, Step.ASKED): State.VERIFYING,
    (State.READY, Step.ENDED): State.ENDING,
    (State.BATCHED, Step.SENT): State.IN_FLIGHT,
    (State.IN_FLIGHT, Step.RETURNED): State.READY,
    (State.IN_FLIGHT, Step.ISOLATED): State.BATCHED,
    (State.IN_FLIGHT, Step.ASKED): State.VERIFYING,
    (State.IN_FLIGHT, Step.SET_ASIDE): State.DEFERRED,
    (State.IN_FLIGHT, Step.ENDED): State.ENDING,
    (State.VERIFYING, Step.SENT): State.IN_FLIGHT,
    (State.VERIFYING, Step.RETURNED): State.READY,
    (State.VERIFYING, Step.SET_ASIDE): State.DEFERRED,
    (State.VERIFYING, Step.ENDED): State.ENDING,
    (State.ENDING, Step.MOVED): State.FILED,
    (State.ENDING, Step.CHANGED): State.SIGHTED,
    (State.ENDING, Step.VANISHED): State.GONE,
    (State.ENDING, Step.SET_ASIDE): State.DEFERRED,
    (State.DEFERRED, Step.DUE): State.SIGHTED,
}

LEFT_WINDOW = frozenset({State.DEFERRED, State.FILED, State.GONE})


def after(state: State, step: Step) -> State:
    """The state that follows. Raises ValueError for a step that the table does not know; nothing has changed then."""
    try:
        return TABLE[state, step]
    except KeyError:
        raise ValueError(f"no file that is {state.name} can be {step.name}") from None
