"""Why Microsoft Entra ID gave no token, in words: what may be said of an error, and how to mend it.

azure-identity's texts quote requests, and with them secrets (I7); so nothing of a text is repeated but Entra's own number
(learn.microsoft.com/entra/identity-platform/reference-error-codes), and our line stands beside it.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ingestd.config.modes import Mode

_ENTRA_CODE = re.compile(r"AADSTS\d{1,8}")
_NO_PROGRAM = "not found on path"  # azure-identity's CLI_NOT_FOUND ends so

_FEDERATION = (
    "the application has no federated credential for this pod's service account: add one with its issuer and subject"
)
_DIRECTORY = "there is no such directory: mend auth.tenant_id, in a sovereign cloud auth.authority too"
_LOGIN = "log in anew with `az login`, as the user that ingestd runs as"
_MENDS: Mapping[str, str] = MappingProxyType(
    {
        "AADSTS50173": _LOGIN,
        "AADSTS53003": "Conditional Access forbids it: let the directory's administrator allow this application",
        "AADSTS70021": _FEDERATION,
        "AADSTS70043": _LOGIN,
        "AADSTS90002": _DIRECTORY,
        "AADSTS500011": "the directory does not know the service's resource: mend auth.scope",
        "AADSTS700016": "the directory has no such application: mend auth.client_id or auth.tenant_id",
        "AADSTS700024": "the assertion's time is not now: set the clock of this machine",
        "AADSTS700027": "the certificate is not registered with the application: upload it there, or mend auth.certificate_file",
        "AADSTS700082": _LOGIN,
        "AADSTS700211": _FEDERATION,
        "AADSTS700213": _FEDERATION,
        "AADSTS900023": _DIRECTORY,
        "AADSTS7000112": "the application is disabled: enable it in its directory",
        "AADSTS7000215": "the secret is wrong: put its value, not its id, into auth.client_secret_file",
        "AADSTS7000222": "the secret has expired: make a new one and put its value into auth.client_secret_file",
    }
)
_BY_MODE: Mapping[Mode, str] = MappingProxyType(
    {
        "default": (
            "neither AZURE_ variables nor a workload or managed identity gives one here: "
            "beside a logged-in Azure CLI set auth.mode = azure-cli"
        ),
        "managed-identity": (
            "turn the managed identity of this machine on, with auth.client_id for a user-assigned one; "
            "outside Azure set another auth.mode"
        ),
        "workload-identity": "check auth.tenant_id, auth.client_id and the pod's token",
        "client-secret": "check auth.tenant_id, auth.client_id and auth.client_secret_file",
        "client-certificate": "check auth.tenant_id, auth.client_id and auth.certificate_file",
        "azure-cli": _LOGIN,
    }
)


def kind_of(error: BaseException) -> str:
    """What may be said of an error: its class and its first cause's, the HTTP status, Entra's own number."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    *_, first = _causes(error)
    said = (
        type(error).__name__,
        type(first).__name__ if first is not error else "",
        f"HTTP {status}" if isinstance(status, int) else "",
        _code(error),
    )
    return ", ".join(word for word in said if word)


def mend(mode: Mode, error: BaseException) -> str:
    """What to do about it."""
    if (line := _MENDS.get(_code(error))) is not None:
        return line
    causes = list(_causes(error))
    if mode == "azure-cli" and _NO_PROGRAM in str(error):
        return "the program az is not on the PATH of ingestd: install the Azure CLI, or set another auth.mode"
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return "its certificate is not trusted: put its CA into service.ca_bundle"
    if mode not in ("default", "managed-identity") and any(isinstance(cause, OSError) for cause in causes):
        return "it can't be reached: look at what stands between (DNS, firewall, service.proxy), and at auth.authority"
    return _BY_MODE[mode]


def _code(error: BaseException) -> str:
    found = _ENTRA_CODE.search(str(error))
    return found[0] if found else ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what each came from; azure-core has a link of its own."""
    cause: object = error
    for _ in range(20):  # a chain may be a ring
        if not isinstance(cause, BaseException):
            return
        yield cause
        cause = cause.__cause__ or cause.__context__ or getattr(cause, "inner_exception", None)
