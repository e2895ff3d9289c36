"""Every cut of every kind of file (F17): 164 whole files, some 330,000 cuts, one verdict each.

The walk calls a cut file whole only where nothing in it shows the cut, and those places are named here beforehand, by a reader that
shares nothing with the walk: between two top-level elements of an object that needs no pixel data, or whose pixel data is already
there, or whose class may lack it. `python tests/bench/cuts.py` prints them by file, with pydicom's verdict beside the walk's.
"""

from __future__ import annotations

import pytest
from fakes.part10_cuts import campaign, whole_files
from fakes.part10_files import MADE
from fakes.part10_verdicts import SENDABLE, verdict

from ingestd.core.answers.reasons import Wholeness
from ingestd.core.model import Evidence, Ground, Inspection, Lease, Look, Room, Stamp
from ingestd.core.settle import Past, SetAside, Settled, SettleRules, settle

FILES = dict(whole_files())
NAMED = {Wholeness.TRUNCATED, Wholeness.NO_PIXEL_DATA, Wholeness.NOT_DICOM}
RULES = SettleRules(quiet_seconds=2, network_quiet_seconds=60, incomplete_timeout_seconds=900)


def test_there_are_files_enough() -> None:
    """Issue: at least 60, one in each transfer syntax among them."""
    assert len(FILES) >= 160
    assert len({made.syntax for made in MADE}) >= 60


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_each_cut_is_seen_but_where_nothing_shows_it(name: str) -> None:
    """F17: at every offset up to 4 KiB, at every element boundary at any depth, and at 200 random places."""
    done = campaign(name, FILES[name])
    assert verdict(done.content) is Wholeness.WHOLE
    assert done.sent == set(done.blind)
    assert set(done.counts) - NAMED - set(SENDABLE) == set()


def look(size: int) -> Look:
    stamp = Stamp(device=1, inode=1, size=size, mtime_ns=size, ctime_ns=size)
    ground = Ground(kind="ext4", leases=True, holes=True, unwritten=True, extents=True, ctimes=True, complete=True)
    return Look(stamp=stamp, links=1, lease=Lease.UNKNOWN, room=Room.FILLED, owner_owns_folder=True, ground=ground)


def test_settling_holds_back_a_blind_cut_while_its_writer_goes_on() -> None:
    """F14, F15, F17: a report that is written element by element passes through every blind cut.

    The walk calls each of them whole, so settling alone keeps them from being sent. While the writer has the file open no lease is
    granted; and each write makes another stamp, so that the quiet time begins anew: where leases say nothing, a writer that pauses
    for less than `network_quiet_seconds` between two writes is never taken in the middle. What is left is one that pauses for
    longer at exactly such a place, or dies there, or closes the file there: its part is sent, and when it grows the whole is judged
    again and is a conflict with what was stored, never silently "already stored".
    """
    done = campaign("SR", FILES["SR, undefined lengths"])
    assert done.blind
    for cut in done.blind:
        found = Inspection(wholeness=done.cuts[cut])
        for looks, unchanged in ((1, 0.0), (2, 1.9), (2, 57.9)):
            held = settle(look(cut), found, past=Past(looks=looks, unchanged=unchanged), rules=RULES)
            assert isinstance(held, SetAside)
        paused = settle(look(cut), found, past=Past(looks=2, unchanged=60.0), rules=RULES)
        assert paused == Settled(evidence=Evidence.QUIET)
