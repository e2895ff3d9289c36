"""The daemon behind a real TLS reverse proxy, as hospitals put one before everything."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.hostile_server import Peer, hostile
from fakes.house import House, digest, held_by
from fakes.nginx import Nginx
from fakes.pki import DAY, Authority, put
from fakes.studies import Made, made, studies

pytestmark = pytest.mark.real

MakeHouse = Callable[..., House]
MakeNginx = Callable[..., Nginx]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def nginx(tmp_path: Path, service: str, authority: Authority, real: Callable[..., None]) -> Iterator[MakeNginx]:
    """`nginx("directive;", pair=...)`: a reverse proxy that has started, before the embedded service."""
    real("nginx")
    made: list[Nginx] = []

    def make(*directives: str, **options: object) -> Nginx:
        made.append(Nginx(tmp_path / f"nginx{len(made)}", authority, service, *directives, **options))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stop()


def trusting(authority: Authority, **more: str) -> dict[str, str]:
    return {"INGESTD_SERVICE__CA_BUNDLE": str(authority.ca), **more}


def all_done(home: House, service: str, files: list[Made]) -> None:
    """I1, I2, I4: in done/ byte for byte, in the service, and nothing in failed/."""
    assert home.count() == {"inbox": 0, "done": len(files), "failed": 0}
    assert home.digests(home.done) == sorted(digest(f.content) for f in files)
    for one in files[::7]:
        held = held_by(service, one.ids)
        assert held is not None
        assert held[128:] == one.content[128:]


def held(home: House) -> list[dict[str, object]]:
    return [line for line in home.lines() if line["event"] == "held"]


def statuses(home: House) -> list[str]:
    return [line["status"] for line in home.lines() if line["event"] == "batch"]


def drop(home: House, files: list[Made]) -> None:
    for one in files:
        home.drop(one.name, one.content)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("buffering", ["on", "off"])
def test_everything_is_done_through_tls(
    house: MakeHouse, nginx: MakeNginx, authority: Authority, service: str, version: str, buffering: str
) -> None:
    """gzip is on and not asked for; the environment's proxies, CAs and key log have no effect (F59)."""
    between = nginx(
        f"ssl_protocols {version};",
        "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;",
        f"proxy_request_buffering {buffering};",
    )
    home = house(
        between.url,
        **trusting(authority),
        HTTPS_PROXY="http://127.0.0.1:9",
        https_proxy="http://127.0.0.1:9",
        ALL_PROXY="http://127.0.0.1:9",
        SSL_CERT_FILE="/nonexistent",
        SSL_CERT_DIR="/nonexistent",
        SSLKEYLOGFILE=str(home_keys := authority.ca.with_name("keylog")),
    )
    files = studies(count=3, each=40)
    home.start()
    drop(home, files)
    home.waits(home.ended(len(files)), 40)
    assert home.stop() == 0
    all_done(home, service, files)
    assert set(statuses(home)) == {"200"}
    assert not home_keys.exists()


def test_the_environments_ca_opens_no_door(house: MakeHouse, nginx: MakeNginx, authority: Authority) -> None:
    """F59, F47: a CA that only SSL_CERT_FILE names is not trusted; the line says why, and the file waits."""
    home = house(nginx().url, SSL_CERT_FILE=str(authority.ca))
    drop(home, [made(1)])
    home.start()
    home.waits(lambda: bool(held(home)), 20)
    assert home.stop() == 0
    assert held(home)[0]["cause"] == "unreachable"
    assert "TLS: the certificate is refused: unable to get local issuer certificate: check" in held(home)[0]["problem"]
    assert home.count() == {"inbox": 1, "done": 0, "failed": 0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "lives", "trusted", "why"),
    [
        ("127.0.0.1", -DAY, True, "certificate has expired"),
        ("127.0.0.2", DAY, True, "IP address mismatch, certificate is not valid for '127.0.0.1'."),
        ("127.0.0.1", DAY, False, "unable to get local issuer certificate"),
    ],
    ids=["expired", "another host's", "another CA's"],
)
def test_a_servers_wrong_certificate_holds_and_a_right_one_lets_go(
    house: MakeHouse,
    nginx: MakeNginx,
    authority: Authority,
    service: str,
    tmp_path: Path,
    host: str,
    lives: timedelta,
    trusted: bool,
    why: str,
) -> None:
    """F47, I3: retried for ever, said in words, and nothing in failed/."""
    issuer = authority if trusted else Authority(tmp_path / "other", "Other CA")
    between = nginx(pair=issuer.issue(host, lives=lives))
    home = house(between.url, **trusting(authority))
    files = studies(count=2, each=10)
    drop(home, files)
    home.start()
    home.waits(lambda: bool(held(home)), 20)
    time.sleep(3)
    assert home.count() == {"inbox": len(files), "done": 0, "failed": 0}
    between.show(authority.issue())
    between.reload()
    home.waits(home.ended(len(files)), 30)
    assert home.stop() == 0
    all_done(home, service, files)
    assert held(home)[0]["cause"] == "unreachable"
    assert f"TLS: the certificate is refused: {why.removesuffix('.')}: check" in held(home)[0]["problem"]
    assert between.log().count("POST") >= 1


def test_a_client_certificate_opens_the_door(
    house: MakeHouse, nginx: MakeNginx, authority: Authority, service: str
) -> None:
    between = nginx("ssl_verify_client on;", f"ssl_client_certificate {authority.ca};")
    pair = authority.issue("modality-7")
    home = house(
        between.url,
        **trusting(authority),
        INGESTD_SERVICE__CLIENT_CERT=str(pair.certificate),
        INGESTD_SERVICE__CLIENT_KEY=str(pair.key),
    )
    files = studies(count=2, each=20)
    drop(home, files)
    home.start()
    home.waits(home.ended(len(files)), 30)
    assert home.stop() == 0
    all_done(home, service, files)


@pytest.mark.slow
@pytest.mark.parametrize("code", [400, 496])
@pytest.mark.parametrize("mine", ["none", "another CA's"])
def test_without_the_right_client_certificate_the_files_wait_until_it_is_there(
    house: MakeHouse, nginx: MakeNginx, authority: Authority, service: str, tmp_path: Path, code: int, mine: str
) -> None:
    """I3, F62: nginx answers 400 (or 495, 496 where it is told to) to each request, the control too: a Hold, no file's fault."""
    more = (
        ("error_page 495 496 =496 /refused;", "location = /refused { internal; return 200 none; }")
        if code == 496
        else ()
    )
    between = nginx("ssl_verify_client on;", f"ssl_client_certificate {authority.ca};", *more)
    pair = Authority(tmp_path / "other", "Other CA").issue("modality-7")
    certificate = {
        "INGESTD_SERVICE__CLIENT_CERT": str(pair.certificate),
        "INGESTD_SERVICE__CLIENT_KEY": str(pair.key),
    }
    home = house(between.url, **trusting(authority), **({} if mine == "none" else certificate))
    files = studies(count=1, each=12)
    drop(home, files)
    home.start()
    home.waits(lambda: f'" {code} ' in between.log() and bool(held(home)), 20)
    time.sleep(4)
    assert home.count() == {"inbox": len(files), "done": 0, "failed": 0}
    assert held(home)[0]["cause"] == "control"
    assert "service.client_cert" in str(held(home)[0]["problem"])
    if mine == "none":
        between.configure()
        between.reload()
    else:  # the right one, without a restart
        right = authority.issue("modality-7")
        put(right.key, pair.key)
        put(right.certificate, pair.certificate)
    home.waits(home.ended(len(files)), 30)
    assert home.stop() == 0
    all_done(home, service, files)


@pytest.mark.slow
def test_a_client_certificate_is_renewed_while_it_runs(
    house: MakeHouse, nginx: MakeNginx, authority: Authority, service: str, tmp_path: Path
) -> None:
    """cert-manager swaps a symlink; the CA of before is no longer taken, and no request is lost over it."""
    between = nginx("ssl_verify_client on;", f"ssl_client_certificate {authority.ca};")
    new = Authority(tmp_path / "new", "New CA")
    for name, issuer in (("v1", authority), ("v2", new)):
        pair = issuer.issue("modality-7")
        (tmp_path / name).mkdir()
        put(pair.certificate, tmp_path / name / "tls.crt")
        put(pair.key, tmp_path / name / "tls.key")
    live = tmp_path / "live"
    live.symlink_to("v1")
    home = house(
        between.url,
        **trusting(authority),
        INGESTD_SERVICE__CLIENT_CERT=str(live / "tls.crt"),
        INGESTD_SERVICE__CLIENT_KEY=str(live / "tls.key"),
    )
    files = studies(count=4, each=20)
    home.start()
    drop(home, files[:40])
    home.waits(home.ended(40), 30)
    (tmp_path / "next").symlink_to("v2")
    os.replace(tmp_path / "next", live)
    between.configure("ssl_verify_client on;", f"ssl_client_certificate {new.ca};")
    between.reload()
    drop(home, files[40:])
    home.waits(home.ended(80), 30)
    assert home.stop() == 0
    all_done(home, service, files)
    assert held(home) == []


@pytest.mark.slow
@pytest.mark.parametrize("buffering", ["on", "off"])
def test_a_proxys_limit_splits_batches_and_fails_only_the_file_that_is_too_large_alone(
    house: MakeHouse, nginx: MakeNginx, authority: Authority, service: str, buffering: str
) -> None:
    """F60, F48, I3: 413 while sending; batches are halved until they fit, and one file of 41 is too large."""
    between = nginx("client_max_body_size 64k;", f"proxy_request_buffering {buffering};")
    small = [made(n, size=20_000) for n in range(1, 41)]
    large = made(41, size=3_000_000)
    home = house(between.url, **trusting(authority))
    drop(home, [*small, large])
    home.start()
    home.waits(home.ended(41), 40)
    assert home.stop() == 0
    assert home.digests(home.done) == sorted(digest(f.content) for f in small)
    assert {path: reason["reason"] for path, reason in home.reasons().items()} == {large.name: "too_large"}
    assert "413" in statuses(home)
    assert set(statuses(home)) == {"200", "413"}
    for one in small:
        assert held_by(service, one.ids) is not None


@pytest.mark.slow
@pytest.mark.parametrize("response_timeout", ["300", "2"], ids=["patient", "impatient"])
def test_a_proxy_that_stops_for_ten_seconds_costs_nothing(
    house: MakeHouse, nginx: MakeNginx, authority: Authority, service: str, response_timeout: str
) -> None:
    """F49, F56, I3: answers that never come in time are no file's fault, and what was taken twice is stored once."""
    between = nginx("proxy_request_buffering off;")
    home = house(
        between.url,
        **trusting(authority),
        INGESTD_SERVICE__RESPONSE_TIMEOUT_SECONDS=response_timeout,
        INGESTD_SERVICE__CONNECT_TIMEOUT_SECONDS="2",
    )
    files = studies(count=10, each=30, size=60_000)
    home.start()
    drop(home, files)
    home.waits(home.ended(30), 30)
    stopped = between.freeze()
    before = len(home.files(home.done))
    time.sleep(10)
    assert home.files(home.failed) == []
    between.thaw(stopped)
    assert before < len(files)  # it was stopped in the middle
    home.waits(home.ended(len(files)), 90)
    assert home.stop() == 0
    all_done(home, service, files)


@pytest.mark.slow
def test_a_proxy_that_goes_and_comes_back(
    house: MakeHouse, nginx: MakeNginx, authority: Authority, service: str
) -> None:
    """F47, F49, I3."""
    between = nginx()
    home = house(between.url, **trusting(authority))
    files = studies(count=8, each=30)
    home.start()
    drop(home, files[:120])
    home.waits(home.ended(30), 30)
    between.stop()
    drop(home, files[120:])
    home.waits(lambda: bool(held(home)), 20)
    time.sleep(2)
    assert home.files(home.failed) == []
    between.start()
    home.waits(home.ended(len(files)), 60)
    assert home.stop() == 0
    all_done(home, service, files)


@pytest.mark.slow
def test_an_idle_connection_that_the_proxy_closed_costs_no_attempt(
    house: MakeHouse, nginx: MakeNginx, authority: Authority, service: str
) -> None:
    """F54."""
    between = nginx("keepalive_timeout 1;")
    home = house(between.url, **trusting(authority))
    files = studies(count=4, each=5)
    home.start()
    for n in range(4):
        drop(home, files[5 * n : 5 * n + 5])
        home.waits(home.ended(5 * n + 5), 20)
        time.sleep(1.0 + 0.05 * n)
    assert home.stop() == 0
    all_done(home, service, files)
    assert set(statuses(home)) == {"200"}
    assert held(home) == []


def test_through_a_forward_proxy_to_the_reverse_one(
    house: MakeHouse, nginx: MakeNginx, authority: Authority, service: str
) -> None:
    """service.proxy: CONNECT, and TLS with the service's own certificate inside."""

    def tunnels(peer: Peer) -> None:
        line, _ = peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        peer.relay(int(line.split()[1].rpartition(":")[2]))

    between = nginx()
    with hostile(tunnels) as forward:
        home = house(
            between.url, **trusting(authority), INGESTD_SERVICE__PROXY=forward.url.removesuffix("/v2"), NO_PROXY="*"
        )
        files = studies(count=2, each=20)
        drop(home, files)
        home.start()
        home.waits(home.ended(len(files)), 30)
        assert home.stop() == 0
        assert forward.connections > 0
    all_done(home, service, files)


@pytest.mark.parametrize("wrong", ["expired", "another's key", "readable by all"])
def test_a_pair_that_can_not_work_is_one_line_and_exit_78(tmp_path: Path, authority: Authority, wrong: str) -> None:
    """F70: before any file is touched."""
    pair = authority.issue(lives=-DAY if wrong == "expired" else DAY)
    if wrong == "another's key":
        put(authority.issue().key, pair.key)
    if wrong == "readable by all":
        pair.key.chmod(0o644)
    home = House(
        tmp_path / "house",
        "",
        INGESTD_SERVICE__CLIENT_CERT=str(pair.certificate),
        INGESTD_SERVICE__CLIENT_KEY=str(pair.key),
    )
    refused = home.run("run", "--root", str(home.root), "--url", "https://127.0.0.1:9/v2")
    assert refused.returncode == 78
    (line,) = refused.stderr.splitlines()
    assert line.startswith("ingestd: service.client_")
