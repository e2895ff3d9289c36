"""Search (PS3.18 10.6): data sets, one at a time.

Paging is by `limit` and `offset` (8.3.4.4), from one page to the next until one is empty, because a service may give fewer than
it was asked for. It is no snapshot: while instances arrive, one can come twice. A service that knows no offset would give its first
page for ever; a page that begins like the one before ends it.

A `^`, which names are full of, is no character of a query (RFC 3986 3.4): strict servers (Tomcat) refuse it, and Orthanc 1.10
finds nothing where it is encoded, because it decodes nothing. So where nothing was found with it encoded, it is sent as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ingestd.core.errors import ServiceError, UnavailableError
from ingestd.dicomweb.asking.resources import Level, Resource
from ingestd.dicomweb.asking.session import Query, Session
from ingestd.dicomweb.origin.failures import Doing
from ingestd.dicomweb.payload.json_reader import Object

PAGE = 200  # the most that Azure gives
Each = Callable[[Object], None]
_CARET = "^"
_INSTANCE = "00080018"


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is searched for. `filters` are pairs of attribute and value, `include` attributes to return."""

    level: Level
    study: str | None = None
    series: str | None = None
    filters: Query = ()
    include: tuple[str, ...] = ()
    fuzzy: bool = False

    @property
    def within(self) -> Resource | None:
        """What the path is below. A UID that has no place in it is matched like any other attribute."""
        if self.study is None or self.level is Level.STUDIES:
            return None
        return Resource(study=self.study, series=self.series if self.level is Level.INSTANCES else None)

    @property
    def path(self) -> str:
        """One of the six of PS3.18 Table 10.6.1-1."""
        return f"{self.within.path if self.within is not None else ''}/{self.level.value}"

    @property
    def query(self) -> Query:
        within = self.within
        uids = {
            "SeriesInstanceUID": self.series if within is None or within.series is None else None,
            "StudyInstanceUID": self.study if within is None else None,
        }
        return (
            *self.filters,
            *((name, uid) for name, uid in uids.items() if uid is not None),
            *(("includefield", name) for name in self.include),
            *((("fuzzymatching", "true"),) if self.fuzzy else ()),
        )


def search(
    session: Session, wanted: Search, *, each: Each, limit: int | None = None, offset: int = 0, what: str | None = None
) -> int:
    """One page, as long as the service makes it where `limit` is None; how many came. `what` it is for, in an error.

    Raises ServiceError.
    """
    paging = (*((("limit", str(limit)),) if limit is not None else ()), *((("offset", str(offset)),) if offset else ()))
    doing = Doing(what=what or f"search {wanted.level.value}", feature="no search of this kind", route=True)
    query = (*wanted.query, *paging)
    count = session.objects(wanted.path, doing, each=each, query=query)
    if count == 0 and any(_CARET in value for _, value in query):
        return _unless_refused(lambda: session.objects(wanted.path, doing, each=each, query=query, bare=_CARET))
    return count


def search_all(session: Session, wanted: Search, *, each: Each, offset: int = 0, what: str | None = None) -> int:
    """Page after page; how many came. Raises ServiceError."""
    total = 0
    before: Object | None = None
    while True:
        page = _Page(each, unlike=before)
        count = search(session, wanted, each=page.take, limit=PAGE, offset=offset + total, what=what)
        if count == 0:
            return total
        if page.repeats:
            raise ServiceError(
                f"search {wanted.level.value}: {session.url} gives the same page again: it has no paging; use --limit alone"
            )
        before = page.first
        total += count


class _Page:
    """Hands on what comes, unless it begins like the page before."""

    def __init__(self, each: Each, *, unlike: Object | None) -> None:
        self._each = each
        self._unlike = unlike
        self.first: Object | None = None
        self.repeats = False

    def take(self, found: Object) -> None:
        if self.first is None:
            self.first = found
            self.repeats = found == self._unlike
        if not self.repeats:
            self._each(found)


def instances(session: Session, resource: Resource, *, what: str) -> frozenset[str] | None:
    """The UIDs of all instances that the service lists in a study or series; None where it lists none or can't be asked.

    Nothing else counts: NumberOfStudyRelatedInstances is at Orthanc whatever a file has of its own. Of an instance it is the one.
    `what` it is for, in an error. Raises UnavailableError.
    """
    if resource.instance is not None:
        return frozenset({resource.instance})
    found: set[str] = set()

    def each(one: Object) -> None:
        found.add(_value(one, _INSTANCE).strip())

    wanted = Search(level=Level.INSTANCES, study=resource.study, series=resource.series)
    if not _unless_refused(lambda: search_all(session, wanted, each=each, what=what)):
        return None
    return frozenset(found - {""}) or None


def describe(session: Session, resource: Resource, *, what: str) -> Object | None:
    """What the service says about a study or series; None where it says nothing. `what` it is for, in an error.

    Raises UnavailableError.
    """
    if resource.level is Level.INSTANCES:
        return None
    wanted = Search(level=resource.level, study=resource.study, series=resource.series)
    found: list[Object] = []
    return found[0] if _unless_refused(lambda: search(session, wanted, each=found.append, what=what)) else None


def _unless_refused(ask: Callable[[], int]) -> int:
    """How many came; 0 where the service takes no such question. Raises UnavailableError."""
    try:
        return ask()
    except UnavailableError:
        raise
    except ServiceError:
        return 0


def _value(found: Object, tag: str) -> str:
    """Its first value, empty where there is none."""
    element = found.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]) if isinstance(values, list) and values else ""
