"""docs/answers.md is what the core decides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ingestd.core.answers.answer import Answer
from ingestd.core.answers.failure_reasons import MEANINGS, FailureClass, classify
from ingestd.core.answers.fault import hold_for
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


def test_every_status_that_is_judged_for_itself_has_its_row() -> None:
    """I3: and every FailureReason that has a meaning of its own beyond a verdict."""
    text = DOCUMENT.read_text(encoding="utf-8")
    judged = [status for status in range(300, 600) if hold_for(Answer(status=status)) is not None]
    assert judged
    for status in judged:
        assert f"{301 if status < 400 else status}: " in text
    for code in MEANINGS:
        if classify(code) is not FailureClass.REJECTED:
            assert f"FailureReason {code} " in text


def test_every_proof_has_its_row() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for proof in Proof:
        assert text.count(f"| `{proof.value}` |") == 1
