"""The catalog of the embedded service: what a row says, and that neither a search nor one more instance costs more as it fills."""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator

import pytest
from starlette.requests import Request

from ingestd.emulator.archive import catalog
from ingestd.emulator.dicom.attributes import SEARCHABLE, Level
from ingestd.emulator.dicom.uids import Uids
from ingestd.emulator.transactions.search import Search

MODEL = {
    "00080020": {"vr": "DA", "Value": ["20200922"]},
    "00080060": {"vr": "CS", "Value": ["CT"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^John"}]},
    "00100020": {"vr": "LO", "Value": ["ID1"]},
}


class Held:
    """The archive's tables in memory, and nothing else of it."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.executescript(
            "CREATE TABLE metadata (instance_id INTEGER PRIMARY KEY, json TEXT NOT NULL);"
            "CREATE TABLE instance (id INTEGER PRIMARY KEY, partition TEXT, study TEXT, series TEXT, sop TEXT);"
        )
        self.connection.executescript(catalog.SCHEMA)
        self.count = 0

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        yield self.connection

    def add(self, uids: Uids, model: dict) -> int:
        self.count += 1
        row = (self.count, uids.partition, uids.study, uids.series, uids.sop_instance)
        self.connection.execute("INSERT INTO instance VALUES (?, ?, ?, ?, ?)", row)
        self.connection.execute("INSERT INTO metadata VALUES (?, ?)", (self.count, json.dumps(model)))
        catalog.add(self.connection, instance_id=self.count, uids=uids, metadata=json.dumps(model))
        return self.count

    def remove(self, instance_id: int, uids: Uids) -> None:
        self.connection.execute("DELETE FROM instance WHERE id = ?", (instance_id,))
        self.connection.execute("DELETE FROM metadata WHERE instance_id = ?", (instance_id,))
        catalog.remove(self.connection, instance_id=instance_id, uids=uids)

    def search(self, level: Level, query: str = "", **path: str) -> list[dict]:
        request = Request(
            {
                "type": "http",
                "method": "GET",
                "path": f"/v2/{level.value}",
                "root_path": "/v2",
                "query_string": query.encode(),
                "headers": [(b"accept", b"*/*")],
                "server": ("localhost", 80),
                "path_params": path,
            }
        )
        search = Search(self, version_1=False)
        endpoints = {
            Level.STUDY: search.studies,
            Level.SERIES: search.series,
            Level.INSTANCE: search.instances,
        }
        answer = endpoints[level](request)
        return json.loads(bytes(answer.body)) if answer.status_code == 200 else []

    def tables(self) -> list[list[tuple]]:
        names = ("catalog_study", "catalog_series", "catalog_instance")
        return [self.connection.execute(f"SELECT * FROM {name}").fetchall() for name in names]

    def work(self, operation: Callable[[], object]) -> int:
        """What the operation costs, in tens of steps of SQLite's machine: the same on any computer."""
        steps = 0

        def step() -> int:
            nonlocal steps
            steps += 1
            return 0

        self.connection.set_progress_handler(step, 10)
        operation()
        self.connection.set_progress_handler(None, 10)
        return steps


@pytest.fixture
def held() -> Iterator[Held]:
    archive = Held()
    yield archive
    archive.connection.close()


def uids(study: int = 1, series: int = 1, instance: int = 1, *, partition: str = "Microsoft.Default") -> Uids:
    return Uids(
        study=f"1.{study}",
        series=f"1.{study}.{series}",
        sop_instance=f"1.{study}.{series}.{instance}",
        partition=partition,
    )


def count(models: list[dict]) -> int:
    (model,) = models
    return model["00201208"]["Value"][0]


def test_the_same_uids_in_two_partitions_are_two_studies(held):
    first = held.add(uids(), MODEL)
    other = MODEL | {"00100020": {"vr": "LO", "Value": ["ID2"]}}
    held.add(uids(partition="other"), other)
    (study,) = held.search(Level.STUDY, partition="other")
    assert study["00100020"]["Value"] == ["ID2"]
    assert held.search(Level.INSTANCE, "PatientID=ID2") == []
    held.remove(first, uids())
    assert held.search(Level.STUDY) == []
    assert len(held.search(Level.INSTANCE, partition="other")) == 1


def test_the_last_instance_takes_its_series_and_its_study_with_it(held):
    ids = [held.add(one, MODEL) for one in (uids(1, 1, 1), uids(1, 1, 2), uids(1, 2, 1))]
    held.remove(ids[0], uids(1, 1, 1))
    assert count(held.search(Level.STUDY, "includefield=NumberOfStudyRelatedInstances")) == 2
    held.remove(ids[1], uids(1, 1, 2))
    assert len(held.search(Level.SERIES)) == 1
    held.remove(ids[2], uids(1, 2, 1))
    assert held.tables() == [[], [], []]


def test_a_study_without_patient_id_is_given_back_with_an_empty_one(held):
    held.add(uids(), {})
    (study,) = held.search(Level.STUDY)
    assert study == {"00100020": {"vr": "LO"}, "0020000D": {"vr": "UI", "Value": ["1.1"]}}


@pytest.mark.parametrize(
    "element",
    [
        {"vr": "DA"},
        {"vr": "DA", "Value": []},
        {"vr": "DA", "Value": [None]},
        {"vr": "DA", "Value": ["20201"]},
        {"vr": "DA", "Value": ["20200231"]},
        {"vr": "IS", "Value": [5]},
        {"vr": "PN", "Value": [{}]},
    ],
)
def test_a_date_that_is_none_counts_as_absent(held, element):
    held.add(uids(), MODEL)
    held.add(uids(instance=2), {"00080020": element})
    (study,) = held.search(Level.STUDY)
    assert study["00080020"]["Value"] == ["20200922"]


def test_a_catalog_that_fell_behind_is_made_anew(held):
    for number in range(1, 4):
        held.add(uids(number), MODEL)
    before = held.tables()
    catalog.rebuild(held.connection)
    assert held.tables() == before
    for statement in ("DELETE FROM catalog_instance WHERE key = 2", "DELETE FROM instance WHERE id = 3"):
        held.connection.execute(statement)
        catalog.rebuild(held.connection)
        keys = [key for (key,) in held.connection.execute("SELECT id FROM instance ORDER BY id")]
        assert [row[0] for row in held.tables()[2]] == keys
        assert len(held.tables()[0]) == len(keys)


def test_every_searchable_attribute_has_its_column():
    schema = sqlite3.connect(":memory:")
    schema.executescript(catalog.SCHEMA)
    for attribute in SEARCHABLE:
        if attribute.column:
            schema.execute(f"SELECT {attribute.column} FROM catalog_{attribute.level.value}")
    schema.close()


@pytest.mark.parametrize(
    ("study_of", "series_of"),
    [
        (lambda number: number, lambda _: 0),
        (lambda _: 0, lambda _: 0),
        (lambda _: 0, lambda number: number % 500),
    ],
    ids=["many studies", "one large series", "many series"],
)
def test_neither_a_search_by_study_nor_one_more_instance_costs_more_as_it_fills(held, study_of, series_of):
    """Issue: 100,000 instances and less than twice the time at 1,000. Here by count of steps, for a twentieth of that."""
    searches = {
        "study": lambda: held.search(Level.STUDY, "StudyInstanceUID=1.0"),
        "its series": lambda: held.search(Level.SERIES, "limit=1", study="1.0"),
        "its instances": lambda: held.search(Level.INSTANCE, "limit=1", study="1.0"),
        "its series' instances": lambda: held.search(Level.INSTANCE, "limit=1", study="1.0", series="1.0.0"),
        "one series": lambda: held.search(Level.SERIES, "SeriesInstanceUID=1.0.0"),
        "one series of the study": lambda: held.search(Level.SERIES, "SeriesInstanceUID=1.0.0", study="1.0"),
        "one instance": lambda: held.search(Level.INSTANCE, "SOPInstanceUID=1.0.0.0"),
        "one instance of the study": lambda: held.search(Level.INSTANCE, "SOPInstanceUID=1.0.0.0", study="1.0"),
        "one instance of the series": lambda: held.search(
            Level.INSTANCE, "SOPInstanceUID=1.0.0.0", study="1.0", series="1.0.0"
        ),
        "the newest study": lambda: held.search(Level.STUDY, "limit=1&includefield=all"),
        "the newest series": lambda: held.search(Level.SERIES, "limit=1"),
        "the newest instance": lambda: held.search(Level.INSTANCE, "limit=1"),
        "counts": lambda: held.search(Level.STUDY, "StudyInstanceUID=1.0&includefield=NumberOfStudyRelatedInstances"),
    }

    def nth(number: int) -> Uids:
        return uids(study_of(number), series_of(number), number)

    def fill(first: int, last: int) -> None:
        for number in range(first, last):
            held.add(nth(number), MODEL)

    def costs() -> dict[str, int]:
        assert [name for name, search in searches.items() if len(search()) != 1] == []
        costs = {name: held.work(search) for name, search in searches.items()}
        number = held.count  # instance number - 1 has this key
        return costs | {
            "add": held.work(lambda: fill(number, number + 20)),
            "remove": held.work(lambda: held.remove(number, nth(number - 1))),
        }

    fill(0, 100)
    before = costs()
    fill(held.count, 5000)
    after = costs()
    assert {name: (before[name], cost) for name, cost in after.items() if cost > 2 * before[name] + 5} == {}
