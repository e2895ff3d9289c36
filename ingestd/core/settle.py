"""When a file is settled: nobody is writing it any more, and all of it is there.

Two proofs are taken for "nobody is writing": a read lease, which the kernel grants only while nobody has the file open for writing,
or, where the kernel can't tell, two looks a quiet period apart that see the same device, inode, size, mtime and ctime. Neither says
that the file is complete: a copy that was interrupted is quiet too. That is the walk's word (`Inspection`), and what the walk does
not call whole waits until it has been unchanged for `incomplete_timeout_seconds`, for a copy under way looks truncated, or not like
DICOM, or without its UIDs.

A lease that is refused because somebody has the file open for writing is the opposite proof, and quiet is none against it: room
that was claimed for pixels looks like black pixels, and a report ends after any of its elements, so a walk can call whole what a
writer who paused has yet to fill. Such a file waits likewise, and is taken in the end, for some programs never close what they
wrote.
"""

from __future__ import annotations

from dataclasses import dataclass

from ingestd.core.model import Inspection, Look, Wholeness
from ingestd.core.outcome import Reason

RECHECK_SECONDS = 15.0  # a file that is not whole is looked at again this often, unless an event comes first


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleRules:
    """The `intake` keys that decide, in seconds."""

    quiet_seconds: float
    network_quiet_seconds: float
    incomplete_timeout_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """It may be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAgain:
    """Whole, and perhaps still open: it stays in the window for a second look."""

    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """Not whole yet: it leaves the window and is looked at again `after` seconds."""

    after: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """It will not become whole: it goes to failed/ with this reason."""

    reason: Reason
    text: str


Settling = Settled | LookAgain | SetAside | Judged

_REASONS = {
    Wholeness.TRUNCATED: Reason.TRUNCATED,
    Wholeness.NOT_DICOM: Reason.NOT_DICOM,
    Wholeness.NO_PIXEL_DATA: Reason.NO_PIXEL_DATA,
    Wholeness.DICOMDIR: Reason.DICOMDIR,
    Wholeness.NO_UID: Reason.NO_UID,
    Wholeness.OUT_OF_BOUNDS: Reason.BOUNDS,
}

OPEN_TEXT = "somebody has the file open for writing: waiting for them to close it"
HARD_LINK_TEXT = "the file has another name (hard link) and its owner does not own the folder"


def settle(look: Look, inspection: Inspection, *, looks: int, unchanged: float, rules: SettleRules) -> Settling:
    """Decide on `look`, the newest of `looks` looks; `unchanged` seconds have passed since the first that saw this stamp."""
    quiet = rules.network_quiet_seconds if look.on_network else rules.quiet_seconds
    still = looks >= 2 and unchanged >= quiet
    timed_out = looks >= 2 and unchanged >= rules.incomplete_timeout_seconds
    lease = look.leased and not look.on_network  # a server's other clients are beyond it
    wait = min(max(rules.incomplete_timeout_seconds - unchanged, quiet), max(quiet, RECHECK_SECONDS))

    if inspection.wholeness is Wholeness.DICOMDIR and (still or lease):
        return Judged(reason=Reason.DICOMDIR, text=inspection.text)
    if inspection.wholeness not in (Wholeness.WHOLE, Wholeness.WHOLE_ZERO_TAIL):
        if timed_out:
            return Judged(reason=_REASONS[inspection.wholeness], text=inspection.text)
        return SetAside(after=wait, text=inspection.text)
    if look.links > 1:
        if not timed_out:
            return SetAside(after=wait, text="the file has another name (hard link): waiting for it to go")
        if not look.owner_owns_folder:
            return Judged(reason=Reason.HARD_LINK, text=HARD_LINK_TEXT)
        return Settled()
    if look.open_elsewhere and not timed_out:
        return SetAside(after=wait, text=OPEN_TEXT)
    if still or (lease and inspection.wholeness is Wholeness.WHOLE):
        return Settled()
    return LookAgain(after=max(quiet - unchanged, 0.0))
