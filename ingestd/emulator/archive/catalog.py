"""The tables that a search reads: one row for each study, series and instance held.

The row of a study or a series has its searchable attributes in columns, folded (comparison.py), and beside them, as they are to be
shown, in `shown`: a JSON object of tag and text. As in the service the latest instance wins, though not by an absent or empty
value; of several values the first counts, and a date that is none counts as absent; taking an instance away changes nothing but
counts, until the last one takes its series and its study with it. Keys grow and never come again: the newest has the largest.

One more instance costs two rows looked up and changed and one inserted, however many there are.
"""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ingestd.emulator.dicom.attributes import PATIENT_ID, SEARCHABLE, Level, Searchable
from ingestd.emulator.dicom.comparison import fold
from ingestd.emulator.dicom.metadata import Json
from ingestd.emulator.dicom.uids import Uids
from ingestd.emulator.dicom.value_rules import is_date

Shown = dict[str, str]  # text by tag


def _kept(level: Level) -> tuple[Searchable, ...]:
    return tuple(one for one in SEARCHABLE if one.level is level and one.vr != "UI" and one.column)


KEPT: Final = {level: _kept(level) for level in (Level.STUDY, Level.SERIES)}
"""The attributes in the columns of a row; its UIDs are columns of their own."""


def _columns(level: Level) -> str:
    return "".join(f"{attribute.column} TEXT, " for attribute in KEPT[level])


def _indexes(level: Level) -> str:
    table = f"catalog_{level.value}"
    return "\n".join(
        f"CREATE INDEX IF NOT EXISTS {table}_{one.column} ON {table} ({one.column});" for one in KEPT[level]
    )


SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS catalog_study (
    key INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL, partition TEXT NOT NULL,
    {_columns(Level.STUDY)} shown TEXT NOT NULL, instances INTEGER NOT NULL, UNIQUE (uid, partition)
);
{_indexes(Level.STUDY)}
CREATE TABLE IF NOT EXISTS catalog_series (
    key INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL, study_key INTEGER NOT NULL REFERENCES catalog_study (key),
    {_columns(Level.SERIES)} shown TEXT NOT NULL, instances INTEGER NOT NULL, UNIQUE (uid, study_key)
);
CREATE INDEX IF NOT EXISTS catalog_series_study ON catalog_series (study_key);
{_indexes(Level.SERIES)}
CREATE TABLE IF NOT EXISTS catalog_instance (
    key INTEGER PRIMARY KEY, uid TEXT NOT NULL,
    study_key INTEGER NOT NULL REFERENCES catalog_study (key),
    series_key INTEGER NOT NULL REFERENCES catalog_series (key),
    UNIQUE (uid, study_key, series_key)
);
CREATE INDEX IF NOT EXISTS catalog_instance_study ON catalog_instance (study_key);
CREATE INDEX IF NOT EXISTS catalog_instance_series ON catalog_instance (study_key, series_key);
"""
"""To be executed at opening; changes nothing that is there. catalog_instance.key is instance.id."""

_IN_STEP: Final = """
SELECT NOT EXISTS (SELECT 1 FROM instance WHERE NOT EXISTS (SELECT 1 FROM catalog_instance WHERE key = instance.id))
   AND NOT EXISTS (SELECT 1 FROM catalog_instance WHERE NOT EXISTS (SELECT 1 FROM instance WHERE id = catalog_instance.key))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Statements:
    find: str
    insert: str
    describe: str
    count: str
    drop: str


def _assignments(level: Level) -> str:
    return ", ".join(f"{attribute.column} = ?" for attribute in KEPT[level])


_SQL: Final = {
    Level.STUDY: _Statements(
        find="SELECT key, shown FROM catalog_study WHERE uid = ? AND partition = ?",
        insert="INSERT INTO catalog_study (uid, partition, shown, instances) VALUES (?, ?, ?, 0)",
        describe=f"UPDATE catalog_study SET {_assignments(Level.STUDY)}, shown = ? WHERE key = ?",  # noqa: S608 - names of columns, from the table
        count="UPDATE catalog_study SET instances = instances + ? WHERE key = ?",
        drop="DELETE FROM catalog_study WHERE key = ? AND instances = 0",
    ),
    Level.SERIES: _Statements(
        find="SELECT key, shown FROM catalog_series WHERE uid = ? AND study_key = ?",
        insert="INSERT INTO catalog_series (uid, study_key, shown, instances) VALUES (?, ?, ?, 0)",
        describe=f"UPDATE catalog_series SET {_assignments(Level.SERIES)}, shown = ? WHERE key = ?",  # noqa: S608 - names of columns, from the table
        count="UPDATE catalog_series SET instances = instances + ? WHERE key = ?",
        drop="DELETE FROM catalog_series WHERE key = ? AND instances = 0",
    ),
}


def add(connection: sqlite3.Connection, *, instance_id: int, uids: Uids, metadata: str) -> None:
    """Enters an instance, in the caller's transaction. `metadata` is its DICOM JSON Model. Raises sqlite3.Error."""
    model: Json = json.loads(metadata)
    study = _enter(connection, Level.STUDY, uids.study, uids.partition, model)
    series = _enter(connection, Level.SERIES, uids.series, study, model)
    connection.execute(
        "INSERT INTO catalog_instance VALUES (?, ?, ?, ?)", (instance_id, uids.sop_instance, study, series)
    )


def remove(connection: sqlite3.Connection, *, instance_id: int, uids: Uids) -> None:
    """Takes out the instance that was entered so, in the caller's transaction. Raises sqlite3.Error."""
    where = (instance_id, uids.sop_instance)
    row = connection.execute(
        "SELECT series_key, study_key FROM catalog_instance WHERE key = ? AND uid = ?", where
    ).fetchone()
    if row is None:
        return
    connection.execute("DELETE FROM catalog_instance WHERE key = ?", (instance_id,))
    for level, key in zip((Level.SERIES, Level.STUDY), row, strict=True):
        connection.execute(_SQL[level].count, (-1, key))
        connection.execute(_SQL[level].drop, (key,))


def rebuild(connection: sqlite3.Connection) -> None:
    """Makes the catalog anew, in the caller's transaction, unless it has just what is held. Raises sqlite3.Error."""
    if connection.execute(_IN_STEP).fetchone()[0]:
        return
    connection.execute("DELETE FROM catalog_instance")
    connection.execute("DELETE FROM catalog_series")
    connection.execute("DELETE FROM catalog_study")
    rows = connection.execute(
        "SELECT id, partition, study, series, sop, json FROM instance JOIN metadata ON instance_id = id ORDER BY id"
    )
    for instance_id, partition, study, series, sop, metadata in rows:
        uids = Uids(study=study, series=series, sop_instance=sop, partition=partition)
        add(connection, instance_id=instance_id, uids=uids, metadata=metadata)


def _enter(connection: sqlite3.Connection, level: Level, uid: str, above: str | int, model: Json) -> int:
    """Counts one more instance in the row of this UID, and has it say what the instance says; the row's key."""
    sql = _SQL[level]
    told = {one.tag: text for one in KEPT[level] if (text := _first_value(model, one))}
    row = connection.execute(sql.find, (uid, above)).fetchone()
    if row is None:
        # The service keeps an empty PatientID where the first instance has none.
        shown = {PATIENT_ID: ""} if level is Level.STUDY else {}
        key = connection.execute(sql.insert, (uid, above, json.dumps(shown))).lastrowid
    else:
        key, shown = row[0], json.loads(row[1])
    if not told.items() <= shown.items():
        shown |= told
        connection.execute(sql.describe, (*_columns_of(level, shown), json.dumps(shown, separators=(",", ":")), key))
    connection.execute(sql.count, (1, key))
    return int(key or 0)


def _columns_of(level: Level, shown: Shown) -> Iterator[str | None]:
    for attribute in KEPT[level]:
        yield fold(attribute.vr, shown[attribute.tag]) if attribute.tag in shown else None


def _first_value(model: Json, attribute: Searchable) -> str:
    """The attribute's first value in this data set as text; "" where it has none, or where a date is none."""
    value = next(iter(model.get(attribute.tag, {}).get("Value", ())), None)
    if isinstance(value, dict):
        groups = (value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic"))
        value = "=".join(groups).rstrip("=")
    text = "" if value is None else str(value).strip(" \0")
    return text if attribute.vr != "DA" or is_date(text) else ""
