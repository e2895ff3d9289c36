"""Search (QIDO-RS) against the embedded service over HTTP: what is found, what is given back, and what is refused."""

import io
import sqlite3
import string
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from dicomweb_client import DICOMwebClient
from fakes.emulator_client import JSON, new_partition, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import keyword_for_tag

from ingestd.emulator.dicom.attributes import SEARCHABLE
from ingestd.emulator.samples import ct_instance, tutorial_samples
from ingestd.emulator.server import running

PATHS = (
    "studies",
    "series",
    "instances",
    "studies/1.2.3/series",
    "studies/1.2.3/instances",
    "studies/1.2.3/series/1.2.3.1/instances",
)


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One service with the three samples of the tutorial, for tests that store nothing, but in a partition of their own."""
    with serving(tmp_path_factory.mktemp("tutorial")) as client:
        for sample in tutorial_samples():
            store(client, sample.content)
        yield client


@pytest.fixture
def service(tutorial: httpx.Client) -> Iterator[httpx.Client]:
    """A new partition of that service, with nothing in it."""
    with new_partition(tutorial) as client:
        yield client


def made(uid: str = "1.2.3.1.1", **values: object) -> bytes:
    """An instance of series 1.2.3.1 of study 1.2.3, unless `uid` says of another, with these keywords set, deleted where None."""
    series, _, _ = uid.rpartition(".")
    study, _, _ = series.rpartition(".")
    dataset = dcmread(
        io.BytesIO(ct_instance(study_uid=study, series_uid=series, sop_instance_uid=uid, size_bytes=1500))
    )
    for keyword, value in values.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    target = io.BytesIO()
    dataset.save_as(target)
    return target.getvalue()


def store(client: httpx.Client, *parts: bytes, replace: bool = False) -> None:
    framed = (b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts)
    answer = client.request(
        "PUT" if replace else "POST",
        "studies",
        content=b"".join(framed) + b"--edge--\r\n",
        headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=edge'},
    )
    assert answer.status_code in {200, 202}, answer.text


def found(client: httpx.Client, path: str) -> list[dict]:
    answer = client.get(path)
    assert answer.status_code in {200, 204}, answer.text
    if answer.status_code == 204:
        assert answer.content == b""
        return []
    assert answer.headers["content-type"] == "application/dicom+json; charset=utf-8"
    assert answer.json() != []
    return answer.json()


def uids(client: httpx.Client, path: str) -> list[str]:
    level = path.partition("?")[0].rpartition("/")[2]
    tag = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}[level]
    return [value(model, tag) for model in found(client, path)]


def value(model: dict, tag: str) -> str | int:
    (one,) = model[tag]["Value"]
    return one["Alphabetic"] if isinstance(one, dict) else one


def keywords(model: dict) -> set[str]:
    return {keyword_for_tag(tag) for tag in model}


# -- the tutorial's six searches ---------------------------------------------------------------------------------------

SAMPLE = tutorial_samples()[0]


@pytest.mark.parametrize(
    ("path", "count"),
    [
        (f"studies?StudyInstanceUID={SAMPLE.study_uid}", 1),
        (f"series?SeriesInstanceUID={SAMPLE.series_uid}", 1),
        (f"studies/{SAMPLE.study_uid}/series?SeriesInstanceUID={SAMPLE.series_uid}", 1),
        (f"instances?SOPInstanceUID={SAMPLE.sop_instance_uid}", 1),
        (f"studies/{SAMPLE.study_uid}/instances?SOPInstanceUID={SAMPLE.sop_instance_uid}", 1),
        (
            f"studies/{SAMPLE.study_uid}/series/{SAMPLE.series_uid}/instances?SOPInstanceUID={SAMPLE.sop_instance_uid}",
            1,
        ),
        ("studies", 1),
        ("series", 2),
        ("instances", 3),
        (f"studies/{SAMPLE.study_uid}/series", 2),
        (f"studies/{SAMPLE.study_uid}/instances", 3),
        (f"studies/{SAMPLE.study_uid}/series/{SAMPLE.series_uid}/instances", 2),
        ("studies?StudyInstanceUID=1.2", 0),
        ("studies/1.2/instances", 0),
    ],
)
def test_a_search_finds_what_is_there(tutorial, path, count):
    assert len(found(tutorial, path)) == count


def test_a_study_is_given_back_with_the_attributes_of_version_2(tutorial):
    (study,) = found(tutorial, "studies")
    assert study["0020000D"] == {"vr": "UI", "Value": [SAMPLE.study_uid]}
    assert study["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Anony^Mous"}]}
    assert study["00080020"] == {"vr": "DA", "Value": ["20200922"]}
    assert list(study) == sorted(study)


# -- what is given back ------------------------------------------------------------------------------------------------

FULL = {
    "AccessionNumber": "A1",
    "StudyDescription": "Head",
    "ReferringPhysicianName": "Who^Doctor",
    "PatientBirthDate": "19700101",
    "ManufacturerModelName": "Model",
    "PerformedProcedureStepStartDate": "20200922",
    "PatientSex": "O",
}
STUDY_V2 = {
    "StudyDate",
    "AccessionNumber",
    "StudyDescription",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "StudyInstanceUID",
}
SERIES_V2 = {"Modality", "ManufacturerModelName", "SeriesInstanceUID", "PerformedProcedureStepStartDate"}


def test_the_levels_that_the_path_leaves_open_are_given_back(service):
    store(service, made(**FULL))
    held = [keywords(found(service, path)[0]) for path in PATHS]
    assert held == [
        STUDY_V2,
        STUDY_V2 | SERIES_V2,
        STUDY_V2 | SERIES_V2 | {"SOPInstanceUID"},
        SERIES_V2 | {"StudyInstanceUID"},
        SERIES_V2 | {"SOPInstanceUID", "StudyInstanceUID"},
        {"SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"},
    ]


def test_version_1_gives_back_more(service):
    store(service, made(**FULL))
    v1 = f"{service.base_url}studies".replace("/v2/", "/v1/")
    assert keywords(found(service, v1)[0]) >= {"PatientSex", "StudyInstanceUID", "StudyDate"}
    assert "00081030" not in found(service, v1)[0]


def test_includefield_adds_attributes_and_all_adds_the_statement_s(service):
    store(service, made(**FULL))
    (plain,) = found(service, "studies?includefield=PatientSex,00280010&includefield=SOPInstanceUID")
    assert keywords(plain) == STUDY_V2 | {"PatientSex", "Rows", "SOPInstanceUID"}
    (all_of_it,) = found(service, "studies?includefield=all")
    assert keywords(all_of_it) >= STUDY_V2 | {"PatientSex"}
    assert "00280010" not in all_of_it
    assert "00280010" in found(service, "instances?includefield=all")[0]


def test_counts_and_modalities_are_computed(service):
    parts = [made("1.2.3.1.1", Modality="CT"), made("1.2.3.1.2", Modality="CT"), made("1.2.3.2.1", Modality="MR")]
    store(service, *parts)
    (study,) = found(service, "studies?ModalitiesInStudy=CT&includefield=NumberOfStudyRelatedInstances")
    assert study["00080061"] == {"vr": "CS", "Value": ["CT", "MR"]}
    assert study["00201208"] == {"vr": "IS", "Value": [3]}
    assert uids(service, "studies?ModalitiesInStudy=mr") == ["1.2.3"]
    assert uids(service, "studies?ModalitiesInStudy=US") == []
    series = found(service, "series?includefield=NumberOfSeriesRelatedInstances")
    assert [value(model, "00201209") for model in series] == [1, 2]
    series = found(service, "series?includefield=NumberOfSeriesRelatedInstances,Rows")
    assert [(value(model, "00201209"), value(model, "00280010") > 0) for model in series] == [(1, True), (2, True)]
    (study,) = found(service, "studies?includefield=00201208,00080061,PatientSex,Rows")
    assert (value(study, "00201208"), study["00080061"]["Value"]) == (3, ["CT", "MR"])
    assert "00280010" in study


def test_the_query_of_the_ohif_viewer_is_answered(tutorial):
    query = "studies?limit=25&offset=0&includefield=00081030%2C00080060&StudyDate=19521125-20210507"
    assert value(found(tutorial, query)[0], "00080060") == "OT"


# -- what is found -----------------------------------------------------------------------------------------------------


def test_each_attribute_is_found_by_keyword_and_tag_and_not_by_another_value(service):
    attributes = [one for one in SEARCHABLE if one.vr != "UI" and one.column]
    values = {one.keyword: ("19990101", "19990102") if one.vr == "DA" else ("ABC", "AB") for one in attributes}
    for number, (keyword, (held, other)) in enumerate(values.items()):
        store(service, made(f"1.2.{number}.1.1", **{keyword: held}), made(f"1.3.{number}.1.1", **{keyword: other}))
    for number, attribute in enumerate(attributes):
        held, _ = values[attribute.keyword]
        for path in ("series", "instances"):
            for name in (attribute.keyword, attribute.tag):
                models = found(service, f"{path}?{name}={held}")
                assert [value(model, "0020000D") for model in models] == [f"1.2.{number}"]
                assert [value(model, attribute.tag) for model in models] == [held]


def test_matching_ignores_case_and_in_names_accents(service):
    """The conformance statement, additional notes."""
    store(service, made(PatientName="Hall^Tá", StudyDescription="Tá", SpecificCharacterSet="ISO_IR 192"))
    assert uids(service, "studies?PatientName=hall%5Eta") == ["1.2.3"]
    assert uids(service, "studies?StudyDescription=t%C3%A1") == ["1.2.3"]
    assert uids(service, "studies?StudyDescription=ta") == []


def test_names_match_fuzzily_by_the_beginnings_of_their_words(service):
    """The conformance statement's examples."""
    store(service, made(PatientName="John^Doe", ReferringPhysicianName="John^Doe"))
    for keyword in ("PatientName", "ReferringPhysicianName"):
        fuzzy = {
            name: bool(uids(service, f"studies?{keyword}={quote(name)}&fuzzymatching=true"))
            for name in ("joh", "do", "jo do", "Doe", "John Doe", "ohn", "*")
        }
        assert [name for name, is_found in fuzzy.items() if not is_found] == ["ohn", "*"]
        assert uids(service, f"studies?{keyword}=joh") == []


def test_a_range_of_dates_includes_both_ends(service):
    for day in (1, 2, 3):
        store(service, made(f"1.2.{day}.1.1", StudyDate=f"2020010{day}"))
    store(service, made("1.2.4.1.1", StudyDate=None))
    assert uids(service, "studies?StudyDate=20200101-20200102") == ["1.2.2", "1.2.1"]
    assert uids(service, "studies?StudyDate=20200102-") == ["1.2.3", "1.2.2"]
    assert uids(service, "studies?StudyDate=-20200102") == ["1.2.2", "1.2.1"]
    assert uids(service, "studies?StudyDate=20200103") == ["1.2.3"]


def test_all_conditions_hold_together(service):
    store(service, made("1.2.1.1.1", PatientID="A"), made("1.2.2.1.1", PatientID="A", Modality="MR"))
    assert uids(service, "instances?PatientID=A&Modality=MR") == ["1.2.2.1.1"]
    assert uids(service, "studies/1.2.2/instances?Modality=CT") == []


def test_only_the_first_of_several_values_is_found(service):
    store(service, made(PatientID=["one", "two"]))
    assert uids(service, "studies?PatientID=one") == ["1.2.3"]
    assert uids(service, "studies?PatientID=two") == []


def test_a_value_that_its_vr_does_not_allow_is_stored_and_not_found(service):
    """The conformance statement of version 2, "Search Changes From V1"."""
    content = made(StudyDate="20200922").replace(b"DA\x08\x0020200922", b"DA\x08\x002020XX22")
    store(service, content)
    (study,) = found(service, "studies?StudyInstanceUID=1.2.3")
    assert "00080020" not in study
    assert uids(service, "studies?StudyDate=00010101-") == []


def test_the_latest_instance_wins_but_not_by_saying_nothing(service):
    store(service, made(PatientName="First^One", AccessionNumber="A1"))
    store(service, made("1.2.3.1.2", PatientName="Second^One", AccessionNumber=None))
    (study,) = found(service, "studies")
    assert (value(study, "00100010"), value(study, "00080050")) == ("Second^One", "A1")
    assert uids(service, "studies?PatientName=First%5EOne") == []
    assert uids(service, "studies?PatientName=Second%5EOne&AccessionNumber=A1") == ["1.2.3"]


def test_a_name_in_three_scripts_is_given_back_in_its_groups(service):
    store(service, made(PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう", SpecificCharacterSet="ISO_IR 192"))
    (study,) = found(service, f"studies?PatientName={quote('太')}&fuzzymatching=true")
    assert study["00100010"]["Value"] == [
        {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    ]


def test_a_partition_is_searched_by_itself(tmp_path):
    """The plain paths are those of the partition without a name."""
    with (
        running(data=tmp_path) as emulator,
        httpx.Client(base_url=emulator.url, headers=JSON) as plain,
        httpx.Client(base_url=f"{emulator.url}/partitions/other", headers=JSON) as inside,
    ):
        store(plain, made())
        store(inside, made("1.2.4.1.1"))
        assert [uids(inside, path) for path in ("studies", "series", "instances")] == [
            ["1.2.4"],
            ["1.2.4.1"],
            ["1.2.4.1.1"],
        ]
        assert uids(inside, "studies/1.2.3/series") == []
        assert uids(plain, "studies") == ["1.2.3"]


# -- pages -------------------------------------------------------------------------------------------------------------


def test_pages_go_from_the_newest_to_the_oldest(service):
    store(service, *(made(f"1.2.{number}.1.1") for number in range(1, 8)))
    newest_first = [f"1.2.{number}" for number in range(7, 0, -1)]
    assert uids(service, "studies") == newest_first
    pages = [uids(service, f"studies?limit=3&offset={offset}") for offset in (0, 3, 6, 9)]
    assert pages == [newest_first[:3], newest_first[3:6], newest_first[6:], []]
    assert uids(service, "instances?limit=1") == ["1.2.7.1.1"]
    assert uids(service, "series?limit=1&offset=6") == ["1.2.1.1"]


# -- deletion and replacement ------------------------------------------------------------------------------------------


def test_what_was_deleted_is_found_no_more(service):
    store(service, made("1.2.3.1.1"), made("1.2.3.1.2"), made("1.2.3.2.1", Modality="MR"))
    for uid, counts in (("1.2.3.2.1", (2, [2])), ("1.2.3.1.2", (1, [1]))):
        series = uid.rpartition(".")[0]
        assert service.delete(f"studies/1.2.3/series/{series}/instances/{uid}").status_code == 204
        (study,) = found(service, "studies?includefield=NumberOfStudyRelatedInstances,ModalitiesInStudy")
        assert (value(study, "00201208"), value(study, "00080061")) == (counts[0], "CT")
        rows = found(service, "series?includefield=NumberOfSeriesRelatedInstances")
        assert [value(row, "00201209") for row in rows] == counts[1]
    assert service.delete("studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1").status_code == 204
    assert [found(service, path) for path in PATHS] == [[]] * 6


def test_what_was_replaced_is_found_by_its_new_values(service):
    store(service, made(PatientID="old"))
    store(service, made(PatientID="new"), replace=True)
    assert uids(service, "studies?PatientID=old") == []
    assert uids(service, "instances?PatientID=new") == ["1.2.3.1.1"]
    (study,) = found(service, "studies?includefield=NumberOfStudyRelatedInstances")
    assert value(study, "00201208") == 1


def test_an_index_from_before_there_was_search_is_made_searchable(tmp_path):
    with serving(tmp_path) as client:
        store(client, made("1.2.3.1.1", Modality="MR"), made("1.2.3.1.2"))
    with sqlite3.connect(tmp_path / "index.sqlite3") as index:
        for table in ("instance", "series", "study"):
            index.execute(f"DROP TABLE catalog_{table}")
        index.execute("PRAGMA user_version = 0")
    index.close()
    with serving(tmp_path) as client:
        assert uids(client, "instances?Modality=CT") == ["1.2.3.1.2", "1.2.3.1.1"]
        store(client, made("1.2.3.1.3"))
        assert len(found(client, "instances")) == 3


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_a_query_that_cannot_be_understood_is_refused_with_the_reason(tutorial, path):
    for query in ("foo=bar", "limit=0", "offset=-1", "fuzzymatching=2", "includefield=x", "StudyDate=-", "PatientName"):
        answer = tutorial.get(f"{path}?{query}")
        assert answer.status_code == 400
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.text.startswith(("Invalid query: ", "The query parameter "))


def test_an_angle_bracket_anywhere_is_refused(tutorial):
    for query in ("PatientName=a%3Cb", "PatientName=a%3cb", "%3C=1"):
        answer = tutorial.get(f"studies?{query}")
        assert (answer.status_code, answer.text) == (400, "The query string included invalid characters.")


@pytest.mark.parametrize(
    "path", ["studies/abc/series", f"studies/{'1' * 65}/instances", "studies/1/series/x/instances"]
)
def test_a_path_with_a_bad_uid_is_refused(tutorial, path):
    answer = tutorial.get(path)
    assert answer.status_code == 400
    assert "DICOM Identifier is invalid." in answer.text


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/dicom+json", 200),
        ("*/*", 200),
        ("application/*", 200),
        ("text/html, application/dicom+json;q=0.5", 200),
        ("application/json", 406),
        ("application/dicom+xml", 406),
        ("", 406),
    ],
)
def test_the_answer_is_dicom_json_or_none(tutorial, accept, status):
    assert tutorial.get("studies", headers={"Accept": accept}).status_code == status


# -- a client nobody here wrote ----------------------------------------------------------------------------------------


def test_dicomweb_client_searches_and_pages(service):
    for number in range(1, 6):
        store(service, made(f"1.2.{number}.1.1", PatientName=f"Doe^John{number}"), made(f"1.2.{number}.1.2"))
    client = DICOMwebClient(url=str(service.base_url).rstrip("/"))
    assert len(client.search_for_studies()) == 5
    assert len(client.search_for_studies(limit=2, offset=4)) == 1
    assert len(client.search_for_studies(limit=2, get_remaining=True)) == 5
    assert len(client.search_for_instances(limit=3, get_remaining=True)) == 10
    assert client.search_for_studies(search_filters={"PatientID": "nobody"}) == []
    fuzzy = client.search_for_series(fuzzymatching=True, search_filters={"PatientName": "anon"}, fields=["Rows"])
    assert len(fuzzy) == 5
    assert all("00280010" in model for model in fuzzy)
    by_date = client.search_for_studies(search_filters={"StudyDate": "20200101-20201231", "00100020": "ID1"})
    assert len(by_date) == 5
    assert len(client.search_for_series("1.2.3")) == 1
    assert len(client.search_for_instances("1.2.3")) == 2
    (one,) = client.search_for_instances("1.2.3", "1.2.3.1", search_filters={"SOPInstanceUID": "1.2.3.1.2"})
    assert one["00080018"]["Value"] == ["1.2.3.1.2"]


# -- hostile parameters ------------------------------------------------------------------------------------------------

NAMES = [one.keyword for one in SEARCHABLE] + ["limit", "offset", "fuzzymatching", "includefield"]
HOSTILE = ["' OR 1=1 --", '"', "%", "_", "\0", "*", "-", "1.2.3", "20200101-", "true", "all", "٣", "9" * 30, "\ud7ff"]
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12), st.text(alphabet=string.printable, max_size=12))
RAW = st.binary(max_size=40).map(lambda raw: quote(raw, safe="=&+%;'\"!$()*,/:@^`{|}~[]"))
PAIRS = st.lists(st.tuples(st.one_of(st.sampled_from(NAMES), TEXTS), TEXTS), max_size=4).map(
    lambda pairs: "&".join(f"{quote(name)}={quote(text)}" for name, text in pairs)
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(PATHS), query=st.one_of(PAIRS, RAW))
def test_whatever_is_asked_is_answered_or_refused(tutorial, path, query):
    """No query string, however hostile, makes the service fail."""
    answer = tutorial.get(httpx.URL(str(tutorial.base_url) + path, query=query.encode()))
    assert answer.status_code in {200, 204, 400}


def test_no_value_becomes_sql(tutorial):
    for attribute in SEARCHABLE:
        if attribute.vr != "DA":
            assert found(tutorial, f"instances?{attribute.keyword}={quote(chr(39) + ' OR 1=1 --')}") == []
    assert len(found(tutorial, "instances")) == 3
