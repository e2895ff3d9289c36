"""Orders and the brake as files: restarts, damage, what a person does by hand, what is left over."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ingestd.core.errors import JournalError
from ingestd.core.model import Stamp
from ingestd.spool.disk import handles
from ingestd.spool.memory.orders import SETTLED_SECONDS, FileOrders, Order


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def stamp(file: Path) -> Stamp:
    return handles.stamp_of(file.stat())


def test_the_brake_survives_a_restart_and_another_process_takes_it_off(state: Path) -> None:
    """Design 3: it survives a restart; `ingestd resume` needs no connection to the daemon."""
    FileOrders(state).brake("50 in a row")
    daemon, command = FileOrders(state), FileOrders(state)
    assert daemon.braked() == "50 in a row"
    assert json.loads((state / "brake.json").read_bytes()) == {"version": 1, "why": "50 in a row"}
    found = command.release()
    assert found is not None
    assert found.why == "50 in a row"
    assert abs(found.since - state.stat().st_mtime) < 60
    assert daemon.braked() is None
    assert command.release() is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"why": 3}', b"[" * 50_000, b"\xff"])
def test_a_damaged_brake_file_is_a_brake(state: Path, content: bytes) -> None:
    """Its presence is the brake: better stopped for nothing than not stopped."""
    (state / "brake.json").write_bytes(content)
    why = FileOrders(state).braked()
    assert why is not None
    assert "brake.json" in why
    assert FileOrders(state).release() is not None


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_whatever_has_the_brake_files_name_is_a_brake_and_is_not_waited_for(
    state: Path, make: Callable[[Path], object]
) -> None:
    """F27: opening a FIFO would block the daemon."""
    make(state / "brake.json")
    orders = FileOrders(state)
    assert "brake.json" in str(orders.braked())
    orders.brake("50 in a row")


def test_why_is_one_line(state: Path) -> None:
    """It stands in a log line and on a page."""
    (state / "brake.json").write_text(json.dumps({"why": "a person\n put it  on"}))
    assert FileOrders(state).braked() == "a person put it on"


def test_what_cannot_be_read_is_as_it_was(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading never raises."""
    orders, elsewhere = FileOrders(state), FileOrders(state)
    one = Stamp(device=1, inode=2, size=3, mtime_ns=4, ctime_ns=5)
    orders.brake("why")
    orders.order("a.dcm", one, [Order.REPLACE])
    assert orders.replaces("a.dcm", one)

    def refuse(*_: object, **__: object) -> os.stat_result:
        raise OSError(5, "I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "stat", refuse)
        assert (orders.braked(), orders.replaces("a.dcm", one)) == ("why", True)
        assert (elsewhere.braked(), elsewhere.replaces("a.dcm", one)) == (None, False)
    assert (elsewhere.braked(), elsewhere.replaces("a.dcm", one)) == ("why", True)


def test_a_state_folder_that_cannot_be_written_is_a_journal_error(state: Path) -> None:
    """The caller decides; the text names no path (I7)."""
    orders = FileOrders(state)
    shutil.rmtree(state)
    one = Stamp(device=1, inode=2, size=3, mtime_ns=4, ctime_ns=5)
    for attempt in (lambda: orders.brake("why"), lambda: orders.order("a.dcm", one, [Order.REPLACE])):
        with pytest.raises(JournalError, match=r"folders\.state") as caught:
            attempt()
        assert os.fspath(state) not in str(caught.value)
    orders.replaced("a.dcm", one)


def test_only_void_orders_are_cleared(state: Path, tmp_path: Path) -> None:
    """I8: an order whose file is gone or has changed goes; one whose file waits in the inbox, or is on its way, stays."""
    inbox = tmp_path / "inbox"
    (inbox / "s").mkdir(parents=True)
    orders = FileOrders(state)
    waiting, changed, gone = inbox / "s" / "waiting.dcm", inbox / "changed.dcm", inbox / "gone.dcm"
    given = {}
    for file in (waiting, changed, gone):
        file.write_bytes(b"old")
        given[file] = stamp(file)
        orders.order(os.fspath(file.relative_to(inbox)), given[file], list(Order))
    changed.write_bytes(b"a new version")
    gone.unlink()
    now = state.stat().st_mtime
    assert orders.clear_void(inbox, now=now + SETTLED_SECONDS / 2) == 0
    assert orders.clear_void(inbox, now=now + 2 * SETTLED_SECONDS) == 4
    assert orders.replaces("s/waiting.dcm", replace(given[waiting], ctime_ns=0))
    assert orders.as_is("s/waiting.dcm", given[waiting])
    assert [len(list((state / kind).iterdir())) for kind in ("replace", "as_is")] == [1, 1]


def test_a_damaged_order_is_void(state: Path, tmp_path: Path) -> None:
    """It names no file that could still wait for it."""
    (state / "replace").mkdir()
    (state / "replace" / "0123").write_bytes(b"{")
    (state / "replace" / "4567").write_text('{"path": "../../etc/passwd"}')
    assert FileOrders(state).clear_void(tmp_path, now=state.stat().st_mtime + 2 * SETTLED_SECONDS) == 2


def test_the_folder_of_orders_goes_with_the_last_one(state: Path) -> None:
    """So that the daemon sees in one look that a stored file had none."""
    orders = FileOrders(state)
    one, other = (Stamp(device=1, inode=inode, size=3, mtime_ns=4, ctime_ns=5) for inode in (2, 3))
    orders.order("a.dcm", one, [Order.AS_IS])
    orders.order("b.dcm", other, [Order.AS_IS])
    orders.replaced("a.dcm", one)
    assert orders.as_is("b.dcm", other)
    orders.replaced("b.dcm", other)
    assert list(state.iterdir()) == []


def test_an_order_is_given_whose_folder_is_just_taken_away(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon carried the last one out between the command's two calls."""
    orders, real = FileOrders(state), handles.open_root
    one = Stamp(device=1, inode=2, size=3, mtime_ns=4, ctime_ns=5)
    taken: list[Path] = []

    def late(folder: Path) -> int:
        if folder.name == "as_is" and not taken:
            taken.append(folder)
            folder.rmdir()
        return real(folder)

    monkeypatch.setattr(handles, "open_root", late)
    orders.order("a.dcm", one, [Order.AS_IS])
    assert taken
    assert orders.as_is("a.dcm", one)


def test_clearing_where_nothing_was_ordered(state: Path, tmp_path: Path) -> None:
    """There is no such folder yet."""
    assert FileOrders(state).clear_void(tmp_path, now=0.0) == 0


def test_the_folder_of_orders_is_as_private_as_the_state_folder(state: Path) -> None:
    """I7: an order names a path."""
    state.chmod(0o750)
    FileOrders(state).order("a.dcm", Stamp(device=1, inode=2, size=3, mtime_ns=4, ctime_ns=5), [Order.REPLACE])
    (order,) = (state / "replace").iterdir()
    assert ((state / "replace").stat().st_mode & 0o777, order.stat().st_mode & 0o777) == (0o750, 0o600)
