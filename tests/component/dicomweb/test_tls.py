"""Trust and identity in TLS, against real handshakes on loopback."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.bodies_fake import FakeBodies
from fakes.hostile_server import Peer, Script, answer, answering, hostile, named
from fakes.pki import DAY, Authority, Pair, put

from ingestd.core.answers.answer import Answer, Loss
from ingestd.core.errors import ConfigurationError
from ingestd.dicomweb.identity import tls
from ingestd.dicomweb.identity.tls import Certificates
from ingestd.dicomweb.origin.client import OriginServer
from ingestd.ops.clock import SystemClock
from ingestd.part10.digests import Arrival

pytestmark = pytest.mark.timeout(30)
GOOD = answer(200, named("1.2.3.4.1"), content_type="application/dicom+json")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def certificates(**paths: Path | None) -> Certificates:
    return Certificates(clock=SystemClock(), **paths)


def control(url: str, trust: Certificates | None = None) -> Answer:
    origin = OriginServer(
        url=url,
        bodies=FakeBodies(),
        arrival=Arrival,
        clock=SystemClock(),
        tls=trust,
        connect_timeout=5.0,
        response_timeout=5.0,
    )
    try:
        return origin.control()
    finally:
        origin.close()


def against(server: ssl.SSLContext, trust: Certificates | None, script: Script = answering(204)) -> Answer:  # noqa: B008 - a function
    with hostile(script, tls=server) as up:
        return control(up.url, trust)


# --- whom we trust ----------------------------------------------------------------------------------------------------------------


def test_a_private_ca_in_a_file_or_a_folder_is_trusted(authority: Authority, tmp_path: Path) -> None:
    """A folder needs no c_rehash; what holds no certificate is passed over."""
    folder = tmp_path / "anchors"
    folder.mkdir()
    (folder / "README").write_text("our CAs")
    (folder / "hospital.crt").write_bytes("# Krankenhaus-Zertifizierung für\n".encode() + authority.ca.read_bytes())
    for bundle in (authority.ca, folder):
        assert against(authority.server(), certificates(ca_bundle=bundle)).status == 204


def test_a_servers_own_certificate_can_be_pinned(authority: Authority) -> None:
    """A bundle without the root: many a hospital hands out nothing else."""
    pair = authority.issue()
    assert against(authority.server(pair), certificates(ca_bundle=pair.certificate)).status == 204


def test_a_ca_bundle_is_all_that_is_trusted(authority: Authority, tmp_path: Path) -> None:
    """F47: another CA's server is refused, and the words say what it is about."""
    other = Authority(tmp_path / "other", "Other CA")
    found = against(other.server(), certificates(ca_bundle=authority.ca))
    assert (found.loss, found.sent_bytes) == (Loss.NOT_SENT, 0)
    assert found.comment == "TLS: the certificate is refused: unable to get local issuer certificate"


@pytest.mark.parametrize(
    ("host", "lives", "why"),
    [
        ("127.0.0.1", -DAY, "certificate has expired"),
        ("127.0.0.2", DAY, "IP address mismatch, certificate is not valid for '127.0.0.1'."),
        ("example.org", DAY, "IP address mismatch, certificate is not valid for '127.0.0.1'."),
    ],
)
def test_a_servers_wrong_certificate_is_nothing_sent_and_says_why(
    authority: Authority, host: str, lives: timedelta, why: str
) -> None:
    """F47."""
    found = against(authority.server(authority.issue(host, lives=lives)), certificates(ca_bundle=authority.ca))
    assert (found.loss, found.sent_bytes) == (Loss.NOT_SENT, 0)
    assert found.comment == f"TLS: the certificate is refused: {why}"


def test_a_host_name_is_held_against_the_certificate(authority: Authority) -> None:
    """F47."""
    with hostile(answering(204), tls=authority.server(authority.issue("elsewhere"))) as server:
        found = control(server.url.replace("127.0.0.1", "localhost"), certificates(ca_bundle=authority.ca))
    assert found.comment == (
        "TLS: the certificate is refused: Hostname mismatch, certificate is not valid for 'localhost'."
    )


@pytest.mark.parametrize(("version", "status"), [("TLSv1_2", 204), ("TLSv1_3", 204), ("TLSv1_1", None)])
def test_tls_1_2_is_the_least(authority: Authority, version: str, status: int | None) -> None:
    server = authority.server()
    server.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated") if version == "TLSv1_1" else _nothing():
        server.minimum_version = server.maximum_version = ssl.TLSVersion[version]
    found = against(server, certificates(ca_bundle=authority.ca))
    assert found.status == status
    if status is None:
        assert found.loss is Loss.NOT_SENT
        assert found.comment == "TLS: tlsv1 alert protocol version"


class _nothing:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def test_a_server_that_speaks_no_tls_says_so() -> None:
    """F47."""
    with hostile(lambda peer: peer.send(b"HTTP/1.1 400 Bad\r\n\r\n")) as server:
        found = control(server.url.replace("http:", "https:"))
    assert (found.loss, found.comment) == (Loss.NOT_SENT, "TLS: wrong version number")


def test_the_environment_adds_no_trust_and_takes_no_keys(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: Callable[..., None]
) -> None:
    """F59: SSL_CERT_FILE and SSL_CERT_DIR bring no CA in and keep none out; SSLKEYLOGFILE gets no session keys."""
    real("openssl")
    hashed = tmp_path / "hashed"
    hashed.mkdir()
    (hashed / f"{subject_hash(authority.ca)}.0").write_bytes(authority.ca.read_bytes())
    log = tmp_path / "keys"
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    monkeypatch.setenv("SSL_CERT_DIR", str(hashed))
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    plain = ssl.create_default_context()
    assert plain.keylog_filename == str(log)  # what Python itself would do
    log.unlink()
    found = against(authority.server(), None)
    assert (found.loss, found.comment) == (
        Loss.NOT_SENT,
        "TLS: the certificate is refused: unable to get local issuer certificate",
    )
    other = Authority(tmp_path / "other")
    assert against(other.server(), certificates(ca_bundle=other.ca)).status == 204
    assert not log.exists()


def subject_hash(certificate: Path) -> str:
    command = ["openssl", "x509", "-noout", "-subject_hash", "-in", str(certificate)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_systems_store_is_used_before_certifis(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: Callable[..., None]
) -> None:
    """A hospital's machines have its private CA there."""
    real("openssl")
    nothing = ssl.get_default_verify_paths()._replace(openssl_cafile="/nowhere", openssl_capath="/nowhere")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing._replace(openssl_cafile=str(authority.ca)))
    assert against(authority.server(), certificates()).status == 204
    hashed = tmp_path / "hashed"
    hashed.mkdir()
    (hashed / f"{subject_hash(authority.ca)}.0").write_bytes(authority.ca.read_bytes())
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing._replace(openssl_capath=str(hashed)))
    assert against(authority.server(), certificates()).status == 204
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
    monkeypatch.setattr(tls, "SYSTEM_BUNDLES", ("/nowhere", str(authority.ca)))
    assert against(authority.server(), certificates()).status == 204
    monkeypatch.setattr(tls, "SYSTEM_BUNDLES", ())
    found = certificates().context().get_ca_certs()
    assert len(found) > 50  # certifi's


# --- who we are -------------------------------------------------------------------------------------------------------------------


def damaged(pair: Pair, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100] + b"x" * 40 + path.read_bytes()[140:])


BAD_PAIRS: dict[str, tuple[Callable[[Authority, Pair], object], str]] = {
    "a key that others can read": (
        lambda a, p: p.key.chmod(0o604),
        "service.client_key = {key}: every user of this machine can use it: chmod o-rw it (Kubernetes: defaultMode 0440)",
    ),
    "a key that is not there": (
        lambda a, p: p.key.unlink(),
        "service.client_key = {key}: it can't be read (No such file or directory)",
    ),
    "a certificate that is not there": (
        lambda a, p: p.certificate.unlink(),
        "service.client_cert = {certificate}: it can't be read (No such file or directory)",
    ),
    "another's key": (
        lambda a, p: put(a.issue().key, p.key),
        "service.client_key = {key}: the key is not that of service.client_cert",
    ),
    "an expired certificate": (
        lambda a, p: (put((old := a.issue(lives=-DAY)).key, p.key), put(old.certificate, p.certificate)),
        "service.client_cert = {certificate}: it has expired: put a new one in its place",
    ),
    "an encrypted key": (
        lambda a, p: put(a.issue(passphrase="secret").key, p.key),
        "service.client_key = {key}: the key is encrypted, and there is nobody to ask for the passphrase: decrypt it",
    ),
    "no certificate": (
        lambda a, p: p.certificate.write_text("secret"),
        "service.client_cert = {certificate}: no certificate with its key in PEM (unreadable)",
    ),
}


@pytest.mark.parametrize("bad", BAD_PAIRS)
def test_a_pair_that_can_not_work_is_refused_at_the_start_in_one_line(authority: Authority, bad: str) -> None:
    """F70, I7: the line names the key and what is wrong, and holds nothing of a file's content."""
    pair = authority.issue()
    spoil, text = BAD_PAIRS[bad]
    spoil(authority, pair)
    with pytest.raises(ConfigurationError) as caught:
        certificates(client_cert=pair.certificate, client_key=pair.key)
    assert str(caught.value) == text.format(key=pair.key, certificate=pair.certificate)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("content", [None, "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_bundle_that_holds_no_ca_is_refused_at_the_start(tmp_path: Path, content: str | None) -> None:
    """F70."""
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    with pytest.raises(ConfigurationError, match=rf"^service\.ca_bundle = {bundle}: "):
        certificates(ca_bundle=bundle)


def tells_who(peer: Peer) -> None:
    """Answers with the serial number of the client's certificate."""
    while True:
        peer.request()
        peer.send(answer(503, peer.client_serial.encode()))


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_client_certificate_is_shown_where_one_is_wanted(authority: Authority, version: str) -> None:
    server = authority.server(wants_client=True)
    server.minimum_version = server.maximum_version = ssl.TLSVersion[version]
    pair = authority.issue()
    both = pair.key.with_name("both.pem")
    both.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    both.chmod(0o600)
    for mine in ({"client_cert": pair.certificate, "client_key": pair.key}, {"client_cert": both}):
        assert against(server, certificates(ca_bundle=authority.ca, **mine)).status == 204


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("mine", ["none", "another CA's"])
def test_a_client_certificate_that_is_refused_is_nothing_sent(
    authority: Authority, tmp_path: Path, version: str, mine: str
) -> None:
    """F47, I3: in TLS 1.3 the refusal comes after our handshake, while or after the request was written."""
    server = authority.server(wants_client=True)
    server.minimum_version = server.maximum_version = ssl.TLSVersion[version]
    pair = Authority(tmp_path / "other", "Other CA").issue()
    shown = {} if mine == "none" else {"client_cert": pair.certificate, "client_key": pair.key}
    bodies = FakeBodies()
    for content in (b"s" * 1000, b"L" * (8 << 20)):
        with hostile(answering(204), tls=server) as up:
            origin = OriginServer(
                url=up.url,
                bodies=bodies,
                arrival=Arrival,
                clock=SystemClock(),
                tls=certificates(ca_bundle=authority.ca, **shown),
            )
            found = origin.store([bodies.add(content)])
            origin.close()
        assert found.loss is Loss.NOT_SENT
        assert found.comment is not None
        assert found.comment.startswith("TLS: ")
        if version == "TLSv1_3":
            assert found.comment.endswith("the service refuses service.client_cert, or wants one")


def test_a_renewed_pair_is_used_from_the_next_request_on(authority: Authority, tmp_path: Path) -> None:
    """A swapped symlink, as Kubernetes does it; the kept connection, made with the old one, is let go."""
    live = tmp_path / "live"
    for number in (1, 2):
        pair = authority.issue()
        (folder := tmp_path / f"v{number}").mkdir()
        put(pair.certificate, folder / "tls.crt")
        put(pair.key, folder / "tls.key")
    live.symlink_to(tmp_path / "v1")
    mine = certificates(ca_bundle=authority.ca, client_cert=live / "tls.crt", client_key=live / "tls.key")
    with hostile(tells_who, tls=authority.server(wants_client=True)) as server:
        origin = OriginServer(url=server.url, bodies=FakeBodies(), arrival=Arrival, clock=SystemClock(), tls=mine)
        seen = [origin.control().comment for _ in range(2)]
        (tmp_path / "next").symlink_to(tmp_path / "v2")
        os.replace(tmp_path / "next", live)
        seen += [origin.control().comment for _ in range(2)]
        origin.close()
    assert (seen[0], seen[2]) == (seen[1], seen[3])
    assert seen[0] != seen[2]
    assert server.connections == 2


def test_a_request_under_way_is_not_broken_by_a_renewal(authority: Authority) -> None:
    pair = authority.issue()
    mine = certificates(ca_bundle=authority.ca, client_cert=pair.certificate, client_key=pair.key)
    begun, renewed = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        while True:
            peer.request()
            begun.set()
            renewed.wait(5)
            peer.send(answer(204))

    found: list[Answer] = []
    with hostile(script, tls=authority.server(wants_client=True)) as server:
        origin = OriginServer(url=server.url, bodies=FakeBodies(), arrival=Arrival, clock=SystemClock(), tls=mine)
        sender = threading.Thread(target=lambda: found.append(origin.control()))
        sender.start()
        begun.wait(5)
        new = authority.issue()
        put(new.key, pair.key)
        put(new.certificate, pair.certificate)
        other = threading.Thread(target=lambda: found.append(origin.control()))
        other.start()
        renewed.set()
        sender.join(5)
        other.join(5)
        origin.close()
    assert [a.status for a in found] == [204, 204]
    assert len(server.requests) == 2


@pytest.mark.parametrize("bad", sorted(BAD_PAIRS))
def test_a_pair_that_turns_bad_keeps_the_one_before_and_is_named(authority: Authority, bad: str) -> None:
    """I7: the line holds no path."""
    pair = authority.issue()
    good = {path: path.read_bytes() for path in (pair.certificate, pair.key)}
    mine = certificates(ca_bundle=authority.ca, client_cert=pair.certificate, client_key=pair.key)
    with hostile(tells_who, tls=authority.server(wants_client=True)) as server:
        origin = OriginServer(url=server.url, bodies=FakeBodies(), arrival=Arrival, clock=SystemClock(), tls=mine)
        before = origin.control().comment
        assert origin.problem is None
        spoil, text = BAD_PAIRS[bad]
        spoil(authority, pair)
        assert origin.control().comment == before
        key, _, why = text.partition(" = ")
        assert origin.problem == f"{key}: {why.partition(': ')[2]}; what was read before stays in use"
        for path, content in good.items():
            path.write_bytes(content)
            path.chmod(0o600)
        assert origin.control().comment == before
        assert origin.problem is None
        origin.close()
    assert str(pair.key.parent) not in text


def test_a_pair_that_expires_in_use_is_named(authority: Authority) -> None:
    pair = authority.issue(lives=timedelta(hours=1))
    clock = LaterClock()
    mine = Certificates(clock=clock, client_cert=pair.certificate, client_key=pair.key)
    assert mine.problem is None
    clock.later = 3700.0
    assert mine.problem == "service.client_cert: it has expired: put a new one in its place"


class LaterClock(SystemClock):
    later = 0.0

    def wall(self) -> float:
        return super().wall() + self.later


def test_a_new_ca_is_trusted_without_a_restart(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "Other CA")
    bundle = tmp_path / "bundle.pem"
    put(authority.ca, bundle)
    trust = certificates(ca_bundle=bundle)
    assert against(other.server(), trust).loss is Loss.NOT_SENT
    put(other.ca, bundle)
    assert against(other.server(), trust).status == 204


def test_a_context_costs_no_read_while_nothing_changed(authority: Authority) -> None:
    pair = authority.issue()
    mine = certificates(ca_bundle=authority.ca, client_cert=pair.certificate, client_key=pair.key)
    assert mine.context() is mine.context()


def test_importing_costs_no_cryptography() -> None:
    """Only client certificates need it (DESIGN 4: start-up imports what the command needs)."""
    code = "import ingestd.dicomweb.origin.client, sys; print('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"False\n"
