"""What an instance is known by, inside one data partition."""

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
