"""Text that others wrote, made fit for a terminal, numbers in words, and the width of what is printed."""

from __future__ import annotations

import textwrap

from rich.console import Console

PIPED_WIDTH = 200


def shown(text: str) -> str:
    """One line for a terminal: control characters, and bytes that are not UTF-8, as escapes."""
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that os.fsdecode could not decode
        return f"\\x{ord(character) & 0xFF:02x}"
    return character.encode("unicode_escape").decode("ascii")


def many(count: int, one: str) -> str:
    """`1 series`, `2 studies`, `3 instances`."""
    plural = {"study": "studies", "series": "series"}.get(one, f"{one}s")
    return f"{count:,} {one if count == 1 else plural}"


def wrapped(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """Lines of so many columns, the first behind `first` and the others behind `rest`. An option such as `--as-is` stays whole."""
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def console() -> Console:
    """Standard output: as wide as the terminal, or wide enough for a pipe."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PIPED_WIDTH)
