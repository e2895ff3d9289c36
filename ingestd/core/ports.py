"""The seams: what the daemon asks of the world. Each has one real adapter and one in-tree fake that pass the same contract suite.

Everything here may be called from the owner thread only, but for what says otherwise. Errors are those of core.errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from ingestd.core.answers.answer import Answer, Fetched, Held, Listed
from ingestd.core.answers.outcome import Outcome
from ingestd.core.answers.reasons import Reason
from ingestd.core.clock_doubt import ServiceDate
from ingestd.core.events import Event
from ingestd.core.model import Deferral, Identifiers, Inspection, Instance, Look, Sighting, Stamp, Wait
from ingestd.core.record import Changes, Receipt, SecondLook, Stray, Verdict
from ingestd.core.scan import ScanStatus
from ingestd.core.second_look import Looked

LogValue = str | int | float | bool | None
Rand = Callable[[], float]  # uniform in [0, 1)


class Clock(Protocol):
    """Time is an argument; this is where it comes from. Any thread."""

    def monotonic(self) -> float:
        """Seconds that only grow; for waits inside one process."""

    def now(self) -> float:
        """Seconds since the epoch as the clock stood at start plus what has passed since: no jump of the clock reaches it."""

    def wall(self) -> float:
        """Seconds since the epoch as the clock stands now; for what people read."""


class Supervised(Protocol):
    """A thread that the daemon keeps alive. `start` on a dead one starts it anew."""

    @property
    def name(self) -> str: ...
    def start(self) -> None: ...
    def alive(self) -> bool: ...
    def stop(self) -> None:
        """Ask it to end; returns at once."""

    def join(self, timeout: float) -> None: ...


class Scanner(Supervised, Protocol):
    """Offers every name in the inbox again and again (I6), hinted ones first."""

    def take_hinted(self, limit: int) -> Sequence[Sighting]:
        """Names that file events brought, newest first, without blocking."""

    def take(self, limit: int) -> Sequence[Sighting]:
        """Names the scan brought, without blocking; what is not taken makes the scan pause where it is."""

    def offered(self) -> Set[str]:
        """The paths of what waits to be taken; each scan offers again what is still there, so `status` may count one twice."""

    @property
    def doubted_at(self) -> float:
        """When, on Clock.now(), file events were last in doubt, inf while there are none: a close heard before is worth nothing."""

    def status(self) -> ScanStatus: ...


class Inbox(Protocol):
    """The drop folder, by directory handle. Any thread."""

    @property
    def leases_problem(self) -> str | None:
        """Why nobody can be known to have finished a file by its lease, what follows and how to mend it: one line without a path.

        As far as the looks so far have found it; waits for no disk.
        """

    def examine(self, path: str, *, most: int | None = None) -> tuple[Look, Inspection]:
        """Look, and then walk to the end; the stamp is still that of the look.

        Raises FileBusyError, FileGoneError, FileRefusedError, FileChangedError; FileLargeError for one of more than `most` bytes.
        """

    def look(self, path: str) -> Look:
        """Open it, and ask at one moment, under a read lease where there is one: fstat, what was never written. Raises as
        examine."""

    def elements(self, instance: Instance) -> dict[str, tuple[str, ...]]:
        """The data set's elements without bulk data, in the normal form of Held.elements. Raises as examine does."""

    def digest(self, instance: Instance, *, at: int | None = None) -> str:
        """SHA-256 (hex) of its data set, or from byte `at` on; reads all of it. Raises as examine does."""


class Reading(Protocol):
    """One pass over an instance's bytes, from the first to the last."""

    def __iter__(self) -> Iterator[bytes]:
        """Pieces of at most 256 KiB; exactly `instance.size` bytes in all, else FileChangedError."""

    @property
    def sha256(self) -> str | None:
        """Hex digest of the data set once the pass has ended, None before."""


class Bodies(Protocol):
    """Where the client gets the bytes it sends. Any thread."""

    def read(self, instance: Instance) -> Reading:
        """A fresh pass; opens the file when it is iterated, and checks before and after that it is the one that was judged."""


class Arrival(Protocol):
    """One DICOM object that comes in pieces over the network: which it is, and its digest. One thread."""

    @property
    def possible(self) -> bool:
        """Whether nothing yet says that it is no Part 10 object."""

    def write(self, data: bytes) -> None: ...
    def end(self) -> None:
        """No more will come, and all of it was there."""

    @property
    def sha256(self) -> str | None:
        """Hex digest of its data set, None before the end and of what has no header."""

    @property
    def transfer_syntax_uid(self) -> str | None: ...

    @property
    def key(self) -> tuple[str, str, str] | None:
        """Its study, series and SOP Instance UID, None where they can't be read."""


class Origin(Protocol):
    """The origin server (PS3.18). Any thread; never raises for what a service or a network can do."""

    @property
    def problem(self) -> str | None:
        """What is wrong with our own side of the connection, whether or not it still works; one line, safe to log."""

    @property
    def silent_seconds(self) -> float:
        """For how long a request has been out that nothing has come back for; 0.0 where there is none."""

    @property
    def date(self) -> ServiceDate | None:
        """What time it is at the service, by the newest whole answer that says so."""

    def store(self, instances: Sequence[Instance]) -> Answer:
        """One Store transaction (PS3.18 10.5)."""

    def control(self) -> Answer:
        """An empty Store transaction: stores nothing, runs through routing, identity, role and parser."""

    def metadata(self, ids: Identifiers) -> Held:
        """Retrieve Metadata of one instance (PS3.18 10.4.1.1.2)."""

    def fetch(self, ids: Identifiers) -> Fetched:
        """Retrieve one instance as it is stored (PS3.18 10.4.1.1.1), only to digest its data set."""

    def listed(self, study_uid: str, series_uids: Sequence[str]) -> Listed:
        """Which instances of these series it has, asked before a send; never takes longer than connecting may."""

    def shows(self, ids: Identifiers) -> bool | None:
        """Whether a search shows this instance; None where that was not answered. Never takes longer than connecting may."""

    def replace(self, instance: Instance) -> Answer:
        """Store this instance in place of what the service holds: PUT where it has that, else DELETE and then POST."""

    def abort(self) -> None:
        """End every request under way; they answer as lost."""

    def close(self) -> None: ...


class Journal(Protocol):
    """A memory, never the truth (I5): while it can't be read, deferrals, strays and second looks are as if unknown, their
    counts as last known, and nothing raises but asking for a receipt and writing. Those raise JournalError."""

    @property
    def last_receipt(self) -> int:
        """The number of the newest receipt, 0 when there is none; grows with each."""

    @property
    def doubtful(self) -> bool:
        """The last thing that was asked of it failed, or its file was taken away: whether it works again, the next commit tells."""

    @property
    def set_aside(self) -> int:
        """How often a journal that could not be used was put away for a new one; `why_set_aside` says why the last one was."""

    @property
    def why_set_aside(self) -> str | None: ...

    def deferral(self, path: str) -> Deferral | None: ...

    def due(self, now: float, limit: int) -> Sequence[Deferral]:
        """Deferrals whose time has come, oldest due first."""

    def waiting(self) -> Mapping[Wait, int]:
        """How many files are deferred, by kind."""

    def oldest(self) -> float | None:
        """When the deferred file that has waited longest was first seen."""

    def strays(self, limit: int) -> Sequence[Stray]:
        """Files that a move carried away and that are still to be put back, oldest first."""

    def second_looks(self, now: float, limit: int, *, latest: float = math.inf) -> Sequence[SecondLook]:
        """Filed files whose second look is due, oldest due first, and those that are due after `latest`."""

    def receipt(self, ids: Identifiers) -> Receipt | None:
        """The newest receipt for these three UIDs. One that names no service is of the one that its retrieve URL names."""

    def has_read(self, service: str) -> bool:
        """Whether one of the newest receipts rests on something that this service let us read; False where that is not known."""

    def on_word(self, service: str, *, after: int) -> tuple[int, Receipt | None]:
        """The first receipt behind number `after` that rests on this service's word and that no later one of its UIDs replaces.

        With it the number to go on from, which has grown if there is more to look at; a call looks at a bounded number of them.
        """

    def commit(self, changes: Changes) -> None:
        """All of it or nothing, durable when this returns. Of nothing at all: a test, if the journal is doubtful."""

    def prune(self, before: float, limit: int) -> int:
        """Forget the oldest receipts, `limit` at most, up to the first that is not from before `before`; how many."""

    def close(self) -> None: ...


class Filer(Protocol):
    """The only one that moves files; any thread. Both return the path they gave it, relative to done/ or failed/.

    Raise FileGoneError, FileChangedError (it is no longer the file that was judged; StrayError: it must be put back later),
    FilingError (nothing was moved); without `copy` FarFolderError where the file would have to be copied to another file system, or
    read once more; YoungFileError where somebody may still write a file (`young`) that would have to be copied.
    """

    def to_done(self, instance: Instance, *, at: float, copy: bool = True, young: bool = False) -> str | None:
        """None where stored files are removed instead (`done.action = delete`): those that have the digest `instance.sha256`, and
        of which a lease has shown that nobody writes them.

        One without (None: the service was not shown to hold its bytes) is moved all the same.
        """

    def place(self, instance: Instance, *, at: float) -> str:
        """Where `to_done` would put it, if that name is free."""

    def stamp(self, place: str) -> Stamp | None:
        """Of what lies at `place` in done/ now, where `to_done` has put it; None where that can't be told."""

    def to_failed(self, verdict: Verdict, *, copy: bool = True, young: bool = False) -> str: ...

    def recover(self, stray: Stray) -> str | None:
        """Put back what a move carried away; its path in the inbox, the next free one if its own is taken.

        None where it does not stand there now. Raises FileError, FilingError: it stands where it stood then.
        """


class SecondLooker(Protocol):
    """Looks at filed files once more, on a thread of its own. Any thread."""

    @property
    def idle(self) -> bool:
        """Whether everything that was given was taken back."""

    @property
    def late(self) -> int:
        """How many files of done/ are known to have been written after they were filed, or to be open for writing."""

    def give(self, looks: Sequence[SecondLook]) -> None: ...
    def take(self) -> Looked | None:
        """What was found, in the order of giving; None while there is nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionStatus:
    """What retention has come to since the start. Receipts from before `swept_before` (Clock.now()) are about nothing in done/."""

    rounds: int = 0
    swept_before: float = float("-inf")
    removed: int = 0
    removed_bytes: int = 0
    unproven: int = 0  # files that no receipt proves stored, in the last round
    problem: str | None = None  # what hindered the last round; one line without a path


class Retention(Protocol):
    """What removes old files from done/, and says so. Any thread."""

    def status(self) -> RetentionStatus: ...


class Orders(Protocol):
    """What a person has ordered by a command, and the brake, which only a person releases. Files in the state folder, so they
    outlive the daemon and need no connection to it. Reading never raises: what can't be read is as it was when last read."""

    def braked(self) -> str | None:
        """Why the brake is on, in one line; None while it is off. `ingestd resume` takes it off."""

    def brake(self, why: str) -> None:
        """Put the brake on, durably. Raises JournalError."""

    def replaces(self, path: str, stamp: Stamp) -> bool:
        """Whether `failed retry --replace` sent this very file back to replace what the service holds."""

    def as_is(self, path: str, stamp: Stamp) -> bool:
        """Whether `failed retry --as-is` sent this very file back to be sent although it is not whole, or linked twice."""

    def replaced(self, path: str, stamp: Stamp) -> None:
        """What was ordered about it is carried out, or void. Never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The gauges, taken once a second."""

    pending: Mapping[str, int]  # stage -> files: waiting, ready, in_flight, unmovable
    oldest_pending_seconds: float
    breaker: int  # 0 closed, 1 probing, 2 open
    braked: bool
    concurrency_limit: int
    scan: ScanStatus


class Recorder(Protocol):
    """What operators see: one log line or one metric at a time. Never raises, whatever becomes of standard output."""

    def log(self, event: Event, **fields: LogValue) -> None:
        """The field `path`, where there is one, is written as a digest unless the operator wants names (I7)."""

    def filed(self, outcome: Outcome, reason: Reason | None, seconds: float) -> None:
        """One file has ended; `seconds` from first sight."""

    def request(self, status: str, seconds: float, sent_bytes: int) -> None:
        """One Store transaction; status is the HTTP code, connect_error, timeout or lost."""

    def restarted(self, thread: str) -> None: ...
    def gauges(self, snapshot: Snapshot) -> None: ...


class Notifier(Protocol):
    """The service manager (sd_notify), or nobody. Never raises."""

    def ready(self, status: str) -> None: ...
    def status(self, status: str) -> None: ...
    def alive(self) -> None: ...
    def stopping(self, seconds: float) -> None:
        """Stopping, and it may take `seconds` more."""
