"""Reading a Store Instances Response (PS3.18 10.5.3 and Annex I.2): the only place where a service names what it stored.

What can't be read to the letter is no response at all: a file leaves the inbox on the word of this module, so a value of the wrong
type makes the whole body unreadable instead of being guessed at (I2, F50). Known habits are allowed for: an array of one data set
(dcm4chee), `application/json`, XML (PS3.19), no Content-Type (Orthanc), FailureReason as a string, UIDs padded as in a file,
sequences without `Value` (Azure v2).

dcm4chee says in a Warning header alone (RFC 7234 5.5) why it refused an instance. It has the words of one failure, the last
(dcm4che/dcm4chee-arc-light, dcm4chee-arc-stow StowRS.java; its issues 740 and 3518), and Azure says in one what it made of an
instance that it stored. So its words count where the answer names one instance, refused without a word. They can hold a patient's
data, as all that a service says: reason files only (I7).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from ingestd.core.answers.answer import Failed, Referenced, StoreResponse
from ingestd.dicomweb.payload.answer_headers import DICOM_JSON
from ingestd.dicomweb.payload.dicom_json import Dataset, one_dataset
from ingestd.dicomweb.payload.native_xml import one_xml_dataset

RETRIEVE_URL = "00081190"
REFERENCED_SOP_SEQUENCE = "00081199"
FAILED_SOP_SEQUENCE = "00081198"
OTHER_FAILURES_SEQUENCE = "0008119A"  # could not be told to be an instance at all: no SOP Instance UID
REFERENCED_SOP_INSTANCE_UID = "00081155"
WARNING_REASON = "00081196"
FAILURE_REASON = "00081197"
FAILED_ATTRIBUTES_SEQUENCE = "00741048"
ERROR_COMMENT = "00000902"

ACCEPT_RESPONSE = f"{DICOM_JSON}, application/dicom+xml;q=0.9"  # some services have no JSON for it
COMMENT_LIMIT = 2000
ANSWER_BASE = 256 << 10  # bytes
ANSWER_FOR_ONE = (
    16 << 10
)  # bytes an instance: Azure names one in 500, with 16 values, and each comment on one takes 200 more
ANSWER_MOST = 8 << 20
VALUE = 32  # bytes of the limit for each value
_MAKES_A_RESPONSE = (RETRIEVE_URL, REFERENCED_SOP_SEQUENCE, FAILED_SOP_SEQUENCE, OTHER_FAILURES_SEQUENCE)
_TEXT = re.compile(r'(?<![\w"])[0-9]{3} [^\s",]+ "((?:[^"\\]|\\.)*+)"')
_ESCAPED = re.compile(r"\\(.)")


class _MalformedError(Exception):
    """A value of a type or shape that the standard does not allow."""


def answer_limit(instances: int) -> int:
    """How many bytes the answer to a Store of so many instances may have."""
    return min(ANSWER_BASE + instances * ANSWER_FOR_ONE, ANSWER_MOST)


def read_store_response(content_type: str, content: bytes, *, limit: int = ANSWER_MOST) -> StoreResponse | None:
    """The response, or None where the body is not one that can be relied on. Never raises.

    `limit`: of the answer, by `answer_limit`; the number of its values is bounded with it.
    """
    most = limit // VALUE
    dataset = one_dataset(content_type, content, most=most) or one_xml_dataset(content_type, content, most=most)
    if dataset is None or not any(tag in dataset for tag in _MAKES_A_RESPONSE):
        return None
    try:
        return StoreResponse(
            referenced=tuple(_referenced(item) for item in _items(dataset, REFERENCED_SOP_SEQUENCE)),
            failed=(
                *(_failed(item) for item in _items(dataset, FAILED_SOP_SEQUENCE)),
                *(_failed(item) for item in _items(dataset, OTHER_FAILURES_SEQUENCE)),
            ),
        )
    except _MalformedError:
        return None


def _referenced(item: Dataset) -> Referenced:
    uid = _text(item, REFERENCED_SOP_INSTANCE_UID)
    if uid is None:
        raise _MalformedError
    return Referenced(
        sop_instance_uid=uid,
        warning_reason=_number(item, WARNING_REASON),
        retrieve_url=_text(item, RETRIEVE_URL),
    )


def _failed(item: Dataset) -> Failed:
    return Failed(
        sop_instance_uid=_text(item, REFERENCED_SOP_INSTANCE_UID),
        failure_reason=_number(item, FAILURE_REASON),
        comment=_readable("; ".join(_comments(item))[:COMMENT_LIMIT]) or None,
    )


def _comments(item: Dataset) -> Iterator[str]:
    """The server's own words: Azure puts one ErrorComment into each item of FailedAttributesSequence."""
    for holder in (item, *_items(item, FAILED_ATTRIBUTES_SEQUENCE)):
        yield from (value for value in _values(holder, ERROR_COMMENT) if isinstance(value, str) and value)


def _values(dataset: Dataset, tag: str) -> list[object]:
    """An element's values: none when it is absent, has no `Value` (PS3.18 F.2.5), or holds only nulls."""
    element = dataset.get(tag)
    if element is None:
        return []
    if not isinstance(element, dict) or not isinstance(values := element.get("Value", []), list):
        raise _MalformedError
    return [value for value in values if value is not None]


def _items(dataset: Dataset, tag: str) -> Iterator[Dataset]:
    for item in _values(dataset, tag):
        if not isinstance(item, dict):
            raise _MalformedError
        yield item


def _one(dataset: Dataset, tag: str) -> object | None:
    values = _values(dataset, tag)
    if len(values) > 1:
        raise _MalformedError
    return values[0] if values else None


def _text(dataset: Dataset, tag: str) -> str | None:
    """A UI or UR value without its padding: NUL for UI, space for UR (PS3.5 6.2); both occur for both."""
    value = _one(dataset, tag)
    if value is None:
        return None
    if not isinstance(value, str) or _readable(value) != value:
        raise _MalformedError
    return value.strip(" \0") or None


def _readable(text: str) -> str:
    """Without the halves of surrogate pairs that JSON can escape: no file and no journal takes them."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def _number(dataset: Dataset, tag: str) -> int | None:
    """A US value; PS3.18 F.2.3 allows a number to be written as a string."""
    value = _one(dataset, tag)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 5:
        value = int(value)
    if value is not None and (type(value) is not int or not 0 <= value <= 0xFFFF):
        raise _MalformedError
    return value if isinstance(value, int) else None


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
