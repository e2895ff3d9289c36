"""The origin server over HTTP (PS3.18 10.4, 10.5): ports.Origin for real.

Answers are values: whatever a service, a proxy or a network does becomes an Answer or a Held, and what it means is the core's
business. Redirects are not followed: they would carry patients' data to another place (F53). Proxies, certificates and passwords
out of the environment are not taken (F59). A body is sent from the files as they are, whole again for each attempt; where a file
is no longer what was judged, the request is broken off before the part is complete, so that no service can store it (F58, I4).

Time: a request ends at the latest response_timeout + size / minimum_rate seconds after its begin, and its answer must be there
response_timeout seconds after the last byte went out. See wire.py for what no deadline reaches.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from urllib.parse import quote

import httpx

from ingestd.core.answer import Answer, Held, Loss
from ingestd.core.errors import FileError
from ingestd.core.model import Identifiers, Instance
from ingestd.core.ports import Bodies, Clock
from ingestd.dicomweb.auth import TokenError, TokenSource
from ingestd.dicomweb.dicom_json import elements, one_dataset
from ingestd.dicomweb.exchange import Exchange
from ingestd.dicomweb.multipart import StoreBody
from ingestd.dicomweb.retry_after import seconds_to_wait
from ingestd.dicomweb.store_response import COMMENT_LIMIT, read_store_response

MINIMUM_RATE = 64 * 1024  # bytes a second: half a megabit, the slowest line that is still worth waiting for


class OriginServer:
    """`url` is the base with its version, such as https://host/v2; `connections` are kept open between requests. Any thread."""

    def __init__(
        self,
        *,
        url: str,
        bodies: Bodies,
        clock: Clock,
        token: TokenSource | None = None,
        connections: int = 4,
        connect_timeout: float = 10.0,
        response_timeout: float = 300.0,
        minimum_rate: int = MINIMUM_RATE,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._bodies = bodies
        self._clock = clock
        self._token = token
        self._minimum_rate = minimum_rate
        if tls is None and self._url.startswith("https:"):
            tls = httpx.create_ssl_context(trust_env=False)
        self._exchange = Exchange(
            clock=clock,
            connections=connections,
            connect_timeout=connect_timeout,
            response_timeout=response_timeout,
            tls=tls,
            headers=(
                ("Accept", "application/dicom+json"),
                ("Accept-Encoding", "identity"),
                ("User-Agent", f"ingestd/{version('ingestd')}"),
            ),
        )

    def store(self, instances: Sequence[Instance]) -> Answer:
        """One Store transaction (PS3.18 10.5), to the Studies service whatever the studies."""
        return self._store(instances)

    def control(self) -> Answer:
        """An empty Store transaction: `--boundary--` and nothing in it."""
        return self._store(())

    def metadata(self, ids: Identifiers) -> Held:
        """Retrieve Metadata of one instance (PS3.18 10.4.1.1.2)."""
        study, series, instance = (_segment(uid) for uid in ids.key)
        url = f"{self._url}/studies/{study}/series/{series}/instances/{instance}/metadata"
        try:
            headers = self._authorization()
        except TokenError:
            return Held(status=None, loss=Loss.NOT_SENT)
        reply = self._exchange.ask(lambda: self._exchange.request("GET", url, headers))
        dataset = one_dataset(reply.content_type, reply.content) if reply.status == 200 and reply.whole else None
        return Held(
            status=reply.status,
            loss=reply.loss,
            elements=None if dataset is None else elements(dataset),
            retry_after=seconds_to_wait(reply.retry_after, now=self._clock.wall()),
        )

    def abort(self) -> None:
        """End every request under way; they answer as lost, and later ones as not sent. Any thread; returns at once."""
        self._exchange.abort()

    def close(self) -> None:
        """Give the idle connections back. Call it when no request is under way."""
        self._exchange.close()

    def _store(self, instances: Sequence[Instance]) -> Answer:
        started = self._clock.monotonic()
        try:
            headers = self._authorization()
        except TokenError as error:
            return Answer(loss=Loss.NOT_SENT, comment=f"no token: {error}")
        attempts: list[StoreBody] = []

        def build() -> httpx.Request:
            attempts.append(body := StoreBody(instances, self._bodies))
            own = {"Content-Type": body.content_type, "Content-Length": str(body.length)}
            return self._exchange.request("POST", f"{self._url}/studies", {**headers, **own}, body)

        size = sum(instance.size for instance in instances)
        try:
            reply = self._exchange.ask(build, send_within=size / self._minimum_rate)
        except FileError:
            changed = attempts[-1].failed
            return Answer(
                loss=Loss.FILE_CHANGED,
                seconds=self._clock.monotonic() - started,
                digests=attempts[-1].digests,
                changed=() if changed is None else (changed,),
            )
        response = read_store_response(reply.content_type, reply.content) if reply.whole else None
        return Answer(
            status=reply.status,
            loss=reply.loss,
            response=response,
            retry_after=seconds_to_wait(reply.retry_after, now=self._clock.wall()),
            comment=None if response else _start_of(reply.content),
            sent_bytes=reply.sent,
            seconds=self._clock.monotonic() - started,
            digests=attempts[-1].digests,
        )

    def _authorization(self) -> Mapping[str, str]:
        return self._token.headers() if self._token is not None else {}


def _segment(uid: str) -> str:
    """A UID as one segment of a path, whatever a file says its UID is: nothing in it may climb or end the path."""
    return quote(uid, safe="") if uid.strip(".") else "%2E" * len(uid)


def _start_of(content: bytes) -> str | None:
    """What a person can read of a body that is no Store Instances Response."""
    return content[: 4 * COMMENT_LIMIT].decode("utf-8-sig", errors="replace").strip()[:COMMENT_LIMIT] or None
