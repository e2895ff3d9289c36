"""The origin server over HTTP (PS3.18 10.4, 10.5): ports.Origin for real.

Answers are values: whatever a service, a proxy or a network does becomes an Answer or a Held, and what it means is the core's
business. Redirects are not followed: they would carry patients' data to another place (F53). Proxies, certificates and passwords
out of the environment are not taken (F59). A body is sent from the files as they are, whole again for each attempt; where a file
is no longer what was judged, the request is broken off before the part is complete, so that no service can store it (F58, I4).

Time: a request ends at the latest response_timeout + size / minimum_rate seconds after its begin, and its answer must be there
response_timeout seconds after the last byte went out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Self
from urllib.parse import quote

from ingestd.config import Service
from ingestd.core.answers.answer import Answer, Fetched, Held, Listed, Loss
from ingestd.core.clock_doubt import ServiceDate
from ingestd.core.errors import FileError
from ingestd.core.model import Identifiers, Instance
from ingestd.core.ports import Arrival, Bodies, Clock
from ingestd.dicomweb.identity.headers import TokenSource
from ingestd.dicomweb.identity.tls import Certificates
from ingestd.dicomweb.origin.failures import page
from ingestd.dicomweb.origin.listing import Listing
from ingestd.dicomweb.origin.partitions import ACCEPT, Partition, partition_path
from ingestd.dicomweb.origin.replace import replace_by
from ingestd.dicomweb.origin.transaction import transaction
from ingestd.dicomweb.payload.answer_headers import seconds_to_wait
from ingestd.dicomweb.payload.digest import InstanceDigest
from ingestd.dicomweb.payload.json_reader import ObjectsSink
from ingestd.dicomweb.payload.metadata_reader import ElementsSink, Places
from ingestd.dicomweb.payload.multipart_reader import ACCEPT_EITHER, ACCEPT_MULTIPART, NOT_ACCEPTED
from ingestd.dicomweb.payload.store_body import Upload
from ingestd.dicomweb.payload.store_response import ACCEPT_RESPONSE, COMMENT_LIMIT
from ingestd.dicomweb.wire.authorized import MINIMUM_RATE, Signed
from ingestd.dicomweb.wire.exchange import Exchange, Reply, Request


class OriginServer:
    """`url` is the base with its version, such as https://host/v2; `connections` are kept open between requests. Any thread.

    `partition` (Azure) stands in the path of all that is stored and read. `proxy` is an http:// URL. `arrival` makes what reads an
    instance that is retrieved.
    """

    def __init__(
        self,
        *,
        url: str,
        bodies: Bodies,
        arrival: Callable[[], Arrival],
        clock: Clock,
        token: TokenSource | None = None,
        connections: int = 4,
        connect_timeout: float = 10.0,
        response_timeout: float = 300.0,
        minimum_rate: int = MINIMUM_RATE,
        tls: Certificates | None = None,
        proxy: str | None = None,
        partition: str | None = None,
    ) -> None:
        self._base = url.rstrip("/")
        self._partition = Partition(partition, clock=clock) if partition is not None else None
        self._url = self._base + partition_path(partition)
        self._bodies = bodies
        self._arrival = arrival
        self._ask_within = connect_timeout
        self._clock = clock
        self._minimum_rate = minimum_rate
        self._places = Places()
        self._tls = (tls or Certificates(clock=clock)) if self._url.startswith("https:") else None
        exchange = Exchange(
            clock=clock,
            connections=connections,
            connect_timeout=connect_timeout,
            response_timeout=response_timeout,
            tls=self._tls,
            proxy=proxy,
        )
        self._exchange = Signed(exchange, token, clock=clock, minimum_rate=minimum_rate)

    @classmethod
    def of(
        cls,
        service: Service,
        *,
        bodies: Bodies,
        arrival: Callable[[], Arrival],
        clock: Clock,
        token: TokenSource | None,
        tls: Certificates | None,
    ) -> Self:
        """As the settings have it. A connection for each slot, and one for the control."""
        return cls(
            url=service.url,
            bodies=bodies,
            arrival=arrival,
            clock=clock,
            token=token,
            connections=service.concurrency + 1,
            connect_timeout=service.connect_timeout_seconds,
            response_timeout=service.response_timeout_seconds,
            tls=tls,
            proxy=service.proxy,
            partition=service.partition,
        )

    def store(self, instances: Sequence[Instance]) -> Answer:
        """One Store transaction (PS3.18 10.5), to the Studies service whatever the studies."""
        return self._store("POST", instances)

    def control(self) -> Answer:
        """An empty Store transaction: `--boundary--` and nothing in it.

        It would create a partition that does not exist. That is answered as the 404 it should have been, and nothing is sent.
        """
        return self._no_partition() or self._store("POST", ())

    def metadata(self, ids: Identifiers) -> Held:
        """Retrieve Metadata of one instance (PS3.18 10.4.1.1.2)."""
        with ElementsSink(self._places, rate=self._minimum_rate) as sink:
            reply = self._exchange.ask(Request(method="GET", url=f"{self._instance(ids)}/metadata", sink=sink))
            elements = sink.elements() if reply.status == 200 and reply.whole else None
        return Held(
            status=reply.status,
            loss=reply.loss,
            elements=elements,
        )

    def listed(self, study_uid: str, series_uids: Sequence[str]) -> Listed:
        """Which instances of these series the service has, as far as it says so within connect_timeout; see listing.py."""
        return self._listing().of(study_uid, series_uids)

    def shows(self, ids: Identifiers) -> bool | None:
        """Whether Search (PS3.18 10.6) shows this instance; None where that was not answered within connect_timeout."""
        return self._listing().shows(*ids.key)

    @property
    def problem(self) -> str | None:
        """What stops requests now or later, in one line for the log: a certificate, a key, a token that can't be had."""
        if self._tls is not None and self._tls.problem is not None:
            return self._tls.problem
        return self._exchange.token_problem

    @property
    def silent_seconds(self) -> float:
        """For how long a request has been out that nothing has come back for."""
        return self._exchange.silent_seconds()

    @property
    def date(self) -> ServiceDate | None:
        """What time it is at the service, by its newest whole answer that has a Date (RFC 9110 6.6.1)."""
        return self._exchange.date

    def fetch(self, ids: Identifiers) -> Fetched:
        """Retrieve Instance (PS3.18 10.4.1.1.1), digested as it arrives; see digest.py."""
        found = self._retrieve(ids, ACCEPT_EITHER)
        return self._retrieve(ids, ACCEPT_MULTIPART) if found.status in NOT_ACCEPTED else found

    def replace(self, instance: Instance) -> Answer:
        """PUT, or DELETE and then POST; see replace.py for what lies between those two."""
        return replace_by(
            put=lambda: self._store("PUT", (instance,)),
            delete=lambda: self._delete(instance),
            post=lambda: self._store("POST", (instance,)),
        )

    def abort(self) -> None:
        """End every request under way; they answer as lost, and later ones as not sent. Any thread; returns at once."""
        self._exchange.abort()

    def close(self) -> None:
        """Give the idle connections back. Call it when no request is under way."""
        self._exchange.close()

    def _no_partition(self) -> Answer | None:
        """Why the control can't be sent: what GET /partitions was answered. None where the partition exists, or none is set."""
        if self._partition is None or self._partition.exists():
            return None
        started = self._clock.monotonic()
        reply = self._exchange.ask(Request(method="GET", url=f"{self._base}/partitions", accept=ACCEPT))
        problem = self._partition.learn(reply.status, reply.content)
        if self._partition.exists():
            return None
        return Answer(
            status=404 if problem is not None else reply.status,
            loss=reply.loss,
            retry_after=seconds_to_wait(reply.retry_after, now=self._clock.wall()),
            comment=problem or reply.problem,
            problem=problem or reply.problem,
            sent_bytes=reply.sent,
            seconds=self._clock.monotonic() - started,
        )

    def _store(self, method: str, instances: Sequence[Instance]) -> Answer:
        def send(upload: Upload, limit: int) -> Reply:
            url = f"{self._url}/studies"
            return self._exchange.ask(
                Request(method=method, url=url, accept=ACCEPT_RESPONSE, upload=upload, limit=limit)
            )

        return transaction(Upload(instances, self._bodies), send, clock=self._clock, said=_said)

    def _retrieve(self, ids: Identifiers, accept: str) -> Fetched:
        sink = InstanceDigest(self._arrival, rate=self._minimum_rate)
        reply = self._exchange.ask(Request(method="GET", url=self._instance(ids), accept=accept, sink=sink))
        found = sink.finish() if reply.status == 200 and reply.whole else None
        return Fetched(
            status=reply.status,
            loss=reply.loss,
            sha256=found.sha256 if found is not None else None,
            transfer_syntax_uid=found.transfer_syntax_uid if found is not None else None,
            key=found.key if found is not None else None,
        )

    def _listing(self) -> Listing:
        def ask(path: str, *, sink: ObjectsSink, within: float) -> Reply:
            return self._exchange.ask(Request(method="GET", url=f"{self._url}{path}", sink=sink, answer_within=within))

        return Listing(ask, clock=self._clock, within=self._ask_within, rate=self._minimum_rate)

    def _delete(self, instance: Instance) -> Answer:
        """Delete what the service holds in this one's place, once our own file has been read to its end.

        Not in PS3.18, but Azure and others have it where the standard has Retrieve. Any type will do for what it says: Orthanc
        answers 400 for a type that it can't make, instead of 405.
        """
        started = self._clock.monotonic()
        try:
            deque(self._bodies.read(instance), maxlen=0)
        except FileError:
            return Answer(loss=Loss.FILE_CHANGED, changed=(0,), digests=(None,))
        reply = self._exchange.ask(Request(method="DELETE", url=self._instance(instance.ids), accept="*/*"))
        return Answer(
            status=reply.status,
            loss=reply.loss,
            retry_after=seconds_to_wait(reply.retry_after, now=self._clock.wall()),
            comment=_said(reply),
            problem=reply.problem,
            page=page(reply),
            sent_bytes=reply.sent,
            seconds=self._clock.monotonic() - started,
        )

    def _instance(self, ids: Identifiers) -> str:
        study, series, instance = (_segment(uid) for uid in ids.key)
        return f"{self._url}/studies/{study}/series/{series}/instances/{instance}"


def _segment(uid: str) -> str:
    """A UID as one segment of a path, whatever a file says its UID is: nothing in it may climb or end the path."""
    return quote(uid, safe="") if uid.strip(".") else "%2E" * len(uid)


def _said(reply: Reply) -> str | None:
    """Why nothing was sent, or what a person can read of a body that is no Store Instances Response."""
    text = reply.content[: 4 * COMMENT_LIMIT].decode("utf-8-sig", errors="replace").strip()
    return reply.problem or text[:COMMENT_LIMIT] or None
