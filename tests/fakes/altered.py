"""The daemon as a subprocess with one thing in it altered before it starts, for faults that can't be had from outside.

home = Altered(tmp_path, url, prelude="import ingestd.daemon.ending.endings as e; e.UNMOVABLE_BASE_SECONDS = 2.0")
"""

from __future__ import annotations

import sys
from pathlib import Path

from fakes.house import House
from fakes.room import Room, RoomyHouse

_MAIN = """
from ingestd.cli.main import main
sys.argv[0] = "ingestd"
main()
"""


def altered(prelude: str, arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-c", f"import sys\n{prelude}\n{_MAIN}", *arguments]


class Altered(House):
    def __init__(self, root: Path, url: str, *, prelude: str, **environment: str) -> None:
        super().__init__(root, url, **environment)
        self.prelude = prelude

    def command(self, *arguments: str) -> list[str]:
        return altered(self.prelude, arguments)


class AlteredRoomy(RoomyHouse):
    """The same in a mount namespace."""

    def __init__(self, room: Room, root: Path, url: str, *, prelude: str, **environment: str) -> None:
        super().__init__(room, root, url, **environment)
        self.prelude = prelude

    def command(self, *arguments: str) -> list[str]:
        return [*self._room.enter(), *altered(self.prelude, arguments)]
