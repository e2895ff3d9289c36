"""The Store Instances Response as XML (PS3.19 A.1), and answers in other charsets: read to the letter or not at all."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.answers.answer import Failed, Referenced, StoreResponse
from ingestd.dicomweb.payload.native_xml import DEEPEST, MOST_ELEMENTS, one_xml_dataset
from ingestd.dicomweb.payload.store_response import read_store_response

XML = "application/dicom+xml"
NAMESPACE = 'xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM"'
STORED = '<DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2.3</Value></DicomAttribute>'
# as Orthanc 1.10.1 with its DICOMweb plugin 1.7 writes it
ORTHANC = f"""<?xml version="1.0" encoding="utf-8"?>
<NativeDicomModel {NAMESPACE} xsi:schemaLocation="http://dicom.nema.org/PS3.19/models/NativeDICOM"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <DicomAttribute tag="00080005" vr="CS" keyword="SpecificCharacterSet">
    <Value number="1">ISO_IR 100</Value>
  </DicomAttribute>
  <DicomAttribute tag="00081198" vr="SQ" keyword="FailedSOPSequence" />
  <DicomAttribute tag="00081199" vr="SQ" keyword="ReferencedSOPSequence">
    <Item number="1">
      <DicomAttribute tag="00081155" vr="UI" keyword="ReferencedSOPInstanceUID">
        <Value number="1">1.2.3</Value>
      </DicomAttribute>
      <DicomAttribute tag="00081190" vr="UR" keyword="RetrieveURL"><Value number="1">http://x/1.2.3</Value></DicomAttribute>
    </Item>
    <Value number="1" />
  </DicomAttribute>
</NativeDicomModel>
"""
ONE = StoreResponse(referenced=(Referenced(sop_instance_uid="1.2.3", retrieve_url="http://x/1.2.3"),), failed=())


def read(text: str, content_type: str = XML, encoding: str = "utf-8") -> StoreResponse | None:
    return read_store_response(content_type, text.encode(encoding))


def model(inside: str, namespace: str = NAMESPACE) -> str:
    return f"<NativeDicomModel {namespace}>{inside}</NativeDicomModel>"


def referenced(inside: str = STORED) -> str:
    return f'<DicomAttribute tag="00081199" vr="SQ"><Item number="1">{inside}</Item></DicomAttribute>'


def test_orthanc_s_xml_is_read() -> None:
    """F50."""
    assert read(ORTHANC) == ONE


def test_failures_and_warnings_are_read() -> None:
    """Numbers stand there as text; an ErrorComment has its own item."""
    comment = (
        '<DicomAttribute tag="00741048" vr="SQ"><Item number="1"><DicomAttribute tag="00000902" vr="LO">'
        "<Value>too &lt; old</Value></DicomAttribute></Item></DicomAttribute>"
    )
    failed = (
        f'<DicomAttribute tag="00081198" vr="SQ"><Item number="1">{STORED}<DicomAttribute tag="00081197" vr="US">'
        f'<Value number="1">43264</Value></DicomAttribute>{comment}</Item></DicomAttribute>'
    )
    warned = referenced(STORED + '<DicomAttribute tag="00081196" vr="US"><Value number="1">1</Value></DicomAttribute>')
    assert read(model(failed + warned)) == StoreResponse(
        referenced=(Referenced(sop_instance_uid="1.2.3", warning_reason=1),),
        failed=(Failed(sop_instance_uid="1.2.3", failure_reason=43264, comment="too < old"),),
    )


@pytest.mark.parametrize("namespace", ["", NAMESPACE])
def test_with_and_without_the_namespace(namespace: str) -> None:
    assert read(model(referenced(), namespace)) is not None


@pytest.mark.parametrize("content_type", ["application/dicom+json", "text/html", "text/xml", "application/xml", ""])
def test_xml_of_another_type_is_no_response(content_type: str) -> None:
    assert read(ORTHANC, content_type) is None


@pytest.mark.parametrize(
    "document",
    [
        "",
        "<",
        ORTHANC[:-5],
        ORTHANC[:300],
        ORTHANC + "<more/>",
        "<html><body>Welcome</body></html>",
        model(""),
        model(referenced("")),  # an item that names nothing
        model(referenced(STORED + STORED)),
        model(referenced() + referenced()),
        model('<DicomAttribute vr="SQ"/>'),
        model('<DicomAttribute vr="SQ"/>' + referenced()),
        model(referenced(), 'xmlns="http://example.org/other"'),
        f"<Quoted {NAMESPACE}>{referenced()}</Quoted>",
        f"<Quoted>{model(referenced())}</Quoted>",
        model(referenced(STORED.replace("</Value>", '</Value><Value number="2">1.2.4</Value>'))),
        ORTHANC.replace("1.2.3</Value>", "1.2.3&unknown;</Value>"),
    ],
)
def test_what_is_not_well_formed_is_no_response(document: str) -> None:
    """F50: nothing leaves the inbox on it."""
    assert read(document) is None


@pytest.mark.parametrize(
    "declaration",
    [
        "<!DOCTYPE NativeDicomModel>",
        '<!DOCTYPE n [<!ENTITY uid "1.2.3">]>',
        '<!DOCTYPE n [<!ENTITY uid SYSTEM "file:///etc/hostname">]>',
        '<!DOCTYPE n SYSTEM "http://127.0.0.1:1/x.dtd">',
        '<!DOCTYPE n [<!ENTITY % p SYSTEM "file:///etc/hostname"> %p;]>',
    ],
)
def test_a_document_type_is_refused(declaration: str) -> None:
    """No entities at all, so neither files nor URLs nor floods of text."""
    body = model(referenced(STORED))
    assert read(body) is not None
    assert read(declaration + body) is None
    assert read(declaration + body.replace("1.2.3", "&uid;")) is None


def test_the_laughing_billion_costs_nothing() -> None:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    began = time.process_time()
    assert read(f'<!DOCTYPE n [<!ENTITY l0 "lol">{entities}]>' + model(referenced("&l9;"))) is None
    assert time.process_time() - began < 0.5


def test_depth_and_number_of_elements_are_bounded() -> None:
    def nested(levels: int) -> str:
        return model(referenced() + "<a>" * levels + "</a>" * levels)

    assert read(nested(DEEPEST - 1)) is not None
    assert read(nested(DEEPEST)) is None
    assert read("<NativeDicomModel>" + '<DicomAttribute tag="00081199" vr="SQ"><Item>' * 100_000) is None
    others = MOST_ELEMENTS - 5  # the model, and four that name the instance
    assert read(model(referenced() + "<a/>" * (others + 1))) is None
    assert read(model(referenced() + "<a/>" * others)) is not None


@pytest.mark.parametrize(
    ("parameter", "encoding"),
    [
        ("", "utf-8"),
        ("", "utf-8-sig"),
        ("; charset=utf-8", "utf-8-sig"),
        ("; charset=UTF-16", "utf-16"),
        ("; charset=utf-16le", "utf-16-le"),
        ("; charset=iso-8859-1", "latin-1"),
        ('; charset="windows-1252"', "cp1252"),
    ],
)
@pytest.mark.parametrize("kind", ["xml", "json"])
def test_the_declared_charset_counts(kind: str, parameter: str, encoding: str) -> None:
    """F50: a comment with an umlaut arrives as it was written."""
    comment = '<DicomAttribute tag="00000902" vr="LO"><Value>Größe</Value></DicomAttribute>'
    failed = f'<DicomAttribute tag="00081198" vr="SQ"><Item>{comment}</Item></DicomAttribute>'
    item = {"00000902": {"vr": "LO", "Value": ["Größe"]}}
    dataset = json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}, ensure_ascii=False)
    text, content_type = (model(failed), XML) if kind == "xml" else (dataset, "application/dicom+json")
    found = read(text, content_type + parameter, encoding)
    assert found is not None
    assert [f.comment for f in found.failed] == ["Größe"]


FAILED = (
    '<DicomAttribute tag="0008119a" vr="SQ"><Item><DicomAttribute tag="00000902" vr="LO"><Value>Größe</Value>'
    "</DicomAttribute></Item></DicomAttribute>"
)


@pytest.mark.parametrize(
    ("declared", "parameter", "encoding"),
    [
        ("iso-8859-1", "", "latin-1"),
        ("windows-1252", "", "cp1252"),
        ("utf-16", "", "utf-16"),
        ("utf-16", "; charset=utf-16", "utf-16"),
        ("utf-16", "; charset=utf-8", "utf-8"),
        ("klingon", "; charset=iso-8859-1", "latin-1"),
    ],
)
def test_a_document_says_its_own_charset_where_the_type_does_not(declared: str, parameter: str, encoding: str) -> None:
    """RFC 7303 3. Tags may be in lower case."""
    document = f'<?xml version="1.0" encoding="{declared}"?>{model(FAILED)}'
    found = read(document, XML + parameter, encoding)
    assert found is not None
    assert [f.comment for f in found.failed] == ["Größe"]


@pytest.mark.parametrize("declared", ["klingon", "gbk", "utf-7", "idna", "punycode", "hex", "rot13", "utf-16", ""])
def test_a_document_of_a_charset_that_expat_has_not_is_no_response(declared: str) -> None:
    """F50: it asks Python for them, which refuses each in its own way."""
    assert read(f'<?xml version="1.0" encoding="{declared}"?>{model(referenced())}') is None


def test_a_byte_order_mark_says_it_too() -> None:
    """For XML; JSON is UTF-8 where nothing is declared (RFC 8259 8.1)."""
    assert read(model(referenced()), encoding="utf-16") is not None


@pytest.mark.parametrize(
    "charset", ["utf-16", "klingon", "punycode", "idna", "hex", "rot13", "unicode_escape", "utf-7", "zlib"]
)
@pytest.mark.parametrize("kind", [XML, "application/dicom+json"])
def test_a_charset_that_it_is_not_is_no_response(kind: str, charset: str) -> None:
    """Odd length for UTF-16; the others are no charsets of answers, and some would take hours."""
    text = ORTHANC if kind == XML else json.dumps({"00081199": {"vr": "SQ", "Value": []}})
    body = text.encode() + b" " * (1 - len(text) % 2)
    assert read_store_response(f"{kind}; charset={charset}", body) is None


@given(st.binary(max_size=200), st.sampled_from(["", "; charset=utf-16", "; charset=latin-1", "; charset=ä"]))
def test_no_bytes_raise(content: bytes, parameter: str) -> None:
    """What a service sends never stops a sender."""
    for body in (content, ORTHANC.encode()[:150] + content, ORTHANC.encode() + content):
        one_xml_dataset(XML + parameter, body)
        read_store_response("application/dicom+json" + parameter, body)
