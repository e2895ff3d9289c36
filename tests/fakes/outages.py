"""Outages made for real on this machine alone, before the embedded service: what `tests/bench/outages.py` shows.

The services are this process's, nginx's and those of the other fakes; a disk that is full needs root.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from fakes.hostile_server import Peer, hostile
from fakes.house import House
from fakes.nginx import Nginx
from fakes.pki import DAY, Authority, Pair
from fakes.ports import free_port
from fakes.room import Room
from fakes.scripted_origin import ScriptedOrigin, after_all, judges, says, stops_reading
from fakes.token_endpoint import CLIENT, TENANT, token_endpoint

from ingestd.emulator.server import running

SECRET_LIFE = 5
A_LITTLE = 100_000  # bytes that a full disk has left


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

        def show(pair: Pair) -> None:
            nginx.show(pair)
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
        with open(room.see(home.root) / "ballast", "wb", buffering=0) as ballast:
            with suppress(OSError):
                while True:
                    ballast.write(bytes(4096))
            ballast.truncate(ballast.tell() - A_LITTLE)

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
