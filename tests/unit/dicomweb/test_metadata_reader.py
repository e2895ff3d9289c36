"""Metadata read for comparison: all of it judged, little of it kept (PS3.18 10.4.1.1.2, Annex F)."""

from __future__ import annotations

import json
import threading
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.dicomweb.payload.metadata_reader import (
    ANSWER,
    COMPARED,
    COMPARED_VALUES,
    SMALL,
    VALUES,
    ElementsSink,
    Places,
)

JSON = {"content-type": "application/dicom+json"}
UID = '"00080018":{"vr":"UI","Value":["1.2.3"]}'
READ = {"00080018": ("1.2.3",)}


def read(content: bytes | str, headers: dict[str, str] | None = None, places: Places | None = None) -> object:
    """The elements; "no end" where the sink wanted no more of it."""
    content = content.encode() if isinstance(content, str) else content
    with ElementsSink(places or Places(), rate=1) as sink:
        if not sink.begin(JSON if headers is None else headers):
            return "not begun"
        for at in range(0, len(content), 1 << 16):
            if not sink.take(content[at : at + (1 << 16)]):
                return "no end"
        return sink.elements()


def wide(value: str, count: int, tag: str = "52009230", vr: str = "SQ") -> str:
    return f'[{{"{tag}":{{"vr":"{vr}","Value":[{",".join([value] * count)}]}},{UID}}}]'


def test_what_can_be_compared_is_kept() -> None:
    """Verify compares elements, but for sequences, bulk data and private ones."""
    elements = {
        "00080018": {"vr": "UI", "Value": ["1.2.3\0"]},
        "00100010": {"Value": [{"Alphabetic": "A^B"}, None], "vr": "PN"},
        "0020000d": {"vr": "UI"},
        "00280030": {"vr": "DS", "Value": [0.50, "1"]},
        "00081140": {"Value": [{"00081155": {"vr": "UI", "Value": ["9"]}}], "vr": "SQ"},
        "00091001": {"vr": "LO", "Value": ["private"]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "x"},
        "00281052": {"vr": "DS", "BulkDataURI": "x"},
        "00281053": {"vr": "DS", "InlineBinary": "x"},
    }
    expected = {"00080018": ("1.2.3",), "00100010": ("A^B",), "0020000D": (), "00280030": ("0.5", "1")}
    for text in (json.dumps(elements), json.dumps([elements], indent=1), f" [ {json.dumps(elements)} ] \n"):
        assert read(text) == expected


@pytest.mark.parametrize("headers", [{}, {"content-type": "application/json; charset=utf-8"}])
def test_json_under_another_name_or_none_is_json(headers: dict[str, str]) -> None:
    assert read("{" + UID + "}", headers) == READ


def test_other_types_and_charsets() -> None:
    """F84: nothing is guessed at."""
    assert read("[{" + UID + "}]", {"content-type": "text/html"}) == "not begun"
    assert read(("[{" + UID + "}]").encode("utf-16"), {"content-type": "application/json; charset=utf-16"}) == READ
    assert read("[{" + UID + "}]", {"content-type": "application/json; charset=idna"}) is None


def test_no_elements_are_no_elements() -> None:
    assert read("[{}]") == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[]",
        "{",
        "null",
        '"00080018"',
        "[{}] x",
        "[{},{}]",
        "{}]",
        "[{" + UID,
        "[{" + UID + "}",
        "[{" + UID + "]}",
        "[{" + UID + ",}]",
        "[{" + UID + UID + "}]",
        "[{" + UID + "," + UID + "}]",
        '{"0020000d":{"vr":"UI"},"0020000D":{"vr":"UI"}}',
        '{"Modality":{"vr":"CS"}}',
        '{"0008001\uff18":{"vr":"UI"}}',
        '{7:{"vr":"UI"}}',
        '{"00080018" {"vr":"UI"}}',
        '{"00080018":null}',
        '{"00080018":["1.2.3"]}',
        '{"00080018":{}}',
        '{"00080018":{"vr":7}}',
        '{"00080018":{"vr":"UI","vr":"UI"}}',
        '{"00080018":{"vr":"UI","Value":"1.2.3"}}',
        '{"00080018":{"vr":"UI","Value":["1"],"Value":["2"]}}',
        '{"00080018":{"vr":"UI","Value":[["1.2.3"]]}}',
        '{"00080018":{"vr":"UI","Value":[{"Alphabetic":"1"}]}}',
        '{"00100010":{"vr":"PN","Value":[{"Alphabetic":["A"]}]}}',
        '{"00280030":{"vr":"DS","Value":[NaN]}}',
        '{"00280030":{"vr":"DS","Value":[-Infinity]}}',
        '{"00081140":{"vr":"SQ","Value":[{"00280030":{"vr":"DS","Value":[NaN]}}]}}',
        '{"00081140":{"vr":"SQ","Value":[{"00280030":{"vr":"DS"},"00280030":{"vr":"DS"}}]}}',
        '{"00280030":{"vr":"IS","Value":[' + "1" * 5000 + "]}}",
        '{"00280030":{"vr":"IS","Value":' + "[" * 900 + "]" * 900 + "}}",
        '{"00081140":{"vr":"SQ","Value":' + "[" * 100_000 + "}}",
    ],
)
def test_what_is_no_data_set_of_one_instance_is_malformed(text: str) -> None:
    """F87: as it stands nothing can be compared with it; never an exception."""
    assert read(text) is None


@pytest.mark.parametrize("content", [b"\xff", b"[{\xff}]", '{"00080018":{"vr":"UI","Value":["ä"]}}'.encode("latin-1")])
def test_what_is_no_utf_8_is_malformed(content: bytes) -> None:
    """F87."""
    assert read(content) is None


@given(st.binary() | st.text(alphabet='{}[]":,0123456789abcvrValue \\').map(str.encode))
def test_no_bytes_raise(content: bytes) -> None:
    """F87."""
    read(content)
    read(b'[{"00080018":{"vr":"UI","Value":[' + content + b"]}}]")


def test_a_number_that_no_double_holds_equals_nothing() -> None:
    """RFC 8259 6."""
    assert read('{"00280030":{"vr":"DS","Value":[1e999]}}') == {"00280030": ("inf",)}


DENSE = '{"00200032":{"vr":"DS","Value":[1.5,2.5,3.5]},"00200037":{"Value":[1],"vr":"IS"}}'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (wide("1.5", VALUES - 10), READ),
        (wide("[]", VALUES // 2 - 10), READ),
        (wide("1.5", VALUES), None),
        (wide("[]", VALUES // 2), None),
        (wide("{}", VALUES), None),
    ],
    ids=["numbers", "lists", "too many numbers", "too many lists", "too many objects"],
)
def test_reading_the_worst_answer_costs_a_bounded_amount(text: str, expected: object) -> None:
    """F90, F87: 16 MiB of them were 500 MiB, and four came at once."""
    content = text.encode()
    del text
    found, peak = measured(content)
    assert found == expected
    assert peak < (112 << 20)


def test_reading_an_enhanced_image_costs_little_more_than_its_text() -> None:
    """F90: the elements of each frame; as objects they were 16 times as much."""
    content = wide(DENSE, 15_000).encode()
    found, peak = measured(content)
    assert found == READ
    assert SMALL < len(content) < peak < 2 * len(content)


def measured(content: bytes) -> tuple[object, int]:
    """What is read of it, and the most memory that was taken meanwhile, beside the answer itself."""
    assert len(content) <= ANSWER
    with ElementsSink(Places(), rate=1) as sink:
        assert sink.begin(JSON)
        assert sink.take(content)
        tracemalloc.start()
        found = sink.elements()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return found, peak


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (wide("7", COMPARED_VALUES - 10, "00283006", "US"), True),
        (wide("7", COMPARED_VALUES, "00283006", "US"), False),
        (wide('"' + "x" * (COMPARED - 100) + '"', 1, "00204000", "UT"), True),
        (wide('"' + "x" * COMPARED + '"', 1, "00204000", "UT"), False),
    ],
)
def test_what_is_compared_is_bounded(text: str, *, expected: bool) -> None:
    """F90: a lookup table of 65,536 values is; a million of them cost seconds."""
    assert (read(text) is not None) is expected


def test_an_answer_that_does_not_end_is_given_up() -> None:
    """F55, F87."""
    assert read(b" " * (ANSWER + 1)) == "no end"


# --- two at a time ----------------------------------------------------------------------------------------------------------------

LARGE = b" " * SMALL + ("[{" + UID + "}]").encode()


def test_a_third_large_answer_waits_for_a_place() -> None:
    """F90: whoever asks, not more than two of up to 16 MiB are in memory."""
    places = Places()
    third: list[object] = []
    with ElementsSink(places, rate=1) as one, ElementsSink(places, rate=1) as two:
        for sink in (one, two):
            sink.begin(JSON)
            assert sink.take(LARGE)
        waiting = threading.Thread(target=lambda: third.append(read(LARGE, places=places)))
        waiting.start()
        assert read("[{" + UID + "}]", places=places) == READ  # a small one needs none
        waiting.join(0.1)
        assert waiting.is_alive()
        assert one.elements() == READ
    waiting.join(10)
    assert third == [READ]


def test_a_place_is_waited_for_no_longer_than_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that drips two large answers holds no other thread up for ever."""
    monkeypatch.setattr("ingestd.dicomweb.payload.metadata_reader.PATIENCE_SECONDS", 0.01)
    places = Places()
    for _ in range(2):
        places.holding.acquire()
    assert read(LARGE, places=places) == "no end"


def test_a_place_is_given_back_whatever_happens() -> None:
    """Also where the answer is begun anew, and where the request raises."""
    places = Places()

    def broken() -> None:
        with ElementsSink(places, rate=1) as sink:
            for _ in range(2):
                sink.begin(JSON)
                assert sink.take(LARGE)
            raise KeyError

    for _ in range(5):
        with pytest.raises(KeyError):
            broken()
    assert read(LARGE, places=places) == READ


def test_an_answer_that_was_never_begun_says_nothing() -> None:
    with ElementsSink(Places(), rate=1) as sink:
        assert sink.elements() is None
