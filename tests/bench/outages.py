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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from fakes.admin_pages import AdminPages  # noqa: E402 - behind the path
from fakes.house import House  # noqa: E402
from fakes.manager import Manager  # noqa: E402
from fakes.outages import OUTAGES, Scene  # noqa: E402
from fakes.room import RoomyHouse  # noqa: E402
from fakes.studies import studies  # noqa: E402

SOON, LATER = 6.0, 120.0  # seconds after the beginning
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
