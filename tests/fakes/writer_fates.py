"""What may become of a file, by how it is written and by what shows of its writer (DESIGN 2, settle). Pure.

A part is never sent as a whole, but in the cells that `exempt` names, each with its reason; and no byte is lost in any cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fakes.writers import BLOCK

QUIET, NETWORK_QUIET, TIMEOUT = 2.0, 60.0, 900.0  # seconds: the defaults of the three waits
ENDS = {"finishes": 0.0, "pauses 5 s": 5.0, "pauses 90 s": 90.0, "dies": 0.0}  # and the pause half way
CLAIMS = ("ftruncate", "fallocate", "zeros", "last byte")
STYLES = ("keeps", "reopens", "backwards")
WAYS = (
    *STYLES,
    *(f"{style}, {claim}" for style in STYLES for claim in CLAIMS),
    *(f"{style}, ftruncate" for style in ("mapped", "renamed in", "linked in")),
)

STALLED = "its writer left it alone for longer than the longest wait, after which a file is taken or fails"
SENT_IN_THE_END = "where claimed room can't be seen, zeros at the end are waited for, then sent; that is said"
DEAD = "nothing tells what a dead writer has not filled from black pixels"
BETWEEN_TWO_OPENS = "between two blocks nobody has it open, and black pixels look like that"
CLOSED = "the close of a block was heard, quiet_seconds passed, and black pixels look like that"
LEFT_ALONE = "its writer does not show, left it alone for network_quiet_seconds, and black pixels look like that"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a daemon sees of the files in an inbox, and of their writers.

    `ftruncate`, `fallocate`: room that was claimed so and not filled. `tails`: it can't see everything that was claimed, and so
    waits for a file that ends in zeros; `blocks`: and for one that lacks blocks. `leases`: a granted one proves that nobody writes.
    `refusals`: a writer that keeps a file open is known. `closes`: each close is heard.
    """

    ftruncate: bool = True
    fallocate: bool = True
    tails: bool = False
    blocks: bool = True
    leases: bool
    refusals: bool
    closes: bool = True


def here(kind: str, user: str) -> Sight:
    """On a local file system, for a daemon of the files' owner, of another user, or of one with CAP_LEASE."""
    refusals = user != "another user"
    leases = refusals and kind != "overlay"
    return Sight(fallocate=kind != "ext2", tails=kind == "ext2", leases=leases, refusals=refusals)


def exempt(sight: Sight, way: str, *, dies: bool, stalled: float) -> str | None:
    """Why a part of such a file may be sent as a whole; None: it may not. `stalled`: seconds, as if no wait were shortened."""
    style, _, claim = way.partition(", ")
    if stalled >= TIMEOUT:
        return STALLED
    if style == "renamed in":
        return None  # no name of a part is taken
    if style == "backwards" or not claim:
        return None  # until it is whole its header, or its end, is missing
    if _shows(sight, claim):
        return None
    if sight.tails and (claim != "last byte" or sight.blocks):
        return SENT_IN_THE_END if dies else None
    if dies:
        return DEAD
    if style == "reopens" and sight.leases:
        return BETWEEN_TWO_OPENS
    if style == "reopens" and sight.closes and stalled >= QUIET:
        return CLOSED
    keeps_it_open = style != "reopens" and sight.refusals
    return LEFT_ALONE if stalled >= NETWORK_QUIET and not keeps_it_open else None


def _shows(sight: Sight, claim: str) -> bool:
    return {"ftruncate": sight.ftruncate, "last byte": sight.ftruncate, "fallocate": sight.fallocate}.get(claim, False)


def reason(sight: Sight, way: str) -> str:
    """Why the part of a dead writer fails."""
    style, _, claim = way.partition(", ")
    backwards = style == "backwards"
    if _shows(sight, claim) or (backwards and not claim and sight.ftruncate):
        return "unfilled"
    return "not_dicom" if backwards else "truncated"


def written(content: bytes, way: str, *, dies: bool) -> list[range]:
    """The bytes that a writer has written when it comes to its end."""
    ranges = [range(at, min(at + BLOCK, len(content))) for at in range(0, len(content), BLOCK)]
    half = len(ranges) // 2
    if not dies:
        return ranges
    return ranges[-half:] if way.startswith("backwards") else ranges[:half]


def left(content: bytes, way: str) -> bytes:
    """What a dead writer leaves."""
    done = written(content, way, dies=True)
    part = bytearray(len(content) if ", " in way or way == "backwards" else done[-1].stop)
    for one in done:
        part[one.start : one.stop] = content[one.start : one.stop]
    if way.endswith("last byte"):
        part[-1:] = content[-1:]
    return bytes(part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One file: how it was written, and what became of it.

    `arrived`: the versions that came to the service whole; `kept`: the one that it has. `standing`: what stands under its name, by
    folder; a `part` under another one. `reason` beside it in failed/. `said`: the events of the log that name it.
    """

    sight: Sight
    way: str
    end: str
    action: str
    stalled: float
    content: bytes
    arrived: tuple[bytes, ...]
    kept: bytes | None
    standing: Mapping[str, tuple[bytes, ...]]
    reason: str | None
    said: frozenset[str]

    @property
    def dies(self) -> bool:
        return self.end == "dies"

    @property
    def exempt(self) -> str | None:
        return exempt(self.sight, self.way, dies=self.dies, stalled=self.stalled)

    @property
    def met(self) -> str | None:
        """The reason for which a part of it was sent as a whole."""
        return self.exempt if any(version != self.content for version in self.arrived) else None

    def wrong(self) -> str:
        """In a few words, empty where it is as DESIGN says."""
        if lost := self._lost():
            return f"lost: bytes {lost.start} to {lost.stop}"
        if self.exempt == STALLED:
            return ""
        if self.met or (self.exempt and self.dies):
            return self._sent_in_part()
        return self._dead() if self.dies else self._whole()

    def _lost(self) -> range | None:
        copies = [text for texts in self.standing.values() for text in texts]
        if self.kept is not None:
            copies.append(self.kept)
        for one in written(self.content, self.way, dies=self.dies):
            piece = self.content[one.start : one.stop]
            if not any(text[one.start : one.stop] == piece for text in copies):
                return one
        return None

    def _whole(self) -> str:
        if self.arrived != (self.content,):
            return f"not sent whole and once: {self._sizes(self.arrived)}"
        right: dict[str, tuple[bytes, ...]] = {} if self.action == "delete" else {"done": (self.content,)}
        return "" if self.standing == right else f"whole, and stands in {self._places()}"

    def _dead(self) -> str:
        if self.arrived:
            return f"a part was sent: {self._sizes(self.arrived)}"
        part = left(self.content, self.way)
        if self.way.startswith("renamed in"):
            return "" if self.standing == {"part": (part,)} else f"a part, and stands in {self._places()}"
        if self.standing != {"failed": (part,)}:
            return f"a part, and stands in {self._places()}"
        right = reason(self.sight, self.way)
        return "" if self.reason == right else f"failed as {self.reason}, not as {right}"

    def _sent_in_part(self) -> str:
        if not self.dies:
            said = self.kept == self.content or "failed" in self.standing or "written_late" in self.said
            return "" if said else "a part was sent, and the later change is not said"
        part = left(self.content, self.way)
        if part not in self.arrived and "failed" not in self.standing:
            return f"the part was not sent: {self._sizes(self.arrived)}"
        if self.exempt == SENT_IN_THE_END:
            if "unproved" not in self.said:
                return "a part was sent in the end, and it is not said"
            if self.standing != {"done": (part,)}:
                return f"a part was sent in the end, and stands in {self._places()}"
        return ""

    def _places(self) -> str:
        return ", ".join(f"{place}/ {self._sizes(texts)}" for place, texts in self.standing.items()) or "no folder"

    def _sizes(self, versions: tuple[bytes, ...]) -> list[str]:
        """How much of each is as it should be."""
        blocks = written(self.content, self.way, dies=False)
        right = [sum(text[b.start : b.stop] == self.content[b.start : b.stop] for b in blocks) for text in versions]
        return [f"{number} of {len(blocks)} blocks" for number in right]


def wrong(cells: Mapping[tuple[str, str], Cell]) -> list[str]:
    """A line for each cell, by way and end, that is not as DESIGN says; those whose exemption was met are printed."""
    for (way, end), cell in cells.items():
        if cell.met:
            print(f"exempt: {way}: {end}: {cell.met}")
    return [f"{way}: {end}: {line}" for (way, end), cell in cells.items() if (line := cell.wrong())]
