"""Why a command's request came to nothing: one line that says what, where and how to mend it, and whether anything was decided.

The service's own words are in the line, for the person who asked; whoever prints it makes them fit for a terminal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingestd.core.answers.answer import Loss
from ingestd.core.errors import ServiceError, UnavailableError
from ingestd.dicomweb.origin.holds import another, hint, lost, passes
from ingestd.dicomweb.payload.answer_headers import JSON_TYPES, media_type
from ingestd.dicomweb.wire.exchange import Reply

WORDS = 300
_UNDECIDED = frozenset({401, 403, 407, 408, 424, 429})
_NO_SUCH_METHOD = frozenset({405, 501})
_ITS_OWN = JSON_TYPES | {
    *("text/plain", "text/xml", "application/problem+json", "application/xml", "application/dicom+xml"),
    *("application/dicom", "application/octet-stream", "multipart/related"),
}
_PLAIN = re.compile(r"[a-z]{1,20}/[a-z0-9.+-]{1,60}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """What is being asked. `what`: in a person's words, such as "retrieve study 1.2.3". `feature`: what the service lacks when it
    knows no such route, such as "no change feed"; `route`: a 404 says just that. `role`: what our identity needs."""

    what: str
    feature: str
    route: bool = False
    role: str = "DICOM Data Reader"


def failure(
    doing: Doing,
    *,
    status: int | None,
    loss: Loss | None,
    said: str | None,
    url: str,
    identified: bool,
    page: str | None = None,
) -> ServiceError:
    """The error for what is not what was asked for. `said`: the service's words, or why nothing was sent; `identified`: we said
    who we are; `page`: as in Answer."""
    if loss is not None or status is None:
        return UnavailableError(f"{doing.what}: {lost(loss, said, url=url)}")
    # Above, a servlet container's own page may stand for the service's "there is none such".
    if status < 400 and (stranger := another(status, page, url=url)) is not None:
        return UnavailableError(f"{doing.what}: {stranger}")
    quoted = f' "{said}"' if said else ""
    line = f"{doing.what}: {url} answers {status}{quoted}: {_hint(doing, status, identified=identified)}"
    # 502 and the like say nothing about what was asked; 501 does: it is never going to.
    undecided = status in _UNDECIDED or 300 <= status < 400 or status >= 500
    return UnavailableError(line) if undecided and status not in _NO_SUCH_METHOD else ServiceError(line)


def _hint(doing: Doing, status: int, *, identified: bool) -> str:
    match status:
        case 200:
            return "the answer is not what was asked for: check service.url (--url)"
        case _ if status in _NO_SUCH_METHOD:
            return f"this service has {doing.feature}"
        case 404 if doing.route:
            return (
                f"this service has {doing.feature}, or service.url (--url) lacks its version, such as /v2, at its end"
            )
        case _:
            later = "; try again later" if passes(status) else ""
            return hint(status, identified=identified, role=doing.role) + later


def words(reply: Reply) -> str:
    """The start of a body that a person can read: text, not a page."""
    kind = reply.content_type.partition(";")[0].strip().lower()
    if kind not in ("text/plain", "application/json", "application/problem+json"):
        return ""
    return " ".join(reply.content[: 4 * WORDS].decode("utf-8-sig", errors="replace").split())[:WORDS]


def page(reply: Reply) -> str | None:
    """The media type of an answer that no DICOMweb service gives, such as a login page's; None of what may be its own."""
    kind = media_type(reply.content_type).name
    nothing_came = not reply.content and (reply.whole or not kind)  # not whole, with a kind: a sink did not want it
    if nothing_came or kind in _ITS_OWN:
        return None
    return kind if _PLAIN.fullmatch(kind) else "an unknown type"
