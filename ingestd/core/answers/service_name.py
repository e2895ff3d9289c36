"""The name of a service, as receipts keep it: a receipt proves something about the service that it names, and about no other.

It is scheme, host, port and path of service.url, without the version at its end, which changes with an upgrade of ours, and with
the data partition, which holds instances of its own. Names are compared, never asked for anything.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

_VERSION = re.compile(r"v\d+(?:\.\d+)*(?:-[a-z]+)?", re.IGNORECASE)  # Azure's: v1, v2, v1.0-prerelease
_PORTS = {"http": 80, "https": 443}


def service_name(url: str, partition: str | None) -> str:
    """The service at `service.url` and `service.partition`, as the settings have checked them."""
    parts = urlsplit(url)
    return _name(parts, [*_segments(parts), *(("partitions", partition) if partition is not None else ())])


def service_of(retrieve_url: str | None) -> str | None:
    """The service that a retrieve URL (PS3.18 10.4.1) leads to; None where it does not say so."""
    try:
        parts = urlsplit(retrieve_url or "")
        segments = _segments(parts)
        before = len(segments) - 1 - segments[::-1].index("studies")
        return _name(parts, segments[:before])
    except ValueError:  # no URL, another scheme's, or one without studies
        return None


def _segments(parts: SplitResult) -> list[str]:
    return [segment for segment in parts.path.split("/") if segment]


def _name(parts: SplitResult, segments: list[str]) -> str:
    """Raises ValueError for what is no URL of HTTP."""
    host, port = parts.hostname, parts.port
    if parts.scheme not in _PORTS or not host:
        raise ValueError("not a URL of HTTP")
    partition = segments[-2:] if segments[-2:-1] == ["partitions"] else []
    base = segments[: len(segments) - len(partition)]
    if base and _VERSION.fullmatch(base[-1]):
        base.pop()
    place = f"[{host}]" if ":" in host else host
    if port is not None and port != _PORTS[parts.scheme]:
        place += f":{port}"
    return "/".join((f"{parts.scheme}://{place}", *base, *partition))
