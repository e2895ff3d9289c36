"""Writers that claim room, pause, come back and die, on real file systems, against a daemon of the same user, of another without
any capability, and of another with CAP_LEASE, that moves or removes: never is a part sent as a whole but in the cells that
writer_fates.py names, and never is a byte lost (DESIGN 2, settle).

All writers write at the same time into the inboxes of one file system, a virus scanner reads everything they have so far, and the
service keeps every version that ever arrived. `INGESTD_TEST_WRITERS_SCALE=15` is a long run by hand.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import pytest
from fakes import disks
from fakes.disks import KINDS
from fakes.hostile_server import hostile
from fakes.scripted_origin import ScriptedOrigin
from fakes.writer_fates import ENDS, WAYS, Cell, exempt, here, wrong
from fakes.writer_house import ACTIONS, LONG, USERS, Desk, WriterHouse, write_beside

pytestmark = pytest.mark.timeout(3 * LONG)  # one fixture waits for them all
Written = Mapping[tuple[str, str], Mapping[tuple[str, str], Cell]]


@pytest.fixture(scope="module", params=KINDS)
def written(request: pytest.FixtureRequest, real: Callable[..., None]) -> Iterator[Written]:
    """By user and action: the daemons side by side on one disk; nearly all of it is waiting."""
    real("mount", "umount", "setpriv", "mkfs.ext4", "mkfs.ext2", "mkfs.xfs", "mkfs.btrfs")
    if os.geteuid():
        pytest.skip("needs root: it mounts file systems")
    with ExitStack() as stack:
        folder = stack.enter_context(disks.disk(request.param))
        stack.enter_context(disks.entered(folder))
        desks = {cell: a_desk(stack, folder, request.param, *cell) for cell in product(USERS, ACTIONS)}
        write_beside(list(desks.values()), folder / "sources")
        yield {cell: desk.cells() for cell, desk in desks.items()}


def a_desk(stack: ExitStack, folder: Path, kind: str, user: str, action: str) -> Desk:
    service = ScriptedOrigin()
    server = stack.enter_context(hostile(service))
    name = f"{user} {action}".replace(" ", "-")
    home = WriterHouse(folder / name, server.url, user=user, action=action)
    stack.callback(home.close)
    os.chown(home.inbox, 0, 0)  # the owner of what is linked in owns the folder, or the link would be a stranger's
    (beside := folder / f"beside-{name}").mkdir()
    return Desk(
        home=home,
        service=service,
        sight=here(kind, user),
        action=action,
        ways=WAYS,
        door=str(home.inbox),
        beside=beside,
        behind=home.inbox,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("user", "action"), list(product(USERS, ACTIONS)))
def test_no_part_is_sent_as_a_whole_and_no_byte_is_lost(written: Written, user: str, action: str) -> None:
    """I1, I2, I3, F4, F16, F17, F18, F75, F76: what is finished is sent whole and once, and removed on nothing less; what never is
    stays where a person finds it, with the reason."""
    lines = wrong(written[user, action])
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize(("kind", "user"), list(product(KINDS, USERS)))
def test_the_exempt_cells_are_those_that_the_rule_leaves(kind: str, user: str) -> None:
    """I2, DESIGN 2: zeros that were written over all of it first, and what ext2 takes for such: of a dead writer, of one that
    opens for each block, of one that does not show."""
    zeros, anew = "keeps, zeros", "reopens, zeros"
    right = {(zeros, "dies"), (anew, "dies")}
    if kind == "ext2":
        right |= {("keeps, fallocate", "dies"), ("reopens, fallocate", "dies")}
    elif user == "another user":
        right |= {(anew, "pauses 5 s"), (anew, "pauses 90 s"), (zeros, "pauses 90 s")}
    elif kind == "overlay":
        right |= {(anew, "pauses 5 s"), (anew, "pauses 90 s")}
    else:
        right |= {(anew, "finishes"), (anew, "pauses 5 s"), (anew, "pauses 90 s")}
    cells = product(WAYS, ENDS.items())
    sight = here(kind, user)
    assert {(way, end) for way, (end, pause) in cells if exempt(sight, way, dies=end == "dies", stalled=pause)} == right
