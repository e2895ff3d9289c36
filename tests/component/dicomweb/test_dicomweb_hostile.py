"""`ingestd dicomweb` against a service that means ill or goes on for ever, and into an output that has no room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.commanded import Ran, commanded
from fakes.hostile_server import Peer, Script, answer, answering, hostile
from fakes.studies import made

pytestmark = pytest.mark.timeout(60)

DICOM_JSON = "application/dicom+json"
PART = b"--x\r\nContent-Type: application/dicom\r\n\r\n"
END = b"\r\n--x--\r\n"
ONE, TWO = made(1), made(2)


@pytest.fixture(autouse=True)
def _empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def parts(*pieces: bytes, kind: str = "application/dicom", for_ever: bytes = b"") -> Script:
    """Counts nothing, and gives this as multipart/related; the last piece again and again until the client has had enough."""

    def script(peer: Peer) -> None:
        while True:
            line, _ = peer.head()
            if "?" in line:
                peer.send(answer(204))
                continue
            peer.send(
                f'HTTP/1.1 200 OK\r\nContent-Type: multipart/related; type="{kind}"; boundary=x\r\n'
                "Transfer-Encoding: chunked\r\n\r\n".encode()
            )
            for piece in pieces:
                peer.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            while for_ever:
                peer.send(b"%x\r\n%s\r\n" % (len(for_ever), for_ever))
            peer.send(b"0\r\n\r\n")

    return script


def retrieved(script: Script) -> Ran:
    with hostile(script) as server:
        return commanded("dicomweb", "retrieve", "1", "--out", "out", "--url", server.url)


def framed(script: Script, numbers: str = "1") -> Ran:
    with hostile(script) as server:
        return commanded("dicomweb", "frames", "1", "2", "3", numbers, "--out", "out", "--url", server.url)


def there() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("out").iterdir()}


def test_two_instances_of_one_uid_are_never_one_file_without_a_word() -> None:
    """Azure takes the same SOPInstanceUID in another series: the second has no name left, and whoever retrieves must hear of it."""
    other = ONE.content[:-2] + b"zz"
    ran = retrieved(parts(PART + ONE.content + b"\r\n" + PART + other + END))
    assert ran.code == 1
    assert f"part 2: left out: an instance {ONE.ids[2]} came before it" in ran.out
    assert there() == {f"{ONE.ids[2]}.dcm": ONE.content}


@pytest.mark.parametrize(
    ("begin", "for_ever"),
    [(b"\r\n", b"\r\n" * 10_000), (PART + ONE.content + END, b"after the end " * 1000)],
    ids=["before the first part", "after the last part"],
)
def test_what_stands_around_the_parts_is_bounded(begin: bytes, for_ever: bytes) -> None:
    """RFC 2046 5.1.1 lets a preamble and an epilogue be of any length."""
    ran = retrieved(parts(begin, for_ever=for_ever))
    assert ran.code == 1
    assert "the answer is not what was asked for" in ran.err


def test_an_answer_that_comes_in_one_piece_is_no_preamble() -> None:
    """Begin and end of the part in it, and more between them than may stand around the parts."""
    large = made(1, size=40_000)
    ran = retrieved(parts(PART + large.content + END))
    assert ran.code == 0
    assert there() == {f"{large.ids[2]}.dcm": large.content}


def test_more_frames_than_were_asked_for_are_an_error() -> None:
    """Which of them are ours nobody knows; and they can go on for ever."""
    frame = b"--x\r\nContent-Type: application/octet-stream\r\n\r\nraw\r\n"
    ran = framed(parts(frame, kind="application/octet-stream", for_ever=frame))
    assert ran.code == 1
    assert "frames of instance 3: more came than were asked for" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_part_that_breaks_off_in_its_header_leaves_nothing_to_the_next_answer() -> None:
    """F55: the first answer ends inside a header; the second says image/jpeg."""
    calls: list[int] = []

    def script(peer: Peer) -> None:
        while True:
            peer.request()
            calls.append(1)
            if len(calls) == 1:
                peer.send(
                    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/related; boundary=x\r\nContent-Length: 999\r\n\r\n"
                )
                peer.send(b"--x\r\nContent-T")
                peer.half_close()
                return
            body = b"--x\r\nContent-Type: image/jpeg\r\n\r\njpeg" + END
            peer.send(answer(200, body, content_type="multipart/related; boundary=x"))

    with hostile(script) as server:
        ran = commanded(
            *("dicomweb", "frames", "1", "2", "3", "1", "--out", "out", "--url", server.url),
            INGESTD_RETRY__BASE_SECONDS="0.01",
        )
    assert ran.code == 0
    assert there() == {"3-1.jpg": b"jpeg"}


@pytest.mark.parametrize("number", ["1e999", "-1e400"])
def test_a_number_beyond_json_is_not_passed_on_as_something_else(number: str) -> None:
    """RFC 8259 6: there is no Infinity in JSON, and jq would end there."""
    body = b'[{"00189073":{"vr":"FD","Value":[%s]}}]' % number.encode()
    with hostile(answering(200, body, content_type=DICOM_JSON)) as server:
        ran = commanded("dicomweb", "metadata", "1", "--json", "--url", server.url)
    assert (ran.code, ran.out) == (1, "")
    assert "the answer is not what was asked for" in ran.err


def _metadata(url: str) -> list[str]:
    return ["dicomweb", "metadata", "1", "--url", url]


def _metadata_json(url: str) -> list[str]:
    return ["dicomweb", "metadata", "1", "--json", "--url", url]


def _docs(_url: str) -> list[str]:
    return ["config", "docs"]


@pytest.mark.parametrize("command", [_metadata, _metadata_json, _docs])
def test_an_output_on_a_full_disk_is_one_line(command: Callable[[str], list[str]]) -> None:
    """`metadata --json > file` on a disk that is full is no bug of ours to report."""
    body = json.dumps([{"00080018": {"vr": "UI", "Value": ["1.2"]}}]).encode()
    with hostile(answering(200, body, content_type=DICOM_JSON)) as server, open("/dev/full", "wb") as full:
        code = "from ingestd.cli.main import main; main()"
        ran = subprocess.run(
            [sys.executable, "-c", code, *command(server.url)],
            stdout=full,
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            stderr=subprocess.PIPE,
            text=True,
            timeout=50,
            check=False,
        )
    assert ran.stderr == "ingestd: standard output: No space left on device: make room, or send it elsewhere\n"
    assert ran.returncode == 1
