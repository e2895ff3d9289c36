"""A server made of sockets, for what no well-behaved one does. Each connection runs a script that a test wrote.

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(answer(413))
        peer.reset()

    with hostile(script) as server:
        ...  # server.url

Scripts run on threads of their own; one for each connection in order, the last again and again. `peer.hold()` waits until the test
ends, so a script can leave a client hanging without a sleep. What a script raises fails the test when the block is left, but for
the socket errors of a client that went away.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

Script = Callable[["Peer"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request as it came in. Header names in lower case."""

    line: str
    headers: Mapping[str, str]
    body: bytes
    connection: int

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")


class HostileServer:
    """What the test sees: the URL, and every request that a script read."""

    def __init__(self, scripts: tuple[Script, ...], tls: ssl.SSLContext | None, port: int = 0) -> None:
        self._scripts = scripts
        self.tls = tls  # of the next connection
        self._listener = socket.create_server(("127.0.0.1", port))
        self._threads: list[threading.Thread] = []
        self._peers: list[Peer] = []
        self.released = threading.Event()
        self.failures: list[BaseException] = []
        self.requests: list[Received] = []
        self.connections = 0
        scheme = "http" if tls is None else "https"
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}/v2"

    def start(self) -> None:
        self._run(self._accept)

    def stop(self) -> None:
        self.released.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self._peers:
            peer.drop()
        for thread in self._threads:
            thread.join(10)
        if self.failures:
            raise self.failures[0]

    def _run(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            number = self.connections
            self.connections += 1
            script = self._scripts[min(number, len(self._scripts) - 1)]
            self._run(lambda a=accepted, s=script, n=number: self._serve(a, s, n))

    def _serve(self, accepted: socket.socket, script: Script, number: int) -> None:
        try:
            if self.tls is not None:
                accepted = self.tls.wrap_socket(accepted, server_side=True)
            peer = Peer(self, accepted, number)
            self._peers.append(peer)
            try:
                script(peer)
            finally:
                peer.drop()
        except OSError:  # the client went away
            accepted.close()
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread by stop()
            self.failures.append(error)


class Peer:
    """One connection, from the server's side."""

    def __init__(self, server: HostileServer, connection: socket.socket, number: int) -> None:
        self._server = server
        self._socket = connection
        self._number = number
        self._buffer = bytearray()

    @property
    def client_serial(self) -> str:
        """The serial number of the client's certificate."""
        assert isinstance(self._socket, ssl.SSLSocket)
        return str((self._socket.getpeercert() or {})["serialNumber"])

    def head(self) -> tuple[str, dict[str, str]]:
        """The request line and headers."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head = self.body(self._buffer.index(b"\r\n\r\n") + 4)
        line, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in lines)}
        return line, headers

    def body(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more(size - len(self._buffer))  # and nothing beyond, so that a script can be slow
        body = bytes(self._buffer[:size])
        del self._buffer[:size]
        return body

    def request(self) -> Received:
        """A whole request, kept in server.requests. Its Content-Length must be there."""
        line, headers = self.head()
        body = self.body(int(headers.get("content-length", "0")))
        received = Received(line=line, headers=headers, body=body, connection=self._number)
        self._server.requests.append(received)
        return received

    def everything(self) -> bytes:
        """All that comes until the client stops."""
        with suppress(OSError):
            while True:
                self._more()
        return bytes(self._buffer)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def half_close(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """RST, not FIN."""
        self._buffer.clear()  # what came and was not read is no request to come
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def take(self, size: int) -> int:
        """A few bytes off the socket, thrown away."""
        return len(self._socket.recv(size))

    def hold(self, seconds: float | None = None) -> bool:
        """Do nothing; True when the test has ended."""
        return self._server.released.wait(seconds)

    def relay(self, port: int) -> None:
        """Everything, both ways, between the client and a port of this machine: what a proxy does after CONNECT."""
        with socket.create_connection(("127.0.0.1", port)) as behind:
            back = threading.Thread(target=_pour, args=(behind, self._socket), daemon=True)
            back.start()
            _pour(self._socket, behind)
            with suppress(OSError):
                behind.shutdown(socket.SHUT_RDWR)  # the client is gone: nobody is left for an answer
            back.join(10)

    def drop(self) -> None:
        self._buffer.clear()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _more(self, most: int = 1 << 20) -> None:
        data = self._socket.recv(min(most, 1 << 20))
        if not data:
            raise ConnectionAbortedError("the client closed")
        self._buffer += data


def _pour(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def hostile(*scripts: Script, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[HostileServer]:
    server = HostileServer(scripts, tls, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def answer(
    status: int, body: bytes = b"", *, content_type: str = "text/plain", headers: Mapping[str, str] | None = None
) -> bytes:
    """A whole HTTP/1.1 response."""
    lines = [f"HTTP/1.1 {status} Because", f"Content-Length: {len(body)}", f"Content-Type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def named(*sop_instance_uids: str, failed: Mapping[str, int] | None = None) -> bytes:
    """A Store Instances Response that references these and fails those."""
    dataset: dict[str, object] = {}
    if sop_instance_uids:
        dataset["00081199"] = {"vr": "SQ", "Value": [{"00081155": _ui(uid)} for uid in sop_instance_uids]}
    if failed:
        dataset["00081198"] = {
            "vr": "SQ",
            "Value": [{"00081155": _ui(u), "00081197": {"vr": "US", "Value": [code]}} for u, code in failed.items()],
        }
    return json.dumps(dataset).encode("utf-8")


def _ui(uid: str) -> dict[str, object]:
    return {"vr": "UI", "Value": [uid]}


def answering(
    status: int,
    body: bytes = b"",
    *,
    content_type: str = "application/dicom+json",
    headers: Mapping[str, str] | None = None,
) -> Script:
    """A script that reads whole requests and gives all of them the same answer, keeping the connection."""

    def script(peer: Peer) -> None:
        while True:
            peer.request()
            peer.send(answer(status, body, content_type=content_type, headers=headers))

    return script
