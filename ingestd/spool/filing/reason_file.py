"""`<name>.reason.json`: why a file stands in failed/, for people and for programs. Pure.

It may hold the server's own words, which may hold a patient's data: it is written for its owner alone, and never logged (I7).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ingestd.core.record import Verdict
from ingestd.core.when import rfc3339

REASON_SUFFIX: Final = ".reason.json"
VERSION: Final = 1
KEYS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "version": "of this form",
        "reason": "the reason code",
        "text": "what is wrong with this file",
        "what_to_do": "how to mend it",
        "http_status": "HTTP status code of the Store answer; null where none led to the verdict",
        "failure_reason": "FailureReason (0008,1197) of that answer, a number",
        "comment": "the service's own words, which can hold a patient's data",
        "attempts": "how often it was tried",
        "first_seen": "when it was first seen in the inbox (RFC 3339)",
        "failed_at": "when the verdict was reached (RFC 3339)",
        "path": "where it lay, below the inbox; bytes that are not UTF-8 as lone surrogates",
        "study_uid": "Study Instance UID (0020,000d)",
        "series_uid": "Series Instance UID (0020,000e)",
        "sop_instance_uid": "SOP Instance UID (0008,0018)",
        "sha256": "SHA-256 of the data set (adr/0011), in hex; null where it can't be had, or would take long",
        "differs": "of a conflict the elements that differ, as tags; [] where metadata show none, as of pixels",
    }
)


def reason_file(verdict: Verdict, sha256: str | None) -> bytes:
    """ASCII JSON with every key of the contract; the unknown is null, bytes of a path that are not UTF-8 are lone surrogates."""
    why, ids = verdict.quarantine, verdict.ids
    document = {
        "version": VERSION,
        "reason": why.reason.value,
        "text": why.text,
        "what_to_do": why.what_to_do,
        "http_status": why.http_status,
        "failure_reason": why.failure_reason,
        "comment": why.comment,
        "attempts": verdict.attempts,
        "first_seen": rfc3339(verdict.first_seen),
        "failed_at": rfc3339(verdict.failed_at),
        "path": verdict.path,
        "study_uid": ids.study_uid if ids else None,
        "series_uid": ids.series_uid if ids else None,
        "sop_instance_uid": ids.sop_instance_uid if ids else None,
        "sha256": sha256,
        "differs": [f"({tag[:4]},{tag[4:]})" for tag in why.differs] if why.differs is not None else None,
    }
    return (json.dumps(document, indent=2) + "\n").encode("ascii")
