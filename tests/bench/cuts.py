"""The cut campaign as a table, with pydicom's verdict beside the walk's: python tests/bench/cuts.py

A row a file: how many cuts the walk called by each name, and how many it can't see. pydicom is asked about one in `EVERY` of each
file's cuts and all that are blind: it notices a cut if dcmread raises or warns, or if the pixel data can't be decoded, though that
of the whole file can.
"""

from __future__ import annotations

import io
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import pydicom

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from fakes.part10_cuts import Campaign, campaign, whole_files  # noqa: E402 - behind the path

from ingestd.core.answers.reasons import Wholeness  # noqa: E402 - behind the path

EVERY = 20


def pydicom_is_content(content: bytes, *, pixels: bool) -> bool:
    """Whether dcmread, and pixel_array with `pixels`, take the bytes without a word."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dataset = pydicom.dcmread(io.BytesIO(content))
            if pixels:
                _ = dataset.pixel_array
            for _ in dataset.iterall():
                pass
    except Exception:  # noqa: BLE001 - whatever it is, it noticed
        return False
    return True


def unnoticed(done: Campaign) -> tuple[int, int]:
    """How many of the cuts that pydicom was asked about it takes without a word, and how many those were."""
    pixels = pydicom_is_content(done.content, pixels=True)
    if not pixels and not pydicom_is_content(done.content, pixels=False):
        return 0, 0
    asked = [cut for n, cut in enumerate(done.cuts) if n % EVERY == 0 or cut in done.blind]
    return sum(pydicom_is_content(done.content[:cut], pixels=pixels) for cut in asked), len(asked)


def main() -> None:
    start, totals, why, missed, asked = time.monotonic(), Counter[Wholeness](), Counter[str](), 0, 0
    print(f"{'file':52} {'bytes':>7} {'cuts':>6} {'trunc.':>6} {'no pix':>6} {'no dcm':>6} {'blind':>6}  pydicom takes")
    files = 0
    for name, content in whole_files():
        done = campaign(name, content)
        counts = done.counts
        took, of = unnoticed(done)
        files, missed, asked = files + 1, missed + took, asked + of
        totals += counts
        why += Counter(done.blind.values())
        named = (Wholeness.TRUNCATED, Wholeness.NO_PIXEL_DATA, Wholeness.NOT_DICOM)
        columns = " ".join(f"{counts[kind]:6}" for kind in named)
        wrong = "" if done.sent == set(done.blind) else "  WRONG"
        print(f"{name[:52]:52} {len(content):7} {len(done.cuts):6} {columns} {len(done.sent):6}  {took} of {of}{wrong}")
    print(f"\n{files} files, {sum(totals.values())} cuts in {time.monotonic() - start:.0f} s:")
    for kind, count in totals.most_common():
        print(f"{count:8}  {kind.value}")
    print("called whole, because nothing shows the cut:")
    for reason, count in why.most_common():
        print(f"{count:8}  {reason}")
    print(f"pydicom took {missed} of the {asked} cuts that it was asked about without a word")


if __name__ == "__main__":
    main()
