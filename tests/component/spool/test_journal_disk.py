"""The journal and the state lock on a real disk: damage, versions, full disks, kills."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ingestd.core.answers.outcome import Outcome
from ingestd.core.answers.proof import DigestKind, Proof
from ingestd.core.errors import ConfigurationError, JournalError, StateHeldError
from ingestd.core.model import Asked, Deferral, Identifiers, Stamp, Wait
from ingestd.core.record import Changes, Receipt, SecondLook, Stray
from ingestd.spool.disk.mounts import FileSystem
from ingestd.spool.memory import lock as state_module
from ingestd.spool.memory.journal import SqliteJournal
from ingestd.spool.memory.journal_file import is_damage, set_aside
from ingestd.spool.memory.lock import StateLock
from ingestd.spool.memory.migrations import VERSION
from ingestd.spool.memory.receipts import Receipts

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
JOURNALS = Path(__file__).parent / "journals"


def filled(state: Path, receipts: int = 1) -> None:
    journal = SqliteJournal(state)
    journal.commit(Changes(receipts=(RECEIPT,) * receipts, deferrals=(DEFERRAL,)))
    journal.close()


def opened(journal: SqliteJournal) -> sqlite3.Connection:
    assert journal._connection is not None
    return journal._connection


def changed(state: Path, statement: str) -> None:
    connection = sqlite3.connect(state / FILE)
    connection.execute(statement)
    connection.commit()
    connection.close()


def overwritten(state: Path, at: int, length: int, byte: bytes = b"\xa5") -> None:
    with (state / FILE).open("r+b") as file:
        file.seek(at)
        file.write(byte * length)


def another_programs(state: Path, statement: str) -> None:
    (state / FILE).unlink()
    changed(state, "CREATE TABLE theirs (a)")
    changed(state, statement)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "not SQLite": lambda state: (state / FILE).write_bytes(b"no database at all, but long enough to be one " * 100),
    "cut": lambda state: os.truncate(state / FILE, 5000),
    "first page": lambda state: overwritten(state, 100, 900),
    "another page": lambda state: overwritten(state, 4096, 4096),
    "another program's, of a version": lambda state: another_programs(state, "PRAGMA user_version = 7"),
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


def test_a_newer_journal_is_set_aside_whole_for_the_version_that_wrote_it(tmp_path: Path) -> None:
    """F42, F73: a downgrade delivers at once; going up again, the old history can be put back by its name."""
    filled(tmp_path)
    changed(tmp_path, f"PRAGMA user_version = {VERSION + 1}")
    journal = SqliteJournal(tmp_path)
    assert (journal.set_aside, journal.why_set_aside) == (1, "a newer version of ingestd has written it")
    assert (journal.receipt(IDS), journal.deferral("a.dcm")) == (None, None)
    journal.commit(Changes(receipts=(RECEIPT,)))
    journal.close()
    kept = sqlite3.connect(tmp_path / f"{FILE}.newer-1")
    assert kept.execute("SELECT count(*) FROM receipts").fetchone() == (1,)
    kept.close()
    assert not list(tmp_path.glob("*damaged*"))


# What stands in version-1.sql. Its receipt says no service, so it is of the one that its retrieve URL leads to.
OLD_STAMP = Stamp(device=2**64 - 1, inode=2**64 - 2, size=5, mtime_ns=-1, ctime_ns=10**18)
OLD_RECEIPT = Receipt(
    stored_at=1767323045.25,
    study_uid="1.2.3",
    series_uid="1.2.3.4",
    sop_instance_uid="1.2.3.4.6",
    size=5 << 30,
    sha256="ab" * 32,
    path=os.fsdecode(b"study/\xff.dcm"),
    outcome=Outcome.STORED_WITH_WARNING,
    http_status=200,
    reason=45056,
    retrieve_url="https://example.org/v2/studies/1.2.3",
    service="https://example.org",
)
OLD_DEFERRAL = Deferral(
    path="study/b.dcm",
    stamp=OLD_STAMP,
    wait=Wait.CREATING,
    due_at=1767323100.5,
    first_seen=1767323000.0,
    since=1767323001.0,
    attempts=3,
    counted=2,
    last_receipt=7,
    restless=True,
)
# What stands in version-2.sql.
NEW_RECEIPT = replace(
    OLD_RECEIPT,
    service="https://example.org/partitions/p",
    proof=Proof.FETCHED,
    digest_kind=DigestKind.DATA_SET,
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    data_set_bytes=(5 << 30) - 500,
    mtime_ns=-1,
)
STRAY = Stray(
    place="study/c.dcm", folder="failed", stamp=OLD_STAMP, path=os.fsdecode(b"study/\xff.dcm"), since=1767323002.5
)
SECOND_LOOK = SecondLook(
    place="2026-01-02/study/d.dcm", stamp=OLD_STAMP, path="study/d.dcm", due_at=1767323900.5, remove=True
)
LEFT: dict[int, tuple[object, ...]] = {
    1: (OLD_RECEIPT, OLD_DEFERRAL, (), ()),
    2: (NEW_RECEIPT, replace(OLD_DEFERRAL, asked=Asked.HELD, deleted=True), (STRAY,), (SECOND_LOOK,)),
}


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_a_journal_of_each_version_is_read(tmp_path: Path, version: int) -> None:
    """F96, F42, F73: what a version left on disks stays readable, to the last value, once and again."""
    connection = sqlite3.connect(tmp_path / FILE)
    connection.executescript((JOURNALS / f"version-{version}.sql").read_text(encoding="utf-8"))
    connection.close()
    ids = replace(IDS, study_uid="1.2.3", series_uid="1.2.3.4", sop_instance_uid="1.2.3.4.6")
    for _ in range(2):
        journal = SqliteJournal(tmp_path)
        looks = journal.second_looks(1e12, 10)
        assert (journal.receipt(ids), journal.deferral("study/b.dcm"), journal.strays(10), looks) == LEFT[version]
        journal.close()
    journal = SqliteJournal(tmp_path)
    journal.commit(Changes(receipts=(RECEIPT,), forgotten=("study/b.dcm",)))
    assert (journal.set_aside, journal.last_receipt, dict(journal.waiting())) == (0, 4, {})
    journal.close()


IN_ITS_PLACE: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a FIFO": os.mkfifo,
    "a link to nowhere": lambda path: path.symlink_to("/nonexistent/journal"),
    "a link to a file": lambda path: path.symlink_to(__file__),
}


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.parametrize("make", IN_ITS_PLACE.values(), ids=IN_ITS_PLACE.keys())
def test_what_is_no_file_is_moved_out_of_its_place_unopened(
    tmp_path: Path, make: Callable[[Path], object], suffix: str
) -> None:
    """F27, F42: neither waited for, nor followed, nor a start that fails for ever."""
    filled(tmp_path)
    (tmp_path / f"{FILE}{suffix}").unlink(missing_ok=True)
    make(tmp_path / f"{FILE}{suffix}")
    journal = SqliteJournal(tmp_path)
    assert (journal.set_aside, journal.why_set_aside) == (1, "something else was in its place")
    journal.commit(Changes(receipts=(RECEIPT,)))
    assert journal.receipt(IDS) == RECEIPT
    journal.close()
    aside = os.lstat(tmp_path / f"{FILE}.damaged-1{suffix}")
    assert not stat.S_ISREG(aside.st_mode)


LOG_DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda log: log[: len(log) // 2],
    "empty": lambda log: b"",
    "noise": lambda log: random.Random(1).randbytes(len(log)),
    "noise at its end": lambda log: log[:-5000] + random.Random(2).randbytes(5000),
    "zeros": lambda log: bytes(len(log)),
}


@pytest.mark.parametrize("damage", LOG_DAMAGE.values(), ids=LOG_DAMAGE.keys())
def test_a_torn_log_is_played_back_up_to_the_tear(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """F38, F42: what is lost is sent again; what is there is true."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    journal = SqliteJournal(tmp_path / "old")
    for number in range(1, 101):
        journal.commit(Changes(receipts=(replace(RECEIPT, path=str(number)),)))
    for file in (tmp_path / "old").iterdir():
        content = file.read_bytes()
        if not file.name.endswith("-shm"):
            (tmp_path / "new" / file.name).write_bytes(damage(content) if file.name.endswith("-wal") else content)
    journal.close()
    again = SqliteJournal(tmp_path / "new")
    found = [int(receipt.path) for n in range(1, 101) for receipt in again.receipts_of(str(n))]
    assert found == list(range(1, len(found) + 1))
    again.commit(Changes(receipts=(RECEIPT,)))
    assert again.receipt(IDS) == RECEIPT
    again.close()


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The file and the log of a journal that is in use."""
    state = tmp_path_factory.mktemp("busy")
    journal = SqliteJournal(state)
    for number in range(40):
        deferral = replace(DEFERRAL, path=f"{number}.dcm")
        journal.commit(Changes(receipts=(replace(RECEIPT, path=str(number)),) * 20, deferrals=(deferral,)))
    opened(journal).execute("PRAGMA wal_checkpoint")
    for number in range(40, 50):
        journal.commit(Changes(receipts=(replace(RECEIPT, path=str(number)),) * 20))
    found = {suffix: (state / f"{FILE}{suffix}").read_bytes() for suffix in ("", "-wal")}
    journal.close()
    return found


NOT_UTF8 = 310  # SQLite quotes a damaged schema in its message, and the module can't decode it


@pytest.mark.parametrize("seed", [*range(int(os.environ.get("INGESTD_TEST_DAMAGES", "25"))), NOT_UTF8])
def test_whatever_is_damaged_it_ends_in_a_journal_that_works(tmp_path: Path, busy: dict[str, bytes], seed: int) -> None:
    """F42, I5: bytes anywhere in file and log turn into noise; nothing raises, and what is written next is there."""
    rand = random.Random(seed)
    for suffix in ("", "-wal") if seed % 2 else ("",):
        content = bytearray(busy[suffix])
        for _ in range(rand.choice((1, 3, 30))):
            at = rand.randrange(len(content))
            length = rand.choice((1, 2, 50, 4096))
            content[at : at + length] = rand.randbytes(len(content[at : at + length]))
        (tmp_path / f"{FILE}{suffix}").write_bytes(content)
    journal = SqliteJournal(tmp_path)
    for number in range(50):
        journal.deferral(f"{number}.dcm")
        journal.receipts_of(str(number))
    for deferral in journal.due(1e12, 100):
        assert deferral.due_at <= 1e12
    journal.waiting()
    journal.oldest()
    journal.receipt(IDS)
    journal.prune(0.5, 10)
    newest = replace(RECEIPT, path="new.dcm", sop_instance_uid="1.99")
    journal.commit(Changes(receipts=(newest,), deferrals=(replace(DEFERRAL, path="new.dcm"),)))
    assert not journal.doubtful
    assert journal.receipt(replace(IDS, sop_instance_uid="1.99")) == newest
    assert journal.deferral("new.dcm") == replace(DEFERRAL, path="new.dcm")
    journal.close()


def test_a_journal_that_is_taken_away_while_it_is_open_is_begun_anew(tmp_path: Path) -> None:
    """I5: what is written to a file without a name would be gone with the process."""
    journal = SqliteJournal(tmp_path)
    journal.commit(Changes(receipts=(RECEIPT,), deferrals=(DEFERRAL,)))
    assert not journal.doubtful
    for file in tmp_path.iterdir():
        file.unlink()
    assert journal.doubtful
    journal.commit(Changes(receipts=(replace(RECEIPT, path="b.dcm"),)))
    assert (journal.doubtful, journal.set_aside) == (False, 1)
    assert journal.why_set_aside == "its file was taken away while the daemon ran"
    again = SqliteJournal(tmp_path)
    assert ([r.path for r in again.receipts_of("b.dcm")], again.deferral("a.dcm")) == (["b.dcm"], None)
    again.close()
    journal.close()


def test_a_log_that_is_taken_away_loses_nothing(tmp_path: Path) -> None:
    """I5."""
    journal = SqliteJournal(tmp_path)
    journal.commit(Changes(receipts=(RECEIPT,)))
    (tmp_path / f"{FILE}-wal").unlink()
    assert journal.doubtful
    journal.commit(Changes())
    assert (journal.doubtful, journal.set_aside, journal.receipt(IDS)) == (False, 0, RECEIPT)
    journal.close()


def test_what_cannot_be_read_makes_it_doubtful_until_a_commit_of_nothing_works(tmp_path: Path) -> None:
    """I5, F9: deferrals are unknown, their counts as they were; a receipt is never guessed."""
    journal = SqliteJournal(tmp_path)
    journal.commit(Changes(receipts=(RECEIPT,), deferrals=(DEFERRAL,)))
    assert (dict(journal.waiting()), journal.oldest()) == ({Wait.INCOMPLETE: 1}, 1.0)
    away = tmp_path.with_name("away")
    tmp_path.rename(away)
    journal._let_go()
    assert (journal.deferral("a.dcm"), list(journal.due(10.0, 10))) == (None, [])
    assert (dict(journal.waiting()), journal.oldest()) == ({Wait.INCOMPLETE: 1}, 1.0)
    with pytest.raises(JournalError, match=r"folders\.state"):
        journal.receipt(IDS)
    assert journal.doubtful
    with pytest.raises(JournalError):
        journal.commit(Changes())
    away.rename(tmp_path)
    journal.commit(Changes())
    assert (journal.doubtful, journal.set_aside) == (False, 0)
    assert (journal.receipt(IDS), journal.deferral("a.dcm")) == (RECEIPT, DEFERRAL)
    journal.close()


@pytest.mark.parametrize(("code", "damaged"), [(266, True), (522, True), (8458, True), (778, False), (10, False)])
def test_a_bad_sector_is_damage_and_a_write_error_is_not(code: int, damaged: bool) -> None:
    """I5: a journal that can be written and not read would have everything sent for ever."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    assert is_damage(error) is damaged


def test_receipts_are_pruned_from_the_oldest_on_and_stay_away(tmp_path: Path) -> None:
    """`journal.receipts_days`, in batches."""
    journal = SqliteJournal(tmp_path)
    journal.commit(Changes(receipts=tuple(replace(RECEIPT, stored_at=float(n), path=str(n)) for n in range(10))))
    assert [journal.prune(7.0, 3) for _ in range(4)] == [3, 3, 1, 0]
    journal.close()
    journal = SqliteJournal(tmp_path)
    assert [bool(journal.receipts_of(str(n))) for n in range(10)] == [False] * 7 + [True] * 3
    assert journal.last_receipt == 10
    journal.close()


def test_receipts_from_a_clock_that_was_ahead_hold_up_nothing(tmp_path: Path) -> None:
    """F13, I8: they would stand before all others for as long as it was ahead."""
    journal = SqliteJournal(tmp_path)
    times = [1.0, 1e9, 1e9, 1e9, 2.0, 3.0, 100.0]
    journal.commit(Changes(receipts=tuple(replace(RECEIPT, stored_at=t, path=str(n)) for n, t in enumerate(times))))
    assert [journal.prune(50.0, 2) for _ in range(3)] == [2, 1, 0]
    assert [bool(journal.receipts_of(str(n))) for n in range(7)] == [False] * 6 + [True]
    journal.close()


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
        "UPDATE deferrals SET question = 'a kind of question'",
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


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE receipts SET proof = 'hearsay'",
        "UPDATE receipts SET digest_kind = 'from_129'",
        "UPDATE strays SET stamp = '1 2 3'",
        "UPDATE second_looks SET remove = 'perhaps'",
    ],
)
def test_a_receipt_a_stray_and_a_second_look_are_no_guess_either(tmp_path: Path, statement: str) -> None:
    """F42, F73: a proof that no version knows proves nothing."""
    journal = SqliteJournal(tmp_path)
    journal.commit(Changes(receipts=(RECEIPT,), strays=(STRAY,), second_looks=(SECOND_LOOK,)))
    journal.close()
    changed(tmp_path, statement)
    journal = SqliteJournal(tmp_path)
    assert journal.set_aside == 0
    journal.strays(10)
    journal.second_looks(1e12, 10)
    journal.receipt(IDS)
    assert journal.set_aside == 1
    assert (journal.strays(10), journal.second_looks(1e12, 10), journal.receipt(IDS)) == ((), (), None)
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
    opened(journal).execute(
        "CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.receipts WHEN new.path = CAST('bad' AS BLOB) "
        "BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with pytest.raises(JournalError):
        journal.commit(Changes(receipts=(RECEIPT, replace(RECEIPT, path="bad")), deferrals=(DEFERRAL,)))
    assert (journal.last_receipt, journal.receipts_of("a.dcm"), journal.deferral("a.dcm")) == (0, (), None)
    journal.commit(Changes(deferrals=(DEFERRAL,)))
    assert (journal.deferral("a.dcm"), journal.receipt(IDS)) == (DEFERRAL, None)
    journal.close()


def test_a_full_disk_says_so_and_recovers(tmp_path: Path) -> None:
    """F39."""
    journal = SqliteJournal(tmp_path)
    (pages,) = opened(journal).execute("PRAGMA page_count").fetchone()
    opened(journal).execute(f"PRAGMA max_page_count = {pages}")
    many = Changes(receipts=(RECEIPT,) * 500)
    with pytest.raises(JournalError, match="disk is full"):
        journal.commit(many)
    opened(journal).execute("PRAGMA max_page_count = 1000000")
    journal.commit(many)
    assert journal.last_receipt == 500
    journal.close()


def test_a_receipt_is_not_judged_by_while_newer_ones_wait_to_be_written(tmp_path: Path) -> None:
    """I2, F39: on a full disk it can still be read; an answer judged by what is in it would miss what was stored just now."""
    journal = SqliteJournal(tmp_path)
    journal.commit(Changes(receipts=(RECEIPT,)))
    (pages,) = opened(journal).execute("PRAGMA page_count").fetchone()
    opened(journal).execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalError, match="disk is full"):
        journal.commit(Changes(receipts=(replace(RECEIPT, sha256="other"),) * 500))
    with pytest.raises(JournalError, match="lacks what was stored last"):
        journal.receipt(IDS)
    opened(journal).execute("PRAGMA max_page_count = 1000000")
    journal.commit(Changes())
    assert journal.receipt(IDS) == RECEIPT
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
    ask = opened(journal).execute
    assert ask("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ask("PRAGMA synchronous").fetchone() == (2,)
    plan = ask("EXPLAIN QUERY PLAN SELECT 1 FROM receipts WHERE sop_instance_uid = 'x' ORDER BY id DESC").fetchall()
    assert [row[3] for row in plan] == [
        "SEARCH receipts USING COVERING INDEX receipts_by_instance (sop_instance_uid=?)"
    ]
    plan = ask("EXPLAIN QUERY PLAN SELECT min(first_seen) FROM deferrals").fetchall()
    assert [row[3] for row in plan] == ["SEARCH deferrals USING COVERING INDEX deferrals_by_first_seen"]
    journal.close()


@pytest.mark.parametrize("adapter", [SqliteJournal, StateLock])
def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: type) -> None:
    """F44."""
    monkeypatch.setattr(state_module, "file_system", lambda folder: FileSystem("nfs4"))
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
from ingestd.spool.memory.lock import StateLock
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


def test_a_lock_whose_folder_was_taken_away_or_replaced_says_so(tmp_path: Path) -> None:
    """F43: another ingestd may hold what is there now."""
    state = tmp_path / "state"
    state.mkdir()
    lock = StateLock(state)
    assert lock.problem() is None
    state.rename(tmp_path / "away")
    assert "taken away" in str(lock.problem())
    state.mkdir()
    other = StateLock(state)
    assert "replaced" in str(lock.problem())
    other.release()
    (state / "lock").unlink()
    state.rmdir()
    (tmp_path / "away").rename(state)
    assert lock.problem() is None
    lock.release()


def test_receipts_of_an_outcome_are_read_in_portions_while_more_are_written(tmp_path: Path) -> None:
    """I8, F51: bounded in memory, no read transaction is left open, and each comes once, the oldest first."""
    warned = replace(RECEIPT, outcome=Outcome.STORED_WITH_WARNING, reason=1)
    journal = SqliteJournal(tmp_path)
    journal.commit(
        Changes(receipts=(RECEIPT, *(replace(warned, stored_at=float(n), path=f"{n}") for n in range(1200)), RECEIPT))
    )
    receipts = Receipts(tmp_path)
    found = receipts.of(Outcome.STORED_WITH_WARNING, since=100.0)
    first = next(found)
    journal.commit(Changes(receipts=(replace(warned, stored_at=2000.0, path="new"),)))
    journal.close()
    assert [first.path, *(one.path for one in found)] == [*(str(n) for n in range(100, 1200)), "new"]
    assert next(receipts.of(Outcome.ALREADY_STORED, since=0.0), None) is None
    receipts.close()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / FILE).write_bytes(b"no journal" * 1000)
    with pytest.raises(JournalError):
        next(Receipts(tmp_path / "damaged").of(Outcome.STORED, since=0.0))
