"""The embedded DICOMweb service: Azure's semantics, on SQLite and files, for demos, development and tests only.

It answers as the Azure DICOM service answers, quirks and all: truncated files are stored without a word, an unterminated
part is dropped in silence, 409 says no more than that nothing was stored. It never pretends a fault: what it refuses, it
refuses for a reason, and what it says it stored is there after a restart.

It is no archive: one tenant, plain HTTP, and a power cut can cost what was stored in the last seconds.
"""


class EmulatorError(Exception):
    """The service cannot start; the text says what, where and how to mend it."""


class RefusedError(Exception):
    """The whole request is refused with this HTTP status and text; nothing of it is stored."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
