"""What a person does about failed/ and the brake, with the real daemon and the embedded service."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fakes.hostile_server import hostile
from fakes.house import House, held_by
from fakes.scripted_origin import STORED, ScriptedOrigin, Warned, judges
from fakes.studies import Made, made

from ingestd.core.answers.warning_reasons import warning_of
from ingestd.core.when import rfc3339

REJECTED = made(1, patient_id="X" * 66)  # a PatientID has 64 characters at most: Azure rejects it


def with_one_rejected(house: type[House], service: str, name: str = REJECTED.name, **environment: str) -> House:
    """A running daemon with one file in failed/."""
    home = house(service, **environment)
    home.drop(name, REJECTED.content)
    home.start()
    home.waits(home.ended(1), 20)
    return home


def failed(home: House, *arguments: str, code: int = 0) -> str:
    """What `ingestd failed ...` prints; with the folders and nothing else."""
    ended = home.run("failed", *arguments, "--root", str(home.root))
    assert ended.returncode == code, ended.stderr
    return ended.stdout


def on_a_terminal(home: House, *arguments: str) -> str:
    """What a person sees, 80 columns wide."""
    ours, terminal = os.openpty()
    command = home.command(*arguments, "--root", str(home.root))
    with subprocess.Popen(command, env=home.environment(), stdout=terminal, stdin=subprocess.DEVNULL) as process:
        os.close(terminal)
        seen = b""
        with suppress(OSError):  # EIO: nobody holds the other end any more
            while piece := os.read(ours, 1 << 16):
                seen += piece
        assert process.wait(60) == 0
    os.close(ours)
    return seen.decode().replace("\r\n", "\n")


def rejections(home: House) -> int:
    return sum(line["event"] == "quarantined" for line in home.lines())


def reason_files(home: House) -> list[dict[str, Any]]:
    return [json.loads(p.read_bytes()) for p in sorted(home.failed.rglob("*.reason.json"))]


@pytest.mark.slow
def test_listed_shown_and_sent_again_while_the_daemon_runs(house: type[House], service: str) -> None:
    """Design 5: `failed list|show|retry`, and I3: a second verdict is written anew."""
    home = with_one_rejected(house, service)
    (before,) = reason_files(home)
    assert "0010,0020" in before["comment"]

    table = failed(home, "list")
    assert all(word in table for word in (REJECTED.name, "rejected", "(FailureReason 43264)", before["failed_at"]))
    assert before["what_to_do"] in table
    assert "0010,0020" not in table
    (line,) = failed(home, "list", "--json").splitlines()
    assert json.loads(line) == {key: value for key, value in before.items() if key != "comment"}
    shown = failed(home, "show", REJECTED.name)
    assert all(word in shown for word in ("0010,0020", before["sop_instance_uid"], before["what_to_do"]))
    assert json.loads(failed(home, "show", REJECTED.name, "--json")) == before

    assert failed(home, "retry", REJECTED.name) == "1 put back into the inbox\n"
    home.waits(lambda: rejections(home) == 2, 20)
    assert home.stop() == 0
    (after,) = reason_files(home)
    assert after["failed_at"] > before["failed_at"]
    changed = {"failed_at", "first_seen", "http_status"}
    assert {k: v for k, v in after.items() if k not in changed} == {k: v for k, v in before.items() if k not in changed}
    assert home.count() == {"inbox": 0, "done": 0, "failed": 1}
    assert "X" * 66 not in (home.root / "log.jsonl").read_text()


@pytest.mark.slow
def test_a_long_list_comes_as_it_is_found_and_in_few_bytes(house: type[House]) -> None:
    """F90: rows of fixed widths, none of which waits for another; a table of 5,000 took 25 MB more."""
    home = house("")
    (home.failed / "s").mkdir(parents=True)
    names = [f"{number:05}.dcm" for number in range(5000)]
    reason = {
        "version": 1,
        "reason": "rejected",
        "failed_at": "2026-01-02T03:04:05.678Z",
        "text": "no",
        "what_to_do": "mend",
    }

    def peak(*arguments: str) -> tuple[int, list[str]]:
        """MiB, and what was printed."""
        command = home.command("failed", "list", *arguments, "--root", str(home.root))
        with subprocess.Popen(command, env=home.environment(), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            printed = process.stdout.read().splitlines()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return used.ru_maxrss >> 10, printed

    nothing, _ = peak()
    for name in names:
        (home.failed / "s" / name).touch()
        (home.failed / "s" / f"{name}.reason.json").write_text(json.dumps(reason | {"path": f"s/{name}"}))
    table, rows = peak()
    as_json, lines = peak("--json")
    assert rows[0] == "when (UTC)                reason         path in failed/"
    assert rows[1::2][:5000] == [f"2026-01-02T03:04:05.678Z  rejected       s/{name}" for name in names]
    assert set(rows[2:10_001:2]) == {"    no"}
    assert rows[10_001:10_004] == ["", "5,000 files in failed/:", "  rejected, 5,000 files: mend"]
    assert [json.loads(line)["path"] for line in lines] == [f"s/{name}" for name in names]
    assert max(table, as_json) - nothing < 10


def test_a_newcomer_reads_what_failed_when_why_and_what_to_do(house: type[House]) -> None:
    """At 80 columns: each file with its text, each reason with its number and its mend; `--since`, also as JSON."""
    home = house("", COLUMNS="80")
    home.failed.mkdir()
    now = time.time()

    def put(name: str, reason: str, text: str, what_to_do: str, failed_at: str) -> None:
        why = {"reason": reason, "text": text, "what_to_do": what_to_do, "failed_at": failed_at, "comment": "Anna"}
        (home.failed / name).write_bytes(b"x")
        (home.failed / f"{name}.reason.json").write_text(json.dumps({"version": 1, "path": name} | why))

    put("a.dcm", "truncated", "it is cut", "copy it again " * 6, rfc3339(now - 30 * 3600))
    put("b.dcm", "rejected", "no " * 40, "correct it", rfc3339(now - 3600))
    put("c.dcm", "truncated", "it is cut, too", "copy it again " * 6, rfc3339(now - 60))
    put("d.dcm", "poison", "nobody knows", "ask", "some time")
    lines = on_a_terminal(home, "failed", "list").splitlines()
    *rows, total, truncated, more, rejected, poison, _, hint, hint_more = lines
    assert max(map(len, lines)) <= 80
    assert rows[:3] == [
        "when (UTC)                reason         path in failed/",
        f"{rfc3339(now - 30 * 3600)}  truncated      a.dcm",
        "    it is cut",
    ]
    assert rows[-3:] == ["?                         poison         d.dcm", "    nobody knows", ""]
    assert total == f"4 files in failed/, from {rfc3339(now - 30 * 3600)} to {rfc3339(now - 60)}:"
    assert truncated.startswith("  truncated, 2 files: copy it again")
    assert more.startswith("    ")
    assert (rejected, poison) == ("  rejected, 1 file: correct it", "  poison, 1 file: ask")
    assert "`ingestd failed show PATH`" in hint + hint_more
    assert not any("Anna" in line for line in lines)

    def since(*arguments: str) -> list[str]:
        return [json.loads(line)["path"] for line in failed(home, "list", "--json", "--since", *arguments).splitlines()]

    assert since("24h") == ["b.dcm", "c.dcm", "d.dcm"]
    assert since(rfc3339(now - 120)) == ["c.dcm", "d.dcm"]  # nobody knows when the last one failed
    assert since("2w", "--reason", "truncated") == ["a.dcm", "c.dcm"]
    assert failed(home, "list", "--since", "1s", "--reason", "truncated").startswith(
        "nothing in failed/ is truncated since 20"
    )


def test_show_wraps_prose_and_leaves_a_uid_whole(house: type[House]) -> None:
    """At 80 columns: what a person copies, a UID or a path, stands on one line, and nothing behind it."""
    home = house("", COLUMNS="80")
    home.failed.mkdir()
    uid, name = f"1.2.{'3' * 60}", f"{'n' * 40} {'m' * 40}.dcm"
    why = {
        "version": 1,
        "reason": "rejected",
        "text": "no word " * 20,
        "path": name,
        "sop_instance_uid": uid,
        "comment": None,
    }
    why |= {"what_to_do": f"{'say ' * 10}so `failed retry --as-is`", "comment": None}  # column 80 stands behind `--as-`
    (home.failed / name).write_bytes(b"x")
    (home.failed / f"{name}.reason.json").write_text(json.dumps(why))
    lines = on_a_terminal(home, "failed", "show", name).splitlines()
    assert {f"sop_instance_uid  {uid}", f"path              {name}", "comment"} <= set(lines)
    assert max(len(line) for line in lines if "word" in line) <= 80
    assert any("--as-is`" in line for line in lines)
    assert [line for line in lines if line != line.rstrip()] == []


def test_a_reader_that_has_seen_enough_is_no_error(house: type[House]) -> None:
    """`ingestd config show | head`: said to nobody, because nothing is wrong."""
    home = house("http://127.0.0.1:9/v2")
    reader, writer = os.pipe()
    os.close(reader)
    command = home.command("config", "show", "--root", str(home.root), "--url", "http://127.0.0.1:9/v2")
    ended = subprocess.run(
        command, check=False, env=home.environment(), stdout=writer, stderr=subprocess.PIPE, timeout=60
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_kinds_that_nobody_bounds_are_counted_together(house: type[House]) -> None:
    """F90: what stands in a reason file may be anything."""
    home = house("")
    home.failed.mkdir()
    for n in range(150):
        (home.failed / f"{n:03}.dcm").write_bytes(b"x")
        why = {"version": 1, "path": "x", "reason": "poison", "what_to_do": f"do {n}"}
        (home.failed / f"{n:03}.dcm.reason.json").write_text(json.dumps(why))
    lines = failed(home, "list").splitlines()
    kinds = lines[lines.index("150 files in failed/:") + 1 : -2]
    assert len(kinds) == 101
    assert kinds[0] == "  of more kinds, 50 files: see `ingestd failed show PATH`"


@pytest.mark.slow
def test_what_was_stored_with_a_warning_is_listed_with_the_warning(house: type[House]) -> None:
    """F51: from the receipts, while the daemon runs and afterwards; each with its words, and what to do."""
    verdicts = {1: 45056, 2: 45062, 3: 45063, 4: 1, 5: 45312}
    files = {number: made(number) for number in (*verdicts, 6)}

    behaviour = judges({6: STORED} | {number: Warned(code) for number, code in verdicts.items()})
    with hostile(ScriptedOrigin(store=[behaviour])) as server:
        home = house(server.url)
        none = home.run("failed", "list", "--warnings", "--root", str(home.root))
        assert (none.returncode, "there is no journal" in none.stderr) == (78, True)
        for number, one in files.items():
            home.drop(f"{number}.dcm", one.content)
        home.start()
        home.waits(home.ended(len(files)), 60)
        while_it_runs = failed(home, "list", "--warnings")
        assert home.stop() == 0
    assert failed(home, "list", "--warnings") == while_it_runs
    lines = while_it_runs.splitlines()
    assert lines[0] == "when (UTC)                WarningReason  path in the inbox"
    rows = {
        line.split()[-1]: (line[26:39].strip(), text.strip())
        for line, text in itertools.pairwise(lines)
        if line.endswith(".dcm")
    }
    assert {name: kind for name, (kind, _) in rows.items()} == {
        "1.dcm": "45056 (B000H)",
        "2.dcm": "45062 (B006H)",
        "3.dcm": "45063 (B007H)",
        "4.dcm": "1",
        "5.dcm": "45312 (B100H)",
    }
    assert {name: text for name, (_, text) in rows.items()} == {
        f"{number}.dcm": warning_of(code).text for number, code in verdicts.items()
    }
    assert any(line.startswith("5 files stored with a warning, from 2") for line in lines)
    assert any(line.startswith("  WarningReason 45062 (B006H), 1 file: keep the file in done/") for line in lines)
    objects = [json.loads(line) for line in failed(home, "list", "--warnings", "--json").splitlines()]
    assert {one["path"]: one["warning_reason"] for one in objects} == {f"{n}.dcm": code for n, code in verdicts.items()}
    assert {one["sop_instance_uid"] for one in objects} == {files[n].ids[2] for n in verdicts}
    assert failed(home, "list", "--warnings", "--since", "0s").startswith("nothing was stored with a warning since 20")
    failed(home, "list", "--warnings", "--reason", "poison", code=2)
    failed(home, "list", "--since", "yesterday", code=2)


@pytest.mark.slow
def test_they_work_while_no_daemon_runs(house: type[House], service: str) -> None:
    """Design 5: they take no lock and ask nobody."""
    home = with_one_rejected(house, service)
    assert home.stop() == 0
    assert len(failed(home, "list", "--json").splitlines()) == 1
    assert failed(home, "retry", "--reason", "conflict") == "0 put back into the inbox\n"
    assert json.loads(failed(home, "retry", "--reason", "rejected", "--json")) == {
        "put_back": 1,
        "left": 0,
        "tried_all": True,
        "brake": None,
    }
    assert home.count() == {"inbox": 1, "done": 0, "failed": 0}
    assert failed(home, "list") == "nothing is in failed/\n"
    assert list(home.failed.rglob("*.reason.json")) == []


@pytest.mark.slow
def test_filters_by_reason(house: type[House], service: str) -> None:
    """`--reason CODE`."""
    home = house(service, INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS="1")
    home.drop("half.dcm", made(2).content[:1500])
    home.drop(REJECTED.name, REJECTED.content)
    home.start()
    home.waits(home.ended(2), 20)
    assert home.stop() == 0

    def listed(*arguments: str) -> list[str]:
        return [json.loads(line)["path"] for line in failed(home, "list", "--json", *arguments).splitlines()]

    assert listed() == ["half.dcm", REJECTED.name]
    assert listed("--reason", "truncated") == ["half.dcm"]
    assert listed("--reason", "poison") == []
    assert failed(home, "list", "--reason", "poison") == "nothing in failed/ is poison\n"


@pytest.mark.slow
def test_some_that_could_not_be_put_back_are_exit_1(house: type[House], service: str) -> None:
    """Design 5: exit codes. The others are put back; each that is not is named."""
    home = with_one_rejected(house, service)
    assert home.stop() == 0
    refused = home.run("failed", "retry", "nowhere.dcm", REJECTED.name, "--root", str(home.root))
    assert (refused.returncode, refused.stdout) == (1, "1 put back into the inbox, 1 could not be\n")
    assert refused.stderr == "ingestd: nowhere.dcm: there is no such file in failed/\n"
    assert failed(home, "show", "nowhere.dcm", code=1) == ""


def test_says_what_was_not_tried_after_the_state_folder_failed(house: type[House]) -> None:
    """What can't be ordered for one file can't be for the next: it stops, and does not count the others as done."""
    home = house("")
    home.failed.mkdir()
    (home.root / "state").mkdir()
    (home.root / "state" / "replace").touch()  # where the orders would go
    names = [f"{n}.dcm" for n in range(3)]
    for name in names:
        (home.failed / name).write_bytes(b"x")

    def retried(*arguments: str) -> str:
        return failed(home, "retry", "--replace", *arguments, code=1)

    assert retried("--all") == "0 put back into the inbox, 1 could not be, the rest was not tried\n"
    expected = {"put_back": 0, "left": 1, "tried_all": False, "brake": None}
    assert json.loads(retried(*names, "--json")) == expected
    assert retried(names[0]) == "0 put back into the inbox, 1 could not be\n"
    assert json.loads(retried(names[0], "--json")) == expected | {"tried_all": True}
    assert home.count() == {"inbox": 0, "done": 0, "failed": 3}


@pytest.mark.slow
def test_a_path_that_leads_to_the_file_will_do(house: type[House], service: str) -> None:
    """A shell completes paths from where one is (the tests' commands run in the root), and absolute ones."""
    home = with_one_rejected(house, service, "study/one.dcm")
    assert home.stop() == 0
    paths = ("study/one.dcm", "failed/study/one.dcm", str(home.failed / "study" / "one.dcm.reason.json"))
    assert {json.loads(failed(home, "show", path, "--json"))["path"] for path in paths} == {"study/one.dcm"}


@pytest.mark.slow
def test_nothing_in_a_name_or_a_comment_reaches_the_terminal_raw(house: type[House], service: str) -> None:
    """Who drops files chooses names, and a service chooses its words."""
    name = "a\x1b[31m\n[bold]b\u202e\udcff.dcm"
    home = with_one_rejected(house, service, name)
    assert home.stop() == 0
    (reason,) = home.failed.rglob("*.reason.json")
    reason.write_text(json.dumps(json.loads(reason.read_bytes()) | {"comment": "\x1b]0;title\x07[red]"}))
    listed, shown, retried = failed(home, "list"), failed(home, "show", name), failed(home, "retry", "--all")
    assert not {c for c in listed + shown + retried if not c.isprintable()} - {"\n"}
    assert r"a\x1b[31m\n[bold]b\u202e\xff.dcm" in listed
    assert r"\x1b]0;title\x07[red]" in shown
    assert (home.inbox / name).read_bytes() == REJECTED.content


@pytest.mark.slow
def test_damage_in_failed_is_said_and_is_no_failure(house: type[House], service: str) -> None:
    """An orphan and a damaged reason file go to standard error; what is sound is listed."""
    home = with_one_rejected(house, service)
    assert home.stop() == 0
    (home.failed / "orphan.dcm.reason.json").write_text('{"version": 1, "path": "orphan.dcm", "reason": "poison"}')
    (home.failed / "odd.dcm").write_bytes(b"x")
    (home.failed / "odd.dcm.reason.json").write_text("{")
    listed = home.run("failed", "list", "--json", "--root", str(home.root))
    assert (listed.returncode, [json.loads(line)["path"] for line in listed.stdout.splitlines()]) == (
        0,
        [REJECTED.name],
    )
    assert [line.split(": ")[1] for line in listed.stderr.splitlines()] == ["odd.dcm", "orphan.dcm"]
    everything = home.run("failed", "retry", "--all", "--root", str(home.root))
    assert (everything.returncode, everything.stdout) == (0, "2 put back into the inbox\n")
    assert (home.failed / "orphan.dcm.reason.json").is_file()


@pytest.mark.parametrize(
    "arguments",
    [["retry"], ["retry", "a.dcm", "--all"], ["retry", "--all", "--reason", "poison"], ["list", "--reason", "odd"]],
)
def test_what_makes_no_sense_is_exit_2(house: type[House], service: str, arguments: list[str]) -> None:
    """Usage."""
    home = house(service)
    failed(home, *arguments, code=2)


@pytest.mark.slow
def test_folders_are_all_they_need(house: type[House], tmp_path: Path) -> None:
    """No service.url, no secret: but the folders must be right, exit 78."""
    file = tmp_path / "ingestd.toml"
    file.write_text("[service]\nconcurrency = 2\n[auth]\nmode = 'token-file'\n")
    home = house("", INGESTD_CONFIG=str(file))
    nowhere = home.run("failed", "list", "--root", str(home.root))
    assert (nowhere.returncode, nowhere.stderr.count("folders.failed")) == (78, 1)
    home.failed.mkdir()
    assert failed(home, "list") == "nothing is in failed/\n"
    unset = home.run("failed", "list")
    assert (unset.returncode, "folders is not set" in unset.stderr) == (78, True)
    gone = home.run("resume", "--root", str(home.root))
    assert (gone.returncode, gone.stderr.count("folders.state")) == (78, 1)


@pytest.mark.slow
def test_resume_takes_the_brake_off_and_says_why_it_was_on(house: type[House], service: str) -> None:
    """Design 3: the brake survives a restart; a running daemon notices, and files go out."""
    one: Made = made(3)
    home = house(service)
    state = home.root / "state"
    state.mkdir()
    (state / "brake.json").write_text('{"version": 1, "why": "50 in a row were refused"}')
    home.drop(one.name, one.content)
    home.start()
    home.waits(lambda: any(line["event"] == "braked" for line in home.lines()), 20)
    home.failed.mkdir(exist_ok=True)
    assert "50 in a row were refused" in failed(home, "retry", "--all")
    released = home.run("resume", "--root", str(home.root))
    assert released.returncode == 0
    assert released.stdout.startswith("the brake is off; it was on since 2")
    assert released.stdout.endswith("Z: 50 in a row were refused\n")
    home.waits(home.ended(1), 20)
    assert home.stop() == 0
    assert held_by(service, one.ids) is not None
    again = home.run("resume", "--root", str(home.root))
    assert (again.returncode, again.stdout) == (0, "the brake was not on\n")
    as_json = json.loads(home.run("resume", "--json", "--root", str(home.root)).stdout)
    assert as_json == {"released": False, "why": None, "since": None}


@pytest.mark.slow
def test_retry_with_replace_puts_the_chosen_bytes_in_place_of_the_held_ones(house: type[House], service: str) -> None:
    """Design 3, conflict: `failed retry --replace` replaces just those chosen."""
    one = made(4)
    other = one.content.replace(b"Anony^Mous", b"Other^Name")
    home = house(service)
    home.start()
    home.drop("first.dcm", one.content)
    home.waits(home.ended(1), 20)
    home.drop("changed.dcm", other)
    home.waits(home.ended(2), 20)
    assert home.reasons()["changed.dcm"]["reason"] == "conflict"
    failed(home, "retry", "changed.dcm")
    home.waits(lambda: rejections(home) == 2, 20)
    failed(home, "retry", "--reason", "conflict", "--replace")
    home.waits(lambda: home.count() == {"inbox": 0, "done": 2, "failed": 0}, 20)
    assert home.stop() == 0
    held = held_by(service, one.ids)
    assert held is not None
    assert held[128:] == other[128:]
    assert not (home.root / "state" / "replace").exists()


@pytest.mark.slow
def test_retry_as_is_sends_what_the_walk_refuses(house: type[House], service: str) -> None:
    """DESIGN 2: on a person's word, byte for byte; `--dry-run` says so first; what has no UIDs is refused in one line."""
    one = made(5)
    cut = one.content[:-10]
    home = house(service, INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS="1")
    home.drop("cut.dcm", cut)
    home.drop("no.dcm", b"no DICOM" * 100)
    home.start()
    home.waits(home.ended(2), 30)
    assert {name: why["reason"] for name, why in home.reasons().items()} == {
        "cut.dcm": "truncated",
        "no.dcm": "not_dicom",
    }
    dry = failed(home, "retry", "cut.dcm", "--as-is", "--dry-run")
    assert dry == "cut.dcm: into the inbox as cut.dcm, to be sent as it is\n1 would be put back into the inbox\n"
    assert home.count() == {"inbox": 0, "done": 0, "failed": 2}
    refused = home.run("failed", "retry", "no.dcm", "--as-is", "--root", str(home.root))
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "its UIDs can't be read" in refused.stderr
    assert failed(home, "retry", "cut.dcm", "--as-is") == "1 put back into the inbox\n"
    home.waits(lambda: home.count() == {"inbox": 0, "done": 1, "failed": 1}, 30)
    assert home.stop() == 0
    (filed,) = home.files(home.done)
    assert filed.read_bytes() == cut
    assert not (home.root / "state" / "as_is").exists()
