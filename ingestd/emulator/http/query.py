"""The query string of a search (PS3.18 10.6.1.2, 8.3.4), understood as the service understands it or refused in its words.

A parameter is limit, offset, fuzzymatching or includefield, in any case, or the keyword or tag of an attribute that can be searched
for on this path. Attributes of the path's own study or series cannot be named again. Nothing is matched here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import dictionary_has_tag, tag_for_keyword

from ingestd.emulator import RefusedError
from ingestd.emulator.dicom.attributes import (
    BY_TAG,
    RETURNED,
    SERIES_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Level,
    Searchable,
)
from ingestd.emulator.dicom.value_rules import is_date

_DEFAULT_LIMIT: Final = 100
_MOST: Final = 200
_LARGEST: Final = 2**63 - 1
_OPTIONS: Final = {
    "limit": "Limit",
    "offset": "Offset",
    "fuzzymatching": "FuzzyMatching",
    "includefield": "IncludeField",
}
_INTEGER: Final = re.compile(r"\s*[+-]?[0-9]{1,30}\s*", re.ASCII)
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_HELP: Final = (
    " If the parameter is an attribute keyword, check the casing as they are case-sensitive."
    " The conformance statement has a list of supported query parameters, attributes and the levels."
)
_RANGE_HELP: Final = (
    "For details on valid range queries, please refer to Search Matching section in Conformance Statement"
    " (https://github.com/microsoft/dicom-server/blob/main/docs/resources/conformance-statement.md#search-matching)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equals:
    """The attribute has this value, as comparison.fold sees it."""

    attribute: Searchable
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """The attribute is a date from `first` to `last`, both included, as YYYYMMDD."""

    attribute: Searchable
    first: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Begins:
    """Words of the name begin so, see comparison.begins_words."""

    attribute: Searchable
    value: str


Condition = Equals | Between | Begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What the path says: the level searched for, the study and the series it is searched in, and whether version 1 is asked."""

    level: Level
    study: str | None = None
    series: str | None = None
    version_1: bool = False

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels whose attributes can be searched for and are given back: those that the path leaves open."""
        above = 2 if self.series is not None else 1 if self.study is not None else 0
        return tuple(Level)[above : tuple(Level).index(self.level) + 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """All `conditions` hold for a result; `tags` are what is given back of it where it has them."""

    level: Level
    conditions: tuple[Condition, ...]
    tags: frozenset[str]
    limit: int
    offset: int


def parse(parameters: Sequence[tuple[str, str]], resource: Resource) -> Query:
    """The search of these decoded names and values on this path.

    Raises:
        RefusedError: 400, with the service's words.
    """
    given = _by_name(parameters)
    limit = _number(_option(given, "limit"), "Limit", default=_DEFAULT_LIMIT, least=1, most=_MOST)
    offset = _number(_option(given, "offset"), "Offset", default=0, least=0, most=_LARGEST)
    is_fuzzy = _flag(_option(given, "fuzzymatching"), "FuzzyMatching")
    fields = [field.strip() for value in given.get("includefield", ("", []))[1] for field in value.split(",")]
    conditions: dict[str, Condition] = {}
    for folded, (name, values) in given.items():
        if folded in _OPTIONS:
            continue
        if len(values) > 1:
            raise _refused(
                f"Invalid QIDO-RS query. Duplicate AttributeId '{name}'. Each attribute is only allowed to be specified once."
            )
        attribute = _searchable(name, resource)
        if attribute.tag in conditions:
            raise _refused(
                f"Invalid query: attribute '{name}' has been specified more than once using different ID formats."
                " Each attribute is only allowed to be specified once."
            )
        conditions[attribute.tag] = _condition(attribute, name, values[0].strip(), is_fuzzy=is_fuzzy)
    for tag, uid in ((STUDY_INSTANCE_UID, resource.study), (SERIES_INSTANCE_UID, resource.series)):
        if uid is not None:
            conditions[tag] = Equals(attribute=BY_TAG[tag], value=uid)
    return Query(
        level=resource.level,
        conditions=tuple(conditions.values()),
        tags=_wanted(fields, resource) | conditions.keys(),
        limit=limit,
        offset=offset,
    )


def _by_name(parameters: Sequence[tuple[str, str]]) -> dict[str, tuple[str, list[str]]]:
    """The name as first given and all its values, by the name in lower case: to the service Limit and limit are one."""
    given: dict[str, tuple[str, list[str]]] = {}
    for name, value in parameters:
        given.setdefault(name.strip().lower(), (name.strip(), []))[1].append(value)
    return given


def _option(given: dict[str, tuple[str, list[str]]], name: str) -> str | None:
    _, values = given.get(name, ("", []))
    if len(values) > 1:
        raise _bad_option(_OPTIONS[name], "Cannot specify parameter more than once.")
    return values[0] if values else None


def _number(text: str | None, name: str, *, default: int, least: int, most: int) -> int:
    if text is None:
        return default
    if not text.strip():
        raise _bad_option(name, f"The value '{text}' is invalid.")
    if _INTEGER.fullmatch(text) is None or abs(int(text)) > _LARGEST:
        raise _bad_option(name, f"The value '{text}' is not valid for {name}.")
    if not least <= int(text) <= most:
        # The bounds of the service's offset are floating-point numbers, and it says so.
        shown = str(most) if most < _LARGEST else "9.223372036854776E+18"
        raise _bad_option(name, f"The field {name} must be between {least} and {shown}.")
    return int(text)


def _flag(text: str | None, name: str) -> bool:
    if text is None:
        return False
    if not text.strip():
        raise _bad_option(name, f"The value '{text}' is invalid.")
    if text.strip().lower() not in {"true", "false"}:
        raise _bad_option(name, f"The value '{text}' is not valid for {name}.")
    return text.strip().lower() == "true"


def _wanted(fields: list[str], resource: Resource) -> frozenset[str]:
    tags: set[str] = set()
    has_all = any(field.lower() == "all" for field in fields)
    for level in resource.levels:
        returned = RETURNED[level]
        tags |= returned.v1 if resource.version_1 else returned.v2
        tags |= returned.more if has_all else set()
    for field in fields:
        tag = None if field.lower() == "all" else _tag(field)
        if tag is not None:
            tags.add(tag)
        elif field.lower() != "all":
            raise _refused(f"Invalid query: IncludeField has unknown attribute '{field}'.")
    return frozenset(tags)


def _searchable(name: str, resource: Resource) -> Searchable:
    tag = _tag(name)
    if tag is None:
        raise _refused(f"Invalid query: unknown query parameter '{name}'.{_HELP}")
    attribute = BY_TAG.get(tag)
    if attribute is None or attribute.level not in resource.levels:
        raise _refused(f"Invalid query: AttributeId {name} is not queryable. {_HELP}")
    return attribute


def _tag(name: str) -> str | None:
    """The tag of a keyword of the standard or of eight hexadecimal digits; any tag of an odd group will do."""
    if "." in name:
        raise _refused(
            f"Dicom element '{name}' failed validation for VR 'SQ': Sequential dicom tags are currently not supported."
        )
    number = tag_for_keyword(name) if name else None  # pydicom's dictionary has nameless entries
    if number is None and _TAG.fullmatch(name) is not None:
        number = int(name, 16)
        if not (number >> 16) % 2 and not dictionary_has_tag(number):
            return None
    return None if number is None else f"{number:08X}"


def _condition(attribute: Searchable, name: str, value: str, *, is_fuzzy: bool) -> Condition:
    if not value.strip("\0 "):
        raise _refused(f"Invalid query: AttributeId '{name}' has empty string value that is not supported.")
    if attribute.vr == "DA":
        return _dates(attribute, value)
    if attribute.vr != "PN" or not is_fuzzy:
        return Equals(attribute=attribute, value=value)
    if '"' in value:
        raise _refused(
            f"Invalid query: specified tag '{attribute.keyword}' value '{value}' contains unsupported character '\"'."
            " Character is not supported with Fuzzy match, try exact match or removing the invalid character. "
        )
    return Begins(attribute=attribute, value=value)


def _dates(attribute: Searchable, value: str) -> Between:
    parts = [part.strip() for part in value.split("-")]
    if len(parts) != 2:
        _demand_date(value, attribute)
        return Between(attribute=attribute, first=value, last=value)
    if not any(parts):
        raise _refused(
            "Invalid query: specified range is invalid.\nBoth parts in the range cannot be empty.\n" + _RANGE_HELP
        )
    for part in filter(None, parts):
        _demand_date(part, attribute)
    first, last = parts[0] or "00010101", parts[1] or "99991231"
    if first > last:
        raise _refused(
            f"Invalid query: specified date range '{value}' is invalid.\n"
            f"The first part date {first} should be lesser than or equal to the second part date {last}."
        )
    return Between(attribute=attribute, first=first, last=last)


def _demand_date(text: str, attribute: Searchable) -> None:
    if not is_date(text):
        raise _refused(
            f"Invalid query: specified Date value '{text}' is invalid for attribute '{attribute.keyword}'."
            " Date should be valid and formatted as yyyyMMdd."
        )


def _bad_option(name: str, why: str) -> RefusedError:
    return _refused(f"The query parameter '{name}' is invalid. {why}")


def _refused(text: str) -> RefusedError:
    return RefusedError(400, text)
