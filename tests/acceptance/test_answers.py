"""What a service answers, and what becomes of each file: one table, one row an answer.

The whole daemon (ingestd.app's own composition) runs against a hostile origin server on loopback sockets. While the service behaves
as the row says, every file must become what the row says; then the service heals, and whatever stayed in the inbox goes to done/.
Whatever the answer: the bytes are in exactly one of inbox, done and failed (I1), nothing is in done/ that the service did not name
or give back (I2), every body that arrived whole carries the files' own bytes (F57, I4), and no redirect or proxy was followed
(F53, F59).

What is about the process itself, its signals and its environment, stands in test_process.py.
"""

from __future__ import annotations

import email.utils
import gzip
import json
import os
import re
import sqlite3
import ssl
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes.bodies_fake import data_set
from fakes.hostile_server import HostileServer, hostile
from fakes.house import digest
from fakes.pki import Authority
from fakes.ports import free_port
from fakes.scripted_origin import (
    COMMENT,
    REASONLESS,
    STORED,
    UNNAMED,
    Behaviour,
    Both,
    Nameless,
    ScriptedOrigin,
    Turn,
    Warned,
    after,
    after_all,
    chokes,
    closes,
    good,
    judges,
    larger_than,
    lingers,
    number,
    refuses_early,
    resets,
    response,
    says,
    sends,
    shows,
    sop_instance_uid,
    stops_reading,
    stored,
    stored_xml,
)
from fakes.studies import Made, made

from ingestd.app import Application, application
from ingestd.config import load
from ingestd.daemon.loop import End

pytestmark = pytest.mark.timeout(60)

SMALL, LARGE = 4096, 8 << 20  # LARGE: more than the sockets between two processes swallow unread
PATIENCE = 20.0  # seconds that a row may take to come true
HTML = b"<html><body>Please log in</body></html>"
QUICK = {
    "INGESTD_INTAKE__RESCAN_SECONDS": "0.1",
    "INGESTD_INTAKE__QUIET_SECONDS": "0.1",
    "INGESTD_BATCH__LINGER_SECONDS": "0.1",
    "INGESTD_SERVICE__CONNECT_TIMEOUT_SECONDS": "0.5",
    "INGESTD_SERVICE__RESPONSE_TIMEOUT_SECONDS": "5",
    "INGESTD_RETRY__BASE_SECONDS": "0.02",
    "INGESTD_RETRY__CAP_SECONDS": "0.05",
    "INGESTD_RETRY__PATIENCE_SECONDS": "0.1",
    "INGESTD_SHUTDOWN__DEADLINE_SECONDS": "3",
    "INGESTD_ADMIN__LISTEN": "off",
    "INGESTD_SERVICE__KIND": "azure",
}
GENERIC = {"INGESTD_SERVICE__KIND": "generic"}
IMPATIENT = {"INGESTD_RETRY__INSTANCE_ATTEMPTS": "2"}
HASTY = {"INGESTD_SERVICE__RESPONSE_TIMEOUT_SECONDS": "0.3"}
ONE_BY_ONE = {"INGESTD_BATCH__MAX_INSTANCES": "1", "INGESTD_SERVICE__CONCURRENCY": "1"}
WITH_TOKEN = {"INGESTD_AUTH__MODE": "token-file", "INGESTD_AUTH__TOKEN_FILE": "{token}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the service does while it is bad, and what must come of it.

    `becomes`: for all files, or by number; "inbox", "done", "warned" and "already" (done, with that outcome in the receipt), or
    the reason code of failed/, with the FailureReason behind it where there is one. `held`: the causes that the log gives, in their
    order. `asked`: requests, or probes that reached nobody, before a file counts as one that stays. `waits`: the bounds, in
    seconds, between the first answer and the next request. `most`, `least`: Store transactions until then. `quiet`: nothing was
    retried. `said`: an event that the log must hold by then.
    """

    name: str
    store: tuple[Behaviour, ...]
    becomes: str | Mapping[int, str]
    held: tuple[str, ...] = ()
    control: tuple[Behaviour, ...] = ()
    read: tuple[Behaviour, ...] = ()
    files: int = 2
    sizes: Mapping[int, int] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    asked: int = 7
    waits: tuple[float, float] | None = None
    most: int | None = None
    least: int = 0
    quiet: bool = False
    said: str = ""
    word: bool = False  # nothing can be read here, so what the service says of itself is all there is
    away: str = ""  # how the service can't be reached
    late: bool = False  # what stays is due in minutes: the journal's clock is put forward for it
    restored: bool = False  # the files were tampered with: their bytes are put back before it heals

    def end_of(self, number: int) -> str:
        if isinstance(self.becomes, str):
            return self.becomes
        return self.becomes.get(number, "done")


def stage(turn: Turn) -> Stage:
    """Where the row is played."""
    service = turn.service
    assert isinstance(service, Stage)
    return service


def row(name: str, *store: Behaviour, becomes: str | Mapping[int, str], held: str = "", **more: Any) -> Row:
    for kind in ("control", "read"):
        if kind in more and not isinstance(more[kind], tuple):
            more[kind] = (more[kind],)
    return Row(name=name, store=store, becomes=becomes, held=tuple(held.split()), **more)


def http_date(seconds: float) -> str:
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


def throttles(status: int, retry_after: Callable[[], str]) -> Behaviour:
    """`retry_after` is made when it is sent."""

    def behave(turn: Turn) -> None:
        says(status, retry_after=retry_after())(turn)

    return behave


def redirects(status: int) -> Behaviour:
    return lambda turn: says(status, location=f"{stage(turn).elsewhere.url}/studies")(turn)


def wants_token(token: str, *, renewed: Callable[[Turn], None] = lambda _: None) -> Behaviour:
    def behave(turn: Turn) -> None:
        if turn.headers.get("authorization") == f"Bearer {token}":
            good(turn)
        else:
            renewed(turn)
            says(401, www_authenticate="Bearer")(turn)

    return behave


def rotates(turn: Turn) -> None:
    """Whoever keeps the token file puts the next one into it."""
    write_token(stage(turn).token, "two")


def late_401(turn: Turn) -> None:
    rotates(turn)
    turn.take(100_000)
    refuses_early(401, lingers)(turn)


def slowly(turn: Turn) -> None:
    """Takes longer than the answer may, and never stands still for so long."""
    for _ in range(8):
        turn.take(256 << 10)
        turn.peer.hold(0.2)
    good(turn)


def tampers(act: Callable[[Path], None]) -> Behaviour:
    """While the first file is on its way; then it stores what comes."""

    def behave(turn: Turn) -> None:
        turn.take(100_000)
        act(stage(turn).inbox / made(1).name)
        good(turn)

    return behave


def truncates(path: Path) -> None:
    os.truncate(path, LARGE // 2)


def grows(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"x" * 1000)


def other(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def is_rewritten(path: Path) -> None:
    content = path.read_bytes()
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(other(content)[-1:])


def is_replaced(path: Path) -> None:
    new = path.with_name(".new.part")
    new.write_bytes(other(path.read_bytes()))
    new.rename(path)


def in_company(behave: Behaviour) -> Behaviour:
    """Whenever file 1 comes, somebody drops another one, and that is stored."""

    def behave_on(turn: Turn) -> None:
        if any(number(uid) == 1 for uid in turn.uids()):
            stage(turn).drop(10 + turn.service.count("store"))
        behave(turn)

    return behave_on


def of_nobody(turn: Turn) -> None:
    """200 to every question, in an answer that names no instance."""
    says(200, b'[{"00080060":{"vr":"CS","Value":["CT"]}}]')(turn)


def of_another(turn: Turn) -> None:
    """To every question the truth about some other instance."""
    one = made(1, study=9)
    if re.search(r"/instances/[0-9.]+ ", turn.line):
        turn.answer(200, one.content, content_type="application/dicom")
    else:
        tags = ("0020000D", "0020000E", "00080018")
        elements = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in zip(tags, one.ids, strict=True)}
        turn.answer(200, json.dumps([elements]).encode())


def stale(end: Callable[[Turn], None]) -> Behaviour:
    """A connection lives for two requests; the third dies unanswered, as on one that was closed while it was idle."""
    return lambda turn: end(turn) if turn.nth >= 2 else good(turn)


def refused(name: str, answer: Behaviour) -> tuple[Row, Row]:
    """A refusal of the whole request, by a service that holds nothing: the control says whose fault it is."""
    passes = row(f"{name}, the control passes", answer, becomes="poison", read=shows(404))
    fails = row(f"{name}, the control fails", answer, becomes="inbox", held="control", said="held", control=says(500))
    return passes, replace(fails, read=passes.read)


def unreadable(name: str, answer: Behaviour) -> tuple[Row, Row, Row]:
    """A 2xx that names nobody refuses nobody: what the service holds decides, and only where it does not, the control (F84)."""
    held = row(f"{name}, and it holds them", answer, becomes="done", most=2)
    return (held, *refused(f"{name}, and it holds none", answer))


def reason(code: int, becomes: str, **more: Any) -> Row:
    return row(f"F51 FailureReason {code} alone", judges(code), becomes=becomes, files=1, **{"asked": 4} | more)


def early(status: int, becomes: str, held: str = "") -> tuple[Row, ...]:
    """An answer after the head, to a client that is still sending."""
    ends = {"closes": closes, "lingers": lingers, "resets": resets, "stops reading": stops_reading}
    return tuple(
        row(
            f"F48 an early {status}, then it {word}",
            refuses_early(status, then),
            becomes=becomes,
            held=held,
            files=1,
            sizes={1: LARGE},
            asked=2,
            late=not held and becomes == "inbox",
        )
        for word, then in ends.items()
    )


def wordless(uids: list[str]) -> bytes:
    """C000 for each, and not a word, as dcm4chee answers (arc-light 740 and 3518)."""
    failed = [{"00081155": {"vr": "UI", "Value": [uid]}, "00081197": {"vr": "US", "Value": [0xC000]}} for uid in uids]
    return json.dumps({"00081198": {"vr": "SQ", "Value": failed}}).encode()


def unanswered(kind: str = "azure") -> dict[str, Any]:
    """It was asked, and asked again, and no answer counted: sent once, held never, said."""
    settings = {"INGESTD_RETRY__PATIENCE_SECONDS": "600", "INGESTD_SERVICE__KIND": kind}
    return {"files": 1, "asked": 6, "most": 1, "said": "unanswered", "settings": settings}


BIG_ANSWER = b'{"00081190":{"vr":"UR","Value":["' + b"x" * (17 << 20) + b'"]}}'
TABLE = (
    # --- nobody there (F47) ---
    row("F47 the connection is refused", good, becomes="inbox", held="unreachable", away="refused", asked=3),
    row("F47 the name does not resolve", good, becomes="inbox", held="unreachable", away="name", asked=3),
    row("F47 the certificate has expired", good, becomes="inbox", held="unreachable", away="expired", asked=3),
    row("F47 the certificate is another host's", good, becomes="inbox", held="unreachable", away="host", asked=3),
    row("F47 the certificate is another CA's", good, becomes="inbox", held="unreachable", away="ca", asked=3),
    row("F47 the port speaks no TLS", good, becomes="inbox", held="unreachable", away="plain", asked=3),
    # --- answers to what was not read yet (F48) ---
    *early(401, "inbox"),
    *early(403, "inbox", "role"),
    *early(413, "too_large"),
    *early(503, "inbox", "busy"),
    # --- no answer (F49) ---
    row("F49 reset in mid-body", after(100_000, resets), becomes="inbox", files=1, sizes={1: LARGE}, asked=4),
    row("F49 closed in mid-body", after(100_000, closes), becomes="inbox", files=1, sizes={1: LARGE}, asked=4),
    row("F49 closed after the body", after_all(closes), becomes="inbox"),
    row("F49 reset after the body", after_all(resets), becomes="inbox"),
    row("F49 closed in mid-answer", sends(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), becomes="inbox"),
    row("F49 no HTTP", sends(b"220 mail.example ESMTP\r\n"), becomes="inbox"),
    row("F49 read timeout", after_all(stops_reading), becomes="inbox", settings=HASTY, asked=3),
    row("F49 lost once, then well", after_all(closes), good, becomes="done"),
    row(
        "F57 reset in mid-body once, then the whole body again",
        after(100_000, resets),
        good,
        becomes="done",
        files=1,
        sizes={1: LARGE},
        most=2,
    ),
    # --- a 200 that does not name (F50) ---
    *unreadable("F50 200, empty", says(200)),
    *unreadable("F50 200, HTML", says(200, HTML, content_type="text/html")),
    *unreadable("F50 200, HTML that says it is JSON", says(200, HTML)),
    *unreadable("F50 200, JSON cut short", says(200, lambda uids: stored(uids)[:-9])),
    *unreadable("F50 200, UTF-16 undeclared", says(200, lambda uids: stored(uids).decode().encode("utf-16-le"))),
    *unreadable("F50 200, no such charset", says(200, stored, content_type="application/dicom+json; charset=rot13")),
    *unreadable("F50 200, XML cut short", says(200, lambda u: stored_xml(u)[:-9], content_type="application/dicom+xml")),
    *unreadable("F50 200, an empty object", says(200, b"{}")),
    *unreadable("F50 200, a number", says(200, b"42")),
    *unreadable("F50 200, a study and no instance", says(200, response({}))),
    *unreadable("F50 200, another instance", says(200, stored(["1.2.3"]))),
    *unreadable("F50 200, an instance without UID", says(200, b'{"00081199":{"vr":"SQ","Value":[{}]}}')),
    row(
        "F50 200, Latin-1 as declared",
        says(200, stored, content_type="application/dicom+json; charset=iso-8859-1", names=True),
        becomes="done",
    ),
    row("F50 200, XML that names", says(200, stored_xml, content_type="application/dicom+xml", names=True), becomes="done"),
    row(
        "F50 200, HTML to everything",
        says(200, HTML, content_type="text/html"),
        control=says(200, HTML, content_type="text/html"),
        read=says(200, HTML, content_type="text/html"),
        becomes="inbox",
        held="control",
    ),
    *unreadable("F50 202, empty", says(202)),
    *unreadable("F50 204", says(204)),
    # --- instance by instance (F51) ---
    reason(45070, "already", read=shows(PatientID="ID1"), most=1),
    reason(0x0111, "already", most=1),
    row("F78 45070, another patient's bytes", judges(45070), read=shows(PatientID="X"), becomes="conflict", most=2),
    *(
        row(f"F80 45070, the answer is about {whom}, {kind}", judges(45070), read=tells, becomes="inbox", **unanswered(kind))
        for kind in ("azure", "generic")
        for whom, tells in (("nobody", of_nobody), ("another", of_another))
    ),
    row("F80 stored, the answer is about nobody", good, read=of_nobody, becomes="done", word=True, settings=GENERIC),
    row("F85 stored, and 204 to every question", good, read=says(204), becomes="done", word=True, settings=GENERIC),
    row("F80 stored, the answer is about another", good, read=of_another, becomes="inbox", **unanswered("generic")),
    *(
        row(
            f"F81 it says stored and keeps the old one, {action}",
            good,
            read=shows(PatientID="X"),
            becomes="conflict",
            most=2,
            settings=GENERIC | {"INGESTD_DONE__ACTION": action},
        )
        for action in ("move", "delete")
    ),
    row("F51 45070, it holds none", judges(45070), read=shows(404), becomes="inbox", least=3),
    row("F87 45070, it may not be read yet", judges(45070), read=shows(403), becomes="inbox", **unanswered()),
    row("F51 45070, it lets nothing be read", judges(45070), read=shows(403), becomes="already", most=1, word=True),
    row("F87 45070, reading is throttled", judges(45070), read=shows(503), becomes="inbox", **unanswered()),
    row("F87 45070, reading fails", judges(45070), read=shows(500), becomes="inbox", **unanswered()),
    reason(45071, "inbox", late=True, asked=1),
    reason(272, "inbox"),
    reason(0xA700, "inbox"),
    reason(43264, "rejected 43264"),  # A900H
    reason(43265, "rejected 43265"),  # A901H
    reason(0xC000, "rejected 49152"),
    row(
        "F51 C000 with its words in the Warning header alone, generic",
        says(409, wordless, Warning=f'299 dcm4chee-arc "{COMMENT}"'),
        becomes="rejected 49152",
        files=1,
        settings=GENERIC,
    ),
    reason(0x0122, "rejected 290"),
    reason(65535, "rejected 65535"),
    *(
        row(
            f"F51 {code}, while others are stored",
            in_company(judges({1: code})),
            becomes={1: f"rejected {code}"},
            files=1,
            settings=IMPATIENT,
        )
        for code in (272, 0xA700)
    ),
    row(
        "F51 202, some of each",
        judges({1: STORED, 2: 43264, 3: 272, 4: 45070, 5: 45071, 6: 0xC000, 7: Warned(45063), 8: UNNAMED, 9: 0x0122}),
        read=shows(PatientID="ID1"),
        becomes={2: "rejected 43264", 3: "inbox", 4: "already", 5: "inbox", 6: "rejected 49152", 7: "warned", 8: "done"}
        | {9: "rejected 290"},
        files=9,
        late=True,
    ),
    *(
        row(
            f"F51 {status}, one of each",
            judges({1: 43264}, status=status),
            becomes={1: "rejected 43264"},
            files=3,
        )
        for status in (200, 202, 400, 409, 500, 503)
    ),
    row("F51 409, all failed", judges({1: 43264, 2: 43265}), becomes={1: "rejected 43264", 2: "rejected 43265"}),
    row("F51 stored with a warning", judges(Warned(45063)), becomes="warned"),
    row(
        "F51 failed without a UID, in company",
        judges({1: Nameless(43264)}),
        read=shows(404),
        files=3,
        becomes={1: "rejected 43264"},
    ),
    row("F51 failed without a UID, alone", judges(Nameless(43264)), files=1, becomes="rejected 43264"),
    row("F51 failed without a reason", judges({1: REASONLESS}), read=shows(404), files=3, becomes={1: "poison"}),
    row("F51 unnamed, in company", judges({1: UNNAMED}), read=shows(404), files=3, becomes={1: "poison"}),
    row("F51 the same UID in both sequences", judges({1: Both(45070)}), becomes="done"),
    # --- refusals of the whole request (F51, F61, F62) ---
    *(
        one
        for status in (400, 409, 415)
        for one in refused(f"F62 {status} for the whole request", says(status, b"bad request", content_type="text/plain"))
    ),
    row("F51 409 with plain text, and it holds them", says(409, b"bad", content_type="text/plain"), becomes="already"),
    row("F62 400 to everything", says(400), control=says(400), becomes="inbox", held="control"),
    row("F62 404 to everything", says(404), control=says(404), becomes="inbox", held="route"),
    row("F62 404 to stores alone", says(404), becomes="inbox", held="route", said="set_apart", late=True),
    row("F62 406 to everything", says(406), control=says(406), becomes="inbox", held="route"),
    row("F62 403 to everything", says(403), control=says(403), becomes="inbox", held="role"),
    row("F62 424 to everything", says(424), control=says(424), becomes="inbox", held="dependency"),
    row("F62 500 to everything", says(500), control=says(500), becomes="inbox"),
    row("F62 502 to stores alone", says(502), becomes="inbox"),
    # --- throttling (F52) ---
    *(
        one
        for status in (429, 503)
        for one in (
            row(
                f"F52 {status}, Retry-After in seconds",
                throttles(status, lambda: "1"),
                good,
                becomes="done",
                held="busy",
                files=1,
                waits=(1.0, 4.0),
            ),
            row(
                f"F52 {status}, Retry-After as a date",
                throttles(status, lambda: http_date(2)),
                good,
                becomes="done",
                held="busy",
                files=1,
                waits=(0.9, 4.0),
            ),
            row(
                f"F52 {status}, Retry-After past",
                throttles(status, lambda: http_date(-3600)),
                good,
                becomes="done",
                held="busy",
                files=1,
                waits=(0.0, 0.9),
            ),
            row(
                f"F52 {status}, Retry-After huge",
                throttles(status, lambda: "99999999999"),
                good,
                becomes="done",
                held="busy",
                files=1,
                waits=(0.6, 4.0),
                settings={"INGESTD_RETRY__RETRY_AFTER_CAP_SECONDS": "0.6"},
            ),
            row(
                f"F52 {status}, Retry-After garbage",
                throttles(status, lambda: "soon; maybe"),
                good,
                becomes="done",
                held="busy",
                files=1,
                waits=(0.0, 0.9),
            ),
        )
    ),
    *(
        row(f"F52 {status} to everything", says(status), control=says(status), becomes="inbox", held="busy")
        for status in (408, 429, 503, 504)
    ),
    # --- redirects (F53) ---
    *(
        row(f"F53 {status} to another server", redirects(status), becomes="inbox", held="route", said="set_apart", late=True)
        for status in (301, 302, 303, 307, 308)
    ),
    # --- idle connections (F54) ---
    row("F54 closed while idle", stale(closes), becomes="done", files=4, settings=ONE_BY_ONE, quiet=True),
    row("F54 reset while idle", stale(resets), becomes="done", files=4, settings=ONE_BY_ONE, quiet=True),
    # --- answers that do not end well (F55) ---
    row(
        "F55 a dripping head",
        sends(b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x", pause=0.05, for_ever=True),
        becomes="inbox",
        settings=HASTY,
        asked=3,
    ),
    row(
        "F55 a dripping body",
        sends(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b" ", pause=0.05, for_ever=True),
        becomes="inbox",
        settings=HASTY,
        asked=3,
    ),
    row("F55 endless headers", sends(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000, for_ever=True), becomes="inbox", asked=3),
    *unreadable("F55 an endless body", sends(b"HTTP/1.1 200 OK\r\n\r\n", b" " * (1 << 20), for_ever=True)),
    *unreadable("F55 an answer over the limit", says(200, BIG_ANSWER)),
    row(
        "F84 a gzip answer that names",
        says(200, lambda uids: gzip.compress(stored(uids)), names=True, content_encoding="gzip"),
        becomes="done",
        files=1,
    ),
    row(
        "F84 a deflate answer that names",
        says(200, lambda uids: zlib.compress(stored(uids)), names=True, content_encoding="deflate"),
        becomes="done",
        files=1,
    ),
    *unreadable("F84 in a coding that nobody knows", says(200, stored, content_encoding="x-secret")),
    *unreadable("F55 a gzip bomb", says(200, gzip.compress(b" " * (64 << 20), 1), content_encoding="gzip")),
    # --- uploads that do not get through (F56) ---
    row("F56 zero window", stops_reading, becomes="inbox", files=1, sizes={1: LARGE}, settings=HASTY, asked=2),
    row(
        "F56 a slow reader gets the time that the size is worth",
        slowly,
        becomes="done",
        files=1,
        sizes={1: LARGE},
        settings={"INGESTD_SERVICE__RESPONSE_TIMEOUT_SECONDS": "1"},
        quiet=True,
        most=1,
    ),
    # --- files that change on their way (F58) ---
    row(
        "F58 truncated during the upload",
        tampers(truncates),
        good,
        becomes="inbox",
        files=1,
        sizes={1: LARGE},
        asked=1,
        said="waiting",
        restored=True,
    ),
    row(
        "F58 grown during the upload",
        tampers(grows),
        good,
        becomes="inbox",
        files=1,
        sizes={1: LARGE},
        asked=1,
        said="waiting",
        restored=True,
    ),
    row("F58 rewritten during the upload", tampers(is_rewritten), good, becomes="done", files=1, sizes={1: LARGE}),
    row("F58 replaced during the upload", tampers(is_replaced), good, becomes="done", files=1, sizes={1: LARGE}),
    row(
        "F58 a small one rewritten during the upload, after it was read",
        tampers(is_rewritten),
        judges(45070),
        read=shows(PatientID="ID1"),
        becomes="conflict",
        files=1,
    ),
    # --- too large (F60) ---
    row("F60 413 for more than two", larger_than(5 * SMALL // 2, says(413)), becomes="done", files=8),
    row(
        "F60 413 for one",
        larger_than(5 * SMALL // 2, says(413)),
        becomes={2: "too_large"},
        files=4,
        sizes={2: 4 * SMALL},
    ),
    row(
        "F60 413 in HTML, to what was not read",
        larger_than(5 * SMALL // 2, refuses_early(413, lingers)),
        becomes={2: "too_large"},
        files=4,
        sizes={2: 4 * SMALL},
    ),
    row(
        "F60 larger than max_request_bytes",
        good,
        becomes={2: "too_large"},
        files=4,
        sizes={2: 80_000},
        settings={"INGESTD_SERVICE__MAX_REQUEST_BYTES": "65536"},
    ),
    # --- one poison instance in a batch of sixteen (F61) ---
    *(
        row(f"F61 one of sixteen: {what}", chokes(7, behave), read=shows(404), becomes={7: end}, files=16, most=30)
        for what, behave, end in (
            ("400", says(400), "poison"),
            ("409 with text", says(409, b"bad", content_type="text/plain"), "poison"),
            ("415", says(415), "poison"),
            ("204", says(204), "poison"),
            ("200 and nothing", says(200), "poison"),
        )
    ),
    *(
        row(f"F61 one of sixteen: {what}", chokes(7, behave), becomes={7: "inbox"}, held=held, files=16, asked=16, late=late)
        for what, behave, held, late in (
            ("500", says(500), "", False),
            ("502", says(502), "", False),
            ("closes", closes, "", False),
            ("resets", resets, "", False),
            ("403, from a gateway", says(403), "role", True),
            ("503, from a gateway", says(503), "busy", False),
        )
    ),
    # --- identity (F63) ---
    row(
        "F63 401 for ever",
        wants_token("three"),
        control=wants_token("three"),
        settings=WITH_TOKEN,
        becomes="inbox",
        held="identity",
    ),
    row(
        "F63 401 once, for the control too",
        says(401),
        good,
        control=(says(401), good),
        settings=WITH_TOKEN,
        becomes="done",
        held="identity",
    ),
    row(
        "F86 401 to stores alone",
        says(401),
        settings=WITH_TOKEN,
        becomes="inbox",
        asked=2,
        said="set_apart",
        late=True,
    ),
    row(
        "F86 401 to one large upload",
        larger_than(5 * SMALL // 2, says(401)),
        settings=WITH_TOKEN | ONE_BY_ONE,
        becomes={2: "inbox"},
        files=6,
        sizes={2: 4 * SMALL},
        asked=7,
        said="set_apart",
        late=True,
    ),
    row(
        "F63 F64 401, and the token file has a new one",
        wants_token("two", renewed=rotates),
        control=wants_token("two"),
        settings=WITH_TOKEN,
        becomes="done",
        files=1,
        quiet=True,
        most=2,
    ),
    row(
        "F63 401 in mid-upload, and the token file has a new one",
        late_401,
        wants_token("two"),
        control=wants_token("two"),
        settings=WITH_TOKEN,
        becomes="done",
        files=1,
        sizes={1: LARGE},
        quiet=True,
        most=2,
    ),
)  # fmt: skip


# --- the play ---------------------------------------------------------------------------------------------------------------------


class Stage(ScriptedOrigin):
    """The service of a row, the daemon's folders, and what stands in them."""

    def __init__(self, row: Row, root: Path, elsewhere: HostileServer) -> None:
        super().__init__(store=row.store, control=row.control, read=row.read)
        self.row = row
        self.root = root
        self.elsewhere = elsewhere
        self.inbox, self.done, self.failed = root / "inbox", root / "done", root / "failed"
        self.token = root / "token"
        self.dropped: dict[int, Made] = {}
        self._log = root / "log.jsonl"
        self.inbox.mkdir(parents=True)
        write_token(self.token, "one")
        for n in range(1, row.files + 1):
            self.drop(n)

    def drop(self, n: int) -> None:
        one = made(n, size=self.row.sizes.get(n, SMALL))
        self.dropped[n] = one
        part = self.inbox / ".part"
        part.write_bytes(one.content)
        part.rename(self.inbox / one.name)

    @contextmanager
    def daemon(self, url: str, **settings: str) -> Iterator[Application]:
        """The whole of it, in this process; the block's end is a SIGTERM's."""
        environment = QUICK | {"INGESTD_SERVICE__URL": url, "INGESTD_LOG__LEVEL": "debug"} | settings
        environment |= {key: value.format(token=self.token) for key, value in self.row.settings.items()}
        folders = {name: str(self.root / name) for name in ("inbox", "done", "failed", "state")}
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            found = load(file=None, environment=environment, flags={"folders": folders})
            with application(found, log_descriptor=log) as app:
                app.daemon.start()
                yield app
                app.daemon.stop()
        finally:
            os.close(log)

    def plays(self, app: Application, until: Callable[[], bool]) -> None:
        """Run the loop until it is so; fails with what there is instead."""
        end = app.daemon.run(until=until, timeout=PATIENCE)
        tail = self._log.read_text().splitlines()[-12:]
        assert end is End.DRAINED, "\n".join([f"{self.became()}, asked {len(self.asked)} times", *tail])

    def lines(self, event: str) -> list[dict[str, Any]]:
        return [line for text in self._log.read_text().splitlines() if (line := json.loads(text))["event"] == event]

    def became(self) -> dict[int, str]:
        """What each file is now, in the words of Row.becomes."""
        outcomes = self._outcomes()
        found = {}
        for n, one in self.dropped.items():
            places = [f for f in (self.inbox, self.done, self.failed) for _ in f.rglob(one.name)]
            assert len(places) == 1, f"{one.name} is in {places}"  # I1
            if places == [self.inbox]:
                found[n] = "inbox"
            elif places == [self.done]:
                found[n] = {"stored": "done", "stored_with_warning": "warned", "already_stored": "already"}[
                    outcomes[one.ids[2]]
                ]
            else:
                why = json.loads((self.failed / f"{one.name}.reason.json").read_bytes())
                code = why["failure_reason"]
                found[n] = why["reason"] if code is None else f"{why['reason']} {code}"
        return found

    def _outcomes(self) -> dict[str, str]:
        with closing(sqlite3.connect(self.root / "state" / "journal.sqlite")) as journal:
            return dict(journal.execute("SELECT sop_instance_uid, outcome FROM receipts"))

    def proofs(self) -> dict[str, str]:
        """What the receipts say by instance."""
        with closing(sqlite3.connect(self.root / "state" / "journal.sqlite")) as journal:
            return dict(journal.execute("SELECT sop_instance_uid, proof FROM receipts"))

    def put_the_clock_forward(self) -> None:
        """What waits is due."""
        with closing(sqlite3.connect(self.root / "state" / "journal.sqlite")) as journal, journal:
            journal.execute("UPDATE deferrals SET due_at = 0")

    def ended(self, *, healed: bool) -> Callable[[], bool]:
        row = self.row

        def so() -> bool:
            wanted = {n: row.end_of(n) for n in self.dropped}
            stays = 0 if healed else sum(end == "inbox" for end in wanted.values())
            if sum(1 for _ in self.inbox.glob("*.dcm")) != stays:
                return False
            if stays and len(self.asked) < row.asked and (not row.away or len(self.lines("probed")) < row.asked):
                return False
            if row.said and not self.lines(row.said):
                return False
            if not healed and self.count("store") < row.least:
                return False
            became = self.became()
            if healed:
                wanted = {n: became[n] if end == "inbox" else end for n, end in wanted.items()}
                return "inbox" not in became.values() and became == wanted
            return became == wanted

        return so


def write_token(path: Path, token: str) -> None:
    new = path.with_name(".token.new")
    new.write_text(token)
    new.chmod(0o600)
    new.rename(path)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def elsewhere() -> Iterator[HostileServer]:
    """A server that nobody may ask."""
    with hostile(lambda peer: peer.hold() and None) as trap:
        yield trap
        assert trap.connections == 0


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_what_becomes_of_each_file(
    row: Row, tmp_path: Path, authority: Authority, elsewhere: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1 to I4, F47 to F63, F78, F80, F81, F84, F86 and F87, as the row says."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, elsewhere.url)  # F59
    stage = Stage(row, tmp_path / "house", elsewhere)
    port = free_port()
    encrypted = row.away in ("expired", "host", "ca", "plain")
    trust = {"INGESTD_SERVICE__CA_BUNDLE": str(authority.ca)} if encrypted else {}
    url = f"http{'s' if encrypted else ''}://127.0.0.1:{port}/v2"
    wrong = url.replace("127.0.0.1", "nobody.invalid") if row.away == "name" else url
    with ExitStack() as stack:
        if row.away != "refused":
            server = stack.enter_context(hostile(stage, tls=bad_tls(row.away, authority, tmp_path), port=port))
        with stage.daemon(wrong, **trust, INGESTD_SERVICE__ALLOW_HTTP="true") as app:
            stage.plays(app, stage.ended(healed=False))
            judge(stage)
            if row.restored:
                one = stage.dropped[1]
                (stage.inbox / one.name).write_bytes(one.content)
            if row.away == "refused":
                server = stack.enter_context(hostile(stage, port=port))
            stage.heal()
            server.tls = authority.server() if encrypted else None
            if not row.late and row.away != "name":
                stage.plays(app, stage.ended(healed=True))
        if row.late or row.away == "name":
            stage.put_the_clock_forward()
            with stage.daemon(url, **trust) as app:
                stage.plays(app, stage.ended(healed=True))
    hold_the_promises(stage)


def bad_tls(away: str, authority: Authority, folder: Path) -> ssl.SSLContext | None:
    match away:
        case "expired":
            return authority.server(authority.issue(lives=-timedelta(days=1)))
        case "host":
            return authority.server(authority.issue("archive.example"))
        case "ca":
            return Authority(folder / "another").server()
        case _:
            return None


def judge(stage: Stage) -> None:
    """What the row says beyond the files' ends, while the service is bad."""
    row = stage.row
    assert tuple(dict.fromkeys(line["cause"] for line in stage.lines("held"))) == row.held
    if row.waits is not None:
        low, high = row.waits
        assert low <= stage.asked[1].at - stage.asked[0].at <= high
    if row.most is not None:
        assert stage.count("store") <= row.most
    if row.quiet:
        assert [line for line in stage.lines("batch") if "retried" in line or "held" in line] == []


def hold_the_promises(stage: Stage) -> None:
    contents = [one.content for one in stage.dropped.values()]
    known = {digest(content) for one in contents for content in (one, other(one))}
    arrived = {digest(content) for content in stage.arrived}
    assert arrived <= known  # F57, I4
    for folder in (stage.inbox, stage.done, stage.failed):
        assert {digest(path.read_bytes()) for path in folder.rglob("*.dcm")} <= known  # I1
    for path in stage.done.rglob("*.dcm"):
        content = path.read_bytes()
        assert digest(content) in arrived  # I4: what was filed is what was sent
        match stage.proofs()[sop_instance_uid(content)]:  # I2
            case "new":
                assert sop_instance_uid(content) in stage.named
            case "fetched":
                assert data_set(content) in map(data_set, stage.given)
            case proof:
                assert (proof, stage.row.word) == ("word", True)
    for file in stage.failed.rglob("*.reason.json"):
        why = json.loads(file.read_bytes())
        assert why["text"]
        assert why["what_to_do"]  # I3
        if why["failure_reason"] is not None:
            assert why["comment"] == COMMENT
        if "refused" in why["text"]:
            assert why["http_status"] >= 400  # F84: a 2xx refuses nothing
