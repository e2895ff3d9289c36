"""The journal and the state lock on a real disk: damage, versions, full disks, kills."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ingestd.core.errors import ConfigurationError, JournalError, StateHeldError
from ingestd.core.model import Deferral, Identifiers, Stamp, Wait
from ingestd.core.outcome import Outcome
from ingestd.core.record import Changes, Receipt
from ingestd.spool import state as state_module
from ingestd.spool.journal import SqliteJournal, StateLock
from ingestd.spool.journal_file import set_aside

IDS = Identifiers(
    study_uid="1.2", series_uid="1.3", sop_instance_uid="1.4", sop_class_uid="1.5", transfer_syntax_uid="1.6"
)
RECEIPT = Receipt(
    stored_at=1.0,
    study_uid="1.2",
    series_uid="1.3",
    sop_instance_uid="1.4",
    size=5,
    sha256="ab" * 32,
    path="a.dcm",
    outcome=Outcome.STORED,
    http_status=200,
    reason=None,
    retrieve_url=None,
)
DEFERRAL = Deferral(
    path="a.dcm",
    stamp=Stamp(device=1, inode=2, size=3, mtime_ns=4, ctime_ns=5),
    wait=Wait.INCOMPLETE,
    due_at=1.0,
    first_seen=1.0,
    since=1.0,
)
FILE = "journal.sqlite"


def filled(state: Path, receipts: int = 1) -> None:
    journal = SqliteJournal(state)
    journal.commit(Changes(receipts=(RECEIPT,) * receipts, deferrals=(DEFERRAL,)))
    journal.close()


def changed(state: Path, statement: str) -> None:
    connection = sqlite3.connect(state / FILE)
    connection.execute(statement)
    connection.commit()
    connection.close()


def overwritten(state: Path, at: int, length: int, byte: bytes = b"\xa5") -> None:
    with (state / FILE).open("r+b") as file:
        file.seek(at)
        file.write(byte * length)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "not SQLite": lambda state: (state / FILE).write_bytes(b"no database at all, but long enough to be one " * 100),
    "cut": lambda state: os.truncate(state / FILE, 5000),
    "first page": lambda state: overwritten(state, 100, 900),
    "newer version": lambda state: changed(state, "PRAGMA user_version = 2"),
    "another program's": lambda state: changed(state, "PRAGMA user_version = 0"),
    "a table is missing": lambda state: changed(state, "DROP TABLE deferrals"),
    "a column is missing": lambda state: changed(state, "ALTER TABLE receipts DROP COLUMN retrieve_url"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_journal_that_cannot_be_read_is_set_aside_and_begun_anew(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    """F42, F73, I5."""
    filled(tmp_path)
    damage(tmp_path)
    before = (tmp_path / FILE).read_bytes()
    journal = SqliteJournal(tmp_path)
    assert journal.set_aside
    assert (journal.last_receipt, journal.deferral("a.dcm")) == (0, None)
    journal.commit(Changes(receipts=(RECEIPT,)))
    journal.close()
    assert (tmp_path / f"{FILE}.damaged-1").read_bytes() == before
    again = SqliteJournal(tmp_path)
    assert (again.set_aside, again.receipt(IDS)) == (False, RECEIPT)
    again.close()


def test_an_empty_or_missing_journal_is_a_new_one(tmp_path: Path) -> None:
    """F42: zero bytes are what a power failure leaves."""
    (tmp_path / FILE).touch()
    journal = SqliteJournal(tmp_path)
    assert (journal.set_aside, journal.last_receipt) == (False, 0)
    journal.close()


def test_each_damaged_journal_is_kept(tmp_path: Path) -> None:
    """F42."""
    for _ in range(3):
        (tmp_path / FILE).write_bytes(b"x" * 5000)
        SqliteJournal(tmp_path).close()
    assert len(list(tmp_path.glob(f"{FILE}.damaged-*"))) == 3


def test_its_log_is_set_aside_with_it(tmp_path: Path) -> None:
    """F42: a log must never meet another journal."""
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"{FILE}{suffix}").write_text(suffix)
    (tmp_path / f"{FILE}.damaged-1-wal").touch()
    set_aside(tmp_path)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        f"{FILE}.damaged-1-wal": "",
        f"{FILE}.damaged-2": "",
        f"{FILE}.damaged-2-wal": "-wal",
    }


def test_damage_that_shows_later_is_set_aside_then(tmp_path: Path) -> None:
    """F42: what the tick wanted to write is written into the new one."""
    filled(tmp_path, receipts=2000)
    size = (tmp_path / FILE).stat().st_size
    overwritten(tmp_path, 16 * 4096, size - 16 * 4096)
    journal = SqliteJournal(tmp_path)
    assert not journal.set_aside
    assert journal.receipt(IDS) is None
    assert journal.set_aside
    journal.commit(Changes(receipts=(RECEIPT,), deferrals=(DEFERRAL,)))
    assert (journal.receipt(IDS), journal.deferral("a.dcm"), journal.last_receipt) == (RECEIPT, DEFERRAL, 1)
    journal.close()
    assert (tmp_path / f"{FILE}.damaged-1").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE deferrals SET wait = 'a kind of tomorrow'",
        "UPDATE deferrals SET stamp = '1 2 3'",
        "UPDATE deferrals SET stamp = 5",
        "UPDATE deferrals SET stamp = CAST(x'ff' AS TEXT)",
    ],
)
def test_a_row_that_no_version_wrote_is_damage(tmp_path: Path, statement: str) -> None:
    """F42, F73."""
    filled(tmp_path)
    changed(tmp_path, statement)
    journal = SqliteJournal(tmp_path)
    assert journal.deferral("a.dcm") is None
    assert list(journal.due(10.0, 10)) == []
    assert (journal.set_aside, dict(journal.waiting())) == (True, {})
    journal.close()


def test_a_commit_survives_a_kill(tmp_path: Path) -> None:
    """F37: durable when commit returns, with nothing closed."""
    program = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_journal_disk import SqliteJournal, Changes, RECEIPT, DEFERRAL
journal = SqliteJournal(Path(sys.argv[1]))
journal.commit(Changes(receipts=(RECEIPT,), deferrals=(DEFERRAL,)))
os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    journal = SqliteJournal(tmp_path)
    assert (journal.receipt(IDS), journal.deferral("a.dcm"), journal.set_aside) == (RECEIPT, DEFERRAL, False)
    journal.close()


def test_a_commit_is_all_or_nothing(tmp_path: Path) -> None:
    """F39: what could not be written is no part of the next transaction either."""
    journal = SqliteJournal(tmp_path)
    journal._connection.execute(
        "CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.receipts WHEN new.path = CAST('bad' AS BLOB) "
        "BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with pytest.raises(JournalError):
        journal.commit(Changes(receipts=(RECEIPT, replace(RECEIPT, path="bad")), deferrals=(DEFERRAL,)))
    assert (journal.last_receipt, journal.receipt(IDS), journal.deferral("a.dcm")) == (0, None, None)
    journal.commit(Changes(deferrals=(DEFERRAL,)))
    assert (journal.deferral("a.dcm"), journal.receipt(IDS)) == (DEFERRAL, None)
    journal.close()


def test_a_full_disk_says_so_and_recovers(tmp_path: Path) -> None:
    """F39."""
    journal = SqliteJournal(tmp_path)
    (pages,) = journal._connection.execute("PRAGMA page_count").fetchone()
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    many = Changes(receipts=(RECEIPT,) * 500)
    with pytest.raises(JournalError, match="disk is full"):
        journal.commit(many)
    journal._connection.execute("PRAGMA max_page_count = 1000000")
    journal.commit(many)
    assert journal.last_receipt == 500
    journal.close()


def test_numbers_of_receipts_only_grow(tmp_path: Path) -> None:
    """ "One alone" counts by them: retention may delete the newest."""
    filled(tmp_path, receipts=5)
    changed(tmp_path, "DELETE FROM receipts")
    journal = SqliteJournal(tmp_path)
    assert journal.last_receipt == 5
    journal.commit(Changes(receipts=(RECEIPT,)))
    assert journal.last_receipt == 6
    journal.close()


def test_answers_of_a_service_cannot_break_it(tmp_path: Path) -> None:
    """JSON can hold a lone surrogate, which is no UTF-8."""
    journal = SqliteJournal(tmp_path)
    journal.commit(Changes(receipts=(replace(RECEIPT, retrieve_url="https://x/\ud800"),)))
    found = journal.receipt(IDS)
    assert found is not None
    assert found.retrieve_url == "https://x/\\ud800"
    journal.close()


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """I7: it names files."""
    journal = SqliteJournal(tmp_path)
    journal.commit(Changes(receipts=(RECEIPT,)))
    assert {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {
        FILE: 0o600,
        f"{FILE}-wal": 0o600,
        f"{FILE}-shm": 0o600,
    }
    journal.close()


def test_writes_are_durable_and_lookups_use_an_index(tmp_path: Path) -> None:
    """DESIGN 4: WAL, synchronous=FULL."""
    journal = SqliteJournal(tmp_path)
    ask = journal._connection.execute
    assert ask("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ask("PRAGMA synchronous").fetchone() == (2,)
    plan = ask("EXPLAIN QUERY PLAN SELECT 1 FROM receipts WHERE sop_instance_uid = 'x' ORDER BY id DESC").fetchall()
    assert [row[3] for row in plan] == [
        "SEARCH receipts USING COVERING INDEX receipts_by_instance (sop_instance_uid=?)"
    ]
    journal.close()


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(JournalError, match=r"folders\.state"):
        SqliteJournal(tmp_path)


@pytest.mark.parametrize("adapter", [SqliteJournal, StateLock])
def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: type) -> None:
    """F44."""
    monkeypatch.setattr(state_module, "on_network", lambda folder: True)
    monkeypatch.setattr(state_module, "file_system", lambda folder: "nfs4")
    with pytest.raises(ConfigurationError, match=r"folders\.state .*nfs4"):
        adapter(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("adapter", [SqliteJournal, StateLock])
def test_a_missing_state_folder_is_a_setting_that_cannot_work(tmp_path: Path, adapter: type) -> None:
    """F70."""
    with pytest.raises(ConfigurationError, match=r"folders\.state"):
        adapter(tmp_path / "missing")


def test_a_second_ingestd_is_kept_out(tmp_path: Path) -> None:
    """F43."""
    first = StateLock(tmp_path)
    with pytest.raises(StateHeldError):
        StateLock(tmp_path)
    first.release()
    first.release()
    StateLock(tmp_path).release()


def test_a_killed_one_leaves_no_stale_lock(tmp_path: Path) -> None:
    """F43."""
    program = """
import pathlib, sys
from ingestd.spool.journal import StateLock
lock = StateLock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(StateHeldError):
            StateLock(tmp_path)
        child.kill()
        child.wait()
    StateLock(tmp_path).release()
