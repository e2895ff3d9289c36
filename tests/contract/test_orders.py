"""The port Orders, on files in the state folder and on the fake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.spool_fakes import FakeOrders

from ingestd.core.model import Stamp
from ingestd.core.ports import Orders
from ingestd.spool.memory.orders import FileOrders, Order

HERE = Stamp(device=1, inode=2, size=3, mtime_ns=4, ctime_ns=5)
World = FileOrders | FakeOrders


@pytest.fixture(params=["real", "fake"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return FileOrders(tmp_path) if request.param == "real" else FakeOrders()


def test_the_brake_is_on_until_a_person_takes_it_off(world: World) -> None:
    """Design 3, the brake."""
    orders: Orders = world
    assert orders.braked() is None
    orders.brake("50 in a row were refused")
    assert orders.braked() == "50 in a row were refused"
    world.release()
    assert orders.braked() is None
    world.release()
    assert orders.braked() is None


def test_a_brake_that_is_on_keeps_its_first_reason(world: World) -> None:
    """Why it came on is what a person must know, not why it would have come on again."""
    world.brake("first")
    world.brake("second")
    assert world.braked() == "first"
    world.release()
    world.brake("third")
    assert world.braked() == "third"


def test_an_order_is_for_one_file_until_it_is_carried_out(world: World) -> None:
    """`failed retry --replace`; the ctime is the move's own."""
    assert not world.replaces("a.dcm", HERE)
    world.order("a.dcm", HERE, [Order.REPLACE])
    assert world.replaces("a.dcm", replace(HERE, ctime_ns=99))
    assert world.replaces("a.dcm", HERE)
    world.replaced("a.dcm", replace(HERE, ctime_ns=98))
    assert not world.replaces("a.dcm", HERE)


@pytest.mark.parametrize(
    "other",
    [
        lambda: ("b.dcm", HERE),
        lambda: ("a.dcm", replace(HERE, device=9)),
        lambda: ("a.dcm", replace(HERE, inode=9)),
        lambda: ("a.dcm", replace(HERE, size=9)),
        lambda: ("a.dcm", replace(HERE, mtime_ns=9)),
    ],
)
def test_no_other_file_has_the_order(world: World, other: Callable[[], tuple[str, Stamp]]) -> None:
    """Whatever comes later under that path, or with that inode, was not what the person chose."""
    world.order("a.dcm", HERE, [Order.REPLACE])
    assert not world.replaces(*other())
    world.replaced(*other())
    assert world.replaces("a.dcm", HERE)


def test_each_kind_of_order_is_its_own_and_a_later_command_voids_the_others(world: World) -> None:
    """`failed retry --as-is` orders nothing about a conflict, and the other way round; both may be given at once."""
    world.order("a.dcm", HERE, [Order.AS_IS])
    assert (world.replaces("a.dcm", HERE), world.as_is("a.dcm", replace(HERE, ctime_ns=9))) == (False, True)
    world.order("a.dcm", HERE, [Order.REPLACE])
    assert (world.replaces("a.dcm", HERE), world.as_is("a.dcm", HERE)) == (True, False)
    world.order("a.dcm", HERE, list(Order))
    assert (world.replaces("a.dcm", HERE), world.as_is("a.dcm", HERE)) == (True, True)
    assert not world.as_is("a.dcm", replace(HERE, mtime_ns=9))
    world.replaced("a.dcm", HERE)
    assert (world.replaces("a.dcm", HERE), world.as_is("a.dcm", HERE)) == (False, False)


def test_carrying_out_what_nobody_ordered_is_nothing(world: World) -> None:
    """The daemon says it of every file that has ended."""
    world.replaced("a.dcm", HERE)
    assert not world.replaces("a.dcm", HERE)
