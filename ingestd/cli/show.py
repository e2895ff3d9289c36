"""`config show`: the settings in force, as TOML that can be read back, or as JSON."""

from __future__ import annotations

import json as jsonlib

from ingestd.config import Settings


def show(settings: Settings, *, json: bool) -> None:
    """Every key with the value in force. Secrets stand in files and so never here."""
    values = settings.model_dump(mode="json")
    if json:
        print(jsonlib.dumps(values, indent=2))
        return
    sections = []
    for section, keys in values.items():
        described = type(settings).model_fields[section].annotation
        lines = [f"[{section}]"]
        for key, value in keys.items():
            meaning = described.model_fields[key].description if described is not None else None
            shown = f"{key} = {jsonlib.dumps(value)}" if value is not None else f"# {key} is not set"
            lines.append(f"{shown}  # {meaning}" if meaning and value is not None else f"{shown}: {meaning}")
        sections.append("\n".join(lines))
    print("\n\n".join(sections))
