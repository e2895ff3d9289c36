"""Search (QIDO-RS, PS3.18 10.6): studies, series and instances by their attributes, newest first, a page at a time.

What is given back comes from where the service takes it: from the rows of the study and the series as long as these have all that
is asked for, else from the metadata of the instance (for a study or a series, of its newest one), joined by the study's or series'
row if something counted is asked for. So where the instances of a study disagree, what is given back can depend on what else is
asked for. It does at Azure.

No text of a request ever becomes SQL: names of tables and columns are those of catalog.py and attributes.py, all else is bound.
"""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, assert_never

from starlette.requests import Request
from starlette.responses import Response

from ingestd.emulator import RefusedError
from ingestd.emulator.archive.archive import Archive
from ingestd.emulator.archive.catalog import KEPT
from ingestd.emulator.dicom.attributes import (
    BY_TAG,
    MODALITIES_IN_STUDY,
    MODALITY,
    SEARCHABLE,
    SERIES_INSTANCE_UID,
    SERIES_RELATED_INSTANCES,
    STUDY_INSTANCE_UID,
    STUDY_RELATED_INSTANCES,
    Level,
)
from ingestd.emulator.dicom.comparison import begins_words, fold, words
from ingestd.emulator.dicom.metadata import Json
from ingestd.emulator.http.endpoints import demand_dicom_json, dicom_json, partition_of, uid_of
from ingestd.emulator.http.query import Begins, Between, Condition, Equals, Query, Resource, parse

_STUDY_COUNTED: Final = frozenset({MODALITIES_IN_STUDY, STUDY_RELATED_INSTANCES})
_SERIES_COUNTED: Final = frozenset({SERIES_RELATED_INSTANCES})
_STUDY_ROW: Final = _STUDY_COUNTED | {STUDY_INSTANCE_UID} | {one.tag for one in KEPT[Level.STUDY]}
_SERIES_ROW: Final = _SERIES_COUNTED | {SERIES_INSTANCE_UID} | {one.tag for one in KEPT[Level.SERIES]}

_UID: Final = {one.level: one.tag for one in SEARCHABLE if one.vr == "UI"}

_SELECT: Final = """
SELECT instance.key, study.key, study.uid, study.shown, study.instances, series.uid, series.shown, series.instances FROM
"""
_FROM: Final = {
    Level.STUDY: """
        catalog_study AS study
        JOIN catalog_instance AS instance ON instance.key = (SELECT MAX(key) FROM catalog_instance WHERE study_key = study.key)
        JOIN catalog_series AS series ON series.key = instance.series_key
    """,
    Level.SERIES: """
        catalog_series AS series JOIN catalog_study AS study ON study.key = series.study_key
        JOIN catalog_instance AS instance ON instance.key = (
            SELECT MAX(key) FROM catalog_instance WHERE study_key = study.key AND series_key = series.key
        )
    """,
    Level.INSTANCE: """
        catalog_instance AS instance JOIN catalog_series AS series ON series.key = instance.series_key
        JOIN catalog_study AS study ON study.key = series.study_key AND study.key = instance.study_key
    """,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hit:
    """One result: its instance, or the newest one of its study or series, and the rows of that one's study and series."""

    instance: int
    study: int
    study_row: Json
    series_row: Json


class Search:
    """GET on the six paths; path parameters are `study`, `series` and `partition`, where the path has them."""

    def __init__(self, archive: Archive, *, version_1: bool) -> None:
        self._archive = archive
        self._version_1 = version_1

    def studies(self, request: Request) -> Response:
        """/studies."""
        return self._answer(request, Level.STUDY)

    def series(self, request: Request) -> Response:
        """/series and /studies/{study}/series."""
        return self._answer(request, Level.SERIES)

    def instances(self, request: Request) -> Response:
        """/instances, /studies/{study}/instances and /studies/{study}/series/{series}/instances."""
        return self._answer(request, Level.INSTANCE)

    def _answer(self, request: Request, level: Level) -> Response:
        if b"<" in request.scope["query_string"] or b"%3c" in request.scope["query_string"].lower():
            raise RefusedError(400, "The query string included invalid characters.")
        demand_dicom_json(request)
        resource = Resource(
            level=level,
            study=uid_of(request, "study"),
            series=uid_of(request, "series"),
            version_1=self._version_1,
        )
        query = parse(request.query_params.multi_items(), resource)
        with self._archive.reading() as connection, connection:
            connection.execute("BEGIN")  # the page and what is said of it as of one moment
            found = list(_found(connection, query, partition_of(request)))
        return dicom_json(json.dumps(found, separators=(",", ":"))) if found else Response(status_code=204)


def _found(connection: sqlite3.Connection, query: Query, partition: str) -> Iterator[Json]:
    needs_metadata = bool(query.tags - _STUDY_ROW - _SERIES_ROW)
    for hit in _hits(connection, query, partition):
        counted = _modalities(connection, hit.study) if MODALITIES_IN_STUDY in query.tags else {}
        study_row = hit.study_row | counted
        if not needs_metadata:
            model = hit.series_row | study_row
        else:
            sql = "SELECT json FROM metadata WHERE instance_id = ?"
            model = json.loads(connection.execute(sql, (hit.instance,)).fetchone()[0])
            if query.level is Level.STUDY and query.tags & _STUDY_COUNTED:
                model |= study_row
            if query.level is Level.SERIES and query.tags & _SERIES_COUNTED:
                model |= hit.series_row
        yield {tag: model[tag] for tag in sorted(query.tags & model.keys())}


def _hits(connection: sqlite3.Connection, query: Query, partition: str) -> Iterator[_Hit]:
    conditions = [_sql(condition) for condition in query.conditions]
    where = " AND ".join(["study.partition = ?", *(text for text, _ in conditions)])
    values = [value for _, bound in conditions for value in bound]
    # With a sign the order isn't taken from an index, which SQLite would prefer to finding the one row by its UID.
    sign = "+" if any(one.attribute.tag == _UID[query.level] for one in query.conditions) else ""
    order = f" ORDER BY {sign}{query.level.value}.key DESC LIMIT ? OFFSET ?"
    connection.create_function("begins_words", 2, _begins_words, deterministic=True)
    rows = connection.execute(
        f"{_SELECT}{_FROM[query.level]} WHERE {where}{order}", (partition, *values, query.limit, query.offset)
    ).fetchall()
    for instance, study, study_uid, study_shown, study_count, series_uid, series_shown, series_count in rows:
        study_row = _elements(json.loads(study_shown) | {STUDY_INSTANCE_UID: study_uid})
        series_row = _elements(json.loads(series_shown) | {SERIES_INSTANCE_UID: series_uid})
        study_row[STUDY_RELATED_INSTANCES] = {"vr": "IS", "Value": [study_count]}
        series_row[SERIES_RELATED_INSTANCES] = {"vr": "IS", "Value": [series_count]}
        yield _Hit(instance=instance, study=study, study_row=study_row, series_row=series_row)


def _sql(condition: Condition) -> tuple[str, tuple[str, ...]]:
    """A term of the WHERE clause and the values bound to it."""
    attribute = condition.attribute
    column = f"{attribute.level.value}.{attribute.column}"
    match condition:
        case Equals(value=value) if attribute.tag == MODALITIES_IN_STUDY:
            return "study.key IN (SELECT study_key FROM catalog_series WHERE modality = ?)", (
                fold(attribute.vr, value),
            )
        case Equals(value=value):
            return f"{column} = ?", (fold(attribute.vr, value),)
        case Between(first=first, last=last):
            return f"{column} BETWEEN ? AND ?", (first, last)
        case Begins(value=value):
            return f"begins_words(?, {column})", (" ".join(words(fold(attribute.vr, value))),)
        case _:
            assert_never(condition)


def _begins_words(sought: str, held: str | None) -> bool:
    return held is not None and begins_words(sought.split(), held)


def _modalities(connection: sqlite3.Connection, study: int) -> Json:
    sql = """
        SELECT shown, MIN(key) FROM catalog_series WHERE study_key = ? AND modality IS NOT NULL GROUP BY modality ORDER BY 2
    """
    held = [json.loads(shown)[MODALITY] for shown, _ in connection.execute(sql, (study,))]
    return {MODALITIES_IN_STUDY: {"vr": "CS", "Value": held}} if held else {}


def _elements(shown: dict[str, str]) -> Json:
    return {tag: _element(BY_TAG[tag].vr, text) for tag, text in shown.items()}


def _element(vr: str, text: str) -> Json:
    if not text:
        return {"vr": vr}
    if vr != "PN":
        return {"vr": vr, "Value": [text]}
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False)
    return {"vr": vr, "Value": [{name: group for name, group in groups if group}]}
