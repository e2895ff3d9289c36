"""`ingestd dicomweb` against services that say anything: one clear line, the exit codes of the contract, nothing half done."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import tracemalloc
from pathlib import Path

import pytest
from fakes.commanded import commanded
from fakes.hostile_server import Peer, Script, answer, answering, hostile
from fakes.pki import Authority
from fakes.scripted_origin import ScriptedOrigin, Warned, chokes, closes, judges, says
from fakes.studies import made

from ingestd.core.answers.answer import Answer
from ingestd.core.answers.fault import hold_for_control
from ingestd.dicomweb.origin.holds import hold_line

pytestmark = pytest.mark.timeout(60)

QUICK = {"INGESTD_RETRY__BASE_SECONDS": "0.01", "INGESTD_RETRY__INSTANCE_ATTEMPTS": "3"}
DICOM_JSON = "application/dicom+json"
MULTIPART = 'multipart/related; type="application/dicom"; boundary=x'
PART = b"--x\r\nContent-Type: application/dicom\r\n\r\n"
END = b"\r\n--x--\r\n"


@pytest.fixture(autouse=True)
def _empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newcomer's directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def then(*scripts: Script) -> Script:
    """Each request of all connections gets the next script's answer, the last again and again."""
    left = list(scripts)
    lock = threading.Lock()

    def script(peer: Peer) -> None:
        while True:
            peer.request()
            with lock:
                now = left.pop(0) if len(left) > 1 else left[0]
            now(peer)

    return script


def saying(status: int, body: bytes = b"", content_type: str = DICOM_JSON, **headers: str) -> Script:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda peer: peer.send(answer(status, body, content_type=content_type, headers=named))


def break_off(data: bytes) -> Script:
    """Sends this and resets the connection."""

    def script(peer: Peer) -> None:
        peer.send(data)
        peer.reset()
        raise ConnectionAbortedError("the script is over")

    return script


def multipart(*contents: bytes, end: bytes = END) -> bytes:
    return b"\r\n".join(PART + content for content in contents) + end


def write(*numbers: int, **options: int) -> list[bytes]:
    """Instances of study 1 as files 1.dcm and so on."""
    contents = [made(number, **options).content for number in numbers]
    for number, content in zip(numbers, contents, strict=True):
        Path(f"{number}.dcm").write_bytes(content)
    return contents


# --- what a person is told ------------------------------------------------------------------------

LINES = [
    (401, "it wants a login and auth.mode is none", 75),
    (403, "it forbids this, and auth.mode is none: set auth.mode", 75),
    (404, "this service has no change feed", 1),
    (302, "sends us elsewhere", 75),
    (400, "does not take the request", 1),
    (406, "can't give that in a form that we read", 1),
    (405, "this service has no change feed", 1),
    (424, "check its storage account", 75),
    (500, "it is in trouble", 75),
    (418, "it refuses", 1),
    (503, "it is in trouble: ask those who run it, or what stands before it; try again later", 75),
]


@pytest.mark.parametrize(("status", "words", "code"), LINES)
def test_each_refusal_is_one_line_with_what_where_and_how_to_mend_it(status: int, words: str, code: int) -> None:
    """Exit 1: the service said no; 75: it said nothing about what was asked."""
    with hostile(answering(status, b"its own words", content_type="text/plain")) as server:
        ran = commanded("dicomweb", "changefeed", "--url", server.url, **QUICK)
    last = ran.err.splitlines()[-1]
    assert last.startswith(f'ingestd: changefeed: {server.url} answers {status} "its own words": ')
    assert words in last
    assert (ran.code, ran.out) == (code, "")


def test_nobody_there_is_said_at_once(unused_port: int) -> None:
    """A newcomer who forgot to start the service."""
    ran = commanded("dicomweb", "changefeed", "--url", f"http://127.0.0.1:{unused_port}/v2")
    assert ran.code == 75
    assert len(ran.err.splitlines()) == 1
    assert "Connection refused: check service.url (--url)" in ran.err


@pytest.mark.parametrize("status", [200, 302])
def test_a_page_that_is_not_the_service_is_told(status: int) -> None:
    """F53: in the words that the daemon has for it, and nothing was decided."""
    with hostile(answering(status, b"<html>Welcome</html>", content_type="text/html")) as server:
        ran = commanded("dicomweb", "search", "studies", "--url", server.url)
        daemons = hold_line(hold_for_control(Answer(status=status, page="text/html")), url=server.url, identified=False)
    assert (ran.code, ran.err) == (75, f"ingestd: search studies: {daemons}\n")


def test_a_page_with_a_status_of_its_own_is_the_services_answer() -> None:
    """A servlet container says "there is none such" with a page."""
    with hostile(answering(404, b"<html>Not found</html>", content_type="text/html")) as server:
        ran = commanded("dicomweb", "metadata", "1.2.3", "--url", server.url)
    assert ran.code == 1
    assert "404" in ran.err
    assert "not DICOMweb" not in ran.err


@pytest.mark.parametrize(
    "banner", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x03\0\x02\x02\x16", b"220 mail ESMTP\r\n\r\n", b"220"]
)
def test_what_does_not_speak_http_is_said_so(banner: bytes) -> None:
    """F49: another port, or https where http is meant; nothing of it was answered, so what became of a request is unknown."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(banner)

    with hostile(script) as server:
        ran = commanded("dicomweb", "search", "studies", "--url", server.url, **QUICK)
    assert ran.code == 75
    assert ran.err.splitlines()[-1].endswith(
        "what answers does not speak HTTP/1.1: check service.url (--url), its port, and http or https: try again"
    )


def test_what_the_service_writes_never_reaches_the_terminal_raw() -> None:
    """Escape sequences and line ends, in an error and in a value."""
    with hostile(answering(400, b"\x1b[2J\x1b]0;x\x07 no\nreally", content_type="text/plain")) as server:
        ran = commanded("dicomweb", "search", "studies", "--url", server.url)
    assert "\\x1b[2J" in ran.err
    assert ran.err.isascii()
    assert len(ran.err.splitlines()) == 1
    value = json.dumps([{"00100010": {"vr": "PN", "Value": [{"Alphabetic": "A\x1b[31m\nB"}]}}]).encode()
    with hostile(answering(200, value)) as server:
        people = commanded("dicomweb", "search", "studies", "--url", server.url)
        programs = commanded("dicomweb", "search", "studies", "--json", "--url", server.url)
    assert "PatientName A\\x1b[31m\\nB" in people.out
    assert "\x1b" not in people.out + programs.out
    assert json.loads(programs.out)["00100010"]["Value"] == [{"Alphabetic": "A\x1b[31m\nB"}]


def test_trust_client_certificate_and_proxy_are_the_daemons(tmp_path: Path) -> None:
    """A private CA, a certificate of ours, and a tunnel through the proxy that is configured."""
    authority = Authority(tmp_path / "ca")
    ours = authority.issue()
    ours.key.chmod(0o600)

    def tunnel(peer: Peer) -> None:
        line, _ = peer.head()
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        peer.relay(int(line.split()[1].rpartition(":")[2]))

    with hostile(answering(204), tls=authority.server(wants_client=True)) as server, hostile(tunnel) as proxy:
        strange = commanded("dicomweb", "search", "studies", "--url", server.url)
        known = commanded(
            "dicomweb",
            "search",
            "studies",
            "--url",
            server.url,
            INGESTD_SERVICE__CA_BUNDLE=str(authority.ca),
            INGESTD_SERVICE__CLIENT_CERT=str(ours.certificate),
            INGESTD_SERVICE__CLIENT_KEY=str(ours.key),
            INGESTD_SERVICE__PROXY=proxy.url.removesuffix("/v2"),
        )
        assert proxy.connections == 1
    assert strange.code == 75
    assert "TLS: the certificate is refused: " in strange.err
    assert (known.code, known.err) == (0, "")


def test_no_folder_of_the_daemons_is_needed_or_made() -> None:
    with hostile(answering(200, b"[]", content_type="application/json")) as server:
        ran = commanded("dicomweb", "changefeed", "--url", server.url)
    assert ran.code == 0
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("changefeed",), "service.url is not set"),
        (("changefeed", "--url", "http://192.0.2.1/v2"), "not encrypted"),
    ],
)
def test_bad_settings_are_exit_78(arguments: tuple[str, ...], words: str) -> None:
    ran = commanded("dicomweb", *arguments)
    assert ran.code == 78
    assert words in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("search", "studies", "PatientsName=X"), "did you mean PatientName?"),
        (("search", "studies", "0010001=X"), "no DICOM attribute"),
        (("search", "studies", "X"), "ATTRIBUTE=VALUE"),
        (("search", "patients"), "studies"),
        (("search", "studies", "--all", "--limit", "3"), "exclude each other"),
        (("search", "studies", "--limit", "0"), "1 or more"),
        (("retrieve", "../../etc", "--out", "x"), "is no UID"),
        (("metadata", ".."), "is no UID"),
        (("frames", "1", "2", "3", "0", "--out", "x"), "from 1 on"),
        (("store", "missing.dcm"), "does not exist"),
        (("changefeed", "--latest", "--limit", "3"), "stands alone"),
        (("changefeed", "--from", "yesterday"), "such as 2026-01-31T08:00:00Z"),
        (("retrieve", "1.2.3"), "--out"),
    ],
)
def test_what_can_not_be_meant_is_exit_2(arguments: tuple[str, ...], words: str) -> None:
    ran = commanded("dicomweb", *arguments, "--url", "http://127.0.0.1:1/v2")
    assert ran.code == 2
    assert words in " ".join(ran.err.replace("│", " ").split())


@pytest.mark.parametrize("command", ["store", "retrieve", "metadata", "frames", "search", "delete", "changefeed"])
def test_every_help_has_an_example(command: str) -> None:
    ran = commanded("dicomweb", command, "--help")
    assert ran.code == 0
    assert f"Example: ingestd dicomweb {command}" in ran.out


def test_debug_says_each_request() -> None:
    with hostile(answering(204)) as server:
        ran = commanded("dicomweb", "search", "studies", "--log-level", "debug", "--url", server.url)
    assert f"ingestd: GET {server.url}/studies: 204" in ran.err


# --- patience -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_a_busy_service_is_asked_again_and_each_wait_is_said(status: int) -> None:
    with hostile(then(saying(status), saying(status), saying(200, b"[]"))) as server:
        ran = commanded("dicomweb", "changefeed", "--url", server.url, **QUICK)
    assert ran.code == 0
    assert ran.err.splitlines() == [
        f"ingestd: {server.url}: it answers {status}: again in 0 s (try {n} of 3)" for n in (2, 3)
    ]


def test_retry_after_is_a_floor_up_to_its_cap() -> None:
    with hostile(then(saying(503, Retry_After="3600"), saying(200, b"[]"))) as server:
        ran = commanded(
            "dicomweb", "changefeed", "--url", server.url, **QUICK, INGESTD_RETRY__RETRY_AFTER_CAP_SECONDS="0.6"
        )
    assert ran.code == 0
    assert "again in 1 s" in ran.err


def test_a_service_that_stays_busy_is_given_up() -> None:
    with hostile(answering(429)) as server:
        ran = commanded("dicomweb", "changefeed", "--url", server.url, **QUICK)
        assert len(server.requests) == 3
    assert ran.code == 75
    assert "throttles" in ran.err.splitlines()[-1]


def test_without_a_token_it_says_where_that_comes_from(tmp_path: Path) -> None:
    """Design 5: how to mend it. Nothing is sent, so nothing is said of a connection."""
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o600)

    def script(peer: Peer) -> None:
        peer.request()
        token.unlink()
        peer.send(answer(503))

    mode = {"INGESTD_AUTH__MODE": "token-file", "INGESTD_AUTH__TOKEN_FILE": str(token)}
    with hostile(script) as server:
        ran = commanded("dicomweb", "changefeed", "--url", server.url, **mode, **QUICK)
    assert (ran.code, ran.out, len(server.requests)) == (75, "", 1)
    line = ran.err.splitlines()[-1]
    assert "no token: auth.token_file: " in line
    assert line.endswith(f"; nothing was sent to {server.url}")
    assert "az login" not in line


def test_401_draws_one_fresh_token_and_no_more(tmp_path: Path) -> None:
    """F63: the token file was renewed while the request was on its way."""
    token = tmp_path / "token"
    token.write_text("old")
    token.chmod(0o600)
    shown: list[str] = []

    def script(peer: Peer) -> None:
        while True:
            shown.append(peer.request().headers["authorization"])
            token.write_text("new")
            peer.send(answer(200 if shown[-1] == "Bearer new" else 401, b"[]", content_type="application/json"))

    mode = {"INGESTD_AUTH__MODE": "token-file", "INGESTD_AUTH__TOKEN_FILE": str(token)}
    with hostile(script) as server:
        ran = commanded("dicomweb", "changefeed", "--url", server.url, **mode)
    assert shown == ["Bearer old", "Bearer new"]
    assert "authentication works" in ran.out
    with hostile(answering(401)) as server:
        ran = commanded("dicomweb", "changefeed", "--url", server.url, **mode)
        assert len(server.requests) == 1  # the file has nothing fresher
    assert ran.code == 75
    assert "it rejects our login" in ran.err
    assert "new" not in ran.err  # I7


# --- search, metadata, changefeed -----------------------------------------------------------------


def test_a_search_asks_for_what_was_typed() -> None:
    """The six paths, attributes by keyword or tag, and the paging."""
    with hostile(answering(204)) as server:
        for arguments in (
            ["studies", "PatientName=An*y^M&s", "00100020=ID1", "--fuzzy", "--limit", "3", "--offset", "6"],
            ["series", "--study", "1.2", "Modality=CT", "--include", "00081030", "--include", "all"],
            ["instances", "--study", "1.2", "--series", "1.2.3"],
            ["instances", "--series", "1.2.3"],
            ["series", "--study", "1.2", "--series", "1.2.3"],
            ["studies", "--study", "1.2", "--series", "1.2.3"],
        ):
            ran = commanded("dicomweb", "search", *arguments, "--url", server.url)
            assert (ran.code, ran.err) == (0, "")
            assert ran.out.startswith("0 ")
        assert [request.line.split()[1] for request in server.requests] == [
            "/v2/studies?PatientName=An*y%5EM%26s&00100020=ID1&fuzzymatching=true&limit=3&offset=6",
            "/v2/studies?PatientName=An*y^M%26s&00100020=ID1&fuzzymatching=true&limit=3&offset=6",
            "/v2/studies/1.2/series?Modality=CT&includefield=00081030&includefield=all",
            "/v2/studies/1.2/series/1.2.3/instances",
            "/v2/instances?SeriesInstanceUID=1.2.3",
            "/v2/studies/1.2/series?SeriesInstanceUID=1.2.3",
            "/v2/studies?SeriesInstanceUID=1.2.3&StudyInstanceUID=1.2",
        ]


def page(*uids: str, tag: str = "0020000D") -> bytes:
    return json.dumps([{tag: {"vr": "UI", "Value": [uid]}} for uid in uids]).encode()


def test_a_caret_is_sent_as_it_is_only_where_nothing_was_found_with_it_encoded() -> None:
    """RFC 3986 3.4 has none in a query, and strict servers refuse it; Orthanc 1.10 decodes nothing. Their refusal is no failure."""

    def searched(*scripts: Script) -> tuple[int, str, list[str]]:
        with hostile(then(*scripts)) as server:
            ran = commanded("dicomweb", "search", "studies", "PatientName=A^B", "--url", server.url, **QUICK)
            return ran.code, ran.out.splitlines()[-1], [r.line.split()[1].partition("=")[2] for r in server.requests]

    assert searched(saying(200, page("1"))) == (0, "1 study found", ["A%5EB"])
    assert searched(saying(200, b"[]"), saying(200, page("1"))) == (0, "1 study found", ["A%5EB", "A^B"])
    assert searched(saying(204), saying(400)) == (0, "0 studies found", ["A%5EB", "A^B"])
    with hostile(then(saying(204), saying(403))) as server:
        assert commanded("dicomweb", "search", "studies", "PatientName=A^B", "--url", server.url).code == 75


def test_all_goes_on_until_a_page_is_empty() -> None:
    """A service may give fewer than it was asked for."""
    script = then(saying(200, page("1", "2")), saying(200, page("3")), saying(204))
    with hostile(script) as server:
        ran = commanded("dicomweb", "search", "studies", "--all", "--json", "--url", server.url)
        asked = [request.line.split()[1] for request in server.requests]
    assert [json.loads(line)["0020000D"]["Value"] for line in ran.out.splitlines()] == [["1"], ["2"], ["3"]]
    assert asked == ["/v2/studies?limit=200", "/v2/studies?limit=200&offset=2", "/v2/studies?limit=200&offset=3"]


def test_a_service_without_paging_does_not_go_on_for_ever() -> None:
    with hostile(answering(200, page("1", "2"))) as server:
        ran = commanded("dicomweb", "search", "studies", "--all", "--json", "--url", server.url)
        assert len(server.requests) == 2
    assert ran.code == 1
    assert len(ran.out.splitlines()) == 2
    assert "no paging" in ran.err


def test_metadata_for_people_names_every_element() -> None:
    """Items under their sequence, names in their three forms, bulk data only mentioned, what is long cut."""
    one = {
        "00080018": {"vr": "UI", "Value": ["1.2.3"]},
        "00081110": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["4.5"]}}]},
        "00091001": {"vr": "UN", "InlineBinary": "AAAA"},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Phonetic": "C"}, None]},
        "00104000": {"vr": "LT", "Value": ["x" * 1000]},
        "00280010": {"vr": "US", "Value": [1, 2]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "http://127.0.0.1/bulk"},
        "nonsense": {"vr": 1, "Value": "x"},
    }
    with hostile(answering(200, json.dumps([one]).encode())) as server:
        ran = commanded("dicomweb", "metadata", "1", "--url", server.url)
    assert ran.out.splitlines() == [
        "instance 1.2.3",
        "(0008,0018) UI SOPInstanceUID             1.2.3",
        "(0008,1110) SQ ReferencedStudySequence    (1 item)",
        ">(0008,1155) UI ReferencedSOPInstanceUID  4.5",
        "(0009,1001) UN                            (3 bytes)",
        "(0010,0010) PN PatientName                A^B==C",
        f"(0010,4000) LT PatientComments            {'x' * 400}... (1,000 characters)",
        "(0028,0010) US Rows                       1\\2",
        "(7FE0,0010) OW PixelData                  (bulk data)",
        "(nons,ense) 1",
        "",
        "metadata of 1 instance",
    ]


def test_metadata_that_breaks_off_is_not_printed_twice() -> None:
    """The first data set is out; beginning anew would print it again."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 99999\r\n\r\n"
    with hostile(then(break_off(head + page("1")[:-1] + b","), saying(200, page("1", "2")))) as server:
        ran = commanded("dicomweb", "metadata", "1", "--json", "--url", server.url, **QUICK)
    assert ran.code == 75
    assert len(ran.out.splitlines()) == 1
    assert "connection broke" in ran.err


def test_changes_are_asked_for_at_the_base_and_searches_in_the_partition() -> None:
    """Azure's change feed knows no partition."""
    with hostile(answering(204)) as server:
        partition = {"INGESTD_SERVICE__PARTITION": "ward-7"}
        commanded("dicomweb", "search", "studies", "--url", server.url, **partition)
        commanded("dicomweb", "changefeed", "--latest", "--url", server.url, **partition)
        options = (
            "--from",
            "2026-01-31T08:00:00+01:00",
            "--to",
            "2026-02-01",
            "--limit",
            "5",
            "--offset",
            "2",
        )
        commanded("dicomweb", "changefeed", *options, "--url", server.url, **partition)
        start, end = "2026-01-31T08:00:00%2B01:00", "2026-02-01T00:00:00%2B00:00"
        assert [request.line.split()[1] for request in server.requests] == [
            "/v2/partitions/ward-7/studies",
            "/v2/changefeed/latest?includeMetadata=false",
            f"/v2/changefeed?limit=5&offset=2&startTime={start}&endTime={end}&includeMetadata=false",
        ]


# --- retrieve and frames --------------------------------------------------------------------------


def retrieve(*scripts: Script, more: tuple[str, ...] = ()) -> tuple[int, str, str]:
    """`retrieve` of study 1 into out/; the service lists no instances."""
    with hostile(then(saying(204), *scripts)) as server:
        ran = commanded("dicomweb", "retrieve", "1", "--out", "out", *more, "--url", server.url, **QUICK)
    return ran.code, ran.out, ran.err


def retrieve_of(listed: bytes, *scripts: Script) -> tuple[int, str, str]:
    """The same, where the service lists these instances."""
    with hostile(then(saying(200, listed), saying(204), *scripts)) as server:
        ran = commanded("dicomweb", "retrieve", "1", "--out", "out", "--url", server.url, **QUICK)
        assert server.requests[0].line.split()[1] == "/v2/studies/1/instances?limit=200"
    return ran.code, ran.out, ran.err


def there() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("out").iterdir()} if Path("out").exists() else {}


ONE, TWO = made(1), made(2)
BOTH = {f"{one.ids[2]}.dcm": one.content for one in (ONE, TWO)}


def test_instances_come_into_files_that_are_named_for_them() -> None:
    """I4: the bytes as they came; nothing else in the folder."""
    came = saying(200, multipart(ONE.content, TWO.content), MULTIPART)
    code, out, _ = retrieve_of(page(*(one.ids[2] for one in (ONE, TWO)), tag="00080018"), came)
    assert code == 0
    assert out == f"2 instances, {(len(ONE.content) + len(TWO.content)) / 1000:.1f} kB, in out\n"
    assert there() == BOTH


def test_a_broken_connection_is_begun_anew_and_nothing_comes_twice() -> None:
    """F53, F54: the first answer breaks off in the middle of its second part."""
    whole = multipart(ONE.content, TWO.content)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {MULTIPART}\r\nContent-Length: {len(whole)}\r\n\r\n".encode()
    code, out, err = retrieve(break_off(head + whole[: len(whole) - 2000]), saying(200, whole, MULTIPART))
    assert code == 0
    assert "the connection broke: again" in err
    assert out.startswith("2 instances")
    assert there() == BOTH


def test_what_came_whole_before_it_broke_for_good_is_there() -> None:
    """Half an instance is never there, nor its temporary file."""
    whole = multipart(ONE.content, TWO.content)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {MULTIPART}\r\nContent-Length: {len(whole)}\r\n\r\n".encode()
    code, _, err = retrieve(break_off(head + whole[: len(whole) - 2000]))
    assert code == 75
    assert "connection broke" in err.splitlines()[-1]
    assert there() == {f"{ONE.ids[2]}.dcm": ONE.content}


def test_an_answer_without_its_closing_delimiter_is_not_whole() -> None:
    code, _, err = retrieve(saying(200, multipart(ONE.content, TWO.content, end=b""), MULTIPART))
    assert code == 75
    assert "before the last part was whole" in err
    assert there() == {f"{ONE.ids[2]}.dcm": ONE.content}


@pytest.mark.parametrize("status", [400, 406])
def test_an_instance_is_asked_for_again_where_the_service_reads_no_list(status: int) -> None:
    """Several types in one Accept; then the one that the standard has as the default."""
    with hostile(then(saying(status), saying(200, multipart(ONE.content), MULTIPART))) as server:
        ran = commanded("dicomweb", "retrieve", *ONE.ids, "--out", "out", "--url", server.url)
        accepts = [request.headers["accept"] for request in server.requests]
    assert ran.code == 0
    assert accepts[0] == f"{accepts[1]}, application/dicom; transfer-syntax=*"
    assert there() == {f"{ONE.ids[2]}.dcm": ONE.content}


def test_an_instance_may_come_without_multipart() -> None:
    with hostile(answering(200, ONE.content, content_type="application/dicom")) as server:
        ran = commanded("dicomweb", "retrieve", *ONE.ids, "--out", "out", "--url", server.url)
    assert ran.code == 0
    assert there() == {f"{ONE.ids[2]}.dcm": ONE.content}


LIST = saying(200, page("1", tag="00080018"))


@pytest.mark.parametrize("answers", [[saying(204)], [saying(400)], [LIST, LIST]])
def test_a_service_that_lists_no_instances_is_not_said_to_have_given_all(answers: list[Script]) -> None:
    """Unknown is no failure and no success: it lists none, has no such search, or gives the same page again and again."""
    with hostile(then(*answers, saying(200, multipart(ONE.content), MULTIPART))) as server:
        ran = commanded("dicomweb", "retrieve", *ONE.ids[:2], "--out", "out", "--url", server.url)
    assert ran.code == 0
    assert ran.out.endswith("in out; whether that is all is not known, because the service lists no instances\n")


def test_an_answer_that_stands_still_is_given_up() -> None:
    """F55: a part has begun, and nothing more comes."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(f"HTTP/1.1 200 OK\r\nContent-Type: {MULTIPART}\r\nContent-Length: 9999\r\n\r\n".encode() + PART)
        peer.hold()

    with hostile(script) as server:
        ran = commanded(
            "dicomweb",
            "retrieve",
            *ONE.ids,
            "--out",
            "out",
            "--url",
            server.url,
            INGESTD_SERVICE__RESPONSE_TIMEOUT_SECONDS="0.5",
        )
    assert ran.code == 75
    assert "no whole answer in time" in ran.err
    assert there() == {}


def test_what_the_service_lists_and_does_not_give_is_a_failure() -> None:
    """An answer counts only if it names what was asked: one instance twice is not two."""
    listed = page(ONE.ids[2], TWO.ids[2], tag="00080018")
    code, _, err = retrieve_of(listed, saying(200, multipart(ONE.content, ONE.content), MULTIPART))
    assert code == 1
    assert "1 of 2 instances that " in err
    assert f"lists did not come, such as {TWO.ids[2]}: try again" in err


def test_a_count_of_the_file_s_own_is_nothing_that_the_service_counted() -> None:
    """Orthanc shows the (0020,1208) of a file, too high or too low: only what it lists counts."""
    for own in (1, 4):
        listed = [
            {"00080018": {"vr": "UI", "Value": [one.ids[2]]}, "00201208": {"vr": "IS", "Value": [own]}}
            for one in (ONE, TWO)
        ]
        body = json.dumps(listed).encode()
        assert retrieve_of(body, saying(200, multipart(ONE.content, TWO.content), MULTIPART))[::2] == (0, "")
        assert retrieve_of(body, saying(200, multipart(ONE.content), MULTIPART))[0] == 1


def test_a_file_that_is_there_stays_unless_it_is_forced() -> None:
    """The same bytes are no problem: a retrieve can be repeated."""
    Path("out").mkdir()
    Path("out", f"{ONE.ids[2]}.dcm").write_bytes(b"mine")
    Path("out", f"{TWO.ids[2]}.dcm").write_bytes(TWO.content)
    answer_ = saying(200, multipart(ONE.content, TWO.content), MULTIPART)
    code, out, _ = retrieve(answer_)
    assert code == 1
    assert "another file of this name is there: --force overwrites it" in out
    assert "the same bytes" in out
    assert there() == BOTH | {f"{ONE.ids[2]}.dcm": b"mine"}
    assert retrieve(answer_, more=("--force",))[0] == 0
    assert there() == BOTH


def test_a_part_that_is_no_instance_is_left_out_and_half_a_one_is_noted() -> None:
    """Azure stores half a file without a word, and gives it back so."""
    half = TWO.content[: len(TWO.content) - 1000]
    code, out, _ = retrieve(saying(200, multipart(ONE.content, b"not DICOM", half), MULTIPART))
    assert code == 1
    assert "part 2: left out: " in out
    assert "so the service holds it: " in out
    assert there() == {f"{ONE.ids[2]}.dcm": ONE.content, f"{TWO.ids[2]}.dcm": half}


def test_a_folder_that_can_not_be_written_is_one_line() -> None:
    Path("out").write_text("a file")
    with hostile(then(saying(204), saying(200, multipart(ONE.content), MULTIPART))) as server:
        ran = commanded("dicomweb", "retrieve", "1", "--out", "out/below", "--url", server.url)
    assert ran.code == 1
    assert "--out out/below: Not a directory" in ran.err


def test_memory_is_not_that_of_the_instance(tmp_path: Path) -> None:
    """I8: 32 MB in, by store, and out, by retrieve."""
    big = made(1, size=32_000_000)
    Path("big.dcm").write_bytes(big.content)
    size = len(big.content)

    def serve(peer: Peer) -> None:
        while True:
            line, headers = peer.head()
            if line.startswith("POST"):
                left = int(headers["content-length"])
                while left:
                    left -= len(peer.body(min(left, 1 << 20)))
                peer.send(answer(409))
            elif "?" in line:
                peer.send(answer(204))
            else:
                length = len(PART) + size + len(END)
                peer.send(f"HTTP/1.1 200 OK\r\nContent-Type: {MULTIPART}\r\nContent-Length: {length}\r\n\r\n".encode())
                peer.send(PART)
                peer.send(big.content)
                peer.send(END)

    with hostile(serve) as server:
        tracemalloc.start()
        commanded("dicomweb", "store", "big.dcm", "--url", server.url)
        ran = commanded("dicomweb", "retrieve", "1", "--out", "out", "--url", server.url)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert ran.code == 0
    assert Path("out", f"{big.ids[2]}.dcm").stat().st_size == size
    assert peak < 8_000_000


def test_frames_come_one_file_each() -> None:
    parts = b"\r\n".join(
        b"--x\r\nContent-Type: " + kind + b"\r\n\r\n" + data
        for kind, data in ((b"application/octet-stream", b"raw"), (b"image/jpeg", b"jpeg"))
    )
    script = then(saying(200, parts + END, "multipart/related; boundary=x"))
    with hostile(script) as server:
        ran = commanded("dicomweb", "frames", "1", "2", "3", "1,4", "--out", "out", "--url", server.url)
        assert server.requests[0].line.split()[1] == "/v2/studies/1/series/2/instances/3/frames/1,4"
        short = commanded("dicomweb", "frames", "1", "2", "3", "1,2,3", "--out", "more", "--url", server.url)
    assert ran.out == "2 frames, 7 bytes, in out\n"
    assert there() == {"3-1.raw": b"raw", "3-4.jpg": b"jpeg"}
    assert short.code == 1
    assert "2 came" in short.err


# --- store ----------------------------------------------------------------------------------------


def store(service: Script, *arguments: str, **environment: str) -> tuple[int, list[dict[str, object]], str]:
    """`store --json` and its rows."""
    with hostile(service) as server:
        ran = commanded("dicomweb", "store", *arguments, "--json", "--url", server.url, **QUICK, **environment)
    return ran.code, [json.loads(line) for line in ran.out.splitlines()], ran.err


def outcomes(rows: list[dict[str, object]]) -> dict[object, object]:
    return {Path(str(row["file"])).name: row["outcome"] for row in rows}


def test_each_file_gets_its_own_word() -> None:
    """I2: a 202 says nothing; each instance is named, or it is not stored."""
    write(1, 2, 3, 4)
    service = ScriptedOrigin(store=[judges({2: 45070, 3: 43264, 4: Warned(1)})])
    code, rows, _ = store(service, "1.dcm", "2.dcm", "3.dcm", "4.dcm")
    assert code == 1
    assert outcomes(rows) == {
        "1.dcm": "stored",
        "2.dcm": "already there",
        "3.dcm": "failed",
        "4.dcm": "with warning",
    }
    assert [row["failure_reason"] for row in rows] == [None, 45070, 43264, 1]
    assert rows[2]["comment"] == "Tag (0010,0020) does not conform"


@pytest.mark.parametrize("reason", [45070, 0x0111])
def test_all_there_already_is_success(reason: int) -> None:
    """F36: in Azure's code or in the standard's, and it says in which."""
    write(1)
    code, rows, _ = store(ScriptedOrigin(store=[judges(reason)]), "1.dcm")
    assert (code, rows[0]["outcome"], rows[0]["failure_reason"]) == (0, "already there", reason)
    assert str(rows[0]["text"]).startswith(f"FailureReason {reason}: ")


def test_a_401_ends_the_command_with_how_to_mend_it() -> None:
    """F63: no control is sent here, and a person wants to know at once."""
    write(1)
    with hostile(answering(401)) as server:
        ran = commanded("dicomweb", "store", "1.dcm", "--url", server.url, **QUICK)
    assert ran.code == 75
    assert "auth.mode is none" in ran.err


def test_a_person_reads_a_table_with_the_services_words() -> None:
    write(1, 2)
    with hostile(ScriptedOrigin(store=[judges({2: 43264})])) as server:
        ran = commanded("dicomweb", "store", "1.dcm", "2.dcm", "--url", server.url)
    lines = ran.out.splitlines()
    assert lines[0] == "stored         1.dcm"
    assert lines[1] == "failed         2.dcm"
    assert lines[2].startswith("               the service rejected this instance: ")
    assert lines[3] == "               the service: Tag (0010,0020) does not conform"
    assert lines[4:] == ["1 stored, 1 failed"]


def test_half_a_file_is_not_sent() -> None:
    """Azure would store it without a word."""
    content = made(1).content
    Path("half.dcm").write_bytes(content[:-500])
    service = ScriptedOrigin()
    code, rows, _ = store(service, "half.dcm")
    assert code == 1
    assert outcomes(rows) == {"half.dcm": "failed"}
    assert "not sent" in str(rows[0]["text"])
    assert service.asked == []


def test_a_folder_gives_all_its_dicom_files_whatever_they_are_called() -> None:
    """Hidden and temporary names, and what is not DICOM, are passed over; what is named is judged."""
    for name, content in {
        "d/b/IMG0002": made(2).content,
        "d/a.dcm": made(1).content,
        "d/README.txt": b"read me",
        "d/.hidden.dcm": made(3).content,
        "d/x.dcm.part": made(4).content,
    }.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    Path("link").symlink_to("d/.hidden.dcm")
    service = ScriptedOrigin()
    with hostile(service) as server:
        ran = commanded("dicomweb", "store", "d", "link", "--url", server.url)
        alone = commanded("dicomweb", "store", "d/README.txt", "--url", server.url)
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "stored         d/a.dcm",
        "stored         d/b/IMG0002",
        "stored         link",
        "3 stored; 1 file passed over, not DICOM",
    ]
    assert alone.code == 1


def test_a_folder_that_can_not_be_listed_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files were meant; silence would say that they are stored."""
    Path("d/closed").mkdir(parents=True)
    Path("d/1.dcm").write_bytes(made(1).content)
    listed = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    code, rows, _ = store(ScriptedOrigin(), "d")
    assert code == 1
    assert outcomes(rows) == {"1.dcm": "stored", "closed": "failed"}
    assert [row["text"] for row in rows if row["outcome"] == "failed"] == ["not looked into: Permission denied"]


def test_what_is_no_file_is_a_failure_of_its_own() -> None:
    """A pipe is never waited for."""
    os.mkfifo("pipe.dcm")
    write(1)
    code, rows, _ = store(ScriptedOrigin(), "pipe.dcm", "1.dcm")
    assert code == 1
    assert outcomes(rows) == {"pipe.dcm": "failed", "1.dcm": "stored"}


def test_batches_are_bounded_as_the_daemons() -> None:
    """By number, by bytes, and never two of one SOP Instance UID."""
    write(1, 2, 3, 4, 5)
    Path("again.dcm").write_bytes(made(5).content)
    files = [f"{n}.dcm" for n in (1, 2, 3, 4, 5)]
    service = ScriptedOrigin()
    code, rows, _ = store(service, *files, "again.dcm", INGESTD_BATCH__MAX_INSTANCES="2")
    assert code == 0
    assert len(rows) == 6
    assert service.count("store") == 4  # 1 2, 3 4, 5, 5 again
    service = ScriptedOrigin()
    store(service, *files, INGESTD_BATCH__MAX_BYTES="9000")
    assert service.count("store") == 3


def test_one_bad_file_does_not_take_its_batch_with_it() -> None:
    """F61: the whole request is refused, so it is halved until the culprit is alone."""
    write(1, 2, 3, 4, 5)
    service = ScriptedOrigin(store=[chokes(3, says(400, b"bad part header", content_type="text/plain"))])
    code, rows, _ = store(service, *(f"{n}.dcm" for n in range(1, 6)))
    assert code == 1
    assert outcomes(rows) == {f"{n}.dcm": "failed" if n == 3 else "stored" for n in range(1, 6)}
    assert next(row["comment"] for row in rows if row["outcome"] == "failed") == "bad part header"


def test_trouble_at_the_service_is_tried_again_and_then_left() -> None:
    write(1)
    code, rows, err = store(ScriptedOrigin(store=[judges(272), judges(272), judges("stored")]), "1.dcm")
    assert (code, outcomes(rows)) == (0, {"1.dcm": "stored"})
    assert "again in" in err
    code, rows, _ = store(ScriptedOrigin(store=[judges(272)]), "1.dcm")
    assert (code, outcomes(rows)) == (75, {"1.dcm": "not stored"})
    code, rows, _ = store(ScriptedOrigin(store=[judges(45071)]), "1.dcm")
    assert (code, outcomes(rows)) == (75, {"1.dcm": "not stored"})


def test_a_busy_service_and_a_lost_connection_are_waited_for() -> None:
    write(1)
    for trouble in (says(503), says(429), closes):
        code, rows, _ = store(ScriptedOrigin(store=[trouble, judges("stored")]), "1.dcm")
        assert (code, outcomes(rows)) == (0, {"1.dcm": "stored"})


def test_a_wrong_role_stops_everything_at_once() -> None:
    """I3: never a file's fault; what went before is said."""
    write(1, 2, 3)
    service = ScriptedOrigin(store=[judges("stored"), says(403)])
    code, rows, err = store(service, "1.dcm", "2.dcm", "3.dcm", INGESTD_BATCH__MAX_INSTANCES="1")
    assert code == 75
    assert outcomes(rows) == {"1.dcm": "stored"}
    assert "it forbids this, and auth.mode is none" in err
    assert service.count("store") == 2


def test_a_request_can_name_the_study_and_leave_multipart_away() -> None:
    """--study and --single."""
    (content,) = write(1)
    uid = made(1).ids[2]
    stored = json.dumps({"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [uid]}}]}}).encode()
    with hostile(answering(200, stored)) as server:
        ran = commanded("dicomweb", "store", "1.dcm", "--study", "1.2.3", "--single", "--url", server.url)
        (request,) = server.requests
    assert ran.code == 0
    assert request.line == "POST /v2/studies/1.2.3 HTTP/1.1"
    assert request.content_type == "application/dicom"
    assert request.body == content
    with hostile(answering(415)) as server:
        ran = commanded("dicomweb", "store", "1.dcm", "--single", "--url", server.url)
    assert ran.code == 1
    assert "leave --single away" in ran.out


def test_a_file_that_changes_while_it_is_sent_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """I4, F58: the last byte never goes out."""
    Path("1.dcm").write_bytes(made(1, size=3_000_000).content)
    for single in ((), ("--single",)):

        def change(peer: Peer) -> None:
            _, headers = peer.head()
            peer.body(1000)
            with open("1.dcm", "ab") as file:
                file.write(b"more")
            left = int(headers["content-length"]) - 1000
            peer.body(left)
            raise AssertionError("the whole body came")

        code, rows, _ = store(change, "1.dcm", *single)
        Path("1.dcm").write_bytes(made(1, size=3_000_000).content)
        assert code == 75
        assert outcomes(rows) == {"1.dcm": "not stored"}


# --- delete ---------------------------------------------------------------------------------------


def test_delete_without_anybody_to_ask_wants_a_yes() -> None:
    with hostile(answering(204)) as server:
        ran = commanded("dicomweb", "delete", "1", "2", "3", "--url", server.url)
        assert server.requests == []
    assert ran.code == 2
    assert "--yes" in ran.err


def test_delete_at_each_level_and_of_what_is_not_there() -> None:
    with hostile(then(saying(204), saying(204), saying(200), saying(404))) as server:
        for uids in (("1", "2", "3"), ("1", "2"), ("1",)):
            ran = commanded("dicomweb", "delete", *uids, "--yes", "--url", server.url)
            assert ran.code == 0
        again = commanded("dicomweb", "delete", "1", "--yes", "--url", server.url)
        assert [request.line for request in server.requests] == [
            "DELETE /v2/studies/1/series/2/instances/3 HTTP/1.1",
            "DELETE /v2/studies/1/series/2 HTTP/1.1",
            "DELETE /v2/studies/1 HTTP/1.1",
            "DELETE /v2/studies/1 HTTP/1.1",
        ]
    assert ran.out == "deleted: study 1\n"
    assert again.code == 1
    assert "there is none such" in again.err


def test_a_delete_whose_answer_was_lost_is_done_when_it_is_gone() -> None:
    """The first one may have arrived."""
    with hostile(then(break_off(b""), saying(404))) as server:
        ran = commanded("dicomweb", "delete", "1", "--yes", "--url", server.url, **QUICK)
    assert ran.code == 0


def test_a_service_without_delete_says_so() -> None:
    with hostile(answering(405)) as server:
        ran = commanded("dicomweb", "delete", "1", "--yes", "--url", server.url)
    assert ran.code == 1
    assert "this service has no delete" in ran.err


# --- the samples of the tutorial ---------------------------------------------------------------------


def test_the_emulator_does_not_write_its_samples_over_other_files() -> None:
    Path("samples").mkdir()
    Path("samples/red-triangle.dcm").write_bytes(b"mine")
    ran = commanded("emulator", "--samples", "samples")
    assert ran.code == 78
    assert "another red-triangle.dcm is there" in ran.err
    assert Path("samples/red-triangle.dcm").read_bytes() == b"mine"
