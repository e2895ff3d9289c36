"""The embedded service over HTTP: what it answers to a Store transaction, and what is there afterwards."""

import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fakes.emulator_client import new_partition, serving
from pydicom import dcmread
from pydicom.dataset import Dataset

from ingestd.emulator.samples import ct_instance, tutorial_samples
from ingestd.emulator.server import running

MULTIPART = 'multipart/related; type="application/dicom"; boundary=edge'
SC = "1.2.840.10008.5.1.4.1.1.7"
CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY, SERIES = "1.2.3", "1.2.3.4"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One service for all tests; outside of partitions nothing is stored."""
    with serving(tmp_path_factory.mktemp("shared")) as client:
        yield client


@pytest.fixture
def service(shared: httpx.Client) -> Iterator[httpx.Client]:
    """A new partition of the shared service, with nothing in it."""
    with new_partition(shared) as client:
        yield client


def instance(number: int = 1, *, study: str = STUDY, series: str = SERIES, size_bytes: int = 1500) -> bytes:
    return ct_instance(study_uid=study, series_uid=series, sop_instance_uid=f"1.2.3.4.{number}", size_bytes=size_bytes)


def changed(**values: str | None) -> bytes:
    """Instance 1 with these keywords set, or deleted where None, and written without pydicom judging the values."""
    dataset = dcmread(io.BytesIO(instance()))
    for keyword, value in values.items():
        if value is None:
            del dataset[keyword]
        else:
            dataset[keyword]._value = value
    target = io.BytesIO()
    dataset.save_as(target)
    return target.getvalue()


def multipart(*parts: bytes, headers: str = "Content-Type: application/dicom", end: bytes = b"--edge--\r\n") -> bytes:
    framed = (b"--edge\r\n" + headers.encode() + b"\r\n\r\n" + part + b"\r\n" for part in parts)
    return b"".join(framed) + end


def post(client: httpx.Client, *parts: bytes, study: str = "") -> httpx.Response:
    return client.post(f"studies{study}", content=multipart(*parts), headers={"Content-Type": MULTIPART})


def stored(response: httpx.Response) -> list[tuple[str, int | None]]:
    items = response.json().get("00081199", {}).get("Value", [])
    return [(value(item, "00081155"), value(item, "00081196")) for item in items]


def failed(response: httpx.Response) -> list[tuple[str | None, int]]:
    items = response.json().get("00081198", {}).get("Value", [])
    return [(value(item, "00081155"), value(item, "00081197")) for item in items]


def comments(response: httpx.Response, sequence: str) -> list[str]:
    items = response.json()[sequence]["Value"]
    return [value(comment, "00000902") for item in items for comment in item["00741048"].get("Value", [])]


def value(item: dict, tag: str):
    return item[tag]["Value"][0] if tag in item else None


def metadata(client: httpx.Client, number: int = 1, study: str = STUDY) -> httpx.Response:
    return client.get(f"studies/{study}/series/{SERIES}/instances/1.2.3.4.{number}/metadata")


# -- what is stored ----------------------------------------------------------------------------------------------------


def test_the_tutorial_samples_are_stored_by_one_multipart_request(service: httpx.Client) -> None:
    """Tutorial, step 2; azure-dicom 1.1: all stored is 200, and each is named."""
    samples = tutorial_samples()

    response = post(service, *(sample.content for sample in samples))

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+json; charset=utf-8"
    assert stored(response) == [(sample.sop_instance_uid, None) for sample in samples]
    assert failed(response) == []


def test_a_stored_item_carries_class_url_and_an_empty_failed_attributes_sequence(service: httpx.Client) -> None:
    """azure-dicom 1.3: FailedAttributesSequence is always there in version 2, without Value when nothing is amiss."""
    response = post(service, instance())

    url = f"{service.base_url}studies/{STUDY}/series/{SERIES}/instances/1.2.3.4.1"
    assert response.json() == {
        "00081199": {
            "vr": "SQ",
            "Value": [
                {
                    "00081150": {"vr": "UI", "Value": [CT]},
                    "00081155": {"vr": "UI", "Value": ["1.2.3.4.1"]},
                    "00081190": {"vr": "UR", "Value": [url]},
                    "00741048": {"vr": "SQ"},
                }
            ],
        }
    }


def test_the_study_has_a_retrieve_url_when_it_is_in_the_path_and_something_was_stored(service: httpx.Client) -> None:
    """azure-dicom 1.3, RetrieveURL (0008,1190)."""
    first = post(service, instance(), study=f"/{STUDY}")
    again = post(service, instance(), study=f"/{STUDY}")

    assert value(first.json(), "00081190") == f"{service.base_url}studies/{STUDY}"
    assert "00081190" not in again.json()


def test_a_single_part_is_stored(service: httpx.Client) -> None:
    """Tutorial, step 4."""
    response = service.post("studies", content=instance(), headers={"Content-Type": "application/dicom"})

    assert (response.status_code, stored(response)) == (200, [("1.2.3.4.1", None)])


def test_what_is_retrieved_is_what_was_stored_but_for_the_preamble(service: httpx.Client) -> None:
    """azure-dicom 2.5: the service zeroes the preamble and keeps every other byte."""
    sent = b"MZ" + b"\x01" * 126 + instance(size_bytes=700_000)[128:]
    post(service, sent)

    response = service.get(
        f"studies/{STUDY}/series/{SERIES}/instances/1.2.3.4.1",
        headers={"Accept": "application/dicom; transfer-syntax=*"},
    )

    assert response.status_code == 200
    assert response.content == bytes(128) + sent[128:]


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    """DESIGN 6: survives restart."""
    for number in (1, 2):
        with serving(tmp_path) as client:
            assert post(client, instance(number)).status_code == 200
            seen = [metadata(client, known).status_code for known in (1, 2)]
    assert seen == [200, 200]


def test_what_a_crash_left_is_cleared_at_the_next_start(tmp_path: Path) -> None:
    """A part received and a file moved, but no row committed: neither is an instance, neither stays."""
    with serving(tmp_path) as client:
        post(client, instance())
    blob = next(path for path in (tmp_path / "blobs").rglob("*") if path.is_file())
    orphan = tmp_path / "blobs" / "ab" / "ab00"
    part = tmp_path / "incoming" / "cd00"
    for leftover in (orphan, part):
        leftover.write_bytes(b"left")

    with running(data=tmp_path):
        assert [path.exists() for path in (orphan, part, blob)] == [False, False, True]


def test_nothing_stays_in_incoming_whatever_was_sent(tmp_path: Path) -> None:
    """Duplicates, broken parts and refused requests leave no file behind."""
    with serving(tmp_path) as client:
        post(client, instance(), instance(), b"not DICOM")
        post(client, instance(2), study="/9.9")
        client.post("studies", content=multipart(instance(3), end=b""), headers={"Content-Type": MULTIPART})

        assert list((tmp_path / "incoming").iterdir()) == []


# -- what is not -------------------------------------------------------------------------------------------------------


def test_a_second_one_of_the_same_uids_fails_with_45070(service: httpx.Client) -> None:
    """azure-dicom 1.4 and 1.7: whatever its content."""
    post(service, instance())

    response = post(service, instance(size_bytes=3000))

    assert (response.status_code, failed(response)) == (409, [("1.2.3.4.1", 45070)])


def test_a_duplicate_within_one_request_is_in_both_sequences(service: httpx.Client) -> None:
    """azure-dicom 1.1: first stored, second failed, 202."""
    response = post(service, instance(), instance())

    assert response.status_code == 202
    assert stored(response) == [("1.2.3.4.1", None)]
    assert failed(response) == [("1.2.3.4.1", 45070)]


def test_the_same_sop_instance_uid_in_another_series_is_another_instance(service: httpx.Client) -> None:
    """azure-dicom 1.7: unique is (study, series, SOP instance)."""
    assert post(service, instance(), instance(series="1.2.3.5")).status_code == 200


def test_a_part_that_is_not_dicom_fails_without_uids(shared: httpx.Client) -> None:
    """azure-dicom 1.3: the real body of a non-DICOM part."""
    response = post(shared, b"not DICOM at all")

    assert response.status_code == 409
    assert response.json() == {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [43264]}}]}}


@pytest.mark.parametrize("content", [b"", b"\0" * 131, bytes(128) + b"DICM" + b"\xff" * 40])
def test_whatever_is_in_a_part_it_is_answered(shared: httpx.Client, content: bytes) -> None:
    """azure-dicom 1.2: a zero-length part is 409, too."""
    assert post(shared, content).status_code == 409


def test_one_that_fails_does_not_keep_the_others_out(service: httpx.Client) -> None:
    """azure-dicom 2.1: one failure rolls nothing back."""
    response = post(service, instance(1), b"not DICOM", instance(2))

    assert response.status_code == 202
    assert stored(response) == [("1.2.3.4.1", None), ("1.2.3.4.2", None)]
    assert failed(response) == [(None, 43264)]


def test_another_study_than_the_path_s_fails_with_43264(shared: httpx.Client) -> None:
    """azure-dicom 1.4: 43265 is documented and never sent."""
    response = post(shared, instance(), study="/1.2.999")

    assert (response.status_code, failed(response)) == (409, [("1.2.3.4.1", 43264)])
    assert comments(response, "00081198") == [
        "DICOM100: (0020,000d) - The StudyInstanceUid in the payload does not match the specified StudyInstanceUid."
    ]


@pytest.mark.parametrize(
    ("keyword", "tag"),
    [
        ("SOPClassUID", "(0008,0016)"),
        ("SOPInstanceUID", "(0008,0018)"),
        ("PatientID", "(0010,0020)"),
        ("StudyInstanceUID", "(0020,000d)"),
        ("SeriesInstanceUID", "(0020,000e)"),
    ],
)
def test_a_required_attribute_that_is_missing_fails(shared: httpx.Client, keyword: str, tag: str) -> None:
    """azure-dicom 1.6, the five required attributes."""
    response = post(shared, changed(**{keyword: None}))

    assert (response.status_code, failed(response)[0][1]) == (409, 43264)
    assert f"DICOM100: {tag} - The required tag '{tag}' is missing." in comments(response, "00081198")


@pytest.mark.parametrize("uid", ["abc.123", "1.2.", "1" * 65])
def test_a_uid_that_breaks_the_service_s_rule_fails(shared: httpx.Client, uid: str) -> None:
    """azure-dicom 2.5, the rule for UIDs."""
    response = post(shared, changed(SeriesInstanceUID=uid))

    assert (response.status_code, failed(response)) == (409, [("1.2.3.4.1", 43264)])
    assert "DICOM Identifier is invalid." in comments(response, "00081198")[0]


def test_a_deflate_bomb_is_answered_at_once(shared: httpx.Client) -> None:
    """azure-dicom 1.4, 43264: a small file that inflates to millions of elements holds nobody up."""
    compress = zlib.compressobj(wbits=-15)
    bomb = compress.compress(bytes(50_000_000)) + compress.flush()
    syntax = b"1.2.840.10008.1.2.1.99"
    head = bytes(128) + b"DICM" + b"\x02\0\x10\0UI" + len(syntax).to_bytes(2, "little") + syntax

    assert post(shared, head + bomb).status_code == 409


# -- what is stored with a remark --------------------------------------------------------------------------------------


def test_an_invalid_date_is_stored_with_warning_1_and_left_out_of_the_metadata(service: httpx.Client) -> None:
    """azure-dicom 1.5 and 1.6: 202; the file keeps the value."""
    response = post(service, changed(StudyDate="NotAValidDate"))

    assert (response.status_code, stored(response)) == (202, [("1.2.3.4.1", 1)])
    [comment] = comments(response, "00081199")
    assert comment == (
        'DICOM100: (0008,0020) - Content "NotAValidDate" does not validate VR DA: '
        "one of the date values does not match the pattern YYYYMMDD"
    )
    assert "00080020" not in metadata(service).json()[0]


def test_an_empty_patient_id_is_stored_with_warning_1(service: httpx.Client) -> None:
    """azure-dicom 1.6: the tag must be there, a value need not."""
    response = post(service, changed(PatientID=""))

    assert (response.status_code, stored(response)) == (202, [("1.2.3.4.1", 1)])
    assert comments(response, "00081199") == ["DICOM100: (0010,0020) - The required tag '(0010,0020)' is missing."]


def test_leading_zeroes_in_a_uid_are_remarked_on_and_kept(service: httpx.Client) -> None:
    """azure-dicom 2.5: the service's rule allows them, the parser's does not; the three UIDs are never dropped."""
    response = post(service, changed(StudyInstanceUID="1.02.3"))

    assert (response.status_code, stored(response)) == (202, [("1.2.3.4.1", 1)])
    assert value(metadata(service, study="1.02.3").json()[0], "0020000D") == "1.02.3"


def test_several_patient_ids_are_stored_with_the_warning_header(service: httpx.Client) -> None:
    """azure-dicom 1.2, row 200."""
    response = post(service, changed(PatientID="A\\B"))

    assert response.status_code == 200
    assert "only first value is indexed" in response.headers["warning"]


@pytest.mark.parametrize("study_date", ["20200922", None])
def test_implicit_vr_is_stored_with_warning_45063(service: httpx.Client, study_date: str | None) -> None:
    """azure-dicom 1.5: 45063 wins over 1."""
    dataset = dcmread(io.BytesIO(instance()))
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    if study_date is None:
        dataset["StudyDate"]._value = "yesterday"
    target = io.BytesIO()
    dataset.save_as(target, implicit_vr=True, little_endian=True)

    response = post(service, target.getvalue())

    assert (response.status_code, stored(response)) == (202, [("1.2.3.4.1", 45063)])


def test_a_truncated_file_is_stored_without_a_word(service: httpx.Client) -> None:
    """azure-dicom 1.8: the truth ingestd has to live with; the whole file afterwards is a duplicate."""
    whole = instance(size_bytes=100_000)

    first = post(service, whole[:5000])
    second = post(service, whole)

    assert (first.status_code, stored(first)) == (200, [("1.2.3.4.1", None)])
    assert (second.status_code, failed(second)) == (409, [("1.2.3.4.1", 45070)])


def test_a_file_cut_inside_a_sequence_is_stored_up_to_it(service: httpx.Client) -> None:
    """azure-dicom 1.8, for the case in which pydicom would drop the whole data set."""
    dataset = dcmread(io.BytesIO(instance()))
    item = Dataset()
    item.CodeMeaning = "a meaning"
    dataset.RequestAttributesSequence = [item, item]
    dataset["RequestAttributesSequence"].is_undefined_length = True
    target = io.BytesIO()
    dataset.save_as(target)
    whole = target.getvalue()

    response = post(service, whole[: whole.index(b"a meaning") + 30])

    assert (response.status_code, stored(response)) == (200, [("1.2.3.4.1", None)])
    assert "00400275" not in metadata(service).json()[0]


# -- metadata ----------------------------------------------------------------------------------------------------------


def test_metadata_is_one_data_set_without_bulk_values(service: httpx.Client) -> None:
    """azure-dicom 5 (b): an array of one and an ETag; OB, OW, UN and the like are not in it."""
    post(service, instance())

    response = metadata(service)

    assert response.status_code == 200
    assert re.fullmatch(r'"\d+"', response.headers["etag"])
    [model] = response.json()
    assert model["00080018"] == {"vr": "UI", "Value": ["1.2.3.4.1"]}
    assert model["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Anony^Mous"}]}
    assert "7FE00010" not in model
    assert service.get(response.url, headers={"If-None-Match": response.headers["etag"]}).status_code == 304


def test_bulk_values_in_sequences_are_left_out_and_numbers_that_json_lacks_are_texts(service: httpx.Client) -> None:
    """azure-dicom 5 (b); NaN is no JSON, and fo-dicom spells it (JsonDicomConverter.WriteJsonElement)."""
    dataset = dcmread(io.BytesIO(instance()))
    item = Dataset()
    item.add_new(0x00420011, "OB", b"abcd")
    item.DocumentTitle = "title"
    dataset.add_new(0x00540016, "SQ", [item])
    dataset.add_new(0x00189074, "FD", float("nan"))
    target = io.BytesIO()
    dataset.save_as(target)
    post(service, target.getvalue())

    [model] = metadata(service).json()

    assert model["00540016"] == {"vr": "SQ", "Value": [{"00420010": {"vr": "ST", "Value": ["title"]}}]}
    assert model["00189074"] == {"vr": "FD", "Value": ["NaN"]}


def test_what_is_not_there_is_404_and_a_bad_uid_400(shared: httpx.Client) -> None:
    """azure-dicom 5 (b) and 2.5."""
    assert metadata(shared).status_code == 404
    assert metadata(shared, study="abc").status_code == 400


def test_json_survives_names_of_any_character_set(service: httpx.Client) -> None:
    """F.2.2: JSON is UTF-8 whatever SpecificCharacterSet says."""
    dataset = dcmread(io.BytesIO(instance()))
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = "Müller^Jörg"
    target = io.BytesIO()
    dataset.save_as(target)
    post(service, target.getvalue())

    assert metadata(service).json()[0]["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]
    assert json.loads(metadata(service).content)
