"""Files whose metadata the service shows otherwise than they are written end right when they are dropped again (I2)."""

from __future__ import annotations

import shutil
import sqlite3
import struct

import pytest
from fakes.house import House
from fakes.part10_writer import BIG, EXPLICIT, IMPLICIT, UNDEFINED, Writer, head, identity, image_pixel, part10, pixels

LATIN = "FÄLLE^GRÖSSE".encode("latin-1")


def files() -> dict[str, bytes]:
    """Bytes that nothing declares, or that the declared set lacks; a cosine of 90 degrees; 16 bits with a sign in implicit VR."""
    charsets = {"undeclared": None, "unknown": b"ISO_8859-1", "no-utf8": b"ISO_IR 192", "latin": b"ISO_IR 100"}
    found = {name: one(EXPLICIT, number, LATIN, terms) for number, (name, terms) in enumerate(charsets.items(), 1)}
    return found | {"implicit": one(IMPLICIT, 9, b"A^B", None)}


def one(syntax: str, number: int, name: bytes, terms: bytes | None, *, last: bytes = b"\1") -> bytes:
    w = Writer(syntax)
    elements = identity(w, instance=f"1.2.3.3.{number}")
    elements[2] = w.element(0x00100010, b"PN", name)
    charset = [w.element(0x00080005, b"CS", terms)] if terms is not None else []
    direction = w.element(0x00200037, b"DS", b"1\\0\\6.1232339957E-17\\3.7493994566E-33\\-6.1232339E-17\\1")
    padding = w.element(0x00280103, b"US", 1) + w.element(0x00280120, b"SS", struct.pack("<h", -2000))
    content = b"".join([*charset, *elements, direction, *image_pixel(w), padding, pixels(w)])
    return head(syntax) + content[:-1] + last


def proofs(home: House) -> list[tuple[str, str]]:
    connection = sqlite3.connect(home.root / "state" / "journal.sqlite")
    try:
        return connection.execute("SELECT outcome, proof FROM receipts ORDER BY id").fetchall()
    finally:
        connection.close()


def drained(home: House, expected: int = 0) -> None:
    for name, content in files().items():
        home.drop(f"{name}.dcm", content)
    ended = home.run("drain", "--root", str(home.root), "--url", home.url)
    assert ended.returncode == expected, ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["verify", "metadata"])
def test_dropped_again_without_receipts_they_are_already_stored(house: type[House], service: str, policy: str) -> None:
    """I2: by their bytes, or by metadata that contradict nothing, where that is enough."""
    home = house(service, INGESTD_DUPLICATES__POLICY=policy)
    drained(home)
    shutil.rmtree(home.root / "state")
    drained(home)
    assert home.count() == {"inbox": 0, "done": 2 * len(files()), "failed": 0}
    expected = "fetched" if policy == "verify" else "seen"
    assert proofs(home) == [("already_stored", expected)] * len(files())


@pytest.mark.slow
def test_dropped_again_with_receipts_nothing_is_fetched(house: type[House], service: str) -> None:
    """I2: how the service decodes contradicts no receipt."""
    home = house(service)
    drained(home)
    drained(home)
    assert home.count() == {"inbox": 0, "done": 2 * len(files()), "failed": 0}
    assert proofs(home)[len(files()) :] == [("already_stored", "remembered")] * len(files())


def test_a_conflict_of_pixels_names_no_element_that_only_decoding_changed(house: type[House], service: str) -> None:
    """I3: the reason file says that the pixels differ."""
    first = house(service)
    first.drop("one.dcm", one(EXPLICIT, 1, LATIN, None, last=b"\2"))
    assert first.run("drain", "--root", str(first.root), "--url", service).returncode == 0
    home = house(service)
    home.drop("one.dcm", one(EXPLICIT, 1, LATIN, None))
    assert home.run("drain", "--root", str(home.root), "--url", service).returncode == 1
    [reason] = home.reasons().values()
    assert (reason["reason"], reason["differs"]) == ("conflict", [])
    assert "pixels" in reason["text"]


@pytest.mark.slow
def test_uids_behind_the_pixels_and_un_in_big_endian_end_as_the_service_says(house: type[House], service: str) -> None:
    """I2, I3: sent, for they are whole; what fo-dicom does not read the service refuses, with its own reason."""
    behind, big, inside = Writer(), Writer(BIG), Writer(IMPLICIT)
    items = inside.item(inside.element(0x00080100, b"SH", b"CODE")) + inside.mark(0xE0DD)

    def un(tag: int, number: int) -> bytes:
        odd = big.header(tag, b"UN", UNDEFINED) + items
        named = identity(big, instance=f"1.2.3.3.{number}")
        return part10([*named[:2], odd, *named[2:], *image_pixel(big), pixels(big)], BIG)

    named = identity(behind)
    home = house(service)
    home.drop("behind.dcm", part10([*named[:4], *image_pixel(behind), pixels(behind), *named[4:]]))
    home.drop("public.dcm", un(0x00081140, 1))
    home.drop("private.dcm", un(0x00291010, 2))
    assert home.run("drain", "--root", str(home.root), "--url", service).returncode == 1
    assert home.count() == {"inbox": 0, "done": 2, "failed": 1}
    [(name, reason)] = home.reasons().items()
    assert (name, reason["reason"], reason["failure_reason"]) == ("private.dcm", "rejected", 43264)
