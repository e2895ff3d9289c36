"""`ingestd dicomweb` as a person types it: against Orthanc, where that has the feature, and against a service that wants tokens."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import httpx
import pytest
from fakes.commanded import Ran, commanded

from ingestd.emulator.samples import ct_instance, tutorial_samples
from ingestd.emulator.server import running

pytestmark = pytest.mark.timeout(120)

GREEN, RED, BLUE = tutorial_samples()
ONE = (GREEN.study_uid, GREEN.series_uid, GREEN.sop_instance_uid)


class Commands:
    """Commands in a folder with the samples, against one service."""

    def __init__(self, folder: Path, url: str, **environment: str) -> None:
        self.folder = folder
        self.environment = {"INGESTD_SERVICE__URL": url, **environment}

    def __call__(self, *arguments: str) -> Ran:
        with chdir(self.folder):
            return commanded("dicomweb", *arguments, **self.environment)

    def objects(self, *arguments: str) -> list[dict[str, dict[str, list[str]]]]:
        done = self(*arguments, "--json")
        assert (done.code, done.err) == (0, "")
        return [json.loads(line) for line in done.out.splitlines()]

    def refused(self, *arguments: str) -> tuple[int, str]:
        """The exit code and the one line."""
        done = self(*arguments)
        (line,) = done.err.splitlines()
        return done.code, line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    here = tmp_path / "here"
    (here / "samples").mkdir(parents=True)
    for sample in tutorial_samples():
        (here / "samples" / sample.name).write_bytes(sample.content)
    return here


def contents(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes()[128:] for path in folder.iterdir())


@pytest.mark.slow
@pytest.mark.real
def test_against_orthanc_what_it_has_works_and_what_it_has_not_is_one_line(folder: Path, orthanc: str) -> None:
    """I4: bytes as they were. Orthanc's DICOMweb plugin has no change feed, no delete and no single-part store."""
    run = Commands(folder, f"{orthanc}/dicom-web")
    study, series, instance = ONE

    assert run("store", "samples").out.splitlines()[-1] == "3 stored"
    assert run("store", "samples", "--study", study).code == 0
    assert run("store", "samples/green-square.dcm", "--single").out.splitlines()[-2:] == [
        "               this service takes no store without multipart (415): leave --single away",
        "1 failed",
    ]

    assert [one["0020000D"]["Value"] for one in run.objects("search", "studies", "PatientID=ID1")] == [[study]]
    assert len(run.objects("search", "studies", "PatientID=ID2")) == 0
    assert len(run.objects("search", "series", "--study", study)) == 2
    assert len(run.objects("search", "instances", "--study", study, "--series", series, "--all")) == 2
    assert len(run.objects("search", "instances", "--limit", "2", "--offset", "2")) == 1
    assert "found" in run("search", "instances", f"SOPInstanceUID={instance}").out

    for uids, samples in ((ONE[:1], (GREEN, RED, BLUE)), (ONE[:2], (GREEN, RED)), (ONE, (GREEN,))):
        out = folder / f"out{len(uids)}"
        done = run("retrieve", *uids, "--out", str(out))
        assert (done.code, done.err) == (0, "")
        assert contents(out) == sorted(sample.content[128:] for sample in samples)
        found = run.objects("metadata", *uids)
        assert {one["00080018"]["Value"][0] for one in found} == {sample.sop_instance_uid for sample in samples}
    assert run("frames", *ONE, "1", "--out", "frames").code == 0
    assert (folder / "frames" / f"{instance}-1.raw").read_bytes() == GREEN.content[-256 * 256 * 3 :]

    code, line = run.refused("changefeed")
    assert code == 1
    assert "answers 404: this service has no change feed" in line
    code, line = run.refused("delete", *ONE, "--yes")
    assert code == 1
    assert "answers 405: this service has no delete" in line
    code, line = run.refused("retrieve", "1.2.3", "--out", "none")
    assert code == 1
    assert "answers 404: there is none such" in line
    assert not (folder / "none").exists()


@pytest.mark.slow
@pytest.mark.real
def test_orthanc_counts_nothing_and_decodes_nothing(folder: Path, orthanc: str) -> None:
    """A file with a NumberOfStudyRelatedInstances of its own, which Orthanc gives as its count; names with `*`, `?` and `^`."""
    content = ct_instance(study_uid="1.2.3", series_uid="1.2.3.4", sop_instance_uid="1.2.3.4.5")
    number = b"\x20\x00\x08\x12IS\x02\x004 "
    at = content.index(b"\x28\x00\x02\x00US")  # the first element of group 0028
    (folder / "own.dcm").write_bytes(content[:at] + number + content[at:])
    run = Commands(folder, f"{orthanc}/dicom-web")
    assert run("store", "own.dcm").code == 0
    (study,) = run.objects("search", "studies", "--include", "NumberOfStudyRelatedInstances")
    assert study["00201208"]["Value"] == [4]
    done = run("retrieve", "1.2.3", "--out", "out")
    assert (done.code, done.err, done.out[:11]) == (0, "", "1 instance,")
    name = str(study["00100010"]["Value"][0]["Alphabetic"])
    assert "^" in name
    for wanted in (name, f"{name[:3]}*", name.replace("^", "?")):
        assert len(run.objects("search", "studies", f"PatientName={wanted}")) == 1


@pytest.fixture
def locked(tmp_path: Path, folder: Path) -> Iterator[Commands]:
    """The embedded service, which wants a token; the command has the right one."""
    (tmp_path / "tokens").write_text("right-token\n")
    token = tmp_path / "token"
    token.write_text("right-token")
    token.chmod(0o600)
    with running(data=tmp_path / "data", token_file=tmp_path / "tokens") as service:
        yield Commands(
            folder, service.url, INGESTD_AUTH__MODE="token-file", INGESTD_AUTH__TOKEN_FILE=str(token), TOKEN=str(token)
        )


def test_every_command_shows_the_token(locked: Commands) -> None:
    """The daemon's own settings and identity; 404 once it is gone."""
    study, series, _ = ONE
    assert "authentication works" in locked("changefeed").out
    assert locked("store", "samples").code == 0
    assert locked("store", "samples/blue-circle.dcm", "--single").out.startswith("already there")
    assert locked("retrieve", study, "--out", "out").code == 0
    assert contents(locked.folder / "out") == sorted(sample.content[128:] for sample in tutorial_samples())
    assert len(locked.objects("metadata", study, series)) == 2
    assert locked("frames", *ONE, "1", "--out", "frames").code == 0
    assert len(locked.objects("search", "instances", "--all")) == 3
    assert len(locked.objects("search", "studies", "PatientName=Anony^Mous")) == 1
    for uids in (ONE, ONE[:2], ONE[:1]):
        assert locked("delete", *uids, "--yes").code == 0
        code, line = locked.refused("delete", *uids, "--yes")
        assert code == 1
        assert "answers 404" in line
    assert len(locked.objects("changefeed")) == 6


@pytest.mark.parametrize(
    "arguments",
    [
        ("changefeed",),
        ("store", "samples"),
        ("retrieve", GREEN.study_uid, "--out", "out"),
        ("metadata", GREEN.study_uid),
        ("frames", *ONE, "1", "--out", "out"),
        ("search", "studies"),
        ("delete", GREEN.study_uid, "--yes"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_without_the_right_token_every_command_says_how_to_mend_it(
    locked: Commands, arguments: tuple[str, ...]
) -> None:
    """I7: the line names settings, never the token. Exit 75: nothing was decided."""
    Path(locked.environment["TOKEN"]).write_text("wrong-token")
    code, line = locked.refused(*arguments)
    assert code == 75
    assert "401" in line
    assert "it rejects our login: check that the token is not expired" in line
    assert "wrong-token" not in line
    assert not (locked.folder / "out").exists()
    if arguments == ("changefeed",):
        del locked.environment["INGESTD_AUTH__MODE"], locked.environment["INGESTD_AUTH__TOKEN_FILE"]
        code, line = locked.refused(*arguments)
        assert code == 75
        assert "auth.mode is none: set auth.mode" in line


@pytest.mark.parametrize(("typed", "gone"), [("n\n", False), ("y\n", True), ("\x04", False)])
def test_delete_says_what_goes_and_asks(folder: Path, tmp_path: Path, typed: str, gone: bool) -> None:
    """On a terminal, where somebody can answer."""
    with running(data=tmp_path / "data") as service:
        run = Commands(folder, service.url)
        assert run("store", "samples").code == 0
        said, code = on_a_terminal(run, ("delete", GREEN.study_uid), wait_for="[y/N]", typed=typed)
        left = httpx.get(f"{service.url}/studies", headers={"Accept": "*/*"}, trust_env=False).status_code
    assert "Anony^Mous, ID1, 20200922, 3 instances" in " ".join(said.split())
    assert (left == 204, code) == (gone, 0 if gone else 1)
    assert ("deleted: study" if gone else "nothing was deleted") in said


def on_a_terminal(run: Commands, arguments: tuple[str, ...], *, wait_for: str, typed: str) -> tuple[str, int]:
    """What stands on it at the end, and the exit code; `typed` when `wait_for` has come."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("INGESTD_")}
    keyboard, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ingestd", "dicomweb", *arguments],
        env={**ours, **run.environment, "COLUMNS": "80", "TERM": "xterm"},
        cwd=run.folder,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    said = b""
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            try:
                piece = os.read(keyboard, 4096)
            except OSError:  # EIO: nobody has the other end open any more
                break
            if not piece:
                break
            before, said = said, said + piece
            if wait_for.encode() in said and wait_for.encode() not in before:
                os.write(keyboard, typed.encode())
        return said.decode(), process.wait(20)
    finally:
        process.kill()
        process.wait()
        os.close(keyboard)
