"""What reading an instance back means: the service says that it holds it, and was asked to show it (Verify).

A receipt is never taken for the service's word; what can't be read proves nothing; and other bytes under the same UIDs are a
conflict, never silently "already stored" (I2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ingestd.core.answer import Answer, Fetched, Held, Loss
from ingestd.core.disposition import hold_for
from ingestd.core.model import Wait
from ingestd.core.outcome import AlreadyStored, Disposition, Quarantine, Reason, Retry, Stored
from ingestd.core.record import Receipt


def receipt_speaks(receipt: Receipt | None, sha256: str | None) -> bool:
    """Whether the receipt can tell if the file has the bytes that were stored: both digests are known."""
    return receipt is not None and bool(receipt.sha256) and sha256 is not None


def _unread(status: int | None, loss: Loss | None, retry_after: float | None) -> Disposition | None:
    """What a read that showed nothing means; None where it succeeded."""
    if status in (403, 404, 406):
        # It is not there, or reading is not allowed: nothing is proved, and the others may go on.
        return Retry(wait=Wait.UNVERIFIED, http_status=status)
    if hold := hold_for(Answer(status=status, loss=loss, retry_after=retry_after)):
        return replace(hold, counts=False)
    return None if status == 200 else Retry(wait=Wait.UNVERIFIED, http_status=status)


def dispose_held(
    held: Held, *, sha256: str | None, receipt: Receipt | None, own: Mapping[str, tuple[str, ...]] | None
) -> Disposition:
    """What a metadata read means for an instance that the service says it holds (Verify).

    `own` are the file's elements in the normal form of `Held.elements`; needed only where no receipt speaks: there is none, or
    one of the two digests is unknown. Absent elements are no evidence, and where all are absent nothing was shown (I2).
    """
    if (unread := _unread(held.status, held.loss, held.retry_after)) is not None:
        return unread
    if held.elements is None:
        return Retry(wait=Wait.UNVERIFIED, http_status=held.status)
    if receipt is not None and receipt_speaks(receipt, sha256):
        return AlreadyStored(same_bytes=receipt.proves) if receipt.sha256 == sha256 else conflict()
    common = sorted(own.keys() & held.elements.keys()) if own is not None else []
    if own is None or not common:
        return Retry(wait=Wait.UNVERIFIED, http_status=held.status)
    different = tuple(tag for tag in common if own[tag] != held.elements[tag])
    return conflict(different) if different else AlreadyStored(same_bytes=False)


def dispose_fetched(fetched: Fetched, *, sha256: str | None, named: bool) -> Disposition:
    """What the bytes that the service holds mean (Verify by bytes). `named`: the request itself said stored."""
    if (unread := _unread(fetched.status, fetched.loss, fetched.retry_after)) is not None:
        return unread
    if fetched.sha256 is None or sha256 is None:
        return Retry(wait=Wait.UNVERIFIED, http_status=fetched.status)
    if fetched.sha256 != sha256:
        return conflict()
    return Stored() if named else AlreadyStored()


def conflict(tags: tuple[str, ...] = ()) -> Quarantine:
    """The service holds another file under the same UIDs; `tags` are elements that differ, their values never shown."""
    where = f" in {', '.join(f'({t[:4]},{t[4:]})' for t in tags[:8])}" if tags else ""
    return Quarantine(
        reason=Reason.CONFLICT,
        text=f"the service holds another file under the same UIDs{where}",
        what_to_do="decide which one is right: `ingestd failed retry --replace` puts this one in its place",
        http_status=200,
        by_service=True,
    )
