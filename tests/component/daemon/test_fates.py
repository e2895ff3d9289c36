"""The real daemon and the real retention end every cell of docs/answers.md's table as it says (I1 to I3, F78 to F88)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import pytest
from fakes.bodies_fake import digest
from fakes.daemon_bench import Bench
from fakes.fates import ANOTHER, Action, Before, Cell, End, Fate, Known, Oracle, Service, cells, fate
from fakes.spool_fakes import FakeInbox, part10, settled
from fakes.values import SERVICE, SHA

from ingestd.core.answers.answer import Answer, Fetched, Held, Listed
from ingestd.core.answers.proof import DigestKind
from ingestd.core.answers.reasons import Reason
from ingestd.core.model import Identifiers, Instance
from ingestd.core.record import Receipt
from ingestd.part10.views import BytesSource
from ingestd.part10.walk import walk
from ingestd.spool.upkeep.proving import Proving

CONTENT = part10()
NAME = "a.dcm"


def real(found: Fetched) -> Fetched:
    """With the digest of the file that is dropped."""
    return replace(found, sha256=digest(CONTENT)) if found.sha256 == SHA else found


def receipt_for(known: Known) -> Receipt | None:
    found = known.receipt()
    if found is None:
        return None
    old = found.digest_kind is DigestKind.FROM_128
    sha256 = hashlib.sha256(CONTENT[128:]).hexdigest() if old else digest(CONTENT)
    return replace(found, sha256=sha256, path="before.dcm")


class OracleOrigin:
    """ports.Origin before an oracle."""

    def __init__(self, oracle: Oracle, own: dict[str, tuple[str, ...]]) -> None:
        self._oracle = oracle
        self._own = own
        self.stores = 0
        self.problem: str | None = None
        self.silent_seconds = 0.0
        self.date = None

    def store(self, instances: Sequence[Instance]) -> Answer:
        self.stores += 1
        (one,) = instances
        return replace(self._oracle.store(), digests=(digest(CONTENT),), sent_bytes=one.size)

    def control(self) -> Answer:
        return Answer(status=204)

    def metadata(self, ids: Identifiers) -> Held:
        held = self._oracle.metadata()
        if held.elements is None:
            return held
        return replace(held, elements={tag: held.elements.get(tag, value) for tag, value in self._own.items()})

    def fetch(self, ids: Identifiers) -> Fetched:
        return real(self._oracle.fetch())

    def listed(self, study_uid: str, series_uids: Sequence[str]) -> Listed:
        absent = self._oracle.is_absent()
        if absent is None:
            return Listed(answered=False)
        return Listed(answered=True, absent=absent, series={} if absent else dict.fromkeys(series_uids, IDS_THERE))

    def shows(self, ids: Identifiers) -> bool | None:
        return self._oracle.shows()

    def replace(self, instance: Instance) -> Answer:
        raise AssertionError("nothing is to be replaced")

    def abort(self) -> None: ...
    def close(self) -> None: ...


IDS_THERE = frozenset({"1.2.3.4.5"})


class Ports:
    """What Bench takes instead of its own fakes."""

    def __init__(self, cell: Cell) -> None:
        bench = Bench()
        self.clock, self.wake, self.scanner = bench.clock, bench.wake, bench.scanner
        self.inbox: FakeInbox = bench.inbox
        self.journal, self.filer = bench.journal, bench.filer
        self.inbox.put(NAME, CONTENT, leased=True)
        own = self.inbox.elements(settled(self.inbox, NAME))
        self.inbox.remove(NAME)
        self.origin = OracleOrigin(Oracle(cell.service, cell.held), own)


def ended(cell: Cell) -> End:
    ports = Ports(cell)
    bench = Bench(ports=ports, profile=cell.service.profile, for_removal=cell.action is Action.DELETE, patience=3600.0)
    if (receipt := receipt_for(cell.known)) is not None:
        bench.journal.receipts.append(receipt)
    before = len(bench.journal.receipts)
    bench.drop(NAME, CONTENT)
    bench.tick(20)
    if bench.filer.failed:
        assert bench.filer.verdicts[NAME].quarantine.reason is Reason.CONFLICT
        return End(fate=Fate.CONFLICT)
    if bench.filer.done:
        ((_, proved),) = bench.filer.proved.items()
        (new,) = bench.journal.receipts[before:]
        assert new.service == SERVICE
        removed = proved and cell.action is Action.DELETE
        return End(fate=Fate.REMOVED if removed else Fate.DONE, proof=new.proof)
    assert NAME in bench.inbox.files
    return End(fate=Fate.AGAIN if bench.journal.deferrals[NAME].asked is None else Fate.ASKED)


@pytest.mark.parametrize("service", Service, ids=lambda service: service.name.lower())
def test_the_daemon_ends_every_file_as_the_table_says(service: Service) -> None:
    """I2, I3, F78, F79, F80, F81, F88: done/ on a proof, failed/ on other bytes, the inbox on no answer; and it is said which."""
    for cell in cells():
        if cell.service is service and cell.action is not Action.RETENTION:
            assert (cell, ended(cell)) == (cell, fate(cell))


def test_retention_removes_what_the_table_says() -> None:
    """I1, F79: nothing goes that is not proved to be held, or to have been given back byte for byte."""
    for cell in cells():
        receipt = receipt_for(cell.known)
        if cell.action is not Action.RETENTION or receipt is None:
            continue
        oracle = Oracle(cell.service, cell.held)
        proving = Proving(
            profile=cell.service.profile, service=SERVICE, fetch=lambda ids, oracle=oracle: real(oracle.fetch())
        )
        handle = os.memfd_create("filed")
        try:
            os.write(handle, CONTENT)
            steps = proving.proves(receipt, handle, walk(BytesSource(CONTENT), len(CONTENT)))
            proved = result_of(steps)
        finally:
            os.close(handle)
        assert (cell, Fate.REMOVED if proved else Fate.KEPT) == (cell, fate(cell).fate)


def result_of(steps: object) -> bool:
    while True:
        try:
            next(steps)  # type: ignore[call-overload]
        except StopIteration as end:
            return bool(end.value)


# What the table itself must keep.


def test_nothing_goes_for_good_but_on_the_services_bytes() -> None:
    """I1, F81: in the very moment of the removal the service gives the file's bytes back, or named them as new."""
    for cell in cells():
        end = fate(cell)
        if end.fate is Fate.REMOVED and cell.action is Action.DELETE:
            assert end.proof is not None
            assert end.proof.for_removal
            assert cell.held.is_the_image or cell.held is Before.NOTHING


def test_a_conflict_is_only_where_others_are_held() -> None:
    """I3."""
    for cell in cells():
        if fate(cell).fate is Fate.CONFLICT:
            assert cell.held in (Before.PIXELS, Before.PATIENT, Before.HALF)


def test_other_bytes_are_filed_only_on_a_word_or_on_what_was_held_before() -> None:
    """I2, F78: the limits, which docs/answers.md names."""
    others = (Before.PIXELS, Before.PATIENT, Before.HALF)
    filed = {
        (cell.service, fate(cell).proof, cell.known)
        for cell in cells()
        if cell.held in others and fate(cell).fate is Fate.DONE
    }
    for service, proof, known in filed:
        assert proof is not None
        match proof.value:
            case "remembered":
                assert known in (Known.OURS, Known.OLD)
            case "word":
                assert service in (Service.ASKS_NOTHING, Service.HANGS)
            case "seen":
                assert service is Service.REWRITES
            case other:
                pytest.fail(other)


def test_answers_about_others_decide_nothing() -> None:
    """F80: 120 of 120 went into done/, 120 of 120 into failed/."""
    ends = {
        fate(cell).fate
        for cell in cells()
        if cell.service is Service.ANSWERS_OTHERS and cell.action is not Action.RETENTION
    }
    assert ends == {Fate.ASKED}
    assert ANOTHER.sop_instance_uid not in chain(IDS_THERE)
