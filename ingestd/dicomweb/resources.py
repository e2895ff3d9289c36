"""What a request is about: a study, a series or an instance, by their UIDs (PS3.18 Table 10.1-1). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

_UID = re.compile(r"(?=\.*[0-9])[0-9.]{1,64}")  # what part10.py takes; PS3.5 9.1 is stricter, services judge that


class Level(Enum):
    """The levels of the Studies service."""

    STUDIES = "studies"
    SERIES = "series"
    INSTANCES = "instances"

    @property
    def one(self) -> str:
        """The word for one of them."""
        return {Level.STUDIES: "study", Level.SERIES: "series", Level.INSTANCES: "instance"}[self]


def is_uid(text: str) -> bool:
    """Digits and dots, one digit at least: nothing in it can climb or end a path."""
    return _UID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """UIDs from the study down. Each must be one by `is_uid`; they stand in the path as they are."""

    study: str
    series: str | None = None
    instance: str | None = None

    @property
    def level(self) -> Level:
        if self.instance is not None:
            return Level.INSTANCES
        return Level.SERIES if self.series is not None else Level.STUDIES

    @property
    def path(self) -> str:
        """Below the base URL, or below the partition."""
        path = f"/studies/{self.study}"
        if self.series is not None:
            path += f"/series/{self.series}"
        return path if self.instance is None else f"{path}/instances/{self.instance}"

    @property
    def uid(self) -> str:
        """Its own UID."""
        return self.instance or self.series or self.study
