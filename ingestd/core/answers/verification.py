"""What proves that the service holds these bytes, asked step by step: facts in, the next question or the outcome out (I2).

The service named an instance, or says that it has it, or said nothing about it, and that alone proves nothing here. What is cheap
is asked first; bytes decide where nothing else can. A question that is not answered is asked again later and the file is not sent
for it; only a service that has never let anything be read is taken at its word. Other bytes under the same UIDs are a conflict,
never silently "already stored"; a service that rewrites what it stores convicts nobody by them.

    what is asked   when                                                        what it can prove
    SEARCH          it was absent before the send; no search was believed yet   ASKED
    METADATA        a receipt of these very bytes; a policy or profile that     REMEMBERED, SEEN
                    is content with metadata; the words of a conflict
    FETCH           nothing else decides; files go for good                     FETCHED, a conflict
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from ingestd.core.answers.answer import Fetched, Held, Shown
from ingestd.core.answers.elements import contradict
from ingestd.core.answers.outcome import (
    AlreadyStored,
    Disposition,
    DuplicatePolicy,
    Quarantine,
    Retry,
    Stored,
    StoredWithWarning,
)
from ingestd.core.answers.profiles import ELEMENTS_DISCARDED, Profile
from ingestd.core.answers.proof import Proof
from ingestd.core.answers.reasons import Reason
from ingestd.core.model import Asked, Identifiers, Wait


class Step(enum.Enum):
    """What to ask next."""

    SEARCH = "whether a search shows it"
    METADATA = "its metadata"
    FETCH = "its bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that decides about one instance; what was not asked is None.

    `sha256`: of the file's data set. `for_removal`: the file goes for good. `absent_before`: the service did not have it before
    these very bytes were sent. `searches`: a search has shown something that this service stored. `reads`: a read of this service
    has shown something, ever; a search that finds nothing shows nothing. `remembered`: a receipt says that this service got, or
    gave back, these very bytes. `waited`: seconds since it was first asked, `word_after` those after which the word of a service
    that lets nothing be asked is taken. `own`: the file's elements in the normal form of `held`.
    """

    ids: Identifiers
    asked: Asked
    sha256: str
    policy: DuplicatePolicy
    profile: Profile
    for_removal: bool = False
    warning: int | None = None
    retrieve_url: str | None = None
    absent_before: bool = False
    searches: bool = False
    reads: bool = False
    remembered: bool = False
    waited: float = 0.0
    word_after: float = 600.0
    comment: str | None = None
    searched: bool = False
    shows: bool | None = None
    held: Held | None = None
    own: Mapping[str, tuple[str, ...]] | None = None
    fetched: Fetched | None = None

    @property
    def read(self) -> bool:
        """Whether a read has shown something, now or before."""
        shown = (self.held_shown, self.fetched_shown)
        return self.reads or self.shows is True or Shown.IT in shown

    @property
    def held_shown(self) -> Shown | None:
        return self.held.shown(self.ids) if self.held is not None else None

    @property
    def fetched_shown(self) -> Shown | None:
        return self.fetched.shown(self.ids) if self.fetched is not None else None


def decide(facts: Facts) -> Step | Disposition:
    """What to ask next, or what becomes of the instance."""
    if facts.for_removal and facts.fetched is None:
        return Step.FETCH
    match facts.fetched_shown:
        case Shown.IT:
            return _by_bytes(facts)
        case Shown.NOTHING:
            return _unanswered(facts)
        case Shown.ABSENT if facts.held_shown is not Shown.IT:
            return _absent(facts)
    if (proof := for_a_move(facts)) is not None:
        return _proved(facts, proof)
    if (step := _cheaper(facts)) is not None:
        return step
    match facts.held_shown:
        case Shown.NOTHING if facts.fetched is None:
            return _unanswered(facts)
        case Shown.ABSENT if facts.fetched is None:
            return _absent(facts)
    return Step.FETCH if facts.fetched is None and not facts.profile.rewrites else _unanswered(facts)


def for_a_move(facts: Facts) -> Proof | None:
    """The proof that is there without the bytes; enough to move the file and not to remove it."""
    if facts.policy is DuplicatePolicy.ACCEPT and facts.asked in (Asked.NAMED, Asked.HELD):
        return Proof.WORD
    if _was_absent(facts) and (facts.searches or facts.shows):
        return Proof.ASKED
    if facts.held_shown is not Shown.IT or not facts.own or differing(facts):
        return None
    if facts.remembered and facts.policy is DuplicatePolicy.VERIFY:
        return Proof.REMEMBERED
    content = facts.policy is DuplicatePolicy.METADATA or (facts.profile.rewrites and facts.asked is Asked.NAMED)
    return Proof.SEEN if content else None


def differing(facts: Facts) -> tuple[str, ...]:
    """The tags whose values differ between the file and the service's metadata, but for those that the service coerces."""
    if facts.held is None or facts.held.elements is None or not facts.own:
        return ()
    theirs = facts.held.elements
    common = sorted(facts.own.keys() & theirs.keys() - facts.profile.coerced)
    return tuple(tag for tag in common if contradict(facts.own[tag], theirs[tag]))


def _was_absent(facts: Facts) -> bool:
    return facts.asked is Asked.NAMED and facts.absent_before and facts.warning != ELEMENTS_DISCARDED


def _cheaper(facts: Facts) -> Step | None:
    """What can prove it without its bytes."""
    if _was_absent(facts) and not facts.searched:
        return Step.SEARCH
    rewritten = facts.profile.rewrites and facts.asked is Asked.NAMED
    remembered = facts.remembered and facts.policy is DuplicatePolicy.VERIFY
    if facts.held is None and (remembered or rewritten or facts.policy is DuplicatePolicy.METADATA):
        return Step.METADATA
    return None


def _by_bytes(facts: Facts) -> Step | Disposition:
    fetched = facts.fetched
    same_syntax = fetched is not None and fetched.transfer_syntax_uid == facts.ids.transfer_syntax_uid
    if fetched is not None and fetched.sha256 == facts.sha256 and same_syntax:
        return _proved(facts, Proof.FETCHED)
    if facts.profile.rewrites or facts.warning is not None:
        if (proof := for_a_move(facts)) is not None:
            return _proved(facts, proof)
        if facts.profile.rewrites:
            return _cheaper(facts) or _unanswered(facts)
    if facts.held is None:
        return Step.METADATA  # for the words
    return _conflict(facts, same_syntax=same_syntax)


def _proved(facts: Facts, proof: Proof) -> Disposition:
    if facts.asked in (Asked.HELD, Asked.REFUSED):
        return AlreadyStored(proof=proof)
    if facts.warning is not None:
        return StoredWithWarning(proof=proof, warning_reason=facts.warning, retrieve_url=facts.retrieve_url)
    return Stored(proof=proof, retrieve_url=facts.retrieve_url)


def _absent(facts: Facts) -> Disposition:
    """It says that it has no such instance. Where nothing was ever read and no search agrees, that may be the route's fault."""
    searched = facts.absent_before or facts.shows is False
    if not (facts.read or searched or facts.profile.readable):
        return _unanswered(facts)
    match facts.asked:
        case Asked.NAMED | Asked.HELD:
            return Retry(wait=Wait.UNVERIFIED, http_status=404)
        case Asked.UNNAMED:
            return Retry(wait=Wait.UNNAMED, comment=facts.comment)
        case Asked.REFUSED:
            return Retry(wait=Wait.REFUSED_ALONE, http_status=409, comment=facts.comment)
        case unknown:
            assert_never(unknown)


def _unanswered(facts: Facts) -> Disposition:
    """It is asked again and nothing is sent; but a service that lets nothing be read is not waited for without end.

    What it named is filed on its word. What it said to hold is, where it goes on refusing to be asked; and what it said nothing
    about is sent again then, which changes nothing if it is there. One that answers about something else is waited for.
    """
    shown = (facts.held_shown, facts.fetched_shown)
    if not facts.read and Shown.ANOTHER not in shown:
        if facts.asked is Asked.NAMED:
            return _proved(facts, Proof.WORD)
        refuses = Shown.REFUSED in shown or Shown.ABSENT in shown
        if refuses and facts.waited >= facts.word_after:
            return _proved(facts, Proof.WORD) if facts.asked is Asked.HELD else Retry(wait=Wait.UNVERIFIED)
    return Retry(wait=Wait.UNANSWERED, asked=facts.asked, comment=facts.comment)


def _conflict(facts: Facts, *, same_syntax: bool) -> Quarantine:
    """The service holds another file under the same UIDs; the elements that differ are named, their values never shown."""
    tags = differing(facts)
    known = facts.held_shown is Shown.IT and bool(facts.own)
    text = "the service holds another file under the same UIDs"
    if facts.warning is not None:
        text = f"the service stored this instance changed (WarningReason {facts.warning})"
    if not same_syntax:
        text += ", in another transfer syntax"
    if tags:
        text += f"; these elements differ: {', '.join(f'({t[:4]},{t[4:]})' for t in tags[:8])}"
        text += f" and {len(tags) - 8} more" if len(tags) > 8 else ""
    elif known:
        text += "; its metadata show no difference: what they don't show, or not exactly, differs, such as the pixels"
    return Quarantine(
        reason=Reason.CONFLICT,
        text=text,
        what_to_do=Reason.CONFLICT.advice,
        by_service=True,
        differs=tags if known else None,
    )
