"""What becomes of a file, for every kind of service, receipt and content: derived from the core's own decisions, step by step.

A *service* here is a small oracle: what it names, what it says when it is asked. `fate` asks it as the daemon does, through
`dispose` and `decide`, and nothing else decides. docs/answers.md is printed from it, and the real daemon and the real retention are
held to it (tests/component/daemon/test_fates.py).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from fakes.values import (
    AZURE,
    GENERIC,
    REWRITING,
    SERVICE,
    SHA,
    answer,
    batch,
    fail,
    identifiers,
    instance,
    ref,
)

from ingestd.core.answers.answer import Answer, Fetched, Held, Loss
from ingestd.core.answers.disposition import dispose
from ingestd.core.answers.outcome import (
    AlreadyStored,
    Disposition,
    DuplicatePolicy,
    Outcome,
    Quarantine,
    Retry,
    Stored,
    StoredWithWarning,
    Verify,
)
from ingestd.core.answers.profiles import Profile
from ingestd.core.answers.proof import DigestKind, Proof
from ingestd.core.answers.verification import Facts, Step, decide
from ingestd.core.model import Identifiers
from ingestd.core.record import Receipt

FILE = replace(
    instance(), ids=replace(identifiers(), study_uid="1.2.3", series_uid="1.2.3.4", sop_instance_uid="1.2.3.4.5")
)
ANOTHER = replace(FILE.ids, sop_instance_uid="9.9")
PATIENT, NAME = "00100020", "00100010"
OWN: dict[str, tuple[str, ...]] = {
    "0020000D": (FILE.ids.study_uid,),
    "0020000E": (FILE.ids.series_uid,),
    "00080018": (FILE.ids.sop_instance_uid,),
    NAME: ("A^B",),
    PATIENT: ("P1",),
}


class Before(enum.Enum):
    """What the service has under the file's UIDs before it is sent."""

    NOTHING = "nothing"
    SAME = "the same bytes"
    OTHER_META = "the same, with other file meta"
    PIXELS = "other pixels"
    PATIENT = "another patient"
    HALF = "half of it"

    @property
    def is_the_image(self) -> bool:
        """By its data set."""
        return self in (Before.SAME, Before.OTHER_META)


class Service(enum.Enum):
    """What services were seen, or are feared, to do."""

    NAMES_NEW = "names only what is new (Azure)"
    KEEPS_OLD = "keeps the old one and says stored (Orthanc)"
    REWRITES = "rewrites what it stores"
    FORGETS = "says stored, and has forgotten it when it is asked"
    ANSWERS_OTHERS = "answers about another instance"
    COMPRESSES = "compresses its answers"
    NAMES_NOTHING = "answers 200 and names nothing"
    ASKS_NOTHING = "lets nothing be read (403)"
    HANGS = "hangs when it is asked"

    @property
    def profile(self) -> Profile:
        return {Service.NAMES_NEW: AZURE, Service.REWRITES: REWRITING}.get(self, GENERIC)


class Known(enum.Enum):
    """The newest receipt of these UIDs."""

    NONE = "no receipt"
    OURS = "our receipt of these bytes"
    ELSEWHERE = "another service's receipt"
    OLD = "an older ingestd's receipt"

    def receipt(self) -> Receipt | None:
        if self is Known.NONE:
            return None
        old = self is Known.OLD
        return Receipt(
            stored_at=0.0,
            study_uid=FILE.ids.study_uid,
            series_uid=FILE.ids.series_uid,
            sop_instance_uid=FILE.ids.sop_instance_uid,
            size=FILE.size,
            sha256=SHA,
            path=FILE.path,
            outcome=Outcome.STORED,
            http_status=200,
            reason=None,
            retrieve_url=None,
            service="https://old.example" if self is Known.ELSEWHERE else SERVICE,
            proof=None if old else Proof.FETCHED,
            digest_kind=DigestKind.FROM_128 if old else DigestKind.DATA_SET,
        )


class Action(enum.Enum):
    MOVE = "move"
    DELETE = "delete"
    RETENTION = "retention"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    service: Service
    held: Before
    known: Known
    action: Action


class Fate(enum.Enum):
    """Where the file is when all is said. A file of done/ that retention keeps is `KEPT`."""

    DONE = "done/"
    REMOVED = "removed"
    CONFLICT = "failed/ (conflict)"
    AGAIN = "inbox: sent again"
    ASKED = "inbox: asked again"
    KEPT = "kept in done/"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    fate: Fate
    proof: Proof | None = None

    def __str__(self) -> str:
        return f"{self.fate.value}, {self.proof.value}" if self.proof is not None else self.fate.value


class Oracle:
    """One service that holds `held` under the file's UIDs, and is sent the file."""

    def __init__(self, service: Service, held: Before) -> None:
        self.service = service
        self.held = held

    def is_absent(self) -> bool | None:
        """What a search before the send says; None where it says nothing."""
        if self.service in (Service.ANSWERS_OTHERS, Service.ASKS_NOTHING, Service.HANGS):
            return None
        return self.held is Before.NOTHING

    def store(self) -> Answer:
        uid, there = FILE.sop_instance_uid, self.held
        if self.service is not Service.REWRITES and there is not Before.NOTHING:
            if self.service is Service.NAMES_NEW:
                return replace(answer(409, fail(uid, 45070)), digests=(SHA,))
        else:
            self.held = Before.SAME
        if self.service is Service.NAMES_NOTHING:
            return Answer(status=200, digests=(SHA,))
        return replace(answer(200, ref(uid)), digests=(SHA,))

    def shows(self) -> bool | None:
        """What a search for the instance says afterwards."""
        if self.service in (Service.ANSWERS_OTHERS, Service.ASKS_NOTHING, Service.HANGS):
            return None
        return self.service is not Service.FORGETS

    def metadata(self) -> Held:
        if (status := self._refusal()) is not None:
            return status[0]
        shown = OWN | ({PATIENT: ("P2",)} if self.held is Before.PATIENT else {})
        if self.service is Service.REWRITES:
            shown |= {NAME: ("A",)}
        if self.service is Service.ANSWERS_OTHERS:
            shown |= {"00080018": (ANOTHER.sop_instance_uid,)}
        return Held(status=200, elements=shown)

    def fetch(self) -> Fetched:
        if (status := self._refusal()) is not None:
            return status[1]
        ids = ANOTHER if self.service is Service.ANSWERS_OTHERS else FILE.ids
        same = self.held.is_the_image and self.service is not Service.REWRITES
        return gives(ids, SHA if same else "b" * 64)

    def _refusal(self) -> tuple[Held, Fetched] | None:
        match self.service:
            case Service.FORGETS:
                return Held(status=404), Fetched(status=404)
            case Service.ASKS_NOTHING:
                return Held(status=403), Fetched(status=403)
            case Service.HANGS:
                return Held(status=None, loss=Loss.TIMEOUT), Fetched(status=None, loss=Loss.TIMEOUT)
            case _ if self.held is Before.NOTHING:
                return Held(status=404), Fetched(status=404)
            case _:
                return None


def gives(ids: Identifiers, sha256: str) -> Fetched:
    return Fetched(status=200, sha256=sha256, transfer_syntax_uid=ids.transfer_syntax_uid, key=ids.key)


def fate(cell: Cell) -> End:
    """What becomes of the file, as DESIGN 3a has it. Pure."""
    oracle = Oracle(cell.service, cell.held)
    profile = cell.service.profile
    receipt = cell.known.receipt()
    remembered = receipt is not None and receipt.of_bytes(profile) and receipt.service == SERVICE
    if cell.action is Action.RETENTION:
        held = remembered or (receipt is not None and oracle.fetch().sha256 == SHA)
        return End(fate=Fate.REMOVED if held else Fate.KEPT)
    asked = not profile.names_only_new
    absent = oracle.is_absent() if asked else None
    (said,) = dispose(batch(FILE), oracle.store(), profile=profile)
    if isinstance(said, Verify):
        facts = Facts(
            ids=FILE.ids,
            asked=said.asked,
            sha256=SHA,
            policy=DuplicatePolicy.VERIFY,
            profile=profile,
            for_removal=cell.action is Action.DELETE,
            absent_before=absent is True,
            reads=absent is False,
            remembered=remembered,
        )
        said = _asked(facts, oracle)
    return _ended(said, cell)


def _asked(facts: Facts, oracle: Oracle) -> Disposition:
    while isinstance(step := decide(facts), Step):
        match step:
            case Step.SEARCH:
                facts = replace(facts, searched=True, shows=oracle.shows())
            case Step.METADATA:
                facts = replace(facts, held=oracle.metadata(), own=OWN)
            case Step.FETCH:
                facts = replace(facts, fetched=oracle.fetch())
    return step


def _ended(said: Disposition, cell: Cell) -> End:
    match said:
        case Stored(proof=proof) | StoredWithWarning(proof=proof) | AlreadyStored(proof=proof):
            removed = cell.action is Action.DELETE and proof.for_removal
            return End(fate=Fate.REMOVED if removed else Fate.DONE, proof=proof)
        case Quarantine():
            return End(fate=Fate.CONFLICT)
        case Retry(asked=None):
            return End(fate=Fate.AGAIN)
        case Retry():
            return End(fate=Fate.ASKED)
        case _:
            raise ValueError(f"no end: {said}")


def cells() -> list[Cell]:
    return [
        Cell(service=service, held=held, known=known, action=action)
        for service in Service
        for held in Before
        for known in Known
        for action in Action
    ]
