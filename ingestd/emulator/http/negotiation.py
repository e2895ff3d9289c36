"""Content-Type and Accept as strictly as the service reads them (RFC 9110 5.6, 8.3.1, 12.5.1).

A media type with a parameter that is neither a token nor a quoted string (type=application/dicom without quotes) is none, but
in the Accept header of a retrieve request, where the service forgives it.
"""

import re
from dataclasses import dataclass
from typing import Final

DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
OCTET_STREAM: Final = "application/octet-stream"
JPEG_2000: Final = "image/jp2"
MULTIPART_RELATED: Final = "multipart/related"

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's token, no secret
_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_TYPE: Final = re.compile(rf"\s*({_TOKEN}/{_TOKEN})\s*")
_PARAMETER: Final = re.compile(rf";\s*(?:({_TOKEN})\s*=\s*({_TOKEN}|{_QUOTED})\s*)?")
_FORGIVING: Final = re.compile(rf";\s*(?:({_TOKEN})\s*=\s*({_TOKEN}(?:/{_TOKEN})?|{_QUOTED})\s*)?")
_LONGEST_ACCEPT: Final = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaType:
    """Name and parameter names in lower case, values without their quotes."""

    name: str
    parameters: dict[str, str]


def media_type(text: str) -> MediaType | None:
    """The media type this header holds; None when it holds none."""
    found, end = _media_type_at(text, 0)
    return found if end == len(text) else None


def accepts(headers: list[str], offered: str) -> bool:
    """True when an Accept entry would take `offered`; False when there is no such header, too, or one cannot be read."""
    names: set[str] = set()
    for header in headers:
        position = 0
        while position < len(header):
            entry, position = _media_type_at(header, position)
            if entry is None or (position < len(header) and header[position] != ","):
                return False
            position += 1
            names.add(entry.name)
    main = offered.partition("/")[0]
    return not names.isdisjoint({"*/*", f"{main}/*", offered})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One thing that a retrieve request would take: `name` is the media type of a part where `multipart`, else of the body."""

    name: str
    multipart: bool
    transfer_syntax: str | None
    quality: float


def wanted(headers: list[str]) -> list[Wanted]:
    """What these Accept headers would take, best first, and of equals the one that takes any transfer syntax.

    What cannot be read is passed over.
    """
    found: list[Wanted] = []
    for header in headers:
        position = 0
        while 0 <= position < len(header) <= _LONGEST_ACCEPT:
            entry, end = _media_type_at(header, position, _FORGIVING)
            if entry is not None and header[end : end + 1] in {",", ""}:
                found.append(_wanted(entry))
            comma = header.find(",", end)
            position = comma + 1 if comma >= 0 else -1
    return sorted(
        (entry for entry in found if entry.quality > 0),
        key=lambda entry: (-entry.quality, entry.transfer_syntax != "*"),
    )


def _wanted(entry: MediaType) -> Wanted:
    multipart = entry.name == MULTIPART_RELATED
    try:
        quality = float(entry.parameters.get("q", "1"))
    except ValueError:
        quality = 1.0
    return Wanted(
        name=entry.parameters.get("type", "").lower() if multipart else entry.name,
        multipart=multipart,
        transfer_syntax=entry.parameters.get("transfer-syntax") or None,
        quality=quality if 0 <= quality <= 1 else 1.0,
    )


def _media_type_at(text: str, start: int, parameter_rule: re.Pattern[str] = _PARAMETER) -> tuple[MediaType | None, int]:
    match = _TYPE.match(text, start)
    if match is None:
        return None, start
    parameters: dict[str, str] = {}
    end = match.end()
    while (parameter := parameter_rule.match(text, end)) is not None:
        end = parameter.end()
        if parameter[1] is not None:
            parameters[parameter[1].lower()] = _unquoted(parameter[2])
    return MediaType(name=match[1].lower(), parameters=parameters), end


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
