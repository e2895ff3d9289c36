"""Daemons of several users that move or remove what is stored, and everything that is written into their inboxes in every way.

All waits of the rule and both pauses are the defaults divided by one factor, INGESTD_TEST_WRITERS_SCALE. What else takes its time
is no wait of the rule, and stays as it is: the scan, the tick of the kernel's clock, the linger of a batch.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path

from fakes import writers
from fakes.disks import NOBODY, WITH_CAP_LEASE
from fakes.house import House
from fakes.scripted_origin import ScriptedOrigin, sop_instance_uid
from fakes.studies import Made, made
from fakes.writer_fates import ENDS, NETWORK_QUIET, QUIET, TIMEOUT, WAYS, Cell, Sight

SCALE = float(os.environ.get("INGESTD_TEST_WRITERS_SCALE", "150"))
SIZE = 4 * writers.BLOCK
SETTINGS = {
    "INGESTD_INTAKE__QUIET_SECONDS": str(QUIET / SCALE),
    "INGESTD_INTAKE__NETWORK_QUIET_SECONDS": str(NETWORK_QUIET / SCALE),
    "INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS": str(TIMEOUT / SCALE),
    "INGESTD_INTAKE__RESCAN_SECONDS": "0.5",
    "INGESTD_LOG__PATHS": "name",
}
LONG = 120 + 3 * TIMEOUT / SCALE  # seconds until something has gone wrong
USERS: Mapping[str, tuple[str, ...]] = {"same user": (), "another user": NOBODY, "CAP_LEASE": WITH_CAP_LEASE}
ACTIONS = ("move", "delete")


class WriterHouse(House):
    """A daemon that runs as somebody, and moves or removes."""

    def __init__(self, root: Path, url: str, *, user: str, action: str) -> None:
        super().__init__(root, url, INGESTD_DONE__ACTION=action, **SETTINGS)
        self._user = USERS[user]
        if self._user:
            os.chown(root, 65534, 65534)
            os.chown(self.inbox, 65534, 65534)
        self.inbox.chmod(0o777)

    def command(self, *arguments: str) -> list[str]:
        return [*self._user, *super().command(*arguments)]

    def second_looks(self) -> int:
        """How many are still to be taken."""
        with closing(sqlite3.connect(f"file:{self.root}/state/journal.sqlite?mode=ro", uri=True)) as journal:
            (number,) = journal.execute("SELECT count(*) FROM second_looks").fetchone()
        return int(number)

    def is_over(self) -> bool:
        """Everything has come to its end, but for names that are never taken. Listed twice, because a name may change meanwhile."""
        listed = (path for _ in range(2) for path in self.files(self.inbox))
        return not any(path.suffix == ".dcm" for path in listed) and not self.second_looks()


@dataclass(slots=True, kw_only=True)
class Desk:
    """One daemon, and all that is written into its inbox.

    `door`: what writers go through; `beside`: where the other names of what is linked in are; `behind`: the folder on the disk.
    """

    home: WriterHouse
    service: ScriptedOrigin
    sight: Sight
    action: str
    ways: Sequence[str]
    door: str
    beside: Path
    behind: Path
    stalled: dict[str, float] = field(default_factory=dict)  # by name, in seconds of the defaults

    def write(self, sources: Path) -> list[str]:
        """All of it; which writers came to another end than theirs, and what they said."""
        groups: list[writers.Group] = [
            {
                "pause": pause / SCALE,
                "dies": end == "dies",
                "files": {file_of(way, end).name: way for way in self.ways},
            }
            for end, pause in ENDS.items()
        ]
        program = [sys.executable, "-I", str(writers.__file__), self.door, str(self.beside), str(sources)]
        ended = subprocess.run(
            program, input=json.dumps(groups), capture_output=True, text=True, timeout=LONG, check=False
        )
        told = [json.loads(line) for line in ended.stdout.splitlines()]
        self.stalled = {line["name"]: line["stalled"] * SCALE for line in told if "name" in line}
        statuses = {
            end: line["status"] for end, line in zip(ENDS, (line for line in told if "group" in line), strict=True)
        }
        wrong = {end: status for end, status in statuses.items() if status != (signal.SIGKILL if end == "dies" else 0)}
        return [f"{self.door}: who {end}: {status}: {ended.stderr[-500:]}" for end, status in wrong.items()]

    def cells(self) -> dict[tuple[str, str], Cell]:
        """By way and end. The daemon has ended."""
        said: dict[str, set[str]] = {}
        for line in self.home.lines():
            said.setdefault(str(line.get("path")), set()).add(str(line["event"]))
        reasons = {path: str(reason["reason"]) for path, reason in self.home.reasons().items()}
        return {
            (way, end): self._cell(way, end, file_of(way, end), said, reasons) for way, end in product(self.ways, ENDS)
        }

    def _cell(self, way: str, end: str, file: Made, said: Mapping[str, set[str]], reasons: Mapping[str, str]) -> Cell:
        home = self.home
        found = {
            "inbox": _texts(home, home.inbox, file.name),
            "part": _texts(home, home.inbox, file.name + ".part") if way.startswith("renamed in") else (),
            "done": _texts(home, home.done, file.name),
            "failed": _texts(home, home.failed, file.name),
        }
        return Cell(
            sight=self.sight,
            way=way,
            end=end,
            action=self.action,
            stalled=self.stalled[file.name],
            content=file.content,
            arrived=tuple(part for part in self.service.arrived if sop_instance_uid(part) == file.ids[2]),
            kept=self.service.kept.get(file.ids[2]),
            standing={place: texts for place, texts in found.items() if texts},
            reason=reasons.get(file.name),
            said=frozenset(said.get(file.name, ())),
        )


def _texts(home: House, folder: Path, name: str) -> tuple[bytes, ...]:
    """Also of those that had to take another name (`~1`)."""
    stem, _, rest = name.partition(".")
    names = {name, f"{stem}~1.{rest}"}
    return tuple(path.read_bytes() for path in home.files(folder) if path.name in names)


@cache
def file_of(way: str, end: str) -> Made:
    """No block of it is zeros."""
    number = 1 + WAYS.index(way) * len(ENDS) + list(ENDS).index(end)
    one = made(number, size=SIZE)
    noise = bytes(1 + (number * 7 + at * at) % 251 for at in range(4096)) * (SIZE // 4096)
    return Made(name=f"{number}.dcm", content=one.content[:4096] + noise[: len(one.content) - 4096], ids=one.ids)


def write_beside(desks: Sequence[Desk], sources: Path) -> None:
    """All writers of all desks, until everything has come to its end."""
    sources.mkdir()
    for way, end in product(WAYS, ENDS):
        (sources / file_of(way, end).name).write_bytes(file_of(way, end).content)
    for desk in desks:
        desk.home.start()
    for desk in desks:
        desk.home.waits((desk.home.root / "state" / "journal.sqlite").exists, LONG)
    with _scanned([desk.behind for desk in desks]), ThreadPoolExecutor(len(desks)) as pool:
        otherwise = [line for lines in pool.map(lambda desk: desk.write(sources), desks) for line in lines]
        assert not otherwise, otherwise[0]
        for desk in desks:
            desk.home.waits(desk.home.is_over, LONG)
    with ThreadPoolExecutor(len(desks)) as pool:
        assert set(pool.map(lambda desk: desk.home.stop(timeout=LONG), desks)) == {0}


@contextmanager
def _scanned(inboxes: Sequence[Path]) -> Iterator[None]:
    """A virus scanner reads every file, again and again, until everything has come to its end."""
    stop = threading.Event()

    def read() -> None:
        while not stop.wait(0.1):
            for inbox in inboxes:
                for path in inbox.glob("*.dcm"):
                    with suppress(FileNotFoundError):
                        path.read_bytes()

    with ThreadPoolExecutor(1) as pool:
        scanner = pool.submit(read)
        try:
            yield
        finally:
            stop.set()
        scanner.result(60)
