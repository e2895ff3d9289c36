"""What a person sees while a command talks to the service: rows on standard output; on standard error what happens meanwhile.

A bar moves on standard error where that is a terminal. Rows that go to the same terminal are printed through it, above the bar.
"""

from __future__ import annotations

import json as jsonlib
import logging
import random
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.text import Text

from ingestd.cli.options import LogLevel
from ingestd.cli.terminal import console, shown
from ingestd.config import ServiceSettings
from ingestd.dicomweb.asking.session import Session, session
from ingestd.dicomweb.wire.exchange import Reply
from ingestd.ops.clock import SystemClock

LABEL_WIDTH = 10


class Screen:
    """`json`: rows are objects, one a line. At the level DEBUG each request is said."""

    def __init__(self, settings: ServiceSettings, *, json: bool, level: LogLevel | None) -> None:
        self.settings = settings
        self.json = json
        self._verbose = level is LogLevel.DEBUG
        self._out = console()
        self._err = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None

    def show(self, row: RenderableType, *, whole: bool = False) -> None:
        """A row for people; `whole`: the terminal breaks it, so that it is one line to whoever copies it."""
        on = self._bar.console if self._bar is not None and self._out.is_terminal else self._out
        on.print(row, soft_wrap=whole)

    def text(self, line: str) -> None:
        """A line of ours, whatever stands in it."""
        self.show(Text(shown(line)), whole=not self._out.is_terminal)

    def emit(self, row: Mapping[str, object]) -> None:
        """An object for programs; json escapes every control character."""
        print(jsonlib.dumps(row))

    def record(self, lines: Sequence[tuple[Text, str]], *, width: int = LABEL_WIDTH) -> None:
        """A row of lines, each with its label in a column of `width`. A terminal folds what is too long, a pipe gets it whole."""
        for label, value in lines:
            label.pad_right(max(width - len(label), 1))
            text = Text(shown(value))
            folded = text.wrap(self._out, self._out.width - width) if self._out.is_terminal else [text]
            for number, line in enumerate(folded):
                row = Text.assemble(label if number == 0 else " " * width, line)
                row.rstrip()
                self.show(row, whole=True)

    def say(self, line: str) -> None:
        """Something that happens meanwhile; standard error."""
        on = self._bar.console if self._bar is not None else self._err
        on.print(Text(f"ingestd: {shown(line)}"), soft_wrap=True)

    @contextmanager
    def moving(self, total: int | None, what: str) -> Iterator[Callable[[int, int], None]]:
        """A bar: the function in it takes how many are there and how many bytes more have come. `what`: such as "instances"."""
        columns = (TextColumn("{task.description}"), BarColumn(20), DownloadColumn(), TransferSpeedColumn())
        seen = self._err.is_terminal
        with Progress(
            *columns, console=self._err, disable=not seen, transient=True, redirect_stdout=False, redirect_stderr=False
        ) as bar:
            task = bar.add_task("", total=None)
            self._bar = bar if seen else None

            def move(count: int, more: int) -> None:
                of = "" if total is None else f" of {total}"
                bar.update(task, description=f"{count}{of} {what}", advance=more)

            move(0, 0)
            try:
                yield move
            finally:
                self._bar = None

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Somebody to ask, whose waits and requests are said here."""
        url, attempts = self.settings.service.url, self.settings.retry.instance_attempts

        def rest(seconds: float, why: str, tries: int) -> None:
            self.say(f"{url}: {why}: again in {seconds:.0f} s (try {tries + 1} of {attempts})")
            threading.Event().wait(seconds)

        def told(method: str, path: str, reply: Reply) -> None:
            if self._verbose:
                came = reply.loss.value if reply.loss is not None else reply.status
                self.say(f"{method} {url}{path}: {came}")

        with (
            _silence(),
            session(self.settings, clock=SystemClock(), rand=random.random, rest=rest, told=told) as asking,
        ):
            yield asking


@contextmanager
def _silence() -> Iterator[None]:
    """What libraries log goes nowhere: azure-identity's can quote a secret (I7). What matters is in the errors."""
    nowhere = logging.NullHandler()
    logging.getLogger().addHandler(nowhere)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(nowhere)


def is_interactive() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin.isatty()


def size(count: int) -> str:
    """Bytes as people read them."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"
