"""httpx over our own sockets, by the public interfaces of httpx and httpcore alone. Nothing else here knows httpx.

HTTP/1.1 only: in HTTP/2 an early refusal of a large body is lost (httpcore reads it as a broken stream). httpcore's errors pass
through as they are; exchange.py maps them once. There is no limit on connections but the caller's threads, each of which uses one
at a time: a limit would make a busy daemon look like a service that is down.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version

import httpcore
import httpx

from ingestd.dicomweb.wire.backend import Wires
from ingestd.dicomweb.wire.connection import Wire

KEEP_IDLE_SECONDS = 30.0  # an idle connection, until it is closed: servers and load balancers keep one longer


Response = httpx.Response


class Client:
    """Sends requests. Any thread. httpcore's errors pass through."""

    def __init__(self, wires: Wires, *, connections: int, proxy: str | None) -> None:
        """`connections` are kept open between requests. `proxy` is an http:// URL."""
        self._client = httpx.Client(
            transport=_Transport(wires, connections=connections, proxy=proxy),
            headers={"Accept-Encoding": "identity", "User-Agent": f"ingestd/{version('ingestd')}"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # takes none
            timeout=httpx.Timeout(None),  # Call keeps time
            trust_env=False,
            follow_redirects=False,
        )

    def send(
        self, method: str, url: str, headers: Mapping[str, str], content: Iterable[bytes] | None, *, fresh: bool
    ) -> Response:
        """The answer as far as its head; whoever reads the body closes it. `fresh`: on a connection of its own."""
        request = self._client.build_request(method, url, headers=dict(headers), content=content)
        request.extensions = {"fresh": fresh}
        return self._client.send(request, stream=True)

    def close(self) -> None:
        self._client.close()


class _Transport(httpx.BaseTransport):
    """A request with the extension `fresh` goes out on a connection of its own."""

    def __init__(self, wires: Wires, *, connections: int, proxy: str | None) -> None:
        self._kept = _pool(wires, proxy, connections)
        self._fresh = _pool(wires, proxy, 0)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        pool = self._fresh if request.extensions.get("fresh") else self._kept
        answer = pool.handle_request(
            httpcore.Request(
                method=request.method.encode("ascii"),
                url=httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
            )
        )
        _expect_body(answer)
        # Redirects are never followed (F53), but httpx reads Location all the same and raises where it is no URL.
        headers = [(name, value) for name, value in answer.headers if name.lower() != b"location"]
        return httpx.Response(answer.status, headers=headers, stream=_Stream(answer))

    def close(self) -> None:
        self._kept.close()
        self._fresh.close()


def _pool(wires: Wires, proxy: str | None, kept: int) -> httpcore.ConnectionPool:
    # httpcore's own context would read the environment. This one trusts nobody, and is never used: wires have their own.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if proxy is None:
        return httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=None,
            max_keepalive_connections=kept,
            keepalive_expiry=KEEP_IDLE_SECONDS,
            network_backend=wires,
        )
    return httpcore.HTTPProxy(
        proxy,
        ssl_context=context,
        max_connections=None,
        max_keepalive_connections=kept,
        keepalive_expiry=KEEP_IDLE_SECONDS,
        network_backend=wires,
    )


def _expect_body(answer: httpcore.Response) -> None:
    """Tell the wire what belongs to this answer (RFC 9112 6.3), so that nothing behind it is taken for the next one (F83).

    Raises RemoteProtocolError where it says its length in two ways: whoever stands between may have read it in the other one.
    """
    headers = {name.lower(): value for name, value in answer.headers}
    length = headers.get(b"content-length")
    chunked = b"transfer-encoding" in headers  # the parser takes no other
    if chunked and length is not None:
        answer.close()
        raise httpcore.RemoteProtocolError("Content-Length beside Transfer-Encoding")
    wire = answer.extensions["network_stream"]
    if isinstance(wire, Wire):
        wire.body_follows(chunked=chunked, length=int(length) if length is not None else None)


class _Stream(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()
