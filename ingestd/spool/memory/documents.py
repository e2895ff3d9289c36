"""Files of ours in the state folder that hold one JSON object each: written whole and durably, read as empty where none is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ingestd.spool.disk import handles

_LONGEST = 64 << 10


def keep(folder: Path, name: str, document: Mapping[str, object]) -> None:
    """All of it or what was there before. Raises OSError."""
    handle = handles.open_root(folder)
    try:
        handles.write_durably(handle, name, (json.dumps(document) + "\n").encode("ascii"))
    finally:
        os.close(handle)


def loaded(file: Path) -> dict[str, Any]:  # Any: what JSON can hold
    """What it holds, empty where no object can be read."""
    try:
        folder = handles.open_root(file.parent)
        try:
            handle, _ = handles.open_file(folder, file.name)  # a FIFO of that name is not waited for
        finally:
            os.close(folder)
        with open(handle, "rb") as opened:
            document = json.loads(opened.read(_LONGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
