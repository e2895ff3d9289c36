"""What service.url may be: a base URL with its version, and not the example of a page that somebody copied.

A wrong one would be found out by the first store only, as a name that nobody knows or as 404, and files would wait meanwhile.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ingestd.core.answers.profiles import ServiceKind, kind_of

# Our own pages, Microsoft's (https://<workspacename-dicomservicename>..., {Service URL}) and three dots.
_EXAMPLE = re.compile(r"[<>{}]|//WORKSPACE-SERVICE\.|//\.\.\.|(?i:workspace-?name-dicom-?service-?name)")
_STUDIES = re.compile(r"/studies$", re.IGNORECASE)
_VERSIONED = re.compile(r"/v\d+(\.\d+)*(-[a-z]+)?(/|$)", re.IGNORECASE)


def refuse_example(value: str) -> None:
    """Raises ValueError for a URL in which somebody's own names are still to be filled in."""
    if _EXAMPLE.search(value):
        raise ValueError(
            "this is an example: put your service's own URL there, with its version "
            "(the Azure portal shows it as Service URL), such as https://.../v2"
        )


def checked_base(value: str) -> str:
    """The URL without a slash at its end. Raises ValueError where no store service can be."""
    given = value.rstrip("/")
    base = _STUDIES.sub("", given)
    parts = urlsplit(base)
    if kind_of(parts.hostname or "") is ServiceKind.AZURE and not _VERSIONED.match(parts.path):
        raise ValueError(f"the service's version is missing behind the host: give {parts.scheme}://{parts.netloc}/v2")
    if base != given:
        raise ValueError(f"give the base URL, without /studies at its end: {base}")
    return base
