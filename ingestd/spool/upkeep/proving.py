"""Whether a file of done/ may go for good: that the service holds its bytes must be proved (core.answers.proof).

A receipt proves it that says that this very service got these bytes as new, or gave them back. For any other receipt the service is
asked for the bytes, once in the life of a process; what stays unproved is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator

from ingestd.core.answers.answer import Fetched
from ingestd.core.answers.profiles import Profile
from ingestd.core.model import Identifiers, Inspection
from ingestd.core.record import Receipt
from ingestd.part10.digests import pieces

MOST_ASKED = 100_000  # instances that are remembered as asked for; the oldest knowledge is not worth more

Steps = Generator[None, None, bool]


class Proving:
    """`service` is the one that the daemon stores to, `fetch` retrieves an instance of it (ports.Origin). The upkeep thread's."""

    def __init__(self, *, profile: Profile, service: str, fetch: Callable[[Identifiers], Fetched]) -> None:
        self._profile = profile
        self._service = service
        self._fetch = fetch
        self._asked: dict[tuple[str, str, str], None] = {}

    def proves(self, receipt: Receipt, handle: int, found: Inspection) -> Steps:
        """Whether `receipt` and the service prove that the open file, of which the walk says `found`, is held. Raises OSError."""
        ids = found.ids
        if ids is None:
            return False
        if not (yield from tells_of(receipt, handle, found)):
            return False
        if receipt.of_bytes(self._profile) and receipt.service == self._service:
            return True
        if ids.key in self._asked:
            return False
        while len(self._asked) >= MOST_ASKED:
            del self._asked[next(iter(self._asked))]
        self._asked[ids.key] = None
        known = receipt.digest_at(found.data_set_at) == found.data_set_at
        own = receipt.sha256 if known else (yield from _digest(handle, found.data_set_at))
        fetched = self._fetch(ids)
        return fetched.sha256 == own and fetched.transfer_syntax_uid == ids.transfer_syntax_uid


def tells_of(receipt: Receipt, handle: int, found: Inspection) -> Steps:
    """Whether `receipt` is about these very bytes, whatever it proves of the service. Raises OSError."""
    if found.ids is None or receipt.transfer_syntax_uid not in (None, found.ids.transfer_syntax_uid):
        return False
    return (yield from _digest(handle, receipt.digest_at(found.data_set_at))) == receipt.sha256


def _digest(handle: int, at: int) -> Generator[None, None, str]:
    digest = hashlib.sha256()
    for piece in pieces(handle, at):
        digest.update(piece)
        yield
    return digest.hexdigest()
