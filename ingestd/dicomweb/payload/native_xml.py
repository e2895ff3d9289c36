"""Reads the Native DICOM Model in XML (PS3.19 A.1) into the DICOM JSON Model, as far as a Store Instances Response needs it.

Some services answer application/dicom+xml whatever they were asked for. The parser is expat itself: a document type declaration is
refused as soon as it begins, so there are no entities, neither internal nor external; depth and number of elements are bounded
(the size is, by the exchange). Pure; what is not well formed is None, never an exception.

Values come as strings, and a sequence's as items; store_response reads both. Other content (PersonName, BulkData, InlineBinary) is
left out. Orthanc ends a sequence with an empty `Value`, which is not in the standard.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ingestd.dicomweb.payload.answer_headers import decoded, media_type
from ingestd.dicomweb.payload.dicom_json import Dataset

XML = "application/dicom+xml"
NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
DEEPEST = 32
MOST_ELEMENTS = 1 << 18


class _RefusedError(Exception):
    """A document that no service has a reason to send, or that is no Native DICOM Model."""


def one_xml_dataset(content_type: str, content: bytes, *, most: int = MOST_ELEMENTS) -> Dataset | None:
    """The data set of a body of the type application/dicom+xml, of `most` elements or fewer."""
    kind = media_type(content_type)
    if kind.name != XML:
        return None
    try:
        root = _parsed(content, kind.charset, most)
        if _name(root) != "NativeDicomModel":
            return None
        return _dataset(root)
    except (expat.ExpatError, ValueError, LookupError, _RefusedError):  # the latter two: charsets that expat has not
        return None


def _parsed(content: bytes, charset: str | None, most: int) -> Element:
    """The root element. A declared charset is stronger than the document's own declaration (RFC 7303 3)."""
    builder = TreeBuilder()
    depth = 0
    count = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth += 1
        count += 1
        if depth > DEEPEST or count > most:
            raise _RefusedError
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def refuse(*_: object) -> None:
        raise _RefusedError

    if charset is not None:
        content = decoded(content, charset).encode("utf-8")
    parser = expat.ParserCreate(encoding=None if charset is None else "utf-8", namespace_separator=" ")
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.buffer_text = True
    parser.Parse(content, True)  # all of it
    return builder.close()


def _dataset(parent: Element) -> Dataset:
    """The DicomAttribute children of the model or of an item."""
    dataset: dict[str, object] = {}
    for attribute in _children(parent, "DicomAttribute"):
        tag = attribute.get("tag", "").upper()
        vr = attribute.get("vr", "")
        if not tag or tag in dataset:
            raise _RefusedError
        values: list[object]
        if vr == "SQ":
            values = [_dataset(item) for item in _children(attribute, "Item")]
        else:
            values = [value.text for value in _children(attribute, "Value") if value.text]
        dataset[tag] = {"vr": vr, "Value": values}
    return dataset


def _children(parent: Element, name: str) -> Iterator[Element]:
    return (child for child in parent if _name(child) == name)


def _name(element: Element) -> str:
    """The name without its namespace, where that is the model's or none."""
    namespace, _, name = element.tag.rpartition(" ")
    return name if namespace in ("", NAMESPACE) else element.tag
