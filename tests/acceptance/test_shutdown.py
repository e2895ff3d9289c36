"""How the daemon ends, whatever it is doing, and how it keeps its threads: the real one, as a subprocess.

test_process.py has the phases of a request; here are the others.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from fakes.admin_pages import AdminPages
from fakes.altered import Altered, AlteredRoomy
from fakes.hostile_server import hostile
from fakes.house import House, digest
from fakes.manager import Manager
from fakes.room import Fault, Room, RoomyHouse
from fakes.scripted_origin import ScriptedOrigin, Turn, after, good, response, says, stops_reading
from fakes.studies import made
from fakes.token_endpoint import CLIENT, TENANT, token_endpoint

pytestmark = pytest.mark.timeout(120)
MakeHouse = Callable[..., House]
ONE_SECOND = {"INGESTD_SHUTDOWN__DEADLINE_SECONDS": "1"}
WITHIN = 8.0  # seconds, on a busy machine; what is cut short takes 1 + 3 (grace) + 1 (last lines)


def stopped(home: House) -> tuple[object, object, object]:
    """What the last line says."""
    last = home.lines()[-1]
    assert last["event"] == "stopped", home.lines()[-3:]
    return last["event"], last.get("left"), last.get("drained")


def ends(home: House, *signals: signal.Signals) -> int:
    """Send the signals (SIGTERM); the exit status, which comes in time."""
    began = time.monotonic()
    for number in signals or (signal.SIGTERM,):
        home.process.send_signal(number)
    status: int = home.process.wait(60)
    assert time.monotonic() - began < WITHIN
    return status


def goes_on(home: House, files: int) -> None:
    """Started again, everything is done, and that is the end of it."""
    home.start()
    home.waits(home.ended(files), 40)
    assert home.stop() == 0
    assert home.count() == {"inbox": 0, "done": files, "failed": 0}


# --- phases -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_idle_and_settling(house: MakeHouse) -> None:
    """F66: at once, however much time there would be; a file that somebody still writes stays."""
    service = ScriptedOrigin()
    with hostile(service) as server:
        home = house(server.url, INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS="2")
        home.drop("one.dcm", made(1).content)
        home.start()
        home.waits(home.ended(1), 30)
        time.sleep(1.5)  # idle: the file was not only moved, a whole scan has found nothing more
        assert ends(home) == 0
        assert stopped(home) == ("stopped", 0, True)
        with open(home.inbox / "two.dcm", "wb", buffering=0) as writer:
            writer.write(made(2).content[:1000])
            home.start()
            home.waits(lambda: "waiting" in home.events(), 30)
            writer.write(made(2).content[1000:])
            assert ends(home) == 0
        assert stopped(home) == ("stopped", 1, False)
        goes_on(home, 2)


@pytest.mark.slow
def test_while_a_duplicate_is_verified(house: MakeHouse) -> None:
    """F66, I1: the service does not answer the read."""
    service = ScriptedOrigin(store=[says(409, lambda uids: response(dict.fromkeys(uids, 45070)))], read=[stops_reading])
    with hostile(service) as server:
        home = house(server.url, **ONE_SECOND)
        home.drop("one.dcm", made(1).content)
        home.start()
        home.waits(lambda: service.count("read") > 0, 30)
        assert ends(home) == 0
        assert stopped(home) == ("stopped", 1, False)
        service.heal()
        goes_on(home, 1)


@pytest.mark.slow
def test_while_the_identity_provider_hangs(house: MakeHouse, tmp_path: Path) -> None:
    """F64, F66."""
    service = ScriptedOrigin()
    with token_endpoint(tmp_path / "endpoint") as endpoint, hostile(service) as server:
        secret = tmp_path / "secret"
        secret.touch(0o600)
        secret.write_text(endpoint.secret)
        endpoint.released.clear()
        home = house(
            server.url,
            INGESTD_AUTH__MODE="client-secret",
            INGESTD_SERVICE__CA_BUNDLE=str(endpoint.ca_file),
            INGESTD_SERVICE__ALLOW_HTTP="true",
            INGESTD_AUTH__AUTHORITY=endpoint.url,
            INGESTD_AUTH__TENANT_ID=TENANT,
            INGESTD_AUTH__CLIENT_ID=CLIENT,
            INGESTD_AUTH__CLIENT_SECRET_FILE=str(secret),
            **ONE_SECOND,
        )
        home.drop("one.dcm", made(1).content)
        home.start()
        home.waits(lambda: bool(endpoint.asked), 30)
        assert ends(home) == 0
        assert stopped(home) == ("stopped", 1, False)
    assert home.count() == {"inbox": 1, "done": 0, "failed": 0}
    assert service.asked == []


START_UP = """
import time
import ingestd.app as app
class Slow(app.SqliteJournal):
    def __init__(self, state):
        (state / "starting").touch()
        end = time.monotonic() + {seconds}
        while time.monotonic() < end:
            time.sleep(0.05)
        super().__init__(state)
app.SqliteJournal = Slow
"""


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "status"), [(1.0, 0), (3600.0, 75)])
def test_during_start_up(tmp_path: Path, seconds: float, status: int) -> None:
    """F66: a container's first process is sent nothing again that it was not ready for; a start that hangs is ended."""
    service = ScriptedOrigin()
    with hostile(service) as server:
        home = Altered(tmp_path / "house", server.url, prelude=START_UP.format(seconds=seconds), **ONE_SECOND)
        home.drop("one.dcm", made(1).content)
        home.start()
        try:
            home.waits((home.root / "state" / "starting").exists, 30)
            assert ends(home) == status
        finally:
            home.close()
        assert home.count() == {"inbox": 1, "done": 0, "failed": 0}
        home.prelude = ""
        goes_on(home, 1)


@pytest.mark.slow
def test_the_state_folder_goes_while_the_service_is_silent(house: MakeHouse) -> None:
    """F43, F66: nobody waits for the answer; 75, for the supervisor."""
    service = ScriptedOrigin(store=[after(1000, stops_reading)])
    with hostile(service) as server:
        home = house(server.url)
        home.drop("one.dcm", made(1, size=8 << 20).content)
        home.start()
        home.waits(lambda: service.count("store") == 1, 30)
        began = time.monotonic()
        shutil.rmtree(home.root / "state")
        assert home.process.wait(60) == 75
        assert time.monotonic() - began < WITHIN
        service.heal()
        goes_on(home, 1)


# --- a share that does not answer -------------------------------------------------------------------------------------------------


def share(room: Room, home: RoomyHouse, folder: str) -> Fault:
    """`folder` as a share; the test has what lies behind it."""
    behind = home.root / f"{folder}.behind"
    behind.mkdir()
    (home.root / folder).mkdir(exist_ok=True)
    fault = room.share(behind, home.root / folder)
    setattr(home, folder, behind)
    return fault


@pytest.mark.slow
def test_a_share_under_done_that_hangs_holds_up_its_files_alone(room: Room, tmp_path: Path) -> None:
    """F9, F67, I1: the loop beats, /livez is green, others are sent; all are done, once, when it answers."""
    service, pages = ScriptedOrigin(), AdminPages()
    with hostile(service) as server, Manager(tmp_path) as manager:
        prelude = "import ingestd.daemon.loop as loop; loop.STUCK_SECONDS = 3.0"
        home = AlteredRoomy(room, tmp_path / "house", server.url, prelude=prelude, **pages.setting, **manager.setting)
        fault = share(room, home, "done")
        home.start()
        try:
            home.drop("first.dcm", made(1).content)
            home.waits(home.ended(1), 40)
            home.waits(lambda: pages.metric('ingestd_pending_files{stage="in_flight"}') == 0, 30)
            fault.set("hang")
            for number in range(2, 6):
                home.drop(f"{number}.dcm", made(number).content)
                home.waits(lambda wanted=number: len(service.named) == wanted, 30)
            beats = manager.beats()
            home.waits(lambda: manager.beats() >= beats + 5, 30)
            assert pages.get("livez")[0] == 200
            assert pages.metric('ingestd_pending_files{stage="in_flight"}') == 4
            fault.mend()
            home.waits(home.ended(5), 30)
            assert home.stop() == 0
            manager.beats()
            assert any(word.startswith("STOPPING=1") for word in manager.words)
        finally:
            fault.mend()
            home.close()
    assert home.digests(home.done) == sorted(digest(made(number).content) for number in range(1, 6))
    assert len(service.arrived) == 5


COPY = """
import os
from ingestd.spool.filing import copying
real = os.read
def slow(handle, size):
    if os.path.exists("{hang}") and size == copying._PIECE:
        real(os.pipe()[0], 1)
    return real(handle, size)
copying.os.read = slow
"""


@pytest.mark.slow
def test_in_mid_copy_to_another_file_system(room: Room, tmp_path: Path) -> None:
    """F41, F66, I1: a copy that does not end in time is left, and the next start makes it anew."""
    service = ScriptedOrigin()
    with hostile(service) as server:
        hang = tmp_path / "hang"
        home = AlteredRoomy(room, tmp_path / "house", server.url, prelude=COPY.format(hang=hang), **ONE_SECOND)
        (home.root / "done").mkdir()
        room.mount("-t", "tmpfs", "tmpfs", home.root / "done")
        hang.touch()
        home.drop("one.dcm", made(1, size=5 << 20).content)
        home.start()
        try:
            home.waits(lambda: any(home.done.glob(".ingestd-*")), 40)
            assert ends(home) == 0
            assert stopped(home) == ("stopped", 1, False)
            assert home.count()["inbox"] == 1
            hang.unlink()
            goes_on(home, 1)
        finally:
            home.close()
    assert home.digests(home.done) == [digest(made(1, size=5 << 20).content)]


STUCK = """
import os
import ingestd.daemon.loop as loop, ingestd.spool.intake.inbox as inbox
loop.STUCK_SECONDS = 1.5
def stuck(self, path, **rules):
    os.read(os.pipe()[0], 1)  # interrupted by a signal, Python goes on with it
inbox.InboxFolder.examine = stuck
"""


@pytest.mark.slow
def test_a_loop_that_is_stuck_is_seen_and_ends_in_time(tmp_path: Path) -> None:
    """F66, F67: the disk under the inbox does not answer the loop itself: /livez is red, the watchdog is no longer fed, and SIGTERM
    is obeyed. (Behind FUSE the kernel would let nobody end it.)"""
    service, pages = ScriptedOrigin(), AdminPages()
    with hostile(service) as server, Manager(tmp_path) as manager:
        home = Altered(tmp_path / "house", server.url, prelude=STUCK, **ONE_SECOND, **pages.setting, **manager.setting)
        home.start()
        try:
            home.waits(pages.ready, 40)
            assert manager.beats() > 0
            home.drop("1.dcm", made(1).content)
            home.waits(lambda: pages.get("livez")[0] == 503, 30)
            assert "the loop has not ticked for" in pages.get("livez")[1]
            beats = manager.beats()
            time.sleep(1.2)
            assert manager.beats() == beats
            assert ends(home) == 75
            assert home.events()[-1] == "cut_short"
            home.prelude = ""
            goes_on(home, 1)
        finally:
            home.close()


# --- drain ------------------------------------------------------------------------------------------------------------------------


def takes_its_time(turn: Turn) -> None:
    turn.parts()
    time.sleep(0.2)
    good(turn)


@pytest.mark.slow
@pytest.mark.parametrize("deadline", ["2", "60"])
def test_a_sidecar_drains_its_inbox_until_the_deadline_and_says_what_is_left(house: MakeHouse, deadline: str) -> None:
    """F74: shutdown.drain = inbox."""
    service = ScriptedOrigin(store=[takes_its_time])
    with hostile(service) as server:
        home = house(
            server.url,
            INGESTD_SHUTDOWN__DRAIN="inbox",
            INGESTD_SHUTDOWN__DEADLINE_SECONDS=deadline,
            INGESTD_SERVICE__CONCURRENCY="1",
            INGESTD_BATCH__MAX_INSTANCES="1" if deadline == "2" else "10",
        )
        for number in range(1, 61):
            home.drop(f"{number}.dcm", made(number).content)
        home.start()
        home.waits(home.ended(1), 30)
        assert home.stop(timeout=90) == 0
    left = home.count()["inbox"]
    assert stopped(home) == ("stopped", left, not left)
    assert home.count() == {"inbox": left, "done": 60 - left, "failed": 0}
    assert (left > 0) == (deadline == "2")


# --- supervision ------------------------------------------------------------------------------------------------------------------

DIE_ONCE = """
import ingestd.ops.admin as admin, ingestd.ops.sink as sink, ingestd.spool.upkeep.worker as upkeep
def dying(owner, name, calls):
    real, left = getattr(owner, name), [calls]
    def wrapped(*arguments, **named):
        left[0] -= 1
        if not left[0]:
            raise KeyError("an error nobody thought of")
        return real(*arguments, **named)
    setattr(owner, name, wrapped)
dying(admin._Server, "close_older_than", 3)
dying(sink.Sink, "_write", 2)
dying(upkeep.Upkeep, "_round", 1)
"""


def test_threads_that_die_are_started_again_and_counted(tmp_path: Path) -> None:
    """F10, F67: admin server, log and upkeep; the scanner's and watchdog's are in test_watching, the token's in test_identity."""
    service, pages = ScriptedOrigin(), AdminPages()
    with hostile(service) as server:
        home = Altered(tmp_path / "house", server.url, prelude=DIE_ONCE, **pages.setting)
        home.start()
        try:
            for number in range(1, 6):
                home.drop(f"{number}.dcm", made(number).content)
            home.waits(home.ended(5), 30)
            for thread in ("admin", "log", "upkeep"):
                sample = f'ingestd_threads_restarted_total{{thread="{thread}"}}'
                home.waits(lambda named=sample: pages.metric(named) == 1, 30)
            assert pages.get("livez")[0] == 200
            assert home.stop() == 0
        finally:
            home.close()
    lines = [line["thread"] for line in home.lines() if line["event"] == "thread_restarted"]
    assert sorted(lines) == ["admin", "log", "upkeep"]


def test_a_scrape_comes_through_two_hundred_clients_that_say_nothing(house: MakeHouse) -> None:
    """F68, I8: idle ones and slow ones, of the real daemon while it works; no thread for each."""
    service, pages = ScriptedOrigin(), AdminPages()
    with hostile(service) as server, ExitStack() as clients:
        home = house(server.url, **pages.setting)
        home.start()
        home.waits(pages.ready, 30)
        for number in range(200):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", pages.port), timeout=5))
            if number % 2:
                client.sendall(b"GET /met")
        for number in range(1, 51):
            home.drop(f"{number}.dcm", made(number).content)
        slowest = 0.0
        for _ in range(5):
            began = time.monotonic()
            assert pages.metric("ingestd_breaker_state") == 0
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 1
        threads = len(os.listdir(f"/proc/{home.process.pid}/task"))
        assert threads < 50
        home.waits(home.ended(50), 30)
        assert home.stop() == 0
