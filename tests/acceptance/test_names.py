"""What the inbox's names and folders keep from being sent, as the person sees it who waits for it: drain, the log, /readyz.

The daemon runs without capabilities (fakes.powerless): where the tests run as root, files of another owner are truly another's.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fakes.hostile_server import hostile
from fakes.house import House, digest
from fakes.powerless import powerless
from fakes.scripted_origin import ScriptedOrigin
from fakes.studies import made

SOMEBODY = 65534
MakePlain = Callable[..., "Plain"]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a folder of another owner")


class Plain(House):
    """A daemon without privileges, and its page."""

    port = 0

    def command(self, *arguments: str) -> list[str]:
        return powerless([sys.executable, "-m", "ingestd", *arguments])

    def drain(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("drain", "--root", str(self.root), "--url", self.url, "--timeout", "30", *arguments)

    def page(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", trust_env=False)

    def shows(self, path: str, text: str) -> Callable[[], bool]:
        def shown() -> bool:
            try:
                return text in self.page(path).text
            except httpx.HTTPError:
                return False

        return shown

    def said(self, event: str) -> list[dict[str, object]]:
        return [line for line in self.lines() if line["event"] == event]


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[MakePlain]:
    homes: list[Plain] = []

    def make(url: str, **environment: str) -> Plain:
        homes.append(Plain(tmp_path / f"house{len(homes)}", url, **environment))
        return homes[-1]

    yield make
    for home in homes:
        home.close()


def listening(home: Plain) -> Plain:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        home.port = int(free.getsockname()[1])
    home._environment = {**home._environment, "INGESTD_ADMIN__LISTEN": f"127.0.0.1:{home.port}"}
    return home


def a_media_folder(home: House) -> None:
    """What a CD of a modality looks like: no endings, an index, and what a desktop left there."""
    for n in range(1, 6):
        home.drop(f"IM{n:06}", made(n).content)
    home.drop("DICOMDIR", made(6).content)
    (home.inbox / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" * 200)
    (home.inbox / "IM000009.part").write_bytes(made(9).content)
    home.drop("a.dcm", made(10).content)


NOT_TAKEN = '5 files were not taken: their names do not match intake.include = ["*.dcm"], such as IM00000'


def test_drain_says_what_no_pattern_takes_however_short_it_is(plain: MakePlain) -> None:
    """F93, I1: exit 0 would be a lie; only what begins like DICOM and is meant to be sent counts."""
    with hostile(ScriptedOrigin()) as server:
        home = plain(server.url)
        a_media_folder(home)
        ended = home.drain()
        assert ended.returncode == 75
        first, second = ended.stdout.splitlines()
        assert first == "1 done, 0 failed, 5 left: everything else has ended"
        assert second.startswith(NOT_TAKEN)
        (line,) = [json.loads(text) for text in ended.stderr.splitlines() if '"ignored"' in text]
        assert (line["files"], line["reason"], line["level"]) == (5, "no_pattern", "warning")
        assert "IM0" not in ended.stderr

        told = json.loads(home.drain("--json").stdout)
        assert (told["done"], told["left"], told["not_taken"], told["end"]) == (0, 5, 5, "drained")
        assert told["notes"][0].startswith(NOT_TAKEN)


def test_drain_with_no_name_left_out_says_that_all_has_ended(plain: MakePlain) -> None:
    """F93: what is no DICOM, and what is in a bin, is nobody's loss; nothing of a bin is sent."""
    with hostile(service := ScriptedOrigin()) as server:
        home = plain(server.url)
        home.drop("a.dcm", made(1).content)
        for n, name in enumerate(
            ("#recycle", "@Recycle", "$RECYCLE.BIN/S-1-5-21", ".Trash-1000/files", "lost+found"), 2
        ):
            home.drop(f"{name}/b.dcm", made(n).content)
        (home.inbox / "Thumbs.db").write_bytes(b"no DICOM")
        ended = home.drain()
    assert (ended.returncode, ended.stdout) == (0, "1 done, 0 failed, 0 left: everything that was there has ended\n")
    assert [digest(part) for part in service.arrived] == [digest(made(1).content)]
    assert home.count()["inbox"] == 6


@pytest.mark.parametrize("value", ["dicom", '"dicom"'])
def test_dicom_takes_whatever_begins_like_it(plain: MakePlain, value: str) -> None:
    """F93: one setting for a CD, and what is no DICOM neither fails nor counts."""
    with hostile(ScriptedOrigin()) as server:
        home = plain(server.url, INGESTD_INTAKE__INCLUDE=value, INGESTD_INTAKE__EXCLUDE='["DICOMDIR"]')
        a_media_folder(home)
        ended = home.drain()
    assert (ended.returncode, home.count()) == (0, {"inbox": 3, "done": 6, "failed": 0})


def test_drain_does_not_speak_of_rights_where_a_beginning_is_missing(plain: MakePlain) -> None:
    """F93: zeros may still become DICOM: exit 75, and what helps."""
    with hostile(ScriptedOrigin()) as server:
        home = plain(server.url, INGESTD_INTAKE__INCLUDE="dicom")
        home.drop("IM1", bytes(100_000))
        ended = home.drain()
    assert ended.returncode == 75
    (line,) = (line for line in ended.stderr.splitlines() if line.startswith("ingestd: "))
    assert line.startswith("ingestd: folders.inbox: it is not known yet whether 1 of its files are DICOM, because ")


@pytest.mark.slow
def test_run_says_what_no_pattern_takes_on_its_page_in_metrics_and_log(plain: MakePlain) -> None:
    """F93: /readyz stays green and names no file."""
    with hostile(ScriptedOrigin()) as server:
        home = listening(plain(server.url))
        a_media_folder(home)
        home.start()
        home.waits(home.shows("/readyz", "5 files were not taken"), 60)
        ready = home.page("/readyz")
        assert (ready.status_code, ready.text.splitlines()[0], "IM0" in ready.text) == (200, "ok", False)
        assert 'ingestd_ignored_files{reason="no_pattern"} 5.0' in home.page("/metrics").text
        assert home.stop() == 0
    (line,) = home.said("ignored")
    assert (line["files"], str(line["hint"]).startswith("5 files were not taken")) == (5, True)


def lock(home: House, name: str, *numbers: int) -> Path:
    """A sub-folder as `cp -r` by somebody else makes it."""
    for n in numbers:
        folder = home.drop(f"{name}/{n}.dcm", made(n).content).parent
    os.chown(folder, SOMEBODY, -1)
    folder.chmod(0o755)
    return folder


@pytest.mark.slow
@needs_root
def test_drain_says_which_folder_nothing_can_be_moved_out_of_and_the_command_works(plain: MakePlain) -> None:
    """F94: nothing in it is sent; the terminal has the whole command, the log a digest."""
    with hostile(service := ScriptedOrigin()) as server:
        home = plain(server.url)
        home.drop("free.dcm", made(1).content)
        folder = lock(home, "study one", 2, 3)
        ended = home.drain()
        assert (ended.returncode, len(service.arrived)) == (75, 1)
        first, second = ended.stdout.splitlines()
        assert first == "1 done, 0 failed, 2 left: everything else has ended"
        assert second == (
            "2 files are not sent, because ingestd can't move files out of 1 folder: "
            f"as the folder's owner or root, run chmod -R g+rwX '{folder}'"
        )
        (line,) = [json.loads(text) for text in ended.stderr.splitlines() if '"locked"' in text]
        assert (line["files"], "study" in json.dumps(line)) == (2, False)
        told = json.loads(home.drain("--json").stdout)
        assert (told["left"], told["unmovable"], told["notes"]) == (2, 2, [second])

        subprocess.run(["sh", "-ec", second.partition(" run ")[2]], check=True)
        assert home.drain().returncode == 0
    assert len(service.arrived) == 3


@needs_root
def test_each_locked_folder_is_told_the_command_that_mends_it(plain: MakePlain) -> None:
    """F94: two of somebody else's group, one of ours: each sentence has its own command, and after both all goes out."""
    with hostile(service := ScriptedOrigin()) as server:
        home = plain(server.url)
        ours = lock(home, "ours", 1)
        for n in (2, 3):
            folder = lock(home, f"theirs {n}", n)
            os.chown(folder, SOMEBODY, SOMEBODY)
        ended = home.drain()
        assert (ended.returncode, len(service.arrived)) == (75, 0)
        told = ended.stdout.splitlines()[1:]
        assert sorted(text.partition(", because")[0] for text in told) == ["1 file is not sent", "2 files are not sent"]
        commands = {text.rpartition(": ")[2].partition(", run ")[2] for text in told}
        (chown,) = (one for one in commands if "chown" in one)
        assert commands - {chown} == {f"chmod -R g+rwX {ours}"}
        assert chown.endswith(f" {home.inbox}")
        assert len([text for text in ended.stderr.splitlines() if '"locked"' in text]) == 2
        for command in commands:
            subprocess.run(["sh", "-ec", command], check=True)
        assert home.drain().returncode == 0
    assert len(service.arrived) == 3


@pytest.mark.slow
@needs_root
def test_run_waits_for_a_folder_that_nothing_can_be_moved_out_of(plain: MakePlain) -> None:
    """F94: seen before sending, said on the page, red only when nothing at all can be moved; goes on once it is mended."""
    with hostile(service := ScriptedOrigin()) as server:
        home = listening(plain(server.url))
        home.start()
        home.drop("free.dcm", made(1).content)
        home.waits(home.ended(1), 60)
        folder = lock(home, "s", 2, 3)
        home.waits(home.shows("/readyz", "2 files are not sent"), 60)
        assert home.page("/readyz").status_code == 200
        home.waits(home.shows("/metrics", 'ingestd_pending_files{stage="unmovable"} 2.0'), 60)
        (line,) = home.said("locked")
        assert (line["level"], line["files"]) == ("warning", 2)

        assert home.stop() == 0
        home.start()
        home.waits(home.shows("/readyz", "2 files are not sent"), 60)
        assert home.page("/readyz").status_code == 503  # since the start nothing at all could be moved
        assert len(service.arrived) == 1

        folder.chmod(0o775)
        home.waits(home.ended(3), 60)
        home.waits(lambda: home.page("/readyz").text == "ok\n", 60)
        assert home.stop() == 0
    assert len(service.arrived) == 3


@pytest.mark.slow
@needs_root
def test_a_file_that_may_not_be_read_is_a_warning_with_the_mend(plain: MakePlain) -> None:
    """F31: not a line at info, once."""
    with hostile(service := ScriptedOrigin()) as server:
        home = plain(server.url)
        file = home.drop("closed.dcm", made(1).content)
        os.chown(file, SOMEBODY, SOMEBODY)
        file.chmod(0o600)
        home.start()
        home.waits(lambda: bool(home.said("unreadable")), 60)
        (line, *_) = home.said("unreadable")
        assert (line["level"], line["files"], "chmod g+r" in str(line["problem"])) == ("warning", 1, True)
        os.chown(file, os.geteuid(), os.getegid())
        home.waits(home.ended(1), 60)
        assert home.stop() == 0
    assert len(service.arrived) == 1
