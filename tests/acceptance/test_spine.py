"""A dropped file reaches done/, with the embedded service as the peer."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pydicom.data
import pytest
from fakes.bodies_fake import data_set
from fakes.disks import disk
from fakes.house import House, digest, held_by
from fakes.studies import made, studies

from ingestd.emulator.server import running

TRUE_REASONS = {
    "not_dicom",
    "truncated",
    "no_pixel_data",
    "dicomdir",
    "no_uid",
    "no_header",
    "bounds",
    "rejected",
    "conflict",
}


@pytest.mark.slow
def test_demo_ships_six_files_and_names_each_outcome(tmp_path: Path) -> None:
    """I2, I3: three stored, one already stored, two in failed/ with their true reasons, in under ten seconds."""
    house = House(tmp_path / "demo", "http://127.0.0.1:1")
    began = time.monotonic()
    ended = house.run("demo", "--json")
    assert ended.returncode == 0, ended.stderr
    assert time.monotonic() - began < 10
    shown = json.loads(ended.stdout)
    assert {row["file"]: row["outcome"] for row in shown["files"]} == {
        "green-square.dcm": "stored",
        "red-triangle.dcm": "stored",
        "blue-circle.dcm": "stored",
        "half-copied.dcm": "quarantined",
        "shopping-list.dcm": "quarantined",
        "once-more.dcm": "already stored",
    }
    whys = {row["file"]: row["why"].partition(":")[0] for row in shown["files"]}
    assert (whys["half-copied.dcm"], whys["shopping-list.dcm"]) == ("truncated", "not_dicom")
    assert shown["metrics"]['ingestd_instances_total{outcome="stored",reason=""}'] == 3
    work = Path(shown["folder"])
    for row in shown["files"]:
        assert (work / row["where"]).is_file()


UNWATCHED = """
from ingestd.cli import demo, main
made = demo._settings
def polling(work, url):
    settings = made(work, url)
    return settings.model_copy(update={"intake": settings.intake.model_copy(update={"watch": "poll"})})
demo._settings = polling
main.main()
"""


@pytest.mark.slow
def test_demo_ends_where_nothing_shows_that_a_file_is_finished(real: Callable[..., None]) -> None:
    """I2: on overlayfs, as in a container, leases prove nothing; files that were closed before the watch began have their time."""
    real("mount", "umount")
    if os.geteuid():
        pytest.skip("needs root: it mounts a file system")
    with disk("overlay") as folder:
        command = [sys.executable, "-c", UNWATCHED, "demo", "--json", "--root", str(folder / "demo")]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        left = os.listdir(folder / "demo" / "inbox")
    assert (ended.returncode, left) == (0, []), ended.stdout + ended.stderr


@pytest.mark.parametrize("taken", ["inbox", "service", "ingestd.log"])
def test_demo_says_in_one_line_what_stands_in_its_way(tmp_path: Path, taken: str) -> None:
    """Brief: what, where, how to mend it; never "please report it" for a folder that is somebody else's."""
    house = House(tmp_path / "house", "")
    work = tmp_path / "demo"
    if taken == "ingestd.log":
        (work / taken).mkdir(parents=True)
    else:
        work.mkdir()
        (work / taken).touch()
    refused = house.run("demo", "--root", str(work))
    (line,) = refused.stderr.splitlines()
    assert (refused.returncode, refused.stdout) == (78, "")
    assert line.startswith(f"ingestd: --root {work}: ")
    assert str(work / taken) in line
    assert "internal error" not in line


def test_a_second_demo_in_one_folder_at_once_is_told_so(tmp_path: Path) -> None:
    """The first one's embedded service holds the folder."""
    house = House(tmp_path / "house", "")
    work = tmp_path / "demo"
    with running(data=work / "service"):
        refused = house.run("demo", "--root", str(work))
    (line,) = refused.stderr.splitlines()
    assert (refused.returncode, refused.stdout) == (78, "")
    assert line.startswith(f"ingestd: --root {work}: ")
    assert "another emulator uses it" in line


@pytest.mark.slow
def test_every_pydicom_test_file_ends_in_done_or_failed(house: type[House], service: str) -> None:
    """I1, I3, F17, F33: pydicom's own files, many awkward, dropped at once: each ends, and failed/ says why."""
    home = house(service, INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS="3")
    package = Path(pydicom.data.__file__).parent  # its test files and palettes
    dropped = {}
    for number, source in enumerate(sorted(package.rglob("*.dcm"))):
        name = f"{number:03}-{source.name}"
        dropped[name] = digest(source.read_bytes())
        home.drop(name, source.read_bytes())
    assert len(dropped) > 70
    home.start()
    home.waits(home.ended(len(dropped)), 90)
    assert home.stop() == 0
    found = {p.name: digest(p.read_bytes()) for p in home.files(home.done) + home.files(home.failed)}
    assert found == dropped
    assert home.files(home.inbox) == []
    reasons = home.reasons()
    assert {p.name for p in home.files(home.failed)} == set(reasons)
    assert {r["reason"] for r in reasons.values()} <= TRUE_REASONS
    assert all(r["text"] and r["what_to_do"] for r in reasons.values())


@pytest.mark.slow
def test_outage_in_the_middle_costs_nothing(house: type[House], tmp_path: Path) -> None:
    """I3, F47: the service goes away and comes back; nothing is held against a file."""
    files = studies(count=6, each=50)
    data = tmp_path / "service"
    with running(data=data) as up:
        home = house(up.url)
        port = int(up.url.rpartition(":")[2].partition("/")[0])
        home.start()
        for one in files[:150]:
            home.drop(one.name, one.content)
        home.waits(home.ended(100), 30)
    for one in files[150:]:
        home.drop(one.name, one.content)
    time.sleep(float(os.environ.get("INGESTD_TEST_OUTAGE_SECONDS", "5")))
    assert home.files(home.failed) == []
    with running(data=data, port=port) as up:
        home.waits(home.ended(len(files)), 60)
        assert home.stop() == 0
        assert home.files(home.failed) == []
        assert home.digests(home.done) == sorted(digest(f.content) for f in files)
        for one in files:
            assert held_by(up.url, one.ids) is not None
    held = [line for line in home.lines() if line["event"] == "held"]
    assert held
    assert all(line["cause"] in ("unreachable", "busy", "control") for line in held)


def test_one_rejected_instance_does_not_touch_its_batch(house: type[House], service: str) -> None:
    """I2, I3, F51: 99 are done, one is in failed/ with the server's own words."""
    files = [made(n) for n in range(1, 100)]
    bad = made(100, patient_id="X" * 66)  # a PatientID has 64 characters at most: Azure rejects it
    home = house(service)
    for one in [*files, bad]:
        home.drop(one.name, one.content)
    home.start()
    home.waits(home.ended(100), 30)
    assert home.stop() == 0
    assert len(home.files(home.done)) == 99
    (reason,) = home.reasons().values()
    assert (reason["path"], reason["reason"], reason["failure_reason"]) == (bad.name, "rejected", 43264)
    assert "0010,0020" in reason["comment"]
    assert reason["sop_instance_uid"] == bad.ids[2]
    batches = [line for line in home.lines() if line["event"] == "batch"]
    assert max(line["files"] for line in batches) > 50


@pytest.mark.slow
def test_killed_in_the_middle_and_started_again_everything_is_done_once(house: type[House], service: str) -> None:
    """I1, F37, F43: SIGKILL, start again; all done, none lost, none twice in done/."""
    files = studies(count=10, each=100)
    home = house(service)
    for one in files:
        home.drop(one.name, one.content)
    for stop_at in (100, 400, 700):
        home.start()
        home.waits(home.ended(stop_at), 60)
        home.stop(signal.SIGKILL)
        assert 0 < len(home.files(home.inbox)) < 1000
    home.start()
    home.waits(home.ended(1000), 90)
    assert home.stop() == 0
    assert home.count() == {"inbox": 0, "done": 1000, "failed": 0}
    assert home.digests(home.done) == sorted(digest(f.content) for f in files)
    for one in files[::37]:
        held = held_by(service, one.ids)
        assert held is not None
        assert held[128:] == one.content[128:]


def test_a_file_dropped_again_is_already_stored_and_a_changed_one_a_conflict(house: type[House], service: str) -> None:
    """I2, F36: the same bytes are filed by their receipt; other bytes under the same UIDs are never "already stored"."""
    one = made(1)
    other = one.content.replace(b"Anony^Mous", b"Other^Name")
    home = house(service)
    home.start()
    home.drop("first.dcm", one.content)
    home.waits(home.ended(1), 20)
    home.drop("again.dcm", one.content)
    home.waits(home.ended(2), 20)
    home.drop("changed.dcm", other)
    home.waits(home.ended(3), 20)
    assert home.stop() == 0
    assert {p.name for p in home.files(home.done)} == {"first.dcm", "again.dcm"}
    assert home.reasons()["changed.dcm"]["reason"] == "conflict"


@pytest.mark.slow
def test_a_lost_journal_costs_a_second_sending_and_nothing_else(house: type[House], service: str) -> None:
    """I5, F42: without a receipt the service's metadata is compared with the file's own elements."""
    one = made(1)
    home = house(service)
    home.start()
    home.drop("first.dcm", one.content)
    home.waits(home.ended(1), 20)
    home.stop()
    for file in (home.root / "state").glob("journal*"):
        file.unlink()
    home.drop("again.dcm", one.content)
    home.drop("changed.dcm", one.content.replace(b"Anony^Mous", b"Other^Name"))
    home.start()
    home.waits(home.ended(3), 20)
    home.stop()
    assert {p.name for p in home.files(home.done)} == {"first.dcm", "again.dcm"}
    assert home.reasons()["changed.dcm"]["reason"] == "conflict"


def test_a_damaged_journal_is_set_aside(house: type[House], service: str) -> None:
    """I5, F42: the daemon says so and goes on."""
    home = house(service)
    (home.root / "state").mkdir()
    (home.root / "state" / "journal.sqlite").write_bytes(b"not a database at all" * 500)
    home.drop("one.dcm", made(1).content)
    home.start()
    home.waits(home.ended(1), 20)
    assert home.stop() == 0
    assert "journal_set_aside" in home.events()


def test_a_growing_file_is_sent_when_it_is_whole(house: type[House], service: str) -> None:
    """F14, F15, F18: a writer that opens, appends and closes, with pauses longer than the quiet period."""
    one = made(1, size=40_000)
    home = house(service, INGESTD_INTAKE__QUIET_SECONDS="0.2")
    home.start()
    target = home.inbox / "slow.dcm"
    for at in range(0, len(one.content), 10_000):
        with open(target, "ab") as out:
            out.write(one.content[at : at + 10_000])
        time.sleep(0.5)
    home.waits(home.ended(1), 20)
    assert home.stop() == 0
    held = held_by(service, one.ids)
    assert held is not None
    assert held[128:] == one.content[128:]


def test_sigterm_finishes_what_is_in_flight_and_a_second_one_leaves_at_once(house: type[House], service: str) -> None:
    """F66: exit 0, the last line says what is left, and nothing is lost."""
    files = studies(count=20, each=50)
    home = house(service)
    for one in files:
        home.drop(one.name, one.content)
    home.start()
    home.waits(home.ended(50), 30)
    began = time.monotonic()
    assert home.stop() == 0
    assert time.monotonic() - began < 10
    last = home.lines()[-1]
    assert (last["event"], last["left"] > 0) == ("stopped", True)
    assert sum(home.count().values()) == len(files)


def test_a_second_daemon_on_the_same_state_is_refused(house: type[House], service: str) -> None:
    """F43: exit 75 and one line; the first goes on."""
    home = house(service)
    home.start()
    home.waits((home.root / "state" / "journal.sqlite").exists, 20)
    second = home.run("run", "--root", str(home.root), "--url", service)
    assert second.returncode == 75
    assert len(second.stderr.splitlines()) == 1
    assert home.stop() == 0


@pytest.mark.slow
def test_drain_says_what_came_of_it_by_its_exit_code(house: type[House], service: str) -> None:
    """0 all stored, 1 some failed, 75 some left."""
    home = house(service, INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS="1")
    home.drop("one.dcm", made(1).content)
    drained = home.run("drain", "--root", str(home.root), "--url", service, "--json")
    assert (drained.returncode, json.loads(drained.stdout)) == (
        0,
        {"done": 1, "failed": 0, "left": 0, "end": "drained"},
    )
    home.drop("half.dcm", made(2).content[:2000])
    assert home.run("drain", "--root", str(home.root), "--url", service).returncode == 1
    home.drop("two.dcm", made(3).content)
    away = home.run("drain", "--root", str(home.root), "--url", "http://127.0.0.1:9", "--timeout", "2")
    assert away.returncode == 75
    assert [p.name for p in home.files(home.inbox)] == ["two.dcm"]


def test_no_name_of_a_patient_reaches_log_or_journal_of_errors(house: type[House], service: str) -> None:
    """I7, F71: a canary in file name and data set appears in no line of the log."""
    canary = "KANARIENVOGEL"
    one = made(1, patient_id=f"{canary:X<66}")  # rejected, and the server's comment may quote it
    home = house(service, INGESTD_LOG__LEVEL="debug", INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS="1")
    home.drop(f"{canary}-rejected.dcm", one.content)
    home.drop(f"{canary}-half.dcm", made(2).content[:1500])
    home.drop(f"{canary}\nx-whole.dcm", made(3).content)
    home.start()
    home.waits(home.ended(3), 30)
    assert home.stop() == 0
    assert canary not in (home.root / "log.jsonl").read_text()
    assert home.lines()


def test_receipts_say_when_where_and_what(house: type[House], service: str) -> None:
    """I5: one receipt a stored file, with the digest of the data set, and what proves it."""
    one = made(1)
    home = house(service)
    home.drop("one.dcm", one.content)
    assert home.run("drain", "--root", str(home.root), "--url", service).returncode == 0
    journal = sqlite3.connect(home.root / "state" / "journal.sqlite")
    rows = journal.execute("SELECT sop_instance_uid, sha256, outcome, proof, service FROM receipts").fetchall()
    journal.close()
    assert rows == [(one.ids[2], digest(data_set(one.content)), "stored", "new", service.removesuffix("/v2"))]


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (["--url", "https://x/v2"], {}, "folders"),
        (["--root", "."], {}, "service.url"),
        (["--root", ".", "--url", "http://example.org/v2"], {}, "not encrypted"),
        (["--root", ".", "--url", "ftp://example.org"], {}, "service.url"),
        (["--root", ".", "--url", "https://x/v2"], {"INGESTD_SERVICE__TYPO": "1"}, "service.typo"),
        (["--root", ".", "--url", "https://x/v2"], {"INGESTD_BATCH__MAX_BYTES": "lots"}, "batch.max_bytes"),
        (["--root", ".", "--url", "https://x/v2"], {"INGESTD_FOLDERS__DONE": "inbox/done"}, "folders.done"),
        (["--root", "nowhere", "--url", "https://x/v2"], {}, "folders.inbox"),
        (["--config", "nothing.toml"], {}, "nothing.toml"),
        (["--root", ".", "--url", "https://x/v2"], {"INGESTD_AUTH__MODE": "token-file"}, "auth.token_file"),
    ],
)
def test_bad_configuration_is_one_clear_line_and_exit_78(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], named: str
) -> None:
    """F70: before any file is touched."""
    home = House(tmp_path, "", **environment)
    if "INGESTD_FOLDERS__DONE" in environment:  # flags beat the environment, so all four come from there
        arguments = arguments[2:]
        for name in ("inbox", "failed", "state"):
            environment[f"INGESTD_FOLDERS__{name.upper()}"] = name
        home = House(tmp_path, "", **environment)
    refused = home.run("run", *arguments)
    assert refused.returncode == 78
    (line,) = refused.stderr.splitlines()
    assert named in line
    assert line.startswith("ingestd: ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inbox"]


def test_a_taken_port_is_a_bad_configuration(house: type[House], service: str) -> None:
    """F70: the line names admin.listen."""
    port = service.rpartition(":")[2].partition("/")[0]
    home = house(service, INGESTD_ADMIN__LISTEN=f"127.0.0.1:{port}")
    refused = home.run("run", "--root", str(home.root), "--url", service)
    assert (refused.returncode, "admin.listen" in refused.stderr) == (78, True)


def test_module_runs_like_the_command() -> None:
    """`python -m ingestd --help` lists the commands."""
    shown = subprocess.run([sys.executable, "-m", "ingestd", "--help"], capture_output=True, text=True, check=True)
    assert all(name in shown.stdout for name in ("run", "drain", "demo", "emulator", "config"))
