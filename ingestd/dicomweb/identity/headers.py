"""Who we are: where the Authorization header of a request comes from.

Each mode is one TokenSource. A credential that can't be had is an outage like any other: TokenError, which the client answers as
"nothing sent", so files stay where they are (I3). Its text names a setting or a class, never what a class said: identity libraries
quote requests and secrets (I7).

After a 401 the client asks once for other headers than the refused ones. A source that has none says so, and the 401 is the answer.
"""

from __future__ import annotations

import base64
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ingestd.core.errors import IngestdError
from ingestd.dicomweb.identity.secret_file import SecretError, SecretFile

Headers = Mapping[str, str]

_B64TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750 2.1


class TokenError(IngestdError):
    """There is no token to be had now; one line without a secret. Never leaves this package."""


class TokenSource(Protocol):
    """Any thread."""

    def headers(self, *, lasting: float = 0.0) -> Headers:
        """The headers that prove who we are, good for the next `lasting` seconds where that can be had. Raises TokenError."""

    def renewed(self, refused: Headers) -> Headers | None:
        """Fresh headers after a 401, None where there are no others than the refused ones. Never raises."""

    @property
    def problem(self) -> str | None:
        """Why none could be had when that was last tried; one line without a secret. Never asks, never waits."""


def bearer(token: str) -> Headers:
    """RFC 6750 2.1."""
    return {"Authorization": f"Bearer {token}"}


class _FromFile(ABC):
    """Headers made of a file as it is now."""

    def __init__(self, file: SecretFile) -> None:
        """Raises ConfigurationError where no headers can be made of it now."""
        self._file = file
        self._problem: str | None = None
        try:
            self._headers()
        except SecretError as error:
            raise file.refusal(error) from None

    @property
    def problem(self) -> str | None:
        return self._problem

    def headers(self, *, lasting: float = 0.0) -> Headers:  # noqa: ARG002 - nobody knows how long they are good
        try:
            found = self._headers()
        except SecretError as error:
            self._problem = str(error)
            raise TokenError(self._problem) from None
        self._problem = None
        return found

    def renewed(self, refused: Headers) -> Headers | None:
        try:
            now = self._headers()
        except SecretError:
            return None
        return now if now != refused else None

    @abstractmethod
    def _headers(self) -> Headers:
        """The headers that the file gives now. Raises SecretError."""


class TokenFile(_FromFile):
    """mode = token-file: a bearer token that somebody else renews, such as a projected one of Kubernetes."""

    def __init__(self, path: Path) -> None:
        super().__init__(SecretFile("auth.token_file", path))

    def _headers(self) -> Headers:
        token = self._file.content().strip().decode("ascii", errors="replace")
        if not _B64TOKEN.fullmatch(token):
            raise SecretError(f"{self._file.key}: it holds no bearer token: put the token alone into it")
        return bearer(token)


class BasicPassword(_FromFile):
    """mode = basic: RFC 7617, in UTF-8."""

    def __init__(self, username: str, path: Path) -> None:
        self._username = username
        super().__init__(SecretFile("auth.password_file", path))

    def _headers(self) -> Headers:
        pair = f"{self._username}:{self._file.text()}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode('utf-8')).decode('ascii')}"}
