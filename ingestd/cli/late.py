"""The part of `failed list` about done/: files that were written after they were filed."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from ingestd.cli.terminal import console, shown
from ingestd.config import FolderSettings
from ingestd.core.second_look import Found
from ingestd.core.when import rfc3339
from ingestd.spool.memory.late_notes import LateNote, LateNotes

TEXTS = {
    Found.CHANGED: "it was written after it was filed: the service holds an earlier state of it",
    Found.OPEN: "somebody has it open for writing: the service may hold an earlier state of it",
}
WHAT_TO_DO = (
    "once it is whole, move it from done/ back into the inbox; a conflict then wants `ingestd failed retry --replace`"
)


def list_late(settings: FolderSettings, *, since: float | None, json: bool) -> None:
    """A table and what to do, or one object a line with the key `late`, of what was found from `since` on.

    Notes of what is no longer there are passed over.
    """
    if json:
        for note in _standing(settings, since):
            print(jsonlib.dumps(_as_json(note)))
        return
    table = Table()
    table.add_column("path in done/", overflow="fold")
    table.add_column("what was seen after it was filed")
    table.add_column("when (UTC)")
    for note in _standing(settings, since):
        table.add_row(Text(shown(note.place)), Text(TEXTS[note.found]), Text(rfc3339(note.found_at)))
    if table.row_count:
        console().print(table)
        print(WHAT_TO_DO)


def _standing(settings: FolderSettings, since: float | None) -> Iterator[LateNote]:
    folders = settings.folders
    notes = (note for note in LateNotes(folders.state) if since is None or note.found_at >= since)
    return (note for note in notes if note.stands(folders.done))


def _as_json(note: LateNote) -> dict[str, object]:
    return {
        "version": 1,
        "late": note.found.value,
        "text": TEXTS[note.found],
        "what_to_do": WHAT_TO_DO,
        "place": note.place,
        "path": note.path,
        "found_at": rfc3339(note.found_at),
    }
