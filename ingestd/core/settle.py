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

A stamp names a state of the file only once its time has passed: before Linux 6.13 time stamps advance with the kernel's tick of up
to 10 ms, on FAT, ext3 and small ext4 by seconds. Whoever closes a file, opens it again and writes as many bytes within that time
leaves the stamp as it was. So a file that is as young as that is walked again when it no longer is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ingestd.core.model import Inspection, Look, Wholeness
from ingestd.core.outcome import Reason

TICK_SECONDS = 0.02
COARSE_SECONDS = 2.0
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
    """Whole, and perhaps still open: it stays in the window for a second look, and a second `walk` where its stamp may lie."""

    after: float
    walk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """Not whole yet, or still open, or linked twice: it leaves the window and is looked at again after `after` seconds."""

    after: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """It can't be sent, and time will not change that: it goes to failed/ with this reason."""

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

SENDABLE = frozenset({Wholeness.WHOLE, Wholeness.WHOLE_ZERO_TAIL})
OPEN_TEXT = "somebody has the file open for writing: waiting for them to close it"
HARD_LINK_TEXT = "the file has another name (hard link) and its owner does not own the folder"


def still_waits(look: Look, *, unfinished: bool, unchanged: float, rules: SettleRules) -> float | None:
    """For how many seconds a file goes on waiting, where `look`, which sees the same stamp as the last one, says so without a walk.

    `unfinished`: the walk found these very bytes not whole. At the end of its time a file is walked once more, and that counts.
    """
    if unchanged >= rules.incomplete_timeout_seconds or not (unfinished or look.open_elsewhere or look.links > 1):
        return None
    return _recheck(rules.network_quiet_seconds if look.on_network else rules.quiet_seconds, unchanged, rules)


def _recheck(quiet: float, unchanged: float, rules: SettleRules) -> float:
    return min(max(rules.incomplete_timeout_seconds - unchanged, quiet), max(quiet, RECHECK_SECONDS))


def settle(
    look: Look, inspection: Inspection, *, looks: int, unchanged: float, rules: SettleRules, age: float = math.inf
) -> Settling:
    """Decide on `look`, the newest of `looks` looks; `unchanged` seconds have passed since the first that saw this stamp.

    `age`: seconds from its ctime to the look by the machine's clock.
    """
    quiet = rules.network_quiet_seconds if look.on_network else rules.quiet_seconds
    still = looks >= 2 and unchanged >= quiet
    timed_out = looks >= 2 and unchanged >= rules.incomplete_timeout_seconds
    lease = look.leased and not look.on_network  # a server's other clients are beyond it
    wait = _recheck(quiet, unchanged, rules)

    if inspection.wholeness is Wholeness.DICOMDIR and (still or lease):
        return Judged(reason=Reason.DICOMDIR, text=inspection.text)
    if inspection.wholeness not in SENDABLE:
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
    proof = lease and inspection.wholeness is Wholeness.WHOLE
    grain = TICK_SECONDS if look.stamp.ctime_ns % 1_000_000_000 else COARSE_SECONDS
    young = 0 <= age < grain  # in the future: the clock was set back, and tells nothing
    if still or (proof and not young):
        return Settled()
    left = max(quiet - unchanged, 0.0)
    return LookAgain(after=min(left, grain - age) if proof and young else left, walk=young)
