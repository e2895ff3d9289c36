"""Why a command's request came to nothing: one line that says what, where and how to mend it, and whether anything was decided.

The service's own words are in the line, for the person who asked; whoever prints it makes them fit for a terminal.
"""

from __future__ import annotations

from dataclasses import dataclass

from ingestd.core.answer import Loss
from ingestd.core.errors import ServiceError, UnavailableError
from ingestd.dicomweb.exchange import Reply
from ingestd.dicomweb.signed import UNSIGNED

WORDS = 300
_UNDECIDED = frozenset({401, 403, 408, 424, 429})
_NO_SUCH_METHOD = frozenset({405, 501})

_NO_CONNECTION = (
    "check --url (service.url), that the service runs, and what stands between (DNS, firewall, proxy, certificate)"
)
_UNKNOWN_TO_IT = (
    "it wants to know who we are and auth.mode is none: set auth.mode, for Azure INGESTD_AUTH__MODE=default, "
    "for a token that you have token-file and INGESTD_AUTH__TOKEN_FILE"
)
_NOT_TAKEN = (
    "it does not take who we say we are: check auth.mode, auth.scope, that the token is not expired and is for this service, "
    "and this machine's clock"
)
_HINTS = {
    204: "there is nothing",
    400: "it does not take the request: check the values, and service.partition where it has partitions",
    404: "there is none such; if there is, check --url (its version at the end, such as /v2) and service.partition",
    406: "it can't give that in a form that we read",
    408: "it is busy or slow: try again later",
    413: "the request is larger than it takes",
    415: "it takes no request of this form",
    424: "a resource that it needs refuses it: check its storage account and its customer-managed key",
    429: "it throttles: try again later",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """What is being asked. `what`: in a person's words, such as "retrieve study 1.2.3". `feature`: what the service lacks when it
    knows no such route, such as "no change feed"; `route`: a 404 says just that. `role`: what our identity needs."""

    what: str
    feature: str
    route: bool = False
    role: str = "DICOM Data Reader"


def failure(
    doing: Doing, *, status: int | None, loss: Loss | None, said: str | None, url: str, identified: bool
) -> ServiceError:
    """The error for what is not what was asked for. `said`: the service's words, or why nothing was sent; `identified`: we said
    who we are."""
    if loss is not None or status is None:
        return UnavailableError(f"{doing.what}: {_lost(loss, said, url)}")
    quoted = f' "{said}"' if said else ""
    line = f"{doing.what}: {url} answers {status}{quoted}: {_hint(doing, status, identified=identified)}"
    # 502 and the like say nothing about what was asked; 501 does: it is never going to.
    undecided = status in _UNDECIDED or 300 <= status < 400 or status >= 500
    return UnavailableError(line) if undecided and status not in _NO_SUCH_METHOD else ServiceError(line)


def _lost(loss: Loss | None, said: str | None, url: str) -> str:
    match loss:
        case Loss.NOT_SENT if said is not None and said.startswith(UNSIGNED):
            return f"{said}: check [auth], with the Azure CLI `az login`; nothing was sent to {url}"
        case Loss.NOT_SENT:
            return f"{url}: {said or 'no connection'}: {_NO_CONNECTION}"
        case Loss.TIMEOUT:
            return f"{url} gave no whole answer in time: try again, or raise service.response_timeout_seconds"
        case _:
            return f"{url}: the connection broke before the answer was whole: try again"


def _hint(doing: Doing, status: int, *, identified: bool) -> str:
    match status:
        case 401:
            return _NOT_TAKEN if identified else _UNKNOWN_TO_IT
        case 403:
            return f"we may not: give our identity the role {doing.role} on the service; a new role takes up to five minutes"
        case 200:
            return "the answer is not what was asked for: check --url (service.url)"
        case _ if status in _NO_SUCH_METHOD:
            return f"this service has {doing.feature}"
        case 404 if doing.route:
            return (
                f"this service has {doing.feature}, or --url (service.url) lacks its version, such as /v2, at its end"
            )
        case _ if 300 <= status < 400:
            return "it sends us elsewhere, where we don't follow: check --url (service.url)"
        case _ if status >= 500:
            return "it is in trouble: try again later, look at its log"
        case _:
            return _HINTS.get(status, "it refuses")


def words(reply: Reply) -> str:
    """The start of a body that a person can read: text, not a page."""
    kind = reply.content_type.partition(";")[0].strip().lower()
    if kind not in ("text/plain", "application/json", "application/problem+json"):
        return ""
    return " ".join(reply.content[: 4 * WORDS].decode("utf-8-sig", errors="replace").split())[:WORDS]
