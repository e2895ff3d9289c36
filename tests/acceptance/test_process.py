"""The daemon's process: what its environment may not do to it, and how it ends while the service is in trouble."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.altered import Altered
from fakes.hostile_server import HostileServer, hostile
from fakes.house import House, digest
from fakes.pki import Authority
from fakes.scripted_origin import Behaviour, ScriptedOrigin, Turn, after, after_all, good, says, stops_reading
from fakes.studies import made

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("cold")]
MakeHouse = Callable[..., House]
LARGE = 8 << 20  # more than the sockets between two processes swallow unread


@pytest.fixture
def elsewhere() -> Iterator[HostileServer]:
    """A server that nobody may ask."""
    with hostile(lambda peer: peer.hold() and None) as trap:
        yield trap
        assert trap.connections == 0


def test_nothing_in_the_environment_leads_elsewhere(house: MakeHouse, tmp_path: Path, elsewhere: HostileServer) -> None:
    """F59: no proxy, no .netrc; the table's rows have the proxies too."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password KANARIENVOGEL\n")
    netrc.chmod(0o600)
    names = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
    surroundings = dict.fromkeys(names, elsewhere.url) | {"NETRC": str(netrc), "NO_PROXY": "", "no_proxy": ""}
    service = ScriptedOrigin()
    with hostile(service) as server:
        home = house(server.url, **surroundings)
        home.drop("one.dcm", made(1).content)
        assert home.run("drain", "--root", str(home.root), "--url", server.url).returncode == 0
    assert home.count() == {"inbox": 0, "done": 1, "failed": 0}
    assert {asked.authorization for asked in service.asked} == {None}


def test_no_ca_out_of_the_environment_is_trusted(house: MakeHouse, tmp_path: Path) -> None:
    """F59, F47: SSL_CERT_FILE and its kin name the very CA that signed the server, and it stays a stranger."""
    stranger = Authority(tmp_path / "stranger")
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    surroundings = dict.fromkeys(names, str(stranger.ca)) | {"SSL_CERT_DIR": str(stranger.ca.parent)}
    service = ScriptedOrigin()
    with hostile(service, tls=stranger.server()) as server:
        home = house(server.url, **surroundings)
        home.drop("one.dcm", made(1).content)
        ended = home.run("drain", "--root", str(home.root), "--url", server.url, "--timeout", "1", "--json")
    assert ended.returncode == 75
    assert json.loads(ended.stdout)["left"] == 1
    assert '"cause":"unreachable"' in ended.stderr
    assert service.asked == []


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What the process was doing, the signals it got, how many seconds later it must be gone, and its status then."""

    name: str
    store: Behaviour
    signals: tuple[signal.Signals, ...]
    within: float
    status: int = 0
    deadline: str = "25"
    done: bool = False


def lets_go_soon(turn: Turn) -> None:
    turn.take(100_000)
    turn.peer.hold(1)
    good(turn)


ENDS = (
    Ending(
        name="in back-off",
        store=says(503, retry_after="3600"),
        signals=(signal.SIGTERM,),
        within=2,
    ),
    Ending(
        name="in mid-upload, which ends in time",
        store=lets_go_soon,
        signals=(signal.SIGTERM,),
        within=4,
        done=True,
    ),
    Ending(
        name="in mid-upload, with a second of grace",
        store=after(100_000, stops_reading),
        signals=(signal.SIGTERM,),
        within=3,
        deadline="1",
    ),
    Ending(
        name="in mid-upload, twice",
        store=after(100_000, stops_reading),
        signals=(signal.SIGTERM, signal.SIGTERM),
        within=2,
    ),
    Ending(
        name="waiting for an answer, SIGINT twice",
        store=after_all(stops_reading),
        signals=(signal.SIGINT, signal.SIGINT),
        within=2,
    ),
    Ending(
        name="in mid-upload, killed",
        store=after(100_000, stops_reading),
        signals=(signal.SIGKILL,),
        within=2,
        status=-signal.SIGKILL,
    ),
)


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS, ids=lambda end: f"F66 {end.name}")
def test_a_signal_is_obeyed_in_time_and_costs_nothing(house: MakeHouse, end: Ending) -> None:
    """F66, I1: gone in time, the file where it belongs; the next process sends it whole (F57) and it is done."""
    one = made(1, size=LARGE)
    service = ScriptedOrigin(store=[end.store])
    with hostile(service) as server:
        home = house(
            server.url, INGESTD_SHUTDOWN__DEADLINE_SECONDS=end.deadline, INGESTD_RETRY__RETRY_AFTER_CAP_SECONDS="3600"
        )
        home.drop("one.dcm", one.content)
        process = home.start()
        home.waits(lambda: service.count("store") == 1, 20)
        if end.name == "in back-off":
            home.waits(lambda: any(line["event"] == "held" for line in home.lines()), 10)
        began = time.monotonic()
        for number in end.signals:
            process.send_signal(number)
            time.sleep(0.2)
        assert process.wait(20) == end.status
        assert time.monotonic() - began < end.within
        assert home.count() == {"inbox": not end.done, "done": end.done, "failed": 0}
        if not end.done:
            service.heal()
            home.start()
            home.waits(home.ended(1), 20)
            assert home.stop() == 0
    assert home.digests(home.done) == [digest(one.content)]
    assert {digest(content) for content in service.arrived} == {digest(one.content)}


@pytest.mark.slow
def test_a_drain_that_ends_in_an_outage_says_what_it_was(house: MakeHouse) -> None:
    """DESIGN 5: exit 75, and the line of the log stands under the summary, where a person looks; in --json, too."""
    with hostile(ScriptedOrigin(store=[says(403)], control=[says(403)])) as server:
        home = house(server.url)
        home.drop("one.dcm", made(1).content)
        there = ("drain", "--root", str(home.root), "--url", server.url, "--timeout", "2")
        said = home.run(*there)
        as_json = home.run(*there, "--json")
    assert (said.returncode, as_json.returncode) == (75, 75)
    summary, why = said.stdout.splitlines()
    assert summary == "0 done, 0 failed, 1 left: the time was up"
    problem = next(line["problem"] for line in map(json.loads, said.stderr.splitlines()) if line["event"] == "held")
    assert why.startswith(f"service: {problem} (for ")
    (note,) = json.loads(as_json.stdout)["notes"]
    assert note.startswith(f"service: {problem} (for ")


SWALLOWS = """
import os, signal, time
class Swallows:
    def __getattr__(self, name):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt:
            pass
        raise AttributeError(name)
sys.modules["ingestd.cli.daemon"] = Swallows()
"""


@pytest.mark.parametrize("command", ["run", "drain"])
def test_ctrl_c_in_the_midst_of_the_imports_ends_it(tmp_path: Path, command: str) -> None:
    """F66: a KeyboardInterrupt can be swallowed there, as this import does; SIGINT then ends the process by itself."""
    home = Altered(tmp_path / "house", "http://127.0.0.1:9/v2", prelude=SWALLOWS)
    ended = home.run(command, "--root", str(home.root), "--url", home.url, timeout=30)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")
