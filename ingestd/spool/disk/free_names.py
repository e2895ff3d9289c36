"""Which names to try, in order, for a file whose name may be taken or too long. Pure.

`a.dcm`, `a~1.dcm` to `a~9.dcm`, then `a~<8 hex digits>.dcm`: a modality that calls each of its files IM0001 must not make each move
search longer than the one before. A name that does not fit is cut at a character and ends in `~` and 8 hex digits. The digits come
from `seed`, so that the same file gets the same names after a crash.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

_COUNTED = 9
_DIGESTS = 32


def free_names(name: str, *, seed: str, limit: int, extended: bool = False) -> Iterator[str]:
    """At most `limit` bytes each. `extended`: a cut name keeps its extension, so that it can still be taken from the inbox."""
    stem, extension = os.path.splitext(name)
    if _fits(name, limit):
        yield name
        for number in range(1, _COUNTED + 1):
            if _fits(numbered := f"{stem}~{number}{extension}", limit):
                yield numbered
    for number in range(_DIGESTS):
        mark = "~" + hashlib.sha256(os.fsencode(f"{number} {seed}")).hexdigest()[:8]
        if _fits(marked := stem + mark + extension, limit):
            yield marked
            continue
        if extended and len(os.fsencode(mark + extension)) < limit:
            mark += extension
        yield _cut(stem, limit - len(os.fsencode(mark))) + mark


def _fits(name: str, limit: int) -> bool:
    return len(os.fsencode(name)) <= limit


def _cut(name: str, room: int) -> str:
    while not _fits(name, room):
        name = name[:-1]
    return name
