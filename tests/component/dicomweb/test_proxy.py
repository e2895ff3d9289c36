"""Through an HTTP proxy: the one that is configured, and no other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.bodies_fake import FakeBodies, parts
from fakes.hostile_server import HostileServer, Peer, Script, answer, answering, hostile, named
from fakes.pki import Authority

from ingestd.config import Settings, load
from ingestd.core.answers.answer import Answer, Loss
from ingestd.core.errors import ConfigurationError
from ingestd.dicomweb.identity.headers import TokenFile
from ingestd.dicomweb.identity.tls import Certificates
from ingestd.dicomweb.origin.client import OriginServer
from ingestd.ops.clock import SystemClock
from ingestd.part10.digests import Arrival

pytestmark = pytest.mark.timeout(30)
GOOD = answer(200, named("1.2.3.4.1"), content_type="application/dicom+json")
LARGE = b"L" * (16 << 20)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def tunnels(peer: Peer) -> None:
    """A proxy that does what CONNECT asks for."""
    line, headers = peer.head()
    method, target, _ = line.split()
    assert (method, headers["host"]) == ("CONNECT", target)
    assert "authorization" not in headers
    peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
    peer.relay(int(target.rpartition(":")[2]))


def proxy_of(server: HostileServer) -> str:
    return server.url.removesuffix("/v2")


@contextmanager
def behind(
    proxy: Script, service: Script, authority: Authority, **options: object
) -> Iterator[tuple[OriginServer, HostileServer, HostileServer]]:
    """A client, the proxy, and the TLS service behind it."""
    settings: dict[str, object] = {"connect_timeout": 2.0, "response_timeout": 5.0} | options
    with hostile(proxy) as between, hostile(service, tls=authority.server()) as server:
        origin = OriginServer(
            url=server.url,
            bodies=settings.pop("bodies", None) or FakeBodies(),
            arrival=Arrival,
            clock=SystemClock(),
            tls=Certificates(clock=SystemClock(), ca_bundle=authority.ca),
            proxy=proxy_of(between),
            **settings,
        )
        try:
            yield origin, between, server
        finally:
            origin.close()


def control(proxy: Script, authority: Authority, **options: object) -> Answer:
    with behind(proxy, answering(204), authority, **options) as (origin, _, server):
        found = origin.control()
        assert server.requests == []
        return found


def test_https_goes_through_a_tunnel_that_the_proxy_can_not_look_into(authority: Authority, tmp_path: Path) -> None:
    """The token is seen by the service alone (`tunnels` holds CONNECT to that), and one tunnel carries many requests."""
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(0o600)
    bodies = FakeBodies()
    service = answering(200, named("1.2.3.4.1"))
    token = TokenFile(tmp_path / "token")
    with behind(tunnels, service, authority, bodies=bodies, token=token) as (origin, between, server):
        found = [origin.store([bodies.add(LARGE)]), origin.control()]
    assert [a.status for a in found] == [200, 200]
    assert (between.connections, server.connections) == (1, 1)
    assert list(parts(server.requests[0].content_type, server.requests[0].body)) == [LARGE]
    assert server.requests[0].headers["authorization"] == "Bearer secret"
    assert len(LARGE) < found[0].sent_bytes < len(LARGE) + 2000  # CONNECT is not among them


def test_a_service_is_held_against_its_certificate_behind_a_proxy_too(authority: Authority, tmp_path: Path) -> None:
    """F47: whoever stands in the way is found out."""
    other = Authority(tmp_path / "other", "Inspecting proxy")
    with hostile(answering(204), tls=other.server()) as between:

        def diverts(peer: Peer) -> None:
            peer.head()
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            peer.relay(between.port)

        found = control(diverts, authority)
    assert (found.loss, found.comment) == (
        Loss.NOT_SENT,
        "TLS: the certificate is refused: unable to get local issuer certificate",
    )


@pytest.mark.parametrize("status", [302, 403, 407, 502, 503])
def test_a_proxy_that_refuses_is_nothing_sent(authority: Authority, status: int) -> None:
    """F47, I7: its status is said, its words are not."""

    def refuses(peer: Peer) -> None:
        peer.head()
        peer.send(f"HTTP/1.1 {status} PATIENT^NAME\r\nContent-Length: 0\r\n\r\n".encode())

    found = control(refuses, authority)
    assert (found.loss, found.sent_bytes) == (Loss.NOT_SENT, 0)
    wants = ", it wants a user and a password, and we have none for it" if status == 407 else ""
    assert found.problem == f"service.proxy opens no tunnel: it answers {status}{wants}"


def hangs_up(peer: Peer) -> None:
    peer.head()


def resets(peer: Peer) -> None:
    peer.head()
    peer.reset()


def speaks_no_http(peer: Peer) -> None:
    peer.head()
    peer.send(b"220 mail.example ESMTP\r\n")


def says_nothing(peer: Peer) -> None:
    peer.hold()


def drips(peer: Peer) -> None:
    peer.head()
    peer.send(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    while not peer.hold(0.05):
        peer.send(b"x")


@pytest.mark.parametrize("proxy", [hangs_up, resets, speaks_no_http, says_nothing, drips])
def test_a_proxy_that_opens_no_tunnel_is_nothing_sent_within_the_connect_timeout(
    authority: Authority, proxy: Script
) -> None:
    """F47, F55: also where it drips, and never LOST or TIMEOUT: the service had nothing of it."""
    started = time.monotonic()
    found = control(proxy, authority, connect_timeout=0.6, response_timeout=20.0)
    assert (found.loss, found.sent_bytes) == (Loss.NOT_SENT, 0)
    assert found.comment == "service.proxy opens no tunnel"
    assert time.monotonic() - started < 3


def test_a_proxy_that_is_away_is_named(authority: Authority) -> None:
    """F47."""
    with hostile(answering(204)) as gone:
        proxy = proxy_of(gone)
    origin = OriginServer(
        url="https://service.invalid/v2", bodies=FakeBodies(), arrival=Arrival, clock=SystemClock(), proxy=proxy
    )
    found = origin.control()
    origin.close()
    assert (found.loss, found.comment) == (Loss.NOT_SENT, "no connection to service.proxy: Connection refused")


def test_the_proxy_looks_names_up(authority: Authority) -> None:
    """Many a hospital's DNS knows no outside names."""
    asked: list[str] = []

    def notes(peer: Peer) -> None:
        asked.append(peer.head()[0])
        peer.send(answer(502))

    with hostile(notes) as between:
        origin = OriginServer(
            url="https://service.invalid/v2",
            bodies=FakeBodies(),
            arrival=Arrival,
            clock=SystemClock(),
            proxy=proxy_of(between),
        )
        assert origin.control().loss is Loss.NOT_SENT
        origin.close()
    assert asked == ["CONNECT service.invalid:443 HTTP/1.1"]


@pytest.mark.slow
def test_a_slow_upload_through_a_tunnel_has_its_own_time(authority: Authority) -> None:
    """F56: CONNECT's answer does not start the clock of the request's."""

    def thinks(peer: Peer) -> None:
        target = peer.head()[0].split()[1]
        peer.hold(0.2)  # so that its answer is waited for
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        peer.relay(int(target.rpartition(":")[2]))

    def slow(peer: Peer) -> None:
        _, headers = peer.head()
        left = int(headers["content-length"])
        while left > 0:
            peer.hold(0.04)
            left -= len(peer.body(min(left, 1 << 20)))
        peer.send(GOOD)
        peer.hold()

    bodies = FakeBodies()
    with behind(thinks, slow, authority, bodies=bodies, response_timeout=1.5, minimum_rate=1 << 20) as (origin, _, _):
        found = origin.store([bodies.add(LARGE * 4)])
    assert (found.status, found.loss) == (200, None)
    assert found.seconds > 2


def test_an_early_refusal_is_heard_through_a_tunnel(authority: Authority) -> None:
    """F48."""

    def refuses(peer: Peer) -> None:
        peer.head()
        peer.send(answer(413))
        peer.hold()

    bodies = FakeBodies()
    with behind(tunnels, refuses, authority, bodies=bodies) as (origin, _, _):
        assert origin.store([bodies.add(LARGE * 4)]).status == 413


def test_a_tunnel_that_was_idle_too_long_costs_no_attempt(authority: Authority) -> None:
    """F54."""

    def once(peer: Peer) -> None:
        peer.request()
        peer.send(GOOD)
        peer.head()

    bodies = FakeBodies()
    with hostile(once, answering(200, named("1.2.3.4.1")), tls=authority.server()) as server:
        with hostile(tunnels) as between:
            origin = OriginServer(
                url=server.url,
                bodies=bodies,
                arrival=Arrival,
                clock=SystemClock(),
                tls=Certificates(clock=SystemClock(), ca_bundle=authority.ca),
                proxy=proxy_of(between),
            )
            found = [origin.store([bodies.add(b"s" * 1000)]).status for _ in range(2)]
            origin.close()
    assert found == [200, 200]
    assert (between.connections, server.connections) == (2, 2)


def test_plain_http_is_asked_of_the_proxy_by_its_whole_url() -> None:
    """RFC 9112 3.2.2."""
    with hostile(answering(204)) as between:
        origin = OriginServer(
            url="http://service.invalid/v2",
            bodies=FakeBodies(),
            arrival=Arrival,
            clock=SystemClock(),
            proxy=proxy_of(between),
        )
        assert origin.control().status == 204
        origin.close()
    assert between.requests[0].line == "POST http://service.invalid/v2/studies HTTP/1.1"


def test_the_environments_proxies_are_no_ones(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F59: neither instead of the one that is configured, nor to go round it, nor .netrc's password for it."""
    with hostile(answering(500)) as wrong:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy_of(wrong))
            monkeypatch.setenv(name.upper(), proxy_of(wrong))
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        heads: list[dict[str, str]] = []

        def notes(peer: Peer) -> None:
            line, headers = peer.head()
            heads.append(headers)
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            peer.relay(int(line.split()[1].rpartition(":")[2]))

        with behind(notes, answering(204), authority) as (origin, between, server):
            assert origin.control().status == 204
        assert (wrong.connections, between.connections) == (0, 1)
    assert "proxy-authorization" not in heads[0]
    assert "authorization" not in server.requests[0].headers


# --- settings ---------------------------------------------------------------------------------------------------------------------


def settings(**service: str) -> Settings:
    flags = {"folders": {n: f"/x/{n}" for n in ("inbox", "done", "failed", "state")}, "service": service}
    return load(file=None, environment={}, flags=flags)


@pytest.mark.parametrize(
    ("proxy", "why"),
    [
        ("http://user:secret@proxy:3128", "without user and password"),
        ("user:secret@proxy:3128", "without user and password"),
        ("http://proxy?secret", "without user and password"),
        ("https://proxy:3128", "give http://HOST:PORT"),
        ("socks5://proxy:1080", "give http://HOST:PORT"),
        ("proxy:3128", "give http://HOST:PORT"),
        ("http://proxy:3128/path", "nothing after it"),
        ("http://proxy:0", "nothing after it"),
        ("http://proxy:99999", "Port out of range"),
        ("http://pro xy", "give http://HOST:PORT"),
        ("", "give http://HOST:PORT"),
    ],
)
def test_a_proxy_that_can_not_work_is_refused_in_one_line(proxy: str, why: str) -> None:
    """F70, I7: a password in the URL is refused and not repeated."""
    with pytest.raises(ConfigurationError) as caught:
        settings(url="https://x/v2", proxy=proxy)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("service.proxy")
    assert why in line
    assert "secret" not in line


def test_a_proxy_is_a_host_and_a_port() -> None:
    assert settings(url="https://x/v2", proxy="http://proxy:3128/").service.proxy == "http://proxy:3128"
    assert settings(url="https://x/v2", proxy="http://[::1]:3128").service.proxy == "http://[::1]:3128"


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"client_key": "/k"}, "service.client_key needs service.client_cert"),
        ({"client_cert": ""}, "give the path of a file"),
        ({"ca_bundle": ""}, "give the path of a file"),
        ({"url": "http://127.0.0.1/v2", "ca_bundle": "/c"}, "has no effect"),
        ({"url": "http://127.0.0.1/v2", "client_cert": "/c"}, "has no effect"),
        ({"partition": ""}, "service.partition = ''"),
        ({"partition": ".."}, "service.partition"),
        ({"partition": "a/b"}, "service.partition"),
        ({"partition": "a" * 65}, "service.partition"),
        ({"partition": "ä"}, "service.partition"),
        ({"partition": "a\n"}, "service.partition"),
        ({"max_request_bytes": "1KiB"}, "service.max_request_bytes"),
    ],
)
def test_what_can_not_work_is_refused_in_one_line(keys: dict[str, str], why: str) -> None:
    """F70."""
    with pytest.raises(ConfigurationError) as caught:
        settings(**{"url": "https://x/v2", **keys})
    (line,) = str(caught.value).splitlines()
    assert why in line
