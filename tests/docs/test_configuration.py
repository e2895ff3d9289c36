"""docs/configuration.md is what the code says."""

from __future__ import annotations

from pathlib import Path

from ingestd.cli.show import docs

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_equals_the_settings() -> None:
    """A key, a default or a meaning that changed: `ingestd config docs > docs/configuration.md`."""
    assert docs() == DOCUMENT.read_text()
