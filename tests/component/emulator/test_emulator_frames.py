"""The embedded service gives frames out of their file, as they were stored (facts/tutorial 11; PS3.18 10.4.1.1.6)."""

import io
import random
import re
import struct
import zlib
from collections.abc import Iterator

import httpx
import pytest
from pydicom import dcmwrite
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended, get_frame
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from ingestd.emulator.server import running

ANY = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
DEFAULT = 'multipart/related; type="application/octet-stream"'
WILD = 'multipart/related; type="*/*"'
ALONE = "application/octet-stream; transfer-syntax=*"
INSTANCE = "studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.5"
ROWS, COLUMNS = 6, 8
FRAME_BYTES = ROWS * COLUMNS * 2
NATIVE = [random.Random(number).randbytes(FRAME_BYTES) for number in range(3)]
COMPRESSED = [random.Random(number).randbytes(length) for number, length in enumerate((100, 61, 40_000))]
"""The second of an odd length: in its fragment a byte of padding follows."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Each test puts its own instance in the place of the last one's."""
    accept = {"Accept": "application/dicom+json"}
    with (
        running(data=tmp_path_factory.mktemp("frames")) as emulator,
        httpx.Client(base_url=emulator.url, headers=accept) as client,
    ):
        yield client


def image(syntax: UID, pixels: bytes | None, **changes: object) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7.3", "1.2.3.4.5"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.PatientID = "1.2.3", "1.2.3.4", "ID1"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.BitsAllocated = ROWS, COLUMNS, 1, 16
    dataset.PhotometricInterpretation, dataset.NumberOfFrames = "MONOCHROME2", 3
    if pixels is not None:
        dataset.PixelData = pixels
        dataset["PixelData"].VR = "OB" if syntax.is_encapsulated else "OW"
        dataset["PixelData"].is_undefined_length = syntax.is_encapsulated
    for keyword, value in changes.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    return dataset


def store(client: httpx.Client, dataset: FileDataset) -> bytes:
    target = io.BytesIO()
    if dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
        dcmwrite(target, dataset, implicit_vr=False, little_endian=False, force_encoding=True)
    else:
        dataset.save_as(target, enforce_file_format=False)
    content = target.getvalue()
    answer = client.put("studies", content=content, headers={"Content-Type": "application/dicom"})
    assert answer.status_code in {200, 202}, answer.text
    return content


def get(client: httpx.Client, frames: str, accept: str = ANY) -> httpx.Response:
    return client.get(f"{INSTANCE}/frames/{frames}", headers={"Accept": accept})


def parts(answer: httpx.Response) -> list[tuple[str, bytes]]:
    assert answer.status_code == 200, answer.text
    boundary = re.fullmatch(r"multipart/related; boundary=(\w+)", answer.headers["content-type"])
    assert boundary is not None
    edge = b"--" + boundary[1].encode()
    found = []
    for raw in answer.content.removesuffix(edge + b"--\r\n").split(edge + b"\r\n")[1:]:
        head, _, body = raw.removesuffix(b"\r\n").partition(b"\r\n\r\n")
        found.append((head.decode().removeprefix("Content-Type: "), body))
    return found


def bodies(answer: httpx.Response) -> list[bytes]:
    return [body for _, body in parts(answer)]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("accept", [DEFAULT, ANY, f"{DEFAULT}; transfer-syntax=1.2.840.10008.1.2.1", "*/*", WILD])
def test_native_frames_are_the_same_in_every_little_endian_syntax(
    service: httpx.Client, syntax: UID, accept: str
) -> None:
    store(service, image(syntax, b"".join(NATIVE)))
    given = syntax if accept in {ANY, "*/*", WILD} else ExplicitVRLittleEndian

    for frames, numbers in (("1", (0,)), ("1,2,3", (0, 1, 2)), ("3,1", (2, 0)), ("2%2C%202", (1, 1))):
        kind = f"application/octet-stream; transfer-syntax={given}"
        assert parts(get(service, frames, accept)) == [(kind, NATIVE[number]) for number in numbers]


def test_a_frame_alone_is_the_body(service: httpx.Client) -> None:
    store(service, image(ExplicitVRLittleEndian, b"".join(NATIVE)))

    for accept in ("application/octet-stream", ALONE):
        answer = get(service, "2", accept)
        assert answer.content == NATIVE[1]
        assert answer.headers["content-type"] == "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
        assert answer.headers["content-length"] == str(FRAME_BYTES)
        assert get(service, "1,2", accept).status_code == 400


@pytest.mark.parametrize(
    "pixels",
    [
        encapsulate(COMPRESSED, has_bot=True),
        encapsulate(COMPRESSED, has_bot=False),
        encapsulate(COMPRESSED, fragments_per_frame=4, has_bot=True),
    ],
    ids=["table", "no table", "fragments"],
)
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, RLELossless])
def test_encapsulated_frames_are_their_fragments(service: httpx.Client, syntax: UID, pixels: bytes) -> None:
    """PS3.5 A.4: as pydicom, another implementation, finds them."""
    store(service, image(syntax, pixels))
    expected = [get_frame(pixels, number, number_of_frames=3) for number in range(3)]

    found = parts(get(service, "1,2,3"))

    assert found == [(f"application/octet-stream; transfer-syntax={syntax}", frame) for frame in expected]
    assert get(service, "3", ALONE).content == expected[2]
    by_name = f'multipart/related; type="application/octet-stream"; transfer-syntax={syntax}'
    assert bodies(get(service, "2", by_name)) == [expected[1]]


@pytest.mark.parametrize("count", [3, 1])
def test_an_extended_offset_table_tells_the_frames_to_the_byte(service: httpx.Client, count: int) -> None:
    """PS3.3 C.7.6.3.1.8: without the padding of their fragments."""
    pixels, offsets, _ = encapsulate_extended(COMPRESSED[:count])
    lengths = struct.pack(f"<{count}Q", *(len(frame) for frame in COMPRESSED[:count]))
    tables = {"ExtendedOffsetTable": offsets, "ExtendedOffsetTableLengths": lengths, "NumberOfFrames": count}
    store(service, image(JPEGBaseline8Bit, pixels, **tables))

    assert bodies(get(service, ",".join(str(number + 1) for number in range(count)))) == COMPRESSED[:count]


def test_all_fragments_are_the_one_frame_there_is(service: httpx.Client) -> None:
    store(service, image(JPEGBaseline8Bit, encapsulate(COMPRESSED[2:], fragments_per_frame=5), NumberOfFrames=None))

    assert bodies(get(service, "1")) == [COMPRESSED[2]]
    assert get(service, "2").status_code == 404


def test_jpeg_2000_goes_by_its_own_name_too(service: httpx.Client) -> None:
    store(service, image(JPEG2000Lossless, encapsulate(COMPRESSED)))

    for accept in (
        'multipart/related; type="image/jp2"',
        f'multipart/related; type="image/jp2"; transfer-syntax={JPEG2000Lossless}',
    ):
        kind, body = parts(get(service, "1", accept))[0]
        assert (kind, body) == (f"image/jp2; transfer-syntax={JPEG2000Lossless}", COMPRESSED[0])


@pytest.mark.parametrize(
    ("syntax", "pixels", "accept"),
    [
        (JPEGBaseline8Bit, encapsulate(COMPRESSED), DEFAULT),
        (JPEGBaseline8Bit, encapsulate(COMPRESSED), 'multipart/related; type="image/jp2"'),
        (JPEGBaseline8Bit, encapsulate(COMPRESSED), 'multipart/related; type="image/jpeg"'),
        (ExplicitVRLittleEndian, b"".join(NATIVE), f"{DEFAULT}; transfer-syntax={JPEG2000Lossless}"),
        (ExplicitVRBigEndian, b"".join(NATIVE), DEFAULT),
        (ExplicitVRLittleEndian, b"".join(NATIVE), 'multipart/related; type="application/dicom"'),
        (ExplicitVRLittleEndian, b"".join(NATIVE), "application/dicom+json"),
    ],
)
def test_what_would_need_transcoding_is_406(service: httpx.Client, syntax: UID, pixels: bytes, accept: str) -> None:
    """Azure decodes some of these; see emulator/transactions/retrieve.py."""
    store(service, image(syntax, pixels))

    assert get(service, "1", accept).status_code == 406
    assert bodies(get(service, "2")) == [
        (COMPRESSED if syntax.is_encapsulated else NATIVE)[1].ljust(62 if syntax.is_encapsulated else 0, b"\0")
    ]


@pytest.mark.parametrize(
    "frames", ["0", "-1", "1,-1", "0,1", "1,,2", "1,", "x", "1.5", "%20", "1e3", "99999999999", "1;2"]
)
def test_a_frame_number_that_is_none_is_400(service: httpx.Client, frames: str) -> None:
    """Before anything is looked up, as at Azure."""
    assert get(service, frames).status_code == 400


@pytest.mark.slow
def test_too_many_frames_are_400(service: httpx.Client) -> None:
    store(service, image(ExplicitVRLittleEndian, b"".join(NATIVE)))

    assert get(service, ",".join(["1"] * 10_001)).status_code == 400
    assert len(bodies(get(service, ",".join(["1"] * 10_000)))) == 10_000


@pytest.mark.parametrize(
    ("syntax", "pixels", "changes"),
    [
        (ExplicitVRLittleEndian, b"".join(NATIVE), {}),
        (ExplicitVRLittleEndian, None, {}),
        (ExplicitVRLittleEndian, b"".join(NATIVE)[:-1], {"NumberOfFrames": 9}),
        (ExplicitVRLittleEndian, b"".join(NATIVE), {"Rows": None, "NumberOfFrames": 9}),
        (ExplicitVRLittleEndian, b"".join(NATIVE), {"BitsAllocated": 0, "NumberOfFrames": 9}),
        (ExplicitVRLittleEndian, b"", {"NumberOfFrames": 9}),
        (JPEGBaseline8Bit, encapsulate(COMPRESSED), {"NumberOfFrames": 9}),
        (JPEGBaseline8Bit, encapsulate(COMPRESSED), {}),
        (DeflatedExplicitVRLittleEndian, b"".join(NATIVE), {"NumberOfFrames": 3}),
    ],
)
def test_a_frame_that_is_not_there_is_404(
    service: httpx.Client, syntax: UID, pixels: bytes | None, changes: dict[str, object]
) -> None:
    store(service, image(syntax, pixels, **changes))

    answer = get(service, "4")
    assert (answer.status_code, answer.text) == (404, "The specified frame cannot be found.")


def test_of_a_truncated_file_the_whole_frames_are_there(service: httpx.Client) -> None:
    for syntax, pixels in ((ExplicitVRLittleEndian, b"".join(NATIVE)), (JPEGBaseline8Bit, encapsulate(COMPRESSED))):
        target = io.BytesIO()
        image(syntax, pixels).save_as(target, enforce_file_format=False)
        content = target.getvalue()[:-60]
        service.put("studies", content=content, headers={"Content-Type": "application/dicom"})
        assert [get(service, frame).status_code for frame in "123"] == [200, 200, 404]


def test_frames_of_no_instance_are_404(service: httpx.Client) -> None:
    service.delete(INSTANCE)
    answer = get(service, "1")

    assert (answer.status_code, answer.text) == (404, "The specified instance cannot be found.")


def test_frames_that_end_inside_a_byte_are_406_but_for_the_first(service: httpx.Client) -> None:
    """5 by 5 single bits: only a decoder can take the second apart."""
    store(service, image(ExplicitVRLittleEndian, bytes(10), Rows=5, Columns=5, BitsAllocated=1))

    assert [get(service, frame).status_code for frame in ("1", "2")] == [200, 406]


def test_fragments_without_a_table_and_not_one_each_are_406(service: httpx.Client) -> None:
    store(service, image(JPEGBaseline8Bit, encapsulate(COMPRESSED, fragments_per_frame=2, has_bot=False)))

    assert get(service, "1").status_code == 406


@pytest.mark.parametrize("offset", [4, 0xFFFFFFFF, 0xFFFFFF00])
def test_an_offset_table_that_lies_is_404_and_no_more(service: httpx.Client, offset: int) -> None:
    pixels = bytearray(encapsulate(COMPRESSED))
    pixels[12:16] = offset.to_bytes(4, "little")
    store(service, image(JPEGBaseline8Bit, bytes(pixels)))

    assert get(service, "2").status_code == 404


def test_a_photometric_interpretation_that_halves_the_colours_is_minded(service: httpx.Client) -> None:
    """PS3.3 C.7.6.3.1.2: YBR_FULL_422 has two samples a pixel, though SamplesPerPixel is 3."""
    frames = [bytes([number]) * (ROWS * COLUMNS * 2) for number in range(2)]
    values = {
        "PhotometricInterpretation": "YBR_FULL_422",
        "SamplesPerPixel": 3,
        "BitsAllocated": 8,
        "NumberOfFrames": 2,
    }
    store(service, image(ExplicitVRLittleEndian, b"".join(frames), **values))

    assert bodies(get(service, "1,2")) == frames


def test_an_attribute_of_the_image_that_nobody_can_read_does_no_harm(service: httpx.Client) -> None:
    """Found by the malformed requests: 500."""
    target = io.BytesIO()
    image(ExplicitVRLittleEndian, b"".join(NATIVE)).save_as(target, enforce_file_format=False)
    for keyword, expected in ((b"\x28\0\x04\0", 200), (b"\x28\0\x08\0", 404), (b"\x28\0\x10\0", 404)):
        at = target.getvalue().index(keyword) + 4
        content = target.getvalue()[:at] + b"C\0" + target.getvalue()[at + 2 :]
        service.put("studies", content=content, headers={"Content-Type": "application/dicom"}).raise_for_status()
        assert get(service, "1").status_code == expected


def test_a_deflate_stream_that_is_none_holds_no_frames(service: httpx.Client) -> None:
    content = store(service, image(DeflatedExplicitVRLittleEndian, b"".join(NATIVE)))
    start = content.index(b"1.2.840.10008.1.2.1.99") + 22
    data_set = zlib.decompressobj(-15).decompress(content[start:])
    assert NATIVE[0] in data_set
    cut = service.put("studies", content=content[:-30], headers={"Content-Type": "application/dicom"})
    assert (cut.status_code, get(service, "3").status_code) == (200, 404)


def test_a_frame_being_read_outlives_its_instance(service: httpx.Client) -> None:
    frames = [bytes([number]) * 12_000_000 for number in range(2)]
    store(service, image(ExplicitVRLittleEndian, b"".join(frames), Rows=3000, Columns=2000, NumberOfFrames=2))
    with service.stream("GET", f"{INSTANCE}/frames/1,2", headers={"Accept": ANY}) as answer:
        steps = answer.iter_raw(65536)
        received = next(steps)
        assert service.delete(INSTANCE).status_code == 204
        received += b"".join(steps)
    assert all(frame in received for frame in frames)
