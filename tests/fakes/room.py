"""A mount namespace of its own: what is mounted in it is seen by nobody else and ends with it. Needs root.

with Room() as room:
    room.mount("-t", "tmpfs", "tmpfs", inbox)
    daemon = RoomyHouse(room, root, url)
    room.see(inbox)  # the same folder, for the test, from outside
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import pytest
from fakes.house import House

SHARE = Path(__file__).with_name("fuse_share.py")


class Room:
    def __init__(self) -> None:
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep infinity"]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        self._shares: list[subprocess.Popen[str]] = []
        assert self._holder.stdout is not None
        if not self._holder.stdout.readline():
            self._holder.wait(10)
            self._holder.stdout.close()
            pytest.skip("no mount namespace can be had here")

    def __enter__(self) -> Room:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (*self._shares, self._holder):
            process.kill()
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()

    def enter(self) -> list[str]:
        """The beginning of a command that runs in it; its process is the command's own."""
        return ["nsenter", f"--target={self._holder.pid}", "--mount"]

    def run(self, *command: str | Path) -> str:
        done = self._tried(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def _tried(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        command_line = [*self.enter(), *map(str, command)]
        return subprocess.run(command_line, capture_output=True, text=True, check=False, timeout=60)

    def mount(self, *arguments: str | Path) -> None:
        """A visible skip where this kernel or container can't, which no package can mend."""
        done = self._tried("mount", *arguments)
        if done.returncode:
            pytest.skip(f"can't mount here: {done.stderr.strip()}")

    def umount(self, path: Path, *options: str) -> None:
        self.run("umount", *options, path)

    def share(self, backing: Path, mountpoint: Path) -> Fault:
        """A network share over `backing`."""
        try:
            os.close(os.open("/dev/fuse", os.O_RDWR))
        except OSError as error:
            pytest.skip(f"no FUSE here: {error.strerror}")
        fault = Fault(backing.with_name(backing.name + ".fault"))
        fault.mend()
        command = [*self.enter(), sys.executable, str(SHARE), str(backing), str(mountpoint), str(fault.file)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._shares.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "mounted\n"
        fault.server = process
        return fault

    def see(self, path: Path) -> Path:
        """`path` as it is in there, from out here."""
        return Path(f"/proc/{self._holder.pid}/root") / path.relative_to("/")


class Fault:
    """How a share fares (fuse_share.py)."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.server: subprocess.Popen[str] | None = None

    def set(self, word: str) -> None:
        part = self.file.with_suffix(".part")
        part.write_text(word)
        os.replace(part, self.file)

    def mend(self) -> None:
        self.set("")

    def kill(self) -> None:
        """The server is gone: every call fails with ENOTCONN, and close with it, until the share is mounted again."""
        assert self.server is not None
        self.server.kill()
        self.server.wait(10)


class RoomyHouse(House):
    """A daemon that lives in a room. `inbox`, `done` and `failed` are what the test sees of them."""

    def __init__(self, room: Room, root: Path, url: str, **environment: str) -> None:
        super().__init__(root, url, **environment)
        self._room = room
        self.inbox, self.done, self.failed = (room.see(folder) for folder in (self.inbox, self.done, self.failed))

    def command(self, *arguments: str) -> list[str]:
        return [*self._room.enter(), *super().command(*arguments)]
