"""When a file is settled: all of it is there, and nobody writes it any more.

The first is the walk's word (`Inspection`), the second is decided here, and quiet alone is no proof of it: programs that set the
end of a file first leave one that the walk calls whole, for room that nobody has filled looks like black pixels; and a writer that
stalls is quiet. So the rule goes by what a look has seen, in this order:

    lease refused                  somebody writes: wait for the close. Taken when it is unchanged for `incomplete_timeout_seconds`,
                                   because some programs never close; while a part of it was never written, never
    a hole or an unwritten extent  wait that long from the last change: then its writer is dead, and it fails
    not whole                      wait likewise, for a copy under way looks like that; then it fails
    more than one link             wait likewise for the other name to go; then a link to somebody else's file fails
    perhaps never written          its end is black, or blocks are missing, where holes can't be seen: wait likewise, then taken
    lease granted, on a ground     taken at once: the kernel knows every writer there
      where that is a proof
    a close or a rename into       taken `quiet_seconds` after it, if size and mtime are still the same
      place was heard of
    nothing at all                 two looks `network_quiet_seconds` apart see the same stamp

A ctime says since when a file has been left alone, and so stands for the first of the two looks, where no change leaves it as it
was and the clock has not been seen to step: a backlog does not crawl. The second look follows after `quiet_seconds` all the same.

What nothing shows is sent: room that was filled with zeros first, an old file that was overwritten in place and left half, less
than the last block missing, a writer that opens the file anew for each block and stops (of which the walk sees the missing end).

A stamp names a state of the file only once its time has passed: before Linux 6.13 time stamps advance with the kernel's tick of up
to 10 ms, on FAT, ext3 and small ext4 by seconds. Whoever closes a file, opens it again and writes as many bytes within that time
leaves the stamp as it was. So a file that was as young as that when it was looked at is walked again when it no longer is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ingestd.core.answers.reasons import Reason, Wholeness
from ingestd.core.model import Close, Deferral, Evidence, Inspection, Lease, Look, Room, Stamp, Wait

TICK_SECONDS = 0.02  # a file that changed just now, until it is judged: time stamps advance by ticks
COARSE_SECONDS = (
    2.0  # a file that changed just now where stamps are whole seconds, until it is judged: FAT counts in two seconds
)
RECHECK_SECONDS = 15.0  # a file that waits for its time, until it is looked at again if no event comes first


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleRules:
    """The `intake` keys that decide, in seconds. `holes_are_zeros`: what was never written counts as zeros (`intake.holes`)."""

    quiet_seconds: float
    network_quiet_seconds: float
    incomplete_timeout_seconds: float
    holes_are_zeros: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What is known of a file beside its newest look, in seconds.

    `looks` of them have seen its stamp, the first `unchanged` ago. `age`: from its ctime to the newest look, by the machine's
    clock; `rested`: so much of that as the clock can be believed. `closed`: what `closed_for` says. `restless`: it changed between
    its store and its move; neither a lease nor a close settles it then before it has been left alone for `quiet_seconds`.
    """

    looks: int
    unchanged: float
    age: float = math.inf
    rested: float = 0.0
    closed: float | None = None
    restless: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """It may be sent, by that evidence. `text` says what was not shown, where it is the worst there is."""

    evidence: Evidence
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAgain:
    """Whole, and perhaps still open: it stays in the window for a second look, and a second `walk` where its stamp may lie."""

    after: float
    walk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """It must wait for longer than the window keeps it: it leaves the window and is looked at again after `after` seconds."""

    after: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """It can't be sent, and time will not change that: it goes to failed/ with this reason."""

    reason: Reason
    text: str


Settling = Settled | LookAgain | SetAside | Judged

OPEN_TEXT = "somebody has the file open for writing: waiting for them to close it"
OPEN_UNFILLED_TEXT = (
    "somebody has the file open for writing and has not filled it: it waits until they close it, however long"
)
UNFILLED_TEXT = "a part of the file was never written: waiting for its writer"
LINKED_TEXT = "the file has another name (hard link): waiting for it to go"
HARD_LINK_TEXT = "the file has another name (hard link) and its owner does not own the folder"
ZEROS_TEXT = "the file ends in zeros, and this file system can't tell whether they were written: waiting for a writer"
QUIET_TEXT = "nothing shows that the file's writer has finished: waiting until it has been left alone for long enough"
NEVER_CLOSED = (
    "sent while somebody had it open for writing, after a long quiet: a change after this is sent as a new version"
)
PERHAPS_UNFILLED = "sent though its end may never have been written, after a long quiet: compare it with its source"
LINKED = "sent while it had another name (hard link), under which somebody may still write it"
HOLES_SENT = "sent with parts that were never written, as zeros (intake.holes)"


def closed_for(close: Close | None, look: Look, *, now: float, doubted_at: float) -> float | None:
    """Seconds since a close or a rename into place after which `look` sees the same bytes; None where none was heard of.

    Size and mtime say so: chmod, rename and link after the close move the ctime alone. Closes prove nothing where other machines
    write, and what was heard before `doubted_at` may be about another file.
    """
    if close is None or look.ground.on_network or close.at <= doubted_at or not _same_bytes(close.stamp, look.stamp):
        return None
    return now - close.at


def _same_bytes(one: Stamp, other: Stamp) -> bool:
    return (one.device, one.inode, one.size, one.mtime_ns) == (other.device, other.inode, other.size, other.mtime_ns)


def still_waits(look: Look, *, unfinished: bool, unchanged: float, rules: SettleRules) -> float | None:
    """For how many seconds a file goes on waiting, where `look`, which sees the same stamp as the last one, says so without a walk.

    `unfinished`: the walk found these very bytes not whole, or perhaps never written. At the end of its time a file is walked once
    more, and that counts.
    """
    refused, unfilled = look.lease is Lease.REFUSED, _unfilled(look, rules)
    if refused and unfilled:
        return _recheck(look, unchanged, rules)
    if unchanged >= rules.incomplete_timeout_seconds or not (unfinished or refused or unfilled or look.links > 1):
        return None
    return _recheck(look, unchanged, rules)


def _unfilled(look: Look, rules: SettleRules) -> bool:
    return look.room is Room.UNFILLED and not rules.holes_are_zeros


def _recheck(look: Look, unchanged: float, rules: SettleRules) -> float:
    quiet = rules.network_quiet_seconds if look.on_network else rules.quiet_seconds
    often = max(quiet, RECHECK_SECONDS)
    left = rules.incomplete_timeout_seconds - unchanged
    return min(max(left, quiet), often) if left > 0 else often


def settle(look: Look, inspection: Inspection, *, past: Past, rules: SettleRules) -> Settling:
    """Decide on `look`, the newest, and on what the newest walk found."""
    found = _held_back(look, inspection, past, rules) or _nobody_writes(look, inspection, past, rules)
    if inspection.wholeness is Wholeness.DICOMDIR and isinstance(found, Settled):
        return Judged(reason=Reason.DICOMDIR, text=inspection.text)
    return found


def rests_for(look: Look, evidence: Evidence, *, past: Past, rules: SettleRules) -> float:
    """Seconds for which a settled file must be left alone before it may be copied away: no writer of a copied file shows."""
    return 0.0 if evidence is Evidence.LEASE else max(0.0, rules.incomplete_timeout_seconds - _alone(look, past))


def _held_back(look: Look, inspection: Inspection, past: Past, rules: SettleRules) -> Settling | None:
    """The rows of the table that wait for the long time; None where none of them is the file's."""
    overdue = past.looks >= 2 and past.unchanged >= rules.incomplete_timeout_seconds
    wait = _recheck(look, past.unchanged, rules)
    refused = look.lease is Lease.REFUSED
    if _unfilled(look, rules):
        if overdue and not refused:
            return Judged(reason=Reason.UNFILLED, text=f"{(look.unfilled + 1023) >> 10} KiB were never written")
        return SetAside(after=wait, text=OPEN_UNFILLED_TEXT if refused else UNFILLED_TEXT)
    reason = inspection.wholeness.reason
    if reason is not None and reason is not Reason.DICOMDIR:
        return Judged(reason=reason, text=inspection.text) if overdue else SetAside(after=wait, text=inspection.text)
    if look.links > 1 and overdue and not look.owner_owns_folder:
        return Judged(reason=Reason.HARD_LINK, text=HARD_LINK_TEXT)
    if refused:
        waiting, sent = OPEN_TEXT, NEVER_CLOSED
    elif look.links > 1:
        waiting, sent = LINKED_TEXT, LINKED
    elif look.room is Room.UNKNOWN and (inspection.ends_in_zeros or look.sparse):
        waiting, sent = ZEROS_TEXT, PERHAPS_UNFILLED
    else:
        return None
    return Settled(evidence=Evidence.OVERDUE, text=sent) if overdue else SetAside(after=wait, text=waiting)


def _nobody_writes(
    look: Look, inspection: Inspection, past: Past, rules: SettleRules
) -> Settled | LookAgain | SetAside:
    """The rows of the table that end sooner. Zeros that no element claims, and holes that count as zeros, take the quiet one."""
    enough = inspection.wholeness is not Wholeness.WHOLE_ZERO_TAIL and look.room is not Room.UNFILLED
    rest = rules.quiet_seconds - past.unchanged if past.restless else 0.0
    if enough and look.lease is Lease.GRANTED and look.ground.leases:
        evidence, left, looks = Evidence.LEASE, rest, 1
    elif enough and past.closed is not None:
        evidence, left, looks = Evidence.CLOSED, max(rules.quiet_seconds - past.closed, rest), 1
    else:
        evidence, left, looks = Evidence.QUIET, _until_quiet(look, past, rules), 2
    grain = TICK_SECONDS if look.stamp.ctime_ns % 1_000_000_000 else COARSE_SECONDS
    young = 0 <= past.age < grain and past.unchanged < grain  # in the future: the clock was set back, and tells nothing
    if left <= 0 and past.looks >= looks and not young:
        if look.room is Room.UNFILLED:
            return Settled(evidence=Evidence.OVERDUE, text=HOLES_SENT)
        return Settled(evidence=evidence)
    left = max(left, grain - past.age if young else 0.0)
    if left > max(rules.quiet_seconds, grain):
        return SetAside(after=left, text=QUIET_TEXT)
    return LookAgain(after=left, walk=young)


def _until_quiet(look: Look, past: Past, rules: SettleRules) -> float:
    return max(rules.quiet_seconds - past.unchanged, rules.network_quiet_seconds - _alone(look, past))


def _alone(look: Look, past: Past) -> float:
    return max(past.unchanged, past.rested) if look.ground.ctimes else past.unchanged


def held_back(look: Look, history: Deferral | None) -> bool:
    """Whether a file is not even judged, because it can't be moved out of its folder and was never sent (F94).

    One that the service has heard of goes on, because what is counted against it, or was deleted for it, must not be forgotten.
    """
    return not look.movable and (history is None or history.wait is Wait.INCOMPLETE)


def as_is(look: Look, inspection: Inspection) -> tuple[Look, Inspection]:
    """What `settle` is asked about instead where a person has ordered `failed retry --as-is`.

    The file is sent on a person's word although the walk, links or holes would refuse it: as if it were whole, filled, and under
    one name. Its UIDs must have been read, because URLs and receipts need them. That somebody may still write it is no opinion, so
    for that it waits as any file does; with a hole in it, for the close, however long.
    """
    room = look.room if look.lease is Lease.REFUSED else Room.FILLED
    whole = replace(inspection, wholeness=Wholeness.WHOLE, ends_in_zeros=False)
    return replace(look, links=1, room=room, sparse=False), whole


def on_a_word(verdict: Settling) -> Settling:
    """A person's word is no proof that all of it is there: nothing is ever removed on it."""
    return replace(verdict, evidence=Evidence.OVERDUE) if isinstance(verdict, Settled) else verdict
