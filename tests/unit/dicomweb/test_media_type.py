"""Content-Type headers, as servers write them and as they should not (RFC 9110 8.3.1, 5.6.6)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.dicomweb.payload.answer_headers import LONGEST_TYPE, MediaType, media_type

TEXT = MediaType(name="text/plain", charset=None, boundary=None)


def kind(name: str, charset: str | None = None, boundary: str | None = None) -> MediaType:
    return MediaType(name=name, charset=charset, boundary=boundary)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("application/dicom+json", kind("application/dicom+json")),
        (" Application/DICOM+json ; Charset=UTF-8 ", kind("application/dicom+json", "utf-8")),
        ('application/json;charset="utf-8"', kind("application/json", "utf-8")),
        ("application/json; charset = utf-8", kind("application/json", "utf-8")),
        ("application/json;", kind("application/json")),
        ("application/json; ;; charset=utf-8 ;", kind("application/json", "utf-8")),
        ("application/json; odata; charset=ascii", kind("application/json", "ascii")),
        ("application/json; charset=", kind("application/json")),
        ("application/json; charset=a; charset=b", kind("application/json", "a")),
        ("application/json; charset*=utf-8''x", kind("application/json")),
        ("multipart/related; type=application/dicom; boundary=aB_1", kind("multipart/related", None, "aB_1")),
        ('multipart/related; boundary="a;b c"; type="application/dicom"', kind("multipart/related", None, "a;b c")),
        (r'multipart/related; boundary="a\"\\b"', kind("multipart/related", None, r'a"\b')),
        ("multipart/related; boundary=a=b/c,d:e", kind("multipart/related", None, "a=b/c,d:e")),
        ('multipart/related; boundary=""', kind("multipart/related")),
    ],
)
def test_what_servers_write_is_read(value: str, expected: MediaType) -> None:
    assert media_type(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "json",
        "application/",
        "/json",
        "application/dicom+json, text/html",
        "application/json/x",
        "application /json",
        "application/json charset=utf-8",
        "application/json; charset utf-8",
        'application/json; charset="utf-8',
        'application/json; charset=utf"-8"',
        'application/json; charset="utf-8"x',
        "application/json; =utf-8",
        "application/json; chärset=utf-8",
        "application/json" + " " * LONGEST_TYPE,
    ],
)
def test_what_can_not_be_read_is_text(value: str) -> None:
    """F84: nothing is guessed at, and it is no answer."""
    assert media_type(value) == TEXT


@pytest.mark.parametrize(
    "value",
    [
        "application/dicom+json; charset*=%00''x",
        "application/dicom+json; charset*=\udcff''x",
        "application/dicom+json; charset*0*=%E4''x; charset*1=y",
        'application/dicom+json; boundary*="\0"',
    ],
)
def test_an_extended_parameter_is_none_of_ours(value: str) -> None:
    """F84: RFC 2231 has no place in HTTP's media types, and what decodes it raises."""
    assert media_type(value) == kind("application/dicom+json")


PIECES = ("application/json", ";", "charset", "=", '"', "\\", " ", "\t", "*", "utf-8", ",", "%00''", "ä", "\0", "a/b")


@given(st.text() | st.lists(st.sampled_from(PIECES)).map("".join))
def test_no_header_raises(value: str) -> None:
    """F84."""
    found = media_type(value)
    assert found.name.count("/") == 1
    assert found.boundary is None or found.boundary in value or "\\" in value


@given(st.sampled_from(PIECES), st.sampled_from(PIECES))
def test_no_header_takes_long(begin: str, again: str) -> None:
    """F84: a header of 90 KB cost ten seconds of the processor."""
    for much in (LONGEST_TYPE, 100_000):
        value = "application/json;" + begin + again * (much // len(again))
        started = time.process_time()
        media_type(value[:much])
        media_type(value)
        assert time.process_time() - started < 0.25
