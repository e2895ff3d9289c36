"""failed/ as people read it, and the way back into the inbox: names, damage, races, crashes, other file systems."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from fakes.spool_fakes import part10, settled

from ingestd.core.answers.outcome import Quarantine
from ingestd.core.answers.reasons import Reason
from ingestd.core.errors import FileGoneError, FilingError, JournalError
from ingestd.core.record import Verdict
from ingestd.spool.disk import descent, handles
from ingestd.spool.filing import copying, move, putting_back
from ingestd.spool.filing.entry import Entry
from ingestd.spool.filing.filing import Filing
from ingestd.spool.filing.putting_back import PuttingBack
from ingestd.spool.filing.quarantined import FailedFolder, Flaw, Quarantined
from ingestd.spool.intake.inbox import InboxFolder
from ingestd.spool.intake.names import classify_path
from ingestd.spool.memory.orders import FileOrders, Order

AT = 1767323045.0  # 2026-01-02 03:04:05 UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    inbox: Path
    failed: Path
    state: Path
    include: tuple[str, ...] = field(default=("*.dcm",))

    @property
    def orders(self) -> FileOrders:
        return FileOrders(self.state)

    def quarantine(self, path: str, content: bytes, *, reason: Reason = Reason.REJECTED) -> str:
        """Drop it and file it away with a verdict, as the daemon does; its path in failed/."""
        target = self.inbox / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        instance = settled(InboxFolder(self.inbox), path)
        verdict = Verdict(
            path=path,
            stamp=instance.stamp,
            quarantine=Quarantine(reason=reason, text="t", what_to_do="w", comment="the server's words"),
            attempts=1,
            first_seen=AT,
            failed_at=AT,
            ids=instance.ids,
            sha256=None,
        )
        return Filing(self.inbox, self.failed, self.failed).to_failed(verdict)

    def takes(self, path: str) -> bool:
        return classify_path(path, self.include, ()) is None

    def putting(self, *, replace: bool = False) -> PuttingBack:
        orders = FileOrders(self.state)
        give = [Order.REPLACE] if replace else []
        return PuttingBack(self.failed, self.inbox, takes=self.takes, orders=orders, give=give)

    def put_back(self, path: str, *, replace: bool = False) -> str:
        (found,) = FailedFolder(self.failed).find(path)
        return self.putting(replace=replace).put_back(found)

    def ordered(self, path: str) -> bool:
        return self.orders.replaces(path, settled(InboxFolder(self.inbox), path).stamp)


def house(root: Path, elsewhere: Path) -> House:
    made = House(inbox=root / "inbox", failed=elsewhere / "failed", state=root / "state")
    for folder in (made.inbox, made.failed, made.state):
        folder.mkdir()
    return made


@pytest.fixture
def near(tmp_path: Path) -> House:
    return house(tmp_path, tmp_path)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[House]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        assert tmp_path.stat().st_dev != Path(folder).stat().st_dev
        yield house(tmp_path, Path(folder))


@pytest.fixture(params=["near", "far"])
def either(request: pytest.FixtureRequest) -> House:
    made: House = request.getfixturevalue(request.param)
    return made


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if not p.is_dir()}


# --- reading ---------------------------------------------------------------------------------------------------------------------


def test_it_lists_each_file_with_its_reason_in_the_order_of_names(near: House) -> None:
    """Design 5: a reason file each."""
    for path in ("d/1.dcm", "b/2.dcm", "b/10.dcm", "a.dcm", "c.dcm", "b/c/1.dcm"):
        near.quarantine(path, part10())
    found = list(FailedFolder(near.failed))
    assert [one.path for one in found] == ["a.dcm", "c.dcm", "b/10.dcm", "b/2.dcm", "b/c/1.dcm", "d/1.dcm"]
    for one in found:
        assert one.why == json.loads((near.failed / f"{one.path}.reason.json").read_bytes())
        assert (one.flaw, one.is_file, one.origin) == (None, True, one.path)


@pytest.mark.slow
def test_it_lists_very_many_files_in_few_bytes_and_in_order(near: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F90: neither the rows nor all their names are kept."""
    document = near.quarantine("s/a.dcm", part10())
    reason = (near.failed / f"{document}.reason.json").read_bytes()
    names = [f"{number:0200d}.dcm" for number in range(3000)]
    for name in names:
        (near.failed / "s" / name).touch()
        (near.failed / "s" / f"{name}.reason.json").write_bytes(reason)
    monkeypatch.setattr(descent, "MOST_BYTES", 50_000)
    tracemalloc.start()
    try:
        listed = sum(one.path == f"s/{name}" for one, name in zip(FailedFolder(near.failed), names, strict=False))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert listed == 3000
    assert peak < (1 << 20) + 500_000  # as much as one reason file may have is read; the names alone are 1.9 MB


def test_a_file_that_is_put_back_while_it_is_listed_leaves_no_word(near: House) -> None:
    """`failed retry --all`: its reason file, whose turn comes next, has gone with it."""
    for path in ("a.dcm", "b.dcm"):
        near.quarantine(path, part10())
    found = []
    for one in FailedFolder(near.failed):
        near.putting().put_back(one)
        found.append((one.path, one.flaw))
    assert found == [("a.dcm", None), ("b.dcm", None)]


def test_nothing_is_nothing(near: House) -> None:
    assert list(FailedFolder(near.failed)) == []


def test_what_is_amiss_is_named_and_ends_nothing(near: House) -> None:
    """I5: people work in the folders too."""
    near.quarantine("a.dcm", part10())
    near.quarantine("orphan.dcm", part10())
    (near.failed / "orphan.dcm").unlink()
    (near.failed / "alone.dcm").write_bytes(b"x")
    (near.failed / ".ingestd-0123.tmp").write_bytes(b"a write that a crash ended")
    (near.failed / "link.dcm").symlink_to(near.failed / "a.dcm")
    os.mkfifo(near.failed / "fifo.dcm")
    flaws = {one.path: one.flaw for one in FailedFolder(near.failed)}
    assert flaws == {"a.dcm": None, "alone.dcm": Flaw.NO_REASON, "orphan.dcm": Flaw.NO_FILE}
    (orphan,) = FailedFolder(near.failed).find("orphan.dcm")
    assert (orphan.is_file, orphan.why is not None) == (False, True)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 50_000,
        b'{"version": 2, "path": "a.dcm", "reason": "rejected"}',
        b'{"version": 1, "path": "../a.dcm", "reason": "rejected"}',
        b'{"version": 1, "path": "/etc/a.dcm", "reason": "rejected"}',
        b'{"version": 1, "path": "\\ud800.dcm", "reason": "rejected"}',
        b'{"version": 1, "path": "a\\u0000.dcm", "reason": "rejected"}',
        b'{"version": 1, "reason": "rejected"}',
        b'{"version": 1, "path": "a.dcm"}',
        b'{"version": 1, "path": "a.dcm", "reason": "rejected", "text": "' + b"x" * (1 << 20) + b'"}',
    ],
)
def test_a_damaged_reason_file_is_said_and_its_file_still_goes_back(near: House, content: bytes) -> None:
    """Under the name it has here, for where it was is not known."""
    path = near.quarantine("s/a.dcm", part10())
    (near.failed / "s" / "a.dcm.reason.json").write_bytes(content)
    (found,) = FailedFolder(near.failed)
    assert (found.path, found.why, found.flaw) == (path, None, Flaw.DAMAGED)
    assert near.putting().put_back(found) == "s/a.dcm"
    assert (tree(near.inbox), tree(near.failed)) == ({"s/a.dcm": part10()}, {})


def test_a_reason_file_that_cannot_be_read_is_said(near: House) -> None:
    """A link is never followed."""
    near.quarantine("a.dcm", part10())
    (near.failed / "a.dcm.reason.json").rename(near.state / "elsewhere")
    (near.failed / "a.dcm.reason.json").symlink_to(near.state / "elsewhere")
    (found,) = FailedFolder(near.failed).find("a.dcm")
    assert (found.is_file, found.why, found.flaw) == (True, None, Flaw.UNREADABLE)


def test_a_folder_that_cannot_be_opened_is_said(near: House, monkeypatch: pytest.MonkeyPatch) -> None:
    near.quarantine("a.dcm", part10())
    near.quarantine("s/b.dcm", part10())
    opened = os.open

    def refuse(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "s":
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    assert [(one.path, one.flaw) for one in FailedFolder(near.failed)] == [("a.dcm", None), ("s", Flaw.NO_FOLDER)]


def test_a_file_that_is_called_like_a_reason_file_is_a_file(near: House) -> None:
    """Where intake.include takes such names (F30)."""
    near.quarantine("a.dcm.reason.json", part10(name="A"))
    near.quarantine("a.dcm", part10(name="B"))
    found = {one.path: one for one in FailedFolder(near.failed)}
    assert {path: one.origin for path, one in found.items()} == {
        "a.dcm.reason.json": "a.dcm.reason.json",
        "a~1.dcm": "a.dcm",
    }
    (one,) = FailedFolder(near.failed).find("a.dcm.reason.json")
    assert one == found["a.dcm.reason.json"]


def test_it_finds_by_the_path_here_by_the_reason_file_and_by_where_it_was(near: House) -> None:
    """What `failed list --json` prints is where it was, which is not always its name here."""
    for name in ("A", "B", "C"):
        near.quarantine("s/a.dcm", part10(name=name))
    long = "x" * 251 + ".dcm"
    cut = near.quarantine(long, part10())
    failed = FailedFolder(near.failed)

    def paths(asked: str) -> list[str]:
        return [one.path for one in failed.find(asked) if one.flaw is None]

    assert paths("s/a~1.dcm") == ["s/a~1.dcm"]
    assert paths("s/a~1.dcm.reason.json") == ["s/a~1.dcm"]
    assert paths("s/a.dcm") == ["s/a.dcm"]
    assert paths(long) == [cut]
    near.put_back("s/a.dcm")
    assert paths("s/a.dcm") == ["s/a~1.dcm", "s/a~2.dcm"]


@pytest.mark.parametrize("path", ["", "b.dcm", "a", "s", "nowhere/a.dcm", "../inbox/a.dcm", "/etc/passwd", "a\0", "."])
def test_what_is_not_there_is_absent(near: House, path: str) -> None:
    near.quarantine("a.dcm", part10())
    near.quarantine("s/a.dcm", part10())
    assert FailedFolder(near.failed).find(path) == (Quarantined(path=path, flaw=Flaw.ABSENT),)


def test_failed_itself_must_be_there(near: House) -> None:
    """The text names no path."""
    (near.failed).rmdir()
    for read in (lambda: list(FailedFolder(near.failed)), lambda: FailedFolder(near.failed).find("a.dcm")):
        with pytest.raises(FilingError, match=r"folders\.failed can't be read \(No such file"):
            read()


# --- the way back ----------------------------------------------------------------------------------------------------------------


def test_it_goes_back_to_where_it_was_and_its_reason_goes(either: House) -> None:
    """I1: byte for byte; missing folders are made."""
    either.quarantine("s/t/a.dcm", part10())
    (either.inbox / "s" / "t").rmdir()
    (either.inbox / "s").rmdir()
    before = (either.failed / "s" / "t" / "a.dcm").stat()
    assert either.put_back("s/t/a.dcm") == "s/t/a.dcm"
    after = (either.inbox / "s" / "t" / "a.dcm").stat()
    assert (tree(either.inbox), tree(either.failed)) == ({"s/t/a.dcm": part10()}, {})
    assert (before.st_mode, before.st_mtime_ns, before.st_uid) == (after.st_mode, after.st_mtime_ns, after.st_uid)


def test_a_name_that_is_taken_gets_a_suffix_that_the_inbox_takes(either: House) -> None:
    """F30: nothing is ever overwritten."""
    either.quarantine("a.dcm", part10(name="A"))
    (either.inbox / "a.dcm").write_bytes(b"a new one")
    assert either.put_back("a.dcm", replace=True) == "a~1.dcm"
    assert tree(either.inbox) == {"a.dcm": b"a new one", "a~1.dcm": part10(name="A")}
    assert either.ordered("a~1.dcm")
    assert len(list((either.state / "replace").iterdir())) == 1


def test_a_suffix_that_no_pattern_takes_is_passed_over(near: House) -> None:
    """What the scan ignores would never be sent again."""
    picky = House(inbox=near.inbox, failed=near.failed, state=near.state, include=("IM????",))
    picky.quarantine("IM0001", part10())
    (picky.inbox / "IM0001").write_bytes(b"a new one")
    with pytest.raises(FilingError, match="taken"):
        picky.put_back("IM0001", replace=True)
    assert sorted(tree(picky.failed)) == ["IM0001", "IM0001.reason.json"]
    assert tree(picky.state) == {}


def test_a_name_that_the_inbox_takes_no_longer_stays(near: House) -> None:
    """It would lie there for ever."""
    near.quarantine("a.ima", part10())
    with pytest.raises(FilingError, match=r"intake\.include"):
        near.put_back("a.ima")
    assert sorted(tree(near.failed)) == ["a.ima", "a.ima.reason.json"]


def test_a_file_without_a_reason_goes_back_under_its_own_path(either: House) -> None:
    (either.failed / "s").mkdir()
    (either.failed / "s" / "a.dcm").write_bytes(part10())
    assert either.put_back("s/a.dcm") == "s/a.dcm"
    assert tree(either.inbox) == {"s/a.dcm": part10()}


@pytest.mark.parametrize("flaw", [Flaw.ABSENT, Flaw.NO_FILE, Flaw.NO_FOLDER])
def test_what_is_no_file_cannot_go_back(near: House, flaw: Flaw) -> None:
    with pytest.raises(FilingError) as caught:
        near.putting().put_back(Quarantined(path="a.dcm", flaw=flaw))
    assert str(caught.value) == flaw.value


def test_one_that_vanished_is_gone(near: House) -> None:
    """Another command was first."""
    near.quarantine("s/a.dcm", part10())
    (found,) = FailedFolder(near.failed)
    near.put_back("s/a.dcm")
    with pytest.raises(FileGoneError):
        near.putting().put_back(found)
    (near.failed / "s").rmdir()
    with pytest.raises(FileGoneError):
        near.putting().put_back(found)


def test_the_order_stands_before_the_file_is_in_the_inbox(either: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon must never judge it without."""
    either.quarantine("a.dcm", part10())
    move = handles.move
    stood: list[bool] = []

    def watched(from_folder: int, name: str, to_folder: int, new_name: str) -> None:
        move(from_folder, name, to_folder, new_name)
        if new_name == "a.dcm":
            stood.append(either.ordered("a.dcm"))

    monkeypatch.setattr(handles, "move", watched)
    either.put_back("a.dcm", replace=True)
    assert stood == [True]


def test_without_an_order_nothing_is_replaced(either: House) -> None:
    either.quarantine("a.dcm", part10())
    either.put_back("a.dcm")
    assert not either.ordered("a.dcm")


def test_no_order_no_move(near: House) -> None:
    """Where the state folder can't be written."""
    near.quarantine("a.dcm", part10())
    near.state.rmdir()
    with pytest.raises(JournalError):
        near.put_back("a.dcm", replace=True)
    assert sorted(tree(near.failed)) == ["a.dcm", "a.dcm.reason.json"]
    assert tree(near.inbox) == {}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_move_that_fails_changes_nothing(either: House, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """F39, I7: and its text names no path."""
    either.quarantine("patient.dcm", part10())

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(handles, "move", refuse)
    with pytest.raises(FilingError, match=os.strerror(code)) as caught:
        either.put_back("patient.dcm", replace=True)
    assert "patient" not in str(caught.value)
    assert sorted(tree(either.failed)) == ["patient.dcm", "patient.dcm.reason.json"]
    assert (tree(either.inbox), tree(either.state)) == ({}, {})


def test_a_link_in_the_inbox_is_not_followed(near: House, tmp_path: Path) -> None:
    """F28."""
    near.quarantine("s/a.dcm", part10())
    (near.inbox / "s").rmdir()
    (tmp_path / "outside").mkdir()
    (near.inbox / "s").symlink_to(tmp_path / "outside")
    with pytest.raises(FilingError, match="a file or a link"):
        near.put_back("s/a.dcm")
    assert tree(tmp_path / "outside") == {}


def test_new_folders_are_owned_as_their_parent_is(near: House) -> None:
    """A command run by root must not shut the service's user out."""
    near.quarantine("s/t/a.dcm", part10())
    (near.inbox / "s" / "t").rmdir()
    (near.inbox / "s").rmdir()
    near.inbox.chmod(0o2770)
    if os.geteuid() == 0:
        os.chown(near.inbox, 1234, 4321)
        near.inbox.chmod(0o2770)
    near.put_back("s/t/a.dcm")
    parent, made = near.inbox.stat(), (near.inbox / "s" / "t").stat()
    assert (made.st_uid, made.st_gid, made.st_mode) == (parent.st_uid, parent.st_gid, parent.st_mode)


def test_the_reason_of_a_new_verdict_stays(near: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon took the file at once, and had it in failed/ again before its old reason was removed."""
    near.quarantine("a.dcm", part10())
    unexplain = putting_back._unexplain

    def late(folder: int, name: str, identity: tuple[int, int]) -> None:
        near.quarantine("a.dcm", (near.inbox / "a.dcm").read_bytes(), reason=Reason.CONFLICT)
        unexplain(folder, name, identity)

    monkeypatch.setattr(putting_back, "_unexplain", late)
    near.put_back("a.dcm")
    (found,) = FailedFolder(near.failed)
    assert found.why is not None
    assert (found.path, found.why["reason"], found.flaw) == ("a.dcm", "conflict", None)


def test_the_reason_of_a_verdict_at_the_very_last_moment_stays(near: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, between the look at the reason file and its removal."""
    near.quarantine("a.dcm", part10())
    move = handles.move

    def late(from_folder: int, name: str, to_folder: int, new_name: str) -> None:
        if name == "a.dcm.reason.json":
            monkeypatch.setattr(handles, "move", move)
            near.quarantine("a.dcm", (near.inbox / "a.dcm").read_bytes(), reason=Reason.CONFLICT)
        move(from_folder, name, to_folder, new_name)

    monkeypatch.setattr(handles, "move", late)
    near.put_back("a.dcm")
    (found,) = FailedFolder(near.failed)
    assert found.why is not None
    assert (found.path, found.why["reason"], found.flaw) == ("a.dcm", "conflict", None)
    assert sorted(tree(near.failed)) == ["a.dcm", "a.dcm.reason.json"]


def test_a_copy_that_another_process_replaced_costs_nothing(far: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F41: the source goes only for what was verified."""
    far.quarantine("a.dcm", part10())
    copy_over = move.copy_over

    def replaced(entry: Entry, root: int) -> copying.Copy:
        copy = copy_over(entry, root)
        (far.inbox / copy.name).unlink()
        (far.inbox / copy.name).write_bytes(b"another's")
        return copy

    monkeypatch.setattr(move, "copy_over", replaced)
    with pytest.raises(FilingError):
        far.put_back("a.dcm")
    assert tree(far.failed)["a.dcm"] == part10()


def test_a_source_that_cannot_be_taken_away_is_said(far: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy may be on its way to the service: it stays, and so does the source with its reason."""
    far.quarantine("a.dcm", part10())

    def refuse(_: Entry) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(putting_back, "remove", refuse)
    with pytest.raises(FilingError, match="by hand"):
        far.put_back("a.dcm")
    assert tree(far.inbox) == {"a.dcm": part10()}
    assert sorted(tree(far.failed)) == ["a.dcm", "a.dcm.reason.json"]


# --- killed at every step --------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Nothing runs after it: each later call that would change the disk raises it as well."""


CALLS = ((handles, "move"), (os, "unlink"), (os, "rename"), (os, "mkdir"), (os, "fsync"), (os, "write"), (os, "utime"))


class Death:
    """Ends the process just before call `at`, or just after it."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.at, self.after, self.count, self.dead = at, after, 0, False

    def wrap(self, call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: object, **named: object) -> object:
            if self.dead:
                raise Killed
            self.count += 1
            self.dead = self.count == self.at
            if not self.dead:
                return call(*arguments, **named)
            if self.after:
                with suppress(OSError):
                    call(*arguments, **named)
            raise Killed

        return wrapped


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_call_the_file_is_never_gone(either: House, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    """I1: in failed/ with its reason, or in the inbox with its order; once more, and it is in the inbox."""
    content, at, died = part10(), 0, True
    while died:
        at += 1
        either.quarantine("s/a.dcm", content)
        (either.inbox / "s").rmdir()
        death = Death(at, after=after)
        with monkeypatch.context() as doomed:
            for where, name in CALLS:
                doomed.setattr(where, name, death.wrap(getattr(where, name)))
            try:
                either.put_back("s/a.dcm", replace=True)
            except Killed:
                pass
            died = death.dead
        inbox = {
            path: found for path, found in tree(either.inbox).items() if not path.rpartition("/")[2].startswith(".")
        }
        standing = [one for one in FailedFolder(either.failed) if one.is_file]
        assert inbox or standing, f"gone at call {at}"
        assert all(found == content for found in inbox.values())
        assert all((either.failed / one.path).read_bytes() == content for one in standing)
        assert all(either.ordered(path) for path in inbox), f"without its order at call {at}"
        if not inbox:
            assert [one.flaw for one in standing] == [None], f"without its reason at call {at}"
        for one in standing:
            either.putting(replace=True).put_back(one)
        left = {
            path: found for path, found in tree(either.inbox).items() if not path.rpartition("/")[2].startswith(".")
        }
        assert set(left) <= {"s/a.dcm", "s/a~1.dcm"}
        assert all(found == content for found in left.values())
        assert [one for one in FailedFolder(either.failed) if one.is_file] == []
        for folder in (either.inbox, either.failed, either.state):
            for file in [p for p in folder.rglob("*") if p.is_file()]:
                file.unlink()
    assert at > 8


def test_a_plain_retry_voids_what_a_command_that_was_killed_had_ordered(near: House) -> None:
    """DESIGN 3: `--replace` replaces just those chosen: an order without its move must not replace later."""
    path = near.quarantine("x.dcm", part10())
    near.orders.order("x.dcm", handles.stamp_of(near.failed.joinpath(path).lstat()), list(Order))
    assert near.put_back(path) == "x.dcm"
    assert not near.ordered("x.dcm")


def test_as_is_orders_just_that_and_replace_nothing_else(near: House) -> None:
    """`failed retry --as-is`: bound to this state of this file."""
    path = near.quarantine("x.dcm", part10())
    (found,) = FailedFolder(near.failed).find(path)
    putting = PuttingBack(near.failed, near.inbox, takes=near.takes, orders=near.orders, give=[Order.AS_IS])
    assert putting.put_back(found) == "x.dcm"
    stamp = settled(InboxFolder(near.inbox), "x.dcm").stamp
    assert (near.orders.as_is("x.dcm", stamp), near.orders.replaces("x.dcm", stamp)) == (True, False)


def test_a_file_without_uids_can_not_go_as_it_is(near: House) -> None:
    """One line, and it stays where it is; without the order it can go."""
    path = near.quarantine("x.dcm", part10(), reason=Reason.NOT_DICOM)
    near.failed.joinpath(path).write_bytes(b"no DICOM" * 100)
    before = tree(near.failed)
    (found,) = FailedFolder(near.failed).find(path)
    putting = PuttingBack(near.failed, near.inbox, takes=near.takes, orders=near.orders, give=[Order.AS_IS])
    for attempt in (putting.check, putting.put_back):
        with pytest.raises(FilingError, match="its UIDs can't be read"):
            attempt(found)
    assert (tree(near.failed), tree(near.inbox), tree(near.state)) == (before, {}, {})
    assert near.put_back(path) == "x.dcm"


def test_a_dry_run_refuses_what_the_run_would_and_touches_nothing(near: House) -> None:
    """`--dry-run`."""
    path = near.quarantine("x.dcm", part10())
    before = tree(near.failed)
    (found,) = FailedFolder(near.failed).find(path)
    near.putting(replace=True).check(found)
    with pytest.raises(FilingError, match=r"intake\.include"):
        replace(near, include=("*.other",)).putting().check(found)
    assert (tree(near.failed), tree(near.inbox), tree(near.state)) == (before, {}, {})
