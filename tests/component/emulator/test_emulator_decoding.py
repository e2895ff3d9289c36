"""What the embedded service makes of a file's bytes in its metadata, and what the daemon's comparison makes of that."""

from __future__ import annotations

import os
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.emulator_client import new_partition, serving
from fakes.part10_writer import BIG, EXPLICIT, IMPLICIT, Writer, identity, image_pixel, part10, pixels

from ingestd.core.answers.elements import contradict
from ingestd.dicomweb.payload.metadata_reader import Elements, ElementsSink, Places
from ingestd.emulator.dicom.numbers import decimal_string
from ingestd.part10.comparable import comparable_elements

URL = "studies/1.2.3.1/series/1.2.3.2/instances/1.2.3.3"
SINGLE = {"Content-Type": "application/dicom"}
LATIN = "FÄLLE^GRÖSSE".encode("latin-1")
YAMADA = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"
HONG = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with serving(tmp_path_factory.mktemp("shared")) as client:
        yield client


@pytest.fixture
def service(shared: httpx.Client) -> Iterator[httpx.Client]:
    with new_partition(shared) as client:
        yield client


def file(*extra: tuple[int, bytes, bytes], syntax: str = EXPLICIT, name: bytes | None = None) -> bytes:
    """A whole image with these elements, in the order of their tags; `name` is PatientName, well declared or not."""
    w = Writer(syntax)
    elements = [*identity(w), *image_pixel(w), *(w.element(*one) for one in extra)]
    if name is not None:
        elements[2] = w.element(0x00100010, b"PN", name)
    order = "big" if syntax == BIG else "little"

    def tag(element: bytes) -> tuple[int, int]:
        return int.from_bytes(element[:2], order), int.from_bytes(element[2:4], order)

    return part10([*sorted(elements, key=tag), pixels(w)], syntax)


def shown(service: httpx.Client, content: bytes) -> dict[str, Any]:
    assert service.post("studies", content=content, headers=SINGLE).status_code in {200, 202}
    [model] = service.get(f"{URL}/metadata").json()
    return dict(model)


def read_back(service: httpx.Client) -> Elements:
    """The metadata as the daemon reads them."""
    answer = service.get(f"{URL}/metadata")
    with ElementsSink(Places(), rate=1) as sink:
        assert sink.begin(answer.headers)
        assert sink.take(answer.content)
        found = sink.elements()
    assert found is not None
    return found


def own(tmp_path: Path, content: bytes) -> dict[str, tuple[str, ...]]:
    (tmp_path / "x.dcm").write_bytes(content)
    handle = os.open(tmp_path / "x.dcm", os.O_RDONLY)
    try:
        return comparable_elements(handle)
    finally:
        os.close(handle)


def contradicted(service: httpx.Client, tmp_path: Path, content: bytes) -> list[str]:
    mine, theirs = own(tmp_path, content), read_back(service)
    assert {"00080018", "00100010", "00100020"} <= mine.keys() & theirs.keys()
    return [tag for tag in sorted(mine.keys() & theirs.keys()) if contradict(mine[tag], theirs[tag])]


NAMES = {
    "declared": (b"ISO_IR 100", LATIN, "FÄLLE^GRÖSSE"),
    "misspelled": (b"ISO-IR 100", LATIN, "FÄLLE^GRÖSSE"),
    "nothing declared": (None, LATIN, "F?LLE^GR?SSE"),
    "nothing declared, in UTF-8": (None, "FÄLLE".encode(), "F??LLE"),
    "declared empty": (b"", LATIN, "F?LLE^GR?SSE"),
    "a term that nobody knows": (b"ISO_8859-1", LATIN, "F?LLE^GR?SSE"),
    "UTF-8 that is none": (b"ISO_IR 192", LATIN, "F\ufffdLLE^GR\ufffdSSE"),
    "UTF-8": (b"ISO_IR 192", "山田^太郎".encode(), "山田^太郎"),
    "Cyrillic": (b"ISO_IR 144", "Иван".encode("iso8859_5"), "Иван"),
    "a hole in Greek": (b"ISO_IR 126", b"\xd9\xff", "Ω?"),
    "Chinese, a backslash within": (b"GB18030", "乗^許".encode("gb18030"), "乗^許"),
    "escapes": (b"\\ISO 2022 IR 87", YAMADA, "Yamada^Tarou=山田^太郎"),
    "escapes, undeclared beside": (b"\\ISO 2022 IR 87", b"\xc4=\x1b$B;3ED\x1b(B", "?=山田"),
    "escapes of another set": (b"\\ISO 2022 IR 149", HONG, "Hong^Gildong=洪^吉洞"),
    "escapes ended by a delimiter": (b"ISO 2022 IR 100\\ISO 2022 IR 144", b"\x1b-L\xd8\xd8^\xd8", "ии^Ø"),
    "an escape that is not declared": (b"ISO 2022 IR 100\\ISO 2022 IR 87", b"a\x1b-L\xd8", "a?"),
    "an escape that nobody knows": (b"ISO 2022 IR 100\\ISO 2022 IR 87", b"a\x1b%Gb", "ab"),
}


READ_OTHERWISE = {"escapes ended by a delimiter", "an escape that is not declared", "an escape that nobody knows"}
"""By pydicom, which reads the file for the comparison: the bytes are fetched, and they decide."""


@pytest.mark.parametrize("case", NAMES)
def test_texts_are_what_net_makes_of_them(service: httpx.Client, tmp_path: Path, case: str) -> None:
    """azure-dicom 5 (b), I2: undeclared bytes are "?", and prove nothing against the file that has them."""
    terms, name, expected = NAMES[case]
    content = file(*([(0x00080005, b"CS", terms)] if terms is not None else []), name=name)
    groups = dict(zip(("Alphabetic", "Ideographic"), expected.split("="), strict=False))
    assert shown(service, content)["00100010"] == {"vr": "PN", "Value": [groups]}
    assert contradicted(service, tmp_path, content) == (["00100010"] if case in READ_OTHERWISE else [])


def test_a_name_that_was_corrected_at_the_service_contradicts_all_the_same(
    service: httpx.Client, tmp_path: Path
) -> None:
    """I2: only what stands for the undeclared bytes proves nothing, not the letters beside them."""
    shown(service, file(name=b"FAELLE^GROESSE"))
    assert contradicted(service, tmp_path, file(name=LATIN)) == ["00100010"]


def test_items_inherit_the_character_set_and_can_have_their_own(service: httpx.Client) -> None:
    """fo-dicom's DicomDatasetReaderObserver; no set governs a CS."""
    w = Writer()
    code = w.element(0x00080104, b"LO", "Ä".encode("latin-1"))
    items = w.item(code) + w.item(
        w.element(0x00080005, b"CS", b"ISO_IR 192") + w.element(0x00080104, b"LO", "Ä".encode())
    )
    content = file((0x00080005, b"CS", b"ISO_IR 100"), (0x00082218, b"SQ", items), (0x00180015, b"LO", b"\xc4"))
    first, second = shown(service, content)["00082218"]["Value"]
    assert first["00080104"]["Value"] == second["00080104"]["Value"] == ["Ä"]


NUMBERS = {
    b"1.50": 1.5,
    b"+7 ": 7,
    b"-1.2345678901E-3": -0.0012345678901,
    b"6.1232339957E-17": 6.123233996e-17,
    b"3.7493994566E-33": 0,
    b"1.23456789E-22": 1.234568e-22,
    b"1E3": 1000,
    b"1.23456789012E17": 1.23456789e17,
}


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_numbers_are_what_net_makes_of_them(service: httpx.Client, tmp_path: Path, syntax: str) -> None:
    """azure-dicom 5 (b), I2: a DS is a decimal of 28 places, and ten digits of it where its plain spelling is long."""
    order = ">" if syntax == BIG else "<"
    content = file(
        (0x00180050, b"DS", b"\\".join([*NUMBERS, b""])),
        (0x00200013, b"IS", b" -7"),
        (0x00200032, b"DS", b"1.0\\\\3"),
        (0x00189074, b"FD", b""),
        (0x00189087, b"FD", struct.pack(order + "d", 0.1)),
        (0x00700010, b"FL", struct.pack(order + "ff", 0.1, float("inf"))),
        (0x00281050, b"DS", b""),
        syntax=syntax,
    )
    model = shown(service, content)
    assert model["00180050"]["Value"] == [*NUMBERS.values(), None]
    assert model["00200032"]["Value"] == [1.0, None, 3]
    assert model["00200013"]["Value"] == [-7]
    assert model["00189087"]["Value"] == [0.1]
    assert model["00700010"]["Value"] == [0.1, "Infinity"]
    assert model["00281050"] == {"vr": "DS"}
    assert contradicted(service, tmp_path, content) == []


@pytest.mark.parametrize("text", ["0E-9999999", "-0E-9999999", "0E+9999999", "1E-9999999"])
def test_a_number_of_twelve_characters_costs_no_megabytes(text: str) -> None:
    """I8: spelled out, a zero has as many places as its exponent says; one DS may have thousands of them."""
    tracemalloc.start()
    try:
        assert decimal_string(text) == 0
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_an_implicit_vr_of_either_sign_is_us(service: httpx.Client, tmp_path: Path, syntax: str) -> None:
    """azure-dicom 2.5, I2: fo-dicom takes the first of the dictionary's VRs; the same sixteen bits contradict nothing."""
    order = ">" if syntax == BIG else "<"
    signed = ((0x00280103, b"US", struct.pack(order + "H", 1)), (0x00280120, b"SS", struct.pack(order + "h", -2000)))
    content = file(*signed, syntax=syntax)
    expected = {"vr": "US", "Value": [63536]} if syntax == IMPLICIT else {"vr": "SS", "Value": [-2000]}
    assert shown(service, content)["00280120"] == expected
    assert contradicted(service, tmp_path, content) == []
    other = file(signed[0], (0x00280120, b"SS", struct.pack(order + "h", -1999)), syntax=syntax)
    assert contradicted(service, tmp_path, other) == ["00280120"]


def test_a_text_of_one_value_is_there_even_if_it_is_empty(service: httpx.Client) -> None:
    """fo-dicom's DicomStringElement has one value; a private creator of an implicit VR is LO."""
    content = file((0x00204000, b"LT", b""), (0x00290010, b"LO", b"FIELD 01"), syntax=IMPLICIT)
    model = shown(service, content)
    assert model["00204000"] == {"vr": "LT", "Value": [None]}
    assert model["00290010"] == {"vr": "LO", "Value": ["FIELD 01"]}
