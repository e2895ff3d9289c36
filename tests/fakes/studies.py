"""Generated instances: valid CT images of a few kilobytes, each with UIDs of its own."""

from __future__ import annotations

from dataclasses import dataclass

from fakes.house import digest

from ingestd.emulator.samples import ct_instance

ROOT = "1.2.826.0.1.3680043.10.1465"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    name: str
    content: bytes
    ids: tuple[str, str, str]


def made(number: int, *, study: int = 1, size: int = 4096, patient_id: str = "ID1", folder: str = "") -> Made:
    """Instance `number` of study `study`."""
    ids = (f"{ROOT}.{study}", f"{ROOT}.{study}.1", f"{ROOT}.{study}.1.{number}")
    content = ct_instance(
        study_uid=ids[0],
        series_uid=ids[1],
        sop_instance_uid=ids[2],
        size_bytes=size,
        patient_id=patient_id,
        instance_number=number,
    )
    return Made(name=f"{folder}study{study}-{number}.dcm", content=content, ids=ids)


def studies(*, count: int, each: int, size: int = 4096) -> list[Made]:
    """`count` studies of `each` instances."""
    return [made(n, study=s, size=size) for s in range(1, count + 1) for n in range(1, each + 1)]


def data_set(content: bytes) -> str:
    """The digest of what follows the file meta information, whose length its first element tells (PS3.10 7.1)."""
    assert content[128:140] == b"DICM\x02\x00\x00\x00UL\x04\x00"
    return digest(content[144 + int.from_bytes(content[140:144], "little") :])
