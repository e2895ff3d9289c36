"""In-tree fakes of the Inbox, Bodies, Filer, Journal and Orders ports, in memory, and a Part 10 file to put into them.

They pass the same contract suites as the real adapters (tests/contract).
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

from fakes.bodies_fake import digest
from fakes.values import LOCAL, NETWORK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from ingestd.core.answers.proof import Proof
from ingestd.core.answers.reasons import Wholeness
from ingestd.core.answers.service_name import service_of
from ingestd.core.errors import (
    FarFolderError,
    FileChangedError,
    FileGoneError,
    FileLargeError,
    FilingError,
    JournalError,
    YoungFileError,
)
from ingestd.core.model import (
    Deferral,
    Evidence,
    Ground,
    Identifiers,
    Inspection,
    Instance,
    Lease,
    Look,
    Room,
    Stamp,
    Wait,
)
from ingestd.core.ports import Inbox
from ingestd.core.record import Changes, Receipt, SecondLook, Stray, Verdict
from ingestd.core.second_look import Found, Looked
from ingestd.core.when import utc_day
from ingestd.part10.comparable import comparable_elements
from ingestd.part10.views import BytesSource
from ingestd.part10.walk import walk
from ingestd.spool.memory.orders import Order

SMALL = 64 << 10
PIECE = 256 << 10


def part10(
    *, study: str = "1.2.3", series: str = "1.2.3.4", sop: str = "1.2.3.4.5", pixels: int = 64, name: str = "A^B"
) -> bytes:
    """A small, whole CT image (PS3.10 7.1, explicit VR little endian) of `pixels` x `pixels`."""
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = sop
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = series
    dataset.PatientID = "P1"
    dataset.PatientName = name
    dataset.Modality = "CT"
    dataset.SliceThickness = "1.50"
    dataset.Rows = dataset.Columns = pixels
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = bytes(i % 251 for i in range(pixels)) * pixels
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeFile:
    """A file of the fake inbox. A test changes one by putting a changed copy in its place."""

    content: bytes
    stamp: Stamp
    lease: Lease = Lease.GRANTED
    room: Room = Room.FILLED
    links: int = 1
    owner_owns_folder: bool = True
    ground: Ground = LOCAL
    ends_in_zeros: bool = False
    movable: bool = True


class FakeInbox:
    """The ports Inbox and Bodies over a dict. `trouble` maps a path to the error that touching it raises."""

    def __init__(self) -> None:
        self.leases_problem: str | None = None
        self.files: dict[str, FakeFile] = {}
        self.trouble: dict[str, Exception] = {}
        self.examined: list[str] = []
        self.leases_problem: str | None = None
        self._numbers = itertools.count(1)

    def put(
        self,
        path: str,
        content: bytes,
        *,
        leased: bool = True,
        links: int = 1,
        owner_owns_folder: bool = True,
        on_network: bool = False,
        open_elsewhere: bool = False,
        room: Room = Room.FILLED,
        ground: Ground = LOCAL,
        ends_in_zeros: bool = False,
    ) -> Stamp:
        """A new file, which replaces one of that name, as a rename does. Not `leased`: the kernel can't tell who has it open."""
        number = next(self._numbers)
        stamp = Stamp(device=1, inode=number, size=len(content), mtime_ns=number, ctime_ns=number)
        self.files[path] = FakeFile(
            content=content,
            stamp=stamp,
            lease=Lease.REFUSED if open_elsewhere else Lease.GRANTED if leased else Lease.UNKNOWN,
            room=Room.UNKNOWN if on_network else room,
            links=links,
            owner_owns_folder=owner_owns_folder,
            ground=NETWORK if on_network else ground,
            ends_in_zeros=ends_in_zeros,
        )
        return stamp

    def write(self, path: str, content: bytes) -> Stamp:
        """Other bytes in the same file."""
        number = next(self._numbers)
        stamp = replace(self.files[path].stamp, size=len(content), mtime_ns=number, ctime_ns=number)
        self.files[path] = replace(self.files[path], content=content, stamp=stamp)
        return stamp

    def set(self, path: str, **changes: Any) -> None:
        """Somebody opens the file for writing, closes it, fills a hole in it: fields of FakeFile, and the same stamp."""
        self.files[path] = replace(self.files[path], **changes)

    def remove(self, path: str) -> None:
        del self.files[path]

    def look(self, path: str) -> Look:
        file = self._find(path)
        return Look(
            stamp=file.stamp,
            links=file.links,
            lease=file.lease if file.ground.refusals else Lease.UNKNOWN,
            room=file.room,
            ground=file.ground,
            owner_owns_folder=file.owner_owns_folder,
            unfilled=file.stamp.size // 2 if file.room is Room.UNFILLED else 0,
            movable=file.movable,
        )

    def examine(self, path: str, *, most: int | None = None) -> tuple[Look, Inspection]:
        file = self._find(path)
        if most is not None and file.stamp.size > most:
            raise FileLargeError("the file takes long to look at")
        self.examined.append(path)
        found = walk(BytesSource(file.content), len(file.content))
        if len(file.content) <= SMALL and found.wholeness in (Wholeness.WHOLE, Wholeness.WHOLE_ZERO_TAIL):
            found = replace(found, content=file.content, sha256=digest(file.content))
        found = replace(found, ends_in_zeros=file.ends_in_zeros)
        return self.look(path), found

    def elements(self, instance: Instance) -> dict[str, tuple[str, ...]]:
        content = self.judged(instance.path, instance.stamp).content
        handle = os.memfd_create("elements")
        try:
            os.write(handle, content)
            return comparable_elements(handle)
        finally:
            os.close(handle)

    def digest(self, instance: Instance, *, at: int | None = None) -> str:
        content = self.judged(instance.path, instance.stamp).content
        return digest(content) if at is None else hashlib.sha256(content[at:]).hexdigest()

    def read(self, instance: Instance) -> FakeReading:
        return FakeReading(self, instance)

    def judged(self, path: str, stamp: Stamp) -> FakeFile:
        file = self._find(path)
        if file.stamp != stamp:
            raise FileChangedError("the file is no longer the one that was judged")
        return file

    def _find(self, path: str) -> FakeFile:
        if path in self.trouble:
            raise self.trouble[path]
        if path not in self.files:
            raise FileGoneError("the file is gone")
        return self.files[path]


class FakeReading:
    def __init__(self, inbox: FakeInbox, instance: Instance) -> None:
        self._inbox = inbox
        self._instance = instance
        self.sha256: str | None = None

    def __iter__(self) -> Iterator[bytes]:
        instance = self._instance
        content = instance.content
        if content is None:
            content = self._inbox.judged(instance.path, instance.stamp).content
            for at in range(0, len(content), PIECE):
                yield content[at : at + PIECE]
            self._inbox.judged(instance.path, instance.stamp)
        else:
            yield content
        self.sha256 = digest(content)


class FakeFiler:
    """The port Filer over dicts: path below done/ or failed/ -> what lies there. `problem` is what the next moves raise; `far`
    says that done/ and failed/ lie on another file system. `proved`: of each file of done/, whether its digest came along, so that
    it might have gone for good with `done.action = delete`."""

    def __init__(self, inbox: FakeInbox) -> None:
        self._inbox = inbox
        self.done: dict[str, bytes] = {}
        self.proved: dict[str, bool] = {}
        self.failed: dict[str, bytes] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.stamps: dict[str, Stamp] = {}
        self.problem: FilingError | None = None
        self.far = False

    def to_done(self, instance: Instance, *, at: float, copy: bool = True, young: bool = False) -> str | None:
        place = self._move(instance.path, instance.stamp, self.done, self.place(instance, at=at), copy, young)
        self.proved[place] = instance.sha256 is not None
        self.stamps[place] = instance.stamp
        return place

    def place(self, instance: Instance, *, at: float) -> str:
        return f"{utc_day(at)}/{instance.path}"

    def stamp(self, place: str) -> Stamp | None:
        return self.stamps.get(place)

    def to_failed(self, verdict: Verdict, *, copy: bool = True, young: bool = False) -> str:
        path = self._move(verdict.path, verdict.stamp, self.failed, verdict.path, copy, young)
        self.verdicts[path] = verdict
        return path

    def recover(self, stray: Stray) -> str | None:
        if self.problem is not None:
            raise self.problem
        folder = self.done if stray.folder == "done" else self.failed
        content = folder.pop(stray.place, None)
        if content is None:
            return None
        stem, extension = os.path.splitext(stray.path)
        names = itertools.chain((stray.path,), (f"{stem}~{n}{extension}" for n in itertools.count(1)))
        path = next(name for name in names if name not in self._inbox.files)
        self._inbox.put(path, content)
        return path

    def _move(self, path: str, stamp: Stamp, folder: dict[str, bytes], wanted: str, copy: bool, young: bool) -> str:
        file = self._inbox.judged(path, stamp)
        if self.problem is not None:
            raise self.problem
        if self.far and young:
            raise YoungFileError("it takes a copy, and somebody may write it")
        if self.far and not copy:
            raise FarFolderError("it takes a copy")
        stem, extension = os.path.splitext(wanted)
        names = itertools.chain((wanted,), (f"{stem}~{n}{extension}" for n in itertools.count(1)))
        target = next(name for name in names if name not in folder)
        folder[target] = file.content
        self._inbox.remove(path)
        return target


class FakeLooker:
    """The port SecondLooker: finds what a test says, SAME unless it does; at once, or once `held` is False again."""

    def __init__(self) -> None:
        self.finds: dict[str, Found] = {}
        self.given: list[SecondLook] = []
        self.held = False
        self.late = 0
        self._waiting: list[SecondLook] = []

    @property
    def idle(self) -> bool:
        return not self._waiting

    def give(self, looks: Sequence[SecondLook]) -> None:
        self.given.extend(looks)
        self._waiting.extend(looks)

    def take(self) -> Looked | None:
        if self.held or not self._waiting:
            return None
        look = self._waiting.pop(0)
        return Looked(look=look, found=self.finds.get(look.path, Found.SAME), seen=replace(look.stamp, ctime_ns=7))


class FakeJournal:
    """The port Journal over a dict and a list. `problem` is what the next calls raise, or suffer."""

    def __init__(self) -> None:
        self.deferrals: dict[str, Deferral] = {}
        self.astray: dict[tuple[str, str], Stray] = {}
        self.to_look_at: dict[str, SecondLook] = {}
        self.receipts: list[Receipt] = []
        self.commits: list[Changes] = []
        self.problem: JournalError | None = None
        self.closed = False
        self.set_aside = 0
        self.why_set_aside: str | None = None
        self._failed = False
        self._pruned = 0

    @property
    def last_receipt(self) -> int:
        return self._pruned + len(self.receipts)

    @property
    def doubtful(self) -> bool:
        return self.problem is not None or self._failed

    def deferral(self, path: str) -> Deferral | None:
        return self.deferrals.get(path) if self._readable() else None

    def due(self, now: float, limit: int) -> Sequence[Deferral]:
        if not self._readable():
            return ()
        found = sorted((d for d in self.deferrals.values() if d.due_at <= now), key=lambda d: d.due_at)
        return tuple(found[:limit])

    def strays(self, limit: int) -> Sequence[Stray]:
        if not self._readable():
            return ()
        return tuple(sorted(self.astray.values(), key=lambda s: s.since)[:limit])

    def second_looks(self, now: float, limit: int, *, latest: float = math.inf) -> Sequence[SecondLook]:
        if not self._readable():
            return ()
        looks = self.to_look_at.values()
        found = sorted((s for s in looks if s.due_at <= now or s.due_at > latest), key=lambda s: s.due_at)
        return tuple(found[:limit])

    def waiting(self) -> Mapping[Wait, int]:
        return Counter(d.wait for d in self.deferrals.values())

    def oldest(self) -> float | None:
        return min((d.first_seen for d in self.deferrals.values()), default=None)

    def receipt(self, ids: Identifiers) -> Receipt | None:
        self._trouble()
        for receipt in reversed(self.receipts):
            if (receipt.study_uid, receipt.series_uid, receipt.sop_instance_uid) == ids.key:
                return replace(receipt, service=receipt.service or service_of(receipt.retrieve_url))
        return None

    def has_read(self, service: str) -> bool:
        read = (Proof.FETCHED, Proof.ASKED, Proof.REMEMBERED, Proof.SEEN)
        return any(receipt.service == service and receipt.proof in read for receipt in self.receipts)

    def on_word(self, service: str, *, after: int) -> tuple[int, Receipt | None]:
        for number, receipt in enumerate(self.receipts, self._pruned + 1):
            later = {r.sop_instance_uid for r in self.receipts[number - self._pruned :]}
            word = receipt.service == service and receipt.proof is Proof.WORD
            if number > after and word and receipt.sop_instance_uid not in later:
                return number, receipt
        return max(after, self.last_receipt), None

    def commit(self, changes: Changes) -> None:
        self._trouble()
        self._failed = False
        if not changes:
            return
        for path in changes.forgotten:
            self.deferrals.pop(path, None)
        for deferral in changes.deferrals:
            self.deferrals[deferral.path] = deferral
        for key in changes.recovered:
            self.astray.pop(key, None)
        for stray in changes.strays:
            self.astray[stray.folder, stray.place] = stray
        for place in changes.looked:
            self.to_look_at.pop(place, None)
        for look in changes.second_looks:
            self.to_look_at[look.place] = look
        self.receipts.extend(changes.receipts)
        self.commits.append(changes)

    def prune(self, before: float, limit: int) -> int:
        self._trouble()
        old = list(itertools.takewhile(lambda r: r.stored_at < before, self.receipts[:limit]))
        del self.receipts[: len(old)]
        self._pruned += len(old)
        return len(old)

    def close(self) -> None:
        self.closed = True

    def _trouble(self) -> None:
        if self.problem is not None:
            self._failed = True
            raise self.problem

    def _readable(self) -> bool:
        self._failed = self._failed or self.problem is not None
        return self.problem is None


class FakeOrders:
    """The port Orders over a string and two sets. `problem` is what putting the brake on raises."""

    def __init__(self) -> None:
        self.why: str | None = None
        self.ordered: set[tuple[str, Stamp]] = set()
        self.ordered_as_is: set[tuple[str, Stamp]] = set()
        self.problem: JournalError | None = None

    def braked(self) -> str | None:
        return self.why

    def brake(self, why: str) -> None:
        if self.problem is not None:
            raise self.problem
        self.why = self.why or why

    def release(self) -> None:
        """What `ingestd resume` does."""
        self.why = None

    def order(self, path: str, stamp: Stamp, kinds: Collection[Order]) -> None:
        """What `failed retry --replace` and `--as-is` do."""
        self.replaced(path, stamp)
        for kind in kinds:
            ordered = self.ordered if kind is Order.REPLACE else self.ordered_as_is
            ordered.add((path, replace(stamp, ctime_ns=0)))

    def replaces(self, path: str, stamp: Stamp) -> bool:
        return (path, replace(stamp, ctime_ns=0)) in self.ordered

    def as_is(self, path: str, stamp: Stamp) -> bool:
        return (path, replace(stamp, ctime_ns=0)) in self.ordered_as_is

    def replaced(self, path: str, stamp: Stamp) -> None:
        for ordered in (self.ordered, self.ordered_as_is):
            ordered.discard((path, replace(stamp, ctime_ns=0)))


def settled(inbox: Inbox, path: str, *, first_seen: float = 1000.0, evidence: Evidence = Evidence.LEASE) -> Instance:
    """The instance that an inbox, real or fake, shows under `path` now, settled by this evidence."""
    look, found = inbox.examine(path)
    assert found.ids is not None, found.text
    return Instance(
        path=path,
        stamp=look.stamp,
        ids=found.ids,
        first_seen=first_seen,
        data_set_at=found.data_set_at,
        content=found.content,
        sha256=found.sha256,
        evidence=evidence,
    )
