"""The values that travel from a dropped file to its outcome.

A *sighting* is a name. A *look* is what open and fstat said about it. An *inspection* is what the Part 10 walk said about its
bytes. What passed all three is an *instance*; instances travel in *batches*, and each ends in an outcome.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from ingestd.core.answers.reasons import Wholeness


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A name that the scanner or a file event offers.

    `path` is relative to the inbox, with `/`, as os.fsdecode gives it (surrogateescape). `hinted` says a file event brought it.
    `closed` is what that event, the newest about this name, said of an end of writing; None where it said nothing of the kind.
    `inode` is what the folder's listing said beside the name, for what it is worth: some file systems list another than fstat says.
    """

    path: str
    hinted: bool = False
    inode: int | None = field(default=None, compare=False)
    closed: Close | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Which file it is and which state of it, as fstat on the opened file says. Times in nanoseconds, size in bytes."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """A close after writing, or a rename into place, that the watch heard of: `at`, on Clock.now(), and what the name stood for
    then."""

    at: float
    stamp: Stamp


class Lease(enum.Enum):
    """What the kernel says, asked for a read lease, of others who have the file open for writing."""

    GRANTED = "nobody has"
    REFUSED = "somebody has"
    UNKNOWN = "the kernel can't tell"


class Room(enum.Enum):
    """Whether each byte that a file counts was ever written."""

    FILLED = "no hole and no unwritten extent, where both would be seen"
    UNFILLED = "a part of it was claimed and never written: it reads as zeros"
    UNKNOWN = "the file system can't tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a file system can tell about the files on it, found out once. What could not be found out is False: not to be believed.

    `kind` is its type, empty where that is not known. `refusals`: a refused lease says that somebody writes; `leases`: a granted
    one says that nobody does. `holes`: room that ftruncate claimed is seen; `unwritten`: so is what fallocate claimed, where
    `extents` says that only the extent map shows it once the file was read. `blocks`: so many are missing as bytes were never
    written. `ctimes`: no change leaves the ctime as it was. `complete`: nothing was left open for want of room or rights.
    """

    kind: str = ""
    on_network: bool = False
    refusals: bool = True
    leases: bool = False
    holes: bool = False
    unwritten: bool = False
    extents: bool = False
    blocks: bool = False
    ctimes: bool = False
    complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look on one descriptor. `stamp`, `room` and `lease` are of the same moment: where a lease was granted, it was held then.

    `unfilled` counts the bytes that were never written, as far as they were counted. `sparse`: by its blocks, where these tell,
    64 KiB or more are missing. `movable`: its folder lets names be removed.
    """

    stamp: Stamp
    links: int
    owner_owns_folder: bool
    lease: Lease
    room: Room
    ground: Ground
    unfilled: int = 0
    sparse: bool = False
    movable: bool = True

    @property
    def on_network(self) -> bool:
        return self.ground.on_network


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifiers:
    """The UIDs that name an instance (PS3.3 C.7) and how it is encoded."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.study_uid, self.series_uid, self.sop_instance_uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What the Part 10 walk found. `ids` is there whenever all UIDs could be read, whatever the wholeness.

    `text` says in one line, without a value out of the data set, why it is not whole. `notes` are remarks that never decide.
    `data_set_at` is the byte at which the data set begins, 0 where there is no header. `content` and `sha256` (hex, of the data
    set: what stands before it belongs to whoever sent the file on) are there for small whole files, which are read once.
    `ends_in_zeros`: the last 64 KiB are, and nothing tells whether they were written.
    """

    wholeness: Wholeness
    text: str = ""
    ids: Identifiers | None = None
    notes: tuple[str, ...] = ()
    data_set_at: int = 0
    content: bytes | None = field(default=None, repr=False)
    sha256: str | None = None
    ends_in_zeros: bool = False


class Evidence(enum.Enum):
    """What shows that nobody writes a settled file any more. Only LEASE is a proof; the others are what is left without one."""

    LEASE = "lease"  # the kernel granted a read lease on a file system where that tells of every writer
    CLOSED = "closed"  # the watch saw a close after writing, or a rename into place, and no change since
    QUIET = "quiet"  # two looks, far enough apart, saw the same file
    OVERDUE = (
        "overdue"  # it waited as long as any file does; a writer may still be there, or room may never have been filled
    )


class Wait(enum.Enum):
    """Why a file is passed over for a while; the words stand in the journal."""

    INCOMPLETE = "incomplete"  # not settled: not whole, open elsewhere, linked twice, unreadable just now, changing
    UNMOVABLE = "unmovable"  # its outcome is known, the move did not happen
    RESTING = "resting"  # its outcome is known, and it is not copied to another file system while somebody may write it
    SERVER_TROUBLE = "server_trouble"  # FailureReason 272 or A7xx: reported against the instance
    REQUEST_TROUBLE = "request_trouble"  # 500, 502, timeout, lost: reported against the request
    REFUSED_ALONE = "refused_alone"  # a whole-request refusal met it alone, and the control passed
    CREATING = "creating"  # FailureReason 45071
    CHANGED = "changed"  # it changed, or could not be read to its end, while it was sent
    UNVERIFIED = "unverified"  # the service says that it has it, and when asked that it has not: it is sent again
    UNANSWERED = (
        "unanswered"  # the service was asked what it holds and has not answered: it is asked again, nothing is sent
    )
    UNNAMED = "unnamed"  # a 2xx named it in neither sequence, and when asked the service does not hold it
    APART = (
        "apart"  # an answer that speaks of no file (401, 403, one about others) met its request, and the control passed
    )
    DIED = "died"  # its request ended in an error of our own


class Asked(enum.Enum):
    """Why the service is asked about a file again and again, instead of being sent it; the words stand in the journal."""

    NAMED = "named"  # this request named it as stored
    HELD = "held"  # the service says that it holds it (45070, 0111H)
    UNNAMED = "unnamed"  # a 2xx that named nothing
    REFUSED = "refused"  # a 409 that met it alone and named nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferral:
    """A file that is passed over until `due_at`. Kept in the journal by path and identity; times in seconds since the epoch.

    `attempts` counts the answers of the service that made it wait (of other waits, this kind of wait), `counted` those of this kind
    that count against the file. `last_receipt` is the number of the newest receipt at the last attempt: only when another instance
    was stored since then does the next one count ("one alone").

    Of a file that is not settled: `unfinished`, the walk found these very bytes not whole, or perhaps never written; `restless`, it
    changed between its outcome and its move. Of one that can't be moved, or rests: `stored`, it was stored; else the outcome is a
    verdict.

    Of one that waits for the service: `asked` says why the service is asked about it when it is due, and then it is not sent; None:
    it is sent again. `deleted`: what the service held under these UIDs was deleted to make room and the POST has not gone through,
    so the POST goes first from now on.
    """

    path: str
    stamp: Stamp
    wait: Wait
    due_at: float
    first_seen: float
    since: float
    attempts: int = 1
    counted: int = 0
    last_receipt: int = 0
    unfinished: bool = False
    restless: bool = False
    stored: bool = False
    asked: Asked | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A whole, settled file that may be sent: what was judged (`stamp`) is what must be opened.

    `data_set_at`, `content` and `sha256` as in Inspection. `evidence` says what shows that nobody writes it. `history` is its last
    wait for the service, if it had one. `holds` counts the Hold answers that its requests drew while the control passed in between.
    `replacing`: it was sent to replace what the service held. `deleted`: that was deleted to make room, and the
    service has not taken this one yet.
    """

    path: str
    stamp: Stamp
    ids: Identifiers
    first_seen: float
    hinted: bool = False
    data_set_at: int = 0
    content: bytes | None = field(default=None, repr=False)
    sha256: str | None = None
    history: Deferral | None = None
    holds: int = 0
    replacing: bool = False
    deleted: bool = False
    evidence: Evidence = Evidence.QUIET

    @property
    def size(self) -> int:
        return self.stamp.size

    @property
    def sop_instance_uid(self) -> str:
        return self.ids.sop_instance_uid


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Instances for one Store transaction; never two of one SOP Instance UID."""

    instances: tuple[Instance, ...]

    @property
    def size(self) -> int:
        return sum(i.size for i in self.instances)
