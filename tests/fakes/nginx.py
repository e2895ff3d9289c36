"""nginx as a TLS reverse proxy, one worker, on a port of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from fakes.pki import Authority, Pair, put

CONFIGURATION = """
daemon off;
master_process on;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log info;
{user}
events {{ worker_connections 64; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/tls.crt;
        ssl_certificate_key {folder}/tls.key;
        {directives}
        location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""


class Nginx:
    """`Nginx(folder, authority, "http://127.0.0.1:1234/v2", "gzip on;")`; `url` is what clients see."""

    def __init__(
        self, folder: Path, authority: Authority, upstream: str, *directives: str, pair: Pair | None = None
    ) -> None:
        folder.mkdir()
        self._folder = folder
        self._upstream = upstream
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = int(s.getsockname()[1])
        self.url = f"https://127.0.0.1:{self.port}/v2"
        self._process: subprocess.Popen[bytes] | None = None
        self.show(pair or authority.issue())
        self.configure(*directives)

    def show(self, pair: Pair) -> None:
        """The certificate to show from the next start or reload on."""
        put(pair.certificate, self._folder / "tls.crt")
        put(pair.key, self._folder / "tls.key")

    def configure(self, *directives: str) -> None:
        text = CONFIGURATION.format(
            folder=self._folder,
            port=self.port,
            upstream=self._upstream.rpartition(":")[2].partition("/")[0],
            user="user root;" if os.geteuid() == 0 else "",
            directives="\n        ".join(directives),
        )
        (self._folder / "nginx.conf").write_text(text)

    def start(self) -> None:
        program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or "nginx"
        self._process = subprocess.Popen([program, "-p", str(self._folder), "-c", str(self._folder / "nginx.conf")])
        deadline = time.monotonic() + 10
        while True:
            assert self._process.poll() is None, "nginx ended: its words are on standard error"
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def reload(self) -> None:
        """New files, new worker; returns when the old one is gone."""
        before = self.workers()
        self._signal(signal.SIGHUP)
        deadline = time.monotonic() + 10
        while not self.workers() or set(self.workers()) & set(before):
            assert time.monotonic() < deadline, (self._folder / "error.log").read_text()[-2000:]
            time.sleep(0.02)

    def workers(self) -> list[int]:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def freeze(self) -> list[int]:
        """Its workers take connections (the kernel does) and do nothing; give what this returns to `thaw`."""
        pids = self.workers()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        return pids

    def thaw(self, pids: list[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGTERM)
            self._process.wait(10)

    def log(self) -> str:
        """Access log: one line a request."""
        return (self._folder / "access.log").read_text()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
