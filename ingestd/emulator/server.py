"""Runs the service: in the foreground until a signal, or on a thread for as long as a with block.

The socket is bound and listening before anything is said, so whoever reads the line, or gets the value, can connect.
"""

import contextlib
import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn

from ingestd.emulator import EmulatorError
from ingestd.emulator.archive.archive import Archive
from ingestd.emulator.http.access import Access, TokenFile
from ingestd.emulator.routes import MAX_REQUEST_BYTES, VERSION, application

_SERVER_HEADER: Final = "ingestd-emulator (for demos, development and tests)"
_GRACE_SECONDS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A service that listens; `url` has the version, such as http://127.0.0.1:43121/v2."""

    url: str


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal once more after the end, which would turn a clean stop into a death by signal.
        yield


def serve(
    *,
    host: str,
    port: int,
    data: Path,
    token_file: Path | None = None,
    jwt_key_file: Path | None = None,
) -> None:
    """Serves until SIGINT or SIGTERM (a second one doesn't wait for requests), printing one line with the URL once it listens.

    Must be called from the main thread.

    Raises:
        EmulatorError: the folder, the token file, the key file or the address cannot be used.
    """
    with _opened(host, port, data, _access(token_file, jwt_key_file)) as (server, listener, url):

        def stop(_number: int, _frame: object) -> None:
            server.force_exit = server.should_exit
            server.should_exit = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            sys.stdout.write(f"ingestd emulator, for demos, development and tests only, serves {url}\n")
            sys.stdout.flush()
            server.run(sockets=[listener])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def running(
    *,
    data: Path,
    port: int = 0,
    token_file: Path | None = None,
    jwt_key_file: Path | None = None,
    max_request_bytes: int = MAX_REQUEST_BYTES,
) -> Iterator[Running]:
    """Serves on a thread of this process, on 127.0.0.1 and a free port unless one is given, until the block is left.

    Raises:
        EmulatorError: as for serve.
    """
    access = _access(token_file, jwt_key_file)
    with _opened("127.0.0.1", port, data, access, max_request_bytes) as (server, listener, url):
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="emulator", daemon=True)
        thread.start()
        try:
            yield Running(url=url)
        finally:
            server.should_exit = True
            thread.join()


@contextlib.contextmanager
def _opened(
    host: str, port: int, data: Path, access: Access | None, max_request_bytes: int = MAX_REQUEST_BYTES
) -> Iterator[tuple[_Server, socket.socket, str]]:
    # The parser logs what it dislikes in a body; with nobody listening Python would print that.
    logging.getLogger("python_multipart").addHandler(logging.NullHandler())
    # Its advice which packages to install for WebSockets, on a request with Upgrade.
    logging.getLogger("uvicorn.error").addFilter(_is_no_upgrade_advice)
    with contextlib.closing(Archive(data)) as archive, _listen(host, port) as listener:
        app = application(archive, access=access, max_request_bytes=max_request_bytes)
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            headers=[("Server", _SERVER_HEADER)],
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        shown = f"[{host}]" if ":" in host else host
        yield _Server(config), listener, f"http://{shown}:{listener.getsockname()[1]}/{VERSION}"


def _is_no_upgrade_advice(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(("Unsupported upgrade request", "No supported WebSocket"))


def _access(token_file: Path | None, jwt_key_file: Path | None) -> Access | None:
    if token_file is not None and jwt_key_file is not None:
        raise EmulatorError("a token file and a key file exclude each other: give one of them")
    if jwt_key_file is not None:
        from ingestd.emulator.http.signed_tokens import SignedTokens  # noqa: PLC0415 - cryptography is heavy

        return SignedTokens(jwt_key_file)
    return TokenFile(token_file) if token_file is not None else None


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        raise EmulatorError(f"cannot listen on {host}:{port}: {error}; choose another --host or --port") from error
    # Inherited by every connection. Head and body of an answer are two writes: with Nagle's algorithm each takes 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
