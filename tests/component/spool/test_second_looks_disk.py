"""Second looks on a real disk: what each finds, what is noted, and that only what is the same and proved is ever removed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from fakes.bodies_fake import digest
from fakes.ops_fakes import FakeClock
from fakes.origin_fake import fetched
from fakes.spool_fakes import part10
from fakes.values import GENERIC, SERVICE, instance, receipt

from ingestd.core.answers.answer import Fetched
from ingestd.core.answers.proof import Proof
from ingestd.core.layout import Layout
from ingestd.core.model import Identifiers
from ingestd.core.record import Changes, Receipt, SecondLook
from ingestd.core.second_look import Found
from ingestd.spool.disk import handles, mounts
from ingestd.spool.disk.lease import Lease
from ingestd.spool.disk.mounts import FileSystem
from ingestd.spool.memory.journal import SqliteJournal
from ingestd.spool.memory.late_notes import LateNote, LateNotes
from ingestd.spool.upkeep import second_looks as module
from ingestd.spool.upkeep.proving import Proving
from ingestd.spool.upkeep.retention import DoneRetention
from ingestd.spool.upkeep.second_looks import SWEEP_SECONDS, SecondLooks

PLACE = "2026-01-02/study/a.dcm"


def proof(content: bytes, *, at: float) -> Receipt:
    """Of the instance that part10() makes unless it is told otherwise, with these bytes."""
    one = instance("1.2.3.4.5", study="1.2.3", size=len(content))
    made = receipt(one, sha256=digest(content))
    return replace(made, series_uid="1.2.3.4", stored_at=at)


@dataclass(slots=True, kw_only=True)
class House:
    done: Path
    state: Path
    journal: SqliteJournal
    clock: FakeClock = field(default_factory=FakeClock)
    content: bytes = field(default_factory=part10)
    held: Fetched | None = None
    fetches: int = 0
    clock_problem: str | None = None

    def file(self, place: str = PLACE, content: bytes | None = None) -> Path:
        """Filed, with a receipt that proves its bytes."""
        target = self.done / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.content if content is None else content)
        self.stored(target)
        return target

    def stored(self, file: Path) -> None:
        one = proof(file.read_bytes(), at=self.clock.now())
        self.journal.commit(Changes(receipts=(one,)))

    def proving(self) -> Proving:
        return Proving(profile=GENERIC, service=SERVICE, fetch=self.fetch)

    def fetch(self, ids: Identifiers) -> Fetched:
        """What the service gives back: `held`, else nothing."""
        self.fetches += 1
        return self.held if self.held is not None else Fetched(status=404)

    def looks(self) -> SecondLooks:
        return SecondLooks(
            done=self.done,
            state=self.state,
            proving=self.proving(),
            clock=self.clock,
            doubt=lambda: self.clock_problem,
        )

    def look(self, file: Path, *, remove: bool = False) -> SecondLook:
        place = str(file.relative_to(self.done))
        return SecondLook(place=place, stamp=handles.stamp_of(file.stat()), path=file.name, due_at=0.0, remove=remove)

    def notes(self) -> dict[str, Found]:
        return {note.place: note.found for note in LateNotes(self.state)}

    def files(self) -> set[str]:
        return {str(p.relative_to(self.done)) for p in self.done.rglob("*")}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    for name in ("done", "state"):
        (tmp_path / name).mkdir()
    journal = SqliteJournal(tmp_path / "state")
    yield House(done=tmp_path / "done", state=tmp_path / "state", journal=journal)
    journal.close()


@pytest.fixture
def looks(house: House) -> SecondLooks:
    return house.looks()


def found(looks: SecondLooks, *given: SecondLook) -> list[Found]:
    looks.give(given)
    assert looks.idle is not bool(given)
    for _ in looks.steps():
        pass
    result = []
    while (looked := looks.take()) is not None:
        result.append(looked.found)
    assert looks.idle
    return result


def append(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"the rest")


def rewrite_in_place(file: Path) -> None:
    """As many bytes, another time."""
    with file.open("r+b") as opened:
        opened.seek(-4, os.SEEK_END)
        opened.write(b"\1\2\3\4")
    os.utime(file, ns=(1, 1))


@pytest.mark.parametrize(
    ("happens", "finds"),
    [
        (lambda file: None, Found.SAME),
        (append, Found.CHANGED),
        (rewrite_in_place, Found.CHANGED),
        (lambda file: os.truncate(file, 10), Found.CHANGED),
        (lambda file: file.chmod(0o640), Found.TOUCHED),
        (Path.unlink, Found.GONE),
        (lambda file: shutil.rmtree(file.parent), Found.GONE),
        (lambda file: (shutil.rmtree(file.parent), file.parent.write_bytes(b"")), Found.GONE),
        (lambda file: (shutil.rmtree(file.parent.parent), file.parents[2].rmdir()), Found.UNKNOWN),
    ],
)
@pytest.mark.parametrize("remove", [False, True])
def test_what_a_look_finds(
    house: House, looks: SecondLooks, happens: Callable[[Path], object], finds: Found, remove: bool
) -> None:
    """DESIGN 2, 3a, F77: a later write is seen and noted; nothing goes that is not as it was after its move."""
    file = house.file()
    look = house.look(file, remove=remove)
    happens(file)
    before = house.files() if house.done.exists() else set()
    wanted = Found.REMOVED if remove and finds is Found.SAME else finds
    assert found(looks, look) == [wanted]
    assert house.notes() == ({PLACE: Found.CHANGED} if finds is Found.CHANGED else {})
    assert looks.late == (finds is Found.CHANGED)
    if house.done.exists():
        assert house.files() == (set() if wanted is Found.REMOVED else before)


@pytest.mark.parametrize("remove", [False, True])
def test_a_writer_who_still_has_it_open_is_seen(house: House, looks: SecondLooks, remove: bool) -> None:
    """F75: it stalled before the send and may go on; after its close the note goes, and the file if it is the same."""
    file = house.file()
    look = house.look(file, remove=remove)
    with file.open("r+b"):
        assert found(looks, look) == [Found.OPEN]
        assert (house.notes(), looks.late) == ({PLACE: Found.OPEN}, 1)
    assert file.read_bytes() == house.content
    assert found(looks, look) == [Found.REMOVED if remove else Found.SAME]
    assert (house.notes(), looks.late) == ({}, 0)


def test_an_open_that_an_oplock_refuses_is_a_writer(
    house: House, looks: SecondLooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """facts of settle: with kernel oplocks O_NONBLOCK gets EAGAIN."""
    look = house.look(house.file(), remove=True)

    def refuse(_folder: int, _name: str) -> tuple[int, os.stat_result]:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(module.handles, "open_file", refuse)
    assert module._refused(0, "a.dcm")
    monkeypatch.undo()
    monkeypatch.setattr(module, "_refused", lambda *_: True)
    assert found(looks, look) == [Found.OPEN]


@pytest.mark.parametrize(("kind", "finds"), [("nfs4", Found.SAME), ("fuse.sshfs", Found.OPEN), ("ext4", Found.OPEN)])
def test_a_refusal_counts_where_it_tells_of_a_writer(
    house: House, looks: SecondLooks, monkeypatch: pytest.MonkeyPatch, kind: str, finds: Found
) -> None:
    """F8: a client of NFS refuses for want of a delegation; that is no writer."""
    monkeypatch.setattr(module, "file_system", lambda _: FileSystem(kind))
    file = house.file()
    with file.open("r+b"):
        assert found(looks, house.look(file)) == [finds]


def test_where_leases_can_not_be_had_the_stamp_decides(
    house: House, looks: SecondLooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DESIGN 3a, removal: unknown leases are why it waited; the same whole stamp after that time lets it go."""
    monkeypatch.setattr(module, "take", lambda _: Lease.UNKNOWN)
    file = house.file()
    assert found(looks, house.look(file, remove=True)) == [Found.REMOVED]
    assert house.files() == set()


@pytest.mark.parametrize("why", ["no receipt", "other bytes", "no proof"])
def test_what_no_receipt_proves_is_kept(house: House, looks: SecondLooks, why: str) -> None:
    """I1: a removal rests on the bytes, as retention's does."""
    file = house.file(content=part10(sop="1.2.9") if why == "no receipt" else None)
    if why == "other bytes":
        house.journal.commit(Changes(receipts=(proof(part10(name="B^C"), at=house.clock.now()),)))
    if why == "no proof":
        one = replace(proof(house.content, at=house.clock.now()), proof=Proof.WORD)
        house.journal.commit(Changes(receipts=(one,)))
    assert found(looks, house.look(file, remove=True)) == [Found.KEPT]
    assert file.exists()
    assert house.fetches == (why == "no proof")


def test_a_receipt_without_a_proof_is_helped_by_the_bytes_that_the_service_gives_back(
    house: House, looks: SecondLooks
) -> None:
    """DESIGN 3a, removal: `fetched` is one; it is asked for once."""
    file = house.file()
    house.journal.commit(Changes(receipts=(replace(proof(house.content, at=house.clock.now()), proof=Proof.WORD),)))
    house.held = fetched(instance("1.2.3.4.5", study="1.2.3").ids, digest(house.content))
    assert found(looks, house.look(file, remove=True)) == [Found.REMOVED]
    assert (house.fetches, house.files()) == (1, set())


def test_while_the_clock_is_doubted_nothing_is_removed(house: House, looks: SecondLooks) -> None:
    """F91: a clock of another year may have made it due; a later write is seen and noted all the same."""
    file, other = house.file(), house.file("2026-01-02/b.dcm")
    house.clock_problem = "the clock shows another year"
    look = house.look(file, remove=True)
    assert found(looks, look) == [Found.UNKNOWN]
    assert file.exists()
    late = house.look(other, remove=True)
    append(other)
    assert found(looks, late) == [Found.CHANGED]
    house.clock_problem = None
    assert found(looks, look) == [Found.REMOVED]


def test_folders_that_are_not_empty_stay(house: House, looks: SecondLooks) -> None:
    file, other = house.file(), house.file("2026-01-02/b.dcm")
    assert found(looks, house.look(file, remove=True)) == [Found.REMOVED]
    assert house.files() == {"2026-01-02", "2026-01-02/b.dcm"}
    assert other.exists()


def test_a_share_that_is_gone_says_nothing_about_its_files(
    house: House, looks: SecondLooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F7: done/ was a mount point and is none: what is missing there is not gone."""
    look = house.look(house.file(), remove=True)
    monkeypatch.setattr(mounts, "is_mount", lambda path: path == house.done)
    mounted = house.looks()
    monkeypatch.setattr(mounts, "is_mount", lambda _: False)
    (house.done / PLACE).unlink()
    assert found(mounted, look) == [Found.UNKNOWN]


def test_a_note_that_can_not_be_kept_leaves_the_look_for_later(
    house: House, looks: SecondLooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F39: what would be forgotten with the next restart was not found."""
    file = house.file()
    look = house.look(file)
    append(file)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(handles, "write_durably", full)
        assert found(looks, look) == [Found.UNKNOWN]
    assert found(looks, look) == [Found.CHANGED]


def swept(house: House, looks: SecondLooks) -> dict[str, Found]:
    house.clock.advance(SWEEP_SECONDS + 1)
    assert found(looks) == []
    return house.notes()


@pytest.mark.parametrize("mended", ["moved back", "replaced", "sent again"])
def test_a_note_goes_when_a_person_has_mended_it(house: House, looks: SecondLooks, mended: str) -> None:
    """I2: done/ says what is held again: it is moved back, another stands there, or a later receipt proves these bytes."""
    file = house.file()
    look = house.look(file)
    append(file)
    assert found(looks, look) == [Found.CHANGED]
    assert swept(house, looks) == {PLACE: Found.CHANGED}
    if mended == "moved back":
        file.unlink()
    elif mended == "replaced":
        os.replace(house.file("b.dcm", part10(name="B")), file)
    else:
        file.write_bytes(file.read_bytes()[: -len(b"the rest")] + bytes(8))
        house.stored(file)
    assert swept(house, looks) == {}
    assert looks.late == 0


def test_notes_outlive_a_restart(house: House, looks: SecondLooks) -> None:
    """They are files, and counted when the next process begins."""
    file = house.file()
    look = house.look(file)
    append(file)
    assert found(looks, look) == [Found.CHANGED]
    again = house.looks()
    assert found(again) == []
    assert again.late == 1
    (note,) = LateNotes(house.state)
    assert (note.place, note.path, note.found_at) == (PLACE, "a.dcm", house.clock.wall())
    assert (house.state / "late").stat().st_mode & 0o777 == house.state.stat().st_mode & 0o777
    (file_of_note,) = (house.state / "late").iterdir()
    assert file_of_note.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 50_000, b"\xff", b'{"place": "a"}', b'{"stamp": 1}'])
def test_damage_among_the_notes_is_passed_over(house: House, content: bytes) -> None:
    """People work in the state folder too."""
    (house.state / "late").mkdir()
    (house.state / "late" / "0123").write_bytes(content)
    os.mkfifo(house.state / "late" / "4567")
    assert list(LateNotes(house.state)) == []


def test_any_name_can_be_noted(house: House, looks: SecondLooks) -> None:
    """F29: names of any bytes."""
    file = house.file("2026-01-02/\udcff\n.dcm")
    look = house.look(file)
    append(file)
    assert found(looks, look) == [Found.CHANGED]
    assert house.notes() == {"2026-01-02/\udcff\n.dcm": Found.CHANGED}
    assert all(json.loads(p.read_bytes())["version"] == 1 for p in (house.state / "late").iterdir())


def test_a_note_about_what_can_not_be_looked_at_stands(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown forgets nothing."""
    file = house.file()
    stamp = handles.stamp_of(file.stat())
    note = LateNote(place=PLACE, path="a.dcm", found=Found.OPEN, found_at=0.0, stamp=stamp)
    assert note.stands(house.done)

    def refuse(*_: object) -> os.stat_result:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(handles, "lstat", refuse)
    assert note.stands(house.done)


def test_retention_leaves_what_changed_a_moment_ago(house: House) -> None:
    """DESIGN 3a, removal: never on the stamps of a file that is younger than `incomplete_timeout_seconds`."""
    house.clock = FakeClock(epoch=(house.state.stat().st_ctime // 1) + 5)
    file = house.file()
    retention = DoneRetention(
        done=house.done,
        state=house.state,
        layout=Layout("{path}"),
        age=1.0,
        rest=60.0,
        proving=house.proving(),
        clock=house.clock,
        doubt=lambda: None,
    )
    for seconds, stays in ((10.0, True), (40.0, True), (60.0, False)):
        house.clock.advance(seconds)
        for _ in retention.steps():
            pass
        assert file.exists() is stays
    assert retention.status().unproven == 0
