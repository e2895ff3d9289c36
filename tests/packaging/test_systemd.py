"""The unit under a real systemd: installed as deploy/README.md says, started, used, stopped, killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import pytest
from fakes.ports import free_port
from pydicom.data import get_testdata_file

# The first run on a machine makes the Debian tree, which takes a minute or two.
pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600)]

GATEWAY = 12345
CAP_LEASE = 28  # linux/capability.h
HOME = "/opt/ingestd"
INGESTD = f"{HOME}/bin/ingestd"
UNIT = "/usr/lib/systemd/system/ingestd.service"
LINK = "/usr/local/bin/ingestd"
# What the tree has already, and what takes the wheel in its place.
IN_THE_TREE = [
    "apt-get install python3-venv",
    f"python3 -m venv {HOME}",
    f"{HOME}/bin/pip install --require-hashes -r deploy/requirements.txt -r deploy/requirements-build.txt",
]
CHECKOUT = "--no-deps --no-build-isolation ."


def typed(repository: Path) -> tuple[list[str], list[str]]:
    """What deploy/README.md says to type, line by line: to install it, and to start it once its settings are made."""
    page = (repository / "deploy/README.md").read_text()
    section = page.partition("## A systemd service\n")[2].partition("\n## ")[0]
    install, start = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    lines = [line for line in install.splitlines() if line]
    assert lines[:3] == IN_THE_TREE
    return lines[3:], start.splitlines()


def until(true: Callable[[], object], seconds: float, what: Callable[[], str]) -> float:
    """The seconds it took."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < seconds, what()
        time.sleep(0.05)
    return time.monotonic() - start


class Machine:
    """A booted tree; `root` is its root directory as seen from here."""

    def __init__(self, tree: Path, work: Path) -> None:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        self.group = Path(next(m[1] for m in mounts if m[2] == "cgroup2")) / f"ingestd-test-{os.getpid()}-{work.name}"
        self.group.mkdir()
        self.console = (work / "console").open("wb")
        (work / "machine").mkdir()
        boot = ["sh", str(Path(__file__).with_name("boot.sh")), str(tree), str(work / "machine"), str(self.group)]
        self.process = subprocess.Popen(boot, stdin=subprocess.DEVNULL, stdout=self.console, stderr=self.console)
        try:
            self.boot_seconds = until(self.is_up, 30, (work / "console").read_text)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> str:
        me = self.process.pid
        with suppress(FileNotFoundError):
            return Path(f"/proc/{me}/task/{me}/children").read_text().strip()
        return ""

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self.pid}/root")

    def is_up(self) -> bool:
        return self.systemctl("is-system-running") == "running"

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "--target", self.pid, "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--root", "--wd"]
        return subprocess.run([*enter, *command], text=True, capture_output=True, check=False, timeout=60)

    def types(self, line: str) -> None:
        """A command as a page has it, in root's home."""
        done = self.run("sh", "-c", f"cd /root && {line}")
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"

    def systemctl(self, *words: str) -> str:
        return self.run("systemctl", *words).stdout.strip() if self.pid else ""

    def show(self, name: str) -> str:
        return self.systemctl("show", "--value", "--property", name, "ingestd")

    def story(self) -> str:
        return self.run("journalctl", "--no-pager", "--unit=ingestd", "--unit=emulator").stdout

    def close(self) -> None:
        self.process.kill()  # with --kill-child, and process 1 takes everything with it
        self.process.wait()
        self.console.close()
        until(self._groups_are_gone, 20, lambda: "left-over processes")

    def _groups_are_gone(self) -> bool:
        """A group is busy until the kernel has buried its last process."""
        for group in sorted(self.group.rglob("*/"), reverse=True):
            with contextlib.suppress(OSError):
                group.rmdir()
        try:
            self.group.rmdir()
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def installed(
    debian: Path, wheel: Path, repository: Path, real: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A machine on which deploy/README.md was followed, with the emulator as the service; not started yet."""
    real("unshare", "nsenter")
    machine = Machine(debian, tmp_path_factory.mktemp("systemd"))
    try:
        shutil.copytree(repository / "systemd", machine.root / "root/systemd")
        shutil.copy(wheel, machine.root / "root")
        for line in typed(repository)[0]:
            machine.types(line.replace(CHECKOUT, f"-qq --no-index --no-deps {wheel.name}"))
        yield machine
    finally:
        machine.close()


@pytest.fixture(scope="module")
def machine(installed: Machine, repository: Path) -> Machine:
    """The same with free ports, the emulator on one of them, and the unit started."""
    service, admin = free_port(), free_port()
    emulator = [INGESTD, "emulator", "--host", "127.0.0.1", "--port", str(service), "--data", "/tmp/emulator"]
    installed.run("systemd-run", "--unit=emulator", *emulator)
    config = installed.root / "etc/ingestd/ingestd.toml"
    text = config.read_text().replace('mode = "managed-identity"', 'mode = "none"')
    text = re.sub('url = ".*"', f'url = "http://127.0.0.1:{service}/v2"', text)
    config.write_text(f'{text}[admin]\nlisten = "127.0.0.1:{admin}"\n')
    for line in typed(repository)[1]:
        installed.types(line)
    assert installed.systemctl("is-active", "ingestd") == "active", installed.story()
    return installed


def drop(machine: Machine, name: str) -> float:
    """Put a file into the drop folder as a gateway of the group does, another owner's, and wait for it in done/."""
    source = get_testdata_file("CT_small.dcm")
    assert isinstance(source, str)
    inbox, done = (machine.root / "var/lib/ingestd" / folder for folder in ("inbox", "done"))
    shutil.copyfile(source, inbox / f"{name}.part")
    (inbox / f"{name}.part").chmod(0o640)
    os.chown(inbox / f"{name}.part", GATEWAY, -1)
    (inbox / f"{name}.part").rename(inbox / name)
    seconds = until(lambda: list(done.rglob(name)), 15, machine.story)
    [filed] = done.rglob(name)
    assert (filed.stat().st_uid, filed.stat().st_mode & 0o777) == (GATEWAY, 0o640)
    assert filed.read_bytes() == Path(source).read_bytes()  # I4
    return seconds


def test_unit_is_valid_and_exposed_to_little(installed: Machine) -> None:
    """`systemd-analyze verify` finds nothing; exposure is at most 1.5 of 10, and shown."""
    verified = installed.run("systemd-analyze", "verify", UNIT)
    assert (verified.returncode, verified.stderr) == (0, "")
    secure = installed.run("systemd-analyze", "security", "--offline=yes", "--threshold=15", "--no-pager", UNIT)
    assert secure.returncode == 0, secure.stdout


def test_the_command_is_on_the_path_and_its_settings_are_its_groups(installed: Machine) -> None:
    """DESIGN 5: `ingestd` is what was installed, and nobody else's account reads how the service is reached (I7)."""
    said = installed.run(LINK, "--version")
    assert (said.returncode, said.stdout) == (0, f"ingestd {version('ingestd')}\n")
    asked = installed.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", LINK, "config", "show")
    assert (asked.returncode, asked.stdout) == (78, "")
    assert "Permission denied: run this as the service's user" in asked.stderr
    member = installed.run("setpriv", "--reuid=65534", "--regid=ingestd", "--clear-groups", LINK, "config", "show")
    assert "WORKSPACE-SERVICE" in member.stdout + member.stderr


def test_becomes_ready_and_ships(machine: Machine, record_property: Callable[[str, object], None]) -> None:
    """Type=notify: active means READY=1; then a dropped file goes to the service and into done/, at once by CAP_LEASE (F77)."""
    assert machine.show("StatusText") != ""
    seconds = drop(machine, "one.dcm")
    record_property("boot_seconds", machine.boot_seconds)
    record_property("ship_seconds", seconds)
    assert machine.show("User") == "ingestd"
    assert "no CAP_LEASE" not in machine.story()
    status = Path(f"/proc/{machine.pid}/root/proc/{machine.show('MainPID')}/status").read_text()
    assert f"CapEff:\t{1 << CAP_LEASE:016x}" in status
    assert not list((machine.root / "var/lib/ingestd/failed").rglob("*.dcm"))


def test_killed_comes_back_and_ships(machine: Machine) -> None:
    """I1: SIGKILL, as the watchdog or the kernel send it; Restart=always brings it back."""
    machine.systemctl("kill", "--signal=KILL", "ingestd")
    until(lambda: machine.show("NRestarts") == "1" and machine.show("SubState") == "running", 20, machine.story)
    drop(machine, "two.dcm")


def test_hung_up_it_ends_in_order_and_comes_back(machine: Machine) -> None:
    """I6: SIGHUP, as `systemctl kill --signal=HUP` and old habits send it, is a restart and never the end."""
    restarts = int(machine.show("NRestarts"))
    machine.systemctl("kill", "--signal=HUP", "ingestd")
    until(lambda: machine.show("NRestarts") == str(restarts + 1), 20, machine.story)
    until(lambda: machine.show("SubState") == "running", 20, machine.story)
    drop(machine, "three.dcm")


def test_stops_cleanly_within_its_deadline(machine: Machine) -> None:
    """`systemctl stop`: SIGTERM, exit 0, no SIGKILL, long before TimeoutStopSec when nothing is in flight."""
    start = time.monotonic()
    machine.systemctl("stop", "ingestd")
    assert time.monotonic() - start < 10
    told = {name: machine.show(name) for name in ("ActiveState", "Result", "ExecMainStatus")}
    assert told == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}, machine.story()


def test_bad_configuration_is_not_tried_again(machine: Machine) -> None:
    """Exit 78 ends in `failed` with one clear line, not in a restart loop."""
    config = machine.root / "etc/ingestd/ingestd.toml"
    good = config.read_text()
    config.write_text(good.replace("deadline_seconds", "dead_line_seconds"))
    try:
        machine.systemctl("reset-failed", "ingestd")
        machine.systemctl("start", "ingestd")
        told = {name: machine.show(name) for name in ("ActiveState", "SubState", "ExecMainStatus", "NRestarts")}
        assert told == {"ActiveState": "failed", "SubState": "failed", "ExecMainStatus": "78", "NRestarts": "0"}
    finally:
        config.write_text(good)
    lines = machine.run("journalctl", "--no-pager", "-u", "ingestd", "-o", "json").stdout.splitlines()
    assert any("dead_line_seconds" in json.loads(line)["MESSAGE"] for line in lines), machine.story()
