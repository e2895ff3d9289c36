"""Replacing an instance: PUT where the service has it ("upsert", managed Azure), else DELETE and then POST. Pure.

DELETE and POST are two transactions. Between them the service holds nothing, and if the POST fails it goes on holding nothing; but
the file stays in the inbox until a service has named it, so nothing is lost: the file is sent again like any other. DELETE is sent
only when the service has said that it knows no PUT, and when the file has been read to its end a moment ago; whatever else comes of
the PUT is the answer. A service that has no DELETE either (Orthanc's DICOMweb plugin) answers that, and keeps what it holds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ingestd.core.answers.answer import Answer

NO_SUCH_METHOD = frozenset({404, 405, 501})
DELETED = frozenset({200, 204, 404})  # 404: it is gone already, perhaps by an earlier attempt
NEITHER = "the service can replace nothing: it has neither PUT nor DELETE; delete the instance there, then send the file again"


def replace_by(*, put: Callable[[], Answer], delete: Callable[[], Answer], post: Callable[[], Answer]) -> Answer:
    """The answer of the last request that was made, which the core disposes as that of any Store transaction."""
    answer = put()
    if answer.status not in NO_SUCH_METHOD or answer.response is not None:
        return answer
    answer = delete()
    if answer.status in DELETED:
        return dataclasses.replace(post(), deleted=True)
    return dataclasses.replace(answer, comment=NEITHER) if answer.status in NO_SUCH_METHOD else answer
