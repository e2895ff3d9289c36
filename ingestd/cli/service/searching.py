"""`search`, `metadata` and `changefeed`: what the service holds, printed as it arrives."""

from __future__ import annotations

from rich.text import Text

from ingestd.cli.options import Exit
from ingestd.cli.service.attributes import first, listed, named
from ingestd.cli.service.screen import Screen
from ingestd.cli.terminal import many, shown
from ingestd.dicomweb.asking.changefeed import changes, latest
from ingestd.dicomweb.asking.resources import Level, Resource
from ingestd.dicomweb.asking.retrieve import metadata
from ingestd.dicomweb.asking.search import Search, search, search_all
from ingestd.dicomweb.payload.json_reader import Object

STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
_UIDS = {Level.STUDIES: (STUDY,), Level.SERIES: (STUDY, SERIES), Level.INSTANCES: (STUDY, SERIES, INSTANCE)}
_LABELS = {STUDY: "study", SERIES: "series", INSTANCE: "instance"}
_IN_CHANGES = {"study": "studyinstanceuid", "series": "seriesinstanceuid", "instance": "sopinstanceuid"}
# Not for people: where it can be fetched, how it is written, that it can be had, the zone of its times.
_QUIET = frozenset({"00081190", "00080005", "00080056", "00080201", *_LABELS})
ELEMENT_WIDTH = 42  # a tag, a VR and most keywords
USUAL_PAGE = 100  # what services give that are not told how many


def run_search(screen: Screen, wanted: Search, *, limit: int | None, offset: int, every: bool) -> Exit:
    """One page, or with `every` all of them."""
    known = _UIDS[wanted.within.level] if wanted.within is not None else ()
    uids = [tag for tag in _UIDS[wanted.level] if tag not in known]

    def each(found: Object) -> None:
        if screen.json:
            screen.emit(found)
            return
        details = ", ".join(f"{name} {value}" for name, value in named(found, but=_QUIET))
        lines = [(Text(_LABELS[tag], style="dim"), first(found, tag)) for tag in uids]
        screen.record([*lines, *([(Text(""), details)] if details else []), (Text(""), "")])

    with screen.session() as session:
        if every:
            count = search_all(session, wanted, each=each, offset=offset)
        else:
            count = search(session, wanted, each=each, limit=limit, offset=offset)
    if not screen.json:
        more = not every and count >= (limit or USUAL_PAGE)
        hint = f": there may be more, --offset {offset + count} goes on and --all gives every one" if more else ""
        screen.text(f"{many(count, wanted.level.one)} found{hint}")
    return Exit.DONE


def run_metadata(screen: Screen, resource: Resource) -> Exit:
    """Every element of every instance, without bulk data."""

    def each(found: Object) -> None:
        if screen.json:
            screen.emit(found)
            return
        screen.text(f"instance {first(found, INSTANCE)}")
        screen.record(
            [(Text(shown(f"{tag:<11} {vr:<2} {name}"), style="dim"), value) for tag, name, vr, value in listed(found)],
            width=ELEMENT_WIDTH,
        )
        screen.text("")

    with screen.session() as session:
        count = metadata(session, resource, each=each)
    if not screen.json:
        screen.text(f"metadata of {many(count, 'instance')}")
    return Exit.DONE


def run_changefeed(
    screen: Screen,
    *,
    newest: bool,
    limit: int | None,
    offset: int,
    start: str | None,
    end: str | None,
) -> Exit:
    """A page of the feed or its newest change; that it came at all says that the service knows us."""

    def each(change: Object) -> None:
        if screen.json:
            screen.emit(change)
            return
        said = {name.lower(): str(value) for name, value in change.items()}
        uids = [(Text(label, style="dim"), said.get(name, "")) for label, name in _IN_CHANGES.items()]
        what = f"{said.get('action')} {said.get('timestamp')}, now {said.get('state')}"
        screen.record([(Text(shown(said.get("sequence", ""))), what), *uids, (Text(""), "")])

    with screen.session() as session:
        if newest:
            change = latest(session)
            count = 0 if change is None else 1
            if change is not None:
                each(change)
        else:
            count = changes(session, each=each, limit=limit, offset=offset, start=start, end=end)
    if not screen.json:
        mode = screen.settings.auth.mode
        screen.text(f"authentication works: {session.url} answers with auth.mode = {mode}")
        if not newest or not count:
            screen.text(many(count, "change") if count else "no changes")
    return Exit.DONE
