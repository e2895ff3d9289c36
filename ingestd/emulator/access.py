"""Who may ask: everybody, or whoever shows one of the bearer tokens of a file, or a token that a key signed (signed_tokens.py).

A token file holds one token a line and is read anew whenever it changed; while it is missing nobody gets in. The check comes before
the body is read, as at Azure, and every route is behind it.
"""

import hmac
import os
from pathlib import Path
from typing import Final, Protocol

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ingestd.emulator import EmulatorError

AUDIENCE: Final = "https://dicom.healthcareapis.azure.com"
Identity = tuple[int, int, int, int, int]
_CHALLENGE: Final = (
    f'Bearer authorization_uri="https://login.microsoftonline.com/common", resource_id="{AUDIENCE}", realm="{AUDIENCE}"'
)


class Access(Protocol):
    """Decides by the Authorization header alone."""

    def admits(self, authorization: str) -> bool: ...


class TokenFile:
    """The tokens of a file, as they are now."""

    def __init__(self, path: Path) -> None:
        """Raises EmulatorError when the file cannot be read or holds no token."""
        self._path = path
        self._seen: Identity | None = None
        self._tokens: list[bytes] = []
        try:
            self._read_if_changed()
        except OSError as error:
            raise EmulatorError(f"token file {path}: {error.strerror}; write one token a line into it") from error
        if not self._tokens:
            raise EmulatorError(f"token file {path}: it holds no token; write one token a line into it")

    def admits(self, authorization: str) -> bool:
        """True for 'Bearer ' and one of the tokens."""
        try:
            self._read_if_changed()
        except OSError:
            return False
        shown = bearer_of(authorization)
        return shown is not None and any(hmac.compare_digest(shown, known) for known in self._tokens)

    def _read_if_changed(self) -> None:
        identity = identity_of(self._path)
        if identity != self._seen:
            self._tokens = [line.strip() for line in self._path.read_bytes().splitlines() if line.strip()]
            self._seen = identity


def bearer_of(authorization: str) -> bytes | None:
    """The token of an Authorization header, None where it is of another scheme."""
    scheme, _, token = authorization.partition(" ")
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" else None


def identity_of(path: Path) -> Identity:
    """Differs when the file has changed or was replaced. Raises OSError."""
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class BearerOnly:
    """ASGI middleware: 401 with Azure's challenge for who is not admitted."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        shown = Headers(scope=scope).get("authorization")
        if shown is not None and self._access.admits(shown):
            await self._app(scope, receive, send)
            return
        challenge = _CHALLENGE if shown is None else _CHALLENGE + ', error="invalid_token"'
        await Response(status_code=401, headers={"WWW-Authenticate": challenge})(scope, receive, send)
