"""Clients of the embedded service, for tests that look at it over HTTP."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from ingestd.emulator.server import running

JSON = {"Accept": "application/dicom+json"}
_NUMBERS = itertools.count()


@contextmanager
def serving(data: Path) -> Iterator[httpx.Client]:
    """A service with this folder; paths are those of version 2."""
    with running(data=data) as emulator, httpx.Client(base_url=emulator.url, headers=JSON) as client:
        yield client


@contextmanager
def new_partition(service: httpx.Client) -> Iterator[httpx.Client]:
    """A partition of that service with nothing in it: as good as a service of one's own, and there at once."""
    url = f"{service.base_url}partitions/{next(_NUMBERS)}"
    with httpx.Client(base_url=url, headers=JSON) as client:
        yield client
