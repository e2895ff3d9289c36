"""Who may ask: everybody, or whoever shows one of the bearer tokens of a file, or a token that a key signed (signed_tokens.py).

A token file holds one token a line and is read anew whenever it changed; while it is missing nobody gets in. The check comes before
the body is read, as at Azure, and every route is behind it.
"""

import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ingestd.emulator import EmulatorError

AUDIENCE: Final = "https://dicom.healthcareapis.azure.com"
_CHALLENGE: Final = (
    f'Bearer authorization_uri="https://login.microsoftonline.com/common", resource_id="{AUDIENCE}", realm="{AUDIENCE}"'
)

T = TypeVar("T")


class Access(Protocol):
    """Decides by the Authorization header alone."""

    def admits(self, authorization: str) -> bool: ...


class Reread(Generic[T]):
    """What a file says as it is now: read anew whenever it has changed or was replaced."""

    def __init__(self, path: Path, parse: Callable[[bytes], T]) -> None:
        self._path = path
        self._parse = parse
        self._seen: tuple[tuple[int, ...], T] | None = None

    def now(self) -> T:
        """Raises OSError."""
        status = os.stat(self._path)
        identity = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        if self._seen is None or self._seen[0] != identity:
            self._seen = identity, self._parse(self._path.read_bytes())
        return self._seen[1]


class TokenFile:
    """The tokens of a file, as they are now."""

    def __init__(self, path: Path) -> None:
        """Raises EmulatorError when the file cannot be read or holds no token."""
        self._tokens = Reread(path, _tokens)
        try:
            tokens = self._tokens.now()
        except OSError as error:
            raise EmulatorError(f"token file {path}: {error.strerror}; write one token a line into it") from error
        if not tokens:
            raise EmulatorError(f"token file {path}: it holds no token; write one token a line into it")

    def admits(self, authorization: str) -> bool:
        """True for 'Bearer ' and one of the tokens."""
        shown = bearer_of(authorization)
        try:
            return shown is not None and any(hmac.compare_digest(shown, known) for known in self._tokens.now())
        except OSError:
            return False


def _tokens(content: bytes) -> list[bytes]:
    return [line.strip() for line in content.splitlines() if line.strip()]


def bearer_of(authorization: str) -> bytes | None:
    """The token of an Authorization header, None where it is of another scheme."""
    scheme, _, token = authorization.partition(" ")
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" else None


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
