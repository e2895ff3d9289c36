"""Where files lie in done/, and which day a folder there is of."""

from __future__ import annotations

import pytest

from ingestd.core.layout import DAILY, Layout

AT = 1767323045.0  # 2026-01-02


@pytest.mark.parametrize(
    ("template", "place"),
    [
        ("{date}/{path}", "2026-01-02/study/a.dcm"),
        ("{path}", "study/a.dcm"),
        ("x-{date}-y/{path}", "x-2026-01-02-y/study/a.dcm"),
        ("a/{date}/{date}/{path}", "a/2026-01-02/2026-01-02/study/a.dcm"),
    ],
)
def test_a_layout_places_files(template: str, place: str) -> None:
    """DESIGN 5, done.layout: date = UTC day of filing."""
    assert Layout(template).place("study/a.dcm", at=AT) == place


@pytest.mark.parametrize("template", ["", "{date}", "{path}/x", "/{path}", "../{path}", "a/./{path}", "{path}/{path}/"])
def test_a_template_by_which_nothing_can_be_filed_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="last, such as"):
        Layout(template)


@pytest.mark.parametrize(
    ("template", "folder", "day"),
    [
        ("{date}/{path}", "2026-01-02", "2026-01-02"),
        ("{date}/{path}", "2026-01-02/study/", "2026-01-02"),
        ("{date}/{path}", "2026-01-02~1", None),  # beside a file of that name: it is looked into
        ("{date}/{path}", "study/2026-01-02", None),
        ("{date}/{path}", "", None),
        ("{path}", "2026-01-02", None),
        ("{path}", "{path}2026-01-02", None),
        ("x.{date}-y/{path}", "x.2026-01-02-y", "2026-01-02"),
        ("x.{date}-y/{path}", "xx2026-01-02-y", None),
        ("a/{date}/{date}/{path}", "a", None),
        ("a/{date}/{date}/{path}", "a/2026-01-02/other", "2026-01-02"),
    ],
)
def test_a_folder_tells_its_day(template: str, folder: str, day: str | None) -> None:
    """Retention passes over the folders of days that are too young."""
    assert Layout(template).day_of(folder) == day


def test_the_default_goes_by_day() -> None:
    assert DAILY.day_of(DAILY.place("a.dcm", at=AT)) == "2026-01-02"
