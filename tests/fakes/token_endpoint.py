"""A token endpoint over https on loopback, under a CA made for the test, that the real azure-identity talks to.

It speaks Entra ID v2.0 (client credentials with a secret, with an assertion signed by a certificate, with a federated token) and
both shapes of managed identity (IMDS, App Service), and issues RS256 tokens that `ingestd emulator --jwt-key-file` can check. It
counts what it is asked, and can hang, fail, repeat itself or hand out what has expired.
"""

from __future__ import annotations

import datetime
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from fakes.pki import Authority

RESOURCE = "https://dicom.healthcareapis.azure.com"
TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
IDENTITY_HEADER = "app-service-header"
FEDERATED = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(kw_only=True)
class TokenEndpoint:
    """What a test sees and sets. Settings may be changed at any time."""

    folder: Path
    life: int = 20
    secret: str = "s3cret"
    federated: str = "federated"  # what a workload's token file holds
    certificate: x509.Certificate | None = None  # whose signature is taken for an assertion
    status: int = 200  # other than 200: refuse with it
    expired: bool = False
    repeat: bool = False  # the same token again, as IMDS gives
    released: threading.Event = field(default_factory=threading.Event)  # cleared: every token request hangs
    ended: threading.Event = field(default_factory=threading.Event)
    asked: Counter[str] = field(default_factory=Counter)
    issued: list[str] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self.released.set()
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._number = itertools.count()
        self.key_file = self.folder / "jwt-key.pem"
        self.key_file.write_bytes(
            self._key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        authority = Authority(self.folder)
        self.ca_file, self.context = authority.ca, authority.server()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def tokens_asked(self) -> int:
        """Requests for a token, however they were answered."""
        return sum(count for kind, count in self.asked.items() if kind != "openid")

    def token(self, *, life: int) -> str:
        now = int(time.time())
        claims = {
            "aud": RESOURCE,
            "iss": f"{self.url}/{TENANT}/v2.0",
            "iat": now,
            "exp": now + life,
            "jti": str(next(self._number)),
        }
        return jwt.encode(claims, self._key, algorithm="RS256")

    # What the handler asks

    def entra(self, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        kind = "client_secret" if "client_secret" in form else "assertion"
        self.asked[kind] += 1
        if not self._serving():
            return self.status, {"error": "server_error", "error_description": f"AADSTS90033: {form}"}
        good = form["client_secret"] == self.secret if kind == "client_secret" else self._vouched_for(form)
        if not good or form["client_id"] != CLIENT or form["scope"] != f"{RESOURCE}/.default":
            description = (
                f"AADSTS7000215: Invalid client secret provided: {form}"  # Entra's number, and more than it says
            )
            return 401, {"error": "invalid_client", "error_description": description}
        return 200, {"token_type": "Bearer", "expires_in": self._told(), "access_token": self._issue()}

    def managed(self, kind: str, query: dict[str, str], authentic: bool) -> tuple[int, dict[str, object]]:
        self.asked[kind] += 1
        if not self._serving():
            return self.status, {"error": "unavailable"}
        if not authentic or query.get("resource") != RESOURCE:
            return 400, {"error": "invalid_request", "error_description": str(query)}
        now = int(time.time())
        return 200, {
            "access_token": self._issue(),
            "expires_in": str(self._told()),
            "expires_on": str(now + self._told()),
            "resource": RESOURCE,
            "token_type": "Bearer",
        }

    def _serving(self) -> bool:
        while not self.released.wait(0.05) and not self.ended.is_set():
            pass
        return self.status == 200

    def _vouched_for(self, form: dict[str, str]) -> bool:
        if form.get("client_assertion_type") != FEDERATED:
            return False
        assertion = form["client_assertion"]
        if self.certificate is None:
            return assertion == self.federated
        public = self.certificate.public_key()
        assert isinstance(public, rsa.RSAPublicKey)
        try:
            claims = jwt.decode(assertion, public, algorithms=["PS256", "RS256"], options={"verify_aud": False})
        except jwt.InvalidTokenError:
            return False
        return bool(claims["iss"] == CLIENT == claims["sub"] and claims["aud"].startswith(self.url))

    def _told(self) -> int:
        return -5 if self.expired else self.life

    def _issue(self) -> str:
        if not (self.repeat and self.issued):
            self.issued.append(self.token(life=self._told()))
        return self.issued[-1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    endpoint: TokenEndpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        if self.path == f"/{TENANT}/oauth2/v2.0/token":
            self._answer(*self.endpoint.entra(form))
        else:
            self._answer(404, {})

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        match parts.path:
            case "/metadata/identity/oauth2/token":
                self._answer(*self.endpoint.managed("imds", query, self.headers.get("Metadata") == "true"))
            case "/app-service":
                authentic = self.headers.get("X-IDENTITY-HEADER") == IDENTITY_HEADER
                self._answer(*self.endpoint.managed("app_service", query, authentic))
            case path if path == f"/{TENANT}/v2.0/.well-known/openid-configuration":
                self.endpoint.asked["openid"] += 1
                base = f"{self.endpoint.url}/{TENANT}"
                self._answer(
                    200,
                    {
                        "issuer": f"{base}/v2.0",
                        "token_endpoint": f"{base}/oauth2/v2.0/token",
                        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                    },
                )
            case _:
                self._answer(404, {})

    def _answer(self, status: int, content: dict[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, endpoint: TokenEndpoint) -> None:
        self._context = endpoint.context
        super().__init__(("127.0.0.1", 0), type("Handler", (_Handler,), {"endpoint": endpoint}))

    def finish_request(self, request: object, client_address: object) -> None:
        """The handshake on the connection's own thread: one slow client must not stop the rest."""
        with suppress(OSError), self._context.wrap_socket(request, server_side=True) as encrypted:  # type: ignore[arg-type]  # a socket
            super().finish_request(encrypted, client_address)  # type: ignore[arg-type]  # as above

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def token_endpoint(folder: Path, **settings: object) -> Iterator[TokenEndpoint]:
    folder.mkdir(parents=True, exist_ok=True)
    endpoint = TokenEndpoint(folder=folder, **settings)  # type: ignore[arg-type]  # the test's own keywords
    server = _Server(endpoint)
    endpoint.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.ended.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def client_certificate() -> tuple[bytes, x509.Certificate]:
    """An application's RSA key and certificate in one PEM, and the certificate for the endpoint."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ingestd")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    certificate = made.sign(key, hashes.SHA256())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return secret + certificate.public_bytes(serialization.Encoding.PEM), certificate
