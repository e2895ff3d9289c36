"""What `failed retry --as-is` asks for: a file is sent on a person's word although the walk, links or holes would refuse it.

Its UIDs must have been read, because URLs and receipts need them. That somebody may still write it is no opinion, so for that it
waits as any file does; with a hole in it, for the close, however long.
"""

from __future__ import annotations

from dataclasses import replace

from ingestd.core.answers.reasons import Wholeness
from ingestd.core.model import Evidence, Inspection, Lease, Look, Room
from ingestd.core.settle import Settled, Settling


def as_is(look: Look, inspection: Inspection) -> tuple[Look, Inspection]:
    """What core.settle is asked about instead: the same file as if it were whole, filled, and under one name."""
    room = look.room if look.lease is Lease.REFUSED else Room.FILLED
    whole = replace(inspection, wholeness=Wholeness.WHOLE, ends_in_zeros=False)
    return replace(look, links=1, room=room, sparse=False), whole


def on_a_word(verdict: Settling) -> Settling:
    """A person's word is no proof that all of it is there: nothing is ever removed on it."""
    return replace(verdict, evidence=Evidence.OVERDUE) if isinstance(verdict, Settled) else verdict
