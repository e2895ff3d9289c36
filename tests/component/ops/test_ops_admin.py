"""Health and metrics over real sockets on loopback, asked by good clients and bad ones."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest
from fakes.ops_fakes import FakeClock, silent_log

from ingestd.core.errors import ConfigurationError
from ingestd.ops.admin import CONNECTIONS, AdminServer
from ingestd.ops.clock import SystemClock
from ingestd.ops.metrics import Metrics


@contextmanager
def served(
    *,
    listen: str = "127.0.0.1:0",
    live: Callable[[], str | None] = lambda: None,
    ready: Callable[[], str | None] = lambda: None,
    metrics: Callable[[], bytes] = lambda: b"# nothing\n",
    details: Callable[[], Sequence[str]] = tuple,
) -> Iterator[AdminServer]:
    admin = AdminServer(listen, clock=SystemClock(), live=live, ready=ready, metrics=metrics, details=details)
    admin.start()
    try:
        yield admin
    finally:
        admin.stop()
        admin.join(5)
        assert not admin.alive()


def ask(admin: AdminServer, path: str, method: str = "GET") -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(*admin.address, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


def send(admin: AdminServer, data: bytes) -> bytes:
    """Bytes as they are, and whatever comes back until the server hangs up."""
    with socket.create_connection(admin.address, timeout=10) as client:
        client.sendall(data)
        received = b""
        try:
            while piece := client.recv(65536):
                received += piece
        except ConnectionResetError:  # it did not read all that was sent
            pass
        return received


def idle(admin: AdminServer) -> socket.socket:
    return socket.create_connection(admin.address, timeout=5)


def test_health_is_ok_or_one_line() -> None:
    """DESIGN 5: /livez and /readyz answer `ok` or one line, without a token."""
    with served(ready=lambda: "the inbox can't be read: Permission denied") as admin:
        assert ask(admin, "/livez")[:2] == (200, "ok\n")
        assert ask(admin, "/readyz")[:2] == (503, "the inbox can't be read: Permission denied\n")
        assert ask(admin, "/readyz?verbose")[0] == 503


def test_what_turns_nothing_red_stands_below_ok() -> None:
    """DESIGN 5, F77: 200, `ok` in the first line for probes, then a line each; a cause alone where there is one."""
    lines = ["leases: the kernel can't tell", "service: unreachable"]
    with served(details=lambda: lines) as admin:
        for path in ("/livez", "/readyz"):
            assert ask(admin, path)[:2] == (200, "ok\nleases: the kernel can't tell\nservice: unreachable\n")
    with served(ready=lambda: "inbox: gone\njournal: full", details=lambda: lines) as admin:
        assert ask(admin, "/readyz")[:2] == (503, "inbox: gone\njournal: full\n")


def test_metrics_are_in_the_text_format() -> None:
    with served(metrics=Metrics(log=silent_log(), version="1.2.3").render) as admin:
        status, text, headers = ask(admin, "/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert ',version="1.2.3"} 1.0' in text


def test_head_has_the_headers_and_no_body() -> None:
    with served() as admin:
        status, text, headers = ask(admin, "/metrics", "HEAD")
    assert (status, text, headers["Content-Length"]) == (200, "", "10")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/healthz", "/../etc/passwd"])
def test_other_paths_are_not_found(path: str) -> None:
    with served() as admin:
        assert ask(admin, path)[:2] == (404, "not found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_not_allowed(method: str) -> None:
    with served() as admin:
        status, _, headers = ask(admin, "/metrics", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\r\n",  # a TLS hello
        b"GET /DOE^JANE HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"\r\n" * 3,
        b"",
    ],
)
def test_a_bad_request_is_answered_shortly_quoted_nowhere_and_harms_nobody(
    data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """I7: nothing on standard error, nothing of the request in the answer."""
    with served() as admin:
        with socket.create_connection(admin.address, timeout=10) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        assert b"DOE" not in (send(admin, data) if data.endswith(b"\r\n\r\n") else b"")
        assert ask(admin, "/livez")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_nothing_in_an_answer_says_what_runs_here() -> None:
    with served() as admin:
        assert ask(admin, "/livez")[2]["Server"] == "ingestd"


def test_two_hundred_idle_clients_delay_no_scrape() -> None:
    """F68: a scrape in under a second, and no thread for each idle client (I8)."""
    clock = SystemClock()
    with served(metrics=Metrics(log=silent_log(), version="1").render) as admin, ExitStack() as clients:
        threads = threading.active_count()
        for _ in range(200):
            clients.enter_context(idle(admin))
        began = clock.monotonic()
        assert ask(admin, "/metrics")[0] == 200
        assert clock.monotonic() - began < 1.0
        assert threading.active_count() - threads <= CONNECTIONS
        for _ in range(20):
            assert ask(admin, "/livez")[0] == 200
        assert clock.monotonic() - began < 2.0


def test_clients_that_come_as_fast_as_they_can_starve_nobody() -> None:
    """F68: whoever asks at once is served while idle ones keep coming."""
    with served() as admin, ExitStack() as clients:
        enough = threading.Event()

        def flood() -> None:
            while not enough.is_set():
                clients.enter_context(idle(admin))
                enough.wait(0.005)

        flooding = threading.Thread(target=flood)
        flooding.start()
        answers = [ask(admin, "/livez")[0] for _ in range(30)]
        enough.set()
        flooding.join()
    assert answers == [200] * 30


def test_a_client_that_speaks_slowly_is_cut_off() -> None:
    """F68: a byte now and then does not keep a connection beyond its life."""
    clock = FakeClock()
    admin = AdminServer("127.0.0.1:0", clock=clock, live=lambda: None, ready=lambda: None, metrics=bytes)
    admin.start()
    with idle(admin) as client:
        client.sendall(b"GET /livez HT")
        assert ask(admin, "/livez")[0] == 200
        clock.advance(6)
        client.settimeout(2)  # the socket's own timeout would come later
        assert client.recv(100) == b""
    admin.stop()
    admin.join(5)


def test_an_answer_that_hangs_takes_nothing_down_but_its_own_clients() -> None:
    """I8: no more threads than connections, although none comes back."""
    released = threading.Event()

    def stuck() -> bytes:
        released.wait(30)
        return b""

    with served(metrics=stuck) as admin, ExitStack() as clients:
        threads = threading.active_count()
        for _ in range(CONNECTIONS - 1):
            clients.enter_context(idle(admin)).sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert ask(admin, "/livez")[0] == 200
        assert threading.active_count() - threads <= CONNECTIONS
        released.set()


def test_an_answer_that_fails_is_heard_of_and_the_next_one_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """F10: never silent: threading.excepthook, which the log captures, is told."""
    heard: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: heard.append(args.exc_type.__name__))

    def fail() -> bytes:
        raise ZeroDivisionError

    with served(metrics=fail) as admin:
        with pytest.raises(http.client.RemoteDisconnected):
            ask(admin, "/metrics")
        assert ask(admin, "/livez")[0] == 200
    assert heard == ["ZeroDivisionError"]


def test_a_port_that_is_taken_is_a_configuration_error_that_names_the_key() -> None:
    """DESIGN 5: a port that is taken: one clear line naming key and value, exit 78."""
    with served() as admin:
        listen = f"127.0.0.1:{admin.address[1]}"
        with pytest.raises(ConfigurationError) as raised, served(listen=listen):
            pass
    assert str(raised.value) == (
        f"admin.listen = {listen}: can't listen there (address already in use): choose another port or address, or off"
    )


@pytest.mark.parametrize("listen", ["9464", "127.0.0.1:http", "127.0.0.1:99999", "192.0.2.1:0", "a..b:1"])
def test_an_address_that_can_not_be_is_a_configuration_error(listen: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^admin\.listen = ") as raised, served(listen=listen):
        pass
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("listen", "host"), [("[::1]:0", "::1"), ("localhost:0", None), ("0.0.0.0:0", "0.0.0.0")])
def test_it_listens_where_it_is_told(listen: str, host: str | None) -> None:
    with served(listen=listen) as admin:
        assert host in (None, admin.address[0])
        assert ask(admin, "/livez")[0] == 200


def test_the_port_is_given_back_and_can_be_taken_again_at_once() -> None:
    with served() as admin:
        port = admin.address[1]
        assert ask(admin, "/livez")[0] == 200
    with served(listen=f"127.0.0.1:{port}") as again:
        assert ask(again, "/livez")[0] == 200


def test_stop_comes_back_at_once() -> None:
    """The daemon asks every thread to end before it waits for any."""
    clock = SystemClock()
    with served() as admin:
        began = clock.monotonic()
        admin.stop()
        assert clock.monotonic() - began < 0.1
