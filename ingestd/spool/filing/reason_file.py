"""`<name>.reason.json`: why a file stands in failed/, for people and for programs. Pure.

It may hold the server's own words, which may hold a patient's data: it is written for its owner alone, and never logged (I7).
"""

from __future__ import annotations

import json
from typing import Final

from ingestd.core.record import Verdict
from ingestd.core.when import rfc3339

REASON_SUFFIX: Final = ".reason.json"
VERSION: Final = 1


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
