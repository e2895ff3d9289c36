"""What is asked of a service before something is sent to it, and what does not count as an answer (I2, F80, F81)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from fakes.bodies_fake import FakeBodies
from fakes.hostile_server import Peer, answer, hostile
from fakes.values import identifiers

from ingestd.core.answers.answer import Listed
from ingestd.dicomweb.origin.client import OriginServer
from ingestd.ops.clock import SystemClock
from ingestd.part10.digests import Arrival

STUDY, SERIES = "1.2.3", "1.2.3.4"
UNKNOWN = Listed(answered=False)
JSON = "application/dicom+json"
Answers = Callable[[str], bytes]


def study(uid: str = STUDY) -> dict[str, object]:
    return {"0020000D": {"vr": "UI", "Value": [uid]}}


def one(uid: str) -> dict[str, object]:
    return {"00080018": {"vr": "UI", "Value": [uid]}}


def says(*objects: object, status: int = 200) -> bytes:
    return answer(status, json.dumps(list(objects)).encode(), content_type=JSON)


@contextmanager
def asking(answers: Answers, *, connect_timeout: float = 2.0) -> Iterator[OriginServer]:
    def script(peer: Peer) -> None:
        while True:
            peer.send(answers(peer.request().line.split(" ")[1]))

    with hostile(script) as server:
        origin = OriginServer(
            url=server.url,
            bodies=FakeBodies(),
            arrival=Arrival,
            clock=SystemClock(),
            connect_timeout=connect_timeout,
            response_timeout=30.0,
        )
        try:
            yield origin
        finally:
            origin.close()


def listed(*, studies: bytes, pages: list[bytes] | None = None) -> Listed:
    left = list(pages or [])
    with asking(lambda target: studies if "/series/" not in target else left.pop(0)) as origin:
        return origin.listed(STUDY, [SERIES])


@pytest.mark.parametrize("nothing", [says(), answer(204)])
def test_a_study_of_which_a_search_shows_nothing_is_absent(nothing: bytes) -> None:
    """F81: what is named afterwards was new."""
    assert listed(studies=nothing) == Listed(answered=True, absent=True)


@pytest.mark.parametrize(
    "junk",
    [
        *(answer(status) for status in (302, 400, 401, 403, 404, 405, 406, 500, 501, 503)),
        answer(200, b"<html>", content_type="text/html"),
        answer(200, b"[", content_type=JSON),
        answer(200, b'[{"x": NaN}]', content_type=JSON),
        answer(200, b"{}", content_type=JSON),
        says(study("9.9")),
        says({"00080060": {"vr": "CS", "Value": ["CT"]}}),
        says({"0020000D": {"vr": "UI", "Value": [STUDY, "9"]}}),
        says({"0020000D": "1.2.3"}),
    ],
)
def test_an_answer_about_something_else_is_no_answer(junk: bytes) -> None:
    """F80, F84: three values stay three."""
    assert listed(studies=junk) == UNKNOWN


def test_a_series_is_listed_page_by_page_to_its_end() -> None:
    """The last page is empty, or 204 as Azure has it."""
    for end in (says(), answer(204)):
        pages = [says(one("1"), one("2")), says(one("3")), end]
        assert listed(studies=says(study()), pages=pages) == Listed(
            answered=True, series={SERIES: frozenset({"1", "2", "3"})}
        )


def test_a_service_without_paging_has_not_listed_its_series() -> None:
    """I2, F81: it gives the same again, and what it leaves out because that is too much for it would pass for new."""
    page = says(one("1"), one("2"))
    assert listed(studies=says(study()), pages=[page, page]) == Listed(answered=True)


BAD_PAGES = [
    answer(500),
    answer(404),
    says({"00080060": {"vr": "CS"}}),
    says(one("")),
    says(one("2") | study("9.9")),
    says(one("2") | {"0020000E": {"vr": "UI", "Value": ["9.9"]}}),
]


@pytest.mark.parametrize("bad", BAD_PAGES)
def test_a_series_of_which_a_page_is_missing_is_not_known(bad: bytes) -> None:
    """I2, F80: an instance that stands on the missing page, or is passed over for another series', would pass for new."""
    assert listed(studies=says(study()), pages=[says(one("1")), bad]) == Listed(answered=True)


@pytest.mark.slow
def test_a_send_waits_no_longer_than_a_connection_may() -> None:
    """F87: a service that hangs when it is asked holds nothing back."""

    def hangs(target: str) -> bytes:
        time.sleep(3)
        return says()

    began = time.monotonic()
    with asking(hangs, connect_timeout=0.3) as origin:
        assert origin.listed(STUDY, [SERIES]) == UNKNOWN
        assert time.monotonic() - began < 2
        origin.abort()


def test_all_questions_together_have_that_time() -> None:
    def slow(target: str) -> bytes:
        time.sleep(0.2)
        return says(study()) if "/series/" not in target else says(one(target[-3:]))

    began = time.monotonic()
    with asking(slow, connect_timeout=0.7) as origin:
        assert origin.listed(STUDY, [SERIES]) == Listed(answered=True)
        assert time.monotonic() - began < 3
        origin.abort()


@pytest.mark.parametrize(
    ("said", "shows"),
    [
        (says(one("1.1")), True),
        (says(one("1.9"), one("1.1 ")), True),
        (says(one("1.9")), False),
        (says(), False),
        (answer(204), False),
        (answer(404), None),
        (answer(200, b"<html>", content_type="text/html"), None),
    ],
)
def test_whether_a_search_shows_an_instance(said: bytes, shows: bool | None) -> None:
    """A service that knows no such filter gives all of them."""

    with asking(lambda target: said if "/series/" in target else says(study("1.2"))) as origin:
        assert origin.shows(identifiers("1.1")) is shows


@pytest.mark.parametrize(
    ("studies", "shows"), [(says(study("1.2")), True), (says(), False), (answer(403), None), (says(study("9.9")), None)]
)
def test_a_search_is_believed_only_where_the_study_is_shown_too(studies: bytes, shows: bool | None) -> None:
    """I2, F81: where a search for studies never shows any, each file would pass for new."""
    with asking(lambda target: says(one("1.1")) if "/series/" in target else studies) as origin:
        assert origin.shows(identifiers("1.1")) is shows
