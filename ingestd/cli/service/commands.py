"""The commands of `ingestd dicomweb` and their options. What a command needs beyond them is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingestd.cli.options import Config, Json, Level, LogLevel, Root, Url, service_settings
from ingestd.cli.service.attributes import attribute
from ingestd.core.when import moment
from ingestd.dicomweb.asking.resources import Level as Depth
from ingestd.dicomweb.asking.resources import Resource
from ingestd.part10.uids import is_uid, why_none

if TYPE_CHECKING:
    from ingestd.cli.service.screen import Screen

dicomweb_app = typer.Typer(
    help="Talk to the service yourself: each DICOMweb transaction as a command, with the daemon's settings and identity.",
    no_args_is_help=True,
    epilog="Example: ingestd dicomweb changefeed --url http://127.0.0.1:8080/v2",
)


def _uid(value: str | None) -> str | None:
    if value is not None and not is_uid(value):
        raise typer.BadParameter(f"{value!r} is no UID: it {why_none(value)}")
    return value


def _positive(value: int | None) -> int | None:
    if value is not None and value < 1:
        raise typer.BadParameter("give 1 or more")
    return value


def _time(value: str | None) -> str | None:
    """RFC 3339, as the change feed wants it: with a zone."""
    if value is None:
        return None
    try:
        return moment(value).isoformat()
    except ValueError:
        raise typer.BadParameter(f"{value!r}: give a date or a time, such as 2026-01-31T08:00:00Z") from None


Study = Annotated[str, typer.Argument(metavar="STUDY", help="Study Instance UID.", callback=_uid)]
Series = Annotated[str | None, typer.Argument(metavar="SERIES", help="Series Instance UID.", callback=_uid)]
Instance = Annotated[str | None, typer.Argument(metavar="INSTANCE", help="SOP Instance UID.", callback=_uid)]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", file_okay=False, help="Where to; made when missing.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", callback=_positive, help="At most so many; else the service's own."),
]
Offset = Annotated[int, typer.Option("--offset", metavar="N", min=0, help="Pass over so many.")]


@dicomweb_app.command(epilog="Example: ingestd dicomweb store samples/ --url http://127.0.0.1:8080/v2")
def store(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", exists=True, help="Files, and folders with all that is in them.")
    ],
    study: Annotated[
        str | None, typer.Option("--study", metavar="UID", callback=_uid, help="Take only instances of this study.")
    ] = None,
    single: Annotated[
        bool, typer.Option("--single", help="One request a file, without multipart (Azure's addition).")
    ] = False,
    config: Config = None,
    root: Root = None,
    url: Url = None,
    json: Json = False,
    log_level: Level = None,
) -> None:
    """Store files, and say what became of each. Exit 1: some failed; 75: some could not be sent now."""
    from ingestd.cli.service.storing import run_store  # noqa: PLC0415 - a command imports what it needs, and no more

    screen = _screen(config, root, url, json=json, level=log_level)
    raise typer.Exit(run_store(screen, files, study=study, single=single))


@dicomweb_app.command(epilog="Example: ingestd dicomweb retrieve 1.2.3 --out study --url http://127.0.0.1:8080/v2")
def retrieve(
    study: Study,
    series: Series = None,
    instance: Instance = None,
    *,
    out: Out,
    force: Force = False,
    config: Config = None,
    root: Root = None,
    url: Url = None,
    json: Json = False,
    log_level: Level = None,
) -> None:
    """Get a study, a series or an instance as it is stored, one file an instance: SOPInstanceUID.dcm."""
    from ingestd.cli.service.retrieving import run_retrieve  # noqa: PLC0415

    screen = _screen(config, root, url, json=json, level=log_level)
    wanted = Resource(study=study, series=series, instance=instance)
    raise typer.Exit(run_retrieve(screen, wanted, out=out, force=force))


@dicomweb_app.command(epilog="Example: ingestd dicomweb metadata 1.2.3 --url http://127.0.0.1:8080/v2 --json")
def metadata(
    study: Study,
    series: Series = None,
    instance: Instance = None,
    config: Config = None,
    root: Root = None,
    url: Url = None,
    json: Json = False,
    log_level: Level = None,
) -> None:
    """Print every element but pixels and other bulk data; with --json one DICOM JSON object an instance."""
    from ingestd.cli.service.searching import run_metadata  # noqa: PLC0415

    screen = _screen(config, root, url, json=json, level=log_level)
    wanted = Resource(study=study, series=series, instance=instance)
    raise typer.Exit(run_metadata(screen, wanted))


@dicomweb_app.command(epilog="Example: ingestd dicomweb frames 1.2.3 1.2.3.4 1.2.3.4.5 1,2 --out frames")
def frames(
    study: Study,
    series: Annotated[str, typer.Argument(metavar="SERIES", help="Series Instance UID.", callback=_uid)],
    instance: Annotated[str, typer.Argument(metavar="INSTANCE", help="SOP Instance UID.", callback=_uid)],
    numbers: Annotated[str, typer.Argument(metavar="FRAMES", help="Such as 1, or 1,2,3.")],
    *,
    out: Out,
    force: Force = False,
    config: Config = None,
    root: Root = None,
    url: Url = None,
    json: Json = False,
    log_level: Level = None,
) -> None:
    """Get frames of an instance as they are stored, one file a frame: raw pixels, or the compressed image."""
    from ingestd.cli.service.retrieving import run_frames  # noqa: PLC0415

    wanted = _numbers(numbers)
    screen = _screen(config, root, url, json=json, level=log_level)
    resource = Resource(study=study, series=series, instance=instance)
    raise typer.Exit(run_frames(screen, resource, wanted, out=out, force=force))


@dicomweb_app.command(
    epilog="Example: ingestd dicomweb search studies PatientName=anony --fuzzy --url http://127.0.0.1:8080/v2"
)
def search(
    level: Annotated[Depth, typer.Argument(metavar="LEVEL", help="studies, series or instances.")],
    attributes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ATTRIBUTE=VALUE", help="Keyword or tag and what it must be, such as StudyDate=20200901-20200930."
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option("--study", metavar="UID", callback=_uid, help="Only in this study.")
    ] = None,
    series: Annotated[
        str | None, typer.Option("--series", metavar="UID", callback=_uid, help="Only in this series.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option("--include", metavar="FIELD", help="Also give this attribute; `all` for all.")
    ] = None,
    fuzzy: Annotated[bool, typer.Option("--fuzzy", help="Names by the beginnings of their words.")] = False,
    limit: Limit = None,
    offset: Offset = 0,
    every: Annotated[bool, typer.Option("--all", help="Page after page, to the end.")] = False,
    config: Config = None,
    root: Root = None,
    url: Url = None,
    json: Json = False,
    log_level: Level = None,
) -> None:
    """Look for studies, series or instances, everywhere or in a study or series; newest first at Azure."""
    from ingestd.cli.service.searching import run_search  # noqa: PLC0415
    from ingestd.dicomweb.asking.search import Search  # noqa: PLC0415

    if every and limit is not None:
        raise typer.BadParameter("--all and --limit exclude each other: give one of them")
    screen = _screen(config, root, url, json=json, level=log_level)
    wanted = Search(
        level=level,
        study=study,
        series=series,
        filters=[_filter(text) for text in attributes or ()],
        include=tuple(name if name == "all" else _attribute(name) for name in include or ()),
        fuzzy=fuzzy,
    )
    raise typer.Exit(run_search(screen, wanted, limit=limit, offset=offset, every=every))


@dicomweb_app.command(epilog="Example: ingestd dicomweb delete 1.2.3 1.2.3.4 --url http://127.0.0.1:8080/v2")
def delete(
    study: Study,
    series: Series = None,
    instance: Instance = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    config: Config = None,
    root: Root = None,
    url: Url = None,
    json: Json = False,
    log_level: Level = None,
) -> None:
    """Delete a study, a series or an instance from the service, for good. Asks first."""
    from ingestd.cli.service.deleting import run_delete  # noqa: PLC0415

    screen = _screen(config, root, url, json=json, level=log_level)
    wanted = Resource(study=study, series=series, instance=instance)
    raise typer.Exit(run_delete(screen, wanted, yes=yes))


@dicomweb_app.command(epilog="Example: ingestd dicomweb changefeed --latest --url http://127.0.0.1:8080/v2")
def changefeed(
    latest: Annotated[bool, typer.Option("--latest", help="Only the newest change.")] = False,
    limit: Limit = None,
    offset: Offset = 0,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            callback=_time,
            help="From then on (/v2), such as 2026-01-31 or 2026-01-31T08:00Z.",
        ),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", callback=_time, help="Before then (/v2); UTC as a rule.")
    ] = None,
    config: Config = None,
    root: Root = None,
    url: Url = None,
    json: Json = False,
    log_level: Level = None,
) -> None:
    """What was stored, replaced and deleted, oldest first (Azure). Also the quickest check that authentication works."""
    from ingestd.cli.service.searching import run_changefeed  # noqa: PLC0415

    if latest and (limit is not None or offset or start or end):
        raise typer.BadParameter("--latest stands alone")
    screen = _screen(config, root, url, json=json, level=log_level)
    raise typer.Exit(run_changefeed(screen, newest=latest, limit=limit, offset=offset, start=start, end=end))


def _screen(config: Path | None, root: Path | None, url: str | None, *, json: bool, level: LogLevel | None) -> Screen:
    from ingestd.cli.service.screen import Screen  # noqa: PLC0415 - rich is heavy

    return Screen(service_settings(config, root, url, json=json, level=level), json=json, level=level)


def _numbers(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",") if part.isascii() and part.isdigit() and len(part) < 10]
    if len(numbers) != len(text.split(",")) or 0 in numbers:
        raise typer.BadParameter(f"{text!r}: give frame numbers from 1 on, such as 1,2,3")
    return numbers


def _filter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r}: give ATTRIBUTE=VALUE, such as PatientID=ID1")
    return _attribute(name), value


def _attribute(text: str) -> str:
    try:
        return attribute(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
