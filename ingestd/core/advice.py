"""What a person can do about a file that was judged on this side, before any service saw it: the reason file's `what_to_do`."""

from __future__ import annotations

from ingestd.core.outcome import Quarantine, Reason

WHAT_TO_DO = {
    Reason.TRUNCATED: "copy or send the file again from its source; if the source is no better, what there is can be sent by "
    "`ingestd failed retry --as-is`",
    Reason.UNFILLED: "send or copy the file again from its source; if it is sparse and whole, set intake.holes to zeros, "
    "or `ingestd failed retry --as-is`",
    Reason.NOT_DICOM: "only DICOM can be stored: if the file is something else, move it elsewhere; if it should be DICOM, copy or "
    "export it again",
    Reason.NO_HEADER: "add the header, such as with `dcmconv FILE NEW`, and drop the new file; or, if the service takes such "
    "files, set intake.headerless to send, or `ingestd failed retry --as-is`",
    Reason.NO_PIXEL_DATA: "copy or export it again from its source, because a copy can break off just before the pixels; if the "
    "source has none either, `ingestd failed retry --as-is`",
    Reason.DICOMDIR: "a DICOMDIR is only an index: drop the files it lists",
    Reason.NO_UID: "the service files by these UIDs: export it again from its source, or correct the one that the text names, "
    "such as with dcmodify, and drop it again",
    Reason.BOUNDS: "the file exceeds a safety bound: check it with a DICOM tool; if it is good, `ingestd failed retry --as-is`",
    Reason.HARD_LINK: "copy the file into the folder instead of linking it, or `ingestd failed retry --as-is`",
}
TOO_LARGE = Quarantine(
    reason=Reason.TOO_LARGE,
    text="the file is larger than service.max_request_bytes",
    what_to_do="raise service.max_request_bytes if the service takes such requests, and drop the file again",
)
