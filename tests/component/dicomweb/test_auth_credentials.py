"""The real azure-identity against a token endpoint on loopback: each mode, what rotates, what fails, what leaks."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.hostile_server import Peer, answer, hostile
from fakes.token_endpoint import CLIENT, IDENTITY_HEADER, TENANT, TokenEndpoint, client_certificate, token_endpoint

from ingestd.config import Auth
from ingestd.config.modes import Mode
from ingestd.core.errors import ConfigurationError
from ingestd.dicomweb.identity import entra_failures
from ingestd.dicomweb.identity.entra import EntraToken
from ingestd.dicomweb.identity.entra_failures import kind_of, mend
from ingestd.dicomweb.identity.headers import TokenError, bearer
from ingestd.dicomweb.identity.token_cell import Token, TokenCell, TokenTroubleError
from ingestd.ops.clock import SystemClock

CLOCK = SystemClock()
CANARY = "KANARIENVOGEL"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No platform's, and one that would lead astray whoever listens to it (F59)."""
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "AZURE_TOKEN_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET", "FEDERATED_TOKEN_FILE", "AUTHORITY_HOST"):
        monkeypatch.delenv(f"AZURE_{name}", raising=False)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, "/nothing")


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[TokenEndpoint]:
    with token_endpoint(tmp_path / "endpoint") as made:
        yield made


def secret(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    """Replaced as a good rotation does it: written beside, renamed in."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content if isinstance(content, bytes) else content.encode())
    new.chmod(mode)
    return new.rename(path)


def application(endpoint: TokenEndpoint, mode: str, **keys: object) -> EntraToken:
    settings = {"authority": endpoint.url, "tenant_id": TENANT, "client_id": CLIENT, "mode": mode} | keys
    return EntraToken(Auth.model_validate(settings), clock=CLOCK, ca_bundle=endpoint.ca_file)


def by_secret(endpoint: TokenEndpoint, folder: Path, content: str = "s3cret\n") -> EntraToken:
    return application(endpoint, "client-secret", client_secret_file=secret(folder / "secret", content))


def lives(token: Token) -> bool:
    return 18 < token.expires_at - CLOCK.wall() <= 20


# --- each mode -----------------------------------------------------------------------------------------------------------------


def test_client_secret(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    """F63: the line end of the file is not part of the secret; two fetches are two tokens."""
    fetch = by_secret(endpoint, tmp_path)
    first, second = fetch(), fetch()
    assert [first.value, second.value] == endpoint.issued
    assert lives(first)
    assert endpoint.asked == {"client_secret": 2, "openid": 2}


def test_client_certificate(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    pem, endpoint.certificate = client_certificate()
    fetch = application(endpoint, "client-certificate", certificate_file=secret(tmp_path / "pem", pem))
    assert lives(fetch())


@pytest.mark.parametrize("by_environment", [False, True])
def test_workload_identity(
    endpoint: TokenEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_environment: bool
) -> None:
    """The pod's own variables, or our keys; where the webhook mounts the file its mode is the platform's business."""
    file = secret(tmp_path / "federated", "federated", 0o644 if by_environment else 0o600)
    if by_environment:
        monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
        monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
        monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", endpoint.url)
        fetch = EntraToken(Auth(mode="workload-identity"), clock=CLOCK, ca_bundle=endpoint.ca_file)
    else:
        fetch = application(endpoint, "workload-identity", token_file=file)
    assert lives(fetch())
    assert endpoint.asked == {"assertion": 1}


@pytest.mark.parametrize("shape", ["imds", "app_service"])
def test_managed_identity(endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch, shape: str) -> None:
    if shape == "imds":
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", endpoint.url)
    else:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{endpoint.url}/app-service")
        monkeypatch.setenv("IDENTITY_HEADER", IDENTITY_HEADER)
    fetch = EntraToken(Auth(mode="managed-identity"), clock=CLOCK, ca_bundle=endpoint.ca_file)
    assert [lives(fetch()), lives(fetch())] == [True, True]
    assert endpoint.asked == {shape: 2}


def test_default_takes_what_the_environment_names(endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure's own order: environment, workload identity, managed identity."""
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", endpoint.url)
    for name, value in (("TENANT_ID", TENANT), ("CLIENT_ID", CLIENT), ("CLIENT_SECRET", endpoint.secret)):
        monkeypatch.setenv(f"AZURE_{name}", value)
    assert lives(EntraToken(Auth(mode="default"), clock=CLOCK, ca_bundle=endpoint.ca_file)())
    assert endpoint.asked == {"client_secret": 1, "openid": 1}


def test_default_runs_no_program_and_asks_no_developers_login(
    endpoint: TokenEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program called `az` that somebody can put on PATH must not speak for a daemon."""
    for name in ("az", "azd", "pwsh", "powershell"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", endpoint.url)
    fetch = EntraToken(Auth(mode="default"), clock=CLOCK, ca_bundle=endpoint.ca_file)
    assert lives(fetch())
    endpoint.status = 500
    with pytest.raises(TokenTroubleError):
        fetch()
    assert not (tmp_path / "ran").exists()


def az(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """The Azure CLI, as far as azure-identity asks it."""
    (folder / "az").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "az").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_azure_cli_is_the_login_of_az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tutorials log in with it; auth.scope and auth.tenant_id are handed on."""
    until = int(CLOCK.wall()) + 20
    shown = f'{{"accessToken": "of az", "expires_on": {until}}}'
    az(tmp_path, monkeypatch, f"echo \"$*\" >{tmp_path}/asked; echo '{shown}'")
    assert EntraToken(Auth(mode="azure-cli", tenant_id=TENANT), clock=CLOCK)() == Token(value="of az", expires_at=until)
    assert (tmp_path / "asked").read_text().strip() == (
        f"account get-access-token --output json --resource https://dicom.healthcareapis.azure.com --tenant {TENANT}"
    )


@pytest.mark.parametrize(
    ("mode", "script", "hint"),
    [
        ("azure-cli", "echo 'ERROR: Please run az login to setup account.' >&2; exit 1", "log in anew with `az login`"),
        ("azure-cli", f"echo 'ERROR: AADSTS700082: expired {CANARY}' >&2; exit 1", "log in anew with `az login`"),
        ("azure-cli", None, "the program az is not on the PATH of ingestd"),
        ("default", "echo '{}'", "beside a logged-in Azure CLI set auth.mode = azure-cli"),
    ],
)
def test_a_login_that_is_not_there_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode, script: str | None, hint: str
) -> None:
    """I3, F64: `az login` mends nothing for `default`, which never asks az; its words are not repeated (I7)."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    if script is not None:
        az(tmp_path, monkeypatch, script)
    with pytest.raises(TokenTroubleError) as caught:
        EntraToken(Auth(mode=mode), clock=CLOCK)()
    assert hint in str(caught.value)
    assert CANARY not in str(caught.value)
    assert ("az login" in str(caught.value)) == (hint == "log in anew with `az login`")


def test_each_of_entras_numbers_that_we_know_has_its_own_mend() -> None:
    """F63: and any other is named, beside what the mode needs."""
    for code, line in entra_failures._MENDS.items():
        assert mend("client-secret", ValueError(f"{code}: {CANARY}")) == line
    assert kind_of(ValueError("AADSTS7654321: words")) == "ValueError, AADSTS7654321"
    assert mend("client-secret", ValueError("AADSTS7654321: words")) == (
        "check auth.tenant_id, auth.client_id and auth.client_secret_file"
    )


def test_a_provider_that_is_not_there_is_looked_for_on_the_way(tmp_path: Path) -> None:
    """F64."""
    file = secret(tmp_path / "secret", "s3cret")
    ids = {"tenant_id": TENANT, "client_id": CLIENT, "client_secret_file": file}
    closed = Auth.model_validate({"mode": "client-secret", "authority": "https://127.0.0.1:9", **ids})
    with pytest.raises(TokenTroubleError, match=r"ConnectionRefusedError\): it can't be reached: .*service\.proxy"):
        EntraToken(closed, clock=CLOCK)()


def test_a_mode_that_fetches_nothing_imports_nothing_heavy() -> None:
    """DESIGN 4: half a second that only those modes pay."""
    code = "import sys, ingestd.app; print(sorted({'azure.identity', 'msal', 'requests', 'jwt'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_proxy_is_for_entra_and_not_for_this_machine(
    endpoint: TokenEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F59: service.proxy, and none that the environment names."""

    def refusing(peer: Peer) -> None:
        lines.append(peer.head()[0])
        peer.send(answer(502))

    lines: list[str] = []
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", endpoint.url)
    with hostile(refusing) as proxy:
        url = proxy.url.removesuffix("/v2")
        managed = EntraToken(Auth(mode="managed-identity"), clock=CLOCK, ca_bundle=endpoint.ca_file, proxy=url)
        assert lives(managed())
        settings = {"mode": "client-secret", "tenant_id": TENANT, "client_id": CLIENT}
        file = secret(tmp_path / "secret", "s3cret")
        with pytest.raises(TokenTroubleError):
            EntraToken(Auth.model_validate(settings | {"client_secret_file": file}), clock=CLOCK, proxy=url)()
    assert [line.rpartition(" ")[0] for line in lines] == ["CONNECT login.microsoftonline.com:443"]


# --- what rotates --------------------------------------------------------------------------------------------------------------


def test_a_rotated_secret_is_picked_up(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    """F64: without a restart."""
    fetch = by_secret(endpoint, tmp_path)
    fetch()
    endpoint.secret = "another"
    with pytest.raises(TokenError, match="AADSTS7000215"):
        fetch()
    secret(tmp_path / "secret", "another")
    assert lives(fetch())


def test_a_rotated_certificate_is_picked_up(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    """F64."""
    pem, endpoint.certificate = client_certificate()
    fetch = application(endpoint, "client-certificate", certificate_file=secret(tmp_path / "pem", pem))
    fetch()
    pem, endpoint.certificate = client_certificate()
    with pytest.raises(TokenError):
        fetch()
    secret(tmp_path / "pem", b"half a file")
    with pytest.raises(TokenError, match=r"auth\.certificate_file holds no certificate"):
        fetch()
    secret(tmp_path / "pem", pem)
    assert lives(fetch())


def test_a_swapped_federated_token_is_read_at_once(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    """F64: Kubernetes swaps a symlink; azure-identity itself would look again after ten minutes."""
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        secret(tmp_path / number / "token", f"federated{number}")
    (tmp_path / "data").symlink_to("1")
    endpoint.federated = "federated1"
    fetch = application(endpoint, "workload-identity", token_file=tmp_path / "data" / "token")
    fetch()
    endpoint.federated = "federated2"
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").rename(tmp_path / "data")
    assert lives(fetch())


# --- what is refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "key"),
    [
        ("client-secret", "client_secret_file"),
        ("client-certificate", "certificate_file"),
        ("workload-identity", "token_file"),
    ],
)
def test_a_secret_that_others_can_read_is_refused_at_the_start_and_later(
    endpoint: TokenEndpoint, tmp_path: Path, mode: str, key: str
) -> None:
    """F65: one line that names the file and not what stands in it."""
    content = client_certificate()[0] if mode == "client-certificate" else CANARY.encode()
    path = secret(tmp_path / "it", content, 0o604)
    with pytest.raises(ConfigurationError) as caught:
        application(endpoint, mode, **{key: path})
    assert str(caught.value).startswith(f"auth.{key} = {path}: every user of this machine can use it: chmod o-rw it")
    path.chmod(0o640)
    fetch = application(endpoint, mode, **{key: path})
    path.chmod(0o644)
    with pytest.raises(TokenError, match=rf"^auth\.{key}: every user") as later:
        fetch()
    assert str(path) not in str(later.value)
    assert endpoint.tokens_asked == 0


@pytest.mark.parametrize("content", ["", "\n", "two\nlines", "bell\a", b"\xff\xfe"])
def test_a_secret_that_can_not_be_one_is_refused(endpoint: TokenEndpoint, tmp_path: Path, content: str | bytes) -> None:
    path = secret(tmp_path / "secret", content)
    with pytest.raises(ConfigurationError) as caught:
        application(endpoint, "client-secret", client_secret_file=path)
    assert str(caught.value).startswith(f"auth.client_secret_file = {path}: ")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [CANARY.encode(), b"-----BEGIN " + CANARY.encode()])
def test_a_certificate_that_is_none_is_refused(endpoint: TokenEndpoint, tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigurationError) as caught:
        application(endpoint, "client-certificate", certificate_file=secret(tmp_path / "pem", content))
    assert "auth.certificate_file holds no certificate with its RSA key" in str(caught.value)
    assert CANARY not in str(caught.value)


def test_workload_identity_without_its_settings_says_what_is_missing() -> None:
    with pytest.raises(ConfigurationError) as caught:
        EntraToken(Auth(mode="workload-identity"), clock=CLOCK)
    assert str(caught.value) == (
        "auth.mode = workload-identity: set auth.tenant_id, auth.client_id, auth.token_file, "
        "or let the pod have its AZURE_ variables"
    )


def test_a_ca_that_is_not_configured_is_not_trusted(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    """F47, F59: and the line says that it is the certificate."""
    file = secret(tmp_path / "secret", "s3cret")
    settings = {
        "mode": "client-secret",
        "authority": endpoint.url,
        "tenant_id": TENANT,
        "client_id": CLIENT,
        "client_secret_file": file,
    }
    with pytest.raises(TokenTroubleError, match=r"SSLCertVerificationError\): .* service\.ca_bundle$"):
        EntraToken(Auth.model_validate(settings), clock=CLOCK)()
    assert endpoint.asked == {}


# --- what fails ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["client-secret", "managed-identity"])
@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
def test_a_refusal_is_one_request_and_no_long_wait(
    endpoint: TokenEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, status: int
) -> None:
    """F64: azure-identity would wait 24 s, and 75 s after a 410; retries and their waits are ours."""
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", endpoint.url)
    managed = EntraToken(Auth(mode="managed-identity"), clock=CLOCK, ca_bundle=endpoint.ca_file)
    fetch = managed if mode == "managed-identity" else by_secret(endpoint, tmp_path)
    endpoint.status = status
    began = time.monotonic()
    with pytest.raises(TokenTroubleError, match="the identity provider gave none"):
        fetch()
    assert (endpoint.tokens_asked, time.monotonic() - began < 2) == (1, True)


def test_an_identity_providers_words_reach_no_text(
    endpoint: TokenEndpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """I7, F65: the endpoint's answer quotes the form with the secret in it, and so does the library's log line."""
    fetch = by_secret(endpoint, tmp_path, CANARY)
    with caplog.at_level(logging.DEBUG), pytest.raises(TokenError) as caught:
        fetch()
    assert str(caught.value) == (
        "the identity provider gave none (ClientAuthenticationError, AADSTS7000215): "
        "the secret is wrong: put its value, not its id, into auth.client_secret_file"
    )
    assert caught.value.__cause__ is None
    assert CANARY in caplog.text  # why ops/foreign.py lets no word of a library through


def test_a_revoked_token_is_replaced_by_a_really_new_one(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    """F63: with an hour to live it would come out of azure-identity's cache."""
    endpoint.life = 3600
    cell = TokenCell(by_secret(endpoint, tmp_path), clock=CLOCK)
    cell.start()
    refused = cell.headers()
    assert cell.renewed(refused) == bearer(endpoint.issued[1])
    assert cell.headers() == bearer(endpoint.issued[1])
    assert endpoint.asked["client_secret"] == 2
    cell.stop()
    cell.join(5)


def test_tokens_under_five_minutes_are_not_fetched_for_each_request(
    endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 3, token cell: azure-identity counts them as expired."""
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", endpoint.url)
    fetch = EntraToken(Auth(mode="managed-identity"), clock=CLOCK, ca_bundle=endpoint.ca_file)
    cell = TokenCell(fetch, clock=CLOCK)
    cell.start()
    assert {tuple(cell.headers().items()) for _ in range(200)} == {tuple(bearer(endpoint.issued[0]).items())}
    assert endpoint.asked == {"imds": 1}
    cell.stop()
    cell.join(5)


def test_an_endpoint_that_hangs_keeps_nobody(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    """F64: the sender is told in time, stopping is prompt, and when it answers all is well."""
    endpoint.released.clear()
    cell = TokenCell(by_secret(endpoint, tmp_path), clock=CLOCK, patience_seconds=0.5)
    cell.start()
    began = time.monotonic()
    with pytest.raises(TokenError, match="has not answered"):
        cell.headers()
    assert time.monotonic() - began < 1.5
    endpoint.released.set()
    deadline = time.monotonic() + 5
    while cell.expires_at == 0.0:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert cell.headers() == bearer(endpoint.issued[0])
    began = time.monotonic()
    cell.stop()
    cell.join(5)
    assert time.monotonic() - began < 0.5
    assert not any(t.name == "token" for t in threading.enumerate())


def test_errors_that_are_each_others_cause_are_told_all_the_same() -> None:
    """I8: the token's thread must not go round for ever, nor keep them all."""
    one, other = ConnectionError("one"), TimeoutError("other")
    one.__cause__, other.__cause__ = other, one
    assert entra_failures.kind_of(one).startswith("ConnectionError")
    assert "can't be reached" in entra_failures.mend("client-secret", one)
