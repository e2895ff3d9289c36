"""Filing on a real disk: reason files, names, races, full disks, other file systems."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from fakes.bodies_fake import digest
from fakes.spool_fakes import part10, settled

from ingestd.core.answers.outcome import Quarantine
from ingestd.core.answers.reasons import Reason
from ingestd.core.errors import FileChangedError, FileGoneError, FilingError, YoungFileError
from ingestd.core.layout import Layout
from ingestd.core.model import Evidence, Instance
from ingestd.core.record import Verdict
from ingestd.spool.disk import handles
from ingestd.spool.disk import synced as synced_module
from ingestd.spool.disk.lease import ignore_sigio
from ingestd.spool.filing import copying, move, outcome_folder, removal
from ingestd.spool.filing.entry import Entry
from ingestd.spool.filing.filing import Filing
from ingestd.spool.filing.removal import remove
from ingestd.spool.intake.inbox import InboxFolder

AT = 1767323045.0  # 2026-01-02 03:04:05 UTC
DAY = "2026-01-02"


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    inbox: Path
    done: Path
    failed: Path

    @property
    def filing(self) -> Filing:
        return Filing(self.inbox, self.done, self.failed)

    def drop(self, path: str, content: bytes) -> Instance:
        target = self.inbox / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return settled(InboxFolder(self.inbox), path)


def house(root: Path, elsewhere: Path) -> House:
    made = House(inbox=root / "inbox", done=elsewhere / "done", failed=elsewhere / "failed")
    for folder in (made.inbox, made.done, made.failed):
        folder.mkdir()
    return made


@pytest.fixture
def near(tmp_path: Path) -> House:
    return house(tmp_path, tmp_path)


@pytest.fixture
def shm() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def far(tmp_path: Path, shm: Path) -> House:
    assert tmp_path.stat().st_dev != shm.stat().st_dev
    return house(tmp_path, shm)


@pytest.fixture(params=["near", "far"])
def either(request: pytest.FixtureRequest) -> House:
    made: House = request.getfixturevalue(request.param)
    return made


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if not p.is_dir()}


def verdict(instance: Instance, **changes: object) -> Verdict:
    quarantine = Quarantine(
        reason=Reason.REJECTED,
        text="the service refused it",
        what_to_do="ask the service's operator",
        http_status=409,
        failure_reason=43264,
        comment="No \u2028 patient, \x1b[31m",
    )
    made = Verdict(
        path=instance.path,
        stamp=instance.stamp,
        quarantine=quarantine,
        attempts=3,
        first_seen=AT - 60.5,
        failed_at=AT,
        ids=instance.ids,
        sha256=instance.sha256,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # keyword arguments of the test


# --- the reason file -------------------------------------------------------------------------------------------------------------


def test_the_reason_file_says_everything(either: House) -> None:
    """DESIGN 5: exact keys."""
    instance = either.drop("study/a.dcm", part10())
    either.filing.to_failed(verdict(instance))
    assert json.loads((either.failed / "study" / "a.dcm.reason.json").read_bytes()) == {
        "version": 1,
        "reason": "rejected",
        "text": "the service refused it",
        "what_to_do": "ask the service's operator",
        "http_status": 409,
        "failure_reason": 43264,
        "comment": "No \u2028 patient, \x1b[31m",
        "attempts": 3,
        "first_seen": "2026-01-02T03:03:04.500Z",
        "failed_at": "2026-01-02T03:04:05.000Z",
        "path": "study/a.dcm",
        "study_uid": "1.2.3",
        "series_uid": "1.2.3.4",
        "sop_instance_uid": "1.2.3.4.5",
        "sha256": digest(part10()),
        "differs": None,
    }
    assert sorted(tree(either.failed)) == ["study/a.dcm", "study/a.dcm.reason.json"]
    assert stat.S_IMODE((either.failed / "study" / "a.dcm.reason.json").stat().st_mode) == 0o600


def test_the_unknown_is_null_and_the_digest_is_made_up_for(near: House) -> None:
    instance = near.drop("a.dcm", part10())
    quarantine = Quarantine(reason=Reason.NOT_DICOM, text="t", what_to_do="w")
    near.filing.to_failed(verdict(instance, ids=None, sha256=None, quarantine=quarantine))
    said = json.loads((near.failed / "a.dcm.reason.json").read_bytes())
    unknown = {key for key, value in said.items() if value is None}
    ids = {"study_uid", "series_uid", "sop_instance_uid"}
    assert unknown == ids | {"http_status", "failure_reason", "comment", "differs"}
    assert said["sha256"] == digest(part10())


def test_the_reason_file_stands_before_the_file_moves(near: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F37, F38: nothing is ever in failed/ without its reason."""
    instance = near.drop("a.dcm", part10())
    move = handles.move
    seen: list[str] = []

    def watched(from_folder: int, name: str, to_folder: int, new_name: str) -> None:
        seen.extend(sorted(tree(near.failed)))
        move(from_folder, name, to_folder, new_name)

    monkeypatch.setattr(handles, "move", watched)
    near.filing.to_failed(verdict(instance))
    assert seen == ["a.dcm.reason.json"]


def test_file_and_reason_stay_a_pair_when_the_name_is_taken(either: House) -> None:
    """F30."""
    for content, attempts in ((part10(name="A"), 1), (part10(name="B"), 2)):
        either.filing.to_failed(verdict(either.drop("a.dcm", content), attempts=attempts))
    assert (either.failed / "a~1.dcm").read_bytes() == part10(name="B")
    assert json.loads((either.failed / "a~1.dcm.reason.json").read_bytes())["attempts"] == 2
    assert json.loads((either.failed / "a.dcm.reason.json").read_bytes())["attempts"] == 1


def test_an_orphan_of_a_crash_is_overwritten(either: House) -> None:
    """F37: a crash between reason file and move; the rerun takes the same name."""
    instance = either.drop("a.dcm", part10())
    (either.failed / "a.dcm.reason.json").write_text("{}")
    assert either.filing.to_failed(verdict(instance)) == "a.dcm"
    assert json.loads((either.failed / "a.dcm.reason.json").read_bytes())["reason"] == "rejected"


def test_a_quarantined_file_is_never_taken_for_an_orphan_reason_file(near: House) -> None:
    """F30: where intake.include takes such names."""
    near.filing.to_failed(verdict(near.drop("a.dcm.reason.json", part10(name="A"))))
    assert near.filing.to_failed(verdict(near.drop("a.dcm", part10(name="B")))) == "a~1.dcm"
    assert (near.failed / "a.dcm.reason.json").read_bytes() == part10(name="A")


def test_a_failed_move_leaves_no_reason_file(near: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F39: source and target are as they were."""
    instance = near.drop("a.dcm", part10())
    monkeypatch.setattr(handles, "move", failing(errno.ENOSPC))
    with pytest.raises(FilingError, match="free some space"):
        near.filing.to_failed(verdict(instance))
    assert (list(tree(near.inbox)), tree(near.failed)) == (["a.dcm"], {})


def failing(code: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


# --- names ----------------------------------------------------------------------------------------------------------------------

AWKWARD = [
    "a\nb.dcm",
    "\x1b[31m.dcm",
    os.fsdecode(b"\xff\xfe.dcm"),
    "-rf.dcm",
    "\u202emcd.dcm",
    "%s{date}'\".dcm",
    "{path}.dcm",
]


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_names_are_kept(either: House, name: str) -> None:
    """F29: undecodable bytes too; the reason file is ASCII."""
    assert either.filing.to_done(either.drop(name, part10()), at=AT) == f"{DAY}/{name}"
    assert either.filing.to_failed(verdict(either.drop(name, part10()))) == name
    said = (either.failed / (name + ".reason.json")).read_bytes()
    assert json.loads(said.decode("ascii"))["path"] == name


@pytest.mark.parametrize("name", ["x" * 251 + ".dcm", "\u00e4" * 125 + ".dcm", "y" * 240 + ".dcm"])
def test_a_name_too_long_for_its_reason_file_is_cut(either: House, name: str) -> None:
    """DESIGN 5: it ends in ~ and 8 hex digits, and is cut at a character."""
    first = either.filing.to_failed(verdict(either.drop(name, part10(name="A"))))
    second = either.filing.to_failed(verdict(either.drop(name, part10(name="B"))))
    assert first != second
    for path in (first, second):
        stem, mark = path[:-9], path[-9:]
        assert mark[0] == "~"
        assert set(mark[1:]) <= set("0123456789abcdef")
        assert name.startswith(stem)
        assert json.loads((either.failed / f"{path}.reason.json").read_bytes())["path"] == name
        assert (either.failed / path).is_file()


def test_a_long_name_stays_in_done_and_a_taken_one_is_cut(near: House) -> None:
    """F29, F30."""
    name = "x" * 251 + ".dcm"
    assert near.filing.to_done(near.drop(name, part10(name="A")), at=AT) == f"{DAY}/{name}"
    second = near.filing.to_done(near.drop(name, part10(name="B")), at=AT)
    assert second.startswith(f"{DAY}/xxx")
    assert (near.done / second).read_bytes() == part10(name="B")


def test_many_files_of_one_name_all_find_a_place(near: House) -> None:
    """F30: a modality that calls every file the same."""
    for number in range(40):
        near.filing.to_done(near.drop("IM0001.dcm", part10(name=str(number))), at=AT)
    assert len(tree(near.done)) == 40
    assert tree(near.inbox) == {}


def test_a_folder_whose_name_is_a_file_or_a_link_gets_another(either: House, tmp_path: Path) -> None:
    """F28, F30: a link in done/ is not followed."""
    (tmp_path / "outside").mkdir()
    (either.done / DAY).mkdir()
    (either.done / DAY / "study").symlink_to(tmp_path / "outside")
    (either.failed / "study").write_bytes(b"a file")
    assert either.filing.to_done(either.drop("study/a.dcm", part10()), at=AT) == f"{DAY}/study~1/a.dcm"
    assert either.filing.to_failed(verdict(either.drop("study/a.dcm", part10()))) == "study~1/a.dcm"
    assert tree(tmp_path / "outside") == {}
    assert (either.failed / "study").read_bytes() == b"a file"


def test_the_layout_places_files(near: House) -> None:
    filing_away = Filing(near.inbox, near.done, near.failed, layout=Layout("{path}"))
    assert filing_away.to_done(near.drop("study/a.dcm", part10()), at=AT) == "study/a.dcm"


# --- races ----------------------------------------------------------------------------------------------------------------------


def swapping(near: House, path: str, content: bytes) -> Callable[..., None]:
    """A new version is renamed over the file at the very moment of the move."""
    move, swapped = handles.move, []

    def swap(from_folder: int, name: str, to_folder: int, new_name: str) -> None:
        if not swapped:
            swapped.append(True)
            (near.inbox / ".new").write_bytes(content)
            (near.inbox / ".new").rename(near.inbox / path)
        move(from_folder, name, to_folder, new_name)

    return swap


def test_other_bytes_under_an_old_time_are_noticed(either: House) -> None:
    """F20, I4: size and mtime are as before, the ctime is not."""
    instance = either.drop("a.dcm", part10(name="A"))
    (either.inbox / "a.dcm").write_bytes(part10(name="B"))
    os.utime(either.inbox / "a.dcm", ns=(0, instance.stamp.mtime_ns))
    with pytest.raises(FileChangedError):
        either.filing.to_done(instance, at=AT)
    assert tree(either.done) == {}


@pytest.mark.parametrize("kind", ["done", "failed"])
def test_a_new_version_that_slips_in_goes_back(near: House, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """F19, F28: it is never moved unsent."""
    instance = near.drop("study/a.dcm", part10())
    monkeypatch.setattr(handles, "move", swapping(near, "study/a.dcm", b"new version"))
    with pytest.raises(FileChangedError):
        near.filing.to_done(instance, at=AT) if kind == "done" else near.filing.to_failed(verdict(instance))
    assert tree(near.inbox) == {"study/a.dcm": b"new version"}
    assert (tree(near.done), tree(near.failed)) == ({}, {})


def test_a_new_version_survives_while_the_old_one_crosses(far: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F19, F41: what was sent is filed, what came since stays."""
    instance = far.drop("a.dcm", part10())

    def late(entry: Entry) -> None:
        (far.inbox / ".new").write_bytes(b"new version")
        (far.inbox / ".new").rename(far.inbox / "a.dcm")
        remove(entry)

    monkeypatch.setattr(outcome_folder, "remove", late)
    with pytest.raises(FileChangedError):
        far.filing.to_done(instance, at=AT)
    assert tree(far.inbox) == {"a.dcm": b"new version"}
    assert tree(far.done) == {f"{DAY}/a.dcm": part10()}


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_is_written_behind_a_copy_does_not_go_with_the_source(
    far: House, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """I1, F18, F41: a program that still has the file open, before it is copied (then it is not) or as soon as it was."""
    instance = replace(far.drop("a.dcm", part10()), evidence=Evidence.QUIET)
    writers = [(far.inbox / "a.dcm").open("ab")] if when == "before" else []
    copied, copy_over = [], move.copy_over

    def counted(entry: Entry, root: int) -> copying.Copy:
        copied.append(entry.path)
        return copy_over(entry, root)

    def late(entry: Entry) -> None:
        writers.append((far.inbox / "a.dcm").open("ab"))
        remove(entry)

    with monkeypatch.context() as patched:
        patched.setattr(outcome_folder, "remove", late)
        patched.setattr(move, "copy_over", counted)
        with pytest.raises(FilingError, match="open for writing"):
            far.filing.to_done(instance, at=AT)
    assert copied == ([] if when == "before" else ["a.dcm"])
    writers[0].write(b"more")
    writers[0].close()
    assert (tree(far.inbox), tree(far.done)) == ({"a.dcm": part10() + b"more"}, {})


def test_a_writer_who_comes_while_a_file_is_read_once_more_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1, F18: it found the name before the rename, and opens the file while its digest is made just before the unlink."""
    ignore_sigio()
    name, content = tmp_path / "a.dcm", part10()
    name.write_bytes(content)
    real, folder = removal.digest_of, os.open(tmp_path, os.O_RDONLY)

    def opened_meanwhile(handle: int) -> str:
        with suppress(BlockingIOError):  # it does not wait here, and the lease is broken all the same
            os.close(os.open(tmp_path / "a~1.dcm", os.O_WRONLY | os.O_NONBLOCK))
        return real(handle)

    monkeypatch.setattr(removal, "digest_of", opened_meanwhile)
    entry = Entry(folder=folder, name="a.dcm", path="a.dcm", stamp=handles.stamp_of(name.stat()))
    with pytest.raises(OSError, match="busy"):
        remove(entry, sha256=digest(content))
    os.close(folder)
    assert tree(tmp_path) == {"a.dcm": content}


def test_a_parent_swapped_for_a_link_is_not_entered(either: House, tmp_path: Path) -> None:
    """F28."""
    instance = either.drop("study/a.dcm", part10())
    (either.inbox / "study").rename(tmp_path / "moved")
    (either.inbox / "study").symlink_to(tmp_path / "moved")
    with pytest.raises(FileChangedError):
        either.filing.to_done(instance, at=AT)
    assert tree(tmp_path / "moved") == {"a.dcm": part10()}


def test_a_vanished_folder_means_gone(either: House) -> None:
    """F24."""
    instance = either.drop("study/a.dcm", part10())
    shutil.rmtree(either.inbox / "study")
    with pytest.raises(FileGoneError):
        either.filing.to_done(instance, at=AT)


def test_a_missing_done_folder_is_not_the_files_fault(either: House) -> None:
    """I3: it stays."""
    instance = either.drop("a.dcm", part10())
    either.done.rmdir()
    with pytest.raises(FilingError):
        either.filing.to_done(instance, at=AT)
    assert list(tree(either.inbox)) == ["a.dcm"]


# --- another file system ---------------------------------------------------------------------------------------------------------


def test_mode_owner_and_time_cross_as_well(far: House) -> None:
    """DESIGN 5: moves keep owner and mode."""
    far.drop("a.dcm", part10())
    os.chmod(far.inbox / "a.dcm", 0o640)
    if os.geteuid() == 0:
        os.chown(far.inbox / "a.dcm", 1234, 4321)
    os.utime(far.inbox / "a.dcm", ns=(10**18, 10**18 + 1))
    before = (far.inbox / "a.dcm").stat()
    placed = far.filing.to_done(settled(InboxFolder(far.inbox), "a.dcm"), at=AT)
    after = (far.done / placed).stat()
    kept = [(s.st_mode, s.st_uid, s.st_gid, s.st_size, s.st_mtime_ns) for s in (before, after)]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("call", ["fsync", "write", "posix_fadvise", "utime", "fchmod"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_copy_that_fails_leaves_everything_as_it_was(
    far: House, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    """F39, F40, F41."""
    instance = far.drop("a.dcm", part10(pixels=400))
    with monkeypatch.context() as patched:
        patched.setattr(os, call, failing(code))
        with pytest.raises(FilingError):
            far.filing.to_done(instance, at=AT)
    assert (tree(far.inbox), tree(far.done)) == ({"a.dcm": part10(pixels=400)}, {})
    assert far.filing.to_done(instance, at=AT) == f"{DAY}/a.dcm"


def test_a_copy_that_reads_back_differently_is_none(far: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F41."""
    instance = far.drop("a.dcm", part10())
    monkeypatch.setattr(copying, "digest_from", lambda handle, at: "other")
    with pytest.raises(FilingError):
        far.filing.to_done(instance, at=AT)
    assert (list(tree(far.inbox)), tree(far.done)) == (["a.dcm"], {})


def test_a_copy_that_another_process_replaced_is_none(far: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F41: the source goes only for what was verified."""
    instance = far.drop("a.dcm", part10())
    copy_over = move.copy_over

    def replaced(entry: Entry, root: int) -> copying.Copy:
        copy = copy_over(entry, root)
        (far.done / copy.name).unlink()
        (far.done / copy.name).write_bytes(b"another's")
        return copy

    monkeypatch.setattr(move, "copy_over", replaced)
    with pytest.raises(FilingError):
        far.filing.to_done(instance, at=AT)
    assert tree(far.inbox) == {"a.dcm": part10()}


def test_a_source_that_changes_while_it_is_copied_stays(far: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F19, F41."""
    instance = far.drop("a.dcm", part10())
    dress = handles.write_all

    def growing(handle: int, data: bytes) -> None:
        dress(handle, data)
        with (far.inbox / "a.dcm").open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr(handles, "write_all", growing)
    with pytest.raises(FileChangedError):
        far.filing.to_done(instance, at=AT)
    assert (tree(far.inbox), tree(far.done)) == ({"a.dcm": part10() + b"more"}, {})


CALLS = ("mkdir", "open", "write", "fchown", "fchmod", "utime", "fsync", "rename", "link", "unlink")


def killed_at(number: int, action: Callable[[], object]) -> bool:
    """Run `action` in a child that ends, as by SIGKILL, before its state-changing call of that number; False if it had fewer."""
    child = os.fork()
    if child == 0:
        left = [number]

        def counted(real: Callable[..., object]) -> Callable[..., object]:
            def call(*args: object, **kwargs: object) -> object:
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)
                return real(*args, **kwargs)

            return call

        ended = 1
        try:
            for name in CALLS:
                setattr(os, name, counted(getattr(os, name)))
            handles._renameat2 = counted(handles._renameat2)
            action()
            ended = 0
        finally:
            os._exit(ended)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9)
    return code == 9


@pytest.mark.parametrize("kind", ["done", "failed"])
@pytest.mark.parametrize("place", ["near", "far"])
def test_a_kill_at_any_step_loses_nothing(tmp_path: Path, shm: Path, place: str, kind: str) -> None:
    """F37, F41: the rerun, a day later, ends with the file in one folder once, byte for byte, with its reason."""
    content = part10(pixels=300)
    kills = 0
    while True:
        number = kills + 1
        (tmp_path / str(number)).mkdir()
        (shm / str(number)).mkdir()
        home = house(tmp_path / str(number), (shm if place == "far" else tmp_path) / str(number))
        instance = home.drop("study/a.dcm", content)

        def file_away(instance: Instance, at: float, home: House = home) -> None:
            if kind == "done":
                home.filing.to_done(instance, at=at)
            else:
                home.filing.to_failed(verdict(instance))

        if not killed_at(number, partial(file_away, instance, AT)):
            break
        kills = number
        left = tree(home.inbox)
        filed = [
            name
            for name, data in (tree(home.done) | tree(home.failed)).items()
            if data == content and ".ingestd-" not in name
        ]
        assert len(left) + len(filed) in (1, 2), number
        assert set(left.values()) <= {content}
        for path in left:
            file_away(settled(InboxFolder(home.inbox), path), AT + 86_400)
        assert tree(home.inbox) == {}
        standing = tree(home.done if kind == "done" else home.failed)
        if (marker := [name for name in standing if name.startswith(".ingestd-")]) and left == {}:
            del standing[marker[0]]  # killed when the source was gone: upkeep removes it (test_leftovers.py)
        (name,) = (name for name in standing if not name.endswith(".reason.json"))
        assert standing[name] == content
        assert name.endswith("study/a.dcm")
        assert set(standing) == ({name, f"{name}.reason.json"} if kind == "failed" else {name})
    assert kills >= (4 if place == "near" else 12)


def test_the_same_bytes_dropped_again_later_are_kept_beside(far: House) -> None:
    """F30, F36: only what a crash left half moved is taken for the same file."""
    for second in (1, 2):
        far.drop("a.dcm", part10())
        os.utime(far.inbox / "a.dcm", (second, second))
        far.filing.to_done(settled(InboxFolder(far.inbox), "a.dcm"), at=AT)
    assert sorted(tree(far.done)) == [f"{DAY}/a.dcm", f"{DAY}/a~1.dcm"]


def test_a_source_that_cannot_be_removed_leaves_no_copy(far: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F31: each try would leave another one."""
    instance = far.drop("a.dcm", part10())
    monkeypatch.setattr(outcome_folder, "remove", failing(errno.EROFS))
    with pytest.raises(FilingError, match="mount it writable; under systemd ReadWritePaths="):
        far.filing.to_done(instance, at=AT)
    assert (list(tree(far.inbox)), tree(far.done)) == (["a.dcm"], {})


REAL_CLOSE, REAL_UNLINK = os.close, os.unlink


def close_badly(handle: int) -> None:
    REAL_CLOSE(handle)
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def unlink_badly(name: str, *, dir_fd: int) -> None:
    """It is done, and the answer is lost on the way."""
    REAL_UNLINK(name, dir_fd=dir_fd)
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def put_nothing_back(folder: int, name: str, entry: Entry) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize(("call", "badly"), [("close", close_badly), ("unlink", unlink_badly)])
@pytest.mark.parametrize("kind", ["done", "failed"])
def test_a_share_that_breaks_off_once_the_source_is_gone_costs_no_copy(
    far: House, monkeypatch: pytest.MonkeyPatch, kind: str, call: str, badly: Callable[..., None]
) -> None:
    """I1, F40, F41: the copy is the only one then."""
    content = part10()
    instance = far.drop("a.dcm", content)
    real_remove = outcome_folder.remove

    def remove_badly(entry: Entry) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(removal.os, call, badly)
            real_remove(entry)

    for module in (outcome_folder, removal):
        monkeypatch.setattr(
            module, "refuse_open", lambda entry: None
        )  # it closes a handle, too, before anything is done
    monkeypatch.setattr(outcome_folder, "remove", remove_badly)
    monkeypatch.setattr(removal, "put_back", put_nothing_back)
    with suppress(FilingError) if call == "unlink" else nullcontext():
        if kind == "done":
            far.filing.to_done(instance, at=AT)
        else:
            far.filing.to_failed(verdict(instance))
    assert content in [*tree(far.done).values(), *tree(far.failed).values()]


def test_a_source_that_was_not_seen_for_a_moment_is_filed_once_on_whatever_day(
    far: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1, I6, F41: the copy that stays is known for one, although the next try would file it below another date."""

    def fail(entry: Entry) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    content = part10()
    instance = far.drop("a.dcm", content)
    with monkeypatch.context() as patched:
        patched.setattr(outcome_folder, "remove", fail)
        patched.setattr(Entry, "stamp_now", lambda self: None)
        with pytest.raises(FilingError):
            far.filing.to_done(instance, at=AT)
    far.filing.to_done(instance, at=AT + 86400)
    assert (tree(far.inbox), list(tree(far.done).values())) == ({}, [content])


# --- done.action = delete -------------------------------------------------------------------------------------------------------


def deleting(home: House) -> Filing:
    return Filing(home.inbox, home.done, home.failed, delete=True)


def rewritten_under_its_old_time(path: Path) -> None:
    before = path.stat()
    path.write_bytes(part10(name="B"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced_by_the_same_bytes(path: Path) -> None:
    path.with_name("x").write_bytes(path.read_bytes())
    path.with_name("x").rename(path)


@pytest.mark.parametrize("change", [rewritten_under_its_old_time, replaced_by_the_same_bytes])
def test_only_the_very_file_that_was_stored_is_removed(near: House, change: Callable[[Path], None]) -> None:
    """I2, I4, F19, F20: device, inode, size and times."""
    instance = near.drop("a.dcm", part10())
    change(near.inbox / "a.dcm")
    before = tree(near.inbox)
    with pytest.raises(FileChangedError):
        deleting(near).to_done(instance, at=AT)
    assert tree(near.inbox) == before
    (near.inbox / "a.dcm").unlink()
    with pytest.raises(FileGoneError):
        deleting(near).to_done(instance, at=AT)


def test_a_change_that_left_no_trace_in_the_stamp_is_not_removed(near: House) -> None:
    """I1, I4, F20: two writes within one tick of the kernel's clock (or two seconds of vfat's) leave the same times."""
    near.drop("a.dcm", part10(name="B"))
    present = settled(InboxFolder(near.inbox), "a.dcm")
    sent = replace(present, sha256=digest(part10(name="A")))
    with pytest.raises(FileChangedError):
        deleting(near).to_done(sent, at=AT)
    assert tree(near.inbox) == {"a.dcm": part10(name="B")}


def test_what_the_service_was_not_shown_to_hold_is_moved_instead(near: House) -> None:
    """I1: `duplicates.policy = accept` proves a name and no bytes."""
    instance = replace(near.drop("a.dcm", part10()), sha256=None)
    assert deleting(near).to_done(instance, at=AT) == f"{DAY}/a.dcm"
    assert (tree(near.inbox), tree(near.done)) == ({}, {f"{DAY}/a.dcm": part10()})


def test_a_new_version_that_slips_in_is_not_removed(near: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F19, F28."""
    instance = near.drop("study/a.dcm", part10())
    monkeypatch.setattr(handles, "move", swapping(near, "study/a.dcm", b"new version"))
    with pytest.raises(FileChangedError):
        deleting(near).to_done(instance, at=AT)
    assert tree(near.inbox) == {"study/a.dcm": b"new version"}


def test_a_file_that_is_still_open_for_writing_is_not_removed_and_not_touched(near: House) -> None:
    """I1, F18: what is written into it now would be gone with it. Its stamp stays, so that it is not sent again for that."""
    instance = near.drop("a.dcm", part10())
    with (near.inbox / "a.dcm").open("ab") as writer:
        with pytest.raises(FilingError, match="open for writing"):
            deleting(near).to_done(instance, at=AT)
        assert settled(InboxFolder(near.inbox), "a.dcm").stamp == instance.stamp
        writer.write(b"more")
    with pytest.raises(FileChangedError):
        deleting(near).to_done(instance, at=AT)
    assert tree(near.inbox) == {"a.dcm": part10() + b"more"}


def test_a_file_that_was_opened_for_writing_since_it_settled_is_not_moved(either: House) -> None:
    """I2, I4, F18: what is written next would stand in done/ and never be sent. One that never showed its writers is moved."""
    instance = replace(either.drop("a.dcm", part10()), evidence=Evidence.LEASE)
    with (either.inbox / "a.dcm").open("r+b") as writer:
        with pytest.raises(FilingError, match="open for writing"):
            either.filing.to_done(instance, at=AT)
        assert settled(InboxFolder(either.inbox), "a.dcm").stamp == instance.stamp
        writer.write(b"edit")
    with pytest.raises(FileChangedError):
        either.filing.to_done(instance, at=AT)
    assert list(tree(either.inbox)) == ["a.dcm"]
    assert tree(either.done) == {}


def test_a_file_that_some_program_never_closes_is_moved_all_the_same(near: House) -> None:
    """DESIGN 2: it was taken after the longest quiet while it was open."""
    instance = replace(near.drop("a.dcm", part10()), evidence=Evidence.OVERDUE)
    with (near.inbox / "a.dcm").open("r+b"):
        assert near.filing.to_done(instance, at=AT) == f"{DAY}/a.dcm"


def test_a_writer_who_comes_at_the_last_moment_keeps_its_file(near: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """I1: between the look and the rename."""
    instance = near.drop("a.dcm", part10())
    move, writers = handles.move, []

    def late(from_folder: int, name: str, to_folder: int, new_name: str) -> None:
        if not writers:
            writers.append((near.inbox / "a.dcm").open("ab"))
        move(from_folder, name, to_folder, new_name)

    monkeypatch.setattr(handles, "move", late)
    with pytest.raises(FilingError, match="open for writing"):
        deleting(near).to_done(instance, at=AT)
    writers[0].write(b"more")
    writers[0].close()
    assert tree(near.inbox) == {"a.dcm": part10() + b"more"}


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_removed_stays(near: House, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """F31, F45."""
    instance = near.drop("a.dcm", part10())
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", failing(code))
        with pytest.raises(FilingError, match="can't be removed"):
            deleting(near).to_done(instance, at=AT)
    assert tree(near.inbox) == {"a.dcm": part10()}


def test_a_kill_while_a_file_is_removed_is_repeated_safely(tmp_path: Path) -> None:
    """F37: it is there whole, under one name, or it is gone."""
    kills = 0
    while True:
        (tmp_path / str(kills)).mkdir()
        home = house(tmp_path / str(kills), tmp_path / str(kills))
        instance = home.drop("study/a.dcm", part10())
        if not killed_at(kills + 1, partial(deleting(home).to_done, instance, at=AT)):
            break
        kills += 1
        left = tree(home.inbox)
        assert list(left.values()) == [part10()], kills
        assert tree(home.done) == {}
        for path in left:
            deleting(home).to_done(settled(InboxFolder(home.inbox), path), at=AT)
        assert tree(home.inbox) == {}
    assert kills >= 4


def test_an_empty_folder_taken_away_under_a_move_is_made_again(near: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention removes emptied folders of done/ beside the moves."""
    instance = near.drop("study/a.dcm", part10())
    move, taken = handles.move, []

    def late(from_folder: int, name: str, to_folder: int, new_name: str) -> None:
        if not taken:
            taken.append((near.done / DAY / "study").rmdir())
        move(from_folder, name, to_folder, new_name)

    monkeypatch.setattr(handles, "move", late)
    assert near.filing.to_done(instance, at=AT) == f"{DAY}/study/a.dcm"
    assert tree(near.done) == {f"{DAY}/study/a.dcm": part10()}


# --- file systems without RENAME_NOREPLACE ---------------------------------------------------------------------------------------


@pytest.fixture
def no_renameat2(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1

    monkeypatch.setattr(handles, "_renameat2", refused)


def test_link_and_unlink_move_and_never_overwrite(near: House, no_renameat2: None) -> None:
    """F8, F30: NFS."""
    for content in (part10(name="A"), part10(name="B")):
        near.filing.to_done(near.drop("a.dcm", content), at=AT)
    assert tree(near.done) == {f"{DAY}/a.dcm": part10(name="A"), f"{DAY}/a~1.dcm": part10(name="B")}
    assert tree(near.inbox) == {}


def test_a_crash_between_link_and_unlink_is_finished(near: House, no_renameat2: None) -> None:
    """F37."""
    near.drop("a.dcm", part10())
    (near.done / DAY).mkdir()
    os.link(near.inbox / "a.dcm", near.done / DAY / "a.dcm")
    assert near.filing.to_done(settled(InboxFolder(near.inbox), "a.dcm"), at=AT) == f"{DAY}/a.dcm"
    assert (tree(near.inbox), tree(near.done)) == ({}, {f"{DAY}/a.dcm": part10()})


def test_an_unlink_that_fails_takes_the_link_back(
    near: House, no_renameat2: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F31."""
    instance = near.drop("a.dcm", part10())
    unlink = os.unlink

    def refused(name: str, *, dir_fd: int) -> None:
        if os.path.samestat(os.fstat(dir_fd), near.inbox.stat()):
            raise PermissionError(errno.EACCES, "denied")
        unlink(name, dir_fd=dir_fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refused)
        with pytest.raises(FilingError):
            near.filing.to_done(instance, at=AT)
    assert (list(tree(near.inbox)), tree(near.done)) == (["a.dcm"], {})


def test_error_texts_never_name_the_file(near: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """I7, F71."""
    instance = near.drop("MILLER^ANNA.dcm", part10())
    for code in (errno.ENOSPC, errno.EACCES, errno.EIO, errno.ENAMETOOLONG):
        monkeypatch.setattr(handles, "move", failing(code))
        with pytest.raises(FilingError) as caught:
            near.filing.to_done(instance, at=AT)
        assert "MILLER" not in str(caught.value)
        assert str(near.inbox) not in str(caught.value)


# --- durable folders -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were synced, by their path, in order."""
    out: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        real(handle)
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            out.append(os.readlink(f"/proc/self/fd/{handle}"))

    monkeypatch.setattr(os, "fsync", fsync)
    return out


def deep(root: Path, levels: int) -> list[Path]:
    """`root` and the folders d, d/d and so on below it."""
    return [root.joinpath(*["d"] * level) for level in range(levels + 1)]


def test_folders_that_were_there_are_synced_once_and_not_for_each_file(near: House, synced: list[str]) -> None:
    """F38, F90: who made them may have died before its sync; 1,900 syncs for each deep file were a standing outage."""
    folders = deep(near.failed, 100)
    folders[-1].mkdir(parents=True)
    path, filing = "/".join([*["d"] * 100, "a.dcm"]), near.filing
    seen = []
    for number in range(3):
        filing.to_failed(verdict(near.drop(path, part10(name=str(number)))))
        seen.append(synced.copy())
        synced.clear()
    assert seen == [
        list(map(str, folders)),
        [str(folders[-1])],
        [str(folders[-1])],
    ]  # the last one is the reason file's


def test_only_the_folder_with_a_new_name_in_it_is_synced(near: House, synced: list[str]) -> None:
    """F38, F90: a folder that is made now, by us or by another shard, or in the place and with the inode of one that is gone."""
    filing = near.filing
    first, second, third = (near.failed / name for name in ("a", "b", "a/c"))

    def file(path: str) -> list[str]:
        synced.clear()
        filing.to_failed(verdict(near.drop(path, part10(name=path))))
        return synced.copy()

    assert file("a/1.dcm") == [str(near.failed), str(first)]
    assert file("b/1.dcm") == [str(near.failed), str(second)]
    assert file("b/2.dcm") == [str(second)]
    third.mkdir()
    assert file("b/3.dcm") == [str(second)]
    assert file("a/c/1.dcm") == [str(near.failed), str(first), str(third)]  # b came since a was synced
    shutil.rmtree(third)
    third.mkdir()
    assert file("a/c/2.dcm") == [str(first), str(third)]
    assert file("a/c/3.dcm") == [str(third)]


def test_what_is_forgotten_is_synced_once_more(near: House, synced: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """I8: the memory has a bound."""
    monkeypatch.setattr(synced_module, "MOST", 3)
    filing = near.filing
    for number in range(2):
        synced.clear()
        filing.to_failed(verdict(near.drop("d/d/d/d/d/a.dcm", part10(name=str(number)))))
        assert synced == list(map(str, deep(near.failed, 5)))
    assert len(filing._synced._known) == 3


def test_a_folder_that_could_not_be_synced_is_not_taken_for_synced(
    near: House, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """F40."""
    instance, filing = near.drop("d/a.dcm", part10()), near.filing
    with monkeypatch.context() as patched:
        patched.setattr(handles, "sync_folder", failing(errno.EIO))
        with pytest.raises(FilingError):
            filing.to_failed(verdict(instance))
    filing.to_failed(verdict(instance))
    assert synced == [str(near.failed), str(near.failed / "d")]


def test_across_file_systems_the_folders_of_done_are_synced_once(far: House, synced: list[str]) -> None:
    """F41, F90."""
    for folder in (far.done / DAY, far.done / DAY / "d"):
        folder.mkdir()
    filing = far.filing
    seen = []
    for name in ("1.dcm", "2.dcm"):
        synced.clear()
        filing.to_done(far.drop(f"d/{name}", part10(name=name)), at=AT)
        seen.append(synced.copy())
    day, study = str(far.done / DAY), str(far.done / DAY / "d")
    assert seen == [[str(far.done), day, study], [str(far.done), study]]  # the copy grows in done/, which changes it


@pytest.mark.parametrize("to", ["done", "failed"])
def test_what_somebody_may_still_write_does_not_cross(far: House, to: str) -> None:
    """F75: a copy would not have what is written after it, and the source would be gone."""
    instance = far.drop("study/a.dcm", part10())
    filing = far.filing
    move = partial(filing.to_done, instance, at=AT) if to == "done" else partial(filing.to_failed, verdict(instance))
    for copy in (True, False):
        with pytest.raises(YoungFileError):
            move(copy=copy, young=True)
        assert handles.stamp_of((far.inbox / "study/a.dcm").stat()) == instance.stamp
        assert (tree(far.done), tree(far.failed)) == ({}, {})
    move()
    assert tree(far.inbox) == {}


def test_a_rename_takes_the_writer_along(near: House) -> None:
    """F75: within a file system nobody has to wait."""
    near.filing.to_done(near.drop("a.dcm", part10()), at=AT, young=True)
    assert tree(near.done) == {f"{DAY}/a.dcm": part10()}
