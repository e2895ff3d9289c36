"""What there is of a study, a series or an instance: read from the index, in the order in which it was stored."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ingestd.emulator.archive import Archive
from ingestd.emulator.uids import Scope

_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """One that is there. `version` never comes again, not even for the same UIDs; `key` is that of its file."""

    version: int
    key: str
    transfer_syntax: str


def instances(archive: Archive, scope: Scope) -> list[StoredInstance]:
    """All of them; none when there is no such study, series or instance."""
    condition, parameters = scope.condition()
    with archive.reading() as connection:
        rows = connection.execute(
            f"SELECT id, key, transfer_syntax FROM instance WHERE {condition} ORDER BY id",  # noqa: S608 - columns and ?
            parameters,
        ).fetchall()
    return [StoredInstance(version=version, key=key, transfer_syntax=syntax) for version, key, syntax in rows]


def metadata(archive: Archive, versions: list[int]) -> Iterator[str]:
    """The DICOM JSON of those of these instances that are still there, a bounded number in memory at a time."""
    for start in range(0, len(versions), _AT_ONCE):
        page = versions[start : start + _AT_ONCE]
        marks = ", ".join("?" * len(page))
        with archive.reading() as connection:
            rows = connection.execute(
                f"SELECT json FROM metadata WHERE instance_id IN ({marks}) ORDER BY instance_id",  # noqa: S608 - marks
                page,
            ).fetchall()
        for (model,) in rows:
            yield model
