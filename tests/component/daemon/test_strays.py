"""The way back has a way back: a race and a failure at once (F89, I1).

A writer renames a new version over a file at the very moment of its move, and the new version can't be put back: its folder is
gone, or the disk or share fails. What then stands in done/ or failed/ was never judged and never sent.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fakes.mortal import MortalHouse, names
from fakes.spool_fakes import part10, settled
from fakes.studies import made

from ingestd.core.answers.outcome import Quarantine
from ingestd.core.answers.reasons import Reason
from ingestd.core.errors import FileChangedError, FileGoneError, FilingError, StrayError
from ingestd.core.events import Event
from ingestd.core.record import UNSEEN, Stray, Verdict
from ingestd.daemon.ending.strays import GIVEN_UP_SECONDS
from ingestd.spool.disk import handles
from ingestd.spool.filing.filing import Filing
from ingestd.spool.intake.inbox import InboxFolder

AT = 1767323045.0  # 2026-01-02 03:04:05 UTC
OLD, NEW = part10(name="OLD"), part10(name="NEW")


class Race:
    """The first move carries `content` away, which a writer renames in at its last moment; what bars the way back follows."""

    def __init__(self, patch: pytest.MonkeyPatch, file: Path, content: bytes, bar: str) -> None:
        self._real = handles.move
        self._file, self._content, self._bar = file, content, bar
        self.raced = self.barred = False
        patch.setattr(handles, "move", self._move)

    def _move(self, *arguments: int | str) -> None:
        if self.barred:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if self.raced:
            self._real(*arguments)  # type: ignore[arg-type]
            return
        self.raced = True
        part = self._file.with_name("new.part")
        part.write_bytes(self._content)
        os.rename(part, self._file)
        self._real(*arguments)  # type: ignore[arg-type]
        if self._bar == "folder":
            self._file.parent.rmdir()
        else:
            self.barred = True


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    root: Path
    kind: str

    @property
    def file(self) -> Path:
        return self.root / "inbox" / "s" / "a.dcm"

    @property
    def filing(self) -> Filing:
        takes = lambda path: not path.endswith("~1.dcm")  # noqa: E731 - a pattern that not every free name fits
        return Filing(*(self.root / name for name in ("inbox", "done", "failed")), takes=takes)

    def way(self) -> Callable[[], object]:
        filing, instance = self.filing, settled(InboxFolder(self.root / "inbox"), "s/a.dcm")
        if self.kind == "done":
            return lambda: filing.to_done(instance, at=AT)
        verdict = Verdict(
            path="s/a.dcm",
            stamp=instance.stamp,
            quarantine=Quarantine(reason=Reason.REJECTED, text="t", what_to_do="w"),
            attempts=1,
            first_seen=AT,
            failed_at=AT,
            ids=instance.ids,
            sha256=instance.sha256,
        )
        return lambda: filing.to_failed(verdict)

    def strayed(self, error: StrayError) -> Stray:
        return Stray(place=error.place, folder=error.folder, stamp=error.stamp, path="s/a.dcm", since=AT)

    def tree(self) -> dict[str, bytes]:
        return {name: (self.root / name).read_bytes() for name in names(self.root)}


@pytest.fixture(params=["done", "failed"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    for name in ("inbox/s", "done", "failed"):
        (tmp_path / name).mkdir(parents=True)
    made_ = House(root=tmp_path, kind=request.param)
    made_.file.write_bytes(OLD)
    return made_


@pytest.mark.parametrize("bar", ["folder", "disk"])
def test_a_new_version_that_cannot_go_back_is_told_and_can_go_back_later(house: House, bar: str) -> None:
    """F89: the error says where it stands; it goes back into a folder that is made anew, and its reason file goes after it."""
    with pytest.MonkeyPatch.context() as patch:
        race = Race(patch, house.file, NEW, bar)
        with pytest.raises(StrayError, match=f"new version .* {house.kind}/ and can't be put back") as told:
            house.way()()
        stray = house.strayed(told.value)
        place = "2026-01-02/s/a.dcm" if house.kind == "done" else "s/a.dcm"
        assert (stray.folder, stray.place) == (house.kind, place)
        assert house.tree()[f"{house.kind}/{place}"] == NEW
        assert (f"failed/{place}.reason.json" in house.tree()) is (house.kind == "failed")  # never without
        if race.barred:
            with pytest.raises(FilingError):
                house.filing.recover(stray)
            assert house.tree()[f"{house.kind}/{place}"] == NEW
    assert house.filing.recover(stray) == "s/a.dcm"
    assert house.tree() == {"inbox/s/a.dcm": NEW}
    assert house.filing.recover(stray) is None


def test_its_own_name_may_be_taken_by_then(house: House) -> None:
    """F19, F30: it lands on nothing, and gets the next name that the inbox takes."""
    with pytest.MonkeyPatch.context() as patch:
        Race(patch, house.file, NEW, "disk")
        with pytest.raises(StrayError) as told:
            house.way()()
    house.file.write_bytes(b"a third")
    assert house.filing.recover(house.strayed(told.value)) == "s/a~2.dcm"
    assert house.tree() == {"inbox/s/a.dcm": b"a third", "inbox/s/a~2.dcm": NEW}


def test_only_the_very_file_goes_back(house: House) -> None:
    """What somebody put there since is his; a device may have another number after a restart of the machine."""
    with pytest.MonkeyPatch.context() as patch:
        Race(patch, house.file, NEW, "disk")
        with pytest.raises(StrayError) as told:
            house.way()()
    stray = house.strayed(told.value)
    before = house.tree()
    assert house.filing.recover(replace(stray, stamp=replace(stray.stamp, mtime_ns=1))) is None
    assert house.filing.recover(replace(stray, place="s/b.dcm")) is None
    assert house.filing.recover(replace(stray, place="t/a.dcm")) is None
    assert house.tree() == before
    moved = replace(stray, stamp=replace(stray.stamp, device=stray.stamp.device + 1))
    assert house.filing.recover(moved) == "s/a.dcm"


def test_a_folder_that_is_away_is_no_word_about_the_file(house: House) -> None:
    """Unknown is not gone: the whole of done/ or failed/, or the inbox, is away just now."""
    with pytest.MonkeyPatch.context() as patch:
        Race(patch, house.file, NEW, "disk")
        with pytest.raises(StrayError) as told:
            house.way()()
    stray = house.strayed(told.value)
    for name in (house.kind, "inbox"):
        (house.root / name).rename(house.root / "away")
        with pytest.raises((FilingError, FileGoneError)):
            house.filing.recover(stray)
        (house.root / "away").rename(house.root / name)
    assert house.filing.recover(stray) == "s/a.dcm"


@pytest.mark.parametrize("race", [True, False], ids=["a new version", "the old one"])
@pytest.mark.parametrize("answered", [True, False], ids=["rename answered", "answer lost"])
def test_what_moved_and_could_not_be_seen_goes_back_too(house: House, race: bool, answered: bool) -> None:
    """F89: the share breaks off in the midst of the move; whichever version it was, it is judged again."""
    real, stat, gone = handles._renameat2, os.stat, [False]
    assert real is not None

    def rename(*arguments: object) -> int:
        if race:
            part = house.file.with_name("new.part")
            part.write_bytes(NEW)
            os.rename(part, house.file)
        assert real(*arguments) == 0
        gone[0] = True
        if not answered:
            ctypes.set_errno(errno.EIO)
        return 0 if answered else -1

    def look(*arguments: object, **named: object) -> os.stat_result:
        if gone[0]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return stat(*arguments, **named)  # type: ignore[call-overload,no-any-return]

    file_away = house.way()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handles, "_renameat2", rename)
        patch.setattr(os, "stat", look)
        with pytest.raises(StrayError, match="can't be seen") as told:
            file_away()
    assert told.value.stamp == UNSEEN
    assert house.filing.recover(house.strayed(told.value)) == "s/a.dcm"
    assert house.tree() == {"inbox/s/a.dcm": NEW if race else OLD}


def test_a_new_version_that_can_go_back_is_no_stray(house: House) -> None:
    """F19: as before."""
    with pytest.MonkeyPatch.context() as patch:
        race = Race(patch, house.file, NEW, "")
        race.raced = True
        house.file.write_bytes(OLD)
        file_away = house.way()
        real = race._real

        def slip_in(*arguments: int | str) -> None:
            patch.setattr(handles, "move", real)
            house.file.unlink()
            house.file.write_bytes(NEW)
            real(*arguments)  # type: ignore[arg-type]

        patch.setattr(handles, "move", slip_in)
        with pytest.raises(FileChangedError) as told:
            file_away()
    assert not isinstance(told.value, StrayError)
    assert house.tree() == {"inbox/s/a.dcm": NEW}


# --- the daemon ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[MortalHouse]:
    home = MortalHouse(tmp_path)
    (tmp_path / "inbox" / "s").mkdir()
    (tmp_path / "inbox" / "s" / "a.dcm").write_bytes(made(1).content)
    yield home
    home.die()


def astray(home: MortalHouse, *, bar: str = "folder") -> None:
    """Both versions are whole; the second stands in done/, unsent."""
    with pytest.MonkeyPatch.context() as patch:
        race = Race(patch, home.root / "inbox/s/a.dcm", made(2).content, bar)
        home.bench.copier.at_once = False  # nothing is put back yet
        home.bench.scanner.request_scan()
        home.bench.tick()
        assert race.raced
    assert [len(home.bench.endings._strays), home.bench.endings.filed] == [1, 0]
    assert [p.read_bytes() for p in (home.root / "done").rglob("*.dcm")] == [made(2).content]


def works(home: MortalHouse) -> None:
    home.bench.copier.at_once = True
    home.bench.copier.run()
    home.bench.after(120, steps=12)


def done(home: MortalHouse) -> list[bytes]:
    return [p.read_bytes() for p in (home.root / "done").rglob("*.dcm")]


def test_the_daemon_puts_it_back_sends_it_and_files_it(mortal: MortalHouse) -> None:
    """I1, I2: said once, where and how to mend it, and no file of it counts as gone before."""
    astray(mortal)
    (line,) = mortal.bench.recorder.of(Event.STRAY)
    assert line.fields["path"] == "s/a.dcm"
    assert "see to the rights and disks" in str(line.fields["problem"])
    assert mortal.bench.daemon.left == 1
    works(mortal)
    assert done(mortal) == [made(2).content]
    assert {key[2] for key in mortal.service.kept} >= {made(1).ids[2], made(2).ids[2]}
    assert (mortal.bench.endings.astray, mortal.bench.daemon.left, list(mortal.bench.journal.strays(9))) == (0, 0, [])
    assert len(list(mortal.bench.recorder.of(Event.STRAY_BACK))) == 1
    assert len(list(mortal.bench.recorder.of(Event.STRAY))) == 1


def test_it_is_known_after_a_restart(mortal: MortalHouse) -> None:
    """I1: killed while it could not be put back; the journal has it."""
    astray(mortal)
    mortal.die()
    mortal.boot()
    mortal.bench.tick()
    assert len(list(mortal.bench.recorder.of(Event.STRAY))) == 1
    works(mortal)
    assert done(mortal) == [made(2).content]
    assert made(2).ids[2] in {key[2] for key in mortal.service.kept}
    assert list(mortal.bench.journal.strays(9)) == []


def test_while_the_journal_can_not_be_written_it_is_kept_in_memory(mortal: MortalHouse) -> None:
    """F39: the receipt was written, then the state's disk is full: what strayed goes back all the same."""
    commit = mortal.bench.journal.commit

    def full_after_the_receipt(changes: object) -> None:
        commit(changes)
        mortal.trouble.journal = True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mortal.bench.journal, "commit", full_after_the_receipt)
        astray(mortal)
    assert list(mortal.bench.journal.strays(9)) == []
    works(mortal)
    assert mortal.bench.endings.astray == 0
    assert names(mortal.root / "inbox") == ["s/a.dcm"]
    mortal.trouble.journal = False
    works(mortal)
    assert done(mortal) == [made(2).content]


def test_tries_grow_rarer_and_one_that_is_gone_for_a_day_is_forgotten(mortal: MortalHouse) -> None:
    """I8: a person took it; until then its disk may only be away."""
    astray(mortal)
    bench = mortal.bench
    tries: list[float] = []
    real = bench.filer.recover

    def recover(stray: Stray) -> str | None:
        tries.append(bench.clock.now())
        with suppress(FileNotFoundError):
            os.unlink(mortal.root / "done" / stray.place)
        return real(stray)  # type: ignore[no-any-return]

    bench.filer.recover = recover  # type: ignore[method-assign]
    works(mortal)
    bench.after(GIVEN_UP_SECONDS - 600, steps=600)
    assert bench.endings.astray == 1
    assert 20 < len(tries) < 200
    bench.after(2000, steps=20)
    assert (bench.endings.astray, list(bench.journal.strays(9))) == (0, [])
    tries.clear()
    bench.after(5000, steps=20)
    assert tries == []
