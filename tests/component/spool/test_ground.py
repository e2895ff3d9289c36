"""What the folders' file systems can do, asked at the start: on real ones, and on shares that have their ways."""

from __future__ import annotations

import errno
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fakes import shares
from fakes.room import SHARE
from fakes.spool_fakes import part10, settled

from ingestd.config import Folders
from ingestd.core.errors import ConfigurationError, FarFolderError, FileChangedError, FolderAwayError
from ingestd.spool.disk import handles
from ingestd.spool.filing.filing import Filing
from ingestd.spool.intake.inbox import InboxFolder
from ingestd.spool.memory.folders import salt
from ingestd.spool.memory.ground import survey

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
AT = 1767323045.0  # 2026-01-02 03:04:05 UTC


def folders(near: Path, elsewhere: Path | None = None) -> Folders:
    far = elsewhere or near
    state = near.with_name(f"{near.name}.state")  # on a disk that is well
    made = {"inbox": near / "inbox", "done": far / "done", "failed": far / "failed", "state": state}
    for folder in made.values():
        folder.mkdir(exist_ok=True)
    return Folders.model_validate(made)


def left(*roots: Path) -> list[str]:
    """What stands in the folders besides themselves."""
    known = ("inbox", "done", "failed", "state", "salt")
    return [p.name for root in roots for p in root.rglob("*") if p.name not in known]


def test_what_a_crash_left_goes_with_the_next_start(tmp_path: Path) -> None:
    """F37: killed at each call in turn."""
    wanted = folders(tmp_path)
    calls = ("mkdir", "unlink", "utime", "write", "rmdir")

    class KilledError(BaseException):
        pass

    for number in range(1, 200):
        count = iter(range(1, 1000))
        with pytest.MonkeyPatch.context() as patch:

            def dies(
                real: Callable[..., object], count: Iterator[int] = count, number: int = number
            ) -> Callable[..., object]:
                def dying(*arguments: object, **named: object) -> object:
                    if next(count) >= number:
                        raise KilledError
                    return real(*arguments, **named)

                return dying

            for call in calls:
                patch.setattr(os, call, dies(getattr(os, call)))
            patch.setattr(handles, "_renameat2", dies(handles._renameat2))
            try:
                survey(wanted, removes=True)
                break
            except KilledError:
                pass
        assert survey(wanted, removes=True) is True
        assert left(tmp_path) == []
    assert number > 15


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    if subprocess.run(["mount", *options, folder], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def exfat(tmp_path: Path, real: Callable[..., None]) -> Iterator[Path]:
    """exFAT by FUSE: neither RENAME_NOREPLACE nor hard links, as with blobfuse, gcsfuse, rclone and s3fs."""
    real("mount.exfat-fuse", "mkfs.exfat", "losetup")
    image, folder = tmp_path / "image", tmp_path / "exfat"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    folder.mkdir()
    subprocess.run(["mkfs.exfat", image], check=True, capture_output=True)
    found = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True)
    loop = found.stdout.strip()
    try:
        subprocess.run(["mount.exfat-fuse", loop, folder], check=True, capture_output=True)
        yield folder
        subprocess.run(["umount", folder], check=True)
    finally:
        subprocess.run(["losetup", "-d", loop], check=True)


@pytest.fixture
def shm() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


class Share:
    """A mounted share (fuse_share.py) and what ails it."""

    def __init__(self, root: Path) -> None:
        self.backing, self.mount, self._fault = root / "backing", root / "share", root / "fault"
        self.backing.mkdir()
        self.mount.mkdir()
        self.is_("")
        command = [sys.executable, str(SHARE), str(self.backing), str(self.mount), str(self._fault)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            pytest.skip("no FUSE here")

    def is_(self, word: str) -> None:
        self._fault.write_text(word)

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", self.mount], check=True)
        self._process.communicate(timeout=10)


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Share]:
    made = Share(tmp_path)
    yield made
    made.is_("")
    made.close()


def test_a_local_disk_can_all_of_it_and_keeps_nothing(tmp_path: Path) -> None:
    """I1: also where stored files are to be removed."""
    assert survey(folders(tmp_path), removes=True) is True
    assert left(tmp_path) == []


def test_each_of_many_that_ask_at_once_gets_its_answer(tmp_path: Path) -> None:
    """A StatefulSet's pods start together on one share, each with a state folder of its own."""
    wanted = folders(tmp_path)
    with tempfile.TemporaryDirectory() as states, ThreadPoolExecutor(8) as pool:
        found = []
        for number in range(40):
            (own := Path(states) / str(number)).mkdir()
            found.append(pool.submit(survey, wanted.model_copy(update={"state": own}), removes=True))
        assert {one.result() for one in found} == {True}
    assert left(tmp_path) == []


@needs_root
@pytest.mark.real
@pytest.mark.parametrize("which", ["both", "inbox", "done"])
def test_a_file_system_where_nothing_can_be_moved_is_refused(tmp_path: Path, exfat: Path, which: str) -> None:
    """F92: in one line that names the folder; before, each file was stored once and stayed in the inbox for ever."""
    wanted = folders(tmp_path if which == "done" else exfat, tmp_path if which == "inbox" else exfat)
    named = "done" if which == "done" else "inbox"
    with pytest.raises(
        ConfigurationError, match=rf"^folders\.{named} = .*neither rename .* nor .*links: use one"
    ) as error:
        survey(wanted, removes=False)
    assert "\n" not in str(error.value)
    assert left(exfat) == []


@needs_root
@pytest.mark.real
@pytest.mark.parametrize("which", ["both", "inbox", "done"])
def test_a_file_system_that_numbers_a_moved_file_anew_is_refused(
    tmp_path: Path, real: Callable[..., None], which: str
) -> None:
    """F92: sshfs moves by link and unlink, and each link is another inode; before, each file was stored again and again."""
    real("sshfs")
    shares.require_sftp_server(real)
    (backing := tmp_path / "backing").mkdir()
    (mount := tmp_path / "mount").mkdir()
    with shares.sshfs(backing, mount):
        wanted = folders(tmp_path if which == "done" else mount, tmp_path if which == "inbox" else mount)
        named = "done" if which == "done" else "inbox"
        with pytest.raises(ConfigurationError, match=rf"^folders\.{named} = .*another one .*: use one"):
            survey(wanted, removes=False)
        assert left(mount) == []


@needs_root
def test_edits_that_leave_no_trace_are_known(share: Share) -> None:
    """F92: sshfs and vfat tell the mtime as ctime; there nothing may be removed on a stamp."""
    wanted = folders(share.mount)
    assert survey(wanted, removes=True) is True
    share.is_("mtimes")
    assert survey(wanted, removes=False) is False
    with pytest.raises(
        ConfigurationError, match=r"^done\.action = delete: .*folders\.inbox.*: set done\.action = move, or"
    ):
        survey(wanted, removes=True)
    assert left(share.backing) == []


@needs_root
@pytest.mark.parametrize("word", ["EIO", "ESTALE", "ETIMEDOUT"])
def test_a_share_that_does_not_answer_is_away(share: Share, word: str) -> None:
    """F67: exit 75, to be tried again, and no mistake in the configuration."""
    wanted = folders(share.mount)
    share.is_(word)
    with pytest.raises(FolderAwayError, match=r"^folders\.inbox = .*does not answer"):
        survey(wanted, removes=False)


@needs_root
def test_a_full_disk_answers_nothing_and_keeps_nobody_from_starting(tmp_path: Path) -> None:
    """F39: a daemon that is started again must find its way out of a full disk; what is unknown counts as no."""
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=64k", "small") as small:
        wanted = folders(small)
        with suppress(OSError), (small / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        assert survey(wanted, removes=True) is None
        assert left(small) == ["ballast"]
        with pytest.raises(FolderAwayError, match=r"^folders\.state = .*: there is no room on its disk .*: make room$"):
            salt(small)  # exit 75: systemd starts it again, which it does not after 78


# --- access control lists --------------------------------------------------------------------------------------------------------


EVERYBODY = 0xFFFFFFFF


def set_acl(folder: Path, kind: str, *entries: tuple[int, int, int]) -> None:
    """As `setfacl` does: tag, permissions and id of each entry (linux/posix_acl_xattr.h)."""
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(folder, f"system.posix_acl_{kind}", value)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
            pytest.skip("no access control lists here")
        raise


SURVEY = """
import os, sys
from ingestd.config import Folders
from ingestd.core.errors import IngestdError
from ingestd.spool.memory.folders import prepare
from ingestd.spool.memory.ground import survey
root, user = sys.argv[1:]
os.setgid(int(user)); os.setuid(int(user))
try:
    print(survey(prepare(Folders.model_validate({n: f"{root}/{n}" for n in ("inbox", "done", "failed", "state")})), removes=False))
except IngestdError as error:
    print(type(error).__name__, error)
"""
SOMEBODY = 4711


def surveyed_by_somebody(root: Path) -> str:
    command = [sys.executable, "-c", SURVEY, str(root), str(SOMEBODY)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def open_to_all(tmp_path: Path) -> Path:
    folders(tmp_path)
    for path in (tmp_path, *tmp_path.iterdir()):
        path.chmod(0o777)
    for path in tmp_path.parents:
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
    return tmp_path


@needs_root
@pytest.mark.parametrize("which", ["inbox", "done", "failed"])
def test_a_list_that_gives_us_less_than_the_mode_is_seen_at_the_start(open_to_all: Path, which: str) -> None:
    """F31: the mode bits say 0777."""
    assert surveyed_by_somebody(open_to_all) == "True"
    others = ((0x04, 7, EVERYBODY), (0x10, 7, EVERYBODY), (0x20, 7, EVERYBODY))  # group, mask, other
    set_acl(open_to_all / which, "access", (0x01, 7, EVERYBODY), (0x02, 5, SOMEBODY), *others)
    assert (open_to_all / which).stat().st_mode & 0o777 == 0o777
    said = surveyed_by_somebody(open_to_all)
    assert said.startswith(f"ConfigurationError folders.{which} = ")
    assert said.endswith("mend its owner, mode or ACL (getfacl)")


@needs_root
@pytest.mark.parametrize("which", ["done", "failed"])
def test_a_default_list_that_shuts_us_out_of_what_we_make_is_seen_at_the_start(open_to_all: Path, which: str) -> None:
    """F31: done/2026-01-02 would be ours, and not ours to write in."""
    set_acl(open_to_all / which, "default", (0x01, 5, EVERYBODY), (0x04, 7, EVERYBODY), (0x20, 7, EVERYBODY))
    said = surveyed_by_somebody(open_to_all)
    assert said.startswith(f"ConfigurationError folders.{which} = ")
    assert "ACL" in said
    assert left(open_to_all) == []


# --- where edits leave no trace --------------------------------------------------------------------------------------------------


@needs_root
def test_where_edits_leave_no_trace_other_bytes_are_not_filed(share: Share) -> None:
    """F92, I4: edited in place and its time set back, device, inode, size and both times are as they were; the digest is not."""
    share.is_("mtimes")
    wanted = folders(share.mount)
    filing = Filing(wanted.inbox, wanted.done, wanted.failed, edits_show=False)
    file = wanted.inbox / "a.dcm"
    file.write_bytes(part10())
    instance = settled(InboxFolder(wanted.inbox), "a.dcm")
    times = file.stat()
    backing = share.backing / "inbox/a.dcm"
    with backing.open("r+b") as written:
        written.seek(-1, os.SEEK_END)
        written.write(b"\xff")
    os.utime(backing, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert settled(InboxFolder(wanted.inbox), "a.dcm").stamp == instance.stamp
    with pytest.raises(FileChangedError):
        filing.to_done(instance, at=AT)
    assert (file.exists(), list(wanted.done.rglob("*.dcm"))) == (True, [])
    backing.write_bytes(part10())
    os.utime(backing, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert filing.to_done(instance, at=AT) == "2026-01-02/a.dcm"


def test_the_second_look_at_all_bytes_is_nothing_for_the_owner_thread(tmp_path: Path) -> None:
    """I8: a tick must not last as long as a file is large; without a digest there is nothing to compare."""
    wanted = folders(tmp_path)
    filing = Filing(wanted.inbox, wanted.done, wanted.failed, edits_show=False)
    (wanted.inbox / "a.dcm").write_bytes(part10())
    with pytest.raises(FarFolderError):
        filing.to_done(settled(InboxFolder(wanted.inbox), "a.dcm"), at=AT, copy=False)
    assert (wanted.inbox / "a.dcm").exists()
    removing = Filing(wanted.inbox, wanted.done, wanted.failed, edits_show=False, delete=True)
    with pytest.raises(FarFolderError):
        removing.to_done(settled(InboxFolder(wanted.inbox), "a.dcm"), at=AT, copy=False)
    assert removing.to_done(settled(InboxFolder(wanted.inbox), "a.dcm"), at=AT) is None


FILE_AWAY = """
import os, sys
from pathlib import Path
from fakes.spool_fakes import settled
from ingestd.core.errors import FilingError
from ingestd.spool.disk import handles
from ingestd.spool.filing.filing import Filing
from ingestd.spool.intake.inbox import InboxFolder
root, user = Path(sys.argv[1]), int(sys.argv[2])
os.setgid(user); os.setuid(user)
try:
    print(Filing(root / "inbox", root / "done", root / "failed").to_done(settled(InboxFolder(root / "inbox"), "s/a.dcm"), at=0.0))
except FilingError as error:
    print(error)
"""


@needs_root
@pytest.mark.parametrize("elsewhere", [False, True], ids=["rename", "copy"])
@pytest.mark.parametrize(
    ("denied", "hint"), [("list", "in the file's folder in the inbox .*getfacl"), ("sticky", "chmod -t"), ("none", "")]
)
def test_a_folder_that_lets_nothing_go_is_named(
    open_to_all: Path, shm: Path, denied: str, hint: str, elsewhere: bool
) -> None:
    """F31: an ACL that denies what the mode bits allow, and a sticky bit; the hint is about that folder and no other."""
    folder = open_to_all / "inbox" / "s"
    folder.mkdir()
    folder.chmod(0o1777 if denied == "sticky" else 0o777)
    (folder / "a.dcm").write_bytes(part10())
    (folder / "a.dcm").chmod(0o644)
    if denied == "list":
        others = ((0x04, 7, EVERYBODY), (0x10, 7, EVERYBODY), (0x20, 7, EVERYBODY))
        set_acl(folder, "access", (0x01, 7, EVERYBODY), (0x02, 5, SOMEBODY), *others)
    if elsewhere:
        shm.chmod(0o777)
        (open_to_all / "done").rmdir()
        (open_to_all / "done").symlink_to(shm)
    tests = Path(__file__).parents[2]
    command = [sys.executable, "-c", FILE_AWAY, str(open_to_all), str(SOMEBODY)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(tests)}
    )
    said = done.stdout.strip()
    if denied == "none":
        assert said == "1970-01-01/s/a.dcm"
    else:
        assert re.search(f"can't be moved .*allow the service's user .*{hint}", said), said
