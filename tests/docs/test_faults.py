"""docs/faults.md names a test for each fault, and the test is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "faults.md"
ROW = re.compile(r"^\| F(\d+) \| [^|]+ \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)


def test_the_committed_page_equals_the_table_and_the_tests() -> None:
    """Mend it with `python tests/docs/faults.py > docs/faults.md`."""
    generated = subprocess.run([sys.executable, HERE / "faults.py"], capture_output=True, text=True, check=True)
    assert DOCUMENT.read_text(encoding="utf-8") == generated.stdout


def test_every_fault_has_its_row_and_the_tests_that_it_names_cite_it() -> None:
    rows = ROW.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert [int(number) for number, _ in rows] == list(range(1, 97))
    for number, tests in rows:
        for file, name in re.findall(r"`([\w/.]+)::(\w+)`", tests):
            source = (HERE.parent / file).read_text(encoding="utf-8")
            _, found, body = source.partition(f"def {name}(")
            docstring = body.partition('"""')[2].partition('"""')[0]
            assert found
            ranges = re.findall(r"F(\d+) to F(\d+)", docstring)
            in_range = any(int(first) <= int(number) <= int(last) for first, last in ranges)
            assert in_range or re.search(rf"\bF{number}\b", docstring), f"{file}::{name} does not cite F{number}"


def test_what_no_test_cites_is_said_to_be_open() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    open_rows = [f"F{number}" for number, tests in ROW.findall(text) if tests == "open"]
    assert text.splitlines()[-1] == (f"Open: {', '.join(open_rows)}." if open_rows else "None is open.")
