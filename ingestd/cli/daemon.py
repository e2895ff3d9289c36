"""`run` and `drain`: the daemon in the foreground."""

from __future__ import annotations

import json as jsonlib
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ingestd.app import Application, application
from ingestd.cli.options import Exit
from ingestd.cli.stopping import Stops, leave
from ingestd.cli.terminal import shown
from ingestd.config import Settings
from ingestd.core.errors import IngestdError
from ingestd.core.scan import TAKE_DICOM, UNWRITTEN, Passed
from ingestd.daemon.loop import Daemon, End

STDERR = 2


def _keep_others_out() -> None:
    """What the daemon writes (journal, reason files, folders) can name a patient; the umask may be tighter still."""
    os.umask(os.umask(0) | 0o007)


def run_daemon(settings: Settings) -> Exit:
    """Until a signal; files that are left wait in the inbox."""
    _keep_others_out()
    with Stops(settings.shutdown.deadline_seconds) as stops, application(settings) as app, _nothing_waits(app):
        stops.tell(app)
        app.daemon.start()
        app.daemon.run()
        app.daemon.stop()
        _end(app, Exit.DONE)
    return Exit.DONE


def drain_inbox(settings: Settings, *, timeout: float | None, json: bool) -> Exit:
    """What is there at the start; the log goes to standard error, so that the summary stands alone."""
    _keep_others_out()
    with (
        Stops(settings.shutdown.deadline_seconds) as stops,
        application(settings, once=True, log_descriptor=STDERR) as app,
        _nothing_waits(app),
    ):
        daemon = app.daemon
        stops.tell(app)
        with _progress(daemon) as show:
            daemon.start()
            end = daemon.run(until=daemon.empty, timeout=timeout, patience=settings.retry.patience_seconds, each=show)
        held = daemon.held()
        kept = daemon.stop()
        notes = [*(held if kept else ()), *left_lying(daemon.passed, settings.folders.inbox)]
        left = kept + daemon.passed.not_taken
        done, failed = daemon.filed - daemon.quarantined, daemon.quarantined
        if json:
            counts = {"done": done, "failed": failed, "left": left, "end": end.name.lower()}
            passed = daemon.passed
            more = {"not_taken": passed.not_taken, "unmovable": passed.locked.files, "notes": notes} if notes else {}
            print(jsonlib.dumps(counts | more))
        else:
            ended = "everything else has ended" if left and end is End.DRAINED else end.value
            print("\n".join([f"{done} done, {failed} failed, {left} left: {ended}", *notes]))
        for problem in not_known(daemon.passed):
            print(f"ingestd: folders.inbox: {problem}", file=sys.stderr)
        some_left = left or daemon.passed.unknown or end is not End.DRAINED
        code = Exit.SOME_LEFT if some_left else Exit.SOME_FAILED if failed else Exit.DONE
        _end(app, code)
    return code


def left_lying(passed: Passed, inbox: Path) -> Iterator[str]:
    """A line each for what the scan did not offer and is perhaps meant to be sent; a person's terminal may show names."""
    if passed.not_taken:
        such_as = f", such as {shown(os.path.basename(passed.example))}" if passed.example else ""
        yield f"{passed.why_not_taken()}{such_as}: {TAKE_DICOM}"
    if passed.counts.get(UNWRITTEN, 0):
        yield passed.text(UNWRITTEN)
    for locked in passed.locked.alike:
        yield locked.text(shown(shlex.quote(os.fspath(inbox / locked.place))))


def not_known(passed: Passed) -> Iterator[str]:
    """A line each for what keeps the scan from knowing whether all was taken."""
    if passed.unreadable:
        yield (
            f"{passed.unreadable} of its folders could not be listed, or of its files be read: "
            "let the service's user read and enter them, then drain again"
        )
    if passed.unread:
        yield (
            f"it is not known yet whether {passed.unread} of its files are DICOM, because their beginning is not written or was "
            "not read: remove what nobody writes any more, or drain again in a quarter of an hour"
        )


@contextmanager
def _progress(daemon: Daemon) -> Iterator[Callable[[], None]]:
    """A line that moves, where somebody sees it."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("looking")

        def show() -> None:
            done, failed = daemon.filed - daemon.quarantined, daemon.quarantined
            progress.update(task, description=f"{done} done, {failed} failed, {daemon.left} to go")

        yield show


@contextmanager
def _nothing_waits(app: Application) -> Iterator[None]:
    """As _end, when the daemon ends by itself in the midst of work: the state folder was taken away, or no memory is left."""
    try:
        yield
    except IngestdError as error:
        if app.daemon.in_flight:
            print(f"ingestd: {error}", file=sys.stderr)
            leave(app, Exit.SOME_LEFT)
        raise
    except Exception:  # noqa: BLE001 - said as at the end of any process, and a supervisor starts it again
        sys.excepthook(*sys.exc_info())
        leave(app, Exit.SOME_FAILED)


def _end(app: Application, code: Exit) -> None:
    """A request or a copy that does not let go must not hold up the end: what it carries is still in the inbox."""
    if app.daemon.in_flight:
        leave(app, code)
