"""What it costs to drop stored files again: requests, bytes and time, with our receipts and without, against the embedded service.

Every request is held up for as long as a service far away would need, so the time says what a larger archive would take. Prints;
never judges.

    python tests/bench/redrop.py [files] [bytes a file] [seconds a request]
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from ingestd.emulator.samples import ct_instance

A_PIECE = 1 << 18
ARCHIVE = 100_000
_REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n")
_ROOT = "1.2.826.0.1.3680043.10.1465.7"


class Road:
    """Between daemon and service: counts what goes by, and holds each request up."""

    def __init__(self, port: int, seconds: float) -> None:
        self._port = port
        self._seconds = seconds
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.sent = self.fetched = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def forget(self) -> None:
        with self._lock:
            self.requests.clear()
            self.sent = self.fetched = 0

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            far = socket.create_connection(("127.0.0.1", self._port))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._out, args=(near, far), daemon=True).start()
            threading.Thread(target=self._back, args=(far, near), daemon=True).start()

    def _out(self, near: socket.socket, far: socket.socket) -> None:
        while piece := _received(near):
            if match := _REQUEST.match(piece):  # a request begins a piece of its own
                time.sleep(self._seconds)
                with self._lock:
                    self.requests[_kind(match[1].decode(), match[2].decode())] += 1
            with self._lock:
                self.sent += len(piece)
            far.sendall(piece)
        far.close()

    def _back(self, far: socket.socket, near: socket.socket) -> None:
        while piece := _received(far):
            with self._lock:
                self.fetched += len(piece)
            near.sendall(piece)
        near.close()


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(A_PIECE)
    except OSError:
        return b""


def _kind(method: str, path: str) -> str:
    """The DICOMweb transaction."""
    if method != "GET":
        return method
    if path.partition("?")[0].endswith("/metadata"):
        return "metadata"
    return "instance" if "/instances/" in path else "search"


def drop(inbox: Path, count: int, size: int) -> None:
    inbox.mkdir(exist_ok=True)
    for n in range(count):
        study = f"{_ROOT}.{n // 500}"
        uid = f"{study}.1.{n}"
        content = ct_instance(study_uid=study, series_uid=f"{study}.1", sop_instance_uid=uid, size_bytes=size)
        (inbox / f"{n}.dcm").write_bytes(content)


def drain(root: Path, url: str) -> float:
    environment = {**os.environ, "INGESTD_ADMIN__LISTEN": "off", "INGESTD_SERVICE__KIND": "azure"}
    command = [
        sys.executable,
        "-m",
        "ingestd",
        "drain",
        "--root",
        os.fspath(root),
        "--url",
        url,
        "--log-level",
        "error",
    ]
    began = time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 32 * 1024
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 0.05
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        command = [
            sys.executable,
            "-m",
            "ingestd",
            "emulator",
            "--port",
            "0",
            "--data",
            os.fspath(Path(folder, "data")),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
            assert service.stdout is not None
            try:
                port = int(re.search(r"127\.0\.0\.1:(\d+)", service.stdout.readline())[1])  # type: ignore[index]
                road = Road(port, seconds)
                url = f"http://127.0.0.1:{road.port}/v2"
                for what in ("new", "again, with receipts", "again, without"):
                    if what.endswith("without"):
                        shutil.rmtree(root)
                    root.mkdir(exist_ok=True)
                    drop(root / "inbox", count, size)
                    road.forget()
                    took = drain(root, url)
                    requests = ", ".join(f"{number} {kind}" for kind, number in sorted(road.requests.items()))
                    print(
                        f"{what}: {count} files of {size} bytes, {seconds} s a request: {requests}; "
                        f"{road.sent / 1e6:.1f} MB sent, {road.fetched / 1e6:.1f} MB fetched, {took:.1f} s, "
                        f"{took / count * ARCHIVE / 3600:.2f} h for {ARCHIVE}",
                        flush=True,
                    )
            finally:
                service.kill()


if __name__ == "__main__":
    main()
