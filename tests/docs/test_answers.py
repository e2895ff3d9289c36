"""docs/answers.md is what the core decides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ingestd.core.answers.proof import Proof

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "answers.md"


def test_the_committed_page_equals_what_the_core_decides() -> None:
    """I2: mend it with `PYTHONPATH=tests python tests/docs/answers.py > docs/answers.md`."""
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    generated = subprocess.run(
        [sys.executable, HERE / "answers.py"], capture_output=True, text=True, check=True, env=environment
    )
    assert DOCUMENT.read_text(encoding="utf-8") == generated.stdout


def test_every_proof_has_its_row() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for proof in Proof:
        assert text.count(f"| `{proof.value}` |") == 1
