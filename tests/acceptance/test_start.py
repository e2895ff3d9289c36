"""The first minutes with ingestd: what a newcomer types, mistypes and forgets, and the one line that each of it draws."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from fakes.admin_pages import AdminPages
from fakes.house import House
from fakes.powerless import powerless
from fakes.room import Room
from fakes.studies import made
from fakes.token_endpoint import CLIENT, TENANT, TokenEndpoint, token_endpoint

from ingestd.emulator.server import running

pytestmark = pytest.mark.usefixtures("cold")
MakeHouse = Callable[..., House]
AZURE = "ws-dicom.dicom.azurehealthcareapis.com"


def only_line(home: House, *arguments: str) -> str:
    """Of a refusal: exit 78, one line on standard error, nothing else, and nothing made in the folder."""
    before = sorted(home.root.rglob("*"))
    refused = home.run(*arguments)
    assert (refused.returncode, refused.stdout) == (78, "")
    (line,) = refused.stderr.splitlines()
    assert sorted(home.root.rglob("*")) == before
    return line


def test_the_version_is_a_line(tmp_path: Path) -> None:
    """DESIGN 5: before any setting is read."""
    said = House(tmp_path, "", INGESTD_SERVICE__TYPO="1").run("--version")
    assert (said.returncode, said.stdout, said.stderr) == (0, f"ingestd {version('ingestd')}\n", "")


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("https://WORKSPACE-SERVICE.dicom.azurehealthcareapis.com/v2", "this is an example: "),
        (f"https://{AZURE}/v2/studies", f"without /studies at its end: https://{AZURE}/v2"),
        (f"https://{AZURE}", f"give https://{AZURE}/v2"),
    ],
)
@pytest.mark.parametrize("command", ["run", "drain"])
def test_a_url_that_leads_nowhere_is_refused_at_once(tmp_path: Path, command: str, url: str, hint: str) -> None:
    """F70: else files would wait for a host that is none, or draw 404."""
    line = only_line(House(tmp_path, ""), command, "--root", ".", "--url", url)
    assert line.startswith(f"ingestd: service.url = '{url}': ")
    assert hint in line


SETTINGS_OF_OTHERS = """
import sys
from pathlib import Path
from ingestd.cli import main
from ingestd.config import loading
loading.DEFAULT_FILE = Path(sys.argv.pop(1))
main.main()
"""


@pytest.mark.parametrize("command", [("failed", "list"), ("config", "show"), ("drain",), ("dicomweb", "changefeed")])
def test_settings_that_only_the_service_may_read_are_one_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    """F70: as the service's page installs them, and another user asks: what there is to read is unknown, not nothing."""
    (tmp_path / "etc").mkdir(mode=0)
    file = tmp_path / "etc" / "ingestd.toml"
    others = powerless([sys.executable, "-c", SETTINGS_OF_OTHERS, str(file), *command])
    refused = subprocess.run(others, capture_output=True, text=True, check=False, timeout=60)
    assert (refused.returncode, refused.stdout) == (78, "")
    hint = "run this as the service's user, or give a file that can be read with --config"
    assert refused.stderr == f"ingestd: {file}: Permission denied: {hint}\n"


def test_a_variable_with_one_underscore_is_named_where_the_url_is_missing(tmp_path: Path) -> None:
    """F70."""
    line = only_line(House(tmp_path, "", INGESTD_SERVICE_URL=f"https://{AZURE}/v2"), "run", "--root", ".")
    assert line.startswith("ingestd: service.url is not set: ")
    assert line.endswith("; INGESTD_SERVICE_URL, which is set, lacks an underscore")


def test_a_variable_with_one_underscore_is_a_warning_where_nothing_is_missing(house: MakeHouse, tmp_path: Path) -> None:
    """F70: in the daemon's log; a command says it on standard error. Kubelet's names are none of ours."""
    kubelet = {"INGESTD_SERVICE_HOST": "10.0.0.1", "INGESTD_SERVICE_PORT": "9464", "INGESTD_PORT_9464_TCP_PROTO": "tcp"}
    with running(data=tmp_path / "service") as service:
        home = house(service.url, INGESTD_LOG_LEVEL="debug", **kubelet)
        home.start()
        home.waits(lambda: "setting_unread" in home.events(), 20)
        home.stop()
        shown = home.run("dicomweb", "changefeed", "--url", service.url)
    unread = [line["problem"] for line in home.lines() if line["event"] == "setting_unread"]
    text = "INGESTD_LOG_LEVEL has no effect: between section and key stand two underscores: INGESTD_LOG__LEVEL"
    assert (unread, shown.returncode, shown.stderr) == ([text], 0, f"ingestd: {text}\n")


@pytest.mark.slow
def test_drain_goes_on_beside_a_daemon_that_has_the_port(house: MakeHouse, tmp_path: Path) -> None:
    """DESIGN 5: a line says so. `run` is refused, because nobody could see how it does."""
    pages = AdminPages()
    with running(data=tmp_path / "service") as service:
        home = house(service.url, **pages.setting)
        home.start()
        home.waits(pages.ready, 20)
        other = House(tmp_path / "other", service.url, **pages.setting)
        other.drop("one.dcm", made(1).content)
        drained = other.run("drain", "--root", str(other.root), "--url", service.url)
        refused = other.run("run", "--root", str(other.root), "--url", service.url)
        assert home.stop() == 0
    said = [entry for entry in map(json.loads, drained.stderr.splitlines()) if entry["event"] == "admin_off"]
    assert (drained.returncode, len(said), other.count()["done"]) == (0, 1, 1)
    assert "address already in use" in said[0]["problem"]
    assert (refused.returncode, len(refused.stderr.splitlines())) == (78, 1)
    assert "address already in use" in refused.stderr


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[TokenEndpoint]:
    with token_endpoint(tmp_path / "endpoint") as up:
        yield up


def identity(endpoint: TokenEndpoint, secret: Path) -> dict[str, str]:
    secret.touch(mode=0o600)
    secret.write_text("wrong")
    return {
        "INGESTD_SERVICE__CA_BUNDLE": str(endpoint.ca_file),
        "INGESTD_AUTH__MODE": "client-secret",
        "INGESTD_AUTH__AUTHORITY": endpoint.url,
        "INGESTD_AUTH__TENANT_ID": TENANT,
        "INGESTD_AUTH__CLIENT_ID": CLIENT,
        "INGESTD_AUTH__CLIENT_SECRET_FILE": str(secret),
    }


@pytest.mark.slow
def test_what_stands_in_a_tokens_way_is_said_at_the_start(
    house: MakeHouse, endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    """I3, F63: in words, with an empty inbox; /readyz is not red for it. With the secret mended, the next file goes out."""
    pages = AdminPages()
    with running(data=tmp_path / "service", jwt_key_file=endpoint.key_file) as service:
        home = house(service.url, **identity(endpoint, tmp_path / "secret"), **pages.setting)
        home.start()
        home.waits(lambda: "connection_trouble" in home.events(), 20)
        (trouble,) = (line for line in home.lines() if line["event"] == "connection_trouble")
        assert trouble["problem"] == (
            "no fresh token: the identity provider gave none (ClientAuthenticationError, AADSTS7000215): "
            "the secret is wrong: put its value, not its id, into auth.client_secret_file"
        )
        home.waits(lambda: pages.ready() and f"connection: {trouble['problem']}" in pages.get("readyz")[1], 10)
        assert "held" not in home.events()
        (tmp_path / "secret").write_text(endpoint.secret)
        home.drop("one.dcm", made(1).content)
        home.waits(home.ended(1), 20)
        home.waits(lambda: "connection_mended" in home.events(), 10)
        assert home.stop() == 0
    assert home.count() == {"inbox": 0, "done": 1, "failed": 0}


@pytest.mark.slow
def test_an_identity_provider_that_hangs_delays_no_start(
    house: MakeHouse, endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    """I3, F64: a drain of nothing ends, and the daemon is ready, long before the provider is given up."""
    endpoint.released.clear()
    pages = AdminPages()
    with running(data=tmp_path / "service", jwt_key_file=endpoint.key_file) as service:
        home = house(service.url, **identity(endpoint, tmp_path / "secret"), **pages.setting)
        drained = home.run("drain", "--root", str(home.root), "--url", service.url, timeout=15)
        home.start()
        home.waits(pages.ready, 15)
        assert home.stop(timeout=10) == 0
    assert (drained.returncode, endpoint.tokens_asked >= 1) == (0, True)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["done", "state"])
def test_a_folder_that_the_unit_does_not_name_says_how_to_name_it(room: Room, tmp_path: Path, folder: str) -> None:
    """F70: ProtectSystem=strict mounts everything read-only but what ReadWritePaths= names."""
    where = tmp_path / "read-only"
    (where / folder).mkdir(parents=True)
    (tmp_path / "inbox").mkdir()
    room.mount("--bind", where, where)
    room.mount("-o", "remount,bind,ro", where)
    for there in (where / folder, where / "missing"):
        folders = {name: tmp_path / name for name in ("inbox", "done", "failed", "state")} | {folder: there}
        settings = "".join(f'{name} = "{path}"\n' for name, path in folders.items())
        (tmp_path / "ingestd.toml").write_text(f'[folders]\n{settings}[service]\nurl = "https://x/v2"\n')
        command = [sys.executable, "-m", "ingestd", "run", "--config", str(tmp_path / "ingestd.toml")]
        refused = subprocess.run([*room.enter(), *command], capture_output=True, text=True, check=False, timeout=30)
        (line,) = refused.stderr.splitlines()
        assert (refused.returncode, refused.stdout) == (78, "")
        assert line.startswith(f"ingestd: folders.{folder} = {there}: ")
        assert "ReadWritePaths=" in line
