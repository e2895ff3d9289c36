"""The Warning header of a Store's answer (RFC 7234 5.5): dcm4chee says there alone why it refused an instance. Pure.

It has the words of one failure, the last (dcm4che/dcm4chee-arc-light, dcm4chee-arc-stow StowRS.java; its issues 740 and 3518), and
Azure says in one what it made of an instance that it stored. So its words count where the answer names one instance, refused
without a word. They can hold a patient's data, as all that a service says: reason files only (I7).
"""

from __future__ import annotations

import re
from dataclasses import replace

from ingestd.core.answers.answer import StoreResponse
from ingestd.dicomweb.payload.store_response import COMMENT_LIMIT

_TEXT = re.compile(r'(?<![\w"])[0-9]{3} [^\s",]+ "((?:[^"\\]|\\.)*+)"')
_ESCAPED = re.compile(r"\\(.)")


def with_warning(response: StoreResponse | None, header: str | None) -> StoreResponse | None:
    """The response, with the words of the header where they are about its one instance."""
    if response is None or response.referenced or len(response.failed) != 1 or response.failed[0].comment:
        return response
    (failed,) = response.failed
    return replace(response, failed=(replace(failed, comment=warned(header)),))


def warned(header: str | None) -> str | None:
    """The texts of a Warning header's values, without codes, agents and dates; None where there is none."""
    texts = (_ESCAPED.sub(r"\1", text).strip() for text in _TEXT.findall(header or ""))
    return "; ".join(text for text in texts if text)[:COMMENT_LIMIT] or None
