"""The embedded service gives back what it holds: studies, series, instances and their metadata (facts/tutorial 5 to 10)."""

import contextlib
import email
import os
import re
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from fakes.emulator_client import new_partition, serving
from starlette.requests import Request

from ingestd.emulator.archive.archive import Archive, NewInstance
from ingestd.emulator.dicom.uids import Uids
from ingestd.emulator.samples import ct_instance
from ingestd.emulator.transactions.retrieve import Retrieve

PARTS = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
STUDY, SERIES, OTHER = "studies/1.2.3", "studies/1.2.3/series/1.2.3.4", "studies/1.2.3/series/1.2.3.5"
INSTANCE = f"{SERIES}/instances/1.2.3.4.1"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(tmp_path) as client:
        yield client


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Two series: instances 1 and 2, instance 3; the tests store nothing, but in a partition of their own."""
    with serving(tmp_path_factory.mktemp("held")) as client:
        for number in (1, 2, 3):
            store(client, instance(number))
        yield client


@pytest.fixture
def partition(held: httpx.Client) -> Iterator[httpx.Client]:
    """A new partition of that service, with nothing in it."""
    with new_partition(held) as client:
        yield client


def instance(number: int, *, size: int = 1500, syntax: str = EXPLICIT) -> bytes:
    series = "1.2.3.5" if number == 3 else "1.2.3.4"
    content = ct_instance(study_uid="1.2.3", series_uid=series, sop_instance_uid=f"1.2.3.4.{number}", size_bytes=size)
    padded = EXPLICIT.encode() + b"\0"
    return (
        content.replace(padded, syntax.encode().ljust(len(padded), b"\0"), 1)
        if len(syntax) <= len(padded)
        else (content.replace(len(padded).to_bytes(2, "little") + padded, _element(syntax), 1))
    )


def _element(syntax: str) -> bytes:
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    return len(value).to_bytes(2, "little") + value


def store(client: httpx.Client, content: bytes, method: str = "POST") -> None:
    answer = client.request(method, "studies", content=content, headers={"Content-Type": "application/dicom"})
    assert answer.status_code in {200, 202}


def parts(answer: httpx.Response) -> list[tuple[str, bytes]]:
    """Content-Type and bytes of each part, as an independent parser sees them."""
    assert answer.status_code == 200, answer.text
    assert len(answer.content) == int(answer.headers["content-length"])
    boundary = re.fullmatch(r"multipart/related; boundary=([0-9a-f]{32})", answer.headers["content-type"])
    assert boundary is not None
    edge = b"--" + boundary[1].encode()
    assert answer.content.endswith(edge + b"--\r\n")
    found = []
    for raw in answer.content.removesuffix(edge + b"--\r\n").split(edge + b"\r\n")[1:]:
        head, _, body = raw.removesuffix(b"\r\n").partition(b"\r\n\r\n")
        message = email.message_from_bytes(head + b"\r\n\r\n")
        found.append((message["Content-Type"], body))
    return found


@pytest.mark.parametrize(("path", "numbers"), [(STUDY, (1, 2, 3)), (SERIES, (1, 2)), (OTHER, (3,)), (INSTANCE, (1,))])
@pytest.mark.parametrize("accept", [PARTS["Accept"], 'multipart/related; type="application/dicom"'])
def test_what_was_stored_comes_back_part_by_part(
    held: httpx.Client, path: str, numbers: tuple[int, ...], accept: str
) -> None:
    found = parts(held.get(path, headers={"Accept": accept}))

    assert found == [(f"application/dicom; transfer-syntax={EXPLICIT}", instance(number)) for number in numbers]


def test_an_instance_alone_is_the_body(held: httpx.Client) -> None:
    answer = held.get(INSTANCE, headers={"Accept": "application/dicom; transfer-syntax=*"})

    assert answer.content == instance(1)
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert answer.headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize(
    ("accept", "study", "one"),
    [
        ("*/*", 200, 200),
        ("*/*; transfer-syntax=*", 200, 200),
        ('multipart/related; type="*/*"', 200, 200),
        ("multipart/related; type=application/dicom; transfer-syntax=*", 200, 200),  # quotes forgiven here
        ('Multipart/Related; Type="Application/DICOM"', 200, 200),
        (f'multipart/related; type="application/dicom"; transfer-syntax={EXPLICIT}', 200, 200),
        (f'multipart/related; type="application/dicom"; transfer-syntax={JPEG}', 406, 406),
        ("application/dicom; transfer-syntax=*", 406, 200),
        ('text/html, nonsense, multipart/related; type="application/dicom"; q=0.1', 200, 200),
        ('multipart/related; type="application/dicom"; q=0', 406, 406),
        ("multipart/related", 406, 406),
        ('multipart/related; type="application/octet-stream"', 406, 406),
        ("application/dicom+json", 406, 406),
        ("application/*", 406, 406),
        ("nonsense", 406, 406),
        ('"' * 5000, 406, 406),
        (None, 406, 406),
    ],
)
def test_accept_decides(held: httpx.Client, accept: str | None, study: int, one: int) -> None:
    """The service's conformance statement, Retrieve; no Accept header is 406."""
    for path, expected in ((STUDY, study), (INSTANCE, one)):
        request = held.build_request("GET", path)
        del request.headers["accept"]
        if accept is not None:
            request.headers["accept"] = accept
        assert held.send(request).status_code == expected


def test_of_what_is_accepted_the_best_that_can_be_given_is(held: httpx.Client) -> None:
    alone, several = "application/dicom; q={}", 'multipart/related; type="application/dicom"; q={}'
    for qualities, expected in (((0.5, 0.6), "multipart"), ((0.6, 0.5), "application")):
        accept = ", ".join(one.format(q) for one, q in zip((alone, several), qualities, strict=True))
        assert held.get(INSTANCE, headers={"Accept": accept}).headers["content-type"].startswith(expected)
    jpeg_first = f"application/dicom; transfer-syntax={JPEG}, application/dicom; q=0.1"
    assert held.get(INSTANCE, headers={"Accept": jpeg_first}).content == instance(1)


def test_nothing_is_transcoded(partition: httpx.Client) -> None:
    """azure-dicom 2.5: what is stored in another syntax is given as stored, by * or by its name, or not at all."""
    store(partition, instance(1, syntax=JPEG))
    store(partition, instance(2))
    statuses = {
        (path, syntax): partition.get(
            path, headers={"Accept": f'multipart/related; type="application/dicom"{syntax}'}
        ).status_code
        for path in (STUDY, INSTANCE)
        for syntax in ("", "; transfer-syntax=*", f"; transfer-syntax={JPEG}")
    }

    assert statuses == {
        (STUDY, ""): 406,
        (STUDY, "; transfer-syntax=*"): 200,
        (STUDY, f"; transfer-syntax={JPEG}"): 406,
        (INSTANCE, ""): 406,
        (INSTANCE, "; transfer-syntax=*"): 200,
        (INSTANCE, f"; transfer-syntax={JPEG}"): 200,
    }
    kinds = [kind for kind, _ in parts(partition.get(STUDY, headers=PARTS))]
    assert kinds == [f"application/dicom; transfer-syntax={syntax}" for syntax in (JPEG, EXPLICIT)]


@pytest.mark.parametrize("syntax", ["1.2\r\nX-Y: z", "\0.2.840.10008.1.2.1", ""])
def test_a_transfer_syntax_that_is_none_reaches_no_header(partition: httpx.Client, syntax: str) -> None:
    """Found by the malformed requests: the service ended the connection, or a file could have written its headers."""
    content = instance(1, syntax=syntax)
    store(partition, content)

    answer = partition.get(INSTANCE, headers={"Accept": "application/dicom; transfer-syntax=*"})
    frame = partition.get(f"{INSTANCE}/frames/1", headers={"Accept": "application/octet-stream; transfer-syntax=*"})

    assert (answer.content, answer.headers["content-type"]) == (content, "application/dicom; transfer-syntax=*")
    assert (frame.status_code, frame.headers["content-type"]) == (200, "application/octet-stream; transfer-syntax=*")
    assert "x-y" not in answer.headers


@pytest.mark.parametrize("suffix", ["", "/metadata"])
def test_what_is_not_there_is_404_in_the_words_of_its_level(held: httpx.Client, suffix: str) -> None:
    for path, level in (
        ("studies/1.9", "study"),
        (f"{STUDY}/series/1.9", "series"),
        (f"{SERIES}/instances/1.9", "instance"),
        (f"{OTHER}/instances/1.2.3.4.1", "instance"),
    ):
        answer = held.get(path + suffix, headers={"Accept": "*/*"})
        assert (answer.status_code, answer.text) == (404, f"The specified {level} cannot be found.")


@pytest.mark.parametrize("path", ["studies/x", "studies/1.2.3/series/x", f"{SERIES}/instances/" + "1" * 65])
@pytest.mark.parametrize("suffix", ["", "/metadata", "/frames/1"])
def test_a_uid_that_is_none_is_400(held: httpx.Client, path: str, suffix: str) -> None:
    if suffix == "/frames/1" and "instances" not in path:
        path += "/series/1.2/instances/1.2" if "series" not in path else "/instances/1.2"
    answer = held.get(path + suffix, headers={"Accept": "*/*"})

    assert answer.status_code == 400
    assert "DICOM Identifier is invalid" in answer.text


# -- metadata ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "numbers"), [(STUDY, "123"), (SERIES, "12"), (OTHER, "3"), (INSTANCE, "1")])
def test_metadata_are_a_data_set_for_each_instance(held: httpx.Client, path: str, numbers: str) -> None:
    found = held.get(f"{path}/metadata")

    assert [one["00080018"]["Value"] for one in found.json()] == [[f"1.2.3.4.{number}"] for number in numbers]
    assert found.headers["content-type"] == "application/dicom+json; charset=utf-8"
    assert held.get(f"{path}/metadata", headers={"Accept": "application/json"}).status_code == 406


@pytest.mark.parametrize("path", [STUDY, SERIES, INSTANCE])
def test_an_etag_holds_until_something_changes(partition: httpx.Client, path: str) -> None:
    """Conformance statement, Retrieve Metadata Cache Validation; ETag here with the quotes that RFC 9110 wants."""
    store(partition, instance(1))
    store(partition, instance(2))
    etag = partition.get(f"{path}/metadata").headers["etag"]

    def status(tag: str) -> int:
        answer = partition.get(f"{path}/metadata", headers={"If-None-Match": tag})
        assert (answer.content == b"") == (answer.status_code == 304)
        return answer.status_code

    assert re.fullmatch(r'"\d+(-\d+)?"', etag)
    assert (status(etag), status(etag.strip('"')), status('"other"')) == (304, 304, 200)
    store(partition, instance(1), "PUT")
    assert status(etag) == 200
    if path != INSTANCE:
        etag = partition.get(f"{path}/metadata").headers["etag"]
        partition.delete(f"{SERIES}/instances/1.2.3.4.2")
        assert status(etag) == 200


def test_many_metadata_are_given_in_pages_and_whole(partition: httpx.Client) -> None:
    body = b"".join(b"--e\r\nContent-Type: application/dicom\r\n\r\n" + instance(n) + b"\r\n" for n in range(10, 260))
    kind = 'multipart/related; type="application/dicom"; boundary=e'
    assert partition.post("studies", content=body + b"--e--", headers={"Content-Type": kind}).status_code == 200

    found = partition.get(f"{STUDY}/metadata").json()

    assert [one["00080018"]["Value"][0] for one in found] == [f"1.2.3.4.{number}" for number in range(10, 260)]


# -- what changes while it is read -------------------------------------------------------------------------------------


def blobs(data: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(data / "blobs"))


@pytest.mark.parametrize("change", ["delete", "replace"])
def test_what_is_being_retrieved_stays_to_the_end_and_then_goes(
    service: httpx.Client, tmp_path: Path, change: str
) -> None:
    """Deleted or replaced in the middle of the answer, even what was not opened yet arrives whole; its file is gone after."""
    contents = [instance(number, size=12_000_000) for number in (1, 2)]
    for content in contents:
        store(service, content)
    with service.stream("GET", STUDY, headers=PARTS) as answer:
        steps = answer.iter_raw(65536)
        received = next(steps)
        if change == "delete":
            assert service.delete(STUDY).status_code == 204
        else:
            for number in (1, 2):
                store(service, instance(number), "PUT")
        assert service.get(f"{SERIES}/metadata").status_code == (404 if change == "delete" else 200)
        received += b"".join(steps)
    assert all(content in received for content in contents)
    left = 0 if change == "delete" else 2
    wait_for(lambda: blobs(tmp_path) == left)


def test_a_reader_who_goes_away_lets_go(service: httpx.Client, tmp_path: Path) -> None:
    for number in (1, 2):
        store(service, instance(number, size=12_000_000))
    with service.stream("GET", STUDY, headers=PARTS) as answer:
        steps = answer.iter_raw(65536)
        next(steps)
        service.delete(STUDY)
        assert blobs(tmp_path) == 2
    wait_for(lambda: blobs(tmp_path) == 0)


def test_what_is_replaced_between_look_up_and_opening_is_looked_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that was looked up is gone a moment later: then the new one is given, and never 404."""
    with closing(Archive(tmp_path)) as archive:

        def put(size: int) -> None:
            key, path = archive.new_part()
            Path(path).write_bytes(bytes(size))
            uids = Uids(study="1.2.3", series="1.2.3.4", sop_instance="1.2.3.4.1")
            archive.add([NewInstance(key=key, uids=uids, transfer_syntax=EXPLICIT, metadata="{}")], replace=True)

        put(1000)
        really_held, replaced = archive.blobs.held, [put]

        def held(keys: Collection[str]) -> contextlib.AbstractContextManager[None]:
            if replaced:
                replaced.pop()(2000)
            return really_held(keys)

        monkeypatch.setattr(archive.blobs, "held", held)
        path = {"study": "1.2.3", "series": "1.2.3.4", "instance": "1.2.3.4.1"}
        scope = {"type": "http", "headers": [(b"accept", b"*/*")], "path_params": path}
        answer = Retrieve(archive).resource(Request(scope))
        assert (answer.status_code, answer.headers["content-length"]) == (200, "2000")


def test_many_long_readers_keep_nobody_waiting(service: httpx.Client) -> None:
    """More answers half read than there are connections to the index or threads in the pool, and the next is served."""
    store(service, instance(1, size=12_000_000))
    release = threading.Event()
    begun = threading.Semaphore(0)

    def read_half() -> None:
        with httpx.stream("GET", f"{service.base_url}{STUDY}", headers=PARTS, timeout=60) as answer:
            steps = answer.iter_raw(1024)
            next(steps)
            begun.release()
            release.wait(60)

    readers = [threading.Thread(target=read_half) for _ in range(48)]
    for reader in readers:
        reader.start()
    try:
        for _ in readers:
            assert begun.acquire(timeout=60)
        assert service.get(f"{INSTANCE}/metadata").status_code == 200
    finally:
        release.set()
        for reader in readers:
            reader.join()


def wait_for(condition: object) -> None:
    deadline = time.monotonic() + 30
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
