"""The files of the emulator's instances between whoever deletes them and whoever retrieves them."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ingestd.emulator.archive.blobs import Blobs

KEY = "ab00"


def _delete(blobs: Blobs) -> None:
    blobs.delete([KEY])


def _let_go(blobs: Blobs) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(blobs.held([KEY]))
        blobs.delete([KEY])


@pytest.mark.parametrize("remove", [_delete, _let_go])
def test_who_finds_a_file_while_it_is_held_has_it_to_the_end(
    remove: Callable[[Blobs], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retrieval that comes in the middle of a delete finds the file gone, and looks again; it never loses one it has found."""
    blobs = Blobs(os.fspath(tmp_path))
    path = Path(blobs.path(KEY))
    path.write_bytes(b"pixels")
    found: list[bool] = []
    unlink = os.unlink

    def retrieve() -> None:
        with blobs.held([KEY]):
            found.append(path.exists())

    threads = [threading.Thread(target=retrieve)]

    def unlinked(name: str) -> None:
        threads[0].start()
        threads[0].join(0.5)
        unlink(name)

    monkeypatch.setattr(os, "unlink", unlinked)
    remove(blobs)
    threads[0].join(10)
    assert (found, path.exists()) == ([False], False)
