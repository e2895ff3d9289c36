"""The cut campaign: a whole file is cut at every offset up to 4 KiB, at every element boundary and at 200 random places.

A cut that the walk calls whole is one that nothing in the file shows; `blind` says which those are, from the file as a second
reader sees it: between two top-level elements, of an object that needs no pixel data, or of one whose pixel data is already there.
"""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from fakes.part10_boundaries import Boundaries, boundaries
from fakes.part10_files import MADE
from fakes.part10_verdicts import SENDABLE, verdict
from fakes.part10_writer import DEFLATES
from pydicom.uid import UID

from ingestd.core.answers.reasons import Wholeness

ALL_BELOW = 4096
RANDOM = 200

# Why a cut is blind.
NONE_NEEDED = "between elements, needs no pixel data"
NOT_YET = "between elements, a class that may lack pixel data"
BEHIND = "between elements, behind the pixel data"
PAD = "the pad of a deflated data set (PS3.5 A.5), nothing is lost"

_IDENTIFIERS = {0x00080016, 0x00080018, 0x0020000D, 0x0020000E}
_IMAGE_PIXEL = {0x00280002, 0x00280004, 0x00280010, 0x00280011}
_BULK = {0x00287FE0, 0x56000020, 0x7FE00008, 0x7FE00009, 0x7FE00010}


@dataclass(frozen=True)
class Campaign:
    name: str
    content: bytes
    cuts: dict[int, Wholeness]
    blind: dict[int, str]

    @property
    def sent(self) -> frozenset[int]:
        return frozenset(cut for cut, verdict in self.cuts.items() if verdict in SENDABLE)

    @property
    def counts(self) -> Counter[Wholeness]:
        return Counter(self.cuts.values())


def whole_files() -> Iterator[tuple[str, bytes]]:
    """The generated files, and pydicom's that are whole. Not SC_rgb_jpeg: it is in implicit VR and says that it isn't."""
    for made in MADE:
        yield made.name, made.content
    for path in sorted((Path(pydicom.__file__).parent / "data").rglob("*.dcm")):
        content = path.read_bytes()
        if path.stem != "SC_rgb_jpeg" and verdict(content) is Wholeness.WHOLE:
            yield f"pydicom: {path.stem}", content


def campaign(name: str, content: bytes) -> Campaign:
    seen = boundaries(content)
    chosen = random.Random(name)
    cuts = {*range(min(len(content), ALL_BELOW + 1)), *seen.every}
    cuts |= {chosen.randrange(len(content)) for _ in range(RANDOM)}
    cuts.discard(len(content))
    verdicts = {cut: verdict(content[:cut]) for cut in sorted(cuts)}
    return Campaign(name, content, verdicts, {cut: why for cut, why in _blind(content, seen).items() if cut in cuts})


def _blind(content: bytes, seen: Boundaries) -> dict[int, str]:
    if seen.syntax in DEFLATES:
        stream = zlib.decompressobj(-15)
        stream.decompress(content[seen.start :])
        return dict.fromkeys(range(len(content) - len(stream.unused_data), len(content)), PAD)
    found, tags = dict[int, str](), set[int]()
    needs_pixels = bool(_BULK & set(seen.top.values()))
    always_an_image = needs_pixels and not _may_lack_pixels(seen.sop_class)
    for end, tag in sorted(seen.top.items()):
        tags.add(tag)
        looks_like_an_image = always_an_image or bool(_IMAGE_PIXEL & tags)
        if tags >= _IDENTIFIERS and (tags & _BULK or not (needs_pixels and looks_like_an_image)):
            found[end] = BEHIND if tags & _BULK else NOT_YET if needs_pixels else NONE_NEEDED
    return found


def _may_lack_pixels(sop_class: str) -> bool:
    """Classes that hold pixel data now and then: RT Dose, Spectroscopy, private ones."""
    name = UID(sop_class).name
    return "Image" not in name and name not in ("Segmentation Storage", "Parametric Map Storage")
