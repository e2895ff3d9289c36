"""What a person sees of each outage: the last lines of the log, systemd's status and /readyz, soon after it began and two minutes
on; then the end of it, what `drain` says of it, and what Ctrl-C does in the midst of it. All at once, in some four minutes.

Each is made for real, on this machine alone: `ingestd run` as a process, the embedded service, nginx, a proxy, a token endpoint, a
disk that is full (that one needs root). Prints Markdown; judges nothing: read it as somebody who is called at night.

    python tests/bench/outages.py [seconds until the second look] [outage...]
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from fakes.admin_pages import AdminPages  # noqa: E402 - behind the path
from fakes.hostile_server import Peer, hostile  # noqa: E402
from fakes.house import House  # noqa: E402
from fakes.manager import Manager  # noqa: E402
from fakes.nginx import Nginx  # noqa: E402
from fakes.pki import DAY, Authority  # noqa: E402
from fakes.ports import free_port  # noqa: E402
from fakes.room import Room, RoomyHouse  # noqa: E402
from fakes.scripted_origin import ScriptedOrigin, after_all, judges, says, stops_reading  # noqa: E402
from fakes.studies import studies  # noqa: E402
from fakes.token_endpoint import CLIENT, TENANT, token_endpoint  # noqa: E402

from ingestd.emulator.server import running  # noqa: E402

SOON, LATER = 6.0, 120.0  # seconds after the beginning
SECRET_LIFE = 5
A_LITTLE = 100_000  # bytes that a full disk has left
DRAIN_SECONDS, PRESSED_AFTER = 12, 8.0
LINES, WELL = 10, 90.0
STUDIES, EACH = 12, 10  # the brake counts ten of a study at most
# As a site has it: the house of the tests is quicker.
AS_IT_COMES = {
    "INGESTD_LOG__FORMAT": "console",
    "INGESTD_INTAKE__RESCAN_SECONDS": "10",
    "INGESTD_INTAKE__QUIET_SECONDS": "2",
    "INGESTD_RETRY__CAP_SECONDS": "60",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """`begin` makes the outage, in a house that has stored its first files; where there is none, it is there from the start.
    `end` mends it, where that can be done while the daemon runs. `room`: the houses' disks are small and of their own."""

    url: str
    settings: dict[str, str] = field(default_factory=dict)
    begin: Callable[[House], None] | None = None
    end: Callable[[House], object] | None = None
    room: Room | None = None


Stage = Callable[[Path, ExitStack], Scene]


# --- the outages ------------------------------------------------------------------------------------------------------------------


def stopped(folder: Path, stack: ExitStack) -> Scene:
    port, service = free_port(), ExitStack()
    stack.enter_context(service)

    def start(_: House | None = None) -> None:
        service.enter_context(running(data=folder / "service", port=port))

    start()
    return Scene(url=f"http://127.0.0.1:{port}/v2", begin=lambda _: service.close(), end=start)


def secret(path: Path, content: str) -> Path:
    new = path.with_name(f"{path.name}.new")
    new.write_text(content)
    new.chmod(0o600)
    return new.rename(path)


def with_token(folder: Path, stack: ExitStack) -> tuple[str, dict[str, str]]:
    secret(folder / "tokens", "right\n")
    service = stack.enter_context(running(data=folder / "service", token_file=folder / "tokens"))
    ours = {"INGESTD_AUTH__MODE": "token-file", "INGESTD_AUTH__TOKEN_FILE": str(secret(folder / "ours", "right"))}
    return service.url, ours


def wrong_token(folder: Path, stack: ExitStack) -> Scene:
    url, settings = with_token(folder, stack)
    return Scene(
        url=url,
        settings=settings,
        begin=lambda _: secret(folder / "ours", "wrong") and None,
        end=lambda _: secret(folder / "ours", "right"),
    )


def no_token(folder: Path, stack: ExitStack) -> Scene:
    return Scene(url=with_token(folder, stack)[0])


def token_gone(folder: Path, stack: ExitStack) -> Scene:
    url, settings = with_token(folder, stack)
    return Scene(
        url=url,
        settings=settings,
        begin=lambda _: (folder / "ours").unlink(),
        end=lambda _: secret(folder / "ours", "right"),
    )


def secret_refused(folder: Path, stack: ExitStack) -> Scene:
    (folder / "entra").mkdir()
    endpoint = stack.enter_context(token_endpoint(folder / "entra", life=SECRET_LIFE))
    service = stack.enter_context(running(data=folder / "service", jwt_key_file=endpoint.key_file))
    settings = {
        "INGESTD_AUTH__MODE": "client-secret",
        "INGESTD_AUTH__AUTHORITY": endpoint.url,
        "INGESTD_AUTH__TENANT_ID": TENANT,
        "INGESTD_AUTH__CLIENT_ID": CLIENT,
        "INGESTD_AUTH__CLIENT_SECRET_FILE": str(secret(folder / "secret", endpoint.secret)),
        "INGESTD_SERVICE__CA_BUNDLE": str(endpoint.ca_file),
    }

    def begin(_: House) -> None:
        endpoint.secret = "another"
        time.sleep(SECRET_LIFE)  # the last token is good until then

    return Scene(url=service.url, settings=settings, begin=begin, end=lambda _: secret(folder / "secret", "another"))


def wrong_path(folder: Path, stack: ExitStack) -> Scene:
    url = stack.enter_context(running(data=folder / "service")).url
    return Scene(url=url.replace("/v2", "/dicom-web"))


def dns(_folder: Path, _stack: ExitStack) -> Scene:
    return Scene(url="https://dicom.hospital.invalid/v2")


def proxied(folder: Path, stack: ExitStack) -> tuple[Nginx, Authority, dict[str, str]]:
    """nginx before the embedded service, and who it is."""
    authority = Authority(folder / "ca")
    upstream = stack.enter_context(running(data=folder / "service")).url
    nginx = Nginx(folder / "nginx", authority, upstream)
    nginx.start()
    stack.callback(nginx.stop)
    return nginx, authority, {"INGESTD_SERVICE__CA_BUNDLE": str(authority.ca)}


def configured(*directives: str) -> Stage:
    """nginx answers, and not the service."""

    def stage(folder: Path, stack: ExitStack) -> Scene:
        nginx, _, settings = proxied(folder, stack)

        def configure(*now: str) -> None:
            nginx.configure(*now)
            nginx.reload()

        return Scene(
            url=nginx.url, settings=settings, begin=lambda _: configure(*directives), end=lambda _: configure()
        )

    return stage


def certificate(*, expired: bool) -> Stage:
    """One that is not taken."""

    def stage(folder: Path, stack: ExitStack) -> Scene:
        nginx, authority, settings = proxied(folder, stack)
        right = authority.issue()
        wrong = authority.issue(lives=-DAY) if expired else Authority(folder / "other", "Other CA").issue(lives=DAY)

        def show(pair: object) -> None:
            nginx.show(pair)  # type: ignore[arg-type]
            nginx.reload()

        return Scene(url=nginx.url, settings=settings, begin=lambda _: show(wrong), end=lambda _: show(right))

    return stage


def frozen_before_it(folder: Path, stack: ExitStack) -> Scene:
    """A gateway takes connections and no more."""
    nginx, _, settings = proxied(folder, stack)
    frozen: list[int] = []
    stack.callback(lambda: nginx.thaw(frozen))
    return Scene(
        url=nginx.url,
        settings=settings,
        begin=lambda _: frozen.extend(nginx.freeze()),
        end=lambda _: nginx.thaw(frozen),
    )


def proxy_wants_a_password(folder: Path, stack: ExitStack) -> Scene:
    nginx, _, settings = proxied(folder, stack)
    lets_through = [True]

    def proxy(peer: Peer) -> None:
        peer.head()
        if lets_through[0]:
            peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            peer.relay(nginx.port)
        else:
            peer.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    def let(through: bool) -> None:
        lets_through[0] = through
        nginx.reload()  # and the tunnels that stand are closed

    url = stack.enter_context(hostile(proxy)).url.removesuffix("/v2")
    settings = settings | {"INGESTD_SERVICE__PROXY": url}
    return Scene(url=nginx.url, settings=settings, begin=lambda _: let(False), end=lambda _: let(True))


def scripted(**behaviours: object) -> Stage:
    """A service that says so from the first file on."""

    def stage(_folder: Path, stack: ExitStack) -> Scene:
        service = ScriptedOrigin()
        server = stack.enter_context(hostile(service))

        def begin(_: House) -> None:
            for kind, behave in behaviours.items():
                service._behaviours[kind][:] = [behave]

        return Scene(url=server.url, begin=begin, end=lambda _: service.heal())

    return stage


def braked(folder: Path, stack: ExitStack) -> Scene:
    scene = scripted(store=judges(0xA900))(folder, stack)

    def end(home: House) -> None:
        assert scene.end is not None
        scene.end(home)
        home.run("failed", "retry", "--all", "--root", str(home.root))
        home.run("resume", "--root", str(home.root))

    return Scene(url=scene.url, begin=scene.begin, end=end)


def full(folder: Path, stack: ExitStack) -> Scene:
    room = stack.enter_context(Room())
    url = stack.enter_context(running(data=folder / "service")).url

    def begin(home: House) -> None:
        with open(room.see(home.root) / "ballast", "wb", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        os.truncate(room.see(home.root) / "ballast", (room.see(home.root) / "ballast").stat().st_size - A_LITTLE)

    return Scene(url=url, begin=begin, end=lambda home: room.mount("-o", "remount,size=256m", home.root), room=room)


ANSWERS = "default_type application/json; return"
OUTAGES: dict[str, Stage] = {
    "service stopped": stopped,
    "wrong token": wrong_token,
    "no token": no_token,
    "token file gone": token_gone,
    "secret refused": secret_refused,
    "wrong path": wrong_path,
    "forbidden (403)": configured('default_type text/plain; return 403 "Authorization failed.";'),
    "expired certificate": certificate(expired=True),
    "untrusted certificate": certificate(expired=False),
    "DNS": dns,
    "login page (200)": configured('default_type text/html; return 200 "<html>Sign in</html>";'),
    "login page (302)": configured("return 302 https://login.hospital.invalid/;"),
    "proxy wants a password (407)": proxy_wants_a_password,
    "disk full": full,
    "brake": braked,
    "silence": scripted(store=after_all(stops_reading), control=after_all(stops_reading)),
    "frozen gateway": frozen_before_it,
    "throttled (429)": configured(f'{ANSWERS} 429 "";'),
    "broken gateway (502)": configured(f'{ANSWERS} 502 "";'),
    "busy (503)": scripted(store=says(503, retry_after="40"), control=says(503, retry_after="40")),
}


# --- what is seen -----------------------------------------------------------------------------------------------------------------


class Watch:
    """A daemon in a house, and all that a person can see of it."""

    def __init__(self, name: str, scene: Scene, folder: Path, stack: ExitStack) -> None:
        folder.mkdir()
        self.name, self._scene, self._pages = name, scene, AdminPages()
        self._manager = stack.enter_context(Manager(folder))
        self.home = house(scene, folder / "house", **self._pages.setting, **self._manager.setting)
        stack.callback(self.home.close)
        self._log = folder / "log"
        self._out: list[str] = []

    def play(self, later: float) -> str:
        """The page of this outage."""
        scene, home = self._scene, self.home
        files = studies(count=STUDIES, each=EACH)
        first = files[:5] if scene.begin is not None else []
        for one in first:
            home.drop(one.name, one.content)
        with open(self._log, "wb") as log:
            home.start(stdout=log.fileno())
        if scene.begin is not None:
            home.waits(home.ended(len(first)), 60)
            self._rest(3)
            scene.begin(home)
        for one in files[len(first) :]:
            with suppress(OSError):  # a full disk
                home.drop(one.name, one.content)
        if scene.begin is None:
            home.waits(lambda: b"started" in self._log.read_bytes(), 60)
        began = time.monotonic()
        self._rest(SOON)
        self._look("at once")
        self._rest(began + later - time.monotonic())
        self._look(f"after {later:.0f} s")
        if scene.end is None:
            self._end(signal.SIGINT)
            return "".join(self._out)
        seen = self._log.stat().st_size
        scene.end(home)
        with suppress(AssertionError):  # then the page shows that it does not go on
            home.waits(lambda: not home.files(home.inbox), WELL)
        self._rest(2)
        self._section("mended", self._log.read_bytes()[seen:].decode())
        self._end(signal.SIGTERM)
        return "".join(self._out)

    def _end(self, number: signal.Signals) -> None:
        seen = self._log.stat().st_size
        began = time.monotonic()
        code = self.home.stop(number)
        text = self._log.read_bytes()[seen:].decode()
        self._section(f"{number.name}: exit {code} after {time.monotonic() - began:.1f} s", text)

    def _look(self, when: str) -> None:
        lines = self._log.read_text().splitlines(keepends=True)
        status, text = self._pages.get("readyz")
        self._section(when, f"{''.join(lines[-LINES:])}\nSTATUS {self._manager.status()}\n/readyz {status}\n{text}")

    def _section(self, title: str, text: str) -> None:
        self._out.append(f"### {self.name}: {title}\n\n```\n{text.rstrip()}\n```\n\n")

    def _rest(self, seconds: float) -> None:
        """As time.sleep, and the socket of the manager does not fill."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._manager.status()
            time.sleep(min(left, 0.5))


def house(scene: Scene, root: Path, **settings: str) -> House:
    """A new one, on a small disk of its own where the scene has a room."""
    everything = {**AS_IT_COMES, **scene.settings, **settings}
    if scene.room is None:
        return House(root, scene.url, **everything)
    root.mkdir()
    scene.room.mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", root)
    (scene.room.see(root) / "inbox").mkdir()
    return RoomyHouse(scene.room, root, scene.url, **everything)


def commands(name: str, scene: Scene, folder: Path) -> str:
    """What `drain` says in the midst of it, and a `drain` that Ctrl-C ends."""
    out = []
    for what, press in ((f"drain --timeout {DRAIN_SECONDS}", False), ("drain, and Ctrl-C", True)):
        home = house(scene, folder / f"house-{press}")
        for one in studies(count=STUDIES, each=EACH):
            home.drop(one.name, one.content)
        if scene.room is not None and scene.begin is not None:
            scene.begin(home)
        wanted = () if press else ("--timeout", str(DRAIN_SECONDS))
        log = folder / f"log-{press}"
        with open(log, "wb") as stderr:
            process = subprocess.Popen(
                home.command("drain", "--root", str(home.root), "--url", home.url, *wanted),
                env=home.environment(),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        if press:
            while process.poll() is None and b"started" not in log.read_bytes():
                time.sleep(0.2)
            time.sleep(PRESSED_AFTER)
            process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=90)
        text = f"{log.read_text()}\n--- standard output, exit {process.returncode}\n{said}"
        out.append(f"### {name}: {what}\n\n```\n{text.rstrip()}\n```\n\n")
    return "".join(out)


@contextmanager
def staged(folder: Path) -> Iterator[ExitStack]:
    folder.mkdir()
    with ExitStack() as stack:
        yield stack


def page(name: str, folder: Path, later: float) -> str:
    try:
        with staged(folder) as stack:
            scene = OUTAGES[name](folder, stack)
            watch = Watch(name, scene, folder / "watched", stack)
            with ThreadPoolExecutor(1) as beside:
                seen = beside.submit(watch.play, later)
                time.sleep(min(30.0, later / 2))  # it lasts by then
                said = commands(name, scene, folder)
                return f"## {name}\n\n{seen.result()}{said}"
    except BaseException as error:  # noqa: BLE001 - pytest's skip among them: no root, no mounts; the others go on
        return f"## {name}\n\n{type(error).__name__}: {error}\n\n"


def main() -> None:
    later = float(sys.argv[1]) if len(sys.argv) > 1 else LATER
    names = sys.argv[2:] or list(OUTAGES)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background has it ignored, and who it starts with it
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(names)) as pool:
        pages = [pool.submit(page, name, Path(folder) / f"outage{number}", later) for number, name in enumerate(names)]
        print(f"# Outages, {os.uname().sysname}, {later:.0f} s\n")
        for one in pages:
            print(one.result(), flush=True)


if __name__ == "__main__":
    main()
