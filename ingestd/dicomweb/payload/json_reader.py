"""The objects of a JSON array as they arrive (PS3.18 F.2.1), each handed on and forgotten: a study's metadata can be any size.

json's own decoder reads an object as soon as all of it is there. Where it is not, the next try waits until half as much again has
come, so a large object costs no more than a few readings of it. UTF-8 only (RFC 8259 8.1).
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Callable, Mapping

from ingestd.dicomweb.payload.answer_headers import JSON_TYPES, media_type

Object = Mapping[str, object]
OBJECT_LIMIT = 16 << 20  # characters: what exchange.py takes of a whole answer
_BLANKS = " \t\r\n"


class _NotJsonError(Exception):
    """The body is not an array of objects."""


class ObjectsSink:
    """A sink of Exchange.ask. `each` gets every object in turn; what it raises ends the request."""

    def __init__(self, each: Callable[[Object], None], *, rate: int) -> None:
        self.rate = rate
        self.count = 0
        self._each = each
        self._begin()

    def _begin(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._json = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
        self._text = ""
        self._enough = 0
        self._expects = "["
        self.complete = False

    def begin(self, headers: Mapping[str, str]) -> bool:
        self._begin()
        declared = headers.get("content-type", "")
        kind = media_type(declared)
        return (not declared or kind.name in JSON_TYPES) and kind.charset in (None, "utf-8", "us-ascii")

    def take(self, piece: bytes) -> bool:
        try:
            self._text += self._decoder.decode(piece)
            if len(self._text) >= self._enough:
                self._read()
        except (_NotJsonError, UnicodeDecodeError):
            return False
        return len(self._text) <= OBJECT_LIMIT

    def finish(self) -> bool:
        """The answer has ended: whether it was an array of objects to its closing bracket."""
        try:
            self._read()
        except _NotJsonError:
            return False
        return self.complete and not self._text

    def _read(self) -> None:
        at = 0
        while (at := self._past_blanks(at)) < len(self._text):
            character = self._text[at]
            if self.complete:
                raise _NotJsonError
            if character == "]" and self._expects in "],":
                self.complete = True
            elif self._expects in "[," and character == self._expects:
                self._expects = "]" if character == "[" else "{"
            elif character == "{" and self._expects in "]{":
                end = self._object(at)
                if end is None:
                    break
                at, self._expects = end, ","
                continue
            else:
                raise _NotJsonError
            at += 1
        self._text = self._text[at:]
        self._enough = len(self._text) * 3 // 2

    def _object(self, at: int) -> int | None:
        """Where it ends, once it was handed on; None while part of it is missing."""
        try:
            found, end = self._json.raw_decode(self._text, at)
        except json.JSONDecodeError:
            return None
        except (ValueError, RecursionError) as error:  # a number of more than 4300 digits; a thousand brackets
            raise _NotJsonError from error
        self.count += 1
        self._each(found)
        return end

    def _past_blanks(self, at: int) -> int:
        while at < len(self._text) and self._text[at] in _BLANKS:
            at += 1
        return at


def _finite(number: str) -> float:
    """RFC 8259 6: what a double can't hold would be written out again as Infinity, which is no JSON."""
    value = float(number)
    if math.isinf(value):
        raise _NotJsonError(number)
    return value


def _refuse(constant: str) -> object:
    raise _NotJsonError(constant)
