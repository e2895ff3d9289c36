"""What an instance is known by, inside one data partition, and what a path can name."""

from dataclasses import dataclass
from typing import Final

DEFAULT_PARTITION: Final = "Microsoft.Default"
"""Where the routes without /partitions/{name} store, as at Azure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uids:
    """The same SOPInstanceUID in another series is another instance, as at Azure; so are the same UIDs in another partition."""

    study: str
    series: str
    sop_instance: str
    partition: str = DEFAULT_PARTITION


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A study, one of its series, or one of that series' instances."""

    study: str
    series: str | None = None
    sop_instance: str | None = None
    partition: str = DEFAULT_PARTITION

    @property
    def level(self) -> str:
        """study, series or instance."""
        if self.series is None:
            return "study"
        return "series" if self.sop_instance is None else "instance"
