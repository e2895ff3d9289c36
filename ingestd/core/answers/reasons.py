"""Why a file stands in failed/, what a person can do about it, and which of the walk's findings leads there: one table.

A reason without advice, or a finding without its reason, is an error of this module's import, never of the daemon at some file.
"""

from __future__ import annotations

import enum


class Reason(enum.Enum):
    """Why a file stands in failed/: the contract's code, in metrics and reason files.

    `advice`: the reason file's `what_to_do`, where no more is known than the reason.
    """

    _value_: str
    advice: str

    def __new__(cls, code: str, advice: str) -> Reason:
        reason = object.__new__(cls)
        reason._value_ = code
        reason.advice = advice
        return reason

    NOT_DICOM = (
        "not_dicom",
        (
            "only DICOM can be stored: if the file is something else, move it elsewhere; if it should be DICOM, copy or export "
            "it again"
        ),
    )
    NO_HEADER = (
        "no_header",
        (
            "add the header, such as with `dcmconv FILE NEW`, and drop the new file; or, if the service takes such files, set "
            "intake.headerless to send, or `ingestd failed retry --as-is`"
        ),
    )
    TRUNCATED = (
        "truncated",
        (
            "copy or send the file again from its source; if the source is no better, what there is can be sent by "
            "`ingestd failed retry --as-is`"
        ),
    )
    UNFILLED = (
        "unfilled",
        (
            "send or copy the file again from its source; if it is sparse and whole, set intake.holes to zeros, or "
            "`ingestd failed retry --as-is`"
        ),
    )
    NO_PIXEL_DATA = (
        "no_pixel_data",
        (
            "copy or export it again from its source, because a copy can break off just before the pixels; if the source has "
            "none either, `ingestd failed retry --as-is`"
        ),
    )
    DICOMDIR = "dicomdir", "a DICOMDIR is only an index: drop the files it lists"
    NO_UID = (
        "no_uid",
        (
            "the service files by these UIDs: export it again from its source, or correct the one that the text names, such as "
            "with dcmodify, and drop it again"
        ),
    )
    BOUNDS = (
        "bounds",
        "the file exceeds a safety bound: check it with a DICOM tool; if it is good, `ingestd failed retry --as-is`",
    )
    HARD_LINK = "hard_link", "copy the file into the folder instead of linking it, or `ingestd failed retry --as-is`"
    TOO_LARGE = "too_large", "raise the service's or the proxy's request limit, then send it again"
    REJECTED = "rejected", "read the service's words in `comment`, correct the file at its source and drop it again"
    CONFLICT = "conflict", "decide which one is right: `ingestd failed retry --replace` puts this one in its place"
    CREATING = "creating", "delete the instance in the service, then send the file again"
    POISON = (
        "poison",
        "read the service's words in `comment`; if the file is good, report it to the service's support",
    )


class Wholeness(enum.Enum):
    """What the walk to the very end says. What has a `reason` is not whole: it is sent on a person's word alone."""

    _value_: str
    reason: Reason | None

    def __new__(cls, code: str, reason: Reason | None) -> Wholeness:
        found = object.__new__(cls)
        found._value_ = code
        found.reason = reason
        return found

    WHOLE = "whole", None
    WHOLE_ZERO_TAIL = "whole_zero_tail", None  # zeros follow its last element: no lease and no close ends its wait
    TRUNCATED = "truncated", Reason.TRUNCATED
    NOT_DICOM = "not_dicom", Reason.NOT_DICOM
    NO_HEADER = "no_header", Reason.NO_HEADER
    NO_PIXEL_DATA = "no_pixel_data", Reason.NO_PIXEL_DATA
    DICOMDIR = "dicomdir", Reason.DICOMDIR
    NO_UID = "no_uid", Reason.NO_UID
    OUT_OF_BOUNDS = "bounds", Reason.BOUNDS


SENDABLE = frozenset(found for found in Wholeness if found.reason is None)
