"""The port Journal, on SQLite and on the fake."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.spool_fakes import FakeJournal

from ingestd.core.answers.outcome import Outcome
from ingestd.core.answers.proof import DigestKind, Proof
from ingestd.core.model import Asked, Deferral, Identifiers, Stamp, Wait
from ingestd.core.ports import Journal
from ingestd.core.record import Changes, Receipt, SecondLook, Stray
from ingestd.spool.memory.journal import SqliteJournal

IDS = Identifiers(
    study_uid="1.2.3",
    series_uid="1.2.3.4",
    sop_instance_uid="1.2.3.4.5",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
)
STAMP = Stamp(device=2**64 - 1, inode=2**64 - 2, size=5 << 30, mtime_ns=-1, ctime_ns=1767323045_000000001)
RECEIPT = Receipt(
    stored_at=1767323045.25,
    study_uid="1.2.3",
    series_uid="1.2.3.4",
    sop_instance_uid="1.2.3.4.5",
    size=5 << 30,
    sha256="ab" * 32,
    path=os.fsdecode(b"study/\xff\xfe.dcm"),
    outcome=Outcome.STORED_WITH_WARNING,
    http_status=200,
    reason=45056,
    retrieve_url="https://example.org/v2/studies/1.2.3",
    service="https://example.org/partitions/p",
    proof=Proof.ASKED,
    digest_kind=DigestKind.DATA_SET,
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    data_set_bytes=(5 << 30) - 2**20,
    mtime_ns=-1,
)
DEFERRAL = Deferral(
    path=os.fsdecode(b"study/\xff\xfe.dcm"),
    stamp=STAMP,
    wait=Wait.INCOMPLETE,
    due_at=100.5,
    first_seen=10.25,
    since=20.75,
    attempts=3,
    counted=2,
    last_receipt=7,
    unfinished=True,
    stored=True,
    asked=Asked.UNNAMED,
    deleted=True,
)
STRAY = Stray(place=os.fsdecode(b"a/\xff.dcm"), folder="done", stamp=STAMP, path=os.fsdecode(b"\xfe.dcm"), since=30.5)
SECOND_LOOK = SecondLook(
    place=os.fsdecode(b"a/\xff.dcm"), stamp=STAMP, path=os.fsdecode(b"\xfe.dcm"), due_at=30.5, remove=True
)


@pytest.fixture(params=["real", "fake"])
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Journal]]:
    """Opens the journal; again, what was committed is still there."""
    fake = FakeJournal()
    opened: list[Journal] = []

    def open_again() -> Journal:
        for journal in opened:
            journal.close()
        opened.append(SqliteJournal(tmp_path) if request.param == "real" else fake)
        return opened[-1]

    yield open_again
    opened[-1].close()


def test_a_new_journal_knows_nothing(reopened: Callable[[], Journal]) -> None:
    journal = reopened()
    assert (journal.last_receipt, journal.deferral("a.dcm"), journal.receipt(IDS)) == (0, None, None)
    assert (list(journal.due(1e12, 10)), dict(journal.waiting())) == ([], {})


def test_what_was_committed_is_remembered_exactly(reopened: Callable[[], Journal]) -> None:
    """I5; F29: paths of any bytes."""
    reopened().commit(Changes(receipts=(RECEIPT,), deferrals=(DEFERRAL,)))
    journal = reopened()
    assert journal.receipt(IDS) == RECEIPT
    assert journal.deferral(DEFERRAL.path) == DEFERRAL
    assert journal.last_receipt == 1


@pytest.mark.parametrize("proof", list(Proof))
def test_it_knows_whether_the_service_has_let_itself_be_read(reopened: Callable[[], Journal], proof: Proof) -> None:
    """I2: a receipt that something read led to, of this service and no other."""
    journal = reopened()
    service = str(RECEIPT.service)
    assert not journal.has_read(service)
    journal.commit(Changes(receipts=(replace(RECEIPT, proof=proof),)))
    assert journal.has_read(service) is (proof not in (Proof.NEW, Proof.WORD))
    assert not journal.has_read("https://example.org/partitions/other")


def test_receipts_that_rest_on_a_service_s_word_are_found_one_after_another(reopened: Callable[[], Journal]) -> None:
    """I2: those of this service that nothing later replaces."""
    journal = reopened()
    service = str(RECEIPT.service)
    uids = [f"1.2.3.4.{n}" for n in range(6)]
    word = [replace(RECEIPT, sop_instance_uid=uid, proof=Proof.WORD) for uid in uids]
    word[0] = replace(word[0], proof=Proof.ASKED)
    word[2] = replace(word[2], service="https://example.org/other")
    journal.commit(Changes(receipts=(*word, replace(word[3], proof=Proof.FETCHED))))
    found, number = [], 0
    for _ in range(9):
        number, receipt = journal.on_word(service, after=number)
        found.append(receipt and receipt.sop_instance_uid)
    assert found == [uids[1], uids[4], uids[5], *([None] * 6)]
    journal.commit(Changes(receipts=(replace(word[1], sop_instance_uid="1.2.9"),)))
    assert journal.on_word(service, after=number)[1] == replace(word[1], sop_instance_uid="1.2.9")


def test_an_absent_value_stays_absent(reopened: Callable[[], Journal]) -> None:
    bare = Receipt(
        stored_at=1.5,
        study_uid="1.2.3",
        series_uid="1.2.3.4",
        sop_instance_uid="1.2.3.4.5",
        size=1,
        sha256="",
        path="a.dcm",
        outcome=Outcome.ALREADY_STORED,
        http_status=None,
        reason=None,
        retrieve_url=None,
    )
    plain = replace(DEFERRAL, asked=None, deleted=False)
    reopened().commit(Changes(receipts=(bare,), deferrals=(plain,)))
    journal = reopened()
    assert (journal.receipt(IDS), journal.deferral(plain.path)) == (bare, plain)


def test_a_receipt_that_names_no_service_is_of_the_one_its_retrieve_url_names(reopened: Callable[[], Journal]) -> None:
    """F96: receipts of the first kind."""
    journal = reopened()
    journal.commit(Changes(receipts=(replace(RECEIPT, service=None),)))
    assert journal.receipt(IDS) == replace(RECEIPT, service="https://example.org")
    journal.commit(Changes(receipts=(replace(RECEIPT, service=None, retrieve_url="nowhere"),)))
    assert journal.receipt(IDS) == replace(RECEIPT, service=None, retrieve_url="nowhere")


@pytest.mark.parametrize("asked", [None, *Asked])
def test_why_the_service_is_asked_is_remembered(reopened: Callable[[], Journal], asked: Asked | None) -> None:
    """I5: what was to be asked again is never sent for that, after a restart neither."""
    reopened().commit(Changes(deferrals=(replace(DEFERRAL, asked=asked),)))
    assert reopened().due(1e12, 10) == (replace(DEFERRAL, asked=asked),)


def test_strays_are_kept_by_place_until_they_are_back_oldest_first(reopened: Callable[[], Journal]) -> None:
    """F89: the same place below failed/ is another file's."""
    journal = reopened()
    assert list(journal.strays(10)) == []
    younger = replace(STRAY, folder="failed", since=40.0)
    journal.commit(Changes(strays=(younger, STRAY)))
    journal.commit(Changes(strays=(replace(STRAY, path="b.dcm"),)))
    journal = reopened()
    assert list(journal.strays(10)) == [replace(STRAY, path="b.dcm"), younger]
    assert list(journal.strays(1)) == [replace(STRAY, path="b.dcm")]
    journal.commit(Changes(recovered=(("done", STRAY.place), ("done", "never known.dcm"))))
    assert list(journal.strays(10)) == [younger]
    journal.commit(Changes(strays=(younger,), recovered=(("failed", STRAY.place),)))
    assert list(reopened().strays(10)) == [younger]


def test_second_looks_come_when_they_are_due_oldest_first(reopened: Callable[[], Journal]) -> None:
    """F81: what is in done/ without proof is not forgotten by a restart."""
    journal = reopened()
    assert list(journal.second_looks(1e12, 10)) == []
    later = replace(SECOND_LOOK, place="b.dcm", due_at=40.0, remove=False)
    journal.commit(Changes(second_looks=(later, SECOND_LOOK)))
    journal = reopened()
    assert list(journal.second_looks(30.4, 10)) == []
    assert list(journal.second_looks(30.5, 10)) == [SECOND_LOOK]
    assert list(journal.second_looks(40.0, 10)) == [SECOND_LOOK, later]
    assert list(journal.second_looks(40.0, 1)) == [SECOND_LOOK]
    assert list(journal.second_looks(30.5, 10, latest=39.9)) == [SECOND_LOOK, later]  # another clock set it (F13)
    assert list(journal.second_looks(30.5, 10, latest=40.0)) == [SECOND_LOOK]
    journal.commit(Changes(looked=(SECOND_LOOK.place, "never known.dcm")))
    assert list(journal.second_looks(40.0, 10)) == [later]
    journal.commit(Changes(second_looks=(later,), looked=(later.place,)))
    assert list(reopened().second_looks(40.0, 10)) == [later]


def test_the_newest_receipt_counts_and_all_three_uids_name_it(reopened: Callable[[], Journal]) -> None:
    """F36."""
    journal = reopened()
    newer = replace(RECEIPT, sha256="cd" * 32)
    other = replace(RECEIPT, series_uid="9.9", sha256="ef" * 32)
    journal.commit(Changes(receipts=(RECEIPT, newer)))
    journal.commit(Changes(receipts=(other,)))
    assert journal.receipt(IDS) == newer
    assert journal.receipt(replace(IDS, series_uid="9.9")) == other
    assert journal.receipt(replace(IDS, study_uid="9.9")) is None
    assert journal.last_receipt == 3


def test_a_deferral_is_replaced_and_forgotten(reopened: Callable[[], Journal]) -> None:
    journal = reopened()
    again = replace(DEFERRAL, wait=Wait.UNMOVABLE, due_at=200.0)
    journal.commit(Changes(deferrals=(DEFERRAL,)))
    journal.commit(Changes(deferrals=(again,)))
    assert (journal.deferral(DEFERRAL.path), dict(journal.waiting())) == (again, {Wait.UNMOVABLE: 1})
    journal.commit(Changes(forgotten=(DEFERRAL.path, "never known.dcm")))
    assert (journal.deferral(DEFERRAL.path), dict(journal.waiting())) == (None, {})
    assert reopened().deferral(DEFERRAL.path) is None


def test_forgotten_and_deferred_at_once_means_deferred(reopened: Callable[[], Journal]) -> None:
    journal = reopened()
    journal.commit(Changes(deferrals=(DEFERRAL,), forgotten=(DEFERRAL.path,)))
    assert journal.deferral(DEFERRAL.path) == DEFERRAL


def test_what_is_due_comes_oldest_first_and_bounded(reopened: Callable[[], Journal]) -> None:
    """I8."""
    journal = reopened()
    waits = (Wait.INCOMPLETE, Wait.CREATING, Wait.INCOMPLETE, Wait.INCOMPLETE)
    made = [
        replace(DEFERRAL, path=f"{due}.dcm", due_at=due, wait=wait)
        for due, wait in zip((30.0, 10.0, 20.0, 40.0), waits, strict=True)
    ]
    journal.commit(Changes(deferrals=tuple(made)))
    assert [d.path for d in journal.due(30.0, 10)] == ["10.0.dcm", "20.0.dcm", "30.0.dcm"]
    assert [d.path for d in journal.due(30.0, 2)] == ["10.0.dcm", "20.0.dcm"]
    assert list(journal.due(9.0, 10)) == []
    assert dict(journal.waiting()) == {Wait.INCOMPLETE: 3, Wait.CREATING: 1}


def test_nothing_to_commit_is_no_commit(reopened: Callable[[], Journal]) -> None:
    journal = reopened()
    journal.commit(Changes())
    assert journal.last_receipt == 0
