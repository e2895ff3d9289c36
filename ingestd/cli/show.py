"""`config show`: the settings in force, as TOML that can be read back, or as JSON. `config docs`: every key, as Markdown."""

from __future__ import annotations

import json as jsonlib
from typing import Literal, get_args, get_origin

from ingestd.cli.terminal import wrapped
from ingestd.config import Section, Settings

WIDTH = 80


def show(settings: Settings, *, json: bool) -> None:
    """Every key with the value in force, below its meaning. Secrets stand in files and so never here."""
    values = settings.model_dump(mode="json")
    if json:
        print(jsonlib.dumps(values, indent=2))
        return
    sections = []
    for section, keys in values.items():
        described = type(settings).model_fields[section].annotation
        lines = [f"[{section}]"]
        for key, value in keys.items():
            if described is not None:
                field = described.model_fields[key]
                lines.append(_comment(f"{_meaning(field.description)}{_one_of(field.annotation)}"))
            lines.append(f"{key} = {jsonlib.dumps(value)}" if value is not None else f"# {key} is not set")
        sections.append("\n".join(lines))
    print("\n\n".join(sections))


def docs() -> str:
    """docs/configuration.md."""
    out = [_DOCS_HEAD]
    for section, field in Settings.model_fields.items():
        described = field.annotation
        if not (isinstance(described, type) and issubclass(described, Section)):
            continue
        meaning = (described.__doc__ or "").splitlines()[0]
        out.append(f"\n## [{section}]\n\n{meaning}\n\n| key | default | what it does |\n|---|---|---|")
        for key, one in described.model_fields.items():
            default = "required" if one.is_required() else _shown(one.default)
            out.append(f"| `{key}` | {default} | {_meaning(one.description)}{_one_of(one.annotation)} |")
    return "\n".join(out) + "\n"


def _one_of(annotation: object) -> str:
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    return f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""


def _comment(text: str) -> str:
    """Above its key, for a terminal of 80 columns."""
    return "\n".join(wrapped(text, WIDTH, "# ", "# "))


def _meaning(description: str | None) -> str:
    """On one line: a comment and a row of a table end with it."""
    return " ".join((description or "").split())


def _shown(default: object) -> str:
    return "none" if default is None else f"`{jsonlib.dumps(default)}`"


_DOCS_HEAD = """# Configuration

This page is printed by `ingestd config docs`; a test holds it equal to the code.

Flags beat environment variables beat the file: `--config`, else `INGESTD_CONFIG`, else `/etc/ingestd/ingestd.toml` if it is
there. Each key is also `INGESTD_<SECTION>__<KEY>`, lists as JSON. Sizes are bytes or a number with `KiB`, `MiB` or `GiB`;
times are seconds. A key that is not here is refused, and so is a value that can't work: one line, exit code 78, before any
file is touched.
`--root DIR` sets the four folders to `DIR/inbox`, `DIR/done`, `DIR/failed` and `DIR/state`."""
