"""A Store transaction after its parts were received (PS3.18 10.5): judge each in turn, store, answer as Azure does.

stored  failed  warned      version 2   version 1
none    none    -           204         204
some    none    none        200         200
some    none    some        202         200
some    some    -           202         202
none    some    -           409         409, whatever the reasons
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pydicom.dataset import FileDataset
from pydicom.tag import BaseTag

from ingestd.emulator.archive.archive import Archive, NewInstance
from ingestd.emulator.dicom.metadata import Json, to_json
from ingestd.emulator.dicom.part10 import PREAMBLE_BYTES, UnreadableError, read_instance
from ingestd.emulator.dicom.uids import Uids
from ingestd.emulator.dicom.validation import (
    NEVER_DROPPED,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Findings,
    validate,
    values,
)
from ingestd.emulator.dicom.value_rules import is_uid

PROCESSING_FAILURE: Final = 272
VALIDATION_FAILURE: Final = 43264
ALREADY_EXISTS: Final = 45070
HAS_VALIDATION_WARNINGS: Final = 1
DOES_NOT_MATCH_SOP_CLASS: Final = 45063

_AT_ONCE: Final = 100
"""Instances a database transaction; bounds the metadata held in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What became of one part; `failure_reason` None means stored or to be stored, `comments` None means no such sequence."""

    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None
    failure_reason: int | None
    warning_reason: int | None = None
    comments: tuple[str, ...] | None = None
    several_values: bool = False
    instance: NewInstance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was asked for: URLs in the answer begin with `base_url`; every instance must be of `path_study`, if there is one.

    With `replace_held` an instance takes the place of the one with its UIDs, where there is one, instead of failing.
    """

    base_url: str
    path_study: str | None
    partition: str
    replace_held: bool
    version_1: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Status and body; `several_values` asks for the Warning header of the service."""

    status: int
    body: Json | None
    several_values: bool


def judge_and_store(archive: Archive, keys: Sequence[str], terms: Terms) -> Answer:
    """Judges and stores the received parts in their order."""
    judged: list[Judged] = []
    for start in range(0, len(keys), _AT_ONCE):
        batch = [_judge(archive, key, terms) for key in keys[start : start + _AT_ONCE]]
        judged += _add(archive, batch, replace_held=terms.replace_held)
    return _answer(judged, terms)


def _judge(archive: Archive, key: str, terms: Terms) -> Judged:
    path = archive.incoming_path(key)
    try:
        dataset = read_instance(path)
    except UnreadableError:
        return Judged(failure_reason=VALIDATION_FAILURE)
    model = to_json(dataset)
    findings = validate(dataset, required_study=terms.path_study, version_1=terms.version_1)

    def first(tag: BaseTag) -> str | None:
        return next(iter(values(dataset, tag)), None)

    instance = None
    if not findings.failed:
        _zero_preamble(path)
        for tag in set(findings.complaints) - NEVER_DROPPED:
            model.pop(f"{tag:08X}", None)
        instance = NewInstance(
            key=key,
            uids=Uids(
                study=first(STUDY_INSTANCE_UID) or "",
                series=first(SERIES_INSTANCE_UID) or "",
                sop_instance=first(SOP_INSTANCE_UID) or "",
                partition=terms.partition,
            ),
            transfer_syntax=_transfer_syntax(dataset),
            metadata=json.dumps(model, separators=(",", ":")),
        )
    return Judged(
        sop_class_uid=first(SOP_CLASS_UID),
        sop_instance_uid=first(SOP_INSTANCE_UID),
        failure_reason=VALIDATION_FAILURE if findings.failed else None,
        warning_reason=_warning(findings),
        comments=findings.comments if findings.failed or not terms.version_1 else None,
        several_values=findings.several_values,
        instance=instance,
    )


def _transfer_syntax(dataset: FileDataset) -> str:
    # It becomes part of a header when the instance is retrieved: what is no UID must not.
    named = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    return named if is_uid(named) else ""


def _warning(findings: Findings) -> int | None:
    if findings.failed:
        return None
    if findings.implicit_vr:
        return DOES_NOT_MATCH_SOP_CLASS
    return HAS_VALIDATION_WARNINGS if findings.complaints else None


def _zero_preamble(path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, bytes(PREAMBLE_BYTES), 0)
    finally:
        os.close(descriptor)


def _add(archive: Archive, batch: Sequence[Judged], *, replace_held: bool) -> list[Judged]:
    new = [judged.instance for judged in batch if judged.instance is not None]
    try:
        added = iter(archive.add(new, replace=replace_held))
    except (OSError, sqlite3.Error):
        # Azure, too, reports trouble of its own stores against the instances, with this code.
        return [judged if judged.instance is None else _failed(judged, PROCESSING_FAILURE) for judged in batch]
    return [judged if judged.instance is None or next(added) else _failed(judged, ALREADY_EXISTS) for judged in batch]


def _failed(judged: Judged, reason: int) -> Judged:
    return replace(judged, failure_reason=reason, warning_reason=None, comments=None, instance=None)


def _answer(judged: Sequence[Judged], terms: Terms) -> Answer:
    stored = [_referenced(one, terms) for one in judged if one.failure_reason is None]
    failed = [_failed_item(one) for one in judged if one.failure_reason is not None]
    body: Json = {}
    if stored and terms.path_study is not None:
        body["00081190"] = {"vr": "UR", "Value": [f"{terms.base_url}/studies/{terms.path_study}"]}
    if failed:
        body["00081198"] = {"vr": "SQ", "Value": failed}
    if stored:
        body["00081199"] = {"vr": "SQ", "Value": stored}
    if not body:
        status = 204
    elif not stored:
        status = 409
    elif failed or (not terms.version_1 and any(one.warning_reason is not None for one in judged)):
        status = 202
    else:
        status = 200
    return Answer(status=status, body=body or None, several_values=any(one.several_values for one in judged))


def _referenced(judged: Judged, terms: Terms) -> Json:
    item = _sop(judged)
    if judged.instance is not None:
        uids = judged.instance.uids
        url = f"{terms.base_url}/studies/{uids.study}/series/{uids.series}/instances/{uids.sop_instance}"
        item["00081190"] = {"vr": "UR", "Value": [url]}
    if judged.warning_reason is not None:
        item["00081196"] = {"vr": "US", "Value": [judged.warning_reason]}
    if not terms.version_1:
        item["00741048"] = _comments(judged.comments or ())
    return item


def _failed_item(judged: Judged) -> Json:
    item = _sop(judged)
    item["00081197"] = {"vr": "US", "Value": [judged.failure_reason]}
    if judged.comments is not None:
        item["00741048"] = _comments(judged.comments)
    return item


def _sop(judged: Judged) -> Json:
    item: Json = {}
    if judged.sop_class_uid is not None:
        item["00081150"] = {"vr": "UI", "Value": [judged.sop_class_uid]}
    if judged.sop_instance_uid is not None:
        item["00081155"] = {"vr": "UI", "Value": [judged.sop_instance_uid]}
    return item


def _comments(texts: Iterable[str]) -> Json:
    items = [{"00000902": {"vr": "LO", "Value": [text]}} for text in texts]
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
