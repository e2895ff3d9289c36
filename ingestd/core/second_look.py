"""The second look: what was filed without a proof that nobody writes it is looked at once more in done/ (DESIGN 2, 3a).

A lease is such a proof; a close that was heard of, two equal looks and the longest wait are not: somebody may go on writing into
the file that was sent and filed. So its state is kept, and compared `incomplete_timeout_seconds` later. What was written by then is
said out loud, because the service holds an earlier state. With `done.action = delete` a file goes for good only after this look.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from ingestd.core.model import Evidence, Instance, Stamp
from ingestd.core.record import SecondLook

DAY_SECONDS = 86_400.0  # a second look that is overdue this long is timed anew: a clock of another year set it


class Found(enum.Enum):
    """What a second look has found; CHANGED and OPEN are the words of the notes and of `failed list`."""

    GONE = "gone"  # it is no longer where it was filed: a person's business
    SAME = "same"
    TOUCHED = "touched"  # size and mtime are the same, and something else is not: its owner, its mode, its inode
    CHANGED = "changed"  # it was written after it was filed
    OPEN = "open"  # as it was, and somebody has it open for writing
    UNKNOWN = "unknown"  # it could not be looked at, or what was found could not be kept
    REMOVED = "removed"
    KEPT = "kept"  # it was to be removed, and no receipt proves that the service holds it

    @property
    def is_late(self) -> bool:
        """Whether the service holds an earlier state, or perhaps will."""
        return self in (Found.CHANGED, Found.OPEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondLookRules:
    """`after`: intake.incomplete_timeout_seconds. `remove`: stored files are removed (done.action)."""

    after: float
    remove: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A second look that was taken. `seen`: the file's stamp then, where there was a file."""

    look: SecondLook
    found: Found
    seen: Stamp | None = None


def planned(instance: Instance, place: str, stamp: Stamp, *, now: float, rules: SecondLookRules) -> SecondLook | None:
    """The look that a file wants which lies at `place` in done/ now, with this stamp; None where a lease proved enough.

    Within a file system it must still be what was sent; a copy has a stamp of its own. Nothing is ever removed on OVERDUE.
    """
    if instance.evidence is Evidence.LEASE:
        return None
    if stamp.device == instance.stamp.device:
        stamp = replace(stamp, size=instance.stamp.size, mtime_ns=instance.stamp.mtime_ns)
    remove = rules.remove and instance.sha256 is not None and instance.evidence is not Evidence.OVERDUE
    return SecondLook(place=place, stamp=stamp, path=instance.path, due_at=now + rules.after, remove=remove)


def due(look: SecondLook, *, now: float, after: float) -> SecondLook | None:
    """The same look for a later time, if its own can't be believed; None: it is due.

    Due times are on the clock of whichever process wrote them. One that is later than we plan, or more than a day past, may be of a
    clock of another year (F13, F91), and then nobody knows how long the file has rested.
    """
    return None if now - DAY_SECONDS <= look.due_at <= now else replace(look, due_at=now + after)


def compare(look: SecondLook, seen: Stamp, *, refused: bool) -> Found:
    """What the file at its place shows; `refused`: a lease on it was, so somebody has it open for writing."""
    if (seen.size, seen.mtime_ns) != (look.stamp.size, look.stamp.mtime_ns):
        return Found.CHANGED
    if refused:
        return Found.OPEN
    return Found.SAME if seen == look.stamp else Found.TOUCHED


def next_look(looked: Looked, *, now: float, after: float) -> SecondLook | None:
    """The look that must follow; None: it was the last one. What is to be removed must have kept its whole stamp that long."""
    look = looked.look
    match looked.found:
        case Found.OPEN | Found.UNKNOWN:
            return replace(look, due_at=now + after)
        case Found.TOUCHED if look.remove and looked.seen is not None:
            return replace(look, stamp=looked.seen, due_at=now + after)
        case _:
            return None
