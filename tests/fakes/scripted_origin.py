"""An origin server on real sockets that behaves well until a test tells it otherwise; for stores, control and reads apart.

    service = ScriptedOrigin(store=[says(204)], control=[says(503)])
    with hostile(service) as server:
        ...
        service.heal()

A *behaviour* gets the Turn of one request whose body is still unread. Those of a kind are used in order, the last again and again;
a kind without any, and all of them after `heal`, is served as a good service does (with Azure's 204 for the control). What arrived
whole is kept, so a test can see which bytes the service took and which instances it named.
"""

from __future__ import annotations

import json
import re
import struct
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from fakes.bodies_fake import parts
from fakes.hostile_server import Peer, answer

DICOM_JSON = "application/dicom+json"
EMPTY_STORE = 100  # bytes: no instance is so small, and the control's one delimiter is smaller
COMMENT = "Tag (0010,0020) does not conform"

Behaviour = Callable[["Turn"], None]


@dataclass(frozen=True, slots=True)
class Warned:
    """Stored, with a WarningReason (0008,1196)."""

    reason: int


@dataclass(frozen=True, slots=True)
class Nameless:
    """In FailedSOPSequence without its UID."""

    reason: int


@dataclass(frozen=True, slots=True)
class Both:
    """In both sequences."""

    reason: int


STORED, UNNAMED, REASONLESS = "stored", "unnamed", "reasonless"
Verdict = str | int | Warned | Nameless | Both
"""An int is a FailureReason (0008,1197)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request whose head arrived: when (monotonic), what for, and its Authorization."""

    at: float
    kind: str  # store, control, read
    line: str
    authorization: str | None


@dataclass(slots=True, kw_only=True)
class Turn:
    """One request. `nth`: requests that came before it on its connection."""

    service: ScriptedOrigin
    peer: Peer
    kind: str
    line: str
    headers: Mapping[str, str]
    nth: int
    _body: bytearray = field(default_factory=bytearray)
    _parts: list[bytes] | None = None

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", "0"))

    def take(self, size: int) -> None:
        """Read so much of the body, or what is left of it."""
        self._body += self.peer.body(min(size, self.length - len(self._body)))

    def parts(self) -> list[bytes]:
        """Read the body to its end; the Part 10 files in it."""
        if self._parts is None:
            self.take(self.length)
            self._parts = list(parts(self.headers["content-type"], bytes(self._body))) if self.kind == "store" else []
            self.service.arrived += self._parts
        return self._parts

    def uids(self) -> list[str]:
        return [sop_instance_uid(part) for part in self.parts()]

    def answer(self, status: int, body: bytes = b"", *, content_type: str = DICOM_JSON, **headers: str) -> None:
        named_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.peer.send(answer(status, body, content_type=content_type, headers=named_headers))

    def give(self, uid: str, elements: Mapping[str, str]) -> None:
        """What it kept under this UID; else the newest part that came whole, as another may have stored it. 404 where none came."""
        came = (p for p in reversed(self.service.arrived) if sop_instance_uid(p) == uid)
        part = self.service.kept.get(uid) or next(came, None)
        if part is None:
            self.answer(404)
            return
        content = of_patient(part, elements["PatientID"]) if "PatientID" in elements else part
        self.service.given.append(content)
        self.answer(200, content, content_type="application/dicom")

    def keep(self, uids: Collection[str]) -> None:
        """These instances of the request are stored."""
        self.service.named.update(uids)
        self.service.kept.update(
            {sop_instance_uid(part): part for part in self.parts() if sop_instance_uid(part) in uids}
        )

    def name(self, verdicts: Mapping[str, Verdict], status: int | None = None) -> None:
        """Keep what is stored, and answer instance by instance."""
        stored = [uid for uid, v in verdicts.items() if v == STORED or isinstance(v, Warned | Both)]
        self.keep(stored)
        if status is None:
            status = 200 if len(stored) == len(verdicts) else 202 if stored else 409
        self.answer(status, response(verdicts))


class ScriptedOrigin:
    """A Script for `hostile`. For the test to read: `asked`, `arrived` (every part that came whole), the instances that it `named`
    as stored, what it `kept` of them, and what it has `given` back."""

    def __init__(
        self,
        *,
        store: Sequence[Behaviour] = (),
        control: Sequence[Behaviour] = (),
        read: Sequence[Behaviour] = (),
    ) -> None:
        self._behaviours = {"store": list(store), "control": list(control), "read": list(read)}
        self._lock = threading.Lock()
        self.asked: list[Asked] = []
        self.arrived: list[bytes] = []
        self.named: set[str] = set()
        self.kept: dict[str, bytes] = {}
        self.given: list[bytes] = []

    def heal(self) -> None:
        """From the next request on it is a good service."""
        with self._lock:
            self._behaviours = {"store": [], "control": [], "read": []}

    def count(self, kind: str) -> int:
        return sum(asked.kind == kind for asked in self.asked)

    def __call__(self, peer: Peer) -> None:
        nth = 0
        while True:
            line, headers = peer.head()
            kind = self._kind(line, headers)
            authorization = headers.get("authorization")
            with self._lock:
                behaviours = self._behaviours[kind]
                behave = behaviours[0] if behaviours else good
                if len(behaviours) > 1:
                    behaviours.pop(0)
                self.asked.append(Asked(at=time.monotonic(), kind=kind, line=line, authorization=authorization))
            behave(Turn(service=self, peer=peer, kind=kind, line=line, headers=headers, nth=nth))
            nth += 1

    def _kind(self, line: str, headers: Mapping[str, str]) -> str:
        if not line.startswith("POST "):
            return "read"
        return "store" if int(headers["content-length"]) > EMPTY_STORE else "control"


# --- behaviours -------------------------------------------------------------------------------------------------------------------


def good(turn: Turn) -> None:
    """Stores all; 204 for the control; the metadata of what it named."""
    if turn.kind == "store":
        turn.name(dict.fromkeys(turn.uids(), STORED))
    elif turn.kind == "control":
        turn.parts()
        turn.answer(204)
    else:
        shows()(turn)


def says(
    status: int,
    body: bytes | Callable[[list[str]], bytes] = b"",
    *,
    content_type: str = DICOM_JSON,
    names: bool = False,
    **headers: str,
) -> Behaviour:
    """Reads all, then says this and nothing else; `body` can be made of the request's UIDs, and then perhaps `names` them."""

    def behave(turn: Turn) -> None:
        uids = turn.uids()
        turn.keep(uids if names else ())
        turn.answer(status, body(uids) if callable(body) else body, content_type=content_type, **headers)

    return behave


def judges(verdicts: Mapping[int, Verdict] | Verdict, *, status: int | None = None) -> Behaviour:
    """The same verdict about an instance in whatever company it comes; by its number, or one for all."""

    def behave(turn: Turn) -> None:
        def verdict(uid: str) -> Verdict:
            return verdicts.get(number(uid), STORED) if isinstance(verdicts, Mapping) else verdicts

        turn.name({uid: verdict(uid) for uid in turn.uids()}, status)

    return behave


def chokes(on: int, behave: Behaviour) -> Behaviour:
    """Behaves so whenever the instance of this number is in the request, and well otherwise."""
    return lambda turn: behave(turn) if on in map(number, turn.uids()) else good(turn)


def larger_than(limit: int, behave: Behaviour) -> Behaviour:
    """Behaves so, before it reads, when the request's body is larger."""
    return lambda turn: behave(turn) if turn.length > limit else good(turn)


def shows(status: int = 200, **elements: str) -> Behaviour:
    """A read: the instance of the path with these values (such as PatientID="ID1"), its bytes or its metadata; or a status alone.

    Another PatientID than the file's is in the bytes as well. A search is not known.
    """

    def behave(turn: Turn) -> None:
        found = _INSTANCE.search(turn.line)
        if status != 200 or found is None:
            turn.answer(status if status != 200 else 404)
            return
        study, series, uid, metadata = found.groups()
        if not metadata:
            turn.give(uid, elements)
            return
        uids = {"0020000D": ("UI", study), "0020000E": ("UI", series), "00080018": ("UI", uid)}
        dataset = uids | {_TAGS[name][0]: (_TAGS[name][1], v) for name, v in elements.items()}
        body = [{tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in dataset.items()}]
        turn.answer(200, json.dumps(body).encode())

    return behave


_INSTANCE = re.compile(r"/studies/([\d.]+)/series/([\d.]+)/instances/([\d.]+)(/metadata)?[ ?]")
_TAGS = {"PatientID": ("00100020", "LO")}


def refuses_early(status: int, then: Callable[[Turn], None], **headers: str) -> Behaviour:
    """Answers when it has seen the head and no more."""

    def behave(turn: Turn) -> None:
        turn.answer(status, b"no", content_type="text/plain", **headers)
        then(turn)

    return behave


def closes(turn: Turn) -> None:
    turn.peer.drop()
    _ends()


def resets(turn: Turn) -> None:
    turn.peer.reset()
    _ends()


def lingers(turn: Turn) -> None:
    """Half closes, and waits for the client to go."""
    turn.peer.half_close()
    turn.peer.everything()
    _ends()


def stops_reading(turn: Turn) -> None:
    """Leaves the connection open and takes nothing off it."""
    turn.peer.hold()
    _ends()


def _ends() -> None:
    """What is left on the connection is no request."""
    raise ConnectionAbortedError("the script is over")


def after(size: int, then: Callable[[Turn], None]) -> Behaviour:
    """Takes so many bytes of the body first."""

    def behave(turn: Turn) -> None:
        turn.take(size)
        then(turn)

    return behave


def after_all(then: Callable[[Turn], None]) -> Behaviour:
    """Takes all of the body first."""

    def behave(turn: Turn) -> None:
        turn.parts()
        then(turn)

    return behave


def sends(*pieces: bytes, pause: float = 0.0, for_ever: bool = False) -> Behaviour:
    """Raw bytes, with pauses; `for_ever`: the last piece again and again."""

    def behave(turn: Turn) -> None:
        turn.parts()
        for piece in pieces:
            turn.peer.send(piece)
        while for_ever and not (pause and turn.peer.hold(pause)):
            turn.peer.send(pieces[-1])
        closes(turn)

    return behave


# --- bodies -----------------------------------------------------------------------------------------------------------------------


def response(verdicts: Mapping[str, Verdict], comment: str = COMMENT) -> bytes:
    """A Store Instances Response (PS3.18 10.5.3) as Azure writes it."""
    referenced: list[dict[str, object]] = []
    failed: list[dict[str, object]] = []
    for uid, verdict in verdicts.items():
        match verdict:
            case "stored":
                referenced.append(_item(uid))
            case Warned(reason=reason):
                referenced.append(_item(uid) | {"00081196": {"vr": "US", "Value": [reason]}})
            case Both(reason=reason):
                referenced.append(_item(uid))
                failed.append(_failed(_item(uid), reason, comment))
            case Nameless(reason=reason):
                failed.append(_failed({}, reason, comment))
            case "reasonless":
                failed.append(_item(uid))
            case int():
                failed.append(_failed(_item(uid), verdict, comment))
    dataset: dict[str, object] = {"00081190": {"vr": "UR", "Value": ["http://127.0.0.1/studies/1"]}}
    if referenced:
        dataset["00081199"] = {"vr": "SQ", "Value": referenced}
    if failed:
        dataset["00081198"] = {"vr": "SQ", "Value": failed}
    return json.dumps(dataset).encode()


def stored(uids: Sequence[str]) -> bytes:
    return response(dict.fromkeys(uids, STORED))


def stored_xml(uids: Sequence[str]) -> bytes:
    """The same in the Native DICOM Model (PS3.19 A.1)."""
    item = (
        '<Item number="{}"><DicomAttribute tag="00081155" vr="UI"><Value number="1">{}</Value></DicomAttribute></Item>'
    )
    items = "".join(item.format(n, uid) for n, uid in enumerate(uids, start=1))
    return (
        '<?xml version="1.0" encoding="UTF-8"?><NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">'
        f'<DicomAttribute tag="00081199" vr="SQ">{items}</DicomAttribute></NativeDicomModel>'
    ).encode()


def _item(uid: str) -> dict[str, object]:
    return {"00081150": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]}, "00081155": {"vr": "UI", "Value": [uid]}}


def _failed(item: dict[str, object], reason: int, comment: str) -> dict[str, object]:
    words = {"00000902": {"vr": "LO", "Value": [comment]}}
    return item | {"00081197": {"vr": "US", "Value": [reason]}, "00741048": {"vr": "SQ", "Value": [words]}}


def sop_instance_uid(content: bytes) -> str:
    """(0008,0018) of a Part 10 file in explicit VR little endian."""
    found = re.search(re.escape(b"\x08\x00\x18\x00UI") + b"(..)", content, re.DOTALL)
    assert found is not None
    (length,) = struct.unpack("<H", found[1])
    return content[found.end() : found.end() + length].rstrip(b"\0").decode("ascii")


def of_patient(content: bytes, patient_id: str) -> bytes:
    """The same file with another (0010,0020)."""
    before, element, rest = content.partition(b"\x10\0\x20\0LO")
    (length,) = struct.unpack_from("<H", rest)
    value = (patient_id + " " * (len(patient_id) % 2)).encode()
    return before + element + struct.pack("<H", len(value)) + value + rest[2 + length :]


def number(uid: str) -> int:
    """fakes.studies counts in the last component."""
    return int(uid.rpartition(".")[2])
