"""What every section is made of: strict values, sizes, lists, seconds."""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB)?", re.IGNORECASE)
_UNITS = {"b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def _size(value: object) -> object:
    """Bytes, or a number with B, KiB, MiB or GiB."""
    if not isinstance(value, str):
        return value
    if (match := _SIZE.fullmatch(value.strip())) is None:
        raise ValueError("give bytes, or a whole number with KiB, MiB or GiB, such as 64MiB")
    return int(match[1]) * _UNITS[(match[2] or "B").lower()]


def _list(value: object) -> object:
    """A list, or the JSON of one (environment variables)."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (json.JSONDecodeError, RecursionError):
            raise ValueError('give a list as JSON, such as ["*.dcm"]') from None
    return value


def _include(value: object) -> object:
    """Patterns as `_list` reads them, or the word `dicom`, bare or as JSON."""
    if value != DICOM:
        value = _list(value)
    if value != DICOM and not (isinstance(value, (list, tuple)) and value and all(isinstance(v, str) for v in value)):
        raise ValueError('give at least one name as a list, such as ["*.dcm"], or "dicom"')
    return value


DICOM: Literal["dicom"] = "dicom"  # of intake.include: whatever begins like DICOM
TELLING_SIGNS = "@?#"  # in a URL, what stands beside one of these may be a password or a signature

Size = Annotated[int, BeforeValidator(_size), Field(gt=0)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(_list)]
Include = Annotated[tuple[str, ...] | Literal["dicom"], BeforeValidator(_include)]
YEAR = 31_536_000.0
Seconds = Annotated[float, Field(ge=0, le=YEAR, allow_inf_nan=False)]
Days = Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=YEAR, allow_inf_nan=False)]


class Section(BaseModel):
    """A section of the file; what it does not know it refuses."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("true and false have no meaning here")
        return value
