"""Metadata of one instance (PS3.18 10.4.1.1.2), read for comparison: only the elements that can be compared with a file's own.

A service chooses what an answer holds, and a frame-by-frame sequence can be nearly all of 16 MiB; as Python objects it would be ten
times as much. So all of the JSON is read, but of what is not compared (sequences, bulk, private elements) nothing is kept. What
can't be bounded by its text is bounded by counting before it is read. Answers of more than 1 MiB are taken two at a time, and read
one at a time.
"""

from __future__ import annotations

import enum
import json
import re
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from ingestd.core.answers.elements import normalise
from ingestd.dicomweb.payload.answer_headers import JSON_TYPES, MediaType, decoded, media_type
from ingestd.dicomweb.payload.dicom_json import refuse, unique

ANSWER = 16 << 20  # bytes of one answer, without its coding
SMALL = 1 << 20  # bytes; such an answer needs no place
VALUES = (
    1 << 21
)  # commas in one answer, and half as many brackets: 24 bytes of JSON, as much as an element has, hold two and one
SHORT = 1 << 16  # characters of an answer; as objects it is 2 MiB, and reading it twice would take longer
COMPARED = 1 << 21  # characters of the elements that are compared
COMPARED_VALUES = 1 << 17  # commas in them: a lookup table has 65,536 values
AT_ONCE = 2
PATIENCE_SECONDS = 60.0  # a large answer of metadata, for its turn: two at a time, to bound memory
_NOT_COMPARED = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_ELSEWHERE = frozenset({"BulkDataURI", "InlineBinary"})
_BLANKS = r"[ \t\r\n]*+"
_MEMBER = re.compile(rf'"([0-9A-Fa-f]{{8}})"{_BLANKS}:{_BLANKS}')
_MARKS = {mark: re.compile(rf"{_BLANKS}\{mark}{_BLANKS}") for mark in "[]{},"}

Elements = dict[str, tuple[str, ...]]


class Places:
    """Who may hold a large answer, and who may read one. Any thread."""

    def __init__(self) -> None:
        self.holding = threading.Semaphore(AT_ONCE)
        self.reading = threading.Lock()


class ElementsSink:
    """A sink of Exchange.ask, and a context manager, because it may hold a place. `rate` in bytes a second."""

    def __init__(self, places: Places, *, rate: int) -> None:
        self.rate = rate
        self._places = places
        self._holds = False
        self._kind: MediaType | None = None
        self._content = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._content = bytearray()
        if self._holds:
            self._places.holding.release()

    def begin(self, headers: Mapping[str, str]) -> bool:
        self._content.clear()
        declared = headers.get("content-type", "")
        self._kind = media_type(declared)
        return not declared or self._kind.name in JSON_TYPES

    def take(self, piece: bytes) -> bool:
        self._content += piece
        if len(self._content) > SMALL and not self._holds:
            self._holds = self._places.holding.acquire(timeout=PATIENCE_SECONDS)
        return len(self._content) <= (ANSWER if self._holds else SMALL)

    def elements(self) -> Elements | None:
        """What an answer that has ended well says; None where it is too large or not well formed. Once."""
        if self._kind is None:
            return None
        if not self._holds:
            return _elements(self._content, self._kind)
        with self._places.reading:
            return _elements(self._content, self._kind)


class _MalformedError(ValueError):
    """No data set of the DICOM JSON Model, or one that no instance has."""


def _elements(content: bytearray, kind: MediaType) -> Elements | None:
    """The elements of the one data set, which may be an object or an array of one. Empties `content`."""
    if content.count(b",") > VALUES or content.count(b"[") > VALUES // 2:
        return None
    try:
        text = decoded(content, kind.charset)
        content.clear()
        return _Reader(text).elements()
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        return None


class _Reader:
    """The outermost object by hand, each of its members by json."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._shapes = json.JSONDecoder(object_pairs_hook=_shape, parse_constant=refuse)
        self._values = json.JSONDecoder(object_pairs_hook=unique, parse_constant=refuse)
        self._characters = self._commas = 0

    def elements(self) -> Elements:
        array = self._is("[")
        self._demand("{")
        out: Elements = {}
        seen: set[str] = set()
        more = not self._is("}")
        while more:
            member = _MEMBER.match(self._text, self._at)
            tag = member[1].upper() if member is not None else ""
            if member is None or tag in seen:
                raise _MalformedError
            seen.add(tag)
            self._at = member.end()
            if (values := self._element(tag)) is not None:
                out[tag] = values
            more = self._is(",")
            if not more:
                self._demand("}")
        if array:
            self._demand("]")
        if self._at < len(self._text):
            raise _MalformedError
        return out

    def _element(self, tag: str) -> tuple[str, ...] | None:
        """The values of the element that begins here; None where it is not compared."""
        private = int(tag[:4], 16) % 2 == 1
        if len(self._text) > SHORT:
            shape, end = self._shapes.raw_decode(self._text, self._at)
            if shape is _Shape.LEFT_OUT or (private and shape is _Shape.COMPARED):
                self._at = end
                return None
            self._characters += end - self._at
            self._commas += self._text.count(",", self._at, end)
            if self._characters > COMPARED or self._commas > COMPARED_VALUES:
                raise _MalformedError
        element, self._at = self._values.raw_decode(self._text, self._at)
        shape = _shape_of(element) if isinstance(element, dict) else None
        if shape is None:
            raise _MalformedError
        if private or shape is _Shape.LEFT_OUT:
            return None
        vr, values = element["vr"], element.get("Value", [])
        if not isinstance(values, list) or not all(_is_value(vr, value) for value in values):
            raise _MalformedError
        return normalise(vr, values)

    def _is(self, mark: str) -> bool:
        """Whether this is next; then it is passed by, and the blanks around it."""
        found = _MARKS[mark].match(self._text, self._at)
        self._at = found.end() if found is not None else self._at
        return found is not None

    def _demand(self, mark: str) -> None:
        if not self._is(mark):
            raise _MalformedError


class _Shape(enum.Enum):
    """What is kept of an element whose JSON has been read."""

    COMPARED = enum.auto()
    LEFT_OUT = enum.auto()


def _shape(members: list[tuple[str, object]]) -> _Shape | None:
    """json's object_pairs_hook: what stands for an object once its members have been read."""
    return _shape_of(unique(members))


def _shape_of(members: Mapping[str, object]) -> _Shape | None:
    """None for what is no element, such as an item or a name."""
    vr = members.get("vr")
    if not isinstance(vr, str):
        return None
    return _Shape.LEFT_OUT if vr in _NOT_COMPARED or not _ELSEWHERE.isdisjoint(members) else _Shape.COMPARED


def _is_value(vr: str, value: object) -> bool:
    """Whether PS3.18 F.2.2 allows such a value; a name is an object of strings."""
    if isinstance(value, dict):
        return vr == "PN" and all(group is None or isinstance(group, str) for group in value.values())
    return not isinstance(value, list)
