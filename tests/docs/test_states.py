"""docs/STATES.md says what core.lifecycle.TABLE does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ingestd.core.lifecycle import TABLE, State, Step

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "STATES.md"


def test_the_committed_document_equals_the_table() -> None:
    """Mend it with `python tests/docs/states.py > docs/STATES.md`."""
    generated = subprocess.run([sys.executable, HERE / "states.py"], capture_output=True, text=True, check=True)
    assert DOCUMENT.read_text(encoding="utf-8") == generated.stdout


def test_it_has_every_state_every_step_and_one_row_for_each_pair() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for (state, step), following in TABLE.items():
        assert text.count(f"| `{state.name}` | `{step.name}` | {step.value} | `{following.name}` |") == 1
        assert text.count(f"    {state.name} --> {following.name}: {step.name}\n") == 1
    for word in (*State, *Step):
        assert word.value in text
