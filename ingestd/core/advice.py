"""What a person can do about a file that was judged on this side, before any service saw it: the reason file's `what_to_do`."""

from __future__ import annotations

from ingestd.core.outcome import Quarantine, Reason

WHAT_TO_DO = {
    Reason.TRUNCATED: "send or copy the file again from its source; as it is only by `ingestd failed retry --as-is`",
    Reason.UNFILLED: "send or copy the file again from its source; if it is sparse and whole, set intake.holes to zeros, "
    "or `ingestd failed retry --as-is`",
    Reason.NOT_DICOM: "only DICOM Part 10 files can be stored: move it elsewhere, or export it as DICOM",
    Reason.NO_PIXEL_DATA: "the image has no pixels: export it again from its source, or `ingestd failed retry --as-is`",
    Reason.DICOMDIR: "a DICOMDIR is only an index: drop the files it lists",
    Reason.NO_UID: "the file lacks a valid UID: export it again from its source",
    Reason.BOUNDS: "the file exceeds a safety bound: check it with a DICOM tool; if it is good, `ingestd failed retry --as-is`",
    Reason.HARD_LINK: "copy the file into the folder instead of linking it, or `ingestd failed retry --as-is`",
}
TOO_LARGE = Quarantine(
    reason=Reason.TOO_LARGE,
    text="the file is larger than service.max_request_bytes",
    what_to_do="raise service.max_request_bytes if the service takes such requests, and drop the file again",
)
