"""The Store Instances Response, read to the letter or not at all (PS3.18 10.5.3)."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.answers.answer import Failed, Referenced, StoreResponse
from ingestd.dicomweb.payload.store_response import COMMENT_LIMIT, answer_limit, read_store_response

DICOM_JSON = "application/dicom+json; charset=utf-8"


def read(dataset: object, content_type: str = DICOM_JSON) -> StoreResponse | None:
    return read_store_response(content_type, json.dumps(dataset).encode("utf-8"))


def sequence(*items: object) -> dict[str, object]:
    return {"vr": "SQ", "Value": list(items)}


def element(vr: str, *values: object) -> dict[str, object]:
    return {"vr": vr, "Value": list(values)}


def stored(uid: object = "1.2.3", **more: object) -> dict[str, object]:
    return {"00081155": element("UI", uid), **{tag.removeprefix("t"): value for tag, value in more.items()}}


AZURE_V2 = {
    "00081190": element("UR", "https://x/v2/studies/1"),
    "00081199": sequence(
        {
            "00081150": element("UI", "1.2.840.10008.5.1.4.1.1.2"),
            "00081155": element("UI", "1.2.3"),
            "00081190": element("UR", "https://x/v2/studies/1/series/2/instances/1.2.3"),
            "00741048": {"vr": "SQ"},
        },
        {
            "00081155": element("UI", "1.2.4"),
            "00081196": element("US", 1),
            "00741048": sequence({"00000902": element("LO", "DICOM100: (0008,0020)")}),
        },
    ),
    "00081198": sequence(
        {"00081155": element("UI", "1.2.5"), "00081197": element("US", 45070)},
        {
            "00081155": element("UI", "1.2.6"),
            "00081197": element("US", 43264),
            "00741048": sequence({"00000902": element("LO", "first")}, {"00000902": element("LO", "second")}),
        },
        {"00081197": element("US", 43264)},
    ),
}


def test_each_instance_is_read_from_the_sequence_that_names_it() -> None:
    """F51: Azure v2's mixed answer, with a FailedAttributesSequence that has no Value."""
    assert read(AZURE_V2) == StoreResponse(
        referenced=(
            Referenced(sop_instance_uid="1.2.3", retrieve_url="https://x/v2/studies/1/series/2/instances/1.2.3"),
            Referenced(sop_instance_uid="1.2.4", warning_reason=1),
        ),
        failed=(
            Failed(sop_instance_uid="1.2.5", failure_reason=45070),
            Failed(sop_instance_uid="1.2.6", failure_reason=43264, comment="first; second"),
            Failed(sop_instance_uid=None, failure_reason=43264),
        ),
    )


def test_other_failures_have_no_instance() -> None:
    """PS3.18 Table I.2-1: OtherFailuresSequence (0008,119A) is for what could not be told to be an instance."""
    assert read({"0008119A": sequence({"00081197": element("US", 0xC000)})}) == StoreResponse(
        referenced=(), failed=(Failed(sop_instance_uid=None, failure_reason=0xC000),)
    )


@pytest.mark.parametrize("content_type", ["application/dicom+json", "Application/DICOM+JSON", "application/json", ""])
def test_the_json_types_are_read(content_type: str) -> None:
    """Orthanc's 400 has no Content-Type, and its body names what it stored."""
    assert read({"00081199": sequence(stored())}, content_type) is not None


@pytest.mark.parametrize(
    "content_type", ["text/html", "text/plain", "application/dicom+xml", "application/dicom+json5"]
)
def test_other_types_are_no_response(content_type: str) -> None:
    """F50."""
    assert read({"00081199": sequence(stored())}, content_type) is None


def test_an_array_of_one_data_set_is_read() -> None:
    assert read([{"00081199": sequence(stored())}]) == read({"00081199": sequence(stored())})


def test_an_array_of_two_is_no_response() -> None:
    assert read([{"00081199": sequence(stored())}] * 2) is None


def test_a_byte_order_mark_is_allowed() -> None:
    content = b"\xef\xbb\xbf" + json.dumps({"00081199": sequence(stored())}).encode()
    assert read_store_response(DICOM_JSON, content) == read({"00081199": sequence(stored())})


@pytest.mark.parametrize("uid", ["1.2.3\0", "1.2.3 ", " 1.2.3", "1.2.3\0\0"])
def test_uids_lose_their_padding(uid: str) -> None:
    assert read({"00081199": sequence(stored(uid))}) == StoreResponse(
        referenced=(Referenced(sop_instance_uid="1.2.3"),), failed=()
    )


@pytest.mark.parametrize("uid", ["1.2.3X", "X1.2.3", "1.2.3\t", "1.2.3\n", "1.2.\x003"])
def test_uids_lose_nothing_else(uid: str) -> None:
    """I2: the name of another instance does not become ours."""
    assert read({"00081199": sequence(stored(uid))}) == StoreResponse(
        referenced=(Referenced(sop_instance_uid=uid),), failed=()
    )


@pytest.mark.parametrize("reason", [0, "0", 65535, "65535"])
def test_a_failure_reason_may_be_any_us_value(reason: object) -> None:
    """I3: what it means is for the core to say."""
    response = read({"00081198": sequence(stored(t00081197=element("US", reason)))})
    assert response is not None
    assert response.failed[0].failure_reason == int(str(reason))


def test_a_failure_reason_may_be_a_string_of_digits() -> None:
    """PS3.18 F.2.3."""
    response = read({"00081198": sequence(stored(t00081197=element("US", "45070")))})
    assert response is not None
    assert response.failed[0].failure_reason == 45070


@pytest.mark.parametrize("empty", [{"vr": "US"}, {"vr": "US", "Value": []}, {"vr": "US", "Value": [None]}])
def test_an_element_without_a_value_is_absent(empty: dict[str, object]) -> None:
    """PS3.18 F.2.5."""
    response = read({"00081199": sequence(stored(t00081196=empty))})
    assert response == StoreResponse(referenced=(Referenced(sop_instance_uid="1.2.3"),), failed=())


@pytest.mark.parametrize("reason", [272.0, 1e3, True, -1, 65536, "0x110", "272 ", "\uff11\uff12", "", [], {}])
def test_a_failure_reason_of_another_type_makes_it_unreadable(reason: object) -> None:
    """I2: nothing is guessed at."""
    assert read({"00081198": sequence(stored(t00081197=element("US", reason)))}) is None


@pytest.mark.parametrize("digits", ["045070", "0" * 5000, "9" * 5000])
def test_a_failure_reason_of_too_many_digits_makes_it_unreadable(digits: str) -> None:
    """F50: Python refuses to convert thousands of digits, and by an exception."""
    assert read({"00081198": sequence(stored(t00081197=element("US", digits)))}) is None


@pytest.mark.parametrize(
    "dataset",
    [
        {},
        {"error": "no"},
        {"00081199": []},
        {"00081199": {"vr": "SQ", "Value": {}}},
        {"00081199": sequence("1.2.3")},
        {"00081199": sequence({})},
        {"00081199": sequence(stored(""))},
        {"00081199": sequence(stored(7))},
        {"00081199": sequence({"00081155": "1.2.3"})},
        {"00081199": sequence({"00081155": element("UI", "1.2.3", "1.2.4")})},
        {"00081199": sequence(stored(t00081196=element("US", "warm")))},
        {"00081198": sequence(stored(t00741048=sequence(3)))},
        [],
        None,
        "stored",
        1,
    ],
)
def test_what_is_malformed_is_no_response(dataset: object) -> None:
    """F50: never half of it, never an exception."""
    assert read(dataset) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe{\x00}\x00",
        b'{"00081199"',
        b'{"00081190": NaN}',
        b"[" * 100_000,
        b'{"00081190": ' + b"1" * 5000 + b"}",
        '{"00081199":{"vr":"SQ","Value":[]},"x":"ä"}'.encode("latin-1"),
    ],
)
def test_what_is_no_utf_8_json_is_no_response(content: bytes) -> None:
    """F50: truncated, of another character set, or built to be a burden."""
    assert read_store_response(DICOM_JSON, content) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"00081199":%s,"x":NaN}',
        '{"00081199":%s,"x":[-Infinity]}',
        '{"00081199":%s,"x":' + "1" * 4301 + "}",
        '{"00081199":%s,"00081199":{"vr":"SQ"}}',
        '{"00081199":%s,"00081198":{"vr":"SQ","vr":"SQ"}}',
        '[{"00081199":%s},{}]',
        '{"00081199":%s,"x":' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_what_is_not_json_to_the_letter_is_no_response(text: str) -> None:
    """F50, I2: however well it names what it stored."""
    good = json.dumps(sequence(stored()))
    assert read_store_response(DICOM_JSON, f'{{"00081199":{good}}}'.encode()) is not None
    assert read_store_response(DICOM_JSON, (text % good).encode()) is None


def test_half_a_surrogate_pair_is_no_name_and_no_word() -> None:
    """F50: JSON can escape it; a journal and a reason file can't hold it."""
    assert read({"00081199": sequence(stored("1.2\ud800"))}) is None
    assert read({"00081199": sequence(stored(t00081190=element("UR", "https://x/\udfff")))}) is None
    response = read({"00081198": sequence(stored(t00000902=element("LO", "no \ud800 \U0001f600")))})
    assert response is not None
    assert response.failed[0].comment == "no ? \U0001f600"


@pytest.mark.parametrize("many", ["{},", "[],", '"",', "0,", '{"":0},', '{"":{}},', "[[]],"])
@pytest.mark.parametrize("instances", [1, 100, 10_000])
def test_reading_an_answer_costs_a_few_times_what_it_may_have(many: str, instances: int) -> None:
    """F90: 16 MiB of empty items were 543 MiB."""
    limit = answer_limit(instances)
    values = many * ((limit - 100) // len(many))
    content = f'{{"00081199":{{"vr":"SQ","Value":[{values}0]}}}}'.encode()
    assert len(content) <= limit
    tracemalloc.start()
    assert read_store_response(DICOM_JSON, content, limit=limit) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * limit


@pytest.mark.parametrize("instances", [1, 100, 10_000])
def test_what_services_say_of_each_instance_has_room(instances: int) -> None:
    """F90: the longest UIDs, every element that Azure writes, and four comments on each."""
    comments = [{"00000902": element("LO", "DICOM100: (0008,0020) - Content does not validate VR DA: " + "x" * 100)}]
    uid = "1." + "2" * 62
    item = AZURE_V2["00081199"]["Value"][0] | {  # type: ignore[index]
        "00081155": element("UI", uid),
        "00081190": element("UR", f"https://workspace-dicom.dicom.azurehealthcareapis.com/v2/studies/{uid * 3}"),
    }
    if instances <= 1000:
        item |= {"00741048": sequence(*comments * 4)}
    body = json.dumps({"00081199": sequence(*[item] * instances)}).encode()
    response = read_store_response(DICOM_JSON, body, limit=answer_limit(instances))
    assert response is not None
    assert len(body) < answer_limit(instances)
    assert len(response.referenced) == instances


def test_a_response_may_name_nothing() -> None:
    """It is readable; the core sees that nobody is named."""
    assert read({"00081199": {"vr": "SQ"}}) == StoreResponse(referenced=(), failed=())


@pytest.mark.parametrize("sequence_of", ["00081190", "00081198", "00081199", "0008119A"])
def test_one_element_of_a_response_makes_it_one(sequence_of: str) -> None:
    """F61: a control that is answered so was answered by the service and not by a login page."""
    assert read({sequence_of: {"vr": "SQ"}}) == StoreResponse(referenced=(), failed=())


def test_nulls_among_the_values_are_no_values() -> None:
    """PS3.18 F.2.5."""
    item = stored(t00081196=element("US", None, 1), t00000902=element("LO", None))
    assert read({"00081199": sequence(None, item), "00081198": sequence(None)}) == StoreResponse(
        referenced=(Referenced(sop_instance_uid="1.2.3", warning_reason=1),), failed=()
    )


def test_words_that_are_no_text_are_left_out() -> None:
    """F50: they decide nothing, and never raise."""
    response = read({"00081198": sequence(stored(t00000902=element("LO", 7, "", "first", {}, "second")))})
    assert response is not None
    assert response.failed == (Failed(sop_instance_uid="1.2.3", failure_reason=None, comment="first; second"),)


def test_the_servers_words_are_bounded() -> None:
    """I8."""
    response = read({"00081198": sequence(stored(t00000902=element("LO", "x" * 10_000)))})
    assert response is not None
    assert response.failed[0].comment == "x" * COMMENT_LIMIT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["00081199", "00081198", "00081155", "00081197", "00741048", "vr", "Value"]), children
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_no_json_raises(dataset: object) -> None:
    """F50."""
    read(dataset)


@given(st.binary())
def test_no_bytes_raise(content: bytes) -> None:
    """F50."""
    read_store_response(DICOM_JSON, content)
