"""The way of one file: the modules of ingestd that run on its account, from the dropped name to done/. Prints; never judges.

    python tests/bench/way.py [files] [--names]

A function counts when it runs while the files are on their way and does not run while the daemon is idle, so the tick itself and
what happens once a second are left out. One file has gone before: connecting and what is learned once a service are left out, too.
Every thread is watched (sys.setprofile); calls are those of Python functions of ingestd, idle ones left out.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from fakes.emulator_process import emulator_process  # noqa: E402 - behind the path
from fakes.studies import Made, made  # noqa: E402

from ingestd.app import Application, application  # noqa: E402
from ingestd.config import Settings  # noqa: E402

IDLE_SECONDS = 5.0
LONGEST_SECONDS = 60.0
PACKAGE = str(Path(sys.modules["ingestd"].__file__ or "").parent)


class Watcher:
    """`calls`: how often each function of ingestd was entered, by (module, name)."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            self.calls[code.co_filename[len(PACKAGE) + 1 :], code.co_qualname] += 1

    def taken(self) -> Counter[tuple[str, str]]:
        calls, self.calls = self.calls, Counter()
        return calls


def drop(folder: Path, files: list[Made]) -> None:
    for file in files:
        (folder / f"{file.name}.part").write_bytes(file.content)
        (folder / f"{file.name}.part").rename(folder / file.name)


def tick(app: Application, *, filed: int | None = None) -> None:
    """Until that many are filed, or for as long as idle takes."""
    deadline = time.monotonic() + (IDLE_SECONDS if filed is None else LONGEST_SECONDS)
    app.daemon.run(until=lambda: time.monotonic() > deadline or app.daemon.filed == filed)


def way(root: Path, url: str, count: int) -> Counter[tuple[str, str]]:
    folders = {name: root / name for name in ("inbox", "done", "failed", "state")}
    for folder in folders.values():
        folder.mkdir()
    settings = Settings(
        service={"url": url},
        folders=folders,
        admin={"listen": "off"},
        intake={"rescan_seconds": 1},
        log={"level": "error"},
    )
    watcher = Watcher()
    threading.setprofile(watcher)
    sys.setprofile(watcher)
    try:
        with application(settings) as app:
            app.daemon.start()
            first, *files = (made(number) for number in range(1, 2 + count))
            tick(app)
            drop(folders["inbox"], [first])
            tick(app, filed=1)
            tick(app)
            watcher.taken()
            tick(app)
            idle = watcher.taken()
            drop(folders["inbox"], files)
            tick(app, filed=1 + count)
            assert app.daemon.filed == 1 + count, "not all filed in time"
            calls = watcher.taken()
            app.daemon.stop()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return Counter({function: number for function, number in calls.items() if function not in idle})


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    count = numbers[0] if numbers else 1
    with tempfile.TemporaryDirectory() as folder, emulator_process(Path(folder) / "service") as service:
        calls = way(Path(folder), f"{service.url}/v2", count)
    modules = Counter(module for module, _ in calls)
    print(f"{count} files: {len(modules)} modules, {len(calls)} functions, {calls.total() / count:.0f} calls a file")
    if "--names" in sys.argv:
        for module, functions in sorted(modules.items()):
            print(f"  {module}: {functions} functions")


if __name__ == "__main__":
    main()
