"""[auth]: each mode has the keys it needs and no other, and what can't work is one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ingestd.config import Auth, load
from ingestd.config.modes import ALLOWED, FROM_ENTRA, NEEDED, SCOPE, Mode
from ingestd.core.errors import ConfigurationError

VALUES = {
    "scope": "https://other.example/.default",
    "authority": "login.microsoftonline.us",
    "tenant_id": "contoso.example",
    "client_id": "66666666-7777-8888-9999-000000000000",
    "client_secret_file": "/run/secret",
    "certificate_file": "/run/pem",
    "token_file": "/run/token",
    "username": "orthanc",
    "password_file": "/run/password",
}
MODES = list(NEEDED)


def auth(url: str = "https://x/v2", service: dict[str, str] | None = None, **keys: object) -> Auth:
    folders = {name: f"/srv/{name}" for name in ("inbox", "done", "failed", "state")}
    flags = {"folders": folders, "service": {"url": url} | (service or {}), "auth": keys}
    return load(file=None, environment={"INGESTD_CONFIG": os.devnull}, flags=flags).auth


def refusal(**keys: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        auth(**keys)  # type: ignore[arg-type]  # the keys that are tested
    (line,) = str(caught.value).splitlines()
    return line


def values(*keys: str) -> dict[str, str]:
    return {key: VALUES[key] for key in keys}


def test_every_key_of_the_contract_is_there() -> None:
    """DESIGN 5."""
    assert set(Auth.model_fields) == {"mode", *VALUES}
    assert auth().scope == SCOPE == "https://dicom.healthcareapis.azure.com/.default"


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_works_with_what_it_needs_and_with_all_it_may_have(mode: Mode) -> None:
    assert auth(mode=mode, **values(*NEEDED[mode])).mode == mode
    assert auth(mode=mode, **values(*NEEDED[mode], *ALLOWED[mode])).mode == mode


@pytest.mark.parametrize(("mode", "missing"), [(m, key) for m in MODES for key in NEEDED[m]])
def test_a_key_that_a_mode_needs_is_named(mode: Mode, missing: str) -> None:
    """F70."""
    keys = values(*(key for key in NEEDED[mode] if key != missing))
    assert refusal(mode=mode, **keys) == f"auth.mode = {mode} needs auth.{missing}"


@pytest.mark.parametrize(
    ("mode", "idle"), [(m, key) for m in MODES for key in VALUES if key not in NEEDED[m] + ALLOWED[m]]
)
def test_a_key_without_effect_is_named_with_the_modes_that_take_it(mode: Mode, idle: str) -> None:
    """F70: a key without an effect is a mistake."""
    line = refusal(mode=mode, **values(*NEEDED[mode], idle))
    assert line.startswith(f"auth.{idle} has no effect while auth.mode = {mode}: set auth.mode = ")
    assert VALUES[idle] not in line


def test_a_default_that_is_written_down_is_no_mistake() -> None:
    """`config show` prints all keys, and what it prints can be read back."""
    assert auth(mode="none", scope=SCOPE).mode == "none"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("login.microsoftonline.us", "https://login.microsoftonline.us"),
        ("https://login.chinacloudapi.cn/", "https://login.chinacloudapi.cn"),
        ("https://127.0.0.1:8443", "https://127.0.0.1:8443"),
    ],
)
def test_an_authority_is_a_host_that_speaks_https(written: str, meant: str) -> None:
    """Sovereign clouds."""
    assert auth(mode="workload-identity", authority=written).authority == meant


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("authority", "http://login.microsoftonline.us"),
        ("authority", "https://user:hunter2@login"),
        ("authority", "https://login/tenant"),
        ("authority", "https://login:0"),
        ("authority", "https://login:99999"),
        ("authority", ""),
        ("authority", "a b"),
        ("scope", "https://dicom.healthcareapis.azure.com"),
        ("scope", "/.default"),
        ("scope", ""),
        ("tenant_id", ""),
        ("tenant_id", "../x"),
        ("client_id", "a b"),
    ],
)
def test_a_value_that_can_not_work_is_one_line_that_names_the_key_only(key: str, value: str) -> None:
    """F65, F70: whatever stands in [auth] may be a secret in the wrong place."""
    line = refusal(mode="workload-identity", **{key: value})
    assert line.startswith(f"auth.{key}: ")
    assert not value or value not in line.replace(f"/.default, such as {SCOPE}", "")


@pytest.mark.parametrize("path", ["", "/a\0b"])
def test_a_file_without_a_name_is_refused(path: str) -> None:
    """F70: an empty variable would be the working directory."""
    assert refusal(mode="token-file", token_file=path) == f"auth.token_file = {path!r}: give the path of a file"


@pytest.mark.parametrize("username", ["", "a:b", "a\nb"])
def test_a_user_name_that_basic_can_not_carry_is_refused(username: str) -> None:
    """RFC 7617 2."""
    assert refusal(mode="basic", username=username, password_file="/run/p").startswith("auth.username: give a user")


def test_a_private_ca_has_an_effect_where_tokens_are_fetched() -> None:
    """It is trusted for Entra ID too, so plain HTTP to the service does not make it idle."""
    plain, ca = "http://127.0.0.1/v2", {"ca_bundle": "/run/ca.pem"}
    assert auth(plain, ca, mode="managed-identity").from_entra
    with pytest.raises(ConfigurationError, match=r"service\.ca_bundle has no effect"):
        auth(plain, ca, mode="none")


def test_the_modes_that_fetch_tokens_are_those_with_a_scope() -> None:
    assert {m for m in MODES if m not in FROM_ENTRA} == {"none", "token-file", "basic"}
    assert auth(mode="token-file", token_file="/run/t").token_file == Path("/run/t")
