"""`failed retry --as-is`: what a person's word stands for, and what it can't."""

from __future__ import annotations

import pytest
from fakes.values import inspection, look, settle_rules

from ingestd.core.answers.reasons import Wholeness
from ingestd.core.model import Evidence, Inspection, Lease, Look, Room
from ingestd.core.settle import Judged, LookAgain, Past, SetAside, Settled, Settling, as_is, on_a_word, settle

SENT = Settled(evidence=Evidence.OVERDUE)


def judged(seen: Look, found: Inspection, *, looks: int, unchanged: float) -> Settling:
    past = Past(looks=looks, unchanged=unchanged, age=unchanged + 60)
    return on_a_word(settle(*as_is(seen, found), past=past, rules=settle_rules()))


@pytest.mark.parametrize("wholeness", [one for one in Wholeness if one is not Wholeness.WHOLE])
@pytest.mark.parametrize("room", list(Room))
def test_it_is_settled_as_a_whole_file_is(wholeness: Wholeness, room: Room) -> None:
    """DESIGN 2: what walk, links or holes refuse goes on a person's word, by lease or two looks; nothing is removed on it."""
    found = inspection(wholeness, ends_in_zeros=True)
    leased = look(lease=Lease.GRANTED, links=2, owner_owns_folder=False, room=room, unfilled=4096, sparse=True)
    assert judged(leased, found, looks=1, unchanged=0) == SENT
    unknown = look(links=2, owner_owns_folder=False, room=room, unfilled=4096, sparse=True)
    assert not isinstance(judged(unknown, found, looks=1, unchanged=0), Settled | Judged)
    assert isinstance(judged(unknown, found, looks=1, unchanged=59), LookAgain)
    assert judged(unknown, found, looks=2, unchanged=60) == SENT


def test_a_file_that_somebody_writes_waits_all_the_same() -> None:
    """F14, F75: who writes it has not finished, whatever a person says about it; with a hole it waits for the close."""
    found = inspection(Wholeness.TRUNCATED)
    assert isinstance(judged(look(lease=Lease.REFUSED), found, looks=2, unchanged=60), SetAside)
    assert judged(look(lease=Lease.REFUSED), found, looks=2, unchanged=900) == on_a_word(
        settle(look(lease=Lease.REFUSED), inspection(), past=Past(looks=2, unchanged=900), rules=settle_rules())
    )
    hollow = look(lease=Lease.REFUSED, room=Room.UNFILLED)
    assert isinstance(judged(hollow, found, looks=2, unchanged=90_000), SetAside)
