"""Data partitions: each a Studies service of its own under /partitions/{name}; the plain routes are those of Microsoft.Default.

At Azure a service has partitions or has none, and where it has them the plain routes are refused; this one always answers both.
A store creates the partition that it names, mistyped or not; everything else refuses one that is not there.
"""

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ingestd.emulator import RefusedError
from ingestd.emulator.archive.archive import Archive
from ingestd.emulator.http.endpoints import Endpoint, partition_of, timestamp

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Partitions:
    """GET /partitions, and what becomes of a name in a path."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def listing(self, _request: Request) -> Response:
        """GET /partitions."""
        with self._archive.reading() as connection:
            rows = connection.execute("SELECT key, name, at_ms FROM partition ORDER BY key").fetchall()
        return JSONResponse(
            [{"partitionKey": key, "partitionName": name, "CreatedDate": timestamp(at_ms)} for key, name, at_ms in rows]
        )

    def only_known(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint behind a check that the partition of the path is there; 400 where it is not, as at Azure."""

        def checked(request: Request) -> Response:
            if not self._exists(_valid(partition_of(request))):
                raise RefusedError(400, "Specified PartitionName does not exist.")
            return endpoint(request)

        return checked

    def make(self, name: str) -> None:
        """Creates the partition unless it is there.

        Raises:
            RefusedError: 400, the name is none.
        """
        if not self._exists(_valid(name)):
            self._archive.add_partition(name)

    def _exists(self, name: str) -> bool:
        with self._archive.reading() as connection:
            return connection.execute("SELECT 1 FROM partition WHERE name = ?", (name,)).fetchone() is not None


def _valid(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise RefusedError(400, "The specified PartitionName is invalid.")
    return name
