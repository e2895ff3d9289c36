"""`demo`: the whole way in one short run, with nothing to set up: the real daemon on real files; only the files are staged."""

from __future__ import annotations

import json as jsonlib
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.table import Table

from ingestd.app import Application, application
from ingestd.cli.options import Exit
from ingestd.cli.stopping import Stops
from ingestd.cli.terminal import wrapped
from ingestd.config import Settings
from ingestd.core.answers.outcome import Outcome
from ingestd.core.errors import ConfigurationError
from ingestd.daemon.loop import Daemon
from ingestd.emulator import EmulatorError
from ingestd.emulator.samples import tutorial_samples
from ingestd.emulator.server import running
from ingestd.ops.clock import SystemClock
from ingestd.spool.memory.journal import SqliteJournal

LONGEST_SECONDS = 20.0  # the demo, for all of its files to end
HALF_A_FILE_SECONDS = 2.0  # the demo, for the rest of a truncated file: a real daemon waits 15 minutes
A_WRITER_SECONDS = 1.0  # the demo, for a file that no lease and no close proves: a real daemon waits a minute

PLAIN = {"truncated": "part of the file is missing", "not_dicom": "it is not a DICOM file"}
WHAT_BECAME = {
    Outcome.STORED: ("stored", "the service named it as stored"),
    Outcome.STORED_WITH_WARNING: ("stored, with a warning", "the service named it as stored, and warned"),
    Outcome.ALREADY_STORED: (
        "already stored",
        "the service said it has it already; it was stored with the same bytes (receipt), and its metadata there agree",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoFile:
    """A file to drop. `second`: only when the others have ended."""

    name: str
    about: str
    content: bytes
    second: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of a file, read from the folders and the journal. `where` is relative to the demo's folder."""

    file: str
    about: str
    became: str
    why: str
    where: str
    failed: bool


def run_demo(root: Path | None, *, json: bool) -> Exit:
    """Drop six files, say what became of each, and where to look."""
    work = root.absolute() if root is not None else Path(tempfile.mkdtemp(prefix="ingestd-demo-"))
    files = _files()
    clock = SystemClock()
    started = clock.monotonic()
    try:
        with (
            _prepared(work) as log,
            running(data=work / "service") as service,
            application(_settings(work, service.url), log_descriptor=log.fileno()) as app,
        ):
            before = app.metrics.samples()
            ended = _ship(app, work / "inbox", files)
            moved = _moved(before, app.metrics.samples())
    except EmulatorError as error:
        raise ConfigurationError(f"--root {work}: {error}") from None
    with closing(SqliteJournal(work / "state")) as journal:
        rows = [_row(work, journal, file) for file in files]
    if json:
        print(jsonlib.dumps({"folder": str(work), "files": [_object(row) for row in rows], "metrics": moved}, indent=2))
    else:
        _print(work, rows, moved, seconds=clock.monotonic() - started)
    return Exit.DONE if ended else Exit.SOME_LEFT


def _prepared(work: Path) -> BinaryIO:
    """Makes the inbox; the log."""
    try:
        (work / "inbox").mkdir(parents=True, exist_ok=True)
        return open(work / "ingestd.log", "ab")
    except OSError as error:
        raise ConfigurationError(
            f"--root {work}: {error.filename} can't be made: {error.strerror}: give another folder"
        ) from None


def _files() -> list[DemoFile]:
    images = tutorial_samples()
    first = images[0]
    return [
        *(DemoFile(name=i.name, about="an image", content=i.content) for i in images),
        DemoFile(
            name="half-copied.dcm", about="the first half of an image", content=first.content[: len(first.content) // 2]
        ),
        DemoFile(name="shopping-list.dcm", about="text with the wrong name", content=b"bread, milk, apples\n" * 20),
        DemoFile(name="once-more.dcm", about=f"{first.name} again", content=first.content, second=True),
    ]


def _settings(work: Path, url: str) -> Settings:
    return Settings.model_validate(
        {
            "folders": {name: work / name for name in ("inbox", "done", "failed", "state")},
            "service": {"url": url, "kind": "azure"},  # the embedded service answers as Azure does
            "intake": {
                "quiet_seconds": 0.5,
                "network_quiet_seconds": A_WRITER_SECONDS,
                "rescan_seconds": 1,
                "incomplete_timeout_seconds": HALF_A_FILE_SECONDS,
            },
            "admin": {"listen": "off"},
        }
    )


def _ship(app: Application, inbox: Path, files: list[DemoFile]) -> bool:
    """Drop the files and run the daemon until all have ended; whether they did."""
    daemon = app.daemon
    with Stops(LONGEST_SECONDS) as stops:
        stops.tell(app)
        daemon.start()
        expected = 0
        for second in (False, True):
            for file in files:
                if file.second is second:
                    (inbox / file.name).write_bytes(file.content)
                    expected += 1
            daemon.run(until=partial(_have_ended, daemon, expected), timeout=LONGEST_SECONDS)
        daemon.stop()
    return daemon.filed >= len(files)


def _have_ended(daemon: Daemon, files: int) -> bool:
    return daemon.filed >= files


def _moved(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """The counters that moved, and by how much."""
    names = ("ingestd_instances_total", "ingestd_store_requests_total", "ingestd_sent_bytes_total")
    return {k: v - before.get(k, 0.0) for k, v in after.items() if k.startswith(names) and v != before.get(k, 0.0)}


def _row(work: Path, journal: SqliteJournal, file: DemoFile) -> Row:
    for reason_file in (work / "failed").rglob(f"{file.name}.reason.json"):
        reason = jsonlib.loads(reason_file.read_bytes())
        where = str(reason_file.with_name(file.name).relative_to(work))
        why = f"{reason['reason']}: {PLAIN.get(reason['reason'], 'see its reason file')} ({reason['text']})"
        return Row(file=file.name, about=file.about, became="quarantined", why=why, where=where, failed=True)
    for done in (work / "done").rglob(file.name):
        became, why = WHAT_BECAME[journal.receipts_of(file.name)[-1].outcome]
        return Row(
            file=file.name, about=file.about, became=became, why=why, where=str(done.relative_to(work)), failed=False
        )
    left = f"inbox/{file.name}"
    return Row(file=file.name, about=file.about, became="not ended", why="see the log", where=left, failed=True)


def _object(row: Row) -> dict[str, str]:
    return {"file": row.file, "outcome": row.became, "why": row.why, "where": row.where}


def _print(work: Path, rows: list[Row], moved: Mapping[str, float], *, seconds: float) -> None:
    console = Console(highlight=False, soft_wrap=False)
    console.print(
        f"\n[bold]Six files were dropped into a folder; ingestd shipped them to a DICOMweb service in {seconds:.1f} s.[/bold]\n"
        "The service was the embedded one, on this machine; nothing left it.\n"
    )
    table = Table(title="What became of each file", show_lines=True)
    table.add_column("file", no_wrap=True)
    table.add_column("what became of it", no_wrap=True)
    table.add_column("why", overflow="fold")
    for row in rows:
        colour = "red" if row.failed else "green"
        folder = row.where.partition("/")[0]
        table.add_row(
            f"{row.file}\n[dim]{row.about}[/dim]", f"[{colour}]{row.became}[/{colour}]\nnow in {folder}/", row.why
        )
    console.print(table)
    metrics = Table("metric", "moved by", title="The metrics that moved")
    for name, by in moved.items():
        metrics.add_row(name.replace("[", "\\["), f"+{by:,.0f}")
    console.print(metrics)
    reason = next(iter(sorted((work / "failed").rglob("*.reason.json"))), None)
    console.print(f"\n[bold]Where to look[/bold]   {work}", soft_wrap=True)
    looks = {
        "done/": "files that the service provably has",
        "failed/": "files with a verdict, and beside each its reason file",
        "inbox/": "what has not ended; empty if all went well",
        "state/": "the journal: a receipt for each stored file",
        "service/": "what the embedded service keeps",
        "ingestd.log": "what the daemon logged: no path and no patient's name in it",
    }
    for place, meaning in looks.items():
        console.print(f"  {place:<12} {meaning}")
    if reason is not None:
        console.print(f"\nOne reason file, {reason.relative_to(work)}:")
        words = jsonlib.loads(reason.read_bytes())
        for key in ("reason", "text", "what_to_do"):
            lines = wrapped(words[key], max(console.width, 40), f"  {key:<12} ", " " * 15)
            console.print("\n".join(lines), soft_wrap=True, markup=False)
    program = "ingestd" if shutil.which("ingestd") else sys.argv[0]
    console.print(
        f"\n[bold]Next[/bold]  In one terminal:  {program} emulator\n"
        f"      In another:       mkdir -p try/inbox && {program} run --root try --url http://127.0.0.1:8080/v2\n"
        "      Then copy *.dcm files into try/inbox. What failed, and why: "
        f"{program} failed list --root try\n"
        "      README.md says how to use a real service.\n",
        soft_wrap=True,
    )
