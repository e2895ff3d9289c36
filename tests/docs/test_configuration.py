"""docs/configuration.md is what the code says, and the code names no key that is not there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import ingestd
from ingestd.cli.show import docs
from ingestd.config import Section, Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
PACKAGE = Path(ingestd.__file__).parent
FILES = {"brake.json", "journal.sqlite"}  # that read like keys


def test_the_page_equals_the_settings() -> None:
    """A key, a default or a meaning that changed: `ingestd config docs > docs/configuration.md`."""
    assert docs() == DOCUMENT.read_text()


def test_every_key_that_a_text_names_is_there() -> None:
    """I7: a line says how to mend it, so the key that it names is one that can be set."""
    sections = {
        name: field.annotation.model_fields
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
    key = re.compile(rf"(?<![\w./-])({'|'.join(sections)})\.([a-z_]+)(?![\w(])")
    named = {(m[1], m[2]) for text in _texts() for m in key.finditer(text)}
    assert ("service", "ca_bundle") in named
    assert {".".join(found) for found in named if found[1] not in sections[found[0]]} <= FILES


def _texts() -> list[str]:
    """Every string in the code of what runs."""
    trees = (ast.parse(file.read_text()) for file in PACKAGE.rglob("*.py"))
    return [
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
