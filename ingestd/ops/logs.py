"""Log lines: closed events, closed keys, and nothing of a patient in them (I7).

One line is one JSON object (or one line for people): `ts`, `level`, `event`, then keys of LOG_KEYS and no others. What any other
key holds never gets out, so a value can't leak by being passed along. Paths and UIDs are written as salted digests; the same path
has the same digest for as long as the salt lives, so that a file can be followed over days. Text is cut, and whatever could end a
line, move a cursor or turn a reading direction is escaped (F29). structlog does the work with a logger of our own: its global
configuration, which libraries share, stays untouched.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from ingestd.core import scan
from ingestd.core.answers.outcome import HoldCause
from ingestd.core.answers.profiles import ServiceKind
from ingestd.core.answers.reasons import Reason
from ingestd.core.events import Event, Level
from ingestd.core.ports import Clock, LogValue
from ingestd.core.when import rfc3339
from ingestd.ops.sink import Line, Sink

Format = Literal["json", "console"]
LONGEST_TEXT = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKey:
    """What a key of a log line means; `unit` where it has one; `values`: the closed set of them, where there is one."""

    meaning: str
    unit: str = ""
    values: tuple[str, ...] = ()


LOG_KEYS: Mapping[str, LogKey] = {
    "service_kind": LogKey(
        meaning="which store service it is taken for: service.kind, or what the address tells",
        values=tuple(kind.value for kind in ServiceKind),
    ),
    "path": LogKey(meaning="the file: digest of its path in the inbox, or the path itself with log.paths = name"),
    "files": LogKey(meaning="how many files the line is about"),
    "bytes": LogKey(meaning="their size, or what was sent", unit="bytes"),
    "seconds": LogKey(meaning="how long it took", unit="seconds"),
    "held_seconds": LogKey(meaning="for how long it has lasted, such as that nothing goes out", unit="seconds"),
    "wait_seconds": LogKey(meaning="how long until the next attempt or look", unit="seconds"),
    "status": LogKey(meaning="HTTP status code of the answer; connect_error, timeout or lost where there was none"),
    "stored": LogKey(meaning="instances that were named as stored"),
    "stored_with_warning": LogKey(meaning="instances that were stored with a WarningReason"),
    "already_stored": LogKey(meaning="instances that the service was shown to hold"),
    "to_verify": LogKey(meaning="instances about which the service is asked whether it holds them"),
    "retried": LogKey(meaning="instances that come back later"),
    "held": LogKey(meaning="instances that stay in the inbox because the service, the role or the network is at fault"),
    "isolated": LogKey(meaning="instances that are sent again in halves"),
    "again": LogKey(meaning="instances that are sent once more at once"),
    "changed": LogKey(meaning="instances whose file changed while it was sent"),
    "unproven": LogKey(meaning="files of done/ that are kept because no receipt proves them stored"),
    "quarantined": LogKey(meaning="instances or files that went to failed/"),
    "reason": LogKey(
        meaning="why files are in failed/, or not taken", values=(*(reason.value for reason in Reason), *scan.REASONS)
    ),
    "failure_reason": LogKey(meaning="FailureReason (0008,1197), a number"),
    "cause": LogKey(meaning="whose fault a hold is", values=tuple(cause.value for cause in HoldCause)),
    "control": LogKey(meaning="HTTP status code or loss of the control that was sent because of this answer"),
    "passed": LogKey(meaning="whether the control came back as it should"),
    "hint": LogKey(meaning="how to mend it"),
    "problem": LogKey(meaning="what is wrong, in one line without a path or a value out of a file"),
    "attempts": LogKey(meaning="how often it was tried"),
    "in_flight": LogKey(meaning="files being sent"),
    "left": LogKey(meaning="files that stay in the inbox"),
    "drained": LogKey(meaning="whether everything was filed before the end"),
    "thread": LogKey(meaning="name of a thread"),
    "version": LogKey(meaning="version of ingestd"),
    "url_host": LogKey(meaning="host of the service; never the whole URL"),
    "auth_mode": LogKey(meaning="auth.mode"),
    "leases": LogKey(meaning="why leases can't tell here whether somebody still writes a file, and what follows"),
    "listen": LogKey(meaning="where health and metrics are served"),
    "library": LogKey(meaning="logger of a library that complained"),
    "where": LogKey(meaning="module and line, innermost first"),
    "error": LogKey(meaning="type of an exception; its text can hold a path and is never written"),
    "repeated": LogKey(meaning="how often the same was kept back since the line before"),
    "dropped": LogKey(meaning="log lines lost since one last got through"),
}


def digest(salt: bytes, text: str) -> str:
    """16 hex digits that stand for a path or UID: SHA-256 over salt and bytes."""
    return hashlib.sha256(salt + os.fsencode(text)).hexdigest()[:16]


class Log:
    """One log: call it from any thread; it never blocks and never raises.

    `salt` must outlive the process for digests to stay the same. `names` writes paths as they are (log.paths = name). `sink` is the
    Supervised thread that writes; `close` ends it.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        salt: bytes,
        style: Format = "json",
        level: str = "info",
        names: bool = False,
        descriptor: int = 1,
    ) -> None:
        self._clock = clock
        self._salt = salt
        self._names = names
        self.sink = Sink(descriptor=descriptor, render=_renderer(style, colors=_is_terminal(descriptor)))
        self._logger = structlog.wrap_logger(
            _Handover(self.sink),
            processors=[self._readable, self._stamped],
            wrapper_class=structlog.make_filtering_bound_logger(Level[level.upper()]),
            cache_logger_on_first_use=True,
        )

    def log(self, event: Event, /, **fields: LogValue) -> None:
        """One line for a closed event; keys that LOG_KEYS does not hold are left out."""
        self.write(event.name.lower(), event.level, **fields)

    def write(self, event: str, level: Level, /, **fields: LogValue) -> None:
        """As log, for the events of ops itself, which no pipeline step may use. `event` is a literal, never a value."""
        self._logger.log(level, event, **{key: value for key, value in fields.items() if key in LOG_KEYS})

    def close(self, deadline: float) -> None:
        """Write what is waiting, for at most `deadline` seconds."""
        self.sink.close(deadline)

    def _readable(self, _logger: object, _method: str, line: MutableMapping[str, Any]) -> Line:
        """In the order of LOG_KEYS, each value in the form in which it may be read."""
        readable: Line = {"event": line["event"]}
        for key in LOG_KEYS:
            value = line.get(key)
            if value is None:
                continue
            if key == "path" and not self._names:
                readable[key] = digest(self._salt, str(value))
            else:
                readable[key] = _plain(value)
        return readable

    def _stamped(self, _logger: object, method: str, line: MutableMapping[str, Any]) -> Line:
        return {"ts": rfc3339(self._clock.wall()), "level": method, **line}


class _Handover:
    """What structlog calls with a finished line."""

    def __init__(self, sink: Sink) -> None:
        self.debug = self.info = self.warning = self.error = _keywords_to(sink.put)


def _keywords_to(put: Callable[[Line], None]) -> Callable[..., None]:
    return lambda **line: put(line)


def _plain(value: object) -> LogValue:
    """A scalar that every reader takes: text cut, numbers finite; of anything else only its type is named."""
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    text = value if isinstance(value, str) else f"<{type(value).__name__}>"
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."


def _renderer(style: Format, *, colors: bool) -> Callable[[Line], str]:
    if style == "json":
        # ASCII only: a name that is no UTF-8 has surrogates in it, and those can't be encoded otherwise.
        as_json = structlog.processors.JSONRenderer(ensure_ascii=True, separators=(",", ":"))
        return lambda line: str(as_json(None, "", line))
    for_people = structlog.dev.ConsoleRenderer(
        colors=colors,
        sort_keys=False,
        timestamp_key="ts",
        pad_event_to=20,
        exception_formatter=structlog.dev.plain_traceback,
    )
    return lambda line: str(for_people(None, "", {key: _visible(value) for key, value in line.items()}))


def _visible(value: LogValue) -> LogValue:
    """ConsoleRenderer writes text as it is: whatever does not print becomes an escape."""
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
