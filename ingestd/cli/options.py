"""The options that commands share, and how they become settings."""

from __future__ import annotations

import os
import sys
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated

import typer

from ingestd.config import FolderSettings, Raw, ServiceSettings, Settings, load, load_folders, load_service, unread
from ingestd.core.when import since
from ingestd.ops.clock import SystemClock


class Exit(IntEnum):
    """The exit codes of the contract, each with what it says."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Exit:
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = (
        0,
        (
            "`run` was stopped by a signal, and what is left waits in the inbox; `drain` filed everything, and nothing in failed/; "
            "another command did what it was asked"
        ),
    )
    SOME_FAILED = (
        1,
        (
            "`drain` filed everything, some of it in failed/; `failed show` or `retry` could not be done for each file, or "
            "`resume` could not take the brake off; the service said no to a command of `dicomweb`, or to one of its files; a "
            "person did not confirm a `delete`; nobody reads the output any more, or it has no room; an error of our own, which is "
            "said in one line"
        ),
    )
    USAGE = 2, "options or arguments that can't be; `dicomweb delete` without `--yes` where nobody can be asked"
    SOME_LEFT = (
        75,
        (
            "try the same again later: `drain` left files, or DICOM files whose names `intake.include` does not match; another "
            "ingestd holds the state folder, or it was taken away; a folder's disk does not answer; the journal can't be used; a "
            "stop took longer than its deadline; the service did not answer a command, or takes nothing from us just now; the "
            "demo's files did not end in time"
        ),
    )
    CONFIGURATION = 78, "a setting, or a folder that it names, can't work: one line says which; no file was touched"


SHARED = "Options on every command"


class LogLevel(Enum):
    """`log.level`."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file [INGESTD_CONFIG].", rich_help_panel=SHARED),
]
Root = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="Use DIR/inbox, done, failed and state.", rich_help_panel=SHARED),
]
Url = Annotated[
    str | None,
    typer.Option("--url", help="The service, with its version: https://.../v2.", rich_help_panel=SHARED),
]
Json = Annotated[bool, typer.Option("--json", help="Output for programs.", rich_help_panel=SHARED)]
Level = Annotated[
    LogLevel | None, typer.Option("--log-level", help="The least level that is logged.", rich_help_panel=SHARED)
]


def _since(text: str) -> float:
    try:
        return since(text, now=SystemClock().wall())
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r}: give 90s, 30m, 24h, 7d or 2w, or a time, such as 2026-01-31T08:00Z"
        ) from None


Since = Annotated[
    float | None,
    typer.Option(
        "--since",
        metavar="TIME",
        parser=_since,
        help="Only from then on: so long ago, such as 24h or 7d, or a time, such as 2026-01-31T08:00Z (UTC without a zone).",
    ),
]


def flags(*, root: Path | None, url: str | None, json: bool, level: LogLevel | None) -> Raw:
    """The layer that beats environment and file."""
    raw: Raw = {}
    if root is not None:
        raw["folders"] = {name: str(root.absolute() / name) for name in ("inbox", "done", "failed", "state")}
    if url is not None:
        raw["service"] = {"url": url}
    if json:
        raw.setdefault("log", {})["format"] = "json"
    if level is not None:
        raw.setdefault("log", {})["level"] = level.value
    return raw


def settings(
    config: Path | None, root: Path | None, url: str | None, *, json: bool, level: LogLevel | None
) -> Settings:
    """Settings from options, environment and file. Raises ConfigurationError."""
    return load(file=config, environment=os.environ, flags=flags(root=root, url=url, json=json, level=level))


def folder_settings(
    config: Path | None, root: Path | None, url: str | None, *, json: bool, level: LogLevel | None
) -> FolderSettings:
    """The same for the commands that talk to no service. Raises ConfigurationError."""
    loaded = load_folders(file=config, environment=os.environ, flags=flags(root=root, url=url, json=json, level=level))
    say_unread()
    return loaded


def service_settings(
    config: Path | None, root: Path | None, url: str | None, *, json: bool, level: LogLevel | None
) -> ServiceSettings:
    """The same for the commands that touch no folder of the daemon's. Raises ConfigurationError."""
    loaded = load_service(file=config, environment=os.environ, flags=flags(root=root, url=url, json=json, level=level))
    say_unread()
    return loaded


def say_unread() -> None:
    """A setting that nobody reads looks as if it were in force; the daemon says so in its log."""
    for line in unread(os.environ):
        print(f"ingestd: {line}", file=sys.stderr)
