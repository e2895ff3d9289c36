"""The layout of done/ (`done.layout`): checked, filled in, and found again in a path."""

from __future__ import annotations

import re
from typing import Final

from ingestd.core.when import utc_day


class Layout:
    """Where files lie below done/: `{path}`, below folders of which the first with `{date}` names the day.

    Raises ValueError where nothing could be filed by the template.
    """

    def __init__(self, template: str) -> None:
        rest = template.replace("{date}", "").replace("{path}", "")
        *folders, last = template.split("/")
        if (
            last != "{path}"
            or {"", ".", ".."} & set(folders)
            or not template.isprintable()
            or "{" in rest
            or "}" in rest
        ):
            raise ValueError("use {date} and {path}, {path} last, such as {date}/{path}")
        self._template = template
        self._days = [(depth, _day_folder(folder)) for depth, folder in enumerate(folders) if "{date}" in folder][:1]

    def place(self, path: str, *, at: float) -> str:
        """Where the file that lay at `path` in the inbox goes, at so many seconds since the epoch. The day is UTC's."""
        return self._template.format(date=utc_day(at), path=path)

    def day_of(self, folder: str) -> str | None:
        """The day of the files in a folder, by its path below done/; None where that tells no day."""
        names = folder.split("/")
        for depth, named in self._days:
            if depth < len(names) and (day := named.fullmatch(names[depth])) is not None:
                return day[1]
        return None


def _day_folder(template: str) -> re.Pattern[str]:
    ahead, _, behind = template.partition("{date}")
    return re.compile(re.escape(ahead) + r"(\d{4}-\d\d-\d\d)" + (".*" if behind else ""))


DAILY: Final = Layout("{date}/{path}")
