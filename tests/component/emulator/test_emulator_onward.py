"""Files that pydicom reads in part, and fo-dicom whole: what the embedded service stores of them, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fakes.emulator_client import new_partition, serving
from fakes.part10_writer import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    UNDEFINED,
    Writer,
    encapsulated,
    identity,
    image_pixel,
    part10,
    pixels,
)

URL = "studies/1.2.3.1/series/1.2.3.2/instances/1.2.3.3"
SINGLE = {"Content-Type": "application/dicom"}
PUBLIC, PRIVATE = 0x00081140, 0x00291010
WHOLE_FILE = {"Accept": "application/dicom; transfer-syntax=*"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with serving(tmp_path_factory.mktemp("shared")) as client:
        yield client


@pytest.fixture
def service(shared: httpx.Client) -> Iterator[httpx.Client]:
    with new_partition(shared) as client:
        yield client


def stored(service: httpx.Client, content: bytes) -> dict[str, Any]:
    """Its metadata, once it is there byte for byte."""
    answer = service.post("studies", content=content, headers=SINGLE)
    assert answer.status_code in {200, 202}, answer.text
    assert service.get(URL, headers=WHOLE_FILE).content[128:] == content[128:]
    [model] = service.get(f"{URL}/metadata").json()
    return dict(model)


def refused(service: httpx.Client, content: bytes) -> bool:
    answer = service.post("studies", content=content, headers=SINGLE)
    reasons = [item["00081197"]["Value"] for item in answer.json().get("00081198", {}).get("Value", [])]
    return (answer.status_code, reasons) == (409, [[43264]])


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED, JPEG])
def test_what_stands_behind_the_pixels_is_read(service: httpx.Client, syntax: str) -> None:
    """azure-dicom 1.4: fo-dicom puts the elements of a file in order; of two with one tag the last counts."""
    w = Writer(syntax)
    before = [*identity(w)[:4], w.element(0x00200010, b"SH", b"FIRST"), *image_pixel(w)]
    behind = [*identity(w)[4:], w.element(0x00200010, b"SH", b"LAST"), pixels(w), w.element(0x00204000, b"LT", b"end")]
    image = encapsulated(w) if syntax == JPEG else pixels(w)
    model = stored(service, part10([*before, image, *behind], syntax))
    assert model["00200010"]["Value"] == ["LAST"]
    assert model["00204000"]["Value"] == ["end"]
    assert model["00280010"]["Value"] == [4]
    assert "7FE00010" not in model


@pytest.mark.parametrize("tail", [b"\n", bytes(7), b"\xff" * 512, b"\x10\x00\x10\x00PN\xff\xffcut"])
def test_what_is_no_element_behind_the_pixels_takes_nothing_away(service: httpx.Client, tail: bytes) -> None:
    """azure-dicom 1.8: fo-dicom stops where the bytes stop and keeps what it has."""
    w = Writer()
    model = stored(service, part10([*identity(w), *image_pixel(w), pixels(w)]) + tail)
    assert model["00100010"]["Value"] == [{"Alphabetic": "CANARY"}]


def test_fragments_without_an_end_are_kept_and_what_is_no_fragment_is_refused(service: httpx.Client) -> None:
    """azure-dicom 1.4, 1.8: fo-dicom's ParseFragmentSequence."""
    w = Writer(JPEG)
    begun = w.header(0x7FE00010, b"OB", UNDEFINED) + w.item(b"\xff\xd8")
    assert refused(service, part10([*identity(w), *image_pixel(w), begun, w.element(0x00204000, b"LT", b"ab")], JPEG))
    assert stored(service, part10([*identity(w), *image_pixel(w), begun], JPEG))


def unknown(tag: int, items: Writer, *, undefined: bool) -> bytes:
    """In big endian: an element in UN of undefined length, whose items `items` writes."""
    w = Writer(BIG)
    item = items.item(items.element(0x00080100, b"SH", b"CODE"), undefined=undefined)
    odd = w.header(tag, b"UN", UNDEFINED) + item + items.mark(0xE0DD)
    return part10([*identity(w)[:2], odd, *identity(w)[2:], *image_pixel(w), pixels(w)], BIG)


@pytest.mark.parametrize("undefined", [True, False])
def test_un_of_undefined_length_in_big_endian_is_what_fo_dicom_makes_of_it(
    service: httpx.Client, undefined: bool
) -> None:
    """azure-dicom 1.4: items in implicit VR little endian under a public tag, in big endian under a private one."""
    little, big = Writer(IMPLICIT), Writer(BIG)
    shown = {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["CODE"]}}]}
    assert refused(service, unknown(PUBLIC, big, undefined=undefined))
    assert refused(service, unknown(PRIVATE, little, undefined=undefined))
    assert refused(service, unknown(0x00290012, little, undefined=undefined))
    assert stored(service, unknown(PUBLIC, little, undefined=undefined))["00081140"] == shown
    assert service.delete(URL).status_code == 204
    assert stored(service, unknown(PRIVATE, big, undefined=undefined))["00291010"] == shown


@pytest.mark.parametrize("cut", [1, 3, 8])
def test_half_a_value_is_none(service: httpx.Client, cut: int) -> None:
    """azure-dicom 1.8: an element that the file ends in is not there, before the pixels as behind them."""
    w = Writer()
    half = w.element(0x00200010, b"SH", b"LAST")[:-cut]
    assert "00200010" not in stored(service, part10([*identity(w), half]))


def test_no_element_of_big_endian_is_of_undefined_length_and_no_sequence(service: httpx.Client) -> None:
    """azure-dicom 1.4: whatever the dictionary does not call a sequence."""
    assert refused(service, unknown(0x00100040, Writer(IMPLICIT), undefined=True))
