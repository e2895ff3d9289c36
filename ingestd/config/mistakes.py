"""What a wrong name was meant to be: the nearest key or section, and names of the environment that are not read.

An environment variable with one underscore between section and key is read by nobody, and looks as if it were. Names that kubelet
gives a pod for a Service called ingestd (INGESTD_SERVICE_HOST, INGESTD_SERVICE_PORT, INGESTD_PORT_9464_TCP ...) spell no key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches

PREFIX = "INGESTD_"
LIKENESS = 0.6  # of 1, as difflib counts it

Keys = Mapping[str, Collection[str]]  # the keys of each section


def variable(section: str, key: str) -> str:
    """The environment variable that sets a key."""
    return f"{PREFIX}{section}__{key}".upper()


def nearest_section(wrong: str, keys: Keys) -> str | None:
    return _nearest(wrong, keys)


def nearest_key(section: str, wrong: str, keys: Keys) -> tuple[str, str] | None:
    """The section and key that were probably meant: a key of this section that looks alike, else one of another section."""
    if (found := _nearest(wrong, keys.get(section, ()))) is not None:
        return section, found
    return next(((other, wrong) for other, known in keys.items() if wrong in known), None)


def _nearest(wrong: str, known: Collection[str]) -> str | None:
    """One that looks alike, else the only one of which it is a part."""
    plain = wrong.lower().replace("-", "_")
    if close := get_close_matches(plain, known, n=1, cutoff=LIKENESS):
        return close[0]
    around = [name for name in known if plain in name]
    return around[0] if len(around) == 1 else None


def single_underscores(environment: Mapping[str, str], keys: Keys) -> Iterator[tuple[str, str]]:
    """Variables that nobody reads, each with the one that was probably meant and is not set."""
    meant = {f"{PREFIX}{section}_{key}".upper(): variable(section, key) for section in keys for key in keys[section]}
    for name in sorted(environment):
        if (right := meant.get(name.upper())) is not None and right not in environment:
            yield name, right
