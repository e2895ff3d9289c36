"""`ingestd failed`: what can be said and done about files in failed/. Each command imports what it needs, and no more."""

from __future__ import annotations

from typing import Annotated

import typer

from ingestd.cli.options import Config, Json, Level, Root, Since, Url, folder_settings
from ingestd.core.answers.reasons import Reason

failed_app = typer.Typer(help="See what went into failed/ and why; send it again.", no_args_is_help=True)

OfReason = Annotated[Reason | None, typer.Option("--reason", metavar="CODE", help="Only files of this reason code.")]


@failed_app.command("list")
def failed_list(
    reason: OfReason = None,
    since: Since = None,
    warnings: Annotated[
        bool, typer.Option("--warnings", help="Instead, what was stored with a warning, and which one.")
    ] = False,
    config: Config = None,
    root: Root = None,
    url: Url = None,
    json: Json = False,
    log_level: Level = None,
) -> None:
    """Which files are in failed/, since when, why and what to do, and which in done/ were written late; with --json an object a
    line, without the service's comment."""
    from ingestd.cli.listing import list_failed, list_warnings  # noqa: PLC0415

    if warnings and reason is not None:
        raise typer.BadParameter("--warnings and --reason exclude each other: give one of them")
    found = folder_settings(config, root, url, json=json, level=log_level)
    if warnings:
        raise typer.Exit(list_warnings(found, since=since, json=json))
    raise typer.Exit(list_failed(found, reason=reason, since=since, json=json))


@failed_app.command("show")
def failed_show(
    path: Annotated[str, typer.Argument(metavar="PATH", help="As `failed list` prints it, or a path to the file.")],
    config: Config = None,
    root: Root = None,
    url: Url = None,
    json: Json = False,
    log_level: Level = None,
) -> None:
    """All that is known about one file, with the service's own words, which can hold a patient's data."""
    from ingestd.cli.failed import show_failed  # noqa: PLC0415

    raise typer.Exit(show_failed(folder_settings(config, root, url, json=json, level=log_level), path, json=json))


@failed_app.command("retry")
def failed_retry(
    paths: Annotated[list[str] | None, typer.Argument(metavar="PATH", help="As `failed list` prints them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every file in failed/.")] = False,
    reason: OfReason = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="On a conflict, replace what the service holds by these files.")
    ] = False,
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Send them although they are not whole, or linked twice, if they have UIDs.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be put back, and do nothing.")] = False,
    config: Config = None,
    root: Root = None,
    url: Url = None,
    json: Json = False,
    log_level: Level = None,
) -> None:
    """Put files back into the inbox, to be judged anew: give PATH..., --all or --reason. Exit 1: some could not be put back."""
    from ingestd.cli.failed import retry_failed  # noqa: PLC0415
    from ingestd.spool.memory.orders import Order  # noqa: PLC0415

    if bool(paths) + every + (reason is not None) != 1:
        raise typer.BadParameter("give one of PATH..., --all and --reason CODE")
    found = folder_settings(config, root, url, json=json, level=log_level)
    give = [order for order, given in ((Order.REPLACE, replace), (Order.AS_IS, as_is)) if given]
    raise typer.Exit(retry_failed(found, paths or (), reason=reason, give=give, dry_run=dry_run, json=json))
