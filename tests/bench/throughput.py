"""The daemon against the wire: files a second of `ingestd drain`, as a share of what bare httpx connections reach that post
the same batches from memory and do nothing else, into the same sink, in the same run. Prints; never judges.

    python tests/bench/throughput.py [files] [bytes a file]
"""

from __future__ import annotations

import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from ingestd.emulator.samples import ct_instance

HERE = Path(__file__).parent
CONNECTIONS = 4
A_BATCH = 100


def instances(count: int, size: int) -> list[bytes]:
    root = "1.2.826.0.1.3680043.10.1465.7"
    return [
        ct_instance(
            study_uid=f"{root}.{n // 500}",
            series_uid=f"{root}.{n // 500}.1",
            sop_instance_uid=f"{root}.{n // 500}.1.{n}",
            size_bytes=size,
        )
        for n in range(count)
    ]


def ceiling(url: str, contents: list[bytes]) -> float:
    """Files a second of httpx alone."""
    bodies = []
    for at in range(0, len(contents), A_BATCH):
        boundary = secrets.token_hex(16)
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        parts = b"".join(head + c + b"\r\n" for c in contents[at : at + A_BATCH])
        bodies.append((boundary, parts + f"--{boundary}--\r\n".encode()))
    began = time.perf_counter()
    with httpx.Client(trust_env=False, timeout=60) as client, ThreadPoolExecutor(CONNECTIONS) as pool:

        def post(body: tuple[str, bytes]) -> None:
            kind = f'multipart/related; type="application/dicom"; boundary={body[0]}'
            client.post(f"{url}/studies", content=body[1], headers={"Content-Type": kind}).raise_for_status()

        list(pool.map(post, bodies))
    return len(contents) / (time.perf_counter() - began)


def daemon(url: str, contents: list[bytes]) -> tuple[float, float]:
    """Files a second of `ingestd drain` from start to end, and its CPU time a file in microseconds."""
    with tempfile.TemporaryDirectory() as root:
        inbox = Path(root, "inbox")
        inbox.mkdir()
        for n, content in enumerate(contents):
            (inbox / f"{n}.dcm").write_bytes(content)
        environment = {**os.environ, "INGESTD_ADMIN__LISTEN": "off"}
        command = [sys.executable, "-m", "ingestd", "drain", "--root", root, "--url", url, "--log-level", "warning"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return len(contents) / seconds, cpu / len(contents) * 1e6


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 32 * 1024
    contents = instances(count, size)
    with subprocess.Popen([sys.executable, str(HERE / "sink.py")], stdout=subprocess.PIPE) as sink:
        assert sink.stdout is not None
        url = f"http://127.0.0.1:{int(sink.stdout.readline())}/v2"
        try:
            for _ in range(3):
                top = ceiling(url, contents)
                rate, cpu = daemon(url, contents)
                print(
                    f"{count} files of {size} bytes: httpx alone {top:,.0f}/s, ingestd {rate:,.0f}/s, "
                    f"{rate / top:.2f} of it, {cpu:.0f} us of CPU a file"
                )
        finally:
            sink.kill()


if __name__ == "__main__":
    main()
