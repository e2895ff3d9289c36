"""How values are compared in a search, as the collations of the service's database do it.

Case never counts; accents count everywhere but in names; padding at the ends never does. A name matches fuzzily when the words
of the query are the beginnings of as many words of the name, next to each other and in that order: "jo do" finds John^Doe.
"""

import re
import unicodedata
from typing import Final

_PADDING: Final = " \0"
_WORD: Final = re.compile(r"\w+")


def fold(vr: str, text: str) -> str:
    """Equal for two values of this VR exactly where the service takes them for equal."""
    text = text.strip(_PADDING)
    if vr == "PN":
        parts = unicodedata.normalize("NFKD", text)
        text = "".join(part for part in parts if not unicodedata.combining(part))
    return unicodedata.normalize("NFC", text.casefold())


def words(folded: str) -> list[str]:
    """The words of a folded name, whatever separates them."""
    return _WORD.findall(folded)


def begins_words(sought: list[str], folded: str) -> bool:
    """True when neighbouring words of this folded name begin with the sought ones, one each; False when none is sought."""
    held = words(folded)
    return bool(sought) and any(
        all(word.startswith(start) for word, start in zip(held[first:], sought, strict=False))
        for first in range(len(held) - len(sought) + 1)
    )
