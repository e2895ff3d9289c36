"""What a request is about: a study, a series or an instance, by their UIDs (PS3.18 Table 10.1-1). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """The levels of the Studies service."""

    STUDIES = "studies"
    SERIES = "series"
    INSTANCES = "instances"

    @property
    def one(self) -> str:
        """The word for one of them."""
        return {Level.STUDIES: "study", Level.SERIES: "series", Level.INSTANCES: "instance"}[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """UIDs from the study down. Each must be one by core's `is_uid`; they stand in the path as they are."""

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
