"""The second look at what was filed without a proof: what it finds, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from fakes.values import instance, stamp

from ingestd.core.model import Evidence, Stamp
from ingestd.core.record import SecondLook
from ingestd.core.second_look import Found, Looked, SecondLookRules, compare, due, next_look, planned

AFTER = 900.0
FILED = stamp(ctime_ns=5)


def look(*, remove: bool = False) -> SecondLook:
    return SecondLook(place="2026-01-02/a.dcm", stamp=FILED, path="a.dcm", due_at=0.0, remove=remove)


@pytest.mark.parametrize("delete", [True, False])
@pytest.mark.parametrize("sha256", ["a" * 64, None])
@pytest.mark.parametrize("evidence", list(Evidence))
def test_what_was_filed_without_a_proof_is_looked_at_once_more(
    evidence: Evidence, sha256: str | None, delete: bool
) -> None:
    """F77, DESIGN 3a removal: it goes later only if that is wanted, its bytes are proved, and it did not wait the longest time."""
    one = replace(instance(sha256=sha256), evidence=evidence)
    rules = SecondLookRules(after=AFTER, remove=delete)
    found = planned(one, "d/a.dcm", FILED, now=100.0, rules=rules)
    if evidence is Evidence.LEASE:
        assert found is None
        return
    goes = delete and sha256 is not None and evidence is not Evidence.OVERDUE
    assert found == SecondLook(place="d/a.dcm", stamp=FILED, path=one.path, due_at=1000.0, remove=goes)


def test_what_was_written_between_the_send_and_the_first_stamp_shows_as_well() -> None:
    """I4: within a file system size and mtime must be those of what was sent; a copy has its own."""
    one = replace(instance(), evidence=Evidence.CLOSED)
    rules = SecondLookRules(after=AFTER)
    later = replace(FILED, size=2000, mtime_ns=9)
    found = planned(one, "d/a.dcm", later, now=0.0, rules=rules)
    assert found is not None
    assert compare(found, later, refused=False) is Found.CHANGED
    copied = replace(later, device=2)
    found = planned(one, "d/a.dcm", copied, now=0.0, rules=rules)
    assert found is not None
    assert compare(found, copied, refused=False) is Found.SAME


@pytest.mark.parametrize(
    ("change", "refused", "found"),
    [
        (lambda s: s, False, Found.SAME),
        (lambda s: s, True, Found.OPEN),
        (lambda s: replace(s, size=1), False, Found.CHANGED),
        (lambda s: replace(s, mtime_ns=1), True, Found.CHANGED),
        (lambda s: replace(s, ctime_ns=1), False, Found.TOUCHED),
        (lambda s: replace(s, inode=9), False, Found.TOUCHED),
        (lambda s: replace(s, device=9), True, Found.OPEN),
    ],
)
def test_size_and_mtime_tell_of_a_later_write(change: Callable[[Stamp], Stamp], refused: bool, found: Found) -> None:
    """DESIGN 2: chmod, chown and a remounted share move the rest."""
    assert compare(look(), change(FILED), refused=refused) is found


@pytest.mark.parametrize("remove", [True, False])
@pytest.mark.parametrize("found", list(Found))
def test_it_is_looked_at_again_for_as_long_as_that_is_needed(found: Found, remove: bool) -> None:
    """Unknown ends nothing; what is to go must have kept its whole stamp; what was written late is said and over."""
    seen = replace(FILED, ctime_ns=7)
    after = next_look(Looked(look=look(remove=remove), found=found, seen=seen), now=50.0, after=AFTER)
    if found in (Found.OPEN, Found.UNKNOWN):
        assert after == replace(look(remove=remove), due_at=950.0)
    elif found is Found.TOUCHED and remove:
        assert after == replace(look(remove=True), stamp=seen, due_at=950.0)
    else:
        assert after is None


def test_what_is_late_is_what_the_service_may_hold_an_earlier_state_of() -> None:
    """These are noted, and no others."""
    assert {found for found in Found if found.is_late} == {Found.CHANGED, Found.OPEN}


@pytest.mark.parametrize(
    ("due_at", "is_due"),
    [(100_000.0, True), (99_999.0, True), (13_600.0, True), (13_599.0, False), (100_001.0, False), (1e9, False)],
)
def test_a_due_time_of_a_clock_of_another_day_is_not_believed(due_at: float, is_due: bool) -> None:
    """F13, F91: it says nothing about how long the file has rested, so the look is planned anew."""
    one = replace(look(), due_at=due_at)
    assert due(one, now=100_000.0, after=AFTER) == (None if is_due else replace(one, due_at=100_900.0))
