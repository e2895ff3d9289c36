"""The pages that tell how to install it end with a command on the PATH."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "deploy/README.md", "docs/azure-tutorial.md")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_that_calls_the_command_says_how_it_comes_onto_the_path(page: str) -> None:
    """DESIGN 5: `ingestd run`, not a path that each machine has elsewhere."""
    text = (ROOT / page).read_text()
    (link,) = set(re.findall(r"ln -sf \S+/bin/ingestd \S+", text.replace('"', "").replace("`", " ")))
    assert link.rstrip().endswith(" /usr/local/bin/ingestd")
