"""The one thing that requests (azure-identity's HTTP client) can't be told by a setting: whom to trust beyond certifi's list."""

from __future__ import annotations

import ssl
from typing import Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter


class Trusting(HTTPAdapter):
    """An adapter whose connections use this context and nothing else."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def build_connection_pool_key_attributes(
        self,
        request: PreparedRequest,
        verify: object,  # noqa: ARG002 - the context has the say
        cert: object = None,  # noqa: ARG002
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        host, pool = super().build_connection_pool_key_attributes(request, True, None)
        return host, {**pool, "ssl_context": self._context}

    def cert_verify(self, conn: object, url: str, verify: object, cert: object) -> None:
        """The base class would add certifi's CAs to our context."""
