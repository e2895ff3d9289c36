"""What is large goes in and out of the embedded service a step at a time: its memory does not grow with it."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx
import pytest
from fakes.emulator_process import emulator_process

from ingestd.emulator.samples import ct_instance

ROW_BYTES = 2 * 32768
SIZE = int(os.environ.get("INGESTD_LARGE_BYTES", str(128 * 1024**2))) // ROW_BYTES * ROW_BYTES
"""2147483648 for the real thing; a 32 bit length holds no more than 4294967295."""

ALLOWED_BYTES = 48 * 1024**2
INSTANCE = "studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.1"
JSON = {"Accept": "application/dicom+json"}
BODY, PARTS = "application/dicom", 'multipart/related; type="application/dicom"; boundary=e'
STEP = bytes(range(256)) * 256


def head() -> bytes:
    """A CT image of 32768 columns up to its pixel data, which are SIZE bytes."""
    small = ct_instance(study_uid="1.2.3", series_uid="1.2.3.4", sop_instance_uid="1.2.3.4.1", size_bytes=1500)
    pixels = small.index(b"\xe0\x7f\x10\x00OW\0\0")
    content = bytearray(small[:pixels] + b"\xe0\x7f\x10\x00OW\0\0" + SIZE.to_bytes(4, "little"))
    for element, value in ((0x10, SIZE // ROW_BYTES), (0x11, ROW_BYTES // 2)):
        at = content.index(b"\x28\0" + bytes([element]) + b"\0US\x02\0") + 8
        content[at : at + 2] = value.to_bytes(2, "little")
    return bytes(content)


def pixels() -> Iterator[bytes]:
    for _ in range(SIZE // len(STEP)):
        yield STEP


def digest(chunks: Iterator[bytes]) -> tuple[str, int]:
    sha, length = hashlib.sha256(), 0
    for chunk in chunks:
        sha.update(chunk)
        length += len(chunk)
    return sha.hexdigest(), length


def single(body_head: bytes) -> Iterator[bytes]:
    yield body_head
    yield from pixels()


def multipart(body_head: bytes) -> Iterator[bytes]:
    yield b"--e\r\nContent-Type: application/dicom\r\n\r\n"
    yield from single(body_head)
    yield b"\r\n--e--\r\n"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_large_instance_goes_in_and_out_in_the_memory_of_a_small_one(tmp_path: Path) -> None:
    """I8; both ways of storing, all ways of retrieving, byte for byte."""
    start = head()
    whole, frame = digest(single(start)), digest(pixels())
    with emulator_process(tmp_path / "data") as emulator:
        with httpx.Client(base_url=f"{emulator.url}/v2", headers=JSON, timeout=600, trust_env=False) as client:
            small = ct_instance(study_uid="1.2", series_uid="1.2.1", sop_instance_uid="1.2.1.1", size_bytes=1500)
            store(client, "POST", BODY, [small])
            before = emulator.memory_bytes()

            store(client, "POST", BODY, single(start))
            store(client, "PUT", PARTS, multipart(start))
            assert retrieved(client, INSTANCE, "application/dicom; transfer-syntax=*") == whole
            assert retrieved(client, f"{INSTANCE}/frames/1", "application/octet-stream") == frame
            _, length = retrieved(client, "studies/1.2.3", 'multipart/related; type="application/dicom"')
            assert whole[1] < length < whole[1] + 1000

            grown = emulator.peak_bytes() - before
            assert client.delete("studies/1.2.3").status_code == 204
    print(f"{SIZE} bytes: the most memory was {grown} bytes above {before}")
    assert grown < ALLOWED_BYTES


def store(client: httpx.Client, method: str, kind: str, content: Iterable[bytes]) -> None:
    client.request(method, "studies", content=iter(content), headers={"Content-Type": kind}).raise_for_status()


def retrieved(client: httpx.Client, path: str, accept: str) -> tuple[str, int]:
    with client.stream("GET", path, headers={"Accept": accept}) as answer:
        assert answer.status_code == 200
        found = digest(answer.iter_raw())
        assert int(answer.headers["content-length"]) == found[1]
        return found
