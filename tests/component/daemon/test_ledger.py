"""What the daemon has still to write: the last word about a place counts, and none is lost while the journal can't be written."""

from __future__ import annotations

from fakes.ops_fakes import FakeClock, FakeRecorder
from fakes.spool_fakes import FakeJournal
from fakes.values import stamp

from ingestd.core.errors import JournalError
from ingestd.core.record import SecondLook, Stray
from ingestd.daemon.ending.ledger import Ledger

STRAY = Stray(place="a.dcm", folder="done", stamp=stamp(), path="a.dcm", since=1.0)
LOOK = SecondLook(place="a.dcm", stamp=stamp(), path="a.dcm", due_at=1.0, remove=True)


def test_strays_and_second_looks_wait_for_a_journal_that_cannot_be_written() -> None:
    """F89, F39, I5: and they are written once."""
    clock, journal = FakeClock(), FakeJournal()
    ledger = Ledger(clock=clock, journal=journal, recorder=FakeRecorder())
    journal.problem = JournalError("its disk is full")
    ledger.stray(STRAY)
    ledger.second_look(LOOK)
    assert not ledger.commit()
    journal.problem = None
    clock.advance(10.0)
    assert ledger.commit()
    assert (journal.strays(10), journal.second_looks(1.0, 10)) == ((STRAY,), (LOOK,))
    assert ledger.commit()
    assert len(journal.commits) == 1


def test_the_last_word_about_a_place_counts() -> None:
    """F89: what is back is not put back again; what strays once more is."""
    journal = FakeJournal()
    ledger = Ledger(clock=FakeClock(), journal=journal, recorder=FakeRecorder())
    ledger.stray(STRAY)
    ledger.recovered("done", "a.dcm")
    ledger.second_look(LOOK)
    ledger.looked("a.dcm")
    assert ledger.commit()
    assert (journal.strays(10), journal.second_looks(1.0, 10)) == ((), ())
    assert (journal.commits[0].strays, journal.commits[0].second_looks) == ((), ())
    ledger.recovered("done", "a.dcm")
    ledger.stray(STRAY)
    ledger.looked("a.dcm")
    ledger.second_look(LOOK)
    assert ledger.commit()
    assert (journal.strays(10), journal.second_looks(1.0, 10)) == ((STRAY,), (LOOK,))
    assert (journal.commits[1].recovered, journal.commits[1].looked) == ((), ())
