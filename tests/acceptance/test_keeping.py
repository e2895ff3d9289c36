"""What is kept, and for how long: done.action, retention, receipts, empty folders, a state folder that goes away."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from fakes.house import House, held_by
from fakes.ports import free_port
from fakes.studies import made, studies


def receipts(home: House) -> list[tuple[str, str]]:
    connection = sqlite3.connect(home.root / "state" / "journal.sqlite")
    try:
        return connection.execute("SELECT CAST(path AS TEXT), outcome FROM receipts ORDER BY path, id").fetchall()
    finally:
        connection.close()


def test_with_delete_stored_files_are_gone_and_judged_ones_are_kept(house: type[House], service: str) -> None:
    """I1, I2: stored and already stored alike, each with its receipt; what failed stays whole."""
    home = house(service, INGESTD_DONE__ACTION="delete", INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS="1")
    one, two = made(1), made(2)
    home.drop("study/one.dcm", one.content)
    home.drop("two.dcm", two.content)
    home.drop("cut.dcm", one.content[:-10])
    ended = home.run("drain", "--root", str(home.root), "--url", service, "--json")
    assert ended.returncode == 1, ended.stderr
    home.drop("one-again.dcm", one.content)
    assert home.run("drain", "--root", str(home.root), "--url", service).returncode == 0
    assert home.count() == {"inbox": 0, "done": 0, "failed": 1}
    assert receipts(home) == [
        ("one-again.dcm", "already_stored"),
        ("study/one.dcm", "stored"),
        ("two.dcm", "stored"),
    ]
    assert held_by(service, one.ids) is not None


@pytest.mark.parametrize("policy", ["verify", "accept"])
def test_with_delete_a_file_stays_whose_bytes_the_service_does_not_hold(
    house: type[House], service: str, policy: str
) -> None:
    """I1, I2, F36: somebody else stored an instance with the same UIDs, the same elements and other pixels; its bytes tell."""
    one, two = made(1), made(2)
    other = one.content[:-2] + bytes(255 - byte for byte in one.content[-2:])
    before = house(service)
    before.drop("one.dcm", other)
    before.drop("two.dcm", two.content)
    assert before.run("drain", "--root", str(before.root), "--url", service).returncode == 0
    home = house(service, INGESTD_DONE__ACTION="delete", INGESTD_DUPLICATES__POLICY=policy)
    home.drop("one.dcm", one.content)
    home.drop("two.dcm", two.content)
    assert home.run("drain", "--root", str(home.root), "--url", service).returncode == 1
    assert home.count() == {"inbox": 0, "done": 0, "failed": 1}
    assert (home.failed / "one.dcm").read_bytes() == one.content
    assert [reason["reason"] for reason in home.reasons().values()] == ["conflict"]
    assert receipts(home) == [("two.dcm", "already_stored")]


@pytest.mark.slow
def test_old_files_leave_done_and_what_nothing_proves_stays(house: type[House], service: str) -> None:
    """`done.retention_days`: of days so short that a test can wait; empty day folders go too."""
    short = {"INGESTD_DONE__RETENTION_DAYS": "0.00003", "INGESTD_JOURNAL__RECEIPTS_DAYS": "0.00003"}
    home = house(service, INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS="2", **short)
    for one in studies(count=1, each=5):
        home.drop(one.name, one.content)
    (home.done / "2001-01-01").mkdir(parents=True)
    (home.done / "2001-01-01" / "unknown.dcm").write_bytes(made(77).content)
    home.start()
    home.waits(lambda: home.count() == {"inbox": 0, "done": 1, "failed": 0}, 120)
    home.waits(lambda: "retention" in home.events(), 30)
    home.waits(lambda: len(list(home.done.iterdir())) == 1, 30)
    assert home.stop() == 0
    assert [p.name for p in home.files(home.done)] == ["unknown.dcm"]
    assert [p.name for p in home.done.iterdir()] == ["2001-01-01"]
    assert {line["unproven"] for line in home.lines() if line["event"] == "retention"} == {1}


def a_year_ahead() -> dict[str, str]:
    """The environment of a process whose clock shows the next year. Its monotonic clock is the real one."""
    shown = subprocess.run(["faketime", "-m", "-f", "+366d", "env"], capture_output=True, text=True, check=True).stdout
    (library,) = (line.partition("=")[2] for line in shown.splitlines() if line.startswith("LD_PRELOAD="))
    return {"LD_PRELOAD": library, "FAKETIME": "+366d", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@pytest.mark.slow
def test_a_clock_of_another_year_removes_nothing(house: type[House], service: str, real: Callable[..., None]) -> None:
    """F91: neither at the start, nor after something was stored under the wrong clock and the daemon was started again."""
    real("faketime")
    lasting = {"INGESTD_DONE__RETENTION_DAYS": "365", "INGESTD_JOURNAL__RECEIPTS_DAYS": "365"}
    last, *others = studies(count=1, each=5)
    home = house(service, **lasting)
    for one in others:
        home.drop(one.name, one.content)
    assert home.run("drain", "--root", str(home.root), "--url", service).returncode == 0
    wrong = House(home.root, service, **lasting, **a_year_ahead())
    wrong.drop(last.name, last.content)
    try:
        for starts in (1, 2):
            wrong.start()
            wrong.waits(lambda n=starts: wrong.events().count("clock_doubted") == n, 30)
            wrong.waits(wrong.ended(5), 30)
            assert wrong.stop() == 0
    finally:
        wrong.close()
    assert (wrong.count()["done"], len(receipts(wrong))) == (5, 5)
    problems = {line["problem"] for line in wrong.lines() if line["event"] == "clock_doubted"}
    assert all("nothing is removed until" in problem for problem in problems)
    assert len({day.name[:4] for day in home.done.iterdir()}) == 2  # the last one was filed in the other year


def test_receipts_shorter_than_files_are_refused(house: type[House], service: str) -> None:
    """F70: exit 78, one line, before any file is touched."""
    home = house(service, INGESTD_DONE__RETENTION_DAYS="30", INGESTD_JOURNAL__RECEIPTS_DAYS="7")
    ended = home.run("run", "--root", str(home.root), "--url", service)
    assert ended.returncode == 78
    assert ended.stderr.strip().count("\n") == 0
    assert "journal.receipts_days = 7 is shorter than done.retention_days = 30" in ended.stderr
    assert not (home.root / "state").exists()


@pytest.mark.slow
def test_empty_folders_of_the_inbox_go_when_their_time_has_come(house: type[House], service: str) -> None:
    """`intake.remove_empty_dirs_after_seconds`."""
    home = house(service, INGESTD_INTAKE__REMOVE_EMPTY_DIRS_AFTER_SECONDS="1")
    home.start()
    home.drop("study/series/one.dcm", made(1).content)
    home.waits(home.ended(1), 30)
    home.waits(lambda: not list(home.inbox.iterdir()), 60)
    home.drop("study/series/two.dcm", made(2).content)
    home.waits(home.ended(2), 30)
    assert home.stop() == 0


@pytest.mark.slow
def test_a_state_folder_that_is_taken_away_ends_the_daemon_and_the_next_start_goes_on(
    house: type[House], service: str
) -> None:
    """I5, F43: exit 75, for the supervisor; another ingestd could have begun on what is there now."""
    home = house(service)
    home.drop("one.dcm", made(1).content)
    home.start()
    home.waits(home.ended(1), 30)
    shutil.rmtree(home.root / "state")
    assert home.process.wait(30) == 75
    assert "state_lost" in home._log.read_text()
    home.drop("two.dcm", made(2).content)
    home.start()
    home.waits(home.ended(2), 30)
    assert home.stop() == 0


def test_a_journal_that_is_taken_away_is_begun_anew_without_a_restart(house: type[House], service: str) -> None:
    """I5."""
    home = house(service)
    home.drop("one.dcm", made(1).content)
    home.start()
    home.waits(home.ended(1), 30)
    for file in (home.root / "state").glob("journal.sqlite*"):
        file.unlink()
    home.waits((home.root / "state" / "journal.sqlite").exists, 30)
    home.drop("two.dcm", made(2).content)
    home.waits(home.ended(2), 30)
    assert home.stop() == 0
    assert receipts(home) == [("two.dcm", "stored")]
    assert "journal_set_aside" in home.events()


QUIET = """
import fcntl
from ingestd.cli.main import main
real = fcntl.fcntl
def refuse(handle, command, argument=0):
    if command == fcntl.F_SETLEASE and argument == fcntl.F_RDLCK:
        raise PermissionError(13, "Permission denied")
    return real(handle, command, argument)
fcntl.fcntl = refuse
main()
"""


class Leaseless(House):
    """As another user without CAP_LEASE: the kernel tells nobody's writers (EACCES)."""

    def __init__(self, root: Path, url: str, **environment: str) -> None:
        super().__init__(root, url, INGESTD_INTAKE__NETWORK_QUIET_SECONDS="0.5", **environment)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", QUIET, *arguments]


@pytest.mark.slow
def test_what_is_written_after_it_was_filed_is_said_and_listed_until_it_is_mended(tmp_path: Path, service: str) -> None:
    """F75, F77: a writer that paused had it open all along; the log, /readyz and `failed list` say so, also after a restart."""
    port = free_port()
    quick = {"INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS": "3", "INGESTD_ADMIN__LISTEN": f"127.0.0.1:{port}"}
    home = Leaseless(tmp_path / "house", service, **quick)
    one, other = made(1), made(2)
    try:
        late = home.drop("late.dcm", one.content)
        with late.open("r+b") as writer:
            home.drop("good.dcm", other.content)
            home.start()
            home.waits(home.ended(2), 30)
            writer.seek(-4, os.SEEK_END)
            writer.write(b"\1\2\3\4")
        home.waits(lambda: "written_late" in home.events(), 30)
        assert home.stop() == 0
        (line,) = [line for line in home.lines() if line["event"] == "written_late"]
        assert line["level"] == "error"
        assert "late.dcm" not in json.dumps(line)
        listed = json.loads(home.run("failed", "list", "--json", "--root", str(home.root)).stdout)
        assert (listed["path"], listed["late"]) == ("late.dcm", "changed")
        assert home.run("failed", "list", "--json", "--since", "0s", "--root", str(home.root)).stdout == ""
        assert (home.done / listed["place"]).read_bytes()[-4:] == b"\1\2\3\4"
        table = home.run("failed", "list", "--root", str(home.root)).stdout
        assert all(word in table for word in ("late.dcm", "nothing is in failed/", "--replace"))

        home.start()
        home.waits(lambda: "done: 1 files were written after" in ready(port), 30)
        assert ready(port).startswith("ok\n")
        (home.done / listed["place"]).rename(home.inbox / "late.dcm")
        home.waits(home.ended(2), 30)
        assert home.reasons()["late.dcm"]["reason"] == "conflict"
        home.run("failed", "retry", "late.dcm", "--replace", "--root", str(home.root))
        home.waits(lambda: home.count() == {"inbox": 0, "done": 2, "failed": 0}, 30)
        home.waits(lambda: "done: " not in ready(port), 30)
        assert home.stop() == 0
        held = held_by(service, one.ids)
        assert held is not None
        assert held[-4:] == b"\1\2\3\4"
        assert home.run("failed", "list", "--json", "--root", str(home.root)).stdout == ""
    finally:
        home.close()


@pytest.mark.slow
def test_with_delete_and_without_leases_a_file_goes_after_its_second_look(tmp_path: Path, service: str) -> None:
    """DESIGN 3a, removal: moved, gone `incomplete_timeout_seconds` later, by the next process too; a later write keeps it."""
    quick = {"INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS": "4", "INGESTD_DONE__ACTION": "delete"}
    home = Leaseless(tmp_path / "house", service, **quick)
    one, other = made(1), made(2)
    try:
        late = home.drop("study/late.dcm", one.content)
        home.drop("study/good.dcm", other.content)
        with late.open("ab") as writer:
            home.start()
            home.waits(home.ended(2), 30)
            assert home.stop() == 0
            writer.write(b"more")
        home.start()
        home.waits(lambda: home.count()["done"] == 1, 30)
        home.waits(lambda: "written_late" in home.events(), 30)
        assert home.stop() == 0
        (kept,) = home.files(home.done)
        assert (kept.name, kept.read_bytes()) == ("late.dcm", one.content + b"more")
        assert held_by(service, other.ids) is not None
    finally:
        home.close()


def ready(port: int) -> str:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).text
    return ""


class FarLeaseless(Leaseless):
    """With done/ on another file system."""

    def __init__(self, root: Path, url: str, done: Path, **environment: str) -> None:
        folders = {"inbox": root / "inbox", "done": done, "failed": root / "failed", "state": root / "state"}
        places = {f"INGESTD_FOLDERS__{name.upper()}": str(folder) for name, folder in folders.items()}
        super().__init__(root, url, **places, **environment)
        self.done = done
        done.mkdir()

    def command(self, *arguments: str) -> list[str]:
        kept = arguments.index("--root") if "--root" in arguments else len(arguments)
        return super().command(*arguments[:kept], *arguments[kept + 2 :])


@pytest.mark.slow
def test_without_leases_a_file_crosses_to_another_file_system_when_it_has_rested(tmp_path: Path, service: str) -> None:
    """F41, F75, I1: a writer that paused goes on after the store; what it writes is judged and not copied away without it."""
    one, other = made(1), made(2)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        home = FarLeaseless(
            tmp_path / "house", service, Path(elsewhere) / "done", INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS="5"
        )
        try:
            late, good = home.drop("late.dcm", one.content), home.drop("good.dcm", other.content)
            assert late.stat().st_dev != home.done.stat().st_dev
            with late.open("r+b") as writer:
                home.start()
                home.waits(lambda: home.events().count("resting") == 2, 30)
                assert held_by(service, one.ids) is not None
                assert home.count() == {"inbox": 2, "done": 0, "failed": 0}
                writer.seek(-4, os.SEEK_END)
                writer.write(b"\1\2\3\4")
            home.waits(home.ended(2), 40)
            assert home.stop() == 0
            assert [file.read_bytes() for file in home.files(home.done)] == [other.content]
            assert not good.exists()
            assert home.reasons()["late.dcm"]["reason"] == "conflict"
            assert (home.failed / "late.dcm").read_bytes()[-4:] == b"\1\2\3\4"
        finally:
            home.close()
