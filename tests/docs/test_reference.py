"""docs/reference.md is what the tables say, and the tables are all there is."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError

import pytest
from docs.reference import constants, constants_of
from fakes.ops_fakes import silent_log
from prometheus_client.parser import text_string_to_metric_families

from ingestd.cli.options import Exit
from ingestd.config import Folders, Section, Settings
from ingestd.core.answers.outcome import Quarantine
from ingestd.core.answers.reasons import Reason
from ingestd.core.events import Event
from ingestd.core.record import UNSEEN, Verdict
from ingestd.ops.admin import PAGES, AdminServer
from ingestd.ops.clock import SystemClock
from ingestd.ops.logs import LOG_KEYS
from ingestd.ops.metric_table import FOLDERS, METRICS, OTHER
from ingestd.ops.metrics import Metrics
from ingestd.spool.filing.reason_file import KEYS, reason_file

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "reference.md"
NO_TIMES = {"brake.share"}


def text() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


def test_the_committed_page_equals_the_tables() -> None:
    """DESIGN 5: mend it with `python tests/docs/reference.py > docs/reference.md`."""
    generated = subprocess.run([sys.executable, HERE / "reference.py"], capture_output=True, text=True, check=True)
    assert text() == generated.stdout


def test_everything_that_has_a_name_has_its_row() -> None:
    """DESIGN 5: exit codes, reason codes, metrics, events."""
    names = [str(code.value) for code in Exit]
    names += [reason.value for reason in Reason]
    names += [spec.name for spec in METRICS]
    for name in names:
        assert text().count(f"\n| `{name}` | ") == 1
    for event in Event:
        assert text().count(f"\n| `{event.name.lower()}` | {event.level.name.lower()} | ") == 1
    for key in LOG_KEYS:
        assert f"\n| `{key}` | " in text()


def test_every_wait_says_what_it_is() -> None:
    """STYLE 13: a wait without a key has its meaning on its line: `NAME_SECONDS = 5.0  # what waits: why so long`."""
    found = list(constants())
    assert len(found) > 50
    assert [f"{one.module}: {one.name}" for one in found if not one.comment] == []


def test_two_waits_of_one_module_do_not_say_the_same() -> None:
    said = [(one.module, one.comment) for one in constants()]
    assert len(set(said)) == len(said)


def test_a_wait_is_found_in_each_form_that_it_can_have() -> None:
    """Or one would be missing in silence."""
    source = 'A_SECONDS = 1.5  # a file: why\nB_SECONDS: Final = 2\n_C_SECONDS = (\n    3.0  # all\n)\nD_SECONDS = Row("x")\n'
    found = [(one.name, one.seconds, one.comment) for one in constants_of("m.py", source)]
    assert found == [("A_SECONDS", 1.5, "a file: why"), ("B_SECONDS", 2.0, ""), ("_C_SECONDS", 3.0, "all")]


@pytest.mark.parametrize("line", ["A_SECONDS, B_SECONDS = 1.0, 2.0", "A_SECONDS = 60 * 5", "A_SECONDS = B"])
def test_a_wait_that_can_not_be_read_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(constants_of("m.py", line))


def test_every_key_that_is_a_time_has_its_row() -> None:
    """A time is a float, and its name ends in its unit."""
    for section, field in Settings.model_fields.items():
        described = field.annotation
        assert isinstance(described, type)
        assert issubclass(described, Section)
        for key, one in described.model_fields.items():
            name = f"{section}.{key}"
            if one.annotation in (float, float | None) and name not in NO_TIMES:
                assert text().count(f"\n| `{name}` | ") == 1


def test_a_reason_file_has_the_keys_that_are_listed() -> None:
    """DESIGN 5."""
    why = Quarantine(reason=Reason.TRUNCATED, text="", what_to_do="")
    verdict = Verdict(
        path="x.dcm", stamp=UNSEEN, quarantine=why, attempts=0, first_seen=0.0, failed_at=0.0, ids=None, sha256=None
    )
    assert list(json.loads(reason_file(verdict, None))) == list(KEYS)


def test_the_labels_that_are_listed_are_those_that_are_served() -> None:
    """I7: closed sets."""
    served: dict[str, dict[str, set[str]]] = {}
    page = (
        Metrics(log=silent_log(), version="1", free_space=lambda: dict.fromkeys(Folders.model_fields, 1))
        .render()
        .decode()
    )
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label != "le":
                    served.setdefault(sample.name, {}).setdefault(label, set()).add(value)
    assert set(FOLDERS) == set(Folders.model_fields)
    for spec in METRICS:
        assert set(served.get(spec.name, {})) == set(spec.labels)
        for label, values in spec.labels.items():
            if values:
                assert served[spec.name][label] | {OTHER} == {*values, OTHER}


def test_the_paths_that_are_listed_are_those_that_answer() -> None:
    admin = AdminServer("127.0.0.1:0", clock=SystemClock(), live=lambda: None, ready=lambda: None, metrics=bytes)
    admin.start()
    try:
        host, port = admin.address
        for path in PAGES:
            with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5) as answer:
                assert answer.status == HTTPStatus.OK
        with pytest.raises(HTTPError, match="404"):
            urllib.request.urlopen(f"http://{host}:{port}/", timeout=5)
    finally:
        admin.stop()
        admin.join(2)
