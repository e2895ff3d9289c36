"""What must hold of every verdict of the walk, whatever the bytes were."""

from __future__ import annotations

from fakes.part10_writer import CANARY, DEFLATES

from ingestd.core.model import Inspection, Wholeness
from ingestd.spool.part10 import walk
from ingestd.spool.sources import BytesSource

SENDABLE = (Wholeness.WHOLE, Wholeness.WHOLE_ZERO_TAIL)


class Sipping(BytesSource):
    """Gives a few bytes at a time, as a network file system may."""

    def read_at(self, offset: int, length: int) -> bytes:
        return super().read_at(offset, min(length, 1021))


def wrong(data: bytes, found: Inspection, *, often: bool = True) -> str:
    """What is wrong with the verdict `found` on `data`, empty if nothing is. `often` asks the dear questions too."""
    if "\n" in found.text or len(found.text) > 200 or not found.text.isascii():
        return "a text that is no short line"
    if (found.text == "") is not (found.wholeness is Wholeness.WHOLE):
        return "a text where none is due, or none where one is"
    if CANARY in repr(found):
        return "a value in the verdict (I7)"
    if found.ids is None and found.wholeness in SENDABLE:
        return "sent without its UIDs"
    if not often:
        return ""
    if walk(Sipping(data), len(data)) != found:
        return "another verdict where reads are short"
    if found.wholeness is Wholeness.WHOLE and found.ids and found.ids.transfer_syntax_uid not in DEFLATES:
        cut = walk(BytesSource(data), len(data) - 1)  # behind a deflate stream the last byte may be a pad
        if cut.wholeness in SENDABLE:
            return "whole without its last byte"
    return ""
