"""A command as a person types it, in this process: its exit code and what it wrote. Nothing of the environment reaches it."""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from ingestd.cli.main import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    code: int
    out: str
    err: str


def commanded(*arguments: str | Path, **environment: str) -> Ran:
    """`ingestd ARGUMENTS...` to its end, with nobody at the keyboard."""
    out, err = io.StringIO(), io.StringIO()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INGESTD_")}
    hook, on_sigio = sys.excepthook, signal.getsignal(signal.SIGIO)
    code: object = 0
    try:
        with (
            patch.dict(os.environ, clean | environment, clear=True),
            patch.object(sys, "argv", ["ingestd", *map(str, arguments)]),
            patch.object(sys, "stdin", io.StringIO()),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.excepthook = hook
        signal.signal(signal.SIGIO, on_sigio)
    return Ran(code=int(code) if isinstance(code, int) else 0, out=out.getvalue(), err=err.getvalue())
