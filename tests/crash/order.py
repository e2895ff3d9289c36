"""What a power failure would find: the order of syncs in a recorded run (F38).

A file system may lose whatever was not synced, and keep any of what was done since in any order. So before the last name of a
file's bytes goes, there must be another one that a power failure leaves: its data synced, every folder on the way to it synced. And
before a file leaves the inbox for done/, the journal's transaction with its receipt must be synced. `broken` says where that is
not so. Within one file system a rename is atomic, and either name keeps the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crash.strace import Call

WRITES = frozenset({"write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate", "fchmod", "fchown"})
SYNCS = frozenset({"fsync", "fdatasync"})
RENAMES = frozenset({"rename", "renameat", "renameat2"})
LINKS = frozenset({"link", "linkat"})
UNLINKS = frozenset({"unlink", "unlinkat"})
MAKES = frozenset({"mkdir", "mkdirat"})
UNSYNCED = "enters done/ before the journal is synced"


@dataclass(slots=True, kw_only=True)
class _Disk:
    """What is not on the disk yet: data of files, and entries of folders."""

    unwritten: set[str] = field(default_factory=set)
    unnamed: set[str] = field(
        default_factory=set
    )  # folders, or files, whose name was made and whose folder was not synced since

    def see(self, call: Call) -> None:
        name, paths = call.name, call.paths
        if name in WRITES:
            self.unwritten.add(paths[0])
        elif name in SYNCS:
            self.unwritten.discard(paths[0])
            self.unnamed -= {path for path in self.unnamed if str(Path(path).parent) == paths[0]}
        elif name in RENAMES | LINKS:
            if paths[0] in self.unwritten:
                self.unwritten.add(paths[1])
            self.unnamed.add(paths[1])
        elif name in MAKES or (name == "openat" and "O_CREAT" in call.arguments):
            self.unnamed.add(paths[0])

    def durable(self, path: str) -> bool:
        """Whether a power failure leaves the file under this name, whole."""
        return path not in self.unwritten and not any(str(p) in self.unnamed for p in (Path(path), *Path(path).parents))


def broken(calls: Sequence[Call], folders: dict[str, Path], *, across: bool) -> list[str]:
    """Where a power failure just after a call could lose a file, its reason, or the memory that it was stored."""
    disk = _Disk()
    out: list[str] = []
    copies: dict[str, str] = {}  # where each file's bytes stand across file systems, by the last part of its name
    journal = str(folders["state"] / "journal.sqlite-wal")
    for call in calls:
        if not call.succeeded or not call.paths:
            continue
        disk.see(call)
        if Path(call.paths[-1]).name.startswith(".ingestd-"):
            continue  # what the start's probes rename and remove is nobody's file
        where = [_folder(path, folders) for path in call.paths]
        moved = call.name in RENAMES | LINKS
        if moved and where[-1] in ("done", "failed") and not call.paths[-1].endswith(".reason.json"):
            target = call.paths[1]
            copies[Path(target).name] = target
            if where[-1] == "failed" and not disk.durable(target + ".reason.json"):
                out.append(f"{Path(target).name} enters failed/ before its reason is durable")
            if where[-1] == "done" and journal in disk.unwritten:
                out.append(f"{Path(target).name} {UNSYNCED}")
        elif call.name in UNLINKS and where[0] == "inbox" and across:
            name = Path(call.paths[0]).name.replace("~1", "")
            if name not in copies or not disk.durable(copies[name]):
                out.append(f"{name} leaves the inbox before its copy is durable")
    if not copies:
        out.append("nothing was filed")
    return out


def _folder(path: str, folders: dict[str, Path]) -> str:
    return next((name for name, folder in folders.items() if Path(path).is_relative_to(folder)), "")
