"""Journals of earlier versions are brought up to date: by the same steps that make a new one, with every row, or not at all."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from ingestd.core.answers.outcome import Outcome
from ingestd.core.answers.proof import DigestKind
from ingestd.core.errors import JournalError
from ingestd.core.model import Deferral, Wait
from ingestd.core.record import Changes, Receipt
from ingestd.spool.memory import journal_file, migrations
from ingestd.spool.memory.journal import SqliteJournal
from ingestd.spool.memory.journal_file import DAMAGED, TAKEN_AWAY
from ingestd.spool.memory.journal_rows import COLUMNS

FILE = "journal.sqlite"
JOURNALS = Path(__file__).parent / "journals"
IN_USE = (JOURNALS / "in-use-1.sql").read_text(encoding="utf-8")
LATER = (Wait.RESTING, Wait.UNANSWERED, Wait.UNNAMED, Wait.APART, Wait.DIED)
WAITS = [wait for wait in Wait if wait not in LATER]  # of the first version


def made(state: Path, script: str) -> sqlite3.Connection:
    """A journal as an earlier version left it, open and in WAL mode."""
    connection = sqlite3.connect(state / FILE, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(script)
    return connection


def schema(state: Path) -> dict[str, str | None]:
    connection = sqlite3.connect(state / FILE)
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master").fetchall())
    connection.close()
    return found


def version(state: Path) -> int:
    connection = sqlite3.connect(state / FILE)
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(found)


def everything(state: Path) -> tuple[dict[str, list[Receipt]], list[Deferral]]:
    """All that a journal says, through the adapter; it must not have been set aside."""
    connection = sqlite3.connect(state / FILE)
    paths = [os.fsdecode(path) for (path,) in connection.execute("SELECT DISTINCT path FROM receipts ORDER BY path")]
    connection.close()
    journal = SqliteJournal(state)
    found = {path: list(journal.receipts_of(path)) for path in paths}
    waits = list(journal.due(1e12, 1000))
    assert journal.set_aside == 0
    journal.close()
    return found, waits


@pytest.mark.parametrize("kept", sorted(JOURNALS.glob("*.sql")), ids=lambda path: path.stem)
def test_a_migrated_journal_and_a_new_one_have_the_same_schema(tmp_path: Path, kept: Path) -> None:
    """F96: there is one truth about what a journal looks like."""
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
    made(tmp_path / "old", kept.read_text(encoding="utf-8")).close()
    for name in ("new", "old"):
        SqliteJournal(tmp_path / name).close()
    assert schema(tmp_path / "old") == schema(tmp_path / "new")
    assert version(tmp_path / "old") == version(tmp_path / "new") == migrations.VERSION
    assert set(COLUMNS) <= set(schema(tmp_path / "new"))


def test_steps_have_numbers_without_a_gap() -> None:
    """F96: none is passed over, and each version has its kept file."""
    assert list(migrations.STEPS) == list(range(1, migrations.VERSION + 1))
    assert [n for n in migrations.STEPS if not (JOURNALS / f"version-{n}.sql").exists()] == []


def test_the_steps_write_no_row() -> None:
    """F96: a million receipts take no longer than one (test_a_large_journal_is_not_written_anew shows it)."""
    words = {statement.split()[0] for statements in migrations.STEPS.values() for statement in statements}
    assert words <= {"CREATE", "ALTER"}


def test_a_journal_in_use_is_migrated_with_every_row(tmp_path: Path) -> None:
    """F96, F73: every outcome and every wait of the first version; receipts keep their digest, with its kind."""
    made(tmp_path, IN_USE).close()
    receipts, waits = everything(tmp_path)
    assert [wait.wait for wait in waits] == WAITS
    assert {(wait.asked, wait.deleted) for wait in waits} == {(None, False)}
    assert {path: [receipt.service for receipt in found] for path, found in receipts.items()} == {
        "ct/1.dcm": ["https://ws-dicom.dicom.azurehealthcareapis.com"] * 2,
        os.fsdecode(b"ct/\xff\n2.dcm"): ["https://ws-dicom.dicom.azurehealthcareapis.com/partitions/p"],
        "ct/3.dcm": ["https://ws-dicom.dicom.azurehealthcareapis.com"],
        "ct/4.dcm": [None],
        "ct/5.dcm": [None],
        "ct/6.dcm": ["http://orthanc.example.org:8042/dicom-web"],
        "ct/7.dcm": [None],
        "ct/8.dcm": [None],
    }
    every = [receipt for found in receipts.values() for receipt in found]
    assert {receipt.outcome for receipt in every} == {o for o in Outcome if o is not Outcome.QUARANTINED}
    assert {
        (r.digest_kind, r.proof, r.transfer_syntax_uid, r.data_set_bytes, r.mtime_ns)
        for found in receipts.values()
        for r in found
    } == {(DigestKind.FROM_128, None, None, None, None)}
    assert [receipt.sha256[:8] for receipt in receipts["ct/1.dcm"]] == ["6b86b273", "541d11c8"]


def test_numbers_of_receipts_go_on_growing(tmp_path: Path) -> None:
    """F96: "one alone" counts by them across the upgrade."""
    made(tmp_path, IN_USE).close()
    journal = SqliteJournal(tmp_path)
    assert journal.last_receipt == 9
    journal.close()


def test_rows_that_are_in_the_log_alone_are_migrated(tmp_path: Path) -> None:
    """F96, F37: the last life was killed before its commits reached the file."""
    for name in ("closed", "living", "killed"):
        (tmp_path / name).mkdir()
    living = made(tmp_path / "living", IN_USE)
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / "living" / f"{FILE}{suffix}", tmp_path / "killed" / f"{FILE}{suffix}")
    living.close()
    assert (tmp_path / "killed" / FILE).stat().st_size <= 4096
    made(tmp_path / "closed", IN_USE).close()
    assert everything(tmp_path / "killed") == everything(tmp_path / "closed")


def test_a_large_journal_is_not_written_anew(tmp_path: Path) -> None:
    """F96: what an upgrade writes and how long it takes doesn't grow with the receipts."""
    connection = made(tmp_path, IN_USE)
    connection.execute("BEGIN")
    columns = "stored_at, study_uid, series_uid, sop_instance_uid, size, sha256, path, outcome"
    connection.execute(
        f"INSERT INTO receipts ({columns}) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) "
        "SELECT 1.0, '1.2', '1.3', '1.4.' || i, 5, hex(randomblob(32)), CAST('p' || i AS BLOB), 'stored' FROM n"
    )
    connection.execute("COMMIT")
    connection.close()
    before = (tmp_path / FILE).stat().st_size
    assert before > 5 << 20
    journal = SqliteJournal(tmp_path)
    assert (tmp_path / f"{FILE}-wal").stat().st_size < 100 << 10
    assert journal.last_receipt == 50_009
    assert [r.sop_instance_uid for r in journal.receipts_of("p50000")] == ["1.4.50000"]
    journal.close()
    assert (tmp_path / FILE).stat().st_size < before + (100 << 10)


SPOILT = {
    "another program's": "CREATE TABLE theirs (a);",
    "another program's, of a version": "CREATE TABLE theirs (a); PRAGMA user_version = 1;",
    "without its deferrals": f"{IN_USE} DROP TABLE deferrals;",
    "without a column": f"{IN_USE} ALTER TABLE receipts DROP COLUMN retrieve_url;",
    "with a column that it can't have": f"{IN_USE} ALTER TABLE receipts ADD COLUMN service TEXT;",
    "of version 0": f"{IN_USE} PRAGMA user_version = 0;",
    "of a version before the first": f"{IN_USE} PRAGMA user_version = -1;",
}


@pytest.mark.parametrize("script", SPOILT.values(), ids=SPOILT.keys())
def test_an_old_journal_that_is_none_is_set_aside(tmp_path: Path, script: str) -> None:
    """F42, F73, F96."""
    made(tmp_path, script).close()
    journal = SqliteJournal(tmp_path)
    assert (journal.set_aside, journal.why_set_aside, journal.last_receipt) == (1, DAMAGED, 0)
    journal.close()
    assert (tmp_path / f"{FILE}.damaged-1").exists()


def test_an_old_journal_with_a_damaged_page_is_set_aside(tmp_path: Path) -> None:
    """F42, F96."""
    made(tmp_path, IN_USE).close()
    with (tmp_path / FILE).open("r+b") as file:
        file.seek(100)
        file.write(b"\xa5" * 900)
    before = (tmp_path / FILE).read_bytes()
    journal = SqliteJournal(tmp_path)
    assert (journal.set_aside, journal.why_set_aside) == (1, DAMAGED)
    journal.close()
    assert (tmp_path / f"{FILE}.damaged-1").read_bytes() == before


def test_a_full_disk_leaves_the_old_journal_as_it_is_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F96, F39: a start says so in one line, a running daemon is doubtful; nothing is set aside, and it goes on by itself."""
    (old := tmp_path / "old").mkdir()
    (state := tmp_path / "state").mkdir()
    made(old, IN_USE).close()
    kept = (old / FILE).read_bytes()

    def full(connection: sqlite3.Connection, version: int) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        migrations.migrate(connection, version)

    running = SqliteJournal(state)
    for file in state.iterdir():
        file.unlink()
    (state / FILE).write_bytes(kept)  # somebody puts an old one back
    with monkeypatch.context() as patched:
        patched.setattr(journal_file, "migrate", full)
        with pytest.raises(JournalError, match=r"^the journal can't be used; its disk is full: free some space"):
            SqliteJournal(old)
        with pytest.raises(JournalError, match="its disk is full"):
            running.commit(Changes())
        assert running.doubtful
        assert (running.strays(1), running.second_looks(1e12, 1), running.deferral("ct/creating.dcm")) == ((), (), None)
    assert (old / FILE).read_bytes() == kept
    assert (version(old), version(state)) == (1, 1)
    running.commit(Changes())
    assert (running.doubtful, running.set_aside, running.why_set_aside) == (False, 1, TAKEN_AWAY)
    assert (running.last_receipt, len(running.due(1e12, 100))) == (9, len(WAITS))
    running.close()
    assert everything(old) == everything(state)


@pytest.mark.slow
def test_another_programs_lock_is_no_damage(tmp_path: Path) -> None:
    """F96: it is said, and the old journal stays as it is."""
    other = made(tmp_path, IN_USE)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError, match="another program has it locked"):
        SqliteJournal(tmp_path)
    other.execute("ROLLBACK")
    other.close()
    assert version(tmp_path) == 1
    assert [wait.wait for wait in everything(tmp_path)[1]] == WAITS
