"""`ingestd emulator --jwt-key-file`: a signed, unexpired token for the DICOM service, or Azure's 401."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ingestd.emulator import EmulatorError
from ingestd.emulator.server import running

AUDIENCE = "https://dicom.healthcareapis.azure.com"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CHALLENGE = (
    f'Bearer authorization_uri="https://login.microsoftonline.com/common", resource_id="{AUDIENCE}", realm="{AUDIENCE}"'
)


def public(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def token(key: rsa.RSAPrivateKey = KEY, *, algorithm: str = "RS256", **changes: object) -> str:
    now = int(time.time())
    claims = {"aud": AUDIENCE, "iat": now, "exp": now + 3600} | changes
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, key, algorithm=algorithm)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("jwt")
    (folder / "key.pem").write_bytes(public(KEY))
    with running(data=folder / "data", jwt_key_file=folder / "key.pem") as up:
        yield up.url


def asked(url: str, shown: str | None, *, scheme: str = "Bearer") -> httpx.Response:
    headers = {} if shown is None else {"Authorization": f"{scheme} {shown}"}
    return httpx.get(f"{url}/changefeed", headers=headers, trust_env=False)


def unsigned() -> str:
    return jwt.encode({"aud": AUDIENCE, "exp": int(time.time()) + 3600}, None, algorithm="none")


def signed_with_the_public_key() -> str:
    """The old trick: HMAC with what everybody knows. PyJWT does not make one, so by hand."""

    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
    body = base64.urlsafe_b64encode(f'{{"aud":"{AUDIENCE}","exp":{int(time.time()) + 3600}}}'.encode()).rstrip(b"=")
    mac = hmac.new(public(KEY), header + b"." + body, hashlib.sha256).digest()
    return b".".join((header, body, base64.urlsafe_b64encode(mac).rstrip(b"="))).decode()


def test_a_good_token_is_admitted(url: str) -> None:
    assert asked(url, token()).status_code == 200
    assert asked(url, token(aud=["x", AUDIENCE]), scheme="bearer").status_code == 200


@pytest.mark.parametrize(
    "shown",
    [
        "no-jwt",
        "a.b.c",
        unsigned(),
        signed_with_the_public_key(),
        token(OTHER),
        token(algorithm="RS512"),
        token(aud="https://storage.azure.com"),
        token(aud=None),
        token(exp=None),
        token(exp=int(time.time()) - 1),
        token(nbf=int(time.time()) + 86_400, exp=int(time.time()) + 90_000),
        token()[:-8] + "AAAAAAAA",
    ],
)
def test_any_other_is_a_401_with_azures_challenge(url: str, shown: str) -> None:
    """azure-dicom 1.2, row 401: expired means expired, without a grace."""
    found = asked(url, shown)
    assert (found.status_code, found.content) == (401, b"")
    assert found.headers["www-authenticate"] == CHALLENGE + ', error="invalid_token"'


def test_no_token_is_a_401_that_names_authority_and_audience(url: str) -> None:
    found = asked(url, None)
    assert (found.status_code, found.headers["www-authenticate"]) == (401, CHALLENGE)
    assert asked(url, "dXNlcjpwdw==", scheme="Basic").status_code == 401


def test_a_token_expires_while_it_is_used(url: str) -> None:
    short = token(exp=int(time.time()) + 2)
    assert asked(url, short).status_code == 200
    time.sleep(2.1)
    assert asked(url, short).status_code == 401


def test_the_answer_comes_before_the_body(url: str) -> None:
    host, _, port = url.removeprefix("http://").removesuffix("/v2").partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as peer:
        peer.sendall(
            b"POST /v2/studies HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n"
            b"Content-Type: multipart/related; boundary=b\r\n\r\n--b"
        )
        assert peer.recv(100).startswith(b"HTTP/1.1 401 ")


def test_a_key_that_was_rotated_is_the_key(tmp_path: Path) -> None:
    key_file = tmp_path / "key.pem"
    key_file.write_bytes(public(KEY))
    with running(data=tmp_path / "data", jwt_key_file=key_file) as up:
        assert asked(up.url, token()).status_code == 200
        key_file.write_bytes(public(OTHER))
        assert [asked(up.url, t).status_code for t in (token(), token(OTHER))] == [401, 200]
        key_file.write_bytes(b"nothing")
        assert asked(up.url, token(OTHER)).status_code == 401
        key_file.unlink()
        assert asked(up.url, token(OTHER)).status_code == 401


def test_a_key_that_can_not_be_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("no key")
    with (
        pytest.raises(EmulatorError, match="it holds no RSA public key in PEM"),
        running(data=tmp_path / "d", jwt_key_file=file),
    ):
        pass
    with pytest.raises(EmulatorError, match="No such file"), running(data=tmp_path / "d", jwt_key_file=tmp_path / "x"):
        pass


def test_token_file_and_key_file_exclude_each_other(tmp_path: Path) -> None:
    """Exit 2: a mistake in using the command."""
    arguments = ["emulator", "--data", str(tmp_path), "--token-file", "a", "--jwt-key-file", "b"]
    refused = subprocess.run([sys.executable, "-m", "ingestd", *arguments], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "exclude each other" in refused.stderr
