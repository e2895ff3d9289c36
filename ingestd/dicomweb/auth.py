"""Who we are: where the Authorization header of a request comes from.

A credential that can't be had is an outage like any other: TokenError, which the client answers as "nothing sent", so files stay
where they are. Its text names a class, never what the class said: identity libraries quote requests and secrets (I7).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, assert_never

from ingestd.core.errors import ConfigurationError, IngestdError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

AzureMode = Literal["default", "managed-identity", "workload-identity"]

TOKEN_FILE_LIMIT = 64 * 1024
_B64TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750 2.1


class TokenError(IngestdError):
    """There is no token to be had now. Never leaves this package."""


class TokenSource(Protocol):
    """Any thread. Asked before each request, so it keeps what it has while that is good."""

    def headers(self) -> Mapping[str, str]:
        """The headers that prove who we are. Raises TokenError."""


class TokenFile:
    """A bearer token in a file, read again when the file changed or was replaced (Kubernetes swaps a symlink)."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError where it can't be read now, or others on this machine can."""
        self._path = path
        self._read: tuple[tuple[int, ...], str] | None = None
        try:
            self.headers()
        except TokenError as error:
            raise ConfigurationError(f"auth.token_file = {path}: {error}") from None

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._token()}"}

    def _token(self) -> str:
        try:
            found = self._path.stat()
            identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if self._read is not None and self._read[0] == identity:
                return self._read[1]
            if found.st_mode & stat.S_IROTH:
                raise TokenError("every user of this machine can read the token file: chmod o-r it")
            if not stat.S_ISREG(found.st_mode) or found.st_size > TOKEN_FILE_LIMIT:
                raise TokenError("the token file is no regular file of at most 64 KiB")
            content = self._path.read_bytes()
        except OSError as error:
            raise TokenError(f"the token file can't be read ({os.strerror(error.errno or 0)})") from None
        token = content.strip().decode("ascii", errors="replace")
        if not _B64TOKEN.fullmatch(token):
            raise TokenError("the token file holds no bearer token: put the token alone into it")
        self._read = (identity, token)
        return token


class AzureToken:
    """A token of Microsoft Entra ID. The credential keeps and renews it, so there is one credential for the whole life."""

    def __init__(self, credential: Callable[[], TokenCredential], *, scope: str) -> None:
        """Raises ConfigurationError where the credential's own settings are missing."""
        from azure.core.exceptions import AzureError  # noqa: PLC0415 - heavy; only these modes need it

        self._azure_error = AzureError
        self._scope = scope
        try:
            self._credential = credential()
        except (ValueError, AzureError) as error:
            raise ConfigurationError(
                f"auth.mode: the credential can't be made ({type(error).__name__}): its environment variables are missing"
            ) from None

    def headers(self) -> Mapping[str, str]:
        try:
            token = self._credential.get_token(self._scope).token
        except (self._azure_error, ValueError, OSError) as error:  # OSError: a federated token file that can't be read
            raise TokenError(f"the identity provider gave none ({type(error).__name__})") from None
        return {"Authorization": f"Bearer {token}"}


def azure_credential(mode: AzureMode, *, client_id: str | None = None) -> Callable[[], TokenCredential]:
    """The one credential that a mode names; azure-identity is imported when it is made."""

    def make() -> TokenCredential:
        from azure import identity  # noqa: PLC0415 - half a second that only these modes pay

        match mode:
            case "default":
                return identity.DefaultAzureCredential(managed_identity_client_id=client_id)
            case "managed-identity":
                return identity.ManagedIdentityCredential(client_id=client_id)
            case "workload-identity":
                return identity.WorkloadIdentityCredential(client_id=client_id)
            case unknown:
                assert_never(unknown)

    return make
