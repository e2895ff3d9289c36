"""Whatever is sent to the embedded service, it answers, and not with 5xx; it hangs on nothing and its memory stays flat.

INGESTD_FUZZ_EXAMPLES=20000 makes a campaign of it.
"""

import io
import os
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Literal

import httpx
import pytest
from fakes.emulator_process import EmulatorProcess, emulator_process
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.filereader import read_sequence

from ingestd.emulator.samples import ct_instance

EXAMPLES = int(os.environ.get("INGESTD_FUZZ_EXAMPLES", "400"))
PATIENCE_SECONDS = 60
ALLOWED_BYTES = 128 << 20  # what the allocator keeps varies; without bounds it is ten times as much
SINGLE = {"Content-Type": "application/dicom"}
HELD = ct_instance(study_uid="1.2.3", series_uid="1.2.3.4", sop_instance_uid="1.2.3.4.1", size_bytes=1500)

many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == 400,
    database=None,
    suppress_health_check=list(HealthCheck),
)

words = st.sampled_from(["1.2.3", "1.2.3.4", "1.2.3.4.1", "studies", "series", "instances", "metadata", "frames", "1"])
odd = st.sampled_from(
    [
        "",
        "..",
        "%2e%2e",
        "%2f",
        "%00",
        "%ff%fe",
        "%E4",
        "$bulkUpdate",
        "0",
        "-1",
        "1" * 65,
        "9" * 400,
        "1,2",
        "*",
        "~",
        "%",
    ]
)
places = st.lists(st.one_of(words, words, odd), max_size=8).map("/".join)
targets = st.one_of(
    st.tuples(st.sampled_from(["/v1", "/v2", "/v1.0-prerelease", "/v3", ""]), places).map("/".join),
    st.tuples(st.sampled_from(["/v1", "/v2"]), st.one_of(words, odd), places).map(
        lambda found: f"{found[0]}/partitions/{found[1]}/{found[2]}"
    ),
    st.sampled_from(
        [
            "/v2/studies",
            "/v2/studies/1.2.3",
            "/v2/studies/1.2.3/metadata",
            "/v2/studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.1",
            "/v2/studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.1/frames/1",
            "/v2/instances",
            "/v2/studies/1.2.3/series",
            "/v1/changefeed",
            "/v2/changefeed",
            "/v2/changefeed/latest",
            "/v2/partitions",
        ]
    ),
)
names = st.sampled_from(
    [
        "limit",
        "offset",
        "includefield",
        "fuzzymatching",
        "PatientName",
        "00100010",
        "StudyDate",
        "StudyInstanceUID",
        "startTime",
        "endTime",
        "includeMetadata",
        "Modality",
        "0020000D.00100010",
        "nonsense",
        "",
        "%00",
    ]
)
values = st.one_of(
    st.sampled_from(
        [
            "",
            "0",
            "1",
            "-1",
            "200",
            "9" * 30,
            "all",
            "true",
            "*",
            "20200101-",
            "-",
            "a%5Cb",
            "%ff",
            "2024-01-01T00:00:00Z",
        ]
    ),
    st.sampled_from(
        ["0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00", "NaN", "1e400", "%F0%9F%98%80", "'; DROP TABLE"]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="&#"), max_size=30),
)
queries = st.lists(st.tuples(names, values).map("=".join), max_size=4).map("&".join)

header_values = {
    "Accept": [
        "*/*",
        "application/dicom+json",
        'multipart/related; type="application/dicom"; transfer-syntax=*',
        'multipart/related; type="application/octet-stream"',
        "application/dicom; transfer-syntax=*",
        "application/octet-stream; transfer-syntax=*",
        "*/*;q=1e999",
        "*/*;q=nan",
        "a/b;q=x",
        "a/b;c=" + '"\\' * 99,
        ",,;=",
        '"',
    ],
    "Content-Type": [
        "application/dicom",
        'multipart/related; type="application/dicom"; boundary=e',
        "multipart/related; boundary=" + "e" * 300,
        'multipart/related; boundary="\\',
        "multipart/related; boundary=\xe4",
        "multipart/related; boundary=e; start=x",
        "multipart/related",
        "text/plain;" * 500,
        "",
    ],
    "If-None-Match": ['"1"', "*", 'W/"1"', '"' * 50],
    "Host": ["localhost", "[", "a b", "[::1]:99", "\xe4", "x" * 3000, "127.0.0.1:99999999", ""],
    "Range": ["bytes=0-0", "bytes=-", "lines=1"],
    "Expect": ["100-continue", "200-ok"],
    "Content-Encoding": ["gzip"],
    "Cookie": ["x"],
}
headers = st.lists(
    st.sampled_from(sorted(header_values)).flatmap(
        lambda name: st.sampled_from(header_values[name]).map(lambda value: (name, value))
    ),
    max_size=5,
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An instance with some of its bytes changed, and perhaps cut."""
    content = bytearray(HELD)
    for _ in range(draw(st.integers(0, 6))):
        content[draw(st.integers(128, len(content) - 1))] = draw(st.integers(0, 255))
    at = draw(st.integers(128, 600))
    content[at:at] = draw(st.one_of(st.just(b""), st.binary(max_size=40), st.just(b"\x00" * 5000)))
    return bytes(content[: draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])


def in_parts(contents: list[bytes], end: bytes) -> bytes:
    return b"".join(b"--e\r\nContent-Type: application/dicom\r\n\r\n" + one + b"\r\n" for one in contents) + end


bodies = st.one_of(
    st.just(b""),
    st.binary(max_size=300),
    damaged(),
    st.builds(
        in_parts,
        st.lists(damaged(), max_size=3),
        st.sampled_from([b"--e--", b"--e--\r\n", b"", b"--e\r\n", b"--e\r\nA"]),
    ),
)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with emulator_process(tmp_path_factory.mktemp("malformed") / "data") as process:
        yield process


@pytest.fixture(scope="module")
def client(emulator: EmulatorProcess) -> Iterator[httpx.Client]:
    accept = {"Accept": "application/dicom+json"}
    with httpx.Client(base_url=emulator.url, headers=accept, timeout=PATIENCE_SECONDS, trust_env=False) as one:
        yield one


@pytest.fixture(autouse=True)
def flat(emulator: EmulatorProcess, client: httpx.Client) -> Iterator[None]:
    """Memory after the test is what it was before, and the service still stores."""
    assert client.put("/v2/studies", content=HELD, headers=SINGLE).status_code == 200
    before = emulator.memory_bytes()
    yield
    assert client.put("/v2/studies", content=HELD, headers=SINGLE).status_code == 200
    grown = emulator.memory_bytes() - before
    print(f"memory grew by {grown} bytes from {before}")
    assert grown < ALLOWED_BYTES


def answer_to(emulator: EmulatorProcess, request: bytes, *, whole: bool) -> list[int]:
    """The statuses answered before the service closes the connection. A whole request gets one; part of one may get none."""
    url = httpx.URL(emulator.url)
    with socket.create_connection((url.host, url.port or 0), timeout=PATIENCE_SECONDS) as connection:
        try:
            connection.sendall(request)
            if not whole:
                connection.shutdown(socket.SHUT_WR)
            received = b""
            while step := connection.recv(2**20):
                received += step
        except ConnectionError:  # it may refuse before it has read all
            received = b""
            whole = False
    statuses = [int(line[9:12]) for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert statuses or not whole
    assert all(status < 500 for status in statuses), received[:300]
    return statuses


@pytest.mark.slow
@many
@given(
    method=st.sampled_from(
        ["GET", "GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "X"]
    ),
    target=targets,
    query=queries,
    fields=headers,
    body=bodies,
    chunked=st.booleans(),
)
def test_every_request_gets_an_answer_and_none_of_5xx(
    emulator: EmulatorProcess,
    method: str,
    target: str,
    query: str,
    fields: list[tuple[str, str]],
    body: bytes,
    chunked: bool,
) -> None:
    lines = [f"{method} {target or '/'}{'?' + query if query else ''} HTTP/1.1", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in fields]
    if not any(name == "Host" for name, _ in fields):
        lines.append("Host: localhost")
    if chunked:
        lines.append("Transfer-Encoding: chunked")
        body = b"".join(
            b"%x\r\n%s\r\n" % (len(body[at : at + 700]), body[at : at + 700]) for at in range(0, len(body), 700)
        )
        body += b"0\r\n\r\n"
    else:
        lines.append(f"Content-Length: {len(body)}")

    answer_to(emulator, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body, whole=True)


@pytest.mark.slow
@many
@given(
    content=damaged(),
    path=st.sampled_from(["/v1/studies", "/v2/studies", "/v2/studies/1.2.3", "/v2/partitions/p/studies"]),
)
def test_every_damaged_file_is_judged_and_what_is_kept_can_be_read(
    client: httpx.Client, content: bytes, path: str
) -> None:
    answer = client.put(path, content=content, headers=SINGLE)
    assert answer.status_code in {200, 202, 409}
    for item in answer.json().get("00081199", {}).get("Value", []):
        url = item["00081190"]["Value"][0]
        back = client.get(url, headers={"Accept": "application/dicom; transfer-syntax=*"})
        assert back.content == bytes(128) + content[128:]
        assert client.get(f"{url}/metadata").status_code == 200
        frames = client.get(f"{url}/frames/1", headers={"Accept": "application/octet-stream; transfer-syntax=*"})
        assert frames.status_code in {200, 404, 406}


@many
@given(
    garbage=st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=100).map(lambda found: b"GET /v2/studies HTTP/1.1\r\nHost: a\r\n" + found + b"\r\n\r\n"),
        st.binary(max_size=100).map(lambda found: b"GET /v2/" + found + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        st.integers(0, 5000).map(
            lambda cut: (
                b"POST /v2/studies HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nContent-Type: application/dicom\r\n"
                b"Content-Length: 1500\r\n\r\n" + HELD
            )[:cut]
        ),
        st.sampled_from(
            [
                b"POST /v2/studies HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
                b"POST /v2/studies HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
                b"POST /v2/studies HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                b"POST /v2/studies HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
                b"POST /v2/studies HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
                b"GET /v2/studies HTTP/9.9\r\n\r\n",
                b"GET " + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            ]
        ),
    )
)
def test_what_is_no_request_ends_the_connection(emulator: EmulatorProcess, garbage: bytes) -> None:
    answer_to(emulator, garbage, whole=False)


MANY = 1_000_000
FEW = MANY // 50
OTHERS = 20


@pytest.fixture(scope="module")
def building() -> float:
    """CPU seconds that pydicom takes, on this machine and in its present state, to build a million empty items."""
    content = (b"\xfe\xff\x00\xe0" + bytes(4)) * FEW
    began = time.thread_time()
    assert len(read_sequence(io.BytesIO(content), False, True, len(content), "iso8859")) == FEW
    return (time.thread_time() - began) * MANY / FEW


def head(syntax: str) -> bytes:
    found = syntax.encode() + b"\0" * (len(syntax) % 2)
    return bytes(128) + b"DICM\x02\x00\x10\x00UI" + len(found).to_bytes(2, "little") + found


def element(group: int, number: int, vr: bytes, value: bytes, order: Literal["little", "big"], *, end: bool) -> bytes:
    """One in explicit VR, or in implicit VR when `vr` is empty; a sequence with `end` is of undefined length."""
    length = 0xFFFFFFFF if end else len(value)
    tag = group.to_bytes(2, order) + number.to_bytes(2, order)
    size = vr + length.to_bytes(2, order) if vr == b"UI" else (vr and vr + b"\0\0") + length.to_bytes(4, order)
    close = 0xFFFE.to_bytes(2, order) + 0xE0DD.to_bytes(2, order) + bytes(4) if end else b""
    return tag + size + value + close


def crowded(kind: str) -> bytes:
    """An instance with a million empty items (of zeros, those without a tag), or as many elements in one item."""
    order: Literal["little", "big"] = "big" if "big" in kind else "little"
    item = bytes(8) if "zeros" in kind else 0xFFFE.to_bytes(2, order) + 0xE000.to_bytes(2, order) + bytes(4)
    sequence, uid = (b"", b"") if "implicit" in kind else (b"SQ", b"UI")
    content = item * MANY
    if "elements" in kind:
        inside = b"".join(
            (9 + at // 65536 * 2).to_bytes(2, "little") + (at % 65536).to_bytes(2, "little") + b"LO\0\0"
            for at in range(MANY)
        )
        content = item[:4] + len(inside).to_bytes(4, "little") + inside
    if "nested" in kind:
        few = element(8, 0x1140, b"SQ", item * (MANY // 100), order, end=False)
        content = (item[:4] + len(few).to_bytes(4, order) + few) * 100
    data_set = element(8, 0x1140, sequence, content, order, end="undefined" in kind)
    uids = {(0x20, 0xD): b"1.2.3\0", (0x20, 0xE): b"1.2.3.4\0"}
    data_set += b"".join(element(*tag, uid, value, order, end=False) for tag, value in uids.items())
    if "deflated" in kind:
        compress = zlib.compressobj(wbits=-15)
        return head("1.2.840.10008.1.2.1.99") + compress.compress(data_set) + compress.flush()
    if "implicit" in kind:
        return head("1.2.840.10008.1.2") + data_set
    return head("1.2.840.10008.1.2.2" if order == "big" else "1.2.840.10008.1.2.1") + data_set


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        f"{syntax} {length}"
        for syntax in ("explicit", "implicit", "big endian", "deflated")
        for length in ("defined", "undefined")
    ]
    + ["zeros defined", "zeros undefined", "nested defined", "nested undefined deflated"]
    + ["elements defined", "elements undefined", "elements deflated defined"],
)
def test_a_million_empty_items_are_refused_without_building_them(
    emulator: EmulatorProcess, client: httpx.Client, kind: str, building: float
) -> None:
    """azure-dicom 1.4, 43264: a body of 8 MB, or 12 kB deflated, neither fills the memory nor holds up the others.

    CPU seconds are compared with CPU seconds, so whoever else is busy on this machine has no part in them.
    """
    body = crowded(kind)
    emulator.forget_peak()
    before = emulator.memory_bytes()
    answers: list[httpx.Response] = []
    began = emulator.cpu_seconds()
    sender = threading.Thread(
        target=lambda: answers.append(client.put("/v2/studies", content=body, headers=SINGLE)), daemon=True
    )
    sender.start()
    others = 0
    while (sender.is_alive() and others < OTHERS) or not others:
        assert client.get("/v2/studies/1.2.3/metadata").status_code == 200
        others += 1
    sender.join()
    took, grown = emulator.cpu_seconds() - began, emulator.peak_bytes() - before
    print(f"{kind}: {took:.2f} s of {building:.2f}, {grown / 2**20:.0f} MiB, {others} others answered")

    [answer] = answers
    [failed] = answer.json()["00081198"]["Value"]
    assert (answer.status_code, failed["00081197"]["Value"]) == (409, [43264])
    assert grown < ALLOWED_BYTES
    assert took < building / 3


def test_a_request_to_upgrade_is_answered_and_nothing_is_said(client: httpx.Client) -> None:
    """The fixture's end fails on anything that the service wrote to its standard error."""
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert client.get("/v2/studies", headers=upgrade).status_code == 200
