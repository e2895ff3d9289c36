"""What an answer says of the service, and how to mend it: one table for the daemon's log and pages, and for the commands.

A line says what, where, and how to mend it. The service's own words never stand in what the daemon says: they can quote a patient.
"""

from __future__ import annotations

from ingestd.core.answers.answer import Loss
from ingestd.core.answers.outcome import Hold, HoldCause
from ingestd.dicomweb.wire.authorized import UNSIGNED

WRITER = "DICOM Data Owner"
_NO_CONNECTION = (
    "check service.url (--url), that the service runs, and what stands between (DNS, firewall, proxy, certificate)"
)
_CERTIFICATE = (
    "check its date, its name, service.ca_bundle (the authority that signed it), service.client_cert "
    "and this machine's clock"
)
# By what stands in our words about it, the first that does; the system's and OpenSSL's words are in English everywhere.
_MENDS = {
    "certificate has expired": "check that the service has a new one, and this machine's clock",
    "certificate is not yet valid": "check this machine's clock, and the service's certificate",
    "issuer certificate": "check service.ca_bundle: it has to hold the authority that signed the service's certificate",
    "self-signed certificate": "check service.ca_bundle: it has to hold the authority that signed the service's certificate",
    "certificate is not valid for": "check the host in service.url (--url), and the names in the service's certificate",
    "certificate": _CERTIFICATE,
    "service.proxy opens no tunnel": "check service.proxy, or have it let this machine through to the service without a password",
    "to service.proxy": "check service.proxy, and that it runs",
    "no handshake in time": "something takes connections there and does not answer: ask those who run the service, or the network",
    "name lookup": "check the host in service.url (--url), and this machine's DNS",
    "Connection refused": "check service.url (--url), that the service runs and listens there, and the firewall",
}
_UNKNOWN_TO_IT = (
    "it wants a login and auth.mode is none: set auth.mode, on an Azure machine INGESTD_AUTH__MODE=managed-identity; other ways: "
    "azure-cli (where it is logged in), token-file with INGESTD_AUTH__TOKEN_FILE"
)
_NOT_TAKEN = (
    "it rejects our login: check that the token is not expired and is for this service (auth.mode, auth.scope), "
    "and this machine's clock"
)
_NO_STORE = (
    "there is no store: check service.url (--url), its version at the end, such as /v2, service.partition, "
    "and what stands between"
)
_NOT_THE_SERVICE = (
    "check service.url (--url), service.proxy, what stands between (a login page, a gateway), "
    "and service.client_cert where a certificate is wanted"
)
_EVEN_EMPTY = (
    "even to an empty store request: check service.url (--url), service.partition where partitions are on, "
    "and service.client_cert where a certificate is wanted"
)
HINTS = {
    204: "there is nothing",
    400: "it does not take the request: check the values, and service.partition where it has partitions",
    404: "there is none such; if there is, check --url (its version at the end, such as /v2) and service.partition",
    406: "it can't give that in a form that we read (DICOM JSON; XML of a store): look at what stands between and at its settings",
    407: "the proxy wants a user and a password, and we have none for it: let it pass this machine, or change service.proxy",
    408: "it is busy or slow",
    413: "the request is larger than it takes",
    415: "it takes no request of this form",
    424: "a resource that it needs refuses it: check its storage account and its customer-managed key",
    429: "it throttles: if that lasts, lower service.concurrency, or have its limit raised",
}


def hint(status: int, *, identified: bool, role: str) -> str:
    """How to mend what was answered with this status. `identified`: we said who we are; `role`: what our identity needs."""
    match status:
        case 401:
            return _NOT_TAKEN if identified else _UNKNOWN_TO_IT
        case 403:
            if not identified:
                return "it forbids this, and auth.mode is none: set auth.mode, or have what stands before it let this machine in"
            return f"it forbids this to our login: give it the role {role} on the service; a new role takes up to five minutes"
        case _ if 300 <= status < 400:
            return "it sends us elsewhere, where we don't follow: check service.url (--url)"
        case _ if status >= 500:
            return "it is in trouble: ask those who run it, or what stands before it"
        case _:
            return HINTS.get(status, "it refuses")


def passes(status: int) -> bool:
    """Whether what was answered with this status may go by itself."""
    return status in (408, 429) or status >= 500


def lost(loss: Loss | None, problem: str | None, *, url: str, then: str = "try again") -> str:
    """What became of a request that was not answered. `problem`: our own words about it; `then`: what comes now."""
    match loss:
        case Loss.NOT_SENT if problem is not None and problem.startswith(UNSIGNED):
            return f"{problem}; nothing was sent to {url}"
        case Loss.NOT_SENT:
            said = (problem or "no connection").removesuffix(".")
            return f"{url}: {said}: {_mend(said)}"
        case Loss.TIMEOUT:
            return f"{url} gave no whole answer in time: {then}, or raise service.response_timeout_seconds"
        case _:
            return f"{url}: {problem or 'the connection broke before the answer was whole'}: {then}"


def another(status: int, page: str | None, *, url: str) -> str | None:
    """The line about an answer that no DICOMweb service gives, by its media type `page`; None where it may be the service's own."""
    if page is None or status in (401, 407) or passes(status):
        return None
    return f"{url}: something that is not DICOMweb answered ({status}, {page}): {_NOT_THE_SERVICE}"


def _mend(said: str) -> str:
    return next((mend for words, mend in _MENDS.items() if words in said), _NO_CONNECTION)


def hold_line(hold: Hold, *, url: str, identified: bool) -> str:
    """Why sending pauses, and how to mend it; it goes on by itself then. `url`: what the line calls the service."""
    if hold.loss is not None:
        return lost(hold.loss, hold.problem, url=url, then="it is tried again")
    if hold.status is None or hold.problem is not None:
        return hold.problem or "no request can be made"
    if (stranger := another(hold.status, hold.page, url=url)) is not None:
        return stranger
    if hold.cause is HoldCause.CONTROL and not passes(hold.status):
        return f"{url} answers {hold.status} {_EVEN_EMPTY}"
    mend = _NO_STORE if hold.status == 404 else hint(hold.status, identified=identified, role=WRITER)
    later = "; it is tried again" if passes(hold.status) else ""
    return f"{url} answers {hold.status}: {mend}{later}"
