"""The query string of a search: what the embedded service understands, and its words for what it doesn't."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.emulator import RefusedError
from ingestd.emulator.dicom.attributes import BY_TAG, RETURNED, SEARCHABLE, Level
from ingestd.emulator.dicom.comparison import begins_words, fold, words
from ingestd.emulator.dicom.value_rules import is_date
from ingestd.emulator.http.query import Begins, Between, Equals, Resource, parse

ALL_STUDIES = Resource(level=Level.STUDY)
ALL_SERIES = Resource(level=Level.SERIES)
ALL_INSTANCES = Resource(level=Level.INSTANCE)
STUDY_SERIES = Resource(level=Level.SERIES, study="1.2")
STUDY_INSTANCES = Resource(level=Level.INSTANCE, study="1.2")
SERIES_INSTANCES = Resource(level=Level.INSTANCE, study="1.2", series="1.3")
PATHS = (ALL_STUDIES, ALL_SERIES, ALL_INSTANCES, STUDY_SERIES, STUDY_INSTANCES, SERIES_INSTANCES)

# The table of the conformance statement, "Searchable Attributes", columns in the order of PATHS.
SEARCHABLE_ON = {
    "StudyInstanceUID": "xxx...",
    "PatientName": "xxx...",
    "PatientID": "xxx...",
    "PatientBirthDate": "xxx...",
    "AccessionNumber": "xxx...",
    "ReferringPhysicianName": "xxx...",
    "StudyDate": "xxx...",
    "StudyDescription": "xxx...",
    "ModalitiesInStudy": "xxx...",
    "SeriesInstanceUID": ".xxxx.",
    "Modality": ".xxxx.",
    "PerformedProcedureStepStartDate": ".xxxx.",
    "ManufacturerModelName": ".xxxx.",
    "SOPInstanceUID": "..x.xx",
}
NOT_QUERYABLE = (
    "Invalid query: AttributeId {} is not queryable.  If the parameter is an attribute keyword, check the casing as they are"
    " case-sensitive. The conformance statement has a list of supported query parameters, attributes and the levels."
)


def refusal(*parameters: tuple[str, str], path: Resource = ALL_STUDIES) -> str:
    with pytest.raises(RefusedError) as caught:
        parse(parameters, path)
    assert caught.value.status == 400
    return caught.value.text


def only(*parameters: tuple[str, str], path: Resource = ALL_STUDIES) -> Equals | Between | Begins:
    (condition,) = parse(parameters, path).conditions
    return condition


# -- attributes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attribute", SEARCHABLE, ids=lambda attribute: attribute.keyword)
def test_an_attribute_is_searchable_on_the_paths_of_the_conformance_statement(attribute):
    value = "20200101" if attribute.vr == "DA" else "A"
    for name in (attribute.keyword, attribute.tag, attribute.tag.lower()):
        for path, mark in zip(PATHS, SEARCHABLE_ON[attribute.keyword], strict=True):
            if mark == "x":
                assert any(one.attribute is attribute for one in parse([(name, value)], path).conditions)
            else:
                assert refusal((name, value), path=path) == NOT_QUERYABLE.format(name)


def test_the_table_of_attributes_is_the_conformance_statement_s():
    assert [attribute.keyword for attribute in SEARCHABLE] == list(SEARCHABLE_ON)


def test_the_uids_of_the_path_are_conditions_and_given_back():
    query = parse([], SERIES_INSTANCES)
    assert [(one.attribute.keyword, one.value) for one in query.conditions] == [
        ("StudyInstanceUID", "1.2"),
        ("SeriesInstanceUID", "1.3"),
    ]
    assert query.tags == {"0020000D", "0020000E", "00080018"}


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        (("foo", "bar"), "Invalid query: unknown query parameter 'foo'. If the"),
        (("", "bar"), "Invalid query: unknown query parameter ''. If the"),
        (("patientname", "x"), "Invalid query: unknown query parameter 'patientname'. If the"),
        (("12345678", "x"), "Invalid query: unknown query parameter '12345678'. If the"),
        (("00201208", "3"), "Invalid query: AttributeId 00201208 is not queryable."),
        (("TimezoneOffsetFromUTC", "+0100"), "Invalid query: AttributeId TimezoneOffsetFromUTC is not queryable."),
        (("00091001", "x"), "Invalid query: AttributeId 00091001 is not queryable."),
        (("PatientID", " "), "Invalid query: AttributeId 'PatientID' has empty string value that is not supported."),
        (("PatientID", ""), "Invalid query: AttributeId 'PatientID' has empty string value that is not supported."),
        (
            ("00400275.00400009", "x"),
            "Dicom element '00400275.00400009' failed validation for VR 'SQ': Sequential dicom tags are",
        ),
    ],
)
def test_what_is_no_searchable_attribute_is_refused_in_the_service_s_words(parameter, text):
    assert refusal(parameter).startswith(text)


def test_an_attribute_counts_once_however_it_is_named():
    assert (
        refusal(("PatientID", "1"), ("PatientID", "2"))
        == "Invalid QIDO-RS query. Duplicate AttributeId 'PatientID'. Each attribute is only allowed to be specified once."
    )
    assert (
        refusal(("PatientID", "1"), ("00100020", "2"))
        == "Invalid query: attribute '00100020' has been specified more than once using different ID formats."
        " Each attribute is only allowed to be specified once."
    )


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("20200229", "20200229", "20200229"),
        ("20200101-20201231", "20200101", "20201231"),
        (" 20200101 - 20201231 ", "20200101", "20201231"),
        ("20200101-", "20200101", "99991231"),
        ("-20201231", "00010101", "20201231"),
    ],
)
def test_a_date_is_a_day_or_a_range_with_an_end_at_least(value, first, last):
    condition = only(("StudyDate", value))
    assert isinstance(condition, Between)
    assert (condition.first, condition.last) == (first, last)


@pytest.mark.parametrize(
    "value", ["2020", "20200230", "00000101", "2020-01-01", "20200101-2020", "x-", "\N{FULLWIDTH DIGIT TWO}0200101"]
)
def test_a_date_that_is_none_is_refused(value):
    assert "is invalid for attribute 'StudyDate'. Date should be valid and formatted as yyyyMMdd." in refusal(
        ("StudyDate", value)
    )


def test_a_range_without_ends_or_backwards_is_refused():
    assert refusal(("StudyDate", "-")).startswith(
        "Invalid query: specified range is invalid.\nBoth parts in the range cannot be empty.\n"
    )
    assert (
        refusal(("00100030", "20200102-20200101"))
        == "Invalid query: specified date range '20200102-20200101' is invalid.\n"
        "The first part date 20200102 should be lesser than or equal to the second part date 20200101."
    )


def test_fuzzymatching_is_for_names_only():
    fuzzy = ("FuzzyMatching", "TRUE")
    assert isinstance(only(("PatientName", "jo"), fuzzy), Begins)
    assert isinstance(only(("ReferringPhysicianName", "jo"), fuzzy), Begins)
    assert isinstance(only(("StudyDescription", "jo"), fuzzy), Equals)
    assert isinstance(only(("PatientName", "jo"), ("fuzzymatching", "false")), Equals)
    assert isinstance(only(("PatientName", 'j"o')), Equals)
    assert "contains unsupported character '\"'" in refusal(("PatientName", 'j"o'), fuzzy)


# -- options -----------------------------------------------------------------------------------------------------------


def test_a_page_has_100_results_from_the_first_on_unless_told():
    assert (parse([], ALL_STUDIES).limit, parse([], ALL_STUDIES).offset) == (100, 0)
    query = parse([("LIMIT", " 200 "), ("offset", str(2**63 - 1))], ALL_STUDIES)
    assert (query.limit, query.offset) == (200, 2**63 - 1)


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        (("limit", "0"), "The query parameter 'Limit' is invalid. The field Limit must be between 1 and 200."),
        (("limit", "201"), "The query parameter 'Limit' is invalid. The field Limit must be between 1 and 200."),
        (("limit", "-1"), "The query parameter 'Limit' is invalid. The field Limit must be between 1 and 200."),
        (("limit", "ten"), "The query parameter 'Limit' is invalid. The value 'ten' is not valid for Limit."),
        (("limit", "1.5"), "The query parameter 'Limit' is invalid. The value '1.5' is not valid for Limit."),
        (("limit", "٣"), "The query parameter 'Limit' is invalid. The value '٣' is not valid for Limit."),
        (("limit", ""), "The query parameter 'Limit' is invalid. The value '' is invalid."),
        (
            ("offset", "-1"),
            "The query parameter 'Offset' is invalid. The field Offset must be between 0 and 9.223372036854776E+18.",
        ),
        (
            ("offset", "9223372036854775808"),
            "The query parameter 'Offset' is invalid. The value '9223372036854775808' is not valid for Offset.",
        ),
        (
            ("fuzzymatching", "yes"),
            "The query parameter 'FuzzyMatching' is invalid. The value 'yes' is not valid for FuzzyMatching.",
        ),
        (("includefield", "nothing"), "Invalid query: IncludeField has unknown attribute 'nothing'."),
        (("includefield", ""), "Invalid query: IncludeField has unknown attribute ''."),
        (("includefield", "StudyDate,"), "Invalid query: IncludeField has unknown attribute ''."),
    ],
)
def test_a_bad_option_is_refused_in_the_service_s_words(parameter, text):
    assert refusal(parameter) == text


@pytest.mark.parametrize("name", ["limit", "offset", "fuzzymatching"])
def test_an_option_stands_once(name):
    assert refusal((name, "1"), (name.upper(), "1")).endswith("Cannot specify parameter more than once.")


# -- what is given back ------------------------------------------------------------------------------------------------


def test_version_2_gives_back_less_by_default_and_as_much_with_all():
    v1 = parse([("includefield", "all")], Resource(level=Level.STUDY, version_1=True))
    assert parse([], Resource(level=Level.STUDY, version_1=True)).tags == RETURNED[Level.STUDY].v1
    assert parse([], ALL_STUDIES).tags == RETURNED[Level.STUDY].v2
    assert parse([("includefield", "all")], ALL_STUDIES).tags == v1.tags
    assert len(v1.tags) == 24


def test_the_levels_that_a_path_leaves_open_are_given_back():
    study, series, instance = (RETURNED[level].v2 for level in Level)
    assert parse([], ALL_SERIES).tags == study | series
    assert parse([], ALL_INSTANCES).tags == study | series | instance
    assert parse([], STUDY_INSTANCES).tags == series | instance | {"0020000D"}


def test_what_is_named_or_searched_for_is_given_back_too():
    parameters = [("includefield", "PatientSex, 00280010"), ("IncludeField", "00091001"), ("ModalitiesInStudy", "CT")]
    assert parse(parameters, ALL_STUDIES).tags == RETURNED[Level.STUDY].v2 | {
        "00100040",
        "00280010",
        "00091001",
        "00080061",
    }


def test_all_among_named_attributes_is_all():
    """As the conformance statement has it."""
    assert "00280010" in parse([("includefield", "all,Rows")], ALL_STUDIES).tags
    assert "00100040" in parse([("includefield", "all,Rows")], ALL_STUDIES).tags


names = st.one_of(
    st.sampled_from([*SEARCHABLE_ON, *BY_TAG, "limit", "offset", "includefield", "fuzzymatching"]), st.text(max_size=10)
)
texts = st.one_of(st.text(max_size=20), st.text(alphabet=string.digits + "-", max_size=18), st.just("true"))


@given(parameters=st.lists(st.tuples(names, texts), max_size=6), path=st.sampled_from(PATHS))
def test_any_query_string_is_understood_or_refused(parameters, path):
    try:
        query = parse(parameters, path)
    except RefusedError as error:
        refused = error.status
    else:
        refused = None
        assert 1 <= query.limit <= 200
        assert 0 <= query.offset < 2**63
    assert refused in {None, 400}


# -- comparison --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vr", "one", "other", "are_equal"),
    [
        ("PN", "Hall^Tá", "HALL^ta", True),
        ("LO", "Tá", "tÁ", True),
        ("LO", "Tá", "Ta", False),
        ("LO", "Head ", "head\0", True),
        ("LO", "He*d", "Head", False),
        ("PN", "Hall^Ta", "Hall Ta", False),
        ("PN", "Hall", "Hall^Ta", False),
    ],
)
def test_case_never_counts_and_accents_not_in_names(vr, one, other, are_equal):
    assert (fold(vr, one) == fold(vr, other)) is are_equal


@pytest.mark.parametrize(
    ("sought", "is_found"),
    [
        ("joh", True),
        ("do", True),
        ("jo do", True),
        ("Doe", True),
        ("John Doe", True),
        ("john^doe", True),
        ("ohn", False),
        ("do jo", False),
        ("john doe x", False),
        ("^", False),
        ("*", False),
    ],
)
def test_a_name_matches_fuzzily_by_the_beginnings_of_its_words(sought, is_found):
    """The conformance statement's own examples for John^Doe, and more."""
    assert begins_words(words(fold("PN", sought)), fold("PN", "John^Doe")) is is_found


@given(st.text())
def test_a_date_is_told_for_any_text(text):
    assert not is_date(text) or len(text) == 8
