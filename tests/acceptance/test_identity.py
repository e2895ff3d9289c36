"""The daemon and Entra ID: the real azure-identity, a token endpoint on loopback under a private CA, tokens that live 20 seconds,
and an emulator that checks signature, audience and expiry.

INGESTD_TEST_LONG=1 drops for two minutes; without it for thirty seconds.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from fakes.house import House, digest
from fakes.ports import free_port
from fakes.studies import Made, made
from fakes.token_endpoint import CLIENT, TENANT, TokenEndpoint, token_endpoint

from ingestd.emulator.server import running

MakeHouse = Callable[..., House]
DURATION = 120.0 if os.environ.get("INGESTD_TEST_LONG") else 30.0
EVERY = 0.5
LIFE = 20
MODES = ("managed-identity", "workload-identity", "client-secret")
CANARY = "KANARIENVOGEL"


def secret(path: Path, content: str) -> Path:
    new = path.with_name(f"{path.name}.new")
    new.write_text(content)
    new.chmod(0o600)
    return new.rename(path)


def identity(mode: str, endpoint: TokenEndpoint, folder: Path) -> dict[str, str]:
    """The environment of a daemon in this mode."""
    ours = {"INGESTD_AUTH__MODE": mode, "INGESTD_SERVICE__CA_BUNDLE": str(endpoint.ca_file)}
    match mode:
        case "managed-identity":
            return ours | {"AZURE_POD_IDENTITY_AUTHORITY_HOST": endpoint.url}
        case "workload-identity":
            return ours | {
                "AZURE_TENANT_ID": TENANT,
                "AZURE_CLIENT_ID": CLIENT,
                "AZURE_AUTHORITY_HOST": endpoint.url,
                "AZURE_FEDERATED_TOKEN_FILE": str(secret(folder / "federated", endpoint.federated)),
            }
        case _:
            return ours | {
                "INGESTD_AUTH__AUTHORITY": endpoint.url,
                "INGESTD_AUTH__TENANT_ID": TENANT,
                "INGESTD_AUTH__CLIENT_ID": CLIENT,
                "INGESTD_AUTH__CLIENT_SECRET_FILE": str(secret(folder / "secret", endpoint.secret)),
            }


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[TokenEndpoint]:
    with token_endpoint(tmp_path / "endpoint", life=LIFE) as up:
        yield up


def event(home: House, name: str) -> list[dict[str, object]]:
    return [line for line in home.lines() if line["event"] == name]


def dropped(homes: Mapping[str, House], *, seconds: float) -> dict[str, list[Made]]:
    """One file every half second into each house, in each a study of its own."""
    files: dict[str, list[Made]] = {mode: [] for mode in homes}
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        for study, (mode, home) in enumerate(homes.items(), start=1):
            one = made(number, study=study, size=60_000)
            home.drop(one.name, one.content)
            files[mode].append(one)
        time.sleep(EVERY)
    return files


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_tokens_of_twenty_seconds_hold_nothing_up(house: MakeHouse, tmp_path: Path) -> None:
    """I3, F63, show 3: nothing in failed/, all in done/, no 401 held against a file, and no more token requests than lives."""
    endpoints: dict[str, TokenEndpoint] = {}
    with (
        token_endpoint(tmp_path / "one", life=LIFE) as one,
        token_endpoint(tmp_path / "two", life=LIFE) as two,
        token_endpoint(tmp_path / "three", life=LIFE) as three,
        running(data=tmp_path / "1", jwt_key_file=one.key_file) as first,
        running(data=tmp_path / "2", jwt_key_file=two.key_file) as second,
        running(data=tmp_path / "3", jwt_key_file=three.key_file) as third,
    ):
        homes: dict[str, House] = {}
        for mode, entra, service in zip(MODES, (one, two, three), (first, second, third), strict=True):
            endpoints[mode] = entra
            homes[mode] = house(service.url, **identity(mode, entra, tmp_path))
            homes[mode].start()
        began = time.monotonic()
        files = dropped(homes, seconds=DURATION)
        for mode, home in homes.items():
            home.waits(home.ended(len(files[mode])), 30)
        took = time.monotonic() - began
        asked = {mode: entra.tokens_asked for mode, entra in endpoints.items()}
        for mode, home in homes.items():
            assert home.stop() == 0
            refusals = sum(line.get("status") == "401" for line in home.lines())
            print(f"{mode}: {len(files[mode])} files in {took:.1f} s, {asked[mode]} tokens, {refusals} times 401")
            assert home.count() == {"inbox": 0, "done": len(files[mode]), "failed": 0}
            assert home.digests(home.done) == sorted(digest(f.content) for f in files[mode])
            assert event(home, "held") == []
            assert 1 <= asked[mode] <= took / LIFE + 1 + refusals


def test_a_revoked_key_costs_one_fetch_and_no_file(house: MakeHouse, endpoint: TokenEndpoint, tmp_path: Path) -> None:
    """F63, I3: the service takes no token of the old key any more; tokens that live an hour are replaced at the first 401."""
    endpoint.life = 3600
    with token_endpoint(tmp_path / "next") as following:
        with running(data=tmp_path / "service", jwt_key_file=endpoint.key_file) as service:
            home = house(service.url, **identity("client-secret", endpoint, tmp_path))
            home.start()
            home.drop("one.dcm", made(1).content)
            home.waits(home.ended(1), 20)
            endpoint.key_file.write_bytes(following.key_file.read_bytes())
            endpoint._key = following._key
            for number in range(2, 40):
                home.drop(f"{number}.dcm", made(number).content)
            home.waits(home.ended(39), 20)
            assert home.stop() == 0
    assert home.count() == {"inbox": 0, "done": 39, "failed": 0}
    assert event(home, "held") == []
    assert endpoint.asked["client_secret"] == 2


@pytest.mark.slow
def test_while_no_token_can_be_had_files_wait_and_stopping_is_prompt(
    house: MakeHouse, endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    """F64, I3: the provider hangs, then refuses, then the secret is mended: all without a restart, and nothing in failed/."""
    endpoint.released.clear()
    with running(data=tmp_path / "service", jwt_key_file=endpoint.key_file) as service:
        home = house(service.url, **identity("client-secret", endpoint, tmp_path))
        home.start()
        for number in range(1, 20):
            home.drop(f"{number}.dcm", made(number).content)
        home.waits(lambda: bool(event(home, "held")), 20)
        (held,) = event(home, "held")
        assert held["cause"] == "unreachable"
        began = time.monotonic()
        assert home.stop() == 0
        assert time.monotonic() - began < 6
        assert home.count() == {"inbox": 19, "done": 0, "failed": 0}

        endpoint.released.set()
        endpoint.secret = "another"
        home.start()
        home.waits(lambda: "AADSTS7000215" in (home.root / "log.jsonl").read_text(), 20)
        secret(tmp_path / "secret", "another")
        home.waits(home.ended(19), 30)
        assert home.stop() == 0
    assert home.count() == {"inbox": 0, "done": 19, "failed": 0}


@pytest.mark.slow
def test_a_wrong_audience_is_a_hold_and_no_files_fault(
    house: MakeHouse, endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    """F63, I3: each probe draws a 401, one more token and another 401; that backs off, and the line says how to mend it."""
    with (
        token_endpoint(tmp_path / "other") as other,
        running(data=tmp_path / "service", jwt_key_file=other.key_file) as service,
    ):
        home = house(service.url, **identity("managed-identity", endpoint, tmp_path), INGESTD_LOG__LEVEL="debug")
        home.drop("one.dcm", made(1).content)
        home.start()
        home.waits(lambda: len(event(home, "probed")) >= 2, 30)
        home.stop()
    assert home.count() == {"inbox": 1, "done": 0, "failed": 0}
    held = event(home, "held")[0]
    assert held["cause"] == "identity"
    assert "auth.scope" in str(held["problem"])


def test_token_file_and_basic_ship_too(house: MakeHouse, tmp_path: Path) -> None:
    """A token that somebody else renews, swapped while files come."""
    tokens, token = tmp_path / "tokens", secret(tmp_path / "token", "first")
    tokens.write_text("first\n")
    with running(data=tmp_path / "service", token_file=tokens) as service:
        home = house(service.url, INGESTD_AUTH__MODE="token-file", INGESTD_AUTH__TOKEN_FILE=str(token))
        home.start()
        home.drop("one.dcm", made(1).content)
        home.waits(home.ended(1), 20)
        tokens.write_text("second\n")
        secret(token, "second")
        home.drop("two.dcm", made(2).content)
        home.waits(home.ended(2), 20)
        assert home.stop() == 0
    assert home.count()["failed"] == 0
    assert event(home, "held") == []


# --- the canary (F65, I7) --------------------------------------------------------------------------------------------------------


def everything(home: House, *outputs: str) -> str:
    """All that the daemon wrote but the files it was given: log, journal, reason files, state."""
    written = [p for p in home.root.rglob("*") if p.is_file() and home.inbox not in p.parents]
    return "".join([*outputs, *(p.read_bytes().decode("latin-1") for p in written)])


@pytest.mark.slow
def test_no_secret_is_in_any_output(house: MakeHouse, endpoint: TokenEndpoint, tmp_path: Path) -> None:
    """F65, I7: the endpoint quotes the secret back at us; log at debug, metrics, config show, argv, environment."""
    endpoint.secret = "right"
    with running(data=tmp_path / "service", jwt_key_file=endpoint.key_file) as service:
        environment = identity("client-secret", endpoint, tmp_path)
        file = secret(tmp_path / "secret", CANARY)
        home = house(
            service.url, **environment, INGESTD_LOG__LEVEL="debug", INGESTD_ADMIN__LISTEN=f"127.0.0.1:{free_port()}"
        )
        home.drop("one.dcm", made(1).content)
        process = home.start()
        home.waits(lambda: "AADSTS7000215" in (home.root / "log.jsonl").read_text(), 20)
        arguments = Path(f"/proc/{process.pid}/cmdline").read_text() + Path(f"/proc/{process.pid}/environ").read_text()
        secret(file, "right")
        home.waits(home.ended(1), 30)
        listen = home.environment()["INGESTD_ADMIN__LISTEN"]
        metrics = httpx.get(f"http://{listen}/metrics", trust_env=False).text
        expiry = next(
            line for line in metrics.splitlines() if line.startswith("ingestd_token_expiry_timestamp_seconds")
        )
        assert abs(float(expiry.split()[1]) - time.time() - LIFE) < LIFE
        home.process.send_signal(signal.SIGTERM)
        home.process.wait(20)
        shown = home.run("config", "show", "--root", str(home.root), "--url", service.url)
        shown_as_json = home.run("config", "show", "--json", "--root", str(home.root), "--url", service.url)
        file.chmod(0o644)
        file.write_text(CANARY)
        refused = home.run("run", "--root", str(home.root), "--url", service.url)
    assert (shown.returncode, shown_as_json.returncode, refused.returncode) == (0, 0, 78)
    assert len(refused.stderr.splitlines()) == 1
    assert str(file) in refused.stderr
    outputs = everything(
        home, arguments, metrics, shown.stdout, shown_as_json.stdout, shown.stderr, refused.stdout, refused.stderr
    )
    assert CANARY not in outputs
    assert not any(token in outputs or token.split(".")[2] in outputs for token in endpoint.issued)


CRASH = """
import sys
import ingestd.dicomweb.identity.token_cell as cell
from ingestd.cli.main import main

def crash(self, number):
    found = self._fetch()  # what it holds stands in this frame
    secret = found.value
    raise RuntimeError(f"no room for {secret}")

cell.TokenCell._watch = crash
sys.exit(main())
"""


@pytest.mark.slow
def test_a_crash_with_a_token_in_hand_shows_none(house: MakeHouse, endpoint: TokenEndpoint, tmp_path: Path) -> None:
    """F10, F65: the thread dies, is said to have died, is started again; its words and its variables are not written."""
    with running(data=tmp_path / "service", jwt_key_file=endpoint.key_file) as service:
        home = house(service.url, **identity("managed-identity", endpoint, tmp_path), INGESTD_LOG__LEVEL="debug")
        home.drop("one.dcm", made(1).content)
        script = tmp_path / "crash.py"
        script.write_text(CRASH)
        home.command = lambda *arguments: [*House.command(home)[:1], str(script), *arguments]  # type: ignore[method-assign]
        home.start()
        home.waits(lambda: len(event(home, "thread_restarted")) >= 2, 20)
        home.stop()
    assert {line["thread"] for line in event(home, "thread_died")} == {"token"}
    assert home.count() == {"inbox": 1, "done": 0, "failed": 0}
    written = everything(home)
    assert endpoint.issued
    assert not any(token in written or token.split(".")[2] in written for token in endpoint.issued)
