"""`ingestd`: the commands, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer

from ingestd.cli.failed_commands import failed_app
from ingestd.cli.options import Config, Exit, Json, Level, Root, Url, folder_settings, say_unread, settings
from ingestd.cli.service.commands import dicomweb_app
from ingestd.core.errors import (
    ConfigurationError,
    FolderAwayError,
    IngestdError,
    JournalError,
    StateHeldError,
    UnavailableError,
)

STDERR = 2
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

app = typer.Typer(
    name="ingestd",
    help="Ships every DICOM file dropped into a folder to a DICOMweb store service, names what became of each, loses nothing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
config_app = typer.Typer(help="See the settings.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(failed_app, name="failed")
app.add_typer(dicomweb_app, name="dicomweb")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ingestd {version_of('ingestd')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """What stands before a command."""


@app.command()
def run(config: Config = None, root: Root = None, url: Url = None, json: Json = False, log_level: Level = None) -> None:
    """Watch the inbox and ship what comes, until SIGTERM."""
    _let_ctrl_c_end_it()
    from ingestd.cli.daemon import run_daemon  # noqa: PLC0415 - a command imports what it needs, and no more

    raise typer.Exit(run_daemon(settings(config, root, url, json=json, level=log_level)))


@app.command()
def drain(
    config: Config = None,
    root: Root = None,
    url: Url = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", min=0, help="Give up after so long.")
    ] = None,
    json: Json = False,
    log_level: Level = None,
) -> None:
    """Ship what is in the inbox now, then end: 0 all stored, 1 some failed, 75 some left (also DICOM files whose names
    intake.include does not match)."""
    _let_ctrl_c_end_it()
    from ingestd.cli.daemon import drain_inbox  # noqa: PLC0415

    raise typer.Exit(drain_inbox(settings(config, root, url, json=json, level=log_level), timeout=timeout, json=json))


@app.command()
def demo(
    root: Annotated[
        Path | None, typer.Option("--root", metavar="DIR", help="Where to work; a new temporary folder if not given.")
    ] = None,
    json: Json = False,
) -> None:
    """See it work: six files, the embedded service, no account, under ten seconds."""
    from ingestd.cli.demo import run_demo  # noqa: PLC0415

    raise typer.Exit(run_demo(root, json=json))


@app.command(epilog="Example: ingestd emulator --port 8080 --data emulator-data --samples samples")
def emulator(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Where it keeps what it is given.")] = Path(
        "emulator-data"
    ),
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="Want one of this file's bearer tokens.")
    ] = None,
    jwt_key_file: Annotated[
        Path | None,
        typer.Option(
            "--jwt-key-file",
            metavar="FILE",
            help="Want a token that is signed by the other half of this RSA public key (PEM), for the service, and not expired.",
        ),
    ] = None,
    samples: Annotated[
        Path | None,
        typer.Option(
            "--samples", metavar="DIR", help="Put the three sample images of Microsoft's tutorials there first."
        ),
    ] = None,
) -> None:
    """Run the embedded DICOMweb service, with the Azure DICOM service's answers. For demos, development and tests."""
    from ingestd.emulator import EmulatorError  # noqa: PLC0415
    from ingestd.emulator.server import serve  # noqa: PLC0415

    if token_file is not None and jwt_key_file is not None:
        raise typer.BadParameter("--token-file and --jwt-key-file exclude each other: give one of them")
    if samples is not None:
        from ingestd.cli.samples import write_samples  # noqa: PLC0415

        write_samples(samples)
    try:
        serve(host=host, port=port, data=data, token_file=token_file, jwt_key_file=jwt_key_file)
    except EmulatorError as error:
        raise ConfigurationError(f"emulator: {error}") from None


@app.command()
def resume(
    config: Config = None, root: Root = None, url: Url = None, json: Json = False, log_level: Level = None
) -> None:
    """Take the brake off: go on sending after the service refused nearly everything."""
    from ingestd.cli.failed import release_brake  # noqa: PLC0415

    raise typer.Exit(release_brake(folder_settings(config, root, url, json=json, level=log_level), json=json))


@config_app.command("show")
def config_show(
    config: Config = None, root: Root = None, url: Url = None, json: Json = False, log_level: Level = None
) -> None:
    """Print the settings in force, in the form of the settings file."""
    from ingestd.cli.show import show  # noqa: PLC0415

    show(settings(config, root, url, json=json, level=log_level), json=json)
    say_unread()


@config_app.command("docs")
def config_docs() -> None:
    """Print every key with its default and meaning, as Markdown."""
    from ingestd.cli.show import docs  # noqa: PLC0415

    print(docs(), end="")


def main() -> None:
    """The console script."""
    _fill_standard_streams()
    sys.excepthook = _internal_error
    try:
        try:
            # Calling `app` itself would put typer's own hook, which prints values, over ours.
            typer.main.get_command(app)()
        finally:
            if sys.stdout is not None:  # closed at start
                _flush_output()
    except OSError as error:
        if error.errno not in _NO_ROOM or error.filename is not None:
            raise
        _discard_output()
        print(f"ingestd: standard output: {error.strerror}: make room, or send it elsewhere", file=sys.stderr)
        sys.exit(Exit.SOME_FAILED)
    except IngestdError as error:
        from ingestd.cli.terminal import shown  # noqa: PLC0415 - rich is heavy

        for line in str(error).splitlines():
            print(f"ingestd: {shown(line)}", file=sys.stderr)
        match error:
            case ConfigurationError():
                sys.exit(Exit.CONFIGURATION)
            case StateHeldError() | FolderAwayError() | JournalError() | UnavailableError():
                sys.exit(Exit.SOME_LEFT)
            case _:
                sys.exit(Exit.SOME_FAILED)


def _let_ctrl_c_end_it() -> None:
    """Until the daemon minds its signals: a KeyboardInterrupt in the midst of the imports can be swallowed there, and nothing that
    would have to be undone has begun."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _flush_output() -> None:
    """Who reads it may have seen enough, as `head` has: that is no error, and nothing to say."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        sys.exit(Exit.SOME_FAILED)


def _discard_output() -> None:
    """What could not be written would be tried once more at the end of the process, with a traceback."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _fill_standard_streams() -> None:
    """A standard stream that is closed at start would be given to the journal or the lock, and log lines written into it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _internal_error(kind: type[BaseException], _error: BaseException, traceback: TracebackType | None) -> None:
    """Where and which, never what: the text of an exception can be a path or quote a patient (I7)."""
    frames: list[str] = []
    while traceback is not None:
        frames.append(f"{traceback.tb_frame.f_globals.get('__name__', '?')}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    print(
        f"ingestd: internal error: {kind.__name__} at {' < '.join(reversed(frames[-6:]))}: please report it",
        file=sys.stderr,
    )
