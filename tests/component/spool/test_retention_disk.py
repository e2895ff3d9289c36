"""Retention and the upkeep thread on a real disk: only what a receipt proves old and stored is ever removed."""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fakes.bodies_fake import digest
from fakes.ops_fakes import FakeClock
from fakes.origin_fake import fetched
from fakes.spool_fakes import part10
from fakes.values import GENERIC, SERVICE

from ingestd.core.answers.answer import Fetched
from ingestd.core.answers.outcome import Outcome
from ingestd.core.answers.proof import DigestKind, Proof
from ingestd.core.layout import Layout
from ingestd.core.model import Identifiers
from ingestd.core.ports import RetentionStatus
from ingestd.core.record import Changes, Receipt
from ingestd.core.when import utc_day
from ingestd.ops.clock import SystemClock
from ingestd.spool.disk import handles, mounts
from ingestd.spool.memory.journal import SqliteJournal
from ingestd.spool.upkeep import retention as retention_module
from ingestd.spool.upkeep.proving import Proving
from ingestd.spool.upkeep.retention import DAY_SECONDS, DoneRetention
from ingestd.spool.upkeep.worker import Upkeep

AGE = 30 * DAY_SECONDS


@dataclass(slots=True, kw_only=True)
class House:
    done: Path
    state: Path
    journal: SqliteJournal
    clock: FakeClock | SystemClock
    held: Fetched | None = None
    fetches: int = 0
    clock_problem: str | None = None

    def retention(self, layout: str = "{date}/{path}") -> DoneRetention:
        return DoneRetention(
            done=self.done,
            state=self.state,
            layout=Layout(layout),
            age=AGE,
            rest=-math.inf,
            proving=Proving(profile=GENERIC, service=SERVICE, fetch=self.fetch),
            clock=self.clock,
            doubt=lambda: self.clock_problem,
        )

    def fetch(self, ids: Identifiers) -> Fetched:
        """What the service gives back: `held`, else nothing."""
        self.fetches += 1
        return self.held if self.held is not None else Fetched(status=404)

    def filed(self, path: str, content: bytes, *, days: float, folder: str | None = None) -> Path:
        """A file in done/ whose receipt is so many days old."""
        at = self.clock.now() - days * DAY_SECONDS
        self.journal.commit(Changes(receipts=(receipt(content, at=at, path=path),)))
        return self.put(f"{utc_day(at) if folder is None else folder}/{path}".lstrip("/"), content)

    def put(self, path: str, content: bytes) -> Path:
        target = self.done / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return target

    def files(self) -> set[str]:
        return {str(p.relative_to(self.done)) for p in self.done.rglob("*")}


def receipt(content: bytes, *, at: float, path: str, sop: str = "1.2.3.4.5") -> Receipt:
    return Receipt(
        stored_at=at,
        study_uid="1.2.3",
        series_uid="1.2.3.4",
        sop_instance_uid=sop,
        size=len(content),
        sha256=digest(content),
        path=path,
        outcome=Outcome.STORED,
        http_status=200,
        reason=None,
        retrieve_url=None,
        service=SERVICE,
        proof=Proof.NEW,
        digest_kind=DigestKind.DATA_SET,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    for name in ("done", "state"):
        (tmp_path / name).mkdir()
    journal = SqliteJournal(tmp_path / "state")
    yield House(done=tmp_path / "done", state=tmp_path / "state", journal=journal, clock=FakeClock())
    journal.close()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def swept(retention: DoneRetention) -> DoneRetention:
    for _ in retention.steps():
        pass
    return retention


def test_an_old_file_that_a_receipt_proves_is_removed_with_its_empty_folders(house: House) -> None:
    """`done.retention_days`: by the receipt's time, whatever the file's own times say (F13)."""
    old = house.filed("study/series/a.dcm", part10(), days=31)
    os.utime(old, (house.clock.now(), house.clock.now()))
    status = swept(house.retention()).status()
    assert (house.files(), status.removed, status.removed_bytes) == (set(), 1, len(part10()))
    assert (status.unproven, status.problem, status.rounds) == (0, None, 1)
    assert house.done.is_dir()


@pytest.mark.slow
def test_it_goes_as_deep_as_the_intake_does_with_few_handles(house: House) -> None:
    """I8, F90: 1,900 folders below each other, an old file at two places; all of it goes."""
    levels = 1900
    house.filed("a.dcm", part10(), days=31)
    folder = handles.open_root(house.done)
    for level in range(1, levels + 1):
        os.mkdir("d", dir_fd=folder)
        folder = handles.open_below(folder, ["d"])
        if level in (levels // 2, levels):
            handle = handles.create(folder, "b.dcm")
            handles.write_all(handle, part10())
            os.close(handle)
    os.close(folder)
    before = most = len(os.listdir("/proc/self/fd"))
    retention = house.retention()
    for _ in retention.steps():
        most = max(most, len(os.listdir("/proc/self/fd")))
    status = retention.status()
    assert (status.removed, status.unproven, status.problem) == (3, 0, None)
    assert list(house.done.iterdir()) == []
    assert most - before <= 10  # with the journal's


def test_a_young_file_stays_however_old_it_looks(house: House) -> None:
    """F13."""
    young = house.filed("a.dcm", part10(), days=29, folder="2001-01-01")
    os.utime(young, (0, 0))
    assert swept(house.retention()).status().unproven == 0
    assert young.exists()


def changed_after_it_was_filed(house: House) -> None:
    target = house.filed("a.dcm", part10(), days=40)
    content = bytearray(target.read_bytes())
    content[-1] ^= 1
    target.write_bytes(content)


def of_an_instance_that_was_replaced_since(house: House) -> None:
    house.filed("a.dcm", part10(), days=40)
    newer = part10(name="C^D")
    house.journal.commit(Changes(receipts=(receipt(newer, at=house.clock.now() - 35 * DAY_SECONDS, path="a.dcm"),)))


def without_a_digest(house: House) -> None:
    house.put("2001-01-01/a.dcm", part10())
    bare = replace(receipt(part10(), at=0.0, path="a.dcm"), sha256="")
    house.journal.commit(Changes(receipts=(bare,)))


def that_the_service_was_not_shown_to_hold(house: House) -> None:
    house.put("2001-01-01/a.dcm", part10())
    accepted = replace(receipt(part10(), at=0.0, path="a.dcm"), outcome=Outcome.ALREADY_STORED, proof=Proof.WORD)
    house.journal.commit(Changes(receipts=(accepted,)))


UNPROVEN: dict[str, Callable[[House], object]] = {
    "without a receipt": lambda house: house.put("2001-01-01/a.dcm", part10()),
    "no DICOM": lambda house: house.put("2001-01-01/a.dcm", b"somebody's notes"),
    "empty": lambda house: house.put("2001-01-01/a.dcm", b""),
    "changed": changed_after_it_was_filed,
    "replaced": of_an_instance_that_was_replaced_since,
    "no digest": without_a_digest,
    "accepted": that_the_service_was_not_shown_to_hold,
}


@pytest.mark.parametrize("make", UNPROVEN.values(), ids=UNPROVEN.keys())
def test_what_no_receipt_proves_is_kept_and_counted(house: House, make: Callable[[House], object]) -> None:
    """I1, I5."""
    make(house)
    before = house.files()
    status = swept(house.retention()).status()
    assert (house.files(), status.removed, status.unproven) == (before, 0, 1)


def test_the_proof_is_the_content_not_the_name(house: House) -> None:
    """F30: a file that a name was taken from, or that a person has moved within done/."""
    house.filed("a.dcm", part10(), days=40)
    house.put("2001-01-01/a~1.dcm", part10())
    house.put("elsewhere/renamed", part10())
    assert swept(house.retention()).status().removed == 3
    assert house.files() == set()


def test_a_preamble_may_differ_and_the_rest_may_not(house: House) -> None:
    """PS3.10 7.1: services replace the preamble, so digests begin behind it."""
    house.filed("a.dcm", part10(), days=40)
    target = house.put("2001-01-01/b.dcm", b"x" * 128 + part10()[128:])
    swept(house.retention())
    assert not target.exists()


def test_what_is_no_file_and_what_is_unfinished_is_left_alone(house: House, tmp_path: Path) -> None:
    """F25, F27, F41: a copy that is under way stands in the root."""
    house.filed("a.dcm", part10(), days=40)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.dcm").write_bytes(part10())
    (house.done / "link").symlink_to(tmp_path / "outside")
    (house.done / "link.dcm").symlink_to(tmp_path / "outside" / "a.dcm")
    os.mkfifo(house.done / "fifo.dcm")
    house.put(".ingestd-0123456789abcdef.tmp", part10())
    status = swept(house.retention()).status()
    assert house.files() == {"link", "link.dcm", "fifo.dcm", ".ingestd-0123456789abcdef.tmp"}
    assert (status.removed, status.unproven) == (1, 0)
    assert (tmp_path / "outside" / "a.dcm").exists()


def test_a_clock_that_jumps_ahead_removes_nothing_early(house: House) -> None:
    """F13."""
    house.filed("a.dcm", part10(), days=1)
    house.clock.jump(365 * DAY_SECONDS)
    assert swept(house.retention()).status().removed == 0


def test_while_the_clock_is_doubted_nothing_is_old(house: House) -> None:
    """F91: nor was anything swept, so that receipts stay too; it is asked again before long."""
    old = house.filed("a.dcm", part10(), days=40)
    house.clock_problem = "the clock shows another year"
    retention = swept(house.retention())
    assert (old.exists(), retention.status()) == (True, RetentionStatus())
    assert retention.due_at() - house.clock.monotonic() == retention_module.AFTER_TROUBLE_SECONDS
    house.clock_problem = None
    assert (swept(retention).status().removed, old.exists()) == (1, False)


def test_only_the_first_round_looks_into_young_day_folders(house: House) -> None:
    """I8: a round a day must not read all of done/ again."""
    retention = swept(house.retention())
    today = house.filed("a.dcm", part10(), days=40, folder=utc_day(house.clock.now()))
    swept(retention)
    assert today.exists()
    house.clock.advance(31 * DAY_SECONDS)
    swept(retention)
    assert not today.exists()


@pytest.mark.parametrize("layout", ["{path}", "stored/{path}", "x-{date}-y/{path}", "a/{date}/{date}/{path}"])
def test_every_layout_is_swept(house: House, layout: str) -> None:
    """`done.layout`."""
    day = utc_day(house.clock.now() - 40 * DAY_SECONDS)
    folder = layout.format(date=day, path="")
    house.filed("a.dcm", part10(), days=40, folder=folder.rstrip("/"))
    retention = swept(swept(house.retention(layout)))
    assert (house.files(), retention.status().removed) == (set(), 1)


def test_receipts_are_spared_until_a_round_has_ended_well(house: House) -> None:
    """What is pruned first would leave its file unproven for ever."""
    retention = house.retention()
    assert retention.status().swept_before == float("-inf")
    swept(retention)
    assert retention.status().swept_before == house.clock.now() - AGE
    house.done.rmdir()
    house.clock.advance(DAY_SECONDS)
    status = swept(retention).status()
    assert "folders.done" in str(status.problem)
    assert status.swept_before == house.clock.now() - AGE - DAY_SECONDS
    assert retention.due_at() - house.clock.monotonic() == retention_module.AFTER_TROUBLE_SECONDS


def test_a_done_that_is_no_longer_mounted_was_not_swept(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F6: what lies under the mount would pass for all of it, and receipts be pruned whose files come back with it."""
    mounted = {house.done}
    monkeypatch.setattr(mounts, "is_mount", mounted.__contains__)
    retention = house.retention()
    mounted.clear()
    status = swept(retention).status()
    assert (status.swept_before, status.problem) == (
        float("-inf"),
        "folders.done is no longer mounted: mount it again",
    )


def test_a_file_that_cannot_be_removed_is_a_problem_and_stays(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F45: done/ turned read-only."""
    target = house.filed("a.dcm", part10(), days=40)

    def refused(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refused)
        status = swept(house.retention()).status()
    assert target.exists()
    assert (status.removed, status.problem) == (
        0,
        "something in folders.done can't be read or removed (Read-only file system): mend its owner or mode",
    )


def test_a_file_that_somebody_writes_into_stays(house: House) -> None:
    """I1: what they write is not what was stored."""
    target = house.filed("a.dcm", part10(), days=40)
    with target.open("r+b"):
        assert swept(house.retention()).status().removed == 0
        assert target.exists()
    assert swept(house.retention()).status().removed == 1


def test_a_journal_that_cannot_be_read_proves_nothing(house: House) -> None:
    """I5."""
    target = house.filed("a.dcm", part10(), days=40)
    for file in house.state.iterdir():
        file.write_bytes(b"x" * 5000)
    status = swept(house.retention()).status()
    assert (target.exists(), status.removed) == (True, 0)
    assert "journal" in str(status.problem)


def test_it_never_writes_into_the_journal(house: House) -> None:
    """One thread owns the journal."""
    retention = house.retention()
    steps = retention.steps()
    house.filed("a.dcm", part10(), days=40)
    house.filed("b.dcm", part10(), days=40)
    for _ in steps:
        house.journal.commit(Changes(receipts=(receipt(b"x", at=1.0, path="x", sop="1.9"),)))
    assert retention.status().removed == 2


@pytest.mark.parametrize("killed", ["rename", "unlink", "rmdir"])
def test_a_kill_in_between_is_repeated_safely(house: House, monkeypatch: pytest.MonkeyPatch, killed: str) -> None:
    """F37."""
    house.filed("s/a.dcm", part10(), days=40)
    child = os.fork()
    if child == 0:

        def end(*_: object, **__: object) -> None:
            os._exit(9)

        if killed == "rename":
            monkeypatch.setattr(retention_module.handles, "move", end)
        else:
            monkeypatch.setattr(os, killed, end)
        swept(house.retention())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    contents = [p.read_bytes() for p in house.done.rglob("*") if p.is_file()]
    assert contents == ([] if killed == "rmdir" else [part10()])
    swept(house.retention())
    assert house.files() == set()


def test_the_thread_works_in_small_slices_and_stops_when_told(house: House) -> None:
    """I8: it never has more than its share; a stop need not wait for a round."""
    for number in range(300):
        house.put(f"2001-01-01/{number}.dcm", part10())
    clock = SystemClock()
    house.clock = clock
    retention = house.retention()
    upkeep = Upkeep([retention], clock=clock)
    upkeep.start()
    until(lambda: retention.status().rounds == 1)
    assert retention.status().unproven == 300
    assert upkeep.alive()
    upkeep.stop()
    upkeep.join(10)
    assert not upkeep.alive()


def test_old_rows_are_found_without_reading_them_all(house: House) -> None:
    """I8: a lookup by instance, however many receipts there are."""
    house.filed("a.dcm", part10(), days=1)
    connection = sqlite3.connect(house.state / "journal.sqlite")
    query = "EXPLAIN QUERY PLAN SELECT id, stored_at FROM receipts ORDER BY id LIMIT 5"
    assert [row[3] for row in connection.execute(query)] == ["SCAN receipts"]  # by rowid: no sort, and LIMIT ends it
    connection.close()


# What the receipt says is not enough.

IDS = Identifiers(
    study_uid="1.2.3",
    series_uid="1.2.3.4",
    sop_instance_uid="1.2.3.4.5",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
)
SAME = fetched(IDS, digest(part10()))


@pytest.mark.parametrize("proof", [None, *(proof for proof in Proof if not proof.for_removal)])
@pytest.mark.parametrize(
    ("held", "goes"),
    [
        (SAME, True),
        (fetched(IDS, digest(part10(name="C^D"))), False),
        (replace(SAME, transfer_syntax_uid="1.2.840.10008.1.2"), False),
        (Fetched(status=404), False),
        (Fetched(status=403), False),
        (Fetched(status=None), False),
    ],
)
def test_what_is_not_proved_for_good_is_fetched_once(
    house: House, proof: Proof | None, held: Fetched, goes: bool
) -> None:
    """I1, I2, F79: the service may have been restored or corrected since; it is asked slowly, and once."""
    target = house.put("2001-01-01/a.dcm", part10())
    house.journal.commit(Changes(receipts=(replace(receipt(part10(), at=0.0, path="a.dcm"), proof=proof),)))
    house.held = held
    retention = house.retention()
    first = swept(retention).status()
    assert (target.exists(), first.removed, first.unproven) == (not goes, int(goes), int(not goes))
    swept(retention)
    assert house.fetches == 1


def test_another_services_receipt_proves_nothing_here(house: House) -> None:
    """I2: service.url was changed; this one has the file or has it not."""
    target = house.put("2001-01-01/a.dcm", part10())
    elsewhere = replace(receipt(part10(), at=0.0, path="a.dcm"), service="https://old.example/dicom-web")
    house.journal.commit(Changes(receipts=(elsewhere,)))
    swept(house.retention())
    assert (target.exists(), house.fetches) == (True, 1)
    house.held = SAME
    swept(house.retention())
    assert not target.exists()


def test_a_receipt_of_the_first_kind_is_compared_as_it_was_made(house: House) -> None:
    """F96: its digest is from byte 128 on; the service's answer is compared by the data set."""
    target = house.put("2001-01-01/a.dcm", part10())
    old = replace(
        receipt(part10(), at=0.0, path="a.dcm"),
        sha256=hashlib.sha256(part10()[128:]).hexdigest(),
        digest_kind=DigestKind.FROM_128,
        proof=None,
        transfer_syntax_uid=None,
    )
    house.journal.commit(Changes(receipts=(old,)))
    house.held = SAME
    swept(house.retention())
    assert (target.exists(), house.fetches) == (False, 1)


def test_the_same_image_from_another_sender_is_the_same(house: House) -> None:
    """F88: its file meta information differs, and so does its size."""
    content = part10()
    target = house.put("2001-01-01/a.dcm", b"\1" * 128 + content[128:])
    house.journal.commit(Changes(receipts=(replace(receipt(content, at=0.0, path="a.dcm"), size=1),)))
    swept(house.retention())
    assert not target.exists()
