"""What libraries and dying threads want to say, without their words.

httpx logs URLs, azure-identity quotes answers, pydicom's warnings quote elements, and the text of an OSError is a path. None of
that may be read (I7), and all of it should be noticed (F10). So a library's record, a Python warning, an exception that nobody can
catch (in a finaliser) and one that ends a thread each become one line that says who, where and which type, and never what. One
place speaks at most once a minute (I8).
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from ingestd.core.events import Event
from ingestd.core.ports import Clock
from ingestd.ops.logs import Log

LIBRARIES = (
    "httpx",
    "httpcore",
    "azure",
    "msal",
    "urllib3",
    "watchdog",
    "pydicom",
    "asyncio",
    "uvicorn",
    "py.warnings",
)
QUIET_SECONDS = 60.0  # the next line about the same place in a library
FRAMES = 4


@contextmanager
def capture(log: Log, clock: Clock) -> Iterator[None]:
    """Route what others say into `log` until the block ends; then everything is as it was."""
    root = logging.getLogger()
    handlers, level, hook = list(root.handlers), root.level, threading.excepthook
    levels = {name: logging.getLogger(name).level for name in LIBRARIES}
    root.handlers[:] = [_Handler(log, clock)]
    root.setLevel(logging.WARNING)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    threading.excepthook = lambda args: _thread_died(log, args)
    unraisable, sys.unraisablehook = sys.unraisablehook, _unraisable
    try:
        yield
    finally:
        sys.unraisablehook = unraisable
        threading.excepthook = hook
        logging.captureWarnings(False)
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)
        root.handlers[:] = handlers
        root.setLevel(level)


def where(traceback: TracebackType | None) -> str:
    """Module and line of the innermost frames, innermost first; no file name, no source line, no local variable."""
    frames: list[str] = []
    while traceback is not None:
        frames.append(f"{traceback.tb_frame.f_globals.get('__name__', '?')}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return " < ".join(reversed(frames[-FRAMES:]))


class _Handler(logging.Handler):
    def __init__(self, log: Log, clock: Clock) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._clock = clock
        self._kept_back: dict[tuple[str, str, int], tuple[float, int]] = {}  # place -> (last spoken, since then)

    def emit(self, record: logging.LogRecord) -> None:
        place = (record.name, record.module, record.lineno)
        now = self._clock.monotonic()
        spoken, kept_back = self._kept_back.get(place, (-QUIET_SECONDS, 0))
        if now - spoken < QUIET_SECONDS:
            self._kept_back[place] = (spoken, kept_back + 1)
            return
        self._kept_back[place] = (now, 0)
        error, _, traceback = record.exc_info or (None, None, None)
        self._log.log(
            Event.LIBRARY,
            library=record.name,
            where=where(traceback) if traceback else f"{record.module}:{record.lineno}",
            error=error.__name__ if error else None,
            repeated=kept_back or None,
        )


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    error = args.exc_value or args.exc_type()
    logging.getLogger("python").warning("unraisable", exc_info=(args.exc_type, error, args.exc_traceback))


def _thread_died(log: Log, args: threading.ExceptHookArgs) -> None:
    log.log(
        Event.THREAD_DIED,
        thread=args.thread.name if args.thread else None,
        error=args.exc_type.__name__,
        where=where(args.exc_traceback),
    )
