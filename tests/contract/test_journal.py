"""The port Journal, on SQLite and on the fake."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.spool_fakes import FakeJournal

from ingestd.core.model import Deferral, Identifiers, Stamp, Wait
from ingestd.core.outcome import Outcome
from ingestd.core.ports import Journal
from ingestd.core.record import Changes, Receipt
from ingestd.spool.journal import SqliteJournal

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


def test_an_absent_value_stays_absent(reopened: Callable[[], Journal]) -> None:
    bare = replace(RECEIPT, http_status=None, reason=None, retrieve_url=None)
    reopened().commit(Changes(receipts=(bare,)))
    assert reopened().receipt(IDS) == bare


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
