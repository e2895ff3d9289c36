"""The normal form that a file's and a service's elements share."""

from __future__ import annotations

import pytest
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.valuerep import IS, DSfloat, PersonName

from ingestd.core.answers.elements import UNDECLARED, contradict, normalise


@pytest.mark.parametrize(
    ("vr", "file", "service"),
    [
        ("DS", [DSfloat("1.50")], [1.5]),
        ("DS", ["1.0"], [1]),
        ("DS", ["+1.00E+01 "], ["10"]),
        ("DS", [DSfloat("-0.0")], [0]),
        ("DS", ["0.333333333333333"], [0.333333333333333]),
        ("DS", ["6.1232339957E-17"], [6.123233996e-17]),
        ("DS", ["3.7493994566E-33"], [0]),
        ("DS", ["1.23456789012E17"], [123456789000000000]),
        ("IS", [IS("007")], [7]),
        ("IS", ["1"], [1.0]),
        ("US", [512], ["512"]),
        ("SS", [-2000], [63536]),
        ("US or SS", [-1], [65535]),
        ("UV", [18446744073709551615], ["18446744073709551615"]),
        ("FL", [0.10000000149011612], [0.1]),
        ("FD", [0.1], [0.1]),
        ("FD", [float("inf")], ["inf"]),
        ("UI", ["1.2.3\0"], ["1.2.3"]),
        ("LO", [" padded "], ["padded"]),
        ("UT", ["  kept "], ["  kept"]),
        ("AT", [Tag(0x00100010)], ["00100010"]),
        ("AT", [Tag(0x0018, 0x00A0)], ["001800a0"]),
        ("PN", [PersonName("Doe^John^^^")], [{"Alphabetic": "Doe^John"}]),
        ("PN", [PersonName("A^B=C^D=E^F")], [{"Alphabetic": "A^B", "Ideographic": "C^D", "Phonetic": "E^F"}]),
        ("PN", [PersonName("A^B==E^F")], [{"Alphabetic": "A^B", "Phonetic": "E^F"}]),
        ("PN", [""], [{}]),
        ("LO", [""], [None]),
        ("LO", [], []),
        ("CS", ["A", "", "B", ""], ["A", None, "B"]),
        ("CS", MultiValue(str, ["A", "B"]), ["A", "B"]),
    ],
)
def test_equal_meaning_has_one_form(vr: str, file: list[object], service: list[object]) -> None:
    """PS3.5 6.2 and PS3.18 F.2 write the same value differently."""
    assert normalise(vr, file) == normalise(vr, service)


@pytest.mark.parametrize(
    ("vr", "one", "other"),
    [
        ("DS", ["1.5"], ["1.6"]),
        ("DS", ["1.000000001"], ["1.000000002"]),
        ("DS", ["1E-27"], ["2E-27"]),
        ("SS", [-1], [1]),
        ("SL", [-1], [65535]),
        ("IS", ["1"], ["2"]),
        ("LO", ["A"], ["a"]),
        ("LO", ["A", "B"], ["B", "A"]),
        ("CS", ["", "A"], ["A"]),
        ("PN", ["A^B"], [{"Alphabetic": "A^C"}]),
        ("PN", ["A^B"], [{"Ideographic": "A^B"}]),
        ("UI", ["1.2.3"], ["1.2.30"]),
        ("UT", ["  A"], ["A"]),
        ("FD", [0.1], [0.1000001]),
        ("UV", [2**63], [2**63 + 1]),
    ],
)
def test_other_meaning_has_another(vr: str, one: list[object], other: list[object]) -> None:
    """I2: different data is never taken for the same."""
    assert normalise(vr, one) != normalise(vr, other)


@pytest.mark.parametrize(
    ("vr", "values", "expected"),
    [
        ("DS", ["1.0", "2.50"], ("1", "2.5")),
        ("DS", ["not a number "], ("not a number",)),
        ("IS", ["9" * 5000], ("inf",)),
        ("DS", ["nan"], ("nan",)),
        ("FD", [1e300], ("1e+300",)),
        ("US", ["not a number"], ("not a number",)),
        ("LO", [None, None], ()),
    ],
)
def test_the_form_itself(vr: str, values: list[object], expected: tuple[str, ...]) -> None:
    assert normalise(vr, values) == expected


@pytest.mark.parametrize(
    ("own", "theirs", "expected"),
    [
        (["A^B"], ["A^B"], False),
        (["A^B"], ["A^C"], True),
        (["WHY?"], ["WHY!"], True),
        ([f"F{UNDECLARED}LLE"], ["F?LLE"], False),
        ([f"F{UNDECLARED}LLE"], ["F\xc4LLE"], False),
        ([f"F{UNDECLARED}LLE"], [f"F{UNDECLARED}LLE"], False),
        ([f"F{UNDECLARED}{UNDECLARED}LLE?"], ["F\xc4LLE?"], False),
        ([f"F{UNDECLARED}LLE"], ["FAELLE"], True),
        ([f"F{UNDECLARED}LLE"], ["F?LLER"], True),
        ([f"{UNDECLARED}", "B"], ["?", "C"], True),
        ([f"{UNDECLARED}"], ["?", "?"], True),
        ([f"{UNDECLARED}"], [], True),
    ],
)
def test_what_stands_for_undeclared_bytes_contradicts_nothing(
    own: list[str], theirs: list[str], expected: bool
) -> None:
    """I2: unknown is neither equal nor different; the letters beside it are known."""
    assert contradict(own, theirs) is expected
