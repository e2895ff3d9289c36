"""Bringing a journal up to date ends at each of its system calls, and each of them fails once; no row is lost (F96, F37, F39).

The journal is one of the first version whose rows are in the write-ahead log alone, as a kill leaves it: what is broken is the play
back, the steps, and the checkpoint when it is closed. By default a sample, drawn by INGESTD_TEST_SEED (0); INGESTD_TEST_CRASH=full
(`make crash`) runs all of it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash.matrix import KILLS, OPEN_ERRNOS
from crash.scenario import MAIN, End, Stand
from crash.strace import Call, Tampering

from ingestd.core.model import Deferral
from ingestd.core.record import Receipt
from ingestd.spool.memory.journal import SqliteJournal
from ingestd.spool.memory.migrations import STEPS, VERSION

pytestmark = [pytest.mark.real("strace"), pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(1200)]

FULL = os.environ.get("INGESTD_TEST_CRASH") == "full"
SEED = int(os.environ.get("INGESTD_TEST_SEED", "0"))
SAMPLE = 40
IN_USE = Path(__file__).parents[1] / "component" / "spool" / "journals" / "in-use-1.sql"
FILE = "journal.sqlite"
# What a start does with it, and what a person would read.
OPENS = """
import pathlib
from ingestd.core.errors import JournalError
from ingestd.spool.memory.journal import SqliteJournal
try:
    journal = SqliteJournal(pathlib.Path({state!r}))
except JournalError as error:
    print(error, flush=True)
    raise SystemExit(75)
print(f"open, {{journal.set_aside}} set aside", flush=True)
journal.close()
"""
OPEN = "open, 0 set aside\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Laboratory:
    """A warm stand, the journal that each round begins with, and all that it says."""

    stand: Stand
    work: Path
    old: Path
    says: tuple[list[Receipt], list[Deferral]]

    def run(self, tampering: Tampering | None = None) -> tuple[Path, End]:
        """A copy of the journal is opened and closed; where it is, and how that ended."""
        state = self.work / "state"
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(self.old, state)
        return state, self.stand.run(
            ["-c", OPENS.format(state=str(state))], {}, traced=MAIN, tampering=tampering, program=True
        )


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory, real: Callable[..., None]) -> Iterator[Laboratory]:
    real("strace")
    work = tmp_path_factory.mktemp("migration")
    (living := work / "living").mkdir()
    (old := work / "old").mkdir()
    connection = sqlite3.connect(living / FILE, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(IN_USE.read_text(encoding="utf-8"))
    for suffix in ("", "-wal"):
        shutil.copy(living / f"{FILE}{suffix}", old / f"{FILE}{suffix}")
    connection.close()
    stand = Stand(work / "stand")
    shutil.copytree(old, work / "undisturbed")
    yield Laboratory(stand=stand, work=work, old=old, says=said(work / "undisturbed"))
    stand.close()


def said(state: Path) -> tuple[list[Receipt], list[Deferral]]:
    """Every row that the journal has, once it is opened as the next start does."""
    journal = SqliteJournal(state)
    assert journal.set_aside == 0
    paths = sorted({f"ct/{number}.dcm" for number in range(1, 9)} | {"ct/\udcff\n2.dcm"})
    receipts = [receipt for path in paths for receipt in journal.receipts_of(path)]
    deferrals = list(journal.due(1e12, 100))
    journal.close()
    return receipts, deferrals


def schema(state: Path) -> tuple[int, set[str]]:
    """The version, and the names of tables and indexes, as SQLite alone sees them after it has taken back what was half done."""
    connection = sqlite3.connect(state / FILE)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE sql IS NOT NULL")}
    names |= {f"receipts.{column[1]}" for column in connection.execute("PRAGMA table_info (receipts)")}
    connection.close()
    return version, names


def schema_of(version: int, work: Path) -> set[str]:
    state = work / f"version-{version}"
    state.mkdir(exist_ok=True)
    connection = sqlite3.connect(state / FILE, isolation_level=None)
    if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        for step in range(1, version + 1):
            for statement in STEPS[step]:
                connection.execute(statement)
    connection.close()
    return schema(state)[1]


def points(calls: list[Call], state: Path) -> list[Call]:
    return [
        call
        for call in calls
        if call.writes and call.succeeded and any(path.startswith(str(state)) for path in call.paths)
    ]


def hows(call: Call) -> tuple[str, ...]:
    return (*KILLS, *(OPEN_ERRNOS if call.name.startswith("open") else ("ENOSPC", "EIO")))


def test_no_row_is_lost_wherever_a_migration_is_killed_or_fails(laboratory: Laboratory) -> None:
    """F96, F37, F39, F40: of the version before or of this one, whole; an error is said in one line, as no damage."""
    state, undisturbed = laboratory.run()
    assert (undisturbed.code, undisturbed.output) == (0, OPEN)
    found = points(undisturbed.calls, state)
    assert {"pwrite64", "fdatasync", "unlink"} <= {call.name for call in found}
    rounds = [(call, how) for call in found for how in hows(call)]
    began, missed, versions = time.monotonic(), 0, []
    for call, how in rounds if FULL else random.Random(SEED).sample(rounds, SAMPLE):
        where = f"{call.name} no. {call.count} {how}: {call.paths}"
        state, end = laboratory.run(Tampering(name=call.name, count=call.count, how=how))
        missed += not any(one.tampered for one in end.calls)
        if how in KILLS:
            assert end.code == -signal.SIGKILL, f"{where}: {end.code} {end.output}"
        elif end.code == 0:
            assert end.output == OPEN, where
        else:
            assert end.code == 75, f"{where}: {end.code} {end.output}"
            assert end.output.startswith("the journal can't be "), f"{where}: {end.output}"
            assert (end.output.count("\n"), "damaged" in end.output) == (1, False), f"{where}: {end.output}"
            if how == "ENOSPC" and call.name == "pwrite64" and call.paths[0].endswith("-wal"):
                assert "its disk is full: free some space" in end.output, f"{where}: {end.output}"
        version, names = schema(state)
        assert names == schema_of(version, laboratory.work), where
        versions.append(version)
        assert said(state) == laboratory.says, where
        assert not list(state.glob(f"{FILE}.*")), where
    print(
        f"\n{len(versions)} rounds at {len(found)} calls in {time.monotonic() - began:.0f} s; versions then: {set(versions)}"
    )
    assert missed == 0
    assert set(versions) == {1, VERSION}
