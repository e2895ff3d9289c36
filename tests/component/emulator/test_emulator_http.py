"""The embedded service at its edges: framing, negotiation, tokens, limits, the change feed, start and stop."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fakes.emulator_client import JSON, new_partition, serving

from ingestd.emulator import EmulatorError
from ingestd.emulator.archive.archive import Archive
from ingestd.emulator.samples import ct_instance, tutorial_samples
from ingestd.emulator.server import running

MULTIPART = 'multipart/related; type="application/dicom"; boundary=edge'
NUMBERS = itertools.count(1000)
PART = b"--edge\r\nContent-Type: application/dicom\r\n\r\n"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(tmp_path) as client:
        yield client


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One service for tests that do not mind what else is stored."""
    with serving(tmp_path_factory.mktemp("shared")) as client:
        yield client


@pytest.fixture
def partition(shared: httpx.Client) -> Iterator[httpx.Client]:
    """A new partition of the shared service, with nothing in it."""
    with new_partition(shared) as client:
        yield client


def instance(number: int = 1) -> bytes:
    return ct_instance(study_uid="1.2.3", series_uid="1.2.3.4", sop_instance_uid=f"1.2.3.4.{number}", size_bytes=1500)


def send(client: httpx.Client, body: bytes, content_type: str = MULTIPART) -> int:
    return client.post("studies", content=body, headers={"Content-Type": content_type}).status_code


# -- multipart (azure-dicom 2.3) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (MULTIPART, 200),
        ("multipart/related; boundary=edge", 200),
        ('multipart/related; boundary="edge"; type="application/dicom"', 200),
        ('Multipart/Related;boundary=edge;TYPE="application/dicom"', 200),
        ("multipart/related; type=application/dicom; boundary=edge", 415),
        ('multipart/related; type="application/dicom"', 415),
        ('multipart/related; boundary=""', 415),
        ("multipart/form-data; boundary=edge", 415),
        ("application/dicom; transfer-syntax=1.2.840.10008.1.2.1", 415),
        ("", 415),
        ('multipart/related; type="application/dicom"; start="<a>"; boundary=edge', 400),
        ("multipart/related; boundary=" + "e" * 300, 400),
    ],
)
def test_the_content_type_of_the_request_decides(shared: httpx.Client, content_type: str, expected: int) -> None:
    """azure-dicom 2.3: the type must be quoted, a boundary is needed, start is not understood."""
    assert send(shared, PART + instance(next(NUMBERS)) + b"\r\n--edge--\r\n", content_type) == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"Content-Type: application/dicom\r\n", 200),
        (b"content-type:application/dicom\r\nContent-Disposition: form-data; name=f; filename=a.dcm\r\n", 200),
        (b"MIME-Version: 1.0\r\nContent-ID: <1>\r\n", 200),
        (b"Content-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\n", 415),
        (b"Content-Type: application/octet-stream\r\n", 415),
        (b"no colon here\r\n", 400),
        (b"".join(b"X-%d: y\r\n" % number for number in range(17)), 400),
        (b"X-Long: " + b"y" * 20_000 + b"\r\n", 400),
    ],
)
def test_the_headers_of_the_first_part_decide(shared: httpx.Client, head: bytes, expected: int) -> None:
    """azure-dicom 2.3: exactly application/dicom, or nothing, in which case type= of the request holds."""
    assert send(shared, b"--edge\r\n" + head + b"\r\n" + instance(next(NUMBERS)) + b"\r\n--edge--\r\n") == expected


def test_type_of_the_request_does_not_hold_for_the_second_part(service: httpx.Client) -> None:
    """azure-dicom 2.3; and nothing of a refused request is stored."""
    body = PART + instance(1) + b"\r\n--edge\r\n\r\n" + instance(2) + b"\r\n--edge--\r\n"

    assert send(service, body) == 415
    assert service.get("changefeed").json() == []


@pytest.mark.parametrize(
    ("body", "expected", "kept"),
    [
        (b"--edge--\r\n", 204, 0),
        (b"--edge--", 204, 0),
        (PART + instance(), 204, 0),
        (PART + instance(1) + b"\r\n" + PART + instance(2), 200, 1),
        (PART + instance(1) + b"\r\n--edge--", 200, 1),
        (PART + instance(1) + b"\r\n--edge--\r\nepilogue", 200, 1),
        (b"preamble\r\n" + PART + instance(1) + b"\r\n--edge--", 200, 1),
        (PART + instance(1) + b"\r\n--edge\r\nContent-Ty", 400, 0),
        (b"", 400, 0),
        (b"no delimiter at all", 400, 0),
        (b"x" * 300_000, 400, 0),
    ],
)
def test_how_a_multipart_body_ends(partition: httpx.Client, body: bytes, expected: int, kept: int) -> None:
    """azure-dicom 1.2 and 2.3: a part without its closing delimiter is dropped in silence; the empty one is the control."""
    assert send(partition, body) == expected
    found = partition.get("instances")
    assert (found.status_code, len(found.json()) if kept else 0) == (200 if kept else 204, kept)


def test_a_part_full_of_near_delimiters_arrives_whole(partition: httpx.Client) -> None:
    """The framing is found at any offset of the pieces the body comes in (PS3.18 10.5)."""
    content = instance()
    content += (b"\xfc\xff\xfc\xffOB\0\0" + (40_000).to_bytes(4, "little")) + (b"\r\n--edg\r\r\n--" * 4000)[:40_000]

    def dribble() -> Iterator[bytes]:
        body = PART + content + b"\r\n--edge--\r\n"
        for start in range(0, len(body), 997):
            yield body[start : start + 997]

    response = partition.post("studies", content=dribble(), headers={"Content-Type": MULTIPART})

    assert response.status_code == 200
    back = partition.get("studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.1", headers={"Accept": "*/*"})
    assert back.content == content


def test_the_path_s_study_is_checked(shared: httpx.Client) -> None:
    """azure-dicom 1.2: 400 for a UID of 65 characters."""
    response = shared.post("studies/" + "1" * 65, content=b"--edge--", headers={"Content-Type": MULTIPART})

    assert response.status_code == 400


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/dicom+json", 204),
        ("*/*", 204),
        ("text/html, application/dicom+json; q=0.5", 204),
        ("application/json", 406),
        ("application/dicom+json, nonsense", 406),
        (None, 406),
    ],
)
def test_accept_must_allow_dicom_json(shared: httpx.Client, accept: str | None, expected: int) -> None:
    """azure-dicom 1.2: no Accept header is 406."""
    request = shared.build_request("POST", "studies", content=b"--edge--", headers={"Content-Type": MULTIPART})
    del request.headers["accept"]
    if accept is not None:
        request.headers["accept"] = accept

    assert shared.send(request).status_code == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/dicom; transfer-syntax=*", 200),
        ("application/dicom", 200),
        ("application/dicom; transfer-syntax=1.2.840.10008.1.2.4.50", 406),
        ("application/dicom+json", 406),
    ],
)
def test_an_instance_is_retrieved_only_as_it_was_stored(partition: httpx.Client, accept: str, expected: int) -> None:
    """azure-dicom 2.5: transcoding is left to the real partition."""
    send(partition, PART + instance() + b"\r\n--edge--")
    url = "studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.1"

    assert partition.get(url, headers={"Accept": accept}).status_code == expected
    assert partition.head(url).status_code == 405


# -- limits (azure-dicom 2.1, 2.2) -------------------------------------------------------------------------------------


def test_a_request_above_the_limit_is_413_by_its_content_length(tmp_path: Path) -> None:
    """azure-dicom 1.2, in the service's words; a chunked multipart body loses the part instead (2.2)."""
    body = PART + instance() + b"\r\n--edge--\r\n"
    limited = running(data=tmp_path, max_request_bytes=1000)
    with limited as emulator, httpx.Client(base_url=emulator.url, headers=JSON) as client:
        response = client.post("studies", content=body, headers={"Content-Type": MULTIPART})
        chunked = client.post("studies", content=iter([body[:700], body[700:]]), headers={"Content-Type": MULTIPART})
        single = client.post("studies", content=iter([body]), headers={"Content-Type": "application/dicom"})

    assert (response.status_code, response.text) == (413, "The request exceeded the allowed limit of 1000 bytes.")
    assert (chunked.status_code, single.status_code) == (204, 413)


def test_a_client_that_goes_away_leaves_nothing(service: httpx.Client, tmp_path: Path) -> None:
    """Parts received so far are not stored when the connection ends inside the request."""
    url = service.base_url
    head = f"POST {url.path}studies HTTP/1.1\r\nHost: {url.host}\r\nAccept: */*\r\nContent-Type: {MULTIPART}\r\n"
    with socket.create_connection((url.host, url.port or 0)) as connection:
        connection.sendall(f"{head}Content-Length: 900000\r\n\r\n".encode())
        connection.sendall(PART + instance() + b"\r\n" + PART + bytes(300_000))
        while not list((tmp_path / "incoming").iterdir()):
            time.sleep(0.01)
    while list((tmp_path / "incoming").iterdir()):
        time.sleep(0.01)

    assert service.get("changefeed").json() == []


def test_what_a_request_left_is_not_deleted_where_all_requests_are_served(
    service: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """store.py: what blocks runs on a thread of the pool, however the request ends."""
    discard = Archive.discard
    threads: list[tuple[int, str]] = []

    def noted(archive: Archive, keys: Collection[str]) -> None:
        threads.append((len(keys), threading.current_thread().name))
        discard(archive, keys)

    monkeypatch.setattr(Archive, "discard", noted)
    refused = PART + instance() + b"\r\n" + PART.replace(b"application/dicom", b"text/plain") + bytes(1 << 20)
    assert send(service, refused) == 415  # while it is still being received
    assert send(service, PART + instance() + b"\r\n--edge--\r\n") == 200
    assert any(keys for keys, _ in threads)
    assert "emulator" not in {thread for _, thread in threads}
    assert list((tmp_path / "incoming").iterdir()) == []


def test_of_many_who_send_the_same_instance_one_stores_it(service: httpx.Client) -> None:
    """azure-dicom 1.7: the UIDs are unique however requests interleave."""
    body = PART + instance() + b"\r\n--edge--"
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: send(service, body), range(16)))

    assert sorted(statuses) == [200] + [409] * 15
    assert len(service.get("changefeed").json()) == 1


def test_trouble_of_its_own_disk_is_272_for_each_instance_and_503_before_there_is_one(
    service: httpx.Client, tmp_path: Path
) -> None:
    """azure-dicom 1.4: 272 is the service's trouble, not the file's; nothing is half stored."""
    body = PART + instance(1) + b"\r\n" + PART + instance(2) + b"\r\n--edge--"
    shutil.move(tmp_path / "blobs", tmp_path / "elsewhere")
    response = service.post("studies", content=body, headers={"Content-Type": MULTIPART})
    shutil.move(tmp_path / "elsewhere", tmp_path / "blobs")
    shutil.move(tmp_path / "incoming", tmp_path / "elsewhere")
    unavailable = send(service, body)
    shutil.move(tmp_path / "elsewhere", tmp_path / "incoming")

    reasons = [item["00081197"]["Value"] for item in response.json()["00081198"]["Value"]]
    assert (response.status_code, reasons) == (409, [[272], [272]])
    assert unavailable == 503
    assert service.get("changefeed").json() == []
    assert send(service, body) == 200


# -- tokens (azure-dicom 1.2, row 401) ---------------------------------------------------------------------------------


def test_every_route_wants_one_of_the_file_s_tokens_as_it_is_now(tmp_path: Path) -> None:
    """The file is read anew when it changes; without it nobody gets in."""
    tokens = tmp_path / "tokens"
    tokens.write_text("first\n\nsecond\n")

    def status(method: str, path: str, token: str | None) -> int:
        headers = {} if token is None else {"Authorization": f"Bearer {token}".encode("latin-1")}
        return client.request(method, path, headers=headers).status_code

    with (
        running(data=tmp_path / "data", token_file=tokens) as emulator,
        httpx.Client(base_url=emulator.url, headers=JSON) as client,
    ):
        assert [status("GET", "changefeed", token) for token in ("first", "second", "other", "\xe9", None)] == [
            200,
            200,
            401,
            401,
            401,
        ]
        assert [status(*route, None) for route in (("POST", "studies"), ("GET", "nowhere"))] == [401, 401]
        challenge = client.get("changefeed").headers["www-authenticate"]
        tokens.write_text("third\n")
        assert [status("GET", "changefeed", token) for token in ("first", "third")] == [401, 200]
        tokens.unlink()
        assert status("GET", "changefeed", "third") == 401

    audience = "https://dicom.healthcareapis.azure.com"
    assert challenge.startswith('Bearer authorization_uri="https://')
    assert challenge.endswith(f'resource_id="{audience}", realm="{audience}"')


def test_401_comes_before_the_body_is_read(tmp_path: Path) -> None:
    """azure-dicom 2.2: the answer is there while the body is still being sent."""
    tokens = tmp_path / "tokens"
    tokens.write_text("right\n")
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 1
            yield bytes(65536)

    with running(data=tmp_path / "data", token_file=tokens) as emulator:
        response = httpx.post(
            f"{emulator.url}/studies", content=endless(), headers={**JSON, "Content-Type": "application/dicom"}
        )

    assert response.status_code == 401
    assert list((tmp_path / "data" / "incoming").iterdir()) == []


# -- change feed (azure-dicom 5) ---------------------------------------------------------------------------------------


def test_the_change_feed_tells_what_was_stored_in_its_order(service: httpx.Client) -> None:
    """azure-dicom 5: sequence, UIDs, action, state; metadata unless it is not wanted."""
    assert service.get("changefeed/latest").status_code == 204
    send(service, b"".join(PART + instance(number) + b"\r\n" for number in (1, 2, 3)) + b"--edge--")

    feed = service.get("changefeed").json()
    page = service.get("changefeed?offset=1&limit=1&includeMetadata=false").json()
    latest = service.get("changefeed/latest?includemetadata=False").json()

    assert [(entry["Sequence"], entry["SopInstanceUid"]) for entry in feed] == [
        (number, f"1.2.3.4.{number}") for number in (1, 2, 3)
    ]
    assert {(entry["Action"], entry["State"]) for entry in feed} == {("create", "current")}
    assert feed[0]["Metadata"]["00080018"]["Value"] == ["1.2.3.4.1"]
    assert [entry["Sequence"] for entry in page] == [2]
    assert latest == {key: entry for key, entry in feed[2].items() if key != "Metadata"}


def test_the_window_includes_its_start_and_excludes_its_end(service: httpx.Client) -> None:
    """azure-dicom 5: startTime inclusive, endTime exclusive."""
    send(service, PART + instance() + b"\r\n--edge--")
    moment = service.get("changefeed/latest").json()["Timestamp"]

    def count(**window: str) -> int:
        return len(service.get("changefeed", params=window).json())

    assert count(startTime=moment) == 1
    assert count(endTime=moment) == 0
    assert count(startTime="2020-01-01T00:00:00Z", endTime="9999-01-01T00:00:00+01:00") == 1


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=",
        "offset=-1",
        "offset=99999999999999999999",
        "includeMetadata=yes",
        "startTime=yesterday",
        "startTime=2024-01-01T00:00:00",
        "startTime=2024-01-02T00:00:00Z&endTime=2024-01-01T00:00:00Z",
    ],
)
def test_a_query_of_the_change_feed_that_makes_no_sense_is_400(shared: httpx.Client, query: str) -> None:
    """azure-dicom 5: limit 1 to 200, times with a zone, start before end."""
    assert shared.get(f"changefeed?{query}").status_code == 400


# -- start and stop ----------------------------------------------------------------------------------------------------


def test_a_data_folder_has_one_emulator_at_a_time(tmp_path: Path) -> None:
    """A second one would take the first one's parts for leftovers."""
    with running(data=tmp_path), pytest.raises(EmulatorError, match="another emulator uses it"):
        with running(data=tmp_path):
            pass


def test_what_keeps_it_from_starting_is_said_in_one_line(tmp_path: Path) -> None:
    """Brief: what, where, how to mend it."""
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(EmulatorError, match="holds no token"), running(data=tmp_path, token_file=empty):
        pass
    with pytest.raises(EmulatorError, match="write one token"), running(data=tmp_path, token_file=tmp_path / "none"):
        pass
    with pytest.raises(EmulatorError, match="choose one you can write to"), running(data=empty):
        pass
    for stray in (tmp_path / "strays" / "incoming" / "folder", tmp_path / "blob" / "blobs" / "README"):
        stray.parent.mkdir(parents=True)
        stray.mkdir() if stray.name == "folder" else stray.touch()
        with pytest.raises(EmulatorError, match=f"{stray}; take that away"), running(data=stray.parents[1]):
            pass
    (tmp_path / "index.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(EmulatorError, match="its index is unusable"), running(data=tmp_path):
        pass
    with (
        running(data=tmp_path / "one") as emulator,
        pytest.raises(EmulatorError, match="cannot listen"),
        running(data=tmp_path / "two", port=httpx.URL(emulator.url).port or 0),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_served_in_the_foreground_it_stores_what_curl_sends_and_ends_at_a_signal(tmp_path: Path, number: int) -> None:
    """Tutorial, step 2 with curl; one line to stdout, nothing to stderr, exit code 0."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    code = (
        "import sys, pathlib; from ingestd.emulator.server import serve;"
        "serve(host='127.0.0.1', port=0, data=pathlib.Path(sys.argv[1]), token_file=None)"
    )
    command = [sys.executable, "-W", "error", "-c", code, os.fspath(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        forms = []
        for sample in tutorial_samples():
            (tmp_path / sample.name).write_bytes(sample.content)
            forms += ["--form", f"file=@{tmp_path / sample.name};type=application/dicom"]
        header = [
            "-H",
            "Accept: application/dicom+json",
            "-H",
            'Content-Type: multipart/related; type="application/dicom"',
        ]
        asked = [curl, "-sS", "-o", "-", "-w", "%{http_code}", *header, *forms, line.split()[-1] + "/studies"]
        answers = [subprocess.run(asked, capture_output=True, text=True, check=True).stdout[-3:] for _ in "12"]
        process.send_signal(number)
        rest = process.communicate(timeout=20)

    assert line.startswith("ingestd emulator, for demos, development and tests only, serves http://127.0.0.1:")
    assert answers == ["200", "409"]
    assert (rest, process.returncode) == (("", ""), 0)
